//! A cohort as a BIDS derivative.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use brainmvp_volume::nifti::{self, Erased};
use brainmvp_volume::{Modality, Role, Volume, file, write_atomically};
use serde_json::{Map, json};

use super::{BidsFolder, BidsName, DatasetType, Eraser, Erasure, Participant, label_of};
use crate::layouts::Rejected;
use crate::{Case, CaseId, Cohort, Error, LabelScheme, Result};

/// How a cohort is exported.
#[derive(Clone, Copy, Default)]
pub struct ExportOptions<'a> {
    /// The space that all images are in (`SRI24`, `MNI152NLin2009cAsym`); `None` if each image is in its own.
    pub space: Option<&'a str>,
    /// A folder of label maps `<case>.nii.gz`, as `predict` writes them, to use instead of the cohort's labels.
    pub predictions: Option<&'a Path>,
    /// What is erased of the images.
    pub eraser: Option<&'a Eraser<'a>>,
}

/// What was written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Exported {
    /// Cases.
    pub cases: usize,
    /// Images, labels and masks.
    pub files: usize,
    /// Cases that could not be written, and why.
    pub rejected: Vec<Rejected>,
    /// Images of which nothing was erased, and why.
    pub untouched: Vec<String>,
}

/// Writes the images, labels and brain masks of a cohort as a BIDS derivative below `out`.
///
/// Subjects become `sub-<letters and digits of their name>`; where a subject has several cases, each becomes a session.
/// The voxels of NIfTI files are copied as they are stored, without the free text of the header; other files become `.nii.gz`.
///
/// # Errors
/// Where two subjects would get the same name, the folder of predictions cannot be read, or `out` cannot be written. A
/// case with a file that cannot be read is in [`Exported::rejected`].
pub fn export(cohort: &Cohort, out: &Path, options: &ExportOptions<'_>) -> Result<Exported> {
    let names = names(cohort)?;
    let mut folder = BidsFolder::create(out, &cohort.name, DatasetType::Derivative)?;
    let mut done = Exported::default();
    for case in &cohort.cases {
        let (subject, session) = &names[&case.id];
        let written = erasures(case, options, &mut done.untouched).and_then(|erasures| {
            write_case(cohort, case, (subject, session.as_ref()), &folder, (options, &erasures))
        });
        match written {
            Ok(files) => {
                let Case { class, site, numbers, .. } = case.clone();
                folder.note(subject, Participant { class, site, numbers });
                done.cases += 1;
                done.files += files;
            }
            Err(Error::Erase(reason)) => {
                done.rejected.push(Rejected { case: case.id.to_string(), reason });
            }
            Err(Error::Volume(error)) => {
                done.rejected.push(Rejected {
                    case: case.id.to_string(),
                    reason: case.without_paths(&error.to_string()),
                });
            }
            Err(error) => return Err(error),
        }
    }
    folder.finish()?;
    Ok(done)
}

/// The subject and session of each case.
type Names = BTreeMap<CaseId, (String, Option<String>)>;

fn names(cohort: &Cohort) -> Result<Names> {
    let mut subjects: BTreeMap<(&str, &str), Vec<&Case>> = BTreeMap::new();
    for case in &cohort.cases {
        subjects.entry((&case.data_set, &case.subject)).or_default().push(case);
    }
    let mut taken = BTreeMap::new();
    let mut names = Names::new();
    for ((data_set, subject), cases) in subjects {
        let label = label_of(subject);
        if let Some(other) = taken.insert(label.to_lowercase(), subject) {
            return Err(Error::Option(format!(
                "subjects '{other}' and '{subject}' (data set {data_set}) would both be sub-{label}; rename one"
            )));
        }
        let several = cases.len() > 1;
        let mut sessions = BTreeSet::new();
        for (i, case) in cases.into_iter().enumerate() {
            // The rest of the case's name, without the subject, names the session best: `000` of BraTS-MEN-00004-000.
            let rest = label_of(case.id.as_str().strip_prefix(subject).unwrap_or_default());
            let unique = if rest == "x" || sessions.contains(&rest) { format!("{}", i + 1) } else { rest };
            sessions.insert(unique.clone());
            names.insert(case.id.clone(), (label.clone(), several.then_some(unique)));
        }
    }
    Ok(names)
}

fn write_case(
    cohort: &Cohort,
    case: &Case,
    (subject, session): (&str, Option<&String>),
    folder: &BidsFolder,
    (options, erasures): (&ExportOptions<'_>, &Erasures),
) -> Result<usize> {
    let predicted = options.predictions.map(|dir| prediction_of(dir, &case.id)).transpose()?;
    let own = case.files().filter(|(role, _)| *role != Role::Label || options.predictions.is_none());
    let files: Vec<(Role, &Path)> =
        own.chain(predicted.iter().map(|path| (Role::Label, path.as_path()))).collect();
    for (role, path) in &files {
        let description = match (role, options.predictions.is_some()) {
            (Role::Label, true) => "prediction",
            (Role::Label, false) => "manual",
            _ => "preproc",
        };
        let name = BidsName {
            subject: subject.to_owned(),
            session: session.cloned(),
            run: None,
            space: options.space.map(str::to_owned),
            description: Some(description.to_owned()),
            role: *role,
        };
        copy(path, &name, folder, erasures.get(role))?;
        let mut sidecar = Map::new();
        if let Role::Image(_) = role {
            sidecar.insert("SkullStripped".to_owned(), json!(case.brain_mask.is_some()));
        }
        if let Some(space) = options.space {
            sidecar.insert("SpatialReference".to_owned(), json!(space));
        }
        if *role == Role::BrainMask {
            sidecar.insert("Type".to_owned(), json!("Brain"));
        }
        if *role == Role::Label {
            let by_hand = options.predictions.is_none();
            sidecar.insert("Manual".to_owned(), json!(by_hand));
            if let Some(scheme) = cohort.label_scheme(case) {
                write_lookup_table(scheme, &folder.place(&name, ".tsv")?)?;
            }
        }
        folder.write_sidecar(&name, &sidecar)?;
    }
    Ok(files.len())
}

fn prediction_of(dir: &Path, id: &CaseId) -> Result<PathBuf> {
    let candidates = [".nii.gz", ".nii"].map(|ending| dir.join(format!("{id}{ending}")));
    let found = candidates.into_iter().find(|path| path.is_file());
    let missing =
        || brainmvp_volume::Error::malformed(&dir.join(format!("{id}.nii.gz")), "no such prediction");
    Ok(found.ok_or_else(missing)?)
}

/// What is erased of the images of a case.
type Erasures = BTreeMap<Role, Erased>;

fn erasures(case: &Case, options: &ExportOptions<'_>, untouched: &mut Vec<String>) -> Result<Erasures> {
    let Some(eraser) = options.eraser else { return Ok(Erasures::new()) };
    let read = |(modality, path): (&Modality, &PathBuf)| Ok((*modality, file::read(path)?));
    let images: Vec<(Modality, Volume)> = case.images.iter().map(read).collect::<Result<_>>()?;
    let found = eraser(&images).map_err(Error::Erase)?;
    let mut erasures = Erasures::new();
    for ((modality, _), erasure) in images.iter().zip(found) {
        match erasure {
            Erasure::Voxels(erased) => drop(erasures.insert(Role::Image(*modality), erased)),
            Erasure::Nothing(reason) => untouched.push(format!("{} {modality}: {reason}", case.id)),
        }
    }
    Ok(erasures)
}

fn copy(path: &Path, name: &BidsName, folder: &BidsFolder, erased: Option<&Erased>) -> Result<()> {
    let text = path.to_string_lossy().to_lowercase();
    if let Some(ending) = [".nii.gz", ".nii"].into_iter().find(|ending| text.ends_with(ending)) {
        return Ok(nifti::copy(path, &folder.place(name, ending)?, erased)?);
    }
    let to = folder.place(name, ".nii.gz")?;
    if !matches!(name.role, Role::Image(_)) {
        return Ok(nifti::write_labels(&to, &file::read_labels(path)?, "")?);
    }
    let mut image = file::read(path)?;
    if let Some(erased) = erased {
        erased.apply(&mut image);
    }
    Ok(nifti::write(&to, &image, nifti::WriteOptions::default())?)
}

/// The values of a label map with their names, in a file next to it.
fn write_lookup_table(scheme: &LabelScheme, path: &Path) -> Result<()> {
    let rows =
        scheme.values().into_iter().map(|(value, name)| format!("{value}\t{}\n", name.replace('\t', " ")));
    let text = std::iter::once("index\tname\n0\tbackground\n".to_owned()).chain(rows).collect::<String>();
    Ok(write_atomically(path, |file| file.write_all(text.as_bytes()))?)
}
