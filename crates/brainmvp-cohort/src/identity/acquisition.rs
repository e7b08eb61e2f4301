//! What the acquisition says: the attributes of DICOM, or of the JSON file beside an image.
//!
//! The limits of times are those of brain protocols at 1.5 and 3 T: T1 by spin echo has TE up to 30 ms and TR up to
//! 1200 ms; T2 has TE from 60 ms; FLAIR nulls fluid with TI from 1500 ms, STIR fat with TI up to 260 ms; gradient
//! echoes of a few ms, with or without inversion, are T1.

use brainmvp_volume::Modality;

use super::NoImage;
use super::evidence::{Evidence, Says, Source};

/// How an image was acquired, as far as it is known. Words are in capitals.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Acquisition {
    /// `MR`, `CT`...
    pub device: Option<String>,
    /// The description of the series.
    pub description: Option<String>,
    /// The name of the protocol.
    pub protocol: Option<String>,
    /// In ms.
    pub echo_time_ms: Option<f64>,
    /// In ms.
    pub repetition_time_ms: Option<f64>,
    /// In ms.
    pub inversion_time_ms: Option<f64>,
    /// `SE`, `GR`, `IR`, `EP`, `RM`.
    pub scanning_sequence: Vec<String>,
    /// `ImageType`.
    pub image_type: Vec<String>,
    /// The manufacturer's name of the sequence.
    pub sequence_name: Option<String>,
    /// `AcquisitionContrast` of enhanced files.
    pub contrast: Option<String>,
    /// The contrast agent as it is stated; a word that denies it counts as none.
    pub agent: Option<String>,
    /// `BodyPartExamined`.
    pub body_part: Option<String>,
    /// The part of the complex signal, if it is stated outside of `ImageType`.
    pub component: Option<String>,
    /// In s/mm2.
    pub b_value: Option<f64>,
    /// Whether the image is of one diffusion direction.
    pub one_direction: bool,
    /// The number of slices.
    pub slices: Option<usize>,
}

/// A volume with fewer slices is not one of a brain.
const FEWEST_SLICES: usize = 5;

/// From this b-value on an image is visibly diffusion-weighted.
const LEAST_B_VALUE: f64 = 500.0;

/// Words in `ImageType` and what they mean. A word that contains `MAP` is a map.
const IMAGE_TYPES: [(&str, NoImage); 43] = [
    ("LOCALIZER", NoImage::Localizer),
    ("MPR", NoImage::Reformat),
    ("REFORMATTED", NoImage::Reformat),
    ("CURVED MPR", NoImage::Reformat),
    ("PROJECTION IMAGE", NoImage::Projection),
    ("MIP", NoImage::Projection),
    ("MINIP", NoImage::Projection),
    ("MNIP", NoImage::Projection),
    ("MAX_IP", NoImage::Projection),
    ("MIN_IP", NoImage::Projection),
    ("MAXIMUM", NoImage::Projection),
    ("MINIMUM", NoImage::Projection),
    ("COLLAPSE", NoImage::Projection),
    ("SUBTRACT", NoImage::Difference),
    ("SUBTRACTION", NoImage::Difference),
    ("SUB", NoImage::Difference),
    ("SCREEN SAVE", NoImage::Capture),
    ("FA", NoImage::Diffusion),
    ("TENSOR", NoImage::Diffusion),
    ("EXP", NoImage::Diffusion),
    ("EADC", NoImage::Diffusion),
    ("COLFA", NoImage::Diffusion),
    ("LOWB", NoImage::Diffusion),
    ("PERFUSION", NoImage::Perfusion),
    ("CBF", NoImage::Perfusion),
    ("CBV", NoImage::Perfusion),
    ("MTT", NoImage::Perfusion),
    ("TTP", NoImage::Perfusion),
    ("RELCBF", NoImage::Perfusion),
    ("RELCBV", NoImage::Perfusion),
    ("RELMTT", NoImage::Perfusion),
    ("ASL", NoImage::Perfusion),
    ("PBP", NoImage::Perfusion),
    ("GBP", NoImage::Perfusion),
    ("SWI", NoImage::Susceptibility),
    ("QSM", NoImage::Susceptibility),
    ("FMRI", NoImage::Function),
    ("VELOCITY", NoImage::Flow),
    ("M_PCA", NoImage::Flow),
    ("PCA", NoImage::Flow),
    ("ANGIO", NoImage::Flow),
    ("SPECTROSCOPY", NoImage::Spectroscopy),
    ("FAT", NoImage::Fat),
];

/// Parts of the manufacturer's names of sequences and what they mean.
const SEQUENCES: [(&str, Says, u8); 13] = [
    ("tof", Says::Weighting(Modality::Mra), 4),
    ("ci3d", Says::Weighting(Modality::T2), 4),
    ("spcir", Says::Weighting(Modality::Flair), 3),
    ("tfl3d", Says::Weighting(Modality::T1), 3),
    ("swi", Says::Not(NoImage::Susceptibility), 4),
    ("epfid", Says::Not(NoImage::Function), 4),
    ("ep2d_bold", Says::Not(NoImage::Function), 4),
    ("ep2d_perf", Says::Not(NoImage::Perfusion), 4),
    ("pcasl", Says::Not(NoImage::Perfusion), 4),
    ("pasl", Says::Not(NoImage::Perfusion), 4),
    ("fm2d", Says::Not(NoImage::FieldMap), 4),
    ("svs", Says::Not(NoImage::Spectroscopy), 4),
    ("csi", Says::Not(NoImage::Spectroscopy), 4),
];

/// Parts of the body other than the head. Words that are not here, such as `BRAIN`, say nothing.
const OTHER_PARTS: [&str; 45] = [
    "KNEE",
    "SPINE",
    "CSPINE",
    "TSPINE",
    "LSPINE",
    "SSPINE",
    "CTSPINE",
    "TLSPINE",
    "LSSPINE",
    "WSPINE",
    "COCCYX",
    "SACRUM",
    "NECK",
    "CHEST",
    "THORAX",
    "ABDOMEN",
    "PELVIS",
    "HIP",
    "SHOULDER",
    "ELBOW",
    "WRIST",
    "HAND",
    "FINGER",
    "FOOT",
    "ANKLE",
    "TOE",
    "LEG",
    "THIGH",
    "CALF",
    "ARM",
    "FOREARM",
    "HUMERUS",
    "FEMUR",
    "TIBIA",
    "HEART",
    "CARDIAC",
    "BREAST",
    "LIVER",
    "KIDNEY",
    "PROSTATE",
    "UTERUS",
    "EXTREMITY",
    "WHOLEBODY",
    "AORTA",
    "BLADDER",
];

/// What was heard in the description and matters for the times.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Hints {
    /// It names a sequence whose times look like those of T1.
    pub(super) looks_like_t1: bool,
    /// It, or something else, says T1, or at least names a kind of sequence.
    pub(super) is_named: bool,
    /// It names the ADC.
    pub(super) adc: bool,
}

impl Acquisition {
    /// The evidence, without that of the description and protocol.
    pub(super) fn evidence(&self, hints: Hints) -> Vec<Evidence> {
        let mut found = Vec::new();
        found.extend(self.device());
        found.extend(self.part());
        found.extend(self.slices());
        found.extend(self.image_type());
        let adc = hints.adc || found.iter().any(|e: &Evidence| e.says == Says::Weighting(Modality::Adc));
        found.extend(self.diffusion().filter(|_| !adc));
        found.extend(self.sequence());
        found.extend(self.contrast());
        let t1 = |e: &Evidence| e.says == Says::Weighting(Modality::T1);
        let is_named = hints.is_named || found.iter().any(t1);
        found.extend(self.times(Hints { is_named, ..hints }));
        found.extend(self.agent());
        found
    }

    fn scans(&self, word: &str) -> bool {
        self.scanning_sequence.iter().any(|known| known == word)
    }

    fn device(&self) -> Option<Evidence> {
        let device = self.device.as_deref().filter(|device| !device.is_empty() && *device != "MR")?;
        Some(Evidence::new(Source::Attribute("Modality"), device, Says::Not(NoImage::Device), 5))
    }

    fn part(&self) -> Option<Evidence> {
        let stated = self.body_part.as_deref()?;
        let plain: String = stated.to_uppercase().chars().filter(char::is_ascii_alphanumeric).collect();
        let other = OTHER_PARTS.iter().any(|part| plain == *part);
        other.then(|| {
            Evidence::new(Source::Attribute("BodyPartExamined"), stated, Says::Not(NoImage::Part), 5)
        })
    }

    fn slices(&self) -> Option<Evidence> {
        let slices = self.slices.filter(|slices| *slices < FEWEST_SLICES)?;
        let text = if slices == 1 { "1 slice".to_owned() } else { format!("{slices} slices") };
        Some(Evidence::new(Source::Attribute("the geometry"), text, Says::Not(NoImage::FewSlices), 5))
    }

    fn image_type(&self) -> Vec<Evidence> {
        // The first two words are ORIGINAL/DERIVED and PRIMARY/SECONDARY.
        let stated = self.image_type.iter().map(String::as_str).chain(self.component.as_deref());
        stated
            .filter_map(|word| Some((word, of_image_type(word)?)))
            .map(|(word, (says, weight))| Evidence::new(Source::Attribute("ImageType"), word, says, weight))
            .collect()
    }

    fn diffusion(&self) -> Option<Evidence> {
        let b = self.b_value.filter(|b| *b > 0.0 || self.scans("EP"))?;
        let (says, weight) = match b {
            b if b < LEAST_B_VALUE => (Says::Not(NoImage::Diffusion), 4),
            _ if self.one_direction => (Says::Not(NoImage::Diffusion), 4),
            _ => (Says::Weighting(Modality::Dwi), 6),
        };
        let directions = if self.one_direction { ", one gradient direction" } else { "" };
        Some(Evidence::new(
            Source::Attribute("the diffusion attributes"),
            format!("b = {b}{directions}"),
            says,
            weight,
        ))
    }

    fn sequence(&self) -> Option<Evidence> {
        let stated = self.sequence_name.as_deref()?;
        let name = stated.to_lowercase();
        let (_, says, weight) = SEQUENCES.iter().find(|(part, ..)| name.contains(part))?;
        Some(Evidence::new(Source::Attribute("SequenceName"), stated, says.clone(), *weight))
    }

    fn contrast(&self) -> Option<Evidence> {
        let stated = self.contrast.as_deref()?;
        let (says, weight) = match stated {
            "FLUID_ATTENUATED" => (Says::Weighting(Modality::Flair), 4),
            "T1" => (Says::Weighting(Modality::T1), 4),
            "T2" => (Says::Weighting(Modality::T2), 4),
            "PROTON_DENSITY" => (Says::Weighting(Modality::Pd), 4),
            "TIME_OF_FLIGHT" => (Says::Weighting(Modality::Mra), 4),
            "T2_STAR" | "SUSCEPTIBILITY" => (Says::Not(NoImage::Susceptibility), 4),
            "PERFUSION" => (Says::Not(NoImage::Perfusion), 4),
            "PHASE_CONTRAST" | "FLOW_ENCODED" => (Says::Not(NoImage::Flow), 4),
            "STIR" => (Says::Not(NoImage::FatNulled), 4),
            _ => return None,
        };
        Some(Evidence::new(Source::Attribute("AcquisitionContrast"), stated, says, weight))
    }

    fn agent(&self) -> Option<Evidence> {
        /// Words in the field for the agent that mean that there was none.
        const NONE: [&str; 12] = [
            "NO",
            "NONE",
            "N",
            "0",
            "OHNE",
            "WITHOUT",
            "NO CONTRAST",
            "NON",
            "NEIN",
            "FALSE",
            "SANS",
            "NATIV",
        ];
        let stated = self.agent.as_deref().map(str::trim).filter(|text| !text.is_empty())?;
        let given = !NONE.contains(&stated.to_uppercase().as_str());
        let weight = if given { 3 } else { 2 };
        Some(Evidence::new(Source::Attribute("ContrastBolusAgent"), stated, Says::Agent(given), weight))
    }

    /// The weighting by the times, where they leave no doubt.
    fn times(&self, hints: Hints) -> Option<Evidence> {
        let te = self.echo_time_ms.filter(|ms| *ms > 0.0)?;
        let tr = self.repetition_time_ms.filter(|ms| *ms > 0.0)?;
        let ti = self.inversion_time_ms.unwrap_or(0.0);
        if self.scans("EP") {
            return None;
        }
        let gradient = self.scans("GR") && !self.scans("SE");
        let says = if gradient { gradient_echo(te, tr, ti, hints)? } else { self.spin_echo(te, tr, ti)? };
        let kind = if gradient { ", gradient echo" } else { "" };
        let inversion = if ti > 0.0 { format!(", TI {ti}") } else { String::new() };
        let weight = if matches!(says, Says::Not(_)) { 3 } else { 4 };
        Some(Evidence::new(Source::Times, format!("TE {te}, TR {tr}{inversion} ms{kind}"), says, weight))
    }

    fn spin_echo(&self, te: f64, tr: f64, ti: f64) -> Option<Says> {
        // Without the kind of echo, a short TE and TR may be a gradient echo of any weighting.
        let known = self.scans("SE") || self.scans("IR");
        let modality = if ti >= 1500.0 && te >= 60.0 {
            Modality::Flair
        } else if (80.0..=260.0).contains(&ti) && known {
            return Some(Says::Not(NoImage::FatNulled));
        } else if known && te <= 30.0 && tr <= 1200.0 || (300.0..1500.0).contains(&ti) && te <= 40.0 {
            Modality::T1
        } else if te >= 60.0 && tr >= 1500.0 {
            Modality::T2
        } else if known && te <= 40.0 && tr >= 1800.0 {
            Modality::Pd
        } else {
            return None;
        };
        Some(Says::Weighting(modality))
    }
}

fn gradient_echo(te: f64, tr: f64, ti: f64, hints: Hints) -> Option<Says> {
    // MP2RAGE has a TR of several seconds; which of its images this is, the times do not say.
    let spoiled = te <= 8.0 && (ti > 0.0 && tr < 4000.0 || tr <= 40.0);
    match () {
        () if hints.looks_like_t1 => None,
        // Without inversion these are also the times of angiography and of images for calibration.
        () if spoiled && ti <= 0.0 && !hints.is_named => None,
        () if spoiled => Some(Says::Weighting(Modality::T1)),
        () if te > 8.0 && ti <= 0.0 => Some(Says::Not(NoImage::Susceptibility)),
        () => None,
    }
}

/// What a word of `ImageType` says.
fn of_image_type(word: &str) -> Option<(Says, u8)> {
    let no = |no| Some((Says::Not(no), 5));
    match word {
        "P" | "PHASE" | "PHASE MAP" | "R" | "REAL" | "I" | "IMAGINARY" | "PHASE_MAP" => {
            return no(NoImage::Phase);
        }
        "TRACE" | "TRACEW" => return Some((Says::Weighting(Modality::Dwi), 4)),
        "UNI" => return Some((Says::Weighting(Modality::T1), 5)),
        _ => {}
    }
    if let Some((_, kind)) = IMAGE_TYPES.iter().find(|(known, _)| *known == word) {
        return no(*kind);
    }
    let parts: Vec<&str> = word.split(['_', ' ', '-']).collect();
    if parts.contains(&"ADC") {
        return Some((Says::Weighting(Modality::Adc), 5));
    }
    match () {
        () if parts.contains(&"B0") || parts.contains(&"B1") => no(NoImage::FieldMap),
        () if parts.contains(&"MAP") || word == "QMAP" => no(NoImage::Map),
        () => None,
    }
}
