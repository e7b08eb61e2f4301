//! Plain folders: one folder per case, or flat files that share the text before the modality.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use brainmvp_volume::Role;
use regex::Regex;

use super::file_name::{self, Named};
use super::{Candidate, Draft, IndexOptions, Layout, Listing, name_of};
use crate::identity::{self, Verdict};
use crate::{Error, Result};

/// `case/t1.nii.gz`, `case/case_t1.nii.gz`, flat `case_t1.nii.gz`, `T1/case_T1.nii.gz`, or by a pattern.
pub(super) struct Plain;

/// Where a case comes from: its folder and, if the folder has several cases, the text that its files share before the
/// modality.
type Key = (PathBuf, Option<String>);

impl Layout for Plain {
    fn name(&self) -> &'static str {
        "plain"
    }

    fn describe(&self) -> &'static str {
        "plain folders: one per case (case/t1.nii.gz), flat files (case_t1.nii.gz), or any names with --pattern"
    }

    fn recognises(&self, path: &Path) -> Option<String> {
        let (files, _) = if path.is_dir() { file_name::volume_files(path) } else { return None };
        (!files.is_empty()).then(|| format!("{} volume files that fit no more specific layout", files.len()))
    }

    fn list(&self, root: &Path, options: &IndexOptions) -> Result<Listing> {
        if !root.is_dir() {
            return Err(Error::malformed(root, "layout 'plain' needs a folder"));
        }
        let (files, warnings) = file_name::volume_files(root);
        let mut listing = Listing { warnings, ..Listing::default() };
        match &options.pattern {
            Some(pattern) => by_pattern(root, &files, pattern, options, &mut listing)?,
            None => by_folder(root, &files, options, &mut listing),
        }
        Ok(listing)
    }
}

fn by_folder(root: &Path, files: &[PathBuf], options: &IndexOptions, listing: &mut Listing) {
    let mut folders: BTreeMap<PathBuf, Vec<Named<'_>>> = BTreeMap::new();
    for path in files {
        let folder = path.parent().unwrap_or(root);
        let name = name_of(folder);
        let case = name.strip_suffix("_nifti").unwrap_or(&name);
        match file_name::parse(path, case, &options.aliases) {
            Some(named) => folders.entry(folder.to_owned()).or_default().push(named),
            None => listing.unknown.push((path.clone(), file_name::hint(path))),
        }
    }
    let mut cases: BTreeMap<Key, Vec<Candidate>> = BTreeMap::new();
    for (folder, files) in join_modality_folders(root, folders, options) {
        let images = files.iter().filter(|named| named.candidate.role != Role::Ignored);
        let identifiers: BTreeSet<&str> = images.map(|named| named.identifier).collect();
        let one_case = folder != root && identifiers.len() <= 1;
        for named in &files {
            let identifier = (!one_case && !named.identifier.is_empty()).then(|| named.identifier.to_owned());
            cases.entry((folder.clone(), identifier)).or_default().push(named.candidate.clone());
        }
    }
    // Files with a known but unused role do not make a case.
    cases.retain(|_, files| files.iter().any(|file| file.role != Role::Ignored));
    let data_set = name_of(root);
    let ids = shortest_unique(&cases.keys().map(|key| parts(root, key)).collect::<Vec<_>>());
    for (id, files) in ids.into_iter().zip(cases.into_values()) {
        listing.drafts.push(Draft { files, ..Draft::new(id, data_set.clone()) });
    }
}

/// A folder that is named after the modality of all its files (`IXI-T1/`, `case/flair/`) adds them to the folder
/// above it.
fn join_modality_folders<'a>(
    root: &Path,
    folders: BTreeMap<PathBuf, Vec<Named<'a>>>,
    options: &IndexOptions,
) -> BTreeMap<PathBuf, Vec<Named<'a>>> {
    let mut joined: BTreeMap<PathBuf, Vec<Named<'a>>> = BTreeMap::new();
    for (folder, files) in folders {
        let role = identity::of_file(&name_of(&folder), None, None, &options.aliases).finding.role();
        let same = files.iter().all(|named| Some(named.candidate.role) == role);
        let above = folder.parent().filter(|_| same && folder != root).map(Path::to_owned);
        joined.entry(above.unwrap_or(folder)).or_default().extend(files);
    }
    joined
}

/// The names of the folders above a case, outermost first.
fn parts(root: &Path, (folder, identifier): &Key) -> Vec<String> {
    let below = folder.strip_prefix(root).unwrap_or(folder);
    let mut parts = vec![name_of(root)];
    parts.extend(below.iter().map(|part| part.to_string_lossy().into_owned()));
    if let Some(name) = parts.last_mut().filter(|_| folder != root) {
        *name = name.strip_suffix("_nifti").unwrap_or(name).to_owned();
    }
    parts.extend(identifier.clone());
    parts
}

/// Ids from the last parts of each path: one part where that is unique, several (`TrainingData-1`) where not.
fn shortest_unique(cases: &[Vec<String>]) -> Vec<String> {
    let mut lengths = vec![1; cases.len()];
    let id = |parts: &[String], length: usize| parts[parts.len() - length..].join("-");
    loop {
        let mut holders: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for (i, parts) in cases.iter().enumerate() {
            holders.entry(id(parts, lengths[i]).to_lowercase()).or_default().push(i);
        }
        let clashing = holders.into_values().filter(|holders| holders.len() > 1).flatten();
        let longer: Vec<usize> = clashing.filter(|i| lengths[*i] < cases[*i].len()).collect();
        if longer.is_empty() {
            return cases.iter().zip(lengths).map(|(parts, length)| id(parts, length)).collect();
        }
        for i in longer {
            lengths[i] += 1;
        }
    }
}

fn by_pattern(
    root: &Path,
    files: &[PathBuf],
    pattern: &Regex,
    options: &IndexOptions,
    listing: &mut Listing,
) -> Result<()> {
    for group in ["case", "mod"] {
        if !pattern.capture_names().flatten().any(|name| name == group) {
            let message = format!(
                "the pattern has no group '{group}': write (?P<{group}>...), e.g. (?P<case>[^/]+)/(?P<mod>[^/]+)\\.nii"
            );
            return Err(Error::Option(message));
        }
    }
    let mut drafts: BTreeMap<String, Draft> = BTreeMap::new();
    for path in files {
        let below = path.strip_prefix(root).unwrap_or(path).to_string_lossy().replace('\\', "/");
        let Some(found) = pattern.captures(&below) else {
            listing.unknown.push((path.clone(), Some("the pattern does not match".to_owned())));
            continue;
        };
        let group = |name: &str| found.name(name).map(|text| text.as_str().to_owned());
        let (case, word) = (group("case").unwrap_or_default(), group("mod").unwrap_or_default());
        let finding = identity::of_word(&word, &options.aliases);
        if finding.verdict == Verdict::Unknown {
            let near =
                identity::nearest(&word).map_or(String::new(), |near| format!("; the nearest is '{near}'"));
            listing.unknown.push((path.clone(), Some(format!("'{word}' is not a known modality{near}"))));
            continue;
        }
        let draft = drafts.entry(case.clone()).or_insert_with(|| Draft::new(case, name_of(root)));
        if let Some(subject) = group("subj") {
            draft.subject = subject;
        }
        draft.site = group("site").or(draft.site.take());
        draft.class = group("class").or(draft.class.take());
        if let Some(split) = group("split") {
            draft.split = Some(split.parse().map_err(|reason| Error::Option(format!("{below}: {reason}")))?);
        }
        draft.files.push(Candidate::found(path.clone(), finding, &word, Vec::new()));
    }
    listing.drafts = drafts.into_values().collect();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_as_short_as_they_can_be() {
        let parts = |path: &str| path.split('/').map(str::to_owned).collect::<Vec<_>>();
        let cases = ["d/TrainingData/1", "d/TestData/1", "d/TestData/2", "d/A/x/p", "d/B/x/p"].map(parts);
        assert_eq!(shortest_unique(&cases), ["TrainingData-1", "TestData-1", "2", "A-x-p", "B-x-p"]);
        let same = ["d/a", "d/a"].map(parts);
        assert_eq!(shortest_unique(&same), ["d-a", "d-a"], "no way to tell them apart");
    }
}
