//! What the name of a folder says by itself.

use std::sync::LazyLock;

use brainmvp_volume::Role;
use regex::Regex;

use super::super::literal;
use crate::identity::{self, Aliases, Verdict};

/// The meaning of a folder's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FolderName {
    /// An image (`T1`, `01-T1`, `IXI-T1`), a label or a mask; whether that holds, its files decide.
    Image(Role),
    /// A stage of processing.
    Stage,
    /// A container of images (`images`, `nifti`): nothing.
    Container,
    /// A division of a data set (`training`, `site-2`, `HGG`), never a subject.
    Group,
    /// An examination (`baseline`, `week-044`, `2019-03-04`).
    Session,
    /// Anything else, a subject probably.
    Other,
}

/// Words of folders for stages of processing, from the original to the most processed. Their order decides which is used.
const STAGES: [&str; 33] = [
    "orig",
    "original",
    "raw",
    "native",
    "unprocessed",
    "nativespace",
    "acpc",
    "defaced",
    "reoriented",
    "pre",
    "preproc",
    "preprocessed",
    "processed",
    "derived",
    "derivatives",
    "coreg",
    "coregistered",
    "reg",
    "registered",
    "resampled",
    "aligned",
    "bet",
    "brain",
    "stripped",
    "skull",
    "skullstripped",
    "skull_stripped",
    "normalized",
    "normalised",
    "atlas",
    "mni",
    "mni152",
    "mninonlinear",
];

const CONTAINERS: [&str; 24] = [
    "image",
    "images",
    "imaging",
    "img",
    "imgs",
    "nifti",
    "niftis",
    "nii",
    "mr",
    "mri",
    "mris",
    "scan",
    "scans",
    "data",
    "anat",
    "anatomy",
    "anatomical",
    "structural",
    "struct",
    "files",
    "volumes",
    "1.5t",
    "3t",
    "7t",
];

const GROUPS: [&str; 47] = [
    "train",
    "training",
    "trainingdata",
    "tr",
    "test",
    "testing",
    "testdata",
    "ts",
    "val",
    "valid",
    "validation",
    "validationdata",
    "hgg",
    "lgg",
    "site",
    "center",
    "centre",
    "hospital",
    "clinic",
    "scanner",
    "vendor",
    "fold",
    "batch",
    "part",
    "cohort",
    "group",
    "set",
    "dataset",
    "release",
    "subset",
    "control",
    "controls",
    "patients",
    "subjects",
    "cases",
    "healthy",
    "disease",
    "class",
    "grade",
    "public",
    "internal",
    "external",
    "cross",
    "sectional",
    "longitudinal",
    "disc",
    "disk",
];

/// Names of examinations by what they are called, also at the end of a longer name (`P01_baseline`).
const NAMED_SESSION: &str = r"(?:ses|sess|session|visit|week|wk|month|mon|tp|timepoint|time[-_ ]?point|fu|follow[-_ ]?up)[-_ ]?\d{1,8}(?:[-_]\d{1,3})?|baseline|follow[-_ ]?up|fu|pre[-_ ]?op(?:erative)?|post[-_ ]?op(?:erative)?|(?:pre|post)[-_ ]?(?:treatment|therapy|surgery|chemo|rt)|screening|progression|recurrence";

/// A date, with or without a time.
const DATE: &str = r"(?:19|20)\d{2}(?:[-_.]?[01]\d[-_.]?[0-3]\d)(?:[-_T ]?\d{2}[-_.]?\d{2}(?:[-_.]?\d{2})?)?|[0-3]\d[-_.][01]\d[-_.](?:19|20)\d{2}";

/// Names that are examinations only below a subject: alone they may be anything.
const SHORT_SESSION: &str = r"(?:v|w|m|d|y|bl|scan|study|exam|examination|mri?|day|year|yr|date|s)[-_ ]?\d{1,8}|bl|base|initial|first|second|third|last|acute|subacute|chronic|admission|discharge|early|late|before|after|before[-_ ].*|after[-_ ].*|w\d{1,3}[-_](?:19|20)\d{2}.*";

static WHOLE_NAMED: LazyLock<Regex> = LazyLock::new(|| literal(&format!("(?i)^(?:{NAMED_SESSION})$")));
static WHOLE: LazyLock<Regex> =
    LazyLock::new(|| literal(&format!("(?i)^(?:{NAMED_SESSION}|{DATE}|{SHORT_SESSION})$")));
static AT_END: LazyLock<Regex> =
    LazyLock::new(|| literal(&format!("(?i)^(.*[^-_. ])[-_. ]+((?:{NAMED_SESSION}|{DATE}))$")));

/// The number of a series at the front of a name: `01-T1`, `3_FLAIR`, `s004 T2`.
static SERIES_NUMBER: LazyLock<Regex> =
    LazyLock::new(|| literal(r"(?i)^(?:s|se|ser|series)?[-_ ]?\d{1,5}[-_. ]+"));

impl FolderName {
    pub(super) fn of(name: &str, aliases: &Aliases) -> Self {
        let words = words(name);
        let all_among =
            |known: &[&str]| !words.is_empty() && words.iter().all(|word| known.contains(&word.as_str()));
        if is_named_session(name) {
            Self::Session
        } else if all_among(&CONTAINERS) {
            Self::Container
        } else if let Some(NamedImage { role, identifier: "" }) = NamedImage::of(name, aliases) {
            Self::Image(role)
        } else if all_among(&STAGES)
            || stage_rank(name).is_some() && all_among(&[&STAGES[..], &CONTAINERS].concat())
        {
            Self::Stage
        } else if is_group(name) {
            Self::Group
        } else if is_session_below(name) {
            Self::Session
        } else if let Some(found) = NamedImage::of(name, aliases) {
            Self::Image(found.role)
        } else {
            Self::Other
        }
    }
}

/// What the name of a folder says of the image in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NamedImage<'a> {
    pub(super) role: Role,
    /// What comes before the word for the image, without the number of a series: `IXI` in `IXI-T1`, nothing in `01-T1`.
    pub(super) identifier: &'a str,
}

impl<'a> NamedImage<'a> {
    /// `None` for names that say nothing of an image, or leave open what it is.
    pub(super) fn of(name: &'a str, aliases: &Aliases) -> Option<Self> {
        let name = SERIES_NUMBER.find(name).map_or(name, |found| &name[found.end()..]);
        let named = identity::of_file(name, None, None, aliases);
        let role = match named.finding.verdict {
            Verdict::Is(role) => role,
            Verdict::Not(_) => Role::Ignored,
            Verdict::Open(_) | Verdict::Unknown => return None,
        };
        Some(Self { role, identifier: name[..named.start].trim_end_matches(['-', '_', '.', ' ']) })
    }

    /// Whether the name has nothing but the word for the image.
    pub(super) fn is_whole(&self) -> bool {
        self.identifier.is_empty()
    }
}

/// Whether a name is that of an examination even without a subject above it.
pub(super) fn is_named_session(name: &str) -> bool {
    WHOLE_NAMED.is_match(name)
}

/// Whether a name is that of an examination where a subject is above it.
pub(super) fn is_session_below(name: &str) -> bool {
    WHOLE.is_match(name)
}

/// A name that ends in an examination (`P01_baseline`), split into what is before it and the examination.
pub(super) fn split_session(name: &str) -> Option<(&str, &str)> {
    let found = AT_END.captures(name)?;
    Some((found.get(1)?.as_str(), found.get(2)?.as_str()))
}

/// Whether a name is of a division of a data set: all its words are, but for numbers; or it is a year.
pub(super) fn is_group(name: &str) -> bool {
    let is_year = name.len() == 4 && name.parse::<u16>().is_ok_and(|year| (1970..2100).contains(&year));
    let words = words(name);
    let named = words.iter().filter(|word| !word.bytes().all(|byte| byte.is_ascii_digit()));
    let (mut any, mut all) = (false, true);
    for word in named {
        any = true;
        all &= GROUPS.contains(&word.trim_end_matches(|c: char| c.is_ascii_digit()));
    }
    is_year || any && all
}

/// Where a stage is between the original and the most processed; `None` if the name has no word for one.
pub(super) fn stage_rank(name: &str) -> Option<usize> {
    words(name).iter().filter_map(|word| STAGES.iter().position(|stage| stage == word)).max()
}

fn words(name: &str) -> Vec<String> {
    let words = name.split(['-', '_', ' ']).filter(|word| !word.is_empty());
    words.map(str::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_folders() {
        use FolderName::{Container, Group, Other, Session, Stage};
        let aliases = Aliases::default();
        for (expected, names) in [
            (Stage, &["orig", "pre", "raw", "coregistered_resampled", "MNINonLinear", "skull_stripped"][..]),
            (Container, &["images", "NIfTI", "anatomical", "3T"]),
            (
                Group,
                &["TrainingData", "test", "site_02", "Batch3", "2019", "HGG", "fold-1", "cross_sectional"],
            ),
            (
                Session,
                &["baseline", "followup", "follow-up-2", "week-044", "week-000-1", "ses-1", "visit2", "FU"],
            ),
            (
                Session,
                &[
                    "2019-03-04",
                    "20190304",
                    "1998.09.19",
                    "20190304_101500",
                    "preop",
                    "Post-OP",
                    "study1",
                    "M12",
                ],
            ),
            (
                Other,
                &["P01", "Patient-001", "Utrecht", "0", "100307", "BraTS2021_00000", "GE3T", "NYU", "Guys"],
            ),
        ] {
            for name in names {
                assert_eq!(FolderName::of(name, &aliases), expected, "{name}");
            }
        }
        for name in ["T1", "01-T1", "3_FLAIR", "IXI-T1", "T1w", "labels", "Segmentations"] {
            assert!(matches!(FolderName::of(name, &aliases), FolderName::Image(_)), "{name}");
        }
    }

    #[test]
    fn sessions_at_the_end_of_names() {
        for (name, expected) in [
            ("P01_baseline", Some(("P01", "baseline"))),
            ("sub-01_ses-0002", Some(("sub-01", "ses-0002"))),
            ("P01 follow-up 2", Some(("P01", "follow-up 2"))),
            ("UCSF_2019-03-04", Some(("UCSF", "2019-03-04"))),
            ("P01", None),
            ("baseline", None),
            ("scan_001", None),
            ("IXI002-Guys-0828", None),
            ("UPENN-GBM-00001_11", None),
        ] {
            assert_eq!(split_session(name), expected, "{name}");
        }
    }
}
