//! The cohort and its file, `cohort.json`.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::{Component, Path, PathBuf};

use brainmvp_volume::AtPath as _;
use serde::{Deserialize, Serialize};

use crate::{Case, Error, LabelScheme, Result};

/// What is declared for a whole data set.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataSet {
    /// The meaning of its label values; `None` until it is declared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label_scheme: Option<LabelScheme>,
}

/// Cases of one or more data sets.
///
/// Paths in memory can be opened as they are. In `cohort.json` they are relative to the folder of that file
/// and written with `/`, so a cohort moves with its data; a path is absolute only where no relative one exists (another
/// drive).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Cohort {
    /// The name of the cohort.
    pub name: String,
    /// The data sets by name; every case belongs to one.
    pub data_sets: BTreeMap<String, DataSet>,
    /// The cases, sorted by id.
    pub cases: Vec<Case>,
}

/// `cohort.json` as it is written.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct CohortFile {
    format: String,
    version: u32,
    name: String,
    data_sets: BTreeMap<String, DataSet>,
    cases: Vec<Case>,
}

impl Cohort {
    /// The `format` field of the file.
    pub const FORMAT: &str = "brainmvp-cohort";
    /// The version of the file format that this code writes and reads.
    pub const VERSION: u32 = 1;

    /// Reads `cohort.json`; the paths of the cases are resolved against its folder.
    ///
    /// # Errors
    /// [`Error::File`] if it cannot be read; [`Error::Malformed`] for anything but a cohort of this version:
    /// not JSON, an unknown field, an id twice, an undeclared data set.
    pub fn load(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).at(path)?;
        Self::from_json(&text, folder_of(path)).map_err(|reason| Error::malformed(path, reason))
    }

    /// Writes `cohort.json`: sorted, indented, paths relative to its folder. The same cohort gives the same
    /// bytes. The file is written completely or not at all.
    ///
    /// # Errors
    /// [`Error::Malformed`] if an id occurs twice or a data set is not declared; [`Error::File`] if the
    /// folder is missing or the disk is full.
    pub fn save(&self, path: &Path) -> Result<()> {
        let folder = folder_of(path);
        let text = self.to_json(folder).map_err(|reason| Error::malformed(path, reason))?;
        brainmvp_volume::write_atomically(path, |file| file.write_all(text.as_bytes()))?;
        Ok(())
    }

    /// Sorts the cases by id, the order of the file.
    pub fn sort(&mut self) {
        self.cases.sort_by(|a, b| a.id.cmp(&b.id));
    }

    /// The declared label scheme of a case's data set.
    pub fn label_scheme(&self, case: &Case) -> Option<&LabelScheme> {
        self.data_sets.get(&case.data_set)?.label_scheme.as_ref()
    }

    fn to_json(&self, folder: &Path) -> std::result::Result<String, String> {
        self.validate()?;
        let from = Folder::new(folder);
        let mut cases = self.cases.clone();
        for path in cases.iter_mut().flat_map(Case::paths_mut) {
            *path = from.relative(path)?.into();
        }
        cases.sort_by(|a, b| a.id.cmp(&b.id));
        let file = CohortFile {
            format: Self::FORMAT.to_owned(),
            version: Self::VERSION,
            name: self.name.clone(),
            data_sets: self.data_sets.clone(),
            cases,
        };
        let mut text = serde_json::to_string_pretty(&file).map_err(|e| e.to_string())?;
        text.push('\n');
        Ok(text)
    }

    fn from_json(text: &str, folder: &Path) -> std::result::Result<Self, String> {
        // The version first, so that a file of a later version is not taken for a broken one.
        let value: serde_json::Value = serde_json::from_str(text).map_err(|e| format!("not JSON: {e}"))?;
        if value.get("format").and_then(|v| v.as_str()) != Some(Self::FORMAT) {
            return Err(format!(
                "not a cohort file: expected \"format\": \"{}\"; `brainmvp index` writes one",
                Self::FORMAT
            ));
        }
        match value.get("version").and_then(serde_json::Value::as_u64) {
            Some(version) if version == u64::from(Self::VERSION) => {}
            Some(version) => {
                return Err(format!(
                    "cohort version {version}, but this program reads {}; index again",
                    Self::VERSION
                ));
            }
            None => return Err("no \"version\" number".to_owned()),
        }
        let file: CohortFile = serde_json::from_str(text).map_err(|e| e.to_string())?;
        let mut cohort = Self { name: file.name, data_sets: file.data_sets, cases: file.cases };
        cohort.validate()?;
        cohort.sort();
        for path in cohort.cases.iter_mut().flat_map(Case::paths_mut) {
            *path = folder.join(&*path);
        }
        Ok(cohort)
    }

    /// The rules for every cohort: unique ids (also when upper and lower case are not distinguished), declared data
    /// sets, named subjects.
    fn validate(&self) -> std::result::Result<(), String> {
        let mut seen = BTreeSet::new();
        for case in &self.cases {
            if !seen.insert(case.id.as_str().to_lowercase()) {
                return Err(format!(
                    "case id '{}' occurs twice (upper and lower case count as the same)",
                    case.id
                ));
            }
            if !self.data_sets.contains_key(&case.data_set) {
                return Err(format!(
                    "case '{}': data set '{}' is not in \"data_sets\"",
                    case.id, case.data_set
                ));
            }
            if case.subject.is_empty() {
                return Err(format!("case '{}': the subject is empty", case.id));
            }
        }
        Ok(())
    }
}

/// The folder that a file lies in; the current one for a bare name.
fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// A folder that paths are written relative to, both as it was named and with its links resolved.
struct Folder {
    named: PathBuf,
    real: PathBuf,
}

impl Folder {
    fn new(folder: &Path) -> Self {
        let named = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
        let real = std::fs::canonicalize(folder).unwrap_or_else(|_| named.clone());
        Self { named, real }
    }

    /// `path` relative to the folder, with `/`. Paths below the folder keep their names; for others, links in folder
    /// names are resolved first, since `..` goes up from the real folder.
    fn relative(&self, path: &Path) -> std::result::Result<String, String> {
        let absolute = std::path::absolute(path).map_err(|e| format!("{}: {e}", path.display()))?;
        let below = absolute.strip_prefix(&self.named).or_else(|_| absolute.strip_prefix(&self.real));
        if let Ok(below) = below {
            return slashed(below);
        }
        let real = match (absolute.parent().map(std::fs::canonicalize), absolute.file_name()) {
            (Some(Ok(parent)), Some(name)) => parent.join(name),
            _ => absolute,
        };
        let shared = real.components().zip(self.real.components()).take_while(|(a, b)| a == b).count();
        // Nothing in common, not even the root: another drive.
        if shared == 0 {
            return slashed(&real);
        }
        let up = self.real.components().skip(shared).map(|_| Component::ParentDir);
        slashed(&up.chain(real.components().skip(shared)).collect::<PathBuf>())
    }
}

/// A path with `/` between its parts.
fn slashed(path: &Path) -> std::result::Result<String, String> {
    let text =
        path.to_str().ok_or_else(|| format!("{}: the name is not Unicode; rename it", path.display()))?;
    Ok(if cfg!(windows) { text.replace('\\', "/") } else { text.to_owned() })
}
