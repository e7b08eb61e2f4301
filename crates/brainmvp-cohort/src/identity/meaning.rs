//! What a word can mean.

use std::fmt;
use std::str::FromStr;

use brainmvp_volume::Modality;

/// Why a file is not an image of one of the eight modalities.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NoImage {
    /// A map of a quantity, such as T1 in ms.
    Map,
    /// The difference of two images.
    Difference,
    /// A projection, such as a MIP.
    Projection,
    /// Slices computed from another image (MPR).
    Reformat,
    /// The probability or the share of a tissue.
    Probability,
    /// A parcellation into structures.
    Parcellation,
    /// An inversion image, such as INV1 of MP2RAGE.
    Inversion,
    /// A map of the magnetic field, or an image for one.
    FieldMap,
    /// A localizer or an image for calibration.
    Localizer,
    /// Perfusion: images over time, or what was computed from them.
    Perfusion,
    /// Spectroscopy.
    Spectroscopy,
    /// Susceptibility weighting and T2*.
    Susceptibility,
    /// Diffusion other than a trace image and the ADC: tensors, single directions, low b-values, exponential ADC.
    Diffusion,
    /// Functional imaging.
    Function,
    /// Flow, phase contrast, venography.
    Flow,
    /// Double inversion recovery.
    DoubleInversion,
    /// Inversion recovery that nulls fat (STIR).
    FatNulled,
    /// The phase, or another part of the complex signal.
    Phase,
    /// CT, PET and other devices.
    Device,
    /// Another part of the body.
    Part,
    /// A deformation, a bias field.
    Transform,
    /// A screenshot, a report.
    Capture,
    /// An image that was computed by a network or model.
    Synthetic,
    /// A map of noise.
    Noise,
    /// A mask of something other than brain and lesions.
    OtherMask,
    /// Too few slices for a brain.
    FewSlices,
    /// Fat of a Dixon sequence.
    Fat,
}

impl NoImage {
    /// What it is, after "is".
    pub fn describe(self) -> &'static str {
        match self {
            Self::Map => "a map of a quantity",
            Self::Difference => "a difference of images",
            Self::Projection => "a projection",
            Self::Reformat => "a reformat of another image",
            Self::Probability => "a tissue map",
            Self::Parcellation => "a parcellation",
            Self::Inversion => "an inversion image",
            Self::FieldMap => "for a field map",
            Self::Localizer => "a localizer or a calibration",
            Self::Perfusion => "perfusion",
            Self::Spectroscopy => "spectroscopy",
            Self::Susceptibility => "T2* or susceptibility",
            Self::Diffusion => "diffusion, but neither a trace image (b >= 500) nor the ADC",
            Self::Function => "functional imaging",
            Self::Flow => "flow or venography",
            Self::DoubleInversion => "double inversion recovery",
            Self::FatNulled => "inversion recovery that nulls fat",
            Self::Phase => "not the magnitude of the signal",
            Self::Device => "not MR",
            Self::Part => "another part of the body",
            Self::Transform => "a transform or a field",
            Self::Capture => "a screenshot or a report",
            Self::Synthetic => "computed, not acquired",
            Self::Noise => "a map of noise",
            Self::OtherMask => "a mask of neither brain nor lesion",
            Self::FewSlices => "of too few slices for a brain",
            Self::Fat => "the fat image",
        }
    }
}

/// What a word of the vocabulary means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    /// It names or implies a weighting ([`Modality::T1c`] never occurs: that is T1 with an agent).
    Weighting(Modality, u8),
    /// It names something that is no image of a modality.
    Not(NoImage, u8),
    /// A contrast agent.
    Agent(u8),
    /// With contrast agent.
    Given(u8),
    /// Without contrast agent.
    NotGiven(u8),
    /// Negates the agent next to it.
    Without,
    /// Negates the agent before it.
    Denies,
    /// Affirms the agent after it.
    With,
    /// Beside a word for contrast, it makes that one of pictures.
    Picture,
    /// Both with and without contrast agent.
    Both,
    /// May stand between these and the agent.
    Filler,
    /// Before something: the agent, if nothing else is said.
    Before,
    /// After something: the agent, if nothing else is said.
    After,
    /// What else there may be a before and after of: an operation, a treatment.
    Occasion,
    /// A step of processing: `T1_post_n4` may be after it, or the image after the agent, which went through it.
    Step,
    /// Between the two images of a difference.
    Minus,
    /// A difference, except at the front of a name, where it stands for "subject".
    Sub,
    /// A gradient echo: with T2, it is T2*.
    Gradient,
    /// A spin echo.
    SpinEcho,
    /// A spoiled gradient echo: T1, but not certain enough alone.
    Flash,
    /// MP2RAGE, of which only the uniform image is T1.
    Mp2rage,
    /// The uniform image of MP2RAGE.
    Uni,
    /// "T1 images" of MP2RAGE are a map.
    T1Images,
    /// MPR: a reformat, or short for MPRAGE.
    Mpr,
    /// A tissue.
    Tissue,
    /// A label map.
    Segmentation,
    /// Something that label maps show.
    Structure,
    /// A mask.
    Mask,
    /// The mask of the brain.
    BrainMask,
    /// Between a registered image and its target.
    To,
    /// Registered.
    Registered,
    /// Before the image that others are registered to.
    Reference,
    /// A space; also the name of a sequence.
    Space,
    /// Images with b = 0.
    BZero,
    /// A b-value in s/mm2.
    BValue(u32),
    /// An echo time in ms.
    EchoTime(u32),
    /// SPM's letters for something that is no image, which stand before the whole name: `c1T1`, `y_sub-01_T1w`.
    Prefix(NoImage),
    /// Known, and without a say.
    Plain,
}

impl Meaning {
    /// Whether a name can consist of this word alone.
    pub(super) fn is_core(self) -> bool {
        match self {
            Self::Weighting(_, weight) | Self::Not(_, weight) => weight >= 2,
            Self::Mp2rage
            | Self::Uni
            | Self::T1Images
            | Self::Mpr
            | Self::Segmentation
            | Self::Structure
            | Self::Mask
            | Self::BrainMask
            | Self::BZero
            | Self::BValue(_)
            | Self::Prefix(_) => true,
            _ => false,
        }
    }

    /// Whether it states a weighting, rather than implies it.
    pub(super) fn states_weighting(self) -> bool {
        matches!(self, Self::Weighting(_, 4..))
    }
}

/// The kinds of no image, as the vocabulary writes them.
const NO_IMAGES: [(&str, NoImage); 25] = [
    ("map", NoImage::Map),
    ("difference", NoImage::Difference),
    ("projection", NoImage::Projection),
    ("reformat", NoImage::Reformat),
    ("probability", NoImage::Probability),
    ("parcellation", NoImage::Parcellation),
    ("inversion", NoImage::Inversion),
    ("field-map", NoImage::FieldMap),
    ("localizer", NoImage::Localizer),
    ("perfusion", NoImage::Perfusion),
    ("spectroscopy", NoImage::Spectroscopy),
    ("susceptibility", NoImage::Susceptibility),
    ("diffusion", NoImage::Diffusion),
    ("function", NoImage::Function),
    ("flow", NoImage::Flow),
    ("double-inversion", NoImage::DoubleInversion),
    ("fat-nulled", NoImage::FatNulled),
    ("phase", NoImage::Phase),
    ("device", NoImage::Device),
    ("part", NoImage::Part),
    ("transform", NoImage::Transform),
    ("capture", NoImage::Capture),
    ("synthetic", NoImage::Synthetic),
    ("noise", NoImage::Noise),
    ("not-label", NoImage::OtherMask),
];

/// The meanings without a weight, as the vocabulary writes them.
const PLAIN: [(&str, Meaning); 29] = [
    ("both", Meaning::Both),
    ("without", Meaning::Without),
    ("denies", Meaning::Denies),
    ("with", Meaning::With),
    ("picture", Meaning::Picture),
    ("step", Meaning::Step),
    ("filler", Meaning::Filler),
    ("before", Meaning::Before),
    ("after", Meaning::After),
    ("occasion", Meaning::Occasion),
    ("minus", Meaning::Minus),
    ("sub", Meaning::Sub),
    ("gradient", Meaning::Gradient),
    ("spin-echo", Meaning::SpinEcho),
    ("flash", Meaning::Flash),
    ("mp2rage", Meaning::Mp2rage),
    ("uni", Meaning::Uni),
    ("t1-images", Meaning::T1Images),
    ("reformat-or-mprage", Meaning::Mpr),
    ("tissue", Meaning::Tissue),
    ("segmentation", Meaning::Segmentation),
    ("structure", Meaning::Structure),
    ("mask", Meaning::Mask),
    ("brain-mask", Meaning::BrainMask),
    ("to", Meaning::To),
    ("registered", Meaning::Registered),
    ("reference", Meaning::Reference),
    ("space", Meaning::Space),
    ("plain", Meaning::Plain),
];

impl FromStr for Meaning {
    type Err = String;

    /// `t1 4`, `agent 3`, `map 4`, `plain`.
    fn from_str(text: &str) -> Result<Self, String> {
        let unknown = || format!("no such meaning: '{text}'");
        let (name, weight) = text.split_once(' ').map_or((text, None), |(name, weight)| (name, Some(weight)));
        let Some(weight) = weight else {
            let zero = (name == "b0").then_some(Self::BZero);
            let plain = PLAIN.iter().find(|(known, _)| *known == name).map(|(_, meaning)| *meaning);
            return plain.or(zero).ok_or_else(unknown);
        };
        let weight: u8 = weight.parse().map_err(|_| unknown())?;
        let no_image = NO_IMAGES.iter().find(|(known, _)| *known == name).map(|(_, no)| *no);
        match (name, no_image) {
            ("agent", _) => Ok(Self::Agent(weight)),
            ("given", _) => Ok(Self::Given(weight)),
            ("not-given", _) => Ok(Self::NotGiven(weight)),
            (_, Some(no)) => Ok(Self::Not(no, weight)),
            (name, None) => {
                let modality = name.parse().map_err(|_| unknown())?;
                Ok(Self::Weighting(modality, weight))
            }
        }
    }
}

impl fmt::Display for NoImage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.describe())
    }
}
