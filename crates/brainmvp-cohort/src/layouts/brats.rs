//! BraTS folders of every year, recognised by the names of their cases.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::LazyLock;

use brainmvp_volume::Role;
use regex::Regex;

use super::{Draft, IndexOptions, Layout, Listing, file_name, literal};
use crate::{LabelScheme, Result};

/// `BraTS2021_00000_t1ce.nii.gz`, `Brats18_TCIA01_001_1_t1.nii.gz`, `BraTS-GLI-00001-000-t1c.nii.gz` and mixtures.
pub(super) struct Brats;

/// Names of cases; group 1 is the subject, which further time points share.
static CASE_NAMES: LazyLock<Vec<Regex>> = LazyLock::new(|| {
    let patterns = [
        // 2023 on: BraTS-<cohort>-<subject>-<time point>.
        r"(?i)^(BraTS-[A-Z]+(?:-RT)?-\d{4,5})-\d{1,3}",
        r"(?i)^(BraTS2021_\d{5})",
        r"(?i)^(BraTS20_(?:Training|Validation)_\d{3})",
        // 2017 to 2019: Brats18_<source>_<subject>_<repetition>.
        r"(?i)^(BraTS1[789]_[A-Z0-9]+_[A-Z0-9]+)_\d+",
    ];
    patterns.iter().map(|pattern| literal(&format!("{pattern}(?:[-_]|$)"))).collect()
});

/// The release, from the case's name or a folder above it.
static YEAR: LazyLock<Regex> = LazyLock::new(|| literal(r"(?i)brats[-_ ]?(?:20)?(1[2-9]|2\d)(?:\D|$)"));

impl Layout for Brats {
    fn name(&self) -> &'static str {
        "brats"
    }

    fn describe(&self) -> &'static str {
        "BraTS folders, old names (BraTS2021_00000_t1ce) and new (BraTS-GLI-00001-000-t1c); class from HGG/LGG folders"
    }

    fn recognises(&self, path: &Path) -> Option<String> {
        let (files, _) = if path.is_dir() { file_name::volume_files(path) } else { return None };
        let known = files.iter().filter(|file| case_of(file).is_some()).count();
        let example = files.iter().find(|file| case_of(file).is_some())?.file_name()?.to_string_lossy();
        (2 * known > files.len())
            .then(|| format!("{known} of {} files are named as in BraTS, e.g. {example}", files.len()))
    }

    fn list(&self, root: &Path, options: &IndexOptions) -> Result<Listing> {
        let (files, warnings) = file_name::volume_files(root);
        let mut listing = Listing { warnings, ..Listing::default() };
        let mut drafts: BTreeMap<String, Draft> = BTreeMap::new();
        for path in &files {
            let named = case_of(path).and_then(|(case, subject)| {
                let named = file_name::parse(path, case, &options.aliases)?;
                // Nothing comes between case and modality, but label maps may have names of their own
                // (`W39_1998.09.19_Segm.nii` of BraTS20_Training_355).
                let is_own = named.candidate.role == Role::Label && !names_a_case(path);
                (named.identifier.is_empty() || is_own).then_some((case, subject, named))
            });
            let Some((case, subject, named)) = named else {
                listing.unknown.push((path.clone(), file_name::hint(path)));
                continue;
            };
            let draft = drafts.entry(case.to_owned()).or_insert_with(|| {
                let (data_set, scheme) = data_set_of(root, path, case);
                if let Some(scheme) = scheme {
                    listing.label_schemes.insert(data_set.clone(), scheme);
                }
                Draft { subject: subject.to_owned(), class: grade_of(path), ..Draft::new(case, data_set) }
            });
            draft.files.push(named.candidate);
        }
        listing.drafts = drafts.into_values().collect();
        Ok(listing)
    }
}

/// Whether the name of a file, apart from its folders, contains that of a case.
fn names_a_case(path: &Path) -> bool {
    file_name::stem(path).is_some_and(|stem| CASE_NAMES.iter().any(|pattern| pattern.is_match(stem)))
}

/// Case and subject, from the name of the file or, where that is only the modality, from its folder.
fn case_of(path: &Path) -> Option<(&str, &str)> {
    let folder = path.parent().and_then(Path::file_name).and_then(|name| name.to_str());
    [file_name::stem(path), folder].into_iter().flatten().find_map(|name| {
        let found = CASE_NAMES.iter().find_map(|pattern| pattern.captures(name))?;
        let case = found.get(0)?.as_str().trim_end_matches(['-', '_']);
        Some((case, found.get(1)?.as_str()))
    })
}

/// The data set's name and, where the release determines it, its label scheme.
///
/// Old file names contain the release; for new ones it is usually in the name of a folder. A new file name alone is not
/// enough: PED of 2023 and PED of 2024 have the same names and different labels.
fn data_set_of(root: &Path, path: &Path, case: &str) -> (String, Option<LabelScheme>) {
    let below = path.strip_prefix(root).unwrap_or(path);
    let root_name = super::name_of(root);
    let folders = below.parent().into_iter().flat_map(Path::iter).filter_map(|part| part.to_str());
    let mut places: Vec<&str> = std::iter::once(root_name.as_str()).chain(folders).collect();
    places.push(case);
    let year = places.iter().rev().find_map(|place| {
        let found = YEAR.captures(place)?;
        found.get(1)?.as_str().parse::<u32>().ok().map(|year| 2000 + year)
    });
    let cohort = case.split('-').nth(1).map(str::to_lowercase);
    let name = match (year, &cohort) {
        (Some(year), Some(cohort)) if year > 2021 => format!("brats{year}-{cohort}"),
        (Some(year), _) => format!("brats{year}"),
        (None, Some(cohort)) => format!("brats-{cohort}"),
        (None, None) => "brats".to_owned(),
    };
    let scheme = match (year, cohort.as_deref()) {
        (Some(2012..=2016), _) => "brats_2012_16",
        (Some(2017..=2021), _) => "brats_legacy",
        (Some(2023), Some("gli" | "ssa" | "men" | "met" | "ped")) => "brats_2023",
        (Some(2024), Some("gli")) => "brats_gli_2024",
        (Some(2024), Some("ped")) => "brats_ped_2024",
        _ => return (name, None),
    };
    (name, Some(LabelScheme::known(scheme)))
}

/// The grade of the years up to 2018, which is a folder above the case.
fn grade_of(path: &Path) -> Option<String> {
    let folders = path.parent()?.iter().rev().filter_map(|part| part.to_str());
    folders.map(str::to_uppercase).find(|name| name == "HGG" || name == "LGG")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cases_and_subjects() {
        let rows = [
            ("BraTS2021_00000_flair.nii.gz", "BraTS2021_00000", "BraTS2021_00000"),
            ("BraTS-MEN-00004-013-t2w.nii.gz", "BraTS-MEN-00004-013", "BraTS-MEN-00004"),
            ("BraTS-GLI-00001-000-t1ce.nii.gz", "BraTS-GLI-00001-000", "BraTS-GLI-00001"),
            ("Brats18_2013_2_1_t1ce.nii", "Brats18_2013_2_1", "Brats18_2013_2"),
            ("Brats18_CBICA_AAA_1_seg.nii.gz", "Brats18_CBICA_AAA_1", "Brats18_CBICA_AAA"),
            ("BraTS20_Training_001_t1.nii", "BraTS20_Training_001", "BraTS20_Training_001"),
            ("BraTS-SSA-00002-000/t1c.nii.gz", "BraTS-SSA-00002-000", "BraTS-SSA-00002"),
        ];
        for (path, case, subject) in rows {
            assert_eq!(case_of(Path::new(path)), Some((case, subject)), "{path}");
        }
        for other in ["UCSF-PDGM-0004_T1.nii.gz", "brats-gli-00001/t1n.nii.gz", "BraTS-2.nii"] {
            assert_eq!(case_of(Path::new(other)), None, "{other}");
        }
    }

    #[test]
    fn the_release_settles_the_labels() {
        let rows = [
            ("BraTS2021_00000", "x", "brats2021", Some("brats_legacy")),
            ("BraTS-GLI-00001-000", "BraTS2021_Validation_Data", "brats2021", Some("brats_legacy")),
            (
                "BraTS-SSA-00002-000",
                "ASNR-MICCAI-BraTS2023-SSA-Challenge-TrainingData_V2",
                "brats2023-ssa",
                Some("brats_2023"),
            ),
            ("BraTS-PED-00002-000", "BraTS-PEDs2024_Training", "brats-ped", None),
            ("BraTS-PED-00002-000", "BraTS2024-PED", "brats2024-ped", Some("brats_ped_2024")),
            ("BraTS-GLI-00002-000", "data", "brats-gli", None),
            ("BraTS-GLI-00002-000", "BraTS2024", "brats2024-gli", Some("brats_gli_2024")),
            ("case", "BRATS2015_Training", "brats2015", Some("brats_2012_16")),
            ("Brats18_2013_2_1", "HGG", "brats2018", Some("brats_legacy")),
        ];
        for (case, folder, name, scheme) in rows {
            let path = format!("/root/{folder}/{case}/{case}_t1.nii.gz");
            let (found, labels) = data_set_of(Path::new("/root"), Path::new(&path), case);
            assert_eq!((found.as_str(), labels.map(|l| l.to_string()).as_deref()), (name, scheme), "{path}");
        }
    }
}
