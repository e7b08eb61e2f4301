//! Data lists of MONAI and the Medical Segmentation Decathlon, and the dialect of BrainMVP's released lists.
//!
//! An object with splits (`training`, `validation`, `test`...), each an array of cases, or a bare array of cases. What a case
//! may have is in [`entry`]. Decathlon lists name their channels under `modality` and their label values under `labels`.

mod entry;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use brainmvp_volume::Modality;
use serde_json::{Map, Value};

use self::entry::{Reader, is_case};
use super::label_table::label_scheme;
use super::{Draft, IndexOptions, Layout, Listing, Rejected, listed, name_of};
use crate::identity::{self, Aliases};
use crate::{Error, Result, Split};

/// A `.json` list, or a folder that holds exactly one.
pub(super) struct Monai;

impl Layout for Monai {
    fn name(&self) -> &'static str {
        "monai"
    }

    fn describe(&self) -> &'static str {
        "a data list of MONAI, the Decathlon or BrainMVP (.json with training/validation/test, or an array of cases)"
    }

    fn recognises(&self, path: &Path) -> Option<String> {
        let list = lists(path, &Aliases::default()).into_iter().next()?;
        Some(format!("{} is a data list", list.file_name()?.to_string_lossy()))
    }

    fn list(&self, path: &Path, options: &IndexOptions) -> Result<Listing> {
        let file = the_list(path, &options.aliases)?;
        let list = List::read(&file, &options.aliases).map_err(|reason| Error::malformed(&file, reason))?;
        let base = options.base_dir.clone().or_else(|| file.parent().map(Path::to_owned)).unwrap_or_default();
        let channels =
            channel_table(&list.head, options).map_err(|reason| Error::malformed(&file, reason))?;
        let name = list.head.get("name").and_then(Value::as_str);
        let data_set = name.map_or_else(|| name_of(&file), str::to_owned);
        let mut listing = Listing::default();
        match label_scheme(list.head.get("labels")) {
            Ok(scheme) => listing.label_schemes.extend(scheme.map(|scheme| (data_set.clone(), scheme))),
            Err(reason) => {
                listing.warnings.push(format!("{}: {reason}; see --label-scheme", file.display()));
            }
        }
        let reader =
            Reader { base: &base, channels: &channels, data_set: &data_set, aliases: &options.aliases };
        let missing = list.cases(&reader, &mut listing);
        match missing.first() {
            Some(first) if listing.drafts.is_empty() => {
                Err(Error::malformed(&file, listed::nowhere(missing.len(), first, &base)))
            }
            _ => Ok(listing),
        }
    }
}

/// A list as it is written.
struct List {
    /// What is beside the cases.
    head: Map<String, Value>,
    /// The arrays of cases, by the name of their split; that of a bare array is empty.
    parts: Vec<(String, Vec<Value>)>,
}

impl List {
    /// Reads a list; its parts are empty if it is no data list.
    fn read(file: &Path, aliases: &Aliases) -> std::result::Result<Self, String> {
        let text = std::fs::read_to_string(file).map_err(|e| e.to_string())?;
        let head = match serde_json::from_str(text.trim_start_matches('\u{feff}'))
            .map_err(|e| format!("not JSON: {e}"))?
        {
            Value::Object(head) => head,
            Value::Array(cases) => {
                let is_list = cases.first().is_some_and(|first| is_case(first, aliases));
                let parts = is_list.then(|| (String::new(), cases));
                return Ok(Self { head: Map::new(), parts: parts.into_iter().collect() });
            }
            _ => return Err("not a data list: expected an object with splits, or an array".to_owned()),
        };
        let is_split = |key: &str, items: &[Value]| {
            let named = key.parse::<Split>().is_ok();
            items.first().is_some_and(|first| is_case(first, aliases) || named && first.is_string())
        };
        let arrays = head.iter().filter_map(|(key, value)| Some((key, value.as_array()?)));
        let parts = arrays.filter(|(key, items)| is_split(key, items));
        let parts = parts.map(|(key, items)| (key.clone(), items.clone())).collect();
        Ok(Self { head, parts })
    }

    /// Lists the cases; returns the first absent file of each case that lacks one.
    fn cases(&self, reader: &Reader<'_>, listing: &mut Listing) -> Vec<PathBuf> {
        let mut missing = Vec::new();
        let mut unused: BTreeMap<String, usize> = BTreeMap::new();
        for (split, items) in &self.parts {
            for (i, item) in items.iter().enumerate() {
                for key in reader.unused_keys(item) {
                    *unused.entry(key).or_default() += 1;
                }
                let draft = match reader.draft(item) {
                    Ok(draft) => draft,
                    Err(reason) => {
                        listing.rejected.push(Rejected { case: format!("{split}[{i}]"), reason });
                        continue;
                    }
                };
                match listed::absent(&draft).map(Path::to_owned) {
                    None => {
                        let split = split.parse::<Split>().ok().or(draft.split);
                        listing.drafts.push(Draft { split, ..draft });
                    }
                    Some(absent) => {
                        let reason = format!("{}: no such file", absent.display());
                        listing.rejected.push(Rejected { case: draft.id, reason });
                        missing.push(absent);
                    }
                }
            }
        }
        for (key, count) in unused {
            listing.warnings.push(format!("key '{key}' of {count} cases is not used"));
        }
        missing
    }
}

/// The data lists at or in `path`.
fn lists(path: &Path, aliases: &Aliases) -> Vec<PathBuf> {
    let is_json =
        |path: &Path| path.extension().is_some_and(|e| e.eq_ignore_ascii_case("json")) && path.is_file();
    let mut found: Vec<PathBuf> = if path.is_file() {
        vec![path.to_owned()]
    } else {
        std::fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
    };
    found.retain(|file| {
        is_json(file)
            && List::read(file, aliases).is_ok_and(|list| !list.parts.is_empty() && !list.is_cohort())
    });
    found.sort();
    found
}

impl List {
    /// Whether it is a cohort file of this program.
    fn is_cohort(&self) -> bool {
        self.head.get("format").and_then(Value::as_str) == Some(crate::Cohort::FORMAT)
    }
}

fn the_list(path: &Path, aliases: &Aliases) -> Result<PathBuf> {
    if path.is_file() {
        let list = List::read(path, aliases).map_err(|reason| Error::malformed(path, reason))?;
        if list.is_cohort() {
            return Err(Error::malformed(
                path,
                "already is a cohort file; use it with check or preprocess as it is",
            ));
        }
        if list.parts.is_empty() {
            return Err(Error::malformed(
                path,
                "no array of cases such as \"training\", whose cases have an \"image\" or modalities: not a data list",
            ));
        }
        return Ok(path.to_owned());
    }
    match lists(path, aliases).as_slice() {
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

/// The modality of each channel: from the user, else from the list's `modality` table, else from the file names.
fn channel_table(
    head: &Map<String, Value>,
    options: &IndexOptions,
) -> std::result::Result<Vec<Modality>, String> {
    let Some(table) = head.get("modality").and_then(Value::as_object).filter(|_| options.channels.is_empty())
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
