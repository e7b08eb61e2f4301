//! Data lists of MONAI and the Medical Segmentation Decathlon, and the dialect of BrainMVP's released lists.
//!
//! An object with splits (`training`, `validation`, `test`...), each an array of cases: `image` is a path or an
//! array of paths (one per modality), `label` a path, an array of one, or a number (a class). A case may also be
//! a bare path. Decathlon lists name their channels under `modality` and their label values under `labels`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use brainmvp_volume::{Modality, Role};
use serde_json::{Map, Value};

use super::{Candidate, Draft, IndexOptions, Layout, Listing, Rejected, file_name, name_of};
use crate::identity::{self, Source};
use crate::{Error, LabelScheme, Result, Split};

/// A `.json` list, or a folder that holds exactly one.
pub(super) struct Monai;

/// Keys of a case that are read; others are counted in a warning.
const CASE_KEYS: [&str; 2] = ["image", "label"];

impl Layout for Monai {
    fn name(&self) -> &'static str {
        "monai"
    }

    fn describe(&self) -> &'static str {
        "a data list of MONAI, the Decathlon or BrainMVP (.json with training/validation/test); a file or its folder"
    }

    fn recognises(&self, path: &Path) -> Option<String> {
        let list = lists(path).into_iter().next()?;
        Some(format!("{} is a data list", list.file_name()?.to_string_lossy()))
    }

    fn list(&self, path: &Path, options: &IndexOptions) -> Result<Listing> {
        let file = the_list(path)?;
        let object = read_object(&file).map_err(|reason| Error::malformed(&file, reason))?;
        let base = options.base_dir.clone().or_else(|| file.parent().map(Path::to_owned)).unwrap_or_default();
        let table = channel_table(&object, options).map_err(|reason| Error::malformed(&file, reason))?;
        let data_set =
            object.get("name").and_then(Value::as_str).map_or_else(|| name_of(&file), str::to_owned);
        let mut listing = Listing::default();
        match label_table(&object) {
            Ok(scheme) => listing.label_schemes.extend(scheme.map(|scheme| (data_set.clone(), scheme))),
            Err(reason) => {
                listing.warnings.push(format!("{}: {reason}; see --label-scheme", file.display()));
            }
        }
        let reader = Reader { base: &base, channels: &table, data_set: &data_set, options };
        let mut missing = 0;
        let mut extra_keys: BTreeMap<&str, usize> = BTreeMap::new();
        for (split, items) in splits(&object) {
            for (i, item) in items.iter().enumerate() {
                for key in item
                    .as_object()
                    .into_iter()
                    .flat_map(Map::keys)
                    .filter(|k| !CASE_KEYS.contains(&k.as_str()))
                {
                    *extra_keys.entry(key).or_default() += 1;
                }
                match reader.draft(item) {
                    Ok(draft) => match draft.files.iter().find(|file| !file.path.is_file()) {
                        None => listing.drafts.push(Draft { split: split.parse::<Split>().ok(), ..draft }),
                        Some(absent) => {
                            missing += 1;
                            let reason = format!("{}: no such file", absent.path.display());
                            listing.rejected.push(Rejected { case: draft.id, reason });
                        }
                    },
                    Err(reason) => listing.rejected.push(Rejected { case: format!("{split}[{i}]"), reason }),
                }
            }
        }
        if listing.drafts.is_empty() && missing > 0 {
            let base = base.display();
            return Err(Error::malformed(
                &file,
                format!("none of {missing} cases has its files below {base}; see --base-dir"),
            ));
        }
        for (key, count) in extra_keys {
            listing.warnings.push(format!("key '{key}' of {count} cases is not used"));
        }
        Ok(listing)
    }
}

/// The data lists at or in `path`.
fn lists(path: &Path) -> Vec<PathBuf> {
    let is_json =
        |path: &Path| path.extension().is_some_and(|e| e.eq_ignore_ascii_case("json")) && path.is_file();
    let mut found: Vec<PathBuf> = if path.is_file() {
        vec![path.to_owned()]
    } else {
        std::fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
    };
    found.retain(|file| is_json(file) && read_object(file).is_ok_and(|object| !splits(&object).is_empty()));
    found.sort();
    found
}

fn the_list(path: &Path) -> Result<PathBuf> {
    if path.is_file() {
        let object = read_object(path).map_err(|reason| Error::malformed(path, reason))?;
        if object.get("format").and_then(Value::as_str) == Some(crate::Cohort::FORMAT) {
            return Err(Error::malformed(
                path,
                "already is a cohort file; use it with check or preprocess as it is",
            ));
        }
        if splits(&object).is_empty() {
            return Err(Error::malformed(path, "no array of cases such as \"training\": not a data list"));
        }
        return Ok(path.to_owned());
    }
    match lists(path).as_slice() {
        [one] => Ok(one.clone()),
        [] => Err(Error::malformed(
            path,
            "no data list (.json with an array such as \"training\") in this folder",
        )),
        several => {
            let names: Vec<_> = several.iter().map(|list| name_of(list)).collect();
            Err(Error::malformed(
                path,
                format!("several data lists ({}); give one of the files", names.join(", ")),
            ))
        }
    }
}

fn read_object(file: &Path) -> std::result::Result<Map<String, Value>, String> {
    let text = std::fs::read_to_string(file).map_err(|e| e.to_string())?;
    match serde_json::from_str(&text).map_err(|e| format!("not JSON: {e}"))? {
        Value::Object(object) => Ok(object),
        _ => Err("not a data list: expected an object with splits".to_owned()),
    }
}

/// The arrays of cases, by the name of their split.
fn splits(object: &Map<String, Value>) -> Vec<(&str, &Vec<Value>)> {
    let is_case = |item: &Value| item.get("image").is_some();
    let arrays = object.iter().filter_map(|(key, value)| Some((key.as_str(), value.as_array()?)));
    let named = |key: &str| key.parse::<Split>().is_ok();
    arrays
        .filter(|(key, items)| {
            items.first().is_some_and(|first| is_case(first) || named(key) && first.is_string())
        })
        .collect()
}

/// The modality of each channel: from the user, else from the list's `modality` table, else from the file names.
fn channel_table(
    object: &Map<String, Value>,
    options: &IndexOptions,
) -> std::result::Result<Vec<Modality>, String> {
    let Some(table) =
        object.get("modality").and_then(Value::as_object).filter(|_| options.channels.is_empty())
    else {
        return Ok(options.channels.clone());
    };
    let mut channels: BTreeMap<u32, Modality> = BTreeMap::new();
    for (index, name) in table {
        // Some Decathlon lists only say "MR" or "MRI".
        let named = name.as_str().and_then(|name| identity::of_word(name, &options.aliases).modality());
        let Some(modality) = named else {
            if table.len() == 1 {
                return Ok(Vec::new());
            }
            return Err(format!("\"modality\" {name} is not known; see --channels"));
        };
        let index = index.parse().map_err(|_| format!("\"modality\" has the key '{index}', not a number"))?;
        channels.insert(index, modality);
    }
    Ok(channels.into_values().collect())
}

/// The label values that a Decathlon list declares, if it does.
fn label_table(object: &Map<String, Value>) -> std::result::Result<Option<LabelScheme>, String> {
    let Some(table) = object.get("labels").and_then(Value::as_object) else { return Ok(None) };
    let entry = |(value, name): (&String, &Value)| {
        let entry = value.parse::<u16>().ok().zip(name.as_str().map(str::to_owned));
        entry.ok_or_else(|| format!("\"labels\" has '{value}': {name}, not a label value with its name"))
    };
    let mut values: BTreeMap<u16, String> = table.iter().map(entry).collect::<std::result::Result<_, _>>()?;
    values.remove(&0);
    Ok((!values.is_empty()).then_some(LabelScheme::Values(values)))
}

/// Reads the cases of one list.
struct Reader<'a> {
    base: &'a Path,
    channels: &'a [Modality],
    data_set: &'a str,
    options: &'a IndexOptions,
}

impl Reader<'_> {
    fn draft(&self, item: &Value) -> std::result::Result<Draft, String> {
        let images = paths(item.get("image").unwrap_or(item))
            .ok_or("\"image\" is neither a path nor an array of paths")?;
        let first = images.first().ok_or("\"image\" is empty")?;
        if !self.channels.is_empty() && self.channels.len() != images.len() {
            let (images, channels) = (images.len(), self.channels.len());
            return Err(format!(
                "{images} image files for {channels} channels; a 4-D file must be split first"
            ));
        }
        let mut draft = Draft::new("", self.data_set);
        let mut identifiers = Vec::new();
        for (i, image) in images.iter().enumerate() {
            let (identifier, candidate) = self.image(image, self.channels.get(i).copied())?;
            identifiers.push(identifier);
            draft.files.push(candidate);
        }
        identifiers.dedup();
        draft.id = match identifiers.as_slice() {
            [one] if !one.is_empty() => one.clone(),
            _ => Path::new(first).parent().map_or_else(String::new, last_name),
        };
        draft.subject.clone_from(&draft.id);
        match item.get("label") {
            None | Some(Value::Null) => {}
            Some(Value::Number(class)) => draft.class = Some(class.to_string()),
            Some(label) => match paths(label).as_deref() {
                Some([one]) => draft.files.push(self.candidate(one, Role::Label, "label")),
                _ => return Err("\"label\" is neither a path, an array of one, nor a number".to_owned()),
            },
        }
        Ok(draft)
    }

    /// An image and the part of its name before the modality; the modality may already be known.
    fn image(
        &self,
        image: &str,
        known: Option<Modality>,
    ) -> std::result::Result<(String, Candidate), String> {
        let path = Path::new(image);
        let stem = file_name::stem(path)
            .ok_or_else(|| format!("{image}: not a volume (.nii .nii.gz .hdr .mgz .nrrd)"))?;
        let folder = path.parent().map_or_else(String::new, last_name);
        let named = file_name::parse(path, &folder, &self.options.aliases);
        if let Some(modality) = known {
            // The name may or may not contain the modality given in the list.
            let role = Role::Image(modality);
            let identifier = named.filter(|n| n.candidate.role == role).map_or(stem, |n| n.identifier);
            return Ok((identifier.to_owned(), self.candidate(image, role, modality.name())));
        }
        let Some(named) = named.filter(|named| matches!(named.candidate.role, Role::Image(_))) else {
            let hint = file_name::hint(path).unwrap_or_else(|| "see --channels and --alias".to_owned());
            return Err(format!("{image}: the name contains no known modality; {hint}"));
        };
        // Two images of one modality are an error in a list; neither is chosen.
        let candidate = Candidate { path: self.path(image), variant: Vec::new(), ..named.candidate };
        Ok((named.identifier.to_owned(), candidate))
    }

    fn candidate(&self, path: &str, role: Role, word: &str) -> Candidate {
        Candidate::stated(self.path(path), Source::List, word, role)
    }

    fn path(&self, path: &str) -> PathBuf {
        self.base.join(path.trim_start_matches("./"))
    }
}

/// One path or an array of them.
fn paths(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::String(one) => Some(vec![one.clone()]),
        Value::Array(several) => several.iter().map(|path| path.as_str().map(str::to_owned)).collect(),
        _ => None,
    }
}

/// The last part of a path, without the ending of a volume.
fn last_name(path: &Path) -> String {
    let name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    file_name::stem(path).map_or(name, str::to_owned)
}
