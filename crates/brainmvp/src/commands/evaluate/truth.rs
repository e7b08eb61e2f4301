//! The truth of each case, which predictions are compared with, and the regions that are scored in it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use brainmvp_cohort::{LabelScheme, OwnScheme, Split};
use brainmvp_metrics::Region;
use brainmvp_train::finetune::with_values_in;
use brainmvp_volume::file;

use super::files::LabelMaps;
use super::score::{bytes_of, side_by_side, values_of};
use crate::commands::load_cohort;
use crate::failure::{Advise as _, bad_input};

/// A case and its label map.
pub(super) struct Truth {
    pub(super) case: String,
    pub(super) file: PathBuf,
    /// The data set; empty for a folder of label maps.
    pub(super) data_set: String,
}

/// All truths.
#[derive(Default)]
pub(super) struct Truths {
    pub(super) cases: Vec<Truth>,
    /// Cases whose truth is ambiguous, with the reason.
    pub(super) unclear: Vec<(String, String)>,
    /// Cases of the cohort without a label map.
    pub(super) unlabelled: usize,
    /// The schemes that the data sets declare.
    schemes: BTreeMap<String, LabelScheme>,
}

/// The regions and values for the cases of a data set.
#[derive(Debug)]
pub(super) struct Target {
    /// Each with its values in the prediction, and those in the truth.
    pub(super) regions: Vec<(Region, BTreeSet<u16>)>,
    /// The values that predictions may contain besides 0.
    pub(super) predicted_values: BTreeSet<u16>,
    /// The values that truths may contain besides 0, with the ignored ones.
    pub(super) truth_values: BTreeSet<u16>,
    /// The values of voxels in the truth that count nowhere.
    pub(super) ignored: BTreeSet<u16>,
}

impl Truths {
    /// Reads the truths of a cohort file or of a folder of label maps; of a cohort, optionally only those of one split.
    pub(super) fn load(path: &Path, split: Option<Split>) -> anyhow::Result<Self> {
        if !path.is_dir() {
            return Self::of_cohort(path, split);
        }
        if split.is_some() {
            return Err(bad_input(format!("{}: --split needs a cohort file, not a folder", path.display())));
        }
        let label_maps = LabelMaps::of(path)?;
        let mut found = Self::default();
        for case in label_maps.cases() {
            match label_maps.find(case) {
                Ok(Some(file)) => found.cases.push(Truth {
                    case: case.clone(),
                    file: file.to_owned(),
                    data_set: String::new(),
                }),
                Ok(None) => {}
                Err(reason) => found.unclear.push((case.clone(), reason)),
            }
        }
        Ok(found)
    }

    fn of_cohort(path: &Path, split: Option<Split>) -> anyhow::Result<Self> {
        let cohort = load_cohort(path)?;
        let mut found = Self::default();
        for (name, data_set) in &cohort.data_sets {
            if let Some(scheme) = &data_set.label_scheme {
                found.schemes.insert(name.clone(), scheme.clone());
            }
        }
        for case in cohort.cases {
            if split.is_some() && case.split != split {
                continue;
            }
            let (id, data_set) = (case.id.to_string(), case.data_set);
            match case.label {
                Some(file) => found.cases.push(Truth { case: id, file, data_set }),
                None => found.unlabelled += 1,
            }
        }
        if found.cases.is_empty() {
            let which = if split.is_some() { " of this split" } else { "" };
            return Err(bad_input(format!("{}: no case{which} has a label map", path.display())));
        }
        Ok(found)
    }

    /// The regions to score in each data set: those given by the user, otherwise those of the network that made the
    /// predictions, if known, otherwise those that the cohort declares, otherwise every value in the truths.
    pub(super) fn targets(
        &self,
        scheme: Option<&LabelScheme>,
        regions: &[Region],
        predicted: &[Region],
        memory_bytes: u64,
    ) -> anyhow::Result<BTreeMap<String, Target>> {
        let data_sets: BTreeSet<&str> = self.cases.iter().map(|truth| truth.data_set.as_str()).collect();
        let target = |data_set: &str| {
            let declared = self.schemes.get(data_set);
            if scheme.is_none() && regions.is_empty() && !predicted.is_empty() {
                return Ok(Target::of_network(predicted, declared));
            }
            match scheme.or(declared) {
                None if regions.is_empty() => Target::new(Some(&self.found(data_set, memory_bytes)?), &[]),
                scheme => Target::new(scheme, regions),
            }
        };
        data_sets.into_iter().map(|data_set| Ok((data_set.to_owned(), target(data_set)?))).collect()
    }

    /// The values in the truths of a data set. Unreadable files have none; they are reported when they are scored.
    fn found(&self, data_set: &str, memory_bytes: u64) -> anyhow::Result<LabelScheme> {
        let of_set: Vec<&Truth> = self.cases.iter().filter(|truth| truth.data_set == data_set).collect();
        let read = |truth: &&Truth| file::read_labels(&truth.file).map(|labels| values_of(&labels));
        let values = side_by_side(&of_set, memory_bytes, |truth| bytes_of(&truth.file), read);
        let values: BTreeSet<u16> = values.into_iter().flatten().flatten().collect();
        if values.is_empty() {
            return Err(bad_input("no truth contains a label, so there is nothing to score"))
                .advise(|_| "say what to score with --regions or --label-scheme".to_owned());
        }
        let named = values.into_iter().map(|value| (value, format!("label {value}"))).collect();
        Ok(LabelScheme::Own(OwnScheme::new(named, Vec::new()).map_err(bad_input)?))
    }
}

impl Target {
    /// The given regions, otherwise those of the scheme; with the scheme's values, otherwise those of the regions.
    fn new(scheme: Option<&LabelScheme>, regions: &[Region]) -> anyhow::Result<Self> {
        let mut regions = regions.to_vec();
        if let Some(scheme) = scheme.filter(|_| regions.is_empty()) {
            let of_scheme = scheme.regions().into_iter().map(|(name, values)| Region::new(name, values));
            regions = of_scheme.collect::<Result<_, _>>()?;
        }
        let scored: BTreeSet<u16> = regions.iter().flat_map(Region::labels).copied().collect();
        // A region of a value that never occurs would be empty in every file, and the score perfect.
        if let Some((scheme, value)) = scheme.and_then(|scheme| {
            Some((scheme, scored.iter().find(|value| !scheme.values().contains_key(*value))?))
        }) {
            return Err(bad_input(format!("--regions has the value {value}, which is not in {scheme}")))
                .advise(|_| "declare all values with --label-scheme".to_owned());
        }
        let values = scheme.map_or(scored, |scheme| scheme.values().into_keys().collect());
        let same = |region: Region| (region.clone(), region.labels().clone());
        let ignored = scheme.map(LabelScheme::ignored).unwrap_or_default();
        Ok(Self {
            regions: regions.into_iter().map(same).collect(),
            truth_values: &values | &ignored,
            predicted_values: values,
            ignored,
        })
    }

    /// The regions of a network, with its own values in its predictions and those of the data set in the truth.
    fn of_network(predicted: &[Region], declared: Option<&LabelScheme>) -> Self {
        let regions = with_values_in(predicted, declared);
        let in_truth = || regions.iter().flat_map(|(_, values)| values.iter().copied()).collect();
        let ignored = declared.map(LabelScheme::ignored).unwrap_or_default();
        let known = declared.map_or_else(in_truth, |scheme| scheme.values().into_keys().collect());
        Self {
            truth_values: &known | &ignored,
            ignored,
            predicted_values: predicted.iter().flat_map(Region::labels).copied().collect(),
            regions,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schemes_and_regions_fit_together() {
        let scheme: LabelScheme = "brats_2023".parse().unwrap();
        let region = |value| [Region::new("ET", [value]).unwrap()];
        let by_scheme = Target::new(Some(&scheme), &[]).unwrap();
        let names: Vec<&str> = by_scheme.regions.iter().map(|(region, _)| region.name()).collect();
        assert_eq!(names, ["ET", "TC", "WT"]);
        let both = Target::new(Some(&scheme), &region(3)).unwrap();
        assert_eq!((both.regions.len(), both.truth_values.len()), (1, 3));
        assert!(Target::new(Some(&scheme), &region(4)).unwrap_err().to_string().contains("declare"));
        assert_eq!(Target::new(None, &region(4)).unwrap().truth_values, BTreeSet::from([4]));
    }

    #[test]
    fn ignored_values_may_be_in_truths_but_not_in_predictions() {
        let scheme: LabelScheme = "1=core,9=ignore".parse().unwrap();
        let predicted = [Region::new("core", [1]).unwrap()];
        for target in
            [Target::new(Some(&scheme), &[]).unwrap(), Target::of_network(&predicted, Some(&scheme))]
        {
            assert_eq!(target.truth_values, BTreeSet::from([1, 9]));
            assert_eq!(target.predicted_values, BTreeSet::from([1]));
            assert_eq!(target.ignored, BTreeSet::from([9]));
        }
        assert!(Target::new(Some(&scheme), &[Region::new("x", [9]).unwrap()]).is_err());
    }

    #[test]
    fn a_network_has_its_own_numbers() {
        let scheme: LabelScheme = "brats_legacy".parse().unwrap();
        let regions = [Region::new("ET", [3]).unwrap(), Region::new("cyst", [2]).unwrap()];
        let target = Target::of_network(&regions, Some(&scheme));
        let values: Vec<_> = target.regions.iter().map(|(_, values)| values.clone()).collect();
        assert_eq!(values, [BTreeSet::from([4]), BTreeSet::from([2])]);
        assert_eq!(target.predicted_values, BTreeSet::from([2, 3]));
        assert_eq!(target.truth_values, BTreeSet::from([1, 2, 4]));
        assert_eq!(Target::of_network(&regions, None).truth_values, BTreeSet::from([2, 3]));
    }
}
