//! nnU-Net's raw folders, version 2 and 1: `dataset.json`, `imagesTr/CASE_0000.nii.gz`, `labelsTr/CASE.nii.gz`.
//!
//! The modality of a channel is given by `channel_names` (version 1: `modality`), never by its number.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use brainmvp_volume::{Modality, Role, file};
use serde_json::{Map, Value};

use super::label_table::label_scheme;
use super::{Candidate, Draft, IndexOptions, Layout, Listing, Rejected, file_name, listed, name_of};
use crate::identity::{self, Finding, Source};
use crate::{Error, Result, Split};

/// A `DatasetXXX_Name` folder, or a folder with several of them.
pub(super) struct NnUnet;

impl Layout for NnUnet {
    fn name(&self) -> &'static str {
        "nnunet"
    }

    fn describe(&self) -> &'static str {
        "nnU-Net raw (DatasetXXX_Name with dataset.json, imagesTr/CASE_0000.nii.gz, labelsTr), one or several"
    }

    fn recognises(&self, path: &Path) -> Option<String> {
        let folders = data_sets(path);
        folders.iter().find_map(|folder| {
            let channels = channel_names(&read_object(&folder.join("dataset.json")).ok()?)?.len();
            Some(format!("{} with dataset.json of {channels} channels", name_of(folder)))
        })
    }

    fn list(&self, path: &Path, options: &IndexOptions) -> Result<Listing> {
        let folders = data_sets(path);
        if folders.is_empty() {
            let reason = "no dataset.json with channel_names and imagesTr beside it";
            return Err(Error::malformed(path, reason));
        }
        let mut listing = Listing::default();
        for folder in &folders {
            match list_one(folder, options, &mut listing) {
                Err(error) if folders.len() > 1 => {
                    listing.rejected.push(Rejected { case: name_of(folder), reason: error.to_string() });
                }
                listed => listed?,
            }
        }
        Ok(listing)
    }
}

/// The nnU-Net data sets among the folder itself and those in it, those with a damaged `dataset.json` included.
fn data_sets(path: &Path) -> Vec<PathBuf> {
    let mut folders = vec![path.to_owned()];
    let inside = std::fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path());
    folders.extend(inside.filter(|path| path.is_dir()));
    folders.retain(|folder| {
        let file = folder.join("dataset.json");
        let Ok(object) = read_object(&file) else { return file.exists() && folder.join("imagesTr").is_dir() };
        let channels = channel_names(&object).map_or(0, |names| names.len());
        channels > 0
            && (object.get("dataset").is_some_and(Value::is_object) || has_channel_files(folder, channels))
    });
    folders.sort();
    folders
}

/// Whether there is one file per channel; those of the Decathlon are 4-D files without a channel number.
fn has_channel_files(folder: &Path, channels: usize) -> bool {
    let (files, _) = file_name::volume_files(&folder.join("imagesTr"));
    !files.is_empty()
        && files.iter().all(|file| channel_of(file).is_some_and(|(_, channel)| channel < channels))
}

/// `CASE` and 0 of `CASE_0000.nii.gz`.
fn channel_of(path: &Path) -> Option<(&str, usize)> {
    let (case, channel) = file_name::stem(path)?.rsplit_once('_')?;
    let digits = channel.len() == 4 && channel.bytes().all(|byte| byte.is_ascii_digit());
    Some((case, channel.parse().ok().filter(|_| digits && !case.is_empty())?))
}

fn read_object(file: &Path) -> std::result::Result<Map<String, Value>, String> {
    let text = std::fs::read_to_string(file).map_err(|e| e.to_string())?;
    match serde_json::from_str(&text).map_err(|e| format!("not JSON: {e}"))? {
        Value::Object(object) => Ok(object),
        _ => Err("expected an object".to_owned()),
    }
}

/// The names of the channels, in their order.
fn channel_names(object: &Map<String, Value>) -> Option<BTreeMap<usize, String>> {
    let table = object.get("channel_names").or_else(|| object.get("modality"))?.as_object()?;
    table.iter().map(|(index, name)| Some((index.parse().ok()?, name.as_str()?.to_owned()))).collect()
}

fn list_one(folder: &Path, options: &IndexOptions, listing: &mut Listing) -> Result<()> {
    let file = folder.join("dataset.json");
    let refuse = |reason: String| Error::malformed(&file, reason);
    let object = read_object(&file).map_err(refuse)?;
    let names = channel_names(&object).ok_or_else(|| refuse("no table \"channel_names\"".to_owned()))?;
    let channels = channels(&names, options).map_err(refuse)?;
    let data_set = name_of(folder);
    match label_scheme(object.get("labels")) {
        Ok(scheme) => listing.label_schemes.extend(scheme.map(|scheme| (data_set.clone(), scheme))),
        Err(reason) => listing.warnings.push(format!("{}: {reason}; see --label-scheme", file.display())),
    }
    if let Some(cases) = object.get("dataset").and_then(Value::as_object) {
        for (case, entry) in cases {
            match explicit(folder, entry) {
                Some((images, label)) => {
                    push(listing, (&data_set, case), &images, label, (&channels, Split::Training));
                }
                None => listing.rejected.push(Rejected {
                    case: case.clone(),
                    reason: "\"images\" is not an array of paths, or \"label\" is not a path".to_owned(),
                }),
            }
        }
        return Ok(());
    }
    for (images, labels, split) in
        [("imagesTr", "labelsTr", Split::Training), ("imagesTs", "labelsTs", Split::Test)]
    {
        let (files, warnings) = file_name::volume_files(&folder.join(images));
        if split == Split::Training {
            listing.warnings.extend(warnings);
        }
        let mut cases: BTreeMap<String, BTreeMap<usize, PathBuf>> = BTreeMap::new();
        for path in files {
            match channel_of(&path).map(|(case, channel)| (case.to_owned(), channel)) {
                Some((case, channel)) => drop(cases.entry(case).or_default().insert(channel, path)),
                None => {
                    listing
                        .unknown
                        .push((path, Some("the name does not end in a channel, _0000".to_owned())));
                }
            }
        }
        for (case, images) in cases {
            let missing: Vec<_> = names.keys().filter(|channel| !images.contains_key(channel)).collect();
            if images.len() != names.len() || !missing.is_empty() {
                let reason = format!("{} of {} channels; without {missing:?}", images.len(), names.len());
                listing.rejected.push(Rejected { case, reason });
                continue;
            }
            let label = file::ENDINGS.map(|ending| folder.join(labels).join(format!("{case}{ending}")));
            let label = label.into_iter().find(|path| path.is_file());
            let images: Vec<PathBuf> = images.into_values().collect();
            push(listing, (&data_set, &case), &images, label, (&channels, split));
        }
    }
    Ok(())
}

/// A channel: its modality, and what says so.
struct Channel {
    modality: Modality,
    told_by: String,
}

/// The modalities of the channels. Their names decide together, as those of the images of a session do.
fn channels(
    names: &BTreeMap<usize, String>,
    options: &IndexOptions,
) -> std::result::Result<Vec<Channel>, String> {
    if !options.channels.is_empty() {
        let (given, there) = (options.channels.len(), names.len());
        if given != there {
            return Err(format!("there are {there} channels, but {given} were named"));
        }
        let told_by = "--channels".to_owned();
        let given = options.channels.iter();
        return Ok(given.map(|modality| Channel { modality: *modality, told_by: told_by.clone() }).collect());
    }
    let mut found: Vec<Finding> =
        names.values().map(|name| identity::of_word(name, &options.aliases)).collect();
    identity::settle(&mut found.iter_mut().collect::<Vec<_>>());
    let channel = |(name, finding): (&String, &Finding)| {
        let modality = finding.modality().ok_or_else(|| {
            let (decision, reason) = (finding.decision(), finding.reason());
            format!(
                "channel '{name}' is not a known modality: {decision} [{reason}]; see --channels and --alias"
            )
        })?;
        Ok(Channel { modality, told_by: format!("channel '{name}': {}", finding.reason()) })
    };
    names.values().zip(&found).map(channel).collect()
}

/// The images and the label of an entry of the table `dataset`.
fn explicit(folder: &Path, entry: &Value) -> Option<(Vec<PathBuf>, Option<PathBuf>)> {
    let path = |value: &Value| Some(listed::resolve(folder, value.as_str()?));
    let images = entry.get("images")?.as_array()?.iter().map(path).collect::<Option<_>>()?;
    let label = match entry.get("label") {
        None | Some(Value::Null) => None,
        Some(label) => Some(path(label)?),
    };
    Some((images, label))
}

fn push(
    listing: &mut Listing,
    (data_set, case): (&str, &str),
    images: &[PathBuf],
    label: Option<PathBuf>,
    (channels, split): (&[Channel], Split),
) {
    if images.len() != channels.len() {
        let reason = format!("{} images for {} channels", images.len(), channels.len());
        return listing.rejected.push(Rejected { case: case.to_owned(), reason });
    }
    let file = |path: &PathBuf, role, word: &str| Candidate::stated(path.clone(), Source::List, word, role);
    let mut draft = Draft { split: Some(split), ..Draft::new(case, data_set) };
    let images = images.iter().zip(channels);
    draft
        .files
        .extend(images.map(|(path, channel)| file(path, Role::Image(channel.modality), &channel.told_by)));
    draft.files.extend(label.iter().map(|path| file(path, Role::Label, "label")));
    let absent = listed::absent(&draft).map(|path| format!("{}: no such file", path.display()));
    match absent {
        None => listing.drafts.push(draft),
        Some(reason) => listing.rejected.push(Rejected { case: case.to_owned(), reason }),
    }
}
