//! Any names, by the user's regular expression.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use regex::Regex;

use super::super::{Candidate, Draft, IndexOptions, Listing, name_of};
use crate::identity::{self, Verdict};
use crate::{Error, Result};

/// Reads the files that the pattern matches; its groups say what they are.
pub(super) fn by_pattern(
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
