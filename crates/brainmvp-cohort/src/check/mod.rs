//! Opens every file of a cohort and reports what is wrong, and what is worth knowing.

mod contrast;
mod file;
mod geometry;
mod report;
mod rules;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use brainmvp_volume::{Modality, Role};
use rayon::prelude::*;

pub use file::Facts;
pub use report::{GridSummary, Kind, Problem, Report, Severity};
pub use rules::{findings, foreign_labels};

use crate::contrast::Sketch;
use crate::fingerprint::{Fingerprint, Head, SameHead, same_heads};
use crate::{Case, Cohort};

/// The limits beyond which something counts as wrong.
#[derive(Debug, Clone, PartialEq)]
pub struct CheckOptions {
    /// Grids are the same if their corners are no further apart than this.
    pub tolerance_mm: f64,
    /// The smallest and the largest plausible voxel size.
    pub spacing_mm: [f64; 2],
    /// Modalities that every case must have; others may be missing.
    pub required: Vec<Modality>,
}

impl Default for CheckOptions {
    fn default() -> Self {
        Self { tolerance_mm: 1e-3, spacing_mm: [0.1, 15.0], required: Vec::new() }
    }
}

/// Checks a cohort, its cases in parallel on rayon's current threads, one file at a time in memory on each.
///
/// `progress` is called with the number of files done and the total. Nothing stops the check: a file that cannot be
/// opened becomes a [`Problem`] of its case.
pub fn check(cohort: &Cohort, options: &CheckOptions, progress: &(dyn Fn(usize, usize) + Sync)) -> Report {
    let total = cohort.cases.iter().map(|case| case.files().count()).sum();
    let done = AtomicUsize::new(0);
    let checked: Vec<CheckedCase<'_>> = cohort
        .cases
        .par_iter()
        .map(|case| {
            CheckedCase::open(case, cohort, options, &|| {
                progress(done.fetch_add(1, Ordering::Relaxed) + 1, total);
            })
        })
        .collect();
    let mut problems: Vec<Problem> =
        checked.iter().flat_map(|checked| checked.problems.iter().cloned()).collect();
    problems.extend(missing_modalities(cohort, options));
    problems.extend(duplicates(&checked));
    let compared = heads(&checked);
    let same_heads = compared.as_deref().unwrap_or_default();
    problems.extend(same_heads.iter().map(|same| head_problem(same, &checked)));
    let facts = checked.iter().flat_map(|checked| checked.files.iter().map(|(_, _, facts)| facts));
    let mut report = Report::new(&cohort.name, problems);
    let ids = |pair: &SameHead| pair.cases.map(|number| checked[number].case.id.clone());
    report.same_heads = same_heads.iter().map(ids).collect();
    report.heads_compared = compared.is_some();
    report.cases = cohort.cases.len();
    report.files = total;
    for modality in cohort.cases.iter().flat_map(|case| case.images.keys()) {
        *report.modalities.entry(*modality).or_default() += 1;
    }
    report.grids = GridSummary::count(facts.map(|facts| facts.grid));
    for checked in &checked {
        let values = report.label_values.entry(checked.case.data_set.clone()).or_default();
        for value in checked.label_values() {
            *values.entry(value).or_default() += 1;
        }
    }
    report.label_values.retain(|_, values| !values.is_empty());
    report
}

/// A case with the contents of its files.
struct CheckedCase<'a> {
    case: &'a Case,
    files: Vec<(Role, &'a Path, Facts)>,
    fingerprints: BTreeMap<Modality, Fingerprint>,
    problems: Vec<Problem>,
}

impl<'a> CheckedCase<'a> {
    fn open(case: &'a Case, cohort: &Cohort, options: &CheckOptions, done: &dyn Fn()) -> Self {
        let mut checked =
            Self { case, files: Vec::new(), fingerprints: BTreeMap::new(), problems: Vec::new() };
        let mut sketches: Vec<(Modality, &Path, Sketch)> = Vec::new();
        for (role, path) in case.files() {
            match Facts::read(role, path) {
                Ok((facts, volume)) => {
                    if let Role::Image(modality) = role {
                        sketches.push((modality, path, Sketch::of(&volume)));
                        let fingerprint = Fingerprint::of_stored(&volume);
                        checked.fingerprints.extend(fingerprint.map(|found| (modality, found)));
                    }
                    checked.files.push((role, path, facts));
                }
                Err(error) => {
                    let problem = Problem::new(case, Some(path), Kind::Unreadable, error.to_string());
                    checked.problems.push(problem);
                }
            }
            done();
        }
        let found = rules::findings(case, &checked.files, cohort.label_scheme(case), options);
        checked.problems.extend(found);
        checked.problems.extend(contrast::suspicions(case, &sketches, options));
        checked
    }

    /// The values of the label map besides background.
    fn label_values(&self) -> impl Iterator<Item = u16> {
        let labels = self.files.iter().filter(|(role, ..)| *role == Role::Label);
        labels.flat_map(|(_, _, facts)| facts.label_values())
    }
}

/// Modalities that other cases of the data set have, or that are required.
fn missing_modalities(cohort: &Cohort, options: &CheckOptions) -> Vec<Problem> {
    let mut usual: BTreeMap<&str, BTreeSet<Modality>> = BTreeMap::new();
    for case in &cohort.cases {
        usual.entry(&case.data_set).or_default().extend(case.images.keys());
    }
    let mut found = Vec::new();
    for case in &cohort.cases {
        let missing = |expected: &BTreeSet<Modality>| {
            let missing = expected.iter().filter(|modality| !case.images.contains_key(modality));
            missing.map(|modality| modality.name()).collect::<Vec<_>>().join(" ")
        };
        let required: BTreeSet<Modality> = options.required.iter().copied().collect();
        let others = usual.get(case.data_set.as_str()).map(|usual| usual - &required).unwrap_or_default();
        let (required, others) = (missing(&required), missing(&others));
        if !required.is_empty() {
            found.push(Problem::new(
                case,
                None,
                Kind::MissingRequired,
                format!("without {required}, required"),
            ));
        }
        if !others.is_empty() {
            let message = format!("without {others}, which other cases of '{}' have", case.data_set);
            found.push(Problem::new(case, None, Kind::MissingModality, message));
        }
    }
    found
}

/// Cases of different subjects that show the same head; `None` if there are too many to compare.
fn heads(checked: &[CheckedCase<'_>]) -> Option<Vec<SameHead>> {
    let heads: Vec<Head<'_>> = checked
        .iter()
        .map(|CheckedCase { case, fingerprints, .. }| Head {
            subject: (&case.data_set, &case.subject),
            images: fingerprints,
        })
        .collect();
    same_heads(&heads)
}

/// What to say of two cases with the same head; it is said of the later one.
fn head_problem(same: &SameHead, checked: &[CheckedCase<'_>]) -> Problem {
    let [earlier, later] = same.cases.map(|number| checked[number].case);
    let message = format!(
        "shows the same head as case '{}' of subject '{}' of '{}' ({}); if so, give both one subject",
        earlier.id,
        earlier.subject,
        earlier.data_set,
        same.shown()
    );
    Problem::new(later, None, Kind::SameHead, message)
}

/// Images with the voxels of an image of an earlier case.
fn duplicates(checked: &[CheckedCase<'_>]) -> Vec<Problem> {
    let mut first_with: BTreeMap<[u8; 32], (&Case, Role)> = BTreeMap::new();
    let mut found = Vec::new();
    for checked in checked {
        for (role, path, facts) in &checked.files {
            // Volumes with a single value are alike without being copies.
            if !matches!(role, Role::Image(_)) || facts.is_constant() {
                continue;
            }
            let (case, first) = *first_with.entry(facts.digest).or_insert((checked.case, *role));
            if case.id != checked.case.id {
                let message = format!(
                    "the same voxels as {} of case '{}': one head under two names",
                    first.name(),
                    case.id
                );
                found.push(Problem::new(checked.case, Some(path), Kind::CopyOfOther, message));
            }
        }
    }
    found
}
