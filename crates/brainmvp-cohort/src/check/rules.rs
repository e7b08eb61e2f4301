//! The rules by which the files of a case can be used: one list for `check`, which reports, and for the preparation,
//! which leaves the case out.
//!
//! | of | a problem | a warning or note |
//! |---|---|---|
//! | a case | no image; two images with the same voxels; images that hardly overlap, unless they are registered | other grids |
//! | every file | unreadable; a single slice; implausible voxel sizes; a field of view larger than any head | shear; no orientation; sform and qform that disagree |
//! | an image | NaN or infinity, but NaN as its background; one value; two values | NaN as its background |
//! | a label map | values that are not whole; values outside the scheme; another place than the images | another grid or order of axes; empty; no scheme |
//! | a brain mask | several values; empty; another place than the images | another grid or order of axes |
//!
//! What only the preparation can find is a matter of its steps: no head or a brain of no plausible size, a label outside
//! the brain, a registration that fails, no range of grey values within the brain.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use brainmvp_volume::Role;

use super::file::Facts;
use super::{CheckOptions, Kind, Problem, geometry};
use crate::{Case, LabelScheme};

/// What the rules say of a case: its files that could be read, with their facts.
pub fn findings(
    case: &Case,
    files: &[(Role, &Path, Facts)],
    scheme: Option<&LabelScheme>,
    options: &CheckOptions,
) -> Vec<Problem> {
    let mut found = Vec::new();
    if case.images.is_empty() {
        found.push(Problem::new(case, None, Kind::NoImage, "the case has no image".to_owned()));
    }
    found.extend(files.iter().flat_map(|(role, path, facts)| facts.problems(case, *role, path, options)));
    found.extend(label_problems(case, files, scheme));
    found.extend(geometry::within_case(case, files, options));
    found.extend(copies(case, files));
    found
}

/// Why label values do not fit a scheme; `None` if they do. 0 is background in every scheme.
pub fn foreign_labels(values: &BTreeSet<u16>, scheme: &LabelScheme) -> Option<String> {
    let outside: BTreeSet<u16> = values.iter().copied().filter(|value| !scheme.allows(*value)).collect();
    let allowed: BTreeSet<u16> = scheme.values().into_keys().collect();
    (!outside.is_empty()).then(|| {
        let (outside, allowed) = (listed(&outside), listed(&allowed));
        format!("label values {outside} are outside the scheme {scheme} (0 {allowed})")
    })
}

/// Compares label values with the declared scheme.
fn label_problems(case: &Case, files: &[(Role, &Path, Facts)], scheme: Option<&LabelScheme>) -> Vec<Problem> {
    let Some((_, path, facts)) = files.iter().find(|(role, ..)| *role == Role::Label) else {
        return Vec::new();
    };
    let Some(values) = &facts.labels else { return Vec::new() };
    let new = |kind, message| Problem::new(case, Some(path), kind, message);
    let mut found = Vec::new();
    if values.iter().all(|value| *value == 0) {
        found.push(new(Kind::LabelEmpty, "the label map is empty".to_owned()));
    }
    match scheme {
        None => {
            let (set, values) = (&case.data_set, listed(values));
            let message = format!("no label scheme is declared for '{set}'; values found: {values}");
            found.push(new(Kind::LabelUndeclared, message));
        }
        Some(scheme) => {
            let foreign = foreign_labels(values, scheme);
            found.extend(foreign.map(|message| new(Kind::LabelValue, message)));
        }
    }
    found
}

/// Images of a case with the voxels of an earlier one.
fn copies(case: &Case, files: &[(Role, &Path, Facts)]) -> Vec<Problem> {
    let mut first_with: BTreeMap<&[u8; 32], &Path> = BTreeMap::new();
    let mut found = Vec::new();
    // Volumes with a single value are alike without being copies.
    let images =
        files.iter().filter(|(role, _, facts)| matches!(role, Role::Image(_)) && !facts.is_constant());
    for (_, path, facts) in images {
        match first_with.get(&facts.digest) {
            None => drop(first_with.insert(&facts.digest, path)),
            Some(first) => {
                let message = format!("the same voxels as {}", first.display());
                found.push(Problem::new(case, Some(path), Kind::Duplicate, message));
            }
        }
    }
    found
}

fn listed(values: &BTreeSet<u16>) -> String {
    values.iter().map(u16::to_string).collect::<Vec<_>>().join(" ")
}
