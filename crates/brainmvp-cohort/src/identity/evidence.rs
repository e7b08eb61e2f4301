//! What speaks for an identity: where it comes from, the text that says it, what it says, and how much it counts.

use std::fmt;

use brainmvp_volume::{Modality, Role};

use super::NoImage;

/// Where evidence comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// The file's name.
    Name,
    /// The name of a folder above it.
    Folder,
    /// The description of the series.
    Description,
    /// The name of the protocol, which several series may share.
    Protocol,
    /// Echo, repetition and inversion time, with the kind of echo.
    Times,
    /// An attribute of DICOM, or of the JSON file beside the image, by its name.
    Attribute(&'static str),
    /// The list, table or pattern that names the file.
    List,
    /// The user's word, from `--alias` or `--series`.
    User,
    /// How a public data set names its files.
    DataSet(&'static str),
    /// The other images of the session.
    Session,
    /// The grey values of the image.
    Voxels,
}

/// What evidence says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Says {
    /// The weighting; never [`Modality::T1c`].
    Weighting(Modality),
    /// Whether a contrast agent was given.
    Agent(bool),
    /// A label map.
    Label,
    /// A mask of the brain.
    BrainMask,
    /// No image of a modality.
    Not(NoImage),
    /// The role, as a decision that nothing overrules.
    Is(Role),
    /// What the words leave open.
    Open(Open),
}

/// A question that words can leave open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Open {
    /// After what: the contrast agent, or an event?
    AfterWhat,
    /// `T1-C`: a minus sign or a hyphen?
    Hyphen,
    /// `T1 W`: weighted, or with?
    Weighted,
    /// A T1 of which nothing is said, beside one without contrast agent.
    Beside,
    /// With and without contrast agent in one name.
    WithAndWithout,
    /// A negation before words that are not known, and the agent after them.
    Scope,
    /// An agent that is stated for all series of an examination, of which one is named for it.
    Everywhere,
    /// `x_to_T1`: this image, or the one that it was registered to?
    Target,
    /// `T2_xyz_T1`: two words that say what it is, with an unknown one between them.
    Patient,
    /// A mask that is named after an image.
    AnyMask,
    /// MP2RAGE without the kind of image.
    Mp2rage,
    /// Several b-values.
    BValues,
    /// A word for a lesion, which may belong to the study.
    Lesion,
    /// `T1_FLAIR` beside `T2_T1`: the first word may be a time point.
    TimePoint,
    /// The voxels do not tell which of the choices it is.
    Voxels,
    /// The voxels tell a T1, and the words nothing about the agent.
    AnyT1,
    /// The voxels tell what another image of the session is too.
    Taken,
}

impl Open {
    fn describe(self) -> &'static str {
        match self {
            Self::AfterWhat => "after a contrast agent, or after an event?",
            Self::Hyphen => "a minus sign (without contrast agent) or a hyphen (with it)?",
            Self::Weighted => "with contrast agent, or weighted?",
            Self::Beside => "then this one may be with it?",
            Self::WithAndWithout => "both with and without contrast agent",
            Self::Scope => "is the contrast agent denied?",
            Self::Everywhere => "the agent is stated for this image too, but not in its name",
            Self::Target => "this image, or the one that it was registered to?",
            Self::Patient => "this image, or somebody's name? Tell with --pattern or --alias",
            Self::AnyMask => "a mask of the brain, of the face or of a lesion?",
            Self::Mp2rage => "INV1, INV2, the uniform image or a T1 map?",
            Self::BValues => "several b-values in one file?",
            Self::Lesion => "a label map, or an image from a study of lesions?",
            Self::TimePoint => "a weighting, or the number of a time point? Tell with --pattern",
            Self::Voxels => "leaves open what it is",
            Self::AnyT1 => "t1, with or without contrast agent?",
            Self::Taken => "the same as another image of the session?",
        }
    }
}

/// A piece of evidence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    /// Where it comes from.
    pub source: Source,
    /// The text that says it.
    pub text: String,
    /// What it says.
    pub says: Says,
    /// How much it counts, 1 to 5: from 4 on it states something, 3 implies it, less suggests it.
    pub weight: u8,
}

impl Evidence {
    /// A piece of evidence.
    pub fn new(source: Source, text: impl Into<String>, says: Says, weight: u8) -> Self {
        Self { source, text: text.into(), says, weight }
    }

    /// A role that is stated by a list, a data set or the user.
    pub fn stated(source: Source, text: impl Into<String>, role: Role) -> Self {
        Self::new(source, text, Says::Is(role), u8::MAX)
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Name => "in the name",
            Self::Folder => "in the folder's name",
            Self::Description => "in the description",
            Self::Protocol => "in the protocol's name",
            Self::Times => "by its times",
            Self::Attribute(name) => return write!(f, "in {name}"),
            Self::List => "in the list",
            Self::User => "given by the user",
            Self::DataSet(name) => return write!(f, "in the names of {name}"),
            Self::Session => "among the images of the session",
            Self::Voxels => "by its voxels",
        })
    }
}

impl fmt::Display for Says {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Weighting(modality) | Self::Is(Role::Image(modality)) => write!(f, "{modality}"),
            Self::Agent(true) => f.write_str("contrast agent given"),
            Self::Agent(false) => f.write_str("no contrast agent"),
            Self::Label | Self::Is(Role::Label) => f.write_str("a label map"),
            Self::BrainMask | Self::Is(Role::BrainMask) => f.write_str("a mask of the brain"),
            Self::Not(no) => f.write_str(no.describe()),
            Self::Is(Role::Ignored) => f.write_str("not used"),
            Self::Open(open) => f.write_str(open.describe()),
        }
    }
}

/// `'GD' in the name: contrast agent given`.
impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { source, text, says, .. } = self;
        if *source == Source::Voxels {
            return write!(f, "voxels: {text}: {says}");
        }
        write!(f, "'{text}' {source}: {says}")
    }
}

/// The evidence of one finding as a sentence.
pub fn listed(evidence: &[Evidence]) -> String {
    evidence.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}
