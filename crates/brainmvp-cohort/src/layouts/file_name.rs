//! Parses the names of volume files, and lists the files.

use std::path::{Path, PathBuf};

pub(super) use brainmvp_volume::file::stem;
use walkdir::WalkDir;

use super::Candidate;
use crate::identity::{self, Acquisition, Aliases, Verdict};

/// The separators of the words in a name. `|` occurs in lists of series names.
const SEPARATORS: [char; 5] = ['-', '_', '.', ' ', '|'];

/// All volume files below `root`, sorted, without hidden ones; and warnings about folders that could not be read.
pub(super) fn volume_files(root: &Path) -> (Vec<PathBuf>, Vec<String>) {
    let hidden = |name: &std::ffi::OsStr| name.to_string_lossy().starts_with('.');
    let walk = WalkDir::new(root).follow_links(true).sort_by_file_name().into_iter();
    let (mut files, mut warnings) = (Vec::new(), Vec::new());
    for entry in walk.filter_entry(|entry| entry.depth() == 0 || !hidden(entry.file_name())) {
        match entry {
            Ok(entry) if entry.file_type().is_file() && stem(entry.path()).is_some() => {
                files.push(entry.into_path());
            }
            Ok(_) => {}
            Err(error) => warnings.push(format!("could not be read: {error}")),
        }
    }
    (files, warnings)
}

/// A parsed name: `<identifier>_<description>[_<variant>]`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Named<'a> {
    /// The text before the description; may be empty.
    pub(super) identifier: &'a str,
    /// The file as a candidate.
    pub(super) candidate: Candidate,
}

/// Parses a file's name ([`identity::of_file`]). `identifier` (the case, if it is known) may come before the
/// description and is not searched. The folder and the JSON file beside the image are heard as well; where only they say
/// what the file is, the candidate's word is empty. `None` if nothing does.
pub(super) fn parse<'a>(path: &'a Path, identifier: &str, aliases: &Aliases) -> Option<Named<'a>> {
    let stem = stem(path)?;
    let rest = without_prefix(stem, identifier);
    let folder = path.parent().and_then(Path::file_name).and_then(|name| name.to_str());
    let acquisition = Acquisition::beside(path);
    let named = identity::of_file(rest, folder, acquisition.as_ref(), aliases);
    if named.finding.verdict == Verdict::Unknown {
        return None;
    }
    let word = if named.finding.is_bare_mask() { "mask" } else { &rest[named.start..named.end] };
    let identifier = rest[..named.start].trim_end_matches(SEPARATORS);
    let candidate = Candidate::found(path.to_owned(), named.finding, word, named.rest);
    Some(Named { identifier, candidate })
}

/// The last word of a name and the known word next to it, for a message.
pub(super) fn hint(path: &Path) -> Option<String> {
    let last = words(stem(path)?).last()?;
    let near = identity::nearest(last)?;
    Some(format!("'{last}' is not a known modality; the nearest is '{near}', see --alias"))
}

/// `stem` without its leading identifier, if it has one that is followed by something.
fn without_prefix<'a>(stem: &'a str, identifier: &str) -> &'a str {
    let rest = match stem.get(..identifier.len()) {
        Some(start) if start.eq_ignore_ascii_case(identifier) => &stem[identifier.len()..],
        _ => return stem,
    };
    let trimmed = rest.trim_start_matches(SEPARATORS);
    if trimmed.is_empty() || trimmed.len() == rest.len() { stem } else { trimmed }
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(SEPARATORS).filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use brainmvp_volume::Modality::{Flair, T1, T1c};
    use brainmvp_volume::Role;

    use super::*;

    #[test]
    fn names_are_taken_apart() {
        let aliases = Aliases::default();
        let rows = [
            ("a/BraTS2021_00000_t1ce.nii.gz", "", "BraTS2021_00000", Role::Image(T1c), ""),
            ("UCSF-PDGM-0004_T1_bias.nii", "UCSF-PDGM-0004", "", Role::Image(T1), "bias"),
            ("seg-BraTS23_1_mapped.nii.gz", "brats-gli-00001", "", Role::Label, "brats23 1 mapped"),
            ("x_fla_bet_raw.hdr", "", "x", Role::Image(Flair), "bet raw"),
            ("t1.NII.GZ", "t1", "", Role::Image(T1), ""),
        ];
        for (path, case, identifier, role, variant) in rows {
            let named = parse(Path::new(path), case, &aliases).unwrap();
            assert_eq!((named.identifier, named.candidate.role), (identifier, role), "{path}");
            assert_eq!(named.candidate.variant.join(" "), variant, "{path}");
        }
        assert_eq!(parse(Path::new("scan.nii"), "", &aliases), None);
        assert!(hint(Path::new("x_mprge.nii")).unwrap().contains("'mprage'"));
    }

    proptest::proptest! {
        #[test]
        fn no_name_is_too_odd(name in ".{0,24}", identifier in ".{0,4}", word in "(t1|_|-|seg|DTI|bias|é){0,4}") {
            for stem in [name.clone(), format!("{identifier}{word}"), format!("{identifier}_{word}{name}")] {
                let path = PathBuf::from(format!("{stem}.nii.gz"));
                if let Some(named) = parse(&path, &identifier, &Aliases::default()) {
                    proptest::prop_assert!(stem.contains(named.identifier));
                }
                hint(&path);
            }
        }
    }

    #[test]
    fn only_volumes_have_a_stem() {
        assert_eq!(stem(Path::new("a.nii.gz")), Some("a"));
        for other in [".nii.gz", "a.img", "a.png", "é.gz", "nii"] {
            assert_eq!(stem(Path::new(other)), None, "{other}");
        }
    }
}
