//! The data sets of the paper, recognised by the names of their files ([`crate::PUBLIC_DATA_SETS`]).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use brainmvp_volume::Role;
use regex::{Captures, Regex};

use super::{Candidate, Draft, IndexOptions, Layout, Listing, file_name, literal};
use crate::identity::{self, Aliases, Finding, Source};
use crate::{FilePattern, LabelScheme, PUBLIC_DATA_SETS, PublicDataSet, Result, Split};

/// IXI, UCSF-PDGM, ISLES22, MRBrainS13, UPENN-GBM, VSSeg, ADNI, ABIDE, ADHD-200, each as downloaded.
pub(super) struct Public;

/// A compiled pattern with its data set.
struct Row {
    set: &'static PublicDataSet,
    pattern: &'static FilePattern,
    path: Regex,
}

static ROWS: LazyLock<Vec<Row>> = LazyLock::new(|| {
    let patterns =
        PUBLIC_DATA_SETS.iter().flat_map(|set| set.files.iter().map(move |pattern| (set, pattern)));
    let row = |(set, pattern): (&'static PublicDataSet, &'static FilePattern)| {
        let path = literal(&format!("{}(?:\\.gz)?$", pattern.path));
        Row { set, pattern, path }
    };
    patterns.map(row).collect()
});

impl Layout for Public {
    fn name(&self) -> &'static str {
        "public"
    }

    fn describe(&self) -> &'static str {
        "IXI, UCSF-PDGM, ISLES22, MRBrainS13, UPENN-GBM, VSSeg, ADNI, ABIDE, ADHD-200 as downloaded (`brainmvp datasets`)"
    }

    fn recognises(&self, path: &Path) -> Option<String> {
        let (files, _) = if path.is_dir() { file_name::volume_files(path) } else { return None };
        let sets: Vec<&str> =
            files.iter().filter_map(|file| Some(row_of(&slashed(path, file))?.0.set.name)).collect();
        let first = sets.first()?;
        (2 * sets.len() > files.len()).then(|| {
            format!("{} of {} files are named as in {first} or others like it", sets.len(), files.len())
        })
    }

    fn list(&self, root: &Path, options: &IndexOptions) -> Result<Listing> {
        let (files, warnings) = file_name::volume_files(root);
        let mut listing = Listing { warnings, ..Listing::default() };
        let mut drafts: BTreeMap<(&str, String), (Draft, &FilePattern)> = BTreeMap::new();
        for path in files {
            let below = slashed(root, &path);
            let Some((row, found)) = row_of(&below) else {
                listing.unknown.push((path, None));
                continue;
            };
            let candidate = candidate(row, &found, path, &options.aliases);
            let id = expand(&found, row.pattern.case);
            let (draft, _) = drafts.entry((row.set.name, id.clone())).or_insert_with(|| {
                let group = |name: &str| found.name(name).map(|text| text.as_str().to_owned());
                let draft = Draft {
                    subject: expand(&found, row.pattern.subject),
                    site: group("site"),
                    split: group("split").map(|word| split_of(&word)),
                    ..Draft::new(id, row.set.name)
                };
                (draft, row.pattern)
            });
            draft.files.push(candidate);
        }
        for (mut draft, pattern) in drafts.into_values() {
            draft.prefer(|file| rank(pattern, file));
            if draft.files.iter().any(|file| file.word == "labelsfortesting" && file.variant.is_empty()) {
                draft.data_set += "-merged";
            }
            listing.drafts.push(draft);
        }
        for set in PUBLIC_DATA_SETS {
            let scheme = set.label_scheme.map(LabelScheme::known);
            listing.label_schemes.extend(scheme.map(|scheme| (set.name.to_owned(), scheme)));
        }
        let merged = LabelScheme::known("mrbrains13_merged");
        listing.label_schemes.insert("mrbrains13-merged".to_owned(), merged);
        Ok(listing)
    }
}

#[expect(clippy::expect_used, reason = "the group is an alternation of literal words")]
fn split_of(word: &str) -> Split {
    word.parse().expect("the patterns have words for splits alone")
}

fn slashed(root: &Path, path: &Path) -> String {
    path.strip_prefix(root).unwrap_or(path).to_string_lossy().replace('\\', "/")
}

/// The first pattern that matches. The user's folder may itself be part of the pattern, but does not name a case.
fn row_of(below: &str) -> Option<(&'static Row, Captures<'_>)> {
    ROWS.iter().find_map(|row| Some((row, row.path.captures(below)?)))
}

/// Fills a format made of groups; a group without a match is dropped with its separator.
fn expand(found: &Captures<'_>, template: &str) -> String {
    let mut text = String::new();
    found.expand(template, &mut text);
    text.trim_matches('_').to_owned()
}

fn candidate(row: &Row, found: &Captures<'_>, path: PathBuf, aliases: &Aliases) -> Candidate {
    let word = found.name("mod").map(|text| text.as_str().to_lowercase());
    let finding = match (&word, row.pattern.only) {
        (Some(word), _) => {
            let own = row.set.aliases.iter().find(|(alias, _)| alias == word && !aliases.has(word));
            let word = own.map_or(word.as_str(), |(_, modality)| modality);
            identity::of_word(word, aliases)
        }
        (None, only) => {
            let role = only.map_or(Role::Ignored, Role::Image);
            Finding::stated(Source::DataSet(row.set.name), row.set.title, role)
        }
    };
    let variant = found.name("var").map(|text| text.as_str().to_lowercase()).unwrap_or_default();
    let variant = variant.split('_').filter(|word| !word.is_empty()).map(str::to_owned).collect();
    Candidate::found(path, finding, &word.unwrap_or_default(), variant)
}

/// Lower is better: words of second choice, then the number of words of a version, then those words (`run-1` before
/// `run-2`).
fn rank(pattern: &FilePattern, file: &Candidate) -> (usize, usize, String) {
    let words = std::iter::once(&file.word).chain(&file.variant);
    let place =
        |word: &String| pattern.second_choice.iter().position(|second| second == word).map_or(0, |at| at + 1);
    (words.map(place).max().unwrap_or(0), file.variant.len(), file.variant.join("_"))
}
