//! Plain folders: one folder per case, or flat files that share the text before the modality.
//!
//! What a level of folders is - subject, session, series, stage of processing - is judged over the whole tree ([`tree`]), and
//! told ([`Listing::reading`]).

mod agents;
mod folders;
mod ids;
mod pattern;
mod sessions;
mod stage;
mod tree;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use brainmvp_volume::Role;

use self::ids::shortest_unique;
use self::pattern::by_pattern;
use self::sessions::{Place, Sessions};
use self::stage::chosen;
use self::tree::{Tree, TreeFile};
use super::{Draft, Explained, IndexOptions, Layout, Listing, file_name, name_of};
use crate::identity::Verdict;
use crate::{Error, Result};

/// `case/t1.nii.gz`, `subject/session/t1.nii.gz`, `subject/01-T1/...`, flat `case_t1.nii.gz`, `T1/case_T1.nii.gz`, or by a
/// pattern.
pub(super) struct Plain;

impl Layout for Plain {
    fn name(&self) -> &'static str {
        "plain"
    }

    fn describe(&self) -> &'static str {
        "plain folders: case/t1.nii.gz, subject/session/t1.nii.gz, subject/01-T1/..., flat case_t1.nii.gz, or any names with \
         --pattern"
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
    let tree = Tree::of(root, files, &options.aliases);
    listing.unknown.extend(tree.unknown.iter().map(|path| (path.clone(), file_name::hint(path))));
    let mut cases: BTreeMap<Vec<String>, Vec<TreeFile>> = BTreeMap::new();
    for file in tree.files {
        cases.entry(file.case.clone()).or_default().push(file);
    }
    // Files with a known but unused role do not make a case; those that stay open are to be named.
    let counts = |file: &TreeFile| {
        file.candidate.role != Role::Ignored || matches!(file.candidate.finding.verdict, Verdict::Open(_))
    };
    let unused = cases.extract_if(.., |_, files| !files.iter().any(counts));
    listing.passed_over.extend(unused.flat_map(|(_, files)| files).map(|file| Explained {
        path: file.candidate.path,
        finding: file.candidate.finding,
        unused: None,
    }));
    let sessions = Sessions::of(&cases.keys().map(Vec::as_slice).collect::<Vec<_>>());
    let places: Vec<Place> = cases.keys().map(|case| sessions.place(case)).collect();
    let root_name = name_of(root);
    let with_root =
        |parts: &[String]| std::iter::once(root_name.clone()).chain(parts.iter().cloned()).collect();
    let subjects: BTreeMap<&[String], Vec<String>> =
        places.iter().map(|place| (place.subject.as_slice(), with_root(&place.subject))).collect();
    let names = shortest_unique(&subjects.values().cloned().collect::<Vec<_>>());
    let names: BTreeMap<&[String], String> = subjects.into_keys().zip(names).collect();
    listing.reading = sessions::reading(&places);
    let mut passed_over = Vec::new();
    for (place, files) in places.iter().zip(cases.into_values()) {
        let subject = names[place.subject.as_slice()].clone();
        let id = place.id(&subject);
        let files = chosen(files, &id, &mut passed_over, &mut listing.warnings);
        listing.drafts.push(Draft { subject, files, ..Draft::new(id, root_name.clone()) });
    }
    let is_image = |file: &&Explained| file.finding.modality().is_some();
    if let Some(first) = passed_over.iter().find(is_image) {
        let count = passed_over.iter().filter(is_image).count();
        listing.warnings.push(format!(
            "{count} files of other stages of processing are passed over, e.g. {}",
            first.path.display()
        ));
    }
    listing.passed_over.extend(passed_over);
}
