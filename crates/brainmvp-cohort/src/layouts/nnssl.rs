//! nnssl's collections: `pretrain_data.json` with data sets, subjects, sessions and images.
//!
//! Paths may begin with `$name/`, an environment variable of nnssl ([`IndexOptions::variables`]). nnssl does not group
//! images across modalities; here the images of one session form a case.

use std::path::{Path, PathBuf};

use brainmvp_volume::Role;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{Candidate, Draft, IndexOptions, Layout, Listing, Rejected, file_name, listed};
use crate::identity::{self, Finding, Source};
use crate::{Error, Result};

/// A `pretrain_data.json`, or the folder that holds it.
pub(super) struct Nnssl;

const FILE_NAME: &str = "pretrain_data.json";

/// The session of subjects that have only one.
const DEFAULT_SESSION: &str = "ses-DEFAULT";

#[derive(Deserialize)]
struct Collection {
    datasets: Map<String, Value>,
}

#[derive(Deserialize)]
struct DataSetEntry {
    name: Option<String>,
    subjects: Map<String, Value>,
}

#[derive(Deserialize)]
struct SubjectEntry {
    sessions: Map<String, Value>,
}

#[derive(Deserialize)]
struct SessionEntry {
    images: Vec<ImageEntry>,
}

#[derive(Deserialize)]
struct ImageEntry {
    image_path: String,
    modality: String,
    associated_masks: Option<Masks>,
}

#[derive(Deserialize)]
struct Masks {
    anatomy_mask: Option<String>,
}

impl Layout for Nnssl {
    fn name(&self) -> &'static str {
        "nnssl"
    }

    fn describe(&self) -> &'static str {
        "a collection of nnssl (pretrain_data.json with data sets, subjects, sessions); the file or its folder"
    }

    fn recognises(&self, path: &Path) -> Option<String> {
        let file = file_of(path);
        let collection = read(&file).ok()?;
        Some(format!(
            "{} is a collection of {} data sets",
            file.file_name()?.to_string_lossy(),
            collection.datasets.len()
        ))
    }

    fn list(&self, path: &Path, options: &IndexOptions) -> Result<Listing> {
        let file = file_of(path);
        let refuse = |reason: String| Error::malformed(&file, reason);
        let collection = read(&file).map_err(refuse)?;
        let base = options.base_dir.clone().or_else(|| file.parent().map(Path::to_owned)).unwrap_or_default();
        let mut listing = Listing::default();
        for (id, value) in collection.datasets {
            let set: DataSetEntry =
                serde_json::from_value(value).map_err(|e| refuse(format!("data set '{id}': {e}")))?;
            let name = set.name.unwrap_or(id);
            for (subject, value) in set.subjects {
                match serde_json::from_value(value) {
                    Ok(entry) => list_subject((&name, &subject), entry, &base, options, &mut listing),
                    Err(error) => {
                        listing.rejected.push(Rejected { case: subject, reason: error.to_string() });
                    }
                }
            }
        }
        Ok(listing)
    }
}

fn file_of(path: &Path) -> PathBuf {
    if path.is_dir() { path.join(FILE_NAME) } else { path.to_owned() }
}

fn read(file: &Path) -> std::result::Result<Collection, String> {
    let text = std::fs::read_to_string(file).map_err(|e| e.to_string())?;
    let refuse = |e: &dyn std::fmt::Display| format!("not a collection of nnssl: {e}");
    // An array would do for a struct with one field.
    let collection: Map<String, Value> = serde_json::from_str(&text).map_err(|e| refuse(&e))?;
    serde_json::from_value(collection.into()).map_err(|e| refuse(&e))
}

fn list_subject(
    (data_set, subject): (&str, &str),
    entry: SubjectEntry,
    base: &Path,
    options: &IndexOptions,
    listing: &mut Listing,
) {
    let several = entry.sessions.len() > 1;
    for (session, value) in entry.sessions {
        let id = if several || session != DEFAULT_SESSION {
            format!("{subject}_{session}")
        } else {
            subject.to_owned()
        };
        let draft =
            serde_json::from_value(value).map_err(|e| e.to_string()).and_then(|session: SessionEntry| {
                draft(
                    Draft { subject: subject.to_owned(), ..Draft::new(&id, data_set) },
                    session,
                    base,
                    options,
                )
            });
        match draft {
            Ok(draft) => listing.drafts.push(draft),
            Err(reason) => listing.rejected.push(Rejected { case: id, reason }),
        }
    }
}

fn draft(
    mut draft: Draft,
    session: SessionEntry,
    base: &Path,
    options: &IndexOptions,
) -> std::result::Result<Draft, String> {
    for image in session.images {
        let Some(role) = identity::role_of_word(&image.modality, &options.aliases) else {
            return Err(format!("modality '{}' is not known; see --alias", image.modality));
        };
        let finding = Finding::stated(Source::List, image.modality.as_str(), role);
        let mask =
            image.associated_masks.and_then(|masks| masks.anatomy_mask).filter(|_| draft.files.is_empty());
        let mask = mask.map(|mask| (mask, Finding::stated(Source::List, "anatomy_mask", Role::BrainMask)));
        for (path, finding) in [Some((image.image_path, finding)), mask].into_iter().flatten() {
            let path = resolve(&path, base, options)?;
            if !path.is_file() {
                return Err(format!("{}: no such file", path.display()));
            }
            let variant = file_name::stem(&path).map(str::to_lowercase).into_iter().collect();
            draft.files.push(Candidate::found(path, finding, &image.modality, variant));
        }
    }
    // Several images of one modality in a session: the first by name.
    draft.prefer(|file| file.path.clone());
    Ok(draft)
}

/// A path with its variable substituted; relative ones start from the collection's folder.
fn resolve(path: &str, base: &Path, options: &IndexOptions) -> std::result::Result<PathBuf, String> {
    let slashed = listed::slashed(path);
    let Some((variable, rest)) = slashed.strip_prefix('$').and_then(|path| path.split_once('/')) else {
        return Ok(listed::resolve(base, path));
    };
    if let Some(folder) = &options.base_dir {
        return Ok(folder.join(rest));
    }
    let folder = options.variables.get(variable);
    folder.map(|folder| Path::new(folder).join(rest)).ok_or_else(|| {
        format!("{path}: the environment variable {variable} is not set; set it, or give --base-dir")
    })
}
