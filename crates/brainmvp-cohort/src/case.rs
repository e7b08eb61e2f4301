//! A case: its files by modality, and what is known about it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use brainmvp_volume::{Modality, Role};
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// The name of a case: unique in its cohort and usable as a file name on every system.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CaseId(String);

impl CaseId {
    /// The longest id in bytes: file systems allow 255 for a name, and files of a case add an ending.
    pub const MAX_LEN: usize = 200;

    /// Makes a case id of a name.
    ///
    /// # Errors
    /// [`Error::CaseId`] if the name is empty, too long, begins with a dot, ends in a dot or blank, or contains a
    /// path separator, a control character or one of `: * ? " < > |`.
    pub fn new(id: impl Into<String>) -> Result<Self> {
        let id = id.into();
        let forbidden =
            |c: char| c.is_control() || matches!(c, '/' | '\\' | ':' | '*' | '?' | '"' | '<' | '>' | '|');
        let reason = if id.is_empty() {
            "is empty"
        } else if id.len() > Self::MAX_LEN {
            "is longer than 200 bytes"
        } else if id.starts_with(['.', ' ']) || id.ends_with(['.', ' ']) {
            "begins or ends with a dot or blank"
        } else if id.contains(forbidden) {
            "contains a path separator, a control character or one of : * ? \" < > |"
        } else {
            return Ok(Self(id));
        };
        Err(Error::CaseId { id, reason })
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for CaseId {
    type Error = Error;

    fn try_from(id: String) -> Result<Self> {
        Self::new(id)
    }
}

impl From<CaseId> for String {
    fn from(id: CaseId) -> Self {
        id.0
    }
}

impl fmt::Display for CaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// The part of a study that a case belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    /// The network is trained on it.
    Training,
    /// The best state and the settings are chosen on it.
    Validation,
    /// Only the final figures come from it.
    Test,
}

impl FromStr for Split {
    type Err = String;

    /// Reads the words that data lists use (`train`, `training`, `imagesTr`, `val`, `test`...), in upper or lower case.
    fn from_str(word: &str) -> std::result::Result<Self, String> {
        match word.to_ascii_lowercase().as_str() {
            "training" | "train" | "tr" => Ok(Self::Training),
            "validation" | "valid" | "val" => Ok(Self::Validation),
            "test" | "testing" | "ts" => Ok(Self::Test),
            _ => Err(format!("unknown split '{word}' (known: training validation test)")),
        }
    }
}

/// The endings of the two files of a NIfTI pair.
const PAIR: [&str; 4] = [".hdr", ".hdr.gz", ".img", ".img.gz"];

/// One examination of one subject. In memory its paths can be opened as they are; in a file they are
/// relative to that file (see [`crate::Cohort`]).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// The name of the case.
    pub id: CaseId,
    /// The person. All cases of a subject are in the same split.
    pub subject: String,
    /// The data set that the case comes from, a key of [`crate::Cohort::data_sets`].
    pub data_set: String,
    /// The hospital or scanner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub site: Option<String>,
    /// The class for classification (a grade, a diagnosis), in the words of its source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
    /// Finite numbers to be predicted by a regression, by the name of their column: an age, a volume, a score.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub numbers: BTreeMap<String, f64>,
    /// The split, where the source gives one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub split: Option<Split>,
    /// The image of each modality that the case has; a missing modality is absent.
    pub images: BTreeMap<Modality, PathBuf>,
    /// The label map (segmentation).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<PathBuf>,
    /// The brain mask.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub brain_mask: Option<PathBuf>,
}

impl Case {
    /// A case without files.
    pub fn new(id: CaseId, subject: impl Into<String>, data_set: impl Into<String>) -> Self {
        Self {
            id,
            subject: subject.into(),
            data_set: data_set.into(),
            site: None,
            class: None,
            numbers: BTreeMap::new(),
            split: None,
            images: BTreeMap::new(),
            label: None,
            brain_mask: None,
        }
    }

    /// Every file with its role: images in the order of [`Modality::ALL`], then label and brain mask.
    pub fn files(&self) -> impl Iterator<Item = (Role, &Path)> {
        let images = self.images.iter().map(|(modality, path)| (Role::Image(*modality), path.as_path()));
        let label = self.label.iter().map(|path| (Role::Label, path.as_path()));
        let mask = self.brain_mask.iter().map(|path| (Role::BrainMask, path.as_path()));
        images.chain(label).chain(mask)
    }

    /// A text about this case in which its files are named by what they are (`t1: truncated`), not by their paths. Paths may name
    /// people, and reasons are written into caches, reports and predictions, which are passed on.
    pub fn without_paths(&self, text: &str) -> String {
        let mut names: Vec<(String, &str)> = Vec::new();
        for (role, path) in self.files() {
            let whole = path.display().to_string();
            // Either file of a pair may be at fault, and the other is named without its folder.
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            for stem in [&whole, &name]
                .iter()
                .flat_map(|shown| PAIR.iter().filter_map(move |end| shown.strip_suffix(end)))
            {
                names.extend(PAIR.map(|ending| (format!("{stem}{ending}"), role.name())));
            }
            names.push((whole, role.name()));
        }
        // A path may be the beginning of another.
        names.sort_by_key(|(path, _)| std::cmp::Reverse(path.len()));
        names.iter().fold(text.to_owned(), |text, (path, name)| text.replace(path, name))
    }

    /// Every path, mutable.
    pub(crate) fn paths_mut(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        self.images.values_mut().chain(&mut self.label).chain(&mut self.brain_mask)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_file_names() {
        for good in ["BraTS-GLI-00001-000", "a b", "1", "sub-strokecase0001_ses-0001", "Fälle"] {
            assert_eq!(CaseId::new(good).unwrap().as_str(), good);
        }
        let long = "x".repeat(CaseId::MAX_LEN + 1);
        for bad in ["", ".", "..", "../x", "a/b", "a\\b", "C:", "a\n", " a", "a ", "a.", ".hidden", &long] {
            assert!(CaseId::new(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn reasons_name_no_path() {
        let mut case = Case::new(CaseId::new("1").unwrap(), "1", "set");
        case.images.insert(Modality::T1, "/data/Doe/a.hdr".into());
        case.images.insert(Modality::T2, "/data/Doe/a.hdr.nii".into());
        case.label = Some("/data/Doe/seg.nii.gz".into());
        for (text, expected) in [
            ("/data/Doe/a.img: truncated", "t1: truncated"),
            ("/data/Doe/a.hdr.nii: the same voxels as /data/Doe/a.hdr", "t2: the same voxels as t1"),
            ("label /data/Doe/seg.nii.gz is empty", "label label is empty"),
            (
                "/data/Doe/a.hdr: its voxels must be next to it, named a.img",
                "t1: its voxels must be next to it, named t1",
            ),
            ("no head", "no head"),
        ] {
            assert_eq!(case.without_paths(text), expected);
        }
    }

    #[test]
    fn split_words() {
        assert_eq!("Train".parse(), Ok(Split::Training));
        assert_eq!("val".parse(), Ok(Split::Validation));
        assert!("fold0".parse::<Split>().is_err());
    }
}
