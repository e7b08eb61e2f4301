//! What the label values of each data set mean for a segmentation.

use std::collections::{BTreeMap, BTreeSet};

use brainmvp_cohort::LabelScheme;
use brainmvp_metrics::Region;
use brainmvp_ssl::patch::PatchSource as _;

use crate::batches::CaseSource;
use crate::{Error, Result};

/// The regions of a task, and the label values that each has in each data set: the BraTS family has numbered the same
/// structures differently over the years.
#[derive(Debug, Clone)]
pub(super) struct RegionTable {
    /// As the task names them. Predictions use these values.
    pub(super) regions: Vec<Region>,
    /// The label values of each region, of the data sets whose scheme has regions of the same names.
    pub(super) by_data_set: BTreeMap<String, Vec<BTreeSet<u16>>>,
    /// The values that a label map may have besides 0, of the data sets that declare a scheme.
    declared: BTreeMap<String, BTreeSet<u16>>,
}

impl RegionTable {
    /// The table of the regions that a task `asks` for; of none, for those that the schemes of the data sets in use have.
    ///
    /// # Errors
    /// If there are none, or two data sets have different ones.
    pub(super) fn new(
        asked: &[Region],
        data_sets: &BTreeSet<&str>,
        schemes: &BTreeMap<String, LabelScheme>,
    ) -> Result<Self> {
        let wrong = |reason: String| Err(Error::Config(format!("task.regions: {reason}")));
        let mut regions = asked.to_vec();
        let mut named_by = None;
        let mut by_data_set = BTreeMap::new();
        let mut declared = BTreeMap::new();
        for &data_set in data_sets {
            let Some(scheme) = schemes.get(data_set) else {
                if asked.is_empty() {
                    return wrong(format!(
                        "the data set '{data_set}' declares no label scheme; index it with --label-scheme, or name the \
                         regions: task.regions = [{{ name = \"lesion\", labels = [1] }}]"
                    ));
                }
                continue;
            };
            let own = scheme.regions();
            if asked.is_empty() && regions.is_empty() {
                named_by = Some(data_set);
                let named = own.iter().map(|(name, labels)| Region::new(*name, labels.iter().copied()));
                regions = named.collect::<std::result::Result<_, _>>()?;
            }
            let of_name = |region: &Region| {
                let found = own.iter().find(|(name, _)| *name == region.name());
                found.map(|(_, labels)| labels.clone())
            };
            match regions.iter().map(of_name).collect::<Option<Vec<_>>>() {
                Some(values) => drop(by_data_set.insert(data_set.to_owned(), values)),
                None => {
                    if let Some(other) = named_by {
                        return wrong(format!(
                            "the data sets '{other}' and '{data_set}' have different regions; name those that both have"
                        ));
                    }
                }
            }
            declared.insert(data_set.to_owned(), scheme.values().into_keys().collect());
        }
        if regions.is_empty() {
            return wrong("there are none; name them".to_owned());
        }
        Ok(Self { regions, by_data_set, declared })
    }

    /// Label values of each region in a data set.
    pub(super) fn of(&self, data_set: &str) -> Vec<BTreeSet<u16>> {
        let own = self.by_data_set.get(data_set).cloned();
        own.unwrap_or_else(|| self.regions.iter().map(|region| region.labels().clone()).collect())
    }

    /// What is wrong with the label map of a case, if anything.
    ///
    /// # Errors
    /// If it cannot be read.
    pub(super) fn problem(&self, case: &CaseSource) -> Result<Option<String>> {
        let data_set = case.data_set();
        let known = match self.declared.get(data_set) {
            Some(declared) => declared.clone(),
            None => self.of(data_set).into_iter().flatten().collect(),
        };
        #[expect(clippy::expect_used, reason = "cases without a label map are left out before")]
        let labels = case.labels([0; 3], case.shape())?.expect("a segmentation case has a label map");
        let mut found = vec![false; usize::from(u16::MAX) + 1];
        for label in labels {
            found[usize::from(label)] = true;
        }
        let foreign: Vec<String> = (1..=u16::MAX)
            .filter(|value| found[usize::from(*value)] && !known.contains(value))
            .map(|value| value.to_string())
            .collect();
        let known: Vec<String> = known.iter().map(ToString::to_string).collect();
        Ok((!foreign.is_empty()).then(|| {
            format!("its label map has the value {}, not one of {}", foreign.join(", "), known.join(", "))
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schemes(rows: &[(&str, &str)]) -> BTreeMap<String, LabelScheme> {
        rows.iter().map(|(name, scheme)| ((*name).to_owned(), scheme.parse().unwrap())).collect()
    }

    #[test]
    fn each_data_set_has_its_own_numbers() {
        let schemes = schemes(&[("new", "brats_2023"), ("old", "brats_legacy")]);
        let table = RegionTable::new(&[], &BTreeSet::from(["new", "old"]), &schemes).unwrap();
        assert_eq!(table.regions.iter().map(Region::name).collect::<Vec<_>>(), ["ET", "TC", "WT"]);
        assert_eq!(table.of("new")[1], BTreeSet::from([1, 3]));
        assert_eq!(table.of("old")[1], BTreeSet::from([1, 4]));
    }

    #[test]
    fn what_is_asked_for_goes_where_nothing_is_declared() {
        let asked = [Region::new("lesion", [1, 2]).unwrap()];
        let table = RegionTable::new(&asked, &BTreeSet::from(["plain"]), &BTreeMap::new()).unwrap();
        assert_eq!(table.of("plain"), [BTreeSet::from([1, 2])]);
    }

    #[test]
    fn mistakes_say_what_to_do() {
        let none = RegionTable::new(&[], &BTreeSet::from(["plain"]), &BTreeMap::new()).unwrap_err();
        assert!(none.to_string().contains("--label-scheme"), "{none}");
        let schemes = schemes(&[("a", "brats_2023"), ("b", "binary")]);
        let different = RegionTable::new(&[], &BTreeSet::from(["a", "b"]), &schemes).unwrap_err();
        assert!(different.to_string().contains("'a' and 'b'"), "{different}");
    }
}
