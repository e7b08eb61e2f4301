//! What the label values of each data set mean for a segmentation, and which label a network's probabilities make.

use std::collections::{BTreeMap, BTreeSet};

use brainmvp_cohort::LabelScheme;
use brainmvp_infer::LabelDecision;
use brainmvp_metrics::Region;
use brainmvp_objectives::downstream::LabelMeaning;
use brainmvp_objectives::patch::PatchSource as _;

use crate::batches::CaseSource;
use crate::{Error, Result};

/// A region of all labelled voxels, for data sets that have no other in common.
const ALL_LABELS: &str = "foreground";

/// The regions of a task, and the label values that each has in each data set: the BraTS family has numbered the same
/// structures differently over the years.
#[derive(Debug, Clone)]
pub(super) struct RegionTable {
    /// The regions of the task. Predictions use these values.
    pub(super) regions: Vec<Region>,
    /// What label values mean in the data sets that declare a scheme.
    pub(super) by_data_set: BTreeMap<String, LabelMeaning>,
    /// The values that a label map may have besides 0, for the data sets that declare a scheme.
    declared: BTreeMap<String, BTreeSet<u16>>,
}

/// Regions, each with the label values that it has where labels are numbered by `scheme`: those of the scheme's region of the
/// same name, else the region's own.
pub fn with_values_in(regions: &[Region], scheme: Option<&LabelScheme>) -> Vec<(Region, BTreeSet<u16>)> {
    regions.iter().map(|region| (region.clone(), values_in(region, scheme))).collect()
}

fn values_in(region: &Region, scheme: Option<&LabelScheme>) -> BTreeSet<u16> {
    let regions = scheme.map(LabelScheme::regions).unwrap_or_default();
    let own = regions.into_iter().find(|(name, _)| *name == region.name());
    own.map_or_else(|| region.labels().clone(), |(_, values)| values)
}

/// Which label the probabilities of these regions make of a voxel: the one rule by which networks are validated, used and
/// scored.
///
/// # Errors
/// If there is no region.
pub(super) fn label_decision(regions: &[Region]) -> brainmvp_infer::Result<LabelDecision> {
    LabelDecision::new(&regions.iter().map(|region| region.labels().clone()).collect::<Vec<_>>())
}

impl RegionTable {
    /// The table for the regions that a task `asks` for or, if it asks for none, for those in the schemes of the data
    /// sets in use.
    ///
    /// # Errors
    /// If there are none, or two data sets have different ones.
    pub(super) fn new(
        asked: &[Region],
        data_sets: &BTreeSet<&str>,
        schemes: &BTreeMap<String, LabelScheme>,
    ) -> Result<Self> {
        let used = schemes.iter().filter(|(name, _)| data_sets.contains(name.as_str()));
        let used: BTreeMap<&str, &LabelScheme> = used.map(|(name, scheme)| (name.as_str(), scheme)).collect();
        let regions = if asked.is_empty() { shared_regions(data_sets, &used)? } else { asked.to_vec() };
        let meaning = |scheme: &LabelScheme| LabelMeaning {
            regions: regions.iter().map(|region| values_in(region, Some(scheme))).collect(),
            ignored: scheme.ignored(),
        };
        let by_data_set: BTreeMap<String, LabelMeaning> =
            used.iter().map(|(name, scheme)| ((*name).to_owned(), meaning(scheme))).collect();
        refuse_ignored(&regions, &by_data_set)?;
        let values = |scheme: &LabelScheme| scheme.values().into_keys().chain(scheme.ignored()).collect();
        let declared = used.iter().map(|(name, scheme)| ((*name).to_owned(), values(scheme))).collect();
        Ok(Self { regions, by_data_set, declared })
    }

    /// Each region, as the task names it, with its label values in a data set.
    pub(super) fn pairs(&self, data_set: &str) -> Vec<(Region, BTreeSet<u16>)> {
        self.regions.iter().cloned().zip(self.of(data_set).regions).collect()
    }

    /// What label values mean in a data set.
    pub(super) fn of(&self, data_set: &str) -> LabelMeaning {
        self.by_data_set.get(data_set).cloned().unwrap_or_else(|| self.own())
    }

    /// What label values mean where nothing is declared: what the task says.
    pub(super) fn own(&self) -> LabelMeaning {
        let regions = self.regions.iter().map(|region| region.labels().clone()).collect();
        LabelMeaning { regions, ignored: BTreeSet::new() }
    }

    /// What is wrong with the label map of a case, if anything.
    ///
    /// # Errors
    /// If it cannot be read.
    pub(super) fn problem(&self, case: &CaseSource) -> Result<Option<String>> {
        let data_set = case.data_set();
        let known = match self.declared.get(data_set) {
            Some(declared) => declared.clone(),
            None => self.of(data_set).regions.into_iter().flatten().collect(),
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

/// Refuses regions with a value that a data set ignores.
fn refuse_ignored(regions: &[Region], by_data_set: &BTreeMap<String, LabelMeaning>) -> Result<()> {
    for (data_set, meaning) in by_data_set {
        for (region, values) in regions.iter().zip(&meaning.regions) {
            if let Some(value) = values.intersection(&meaning.ignored).next() {
                let region = region.name();
                return Err(Error::Config(format!(
                    "task.regions: the region '{region}' has the value {value}, which the data set '{data_set}' ignores"
                )));
            }
        }
    }
    Ok(())
}

/// The regions that the schemes of all data sets have, with the values of the first.
fn shared_regions(data_sets: &BTreeSet<&str>, schemes: &BTreeMap<&str, &LabelScheme>) -> Result<Vec<Region>> {
    let wrong = |reason: String| Err(Error::Config(format!("task.regions: {reason}")));
    if let Some(undeclared) = data_sets.iter().find(|name| !schemes.contains_key(*name)) {
        return wrong(format!(
            "the data set '{undeclared}' declares no label scheme; index it with --label-scheme, or name the regions: \
             --set 'task.regions=[{{ name = \"lesion\", labels = [1] }}]'"
        ));
    }
    let names = |scheme: &LabelScheme| -> BTreeSet<String> {
        scheme.regions().into_iter().map(|(name, _)| name.to_owned()).collect()
    };
    let Some((first_name, first)) = schemes.iter().next() else { return wrong("there are none".to_owned()) };
    let regions: std::result::Result<Vec<Region>, _> =
        first.regions().into_iter().map(|(name, labels)| Region::new(name, labels)).collect();
    let regions = regions?;
    let Some((other_name, other)) = schemes.iter().find(|(_, scheme)| names(scheme) != names(first)) else {
        return Ok(regions);
    };
    let listed = |scheme| names(scheme).into_iter().collect::<Vec<_>>().join(", ");
    let in_all = |region: &Region| schemes.values().all(|scheme| names(scheme).contains(region.name()));
    let common: Vec<Region> = regions.into_iter().filter(in_all).collect();
    let found = format!(
        "the data sets '{first_name}' ({}) and '{other_name}' ({}) have different regions",
        listed(first),
        listed(other)
    );
    if common.is_empty() {
        let all: BTreeSet<u16> = schemes.values().flat_map(|scheme| scheme.values().into_keys()).collect();
        let setting = setting(&[Region::new(ALL_LABELS, all)?]);
        return wrong(format!(
            "{found}, and none in common; prepare and train on one of them, or use all labels as one region: {setting}"
        ));
    }
    wrong(format!("{found}; train on those that all have: {}", setting(&common)))
}

/// The option for some regions.
fn setting(regions: &[Region]) -> String {
    let row = |region: &Region| {
        let labels = region.labels().iter().map(u16::to_string).collect::<Vec<_>>().join(", ");
        format!("{{ name = \"{}\", labels = [{labels}] }}", region.name())
    };
    format!("--set 'task.regions=[{}]'", regions.iter().map(row).collect::<Vec<_>>().join(", "))
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
        assert_eq!(table.of("new").regions[1], BTreeSet::from([1, 3]));
        assert_eq!(table.of("old").regions[1], BTreeSet::from([1, 4]));
    }

    #[test]
    fn what_is_asked_for_goes_where_nothing_is_declared() {
        let asked = [Region::new("lesion", [1, 2]).unwrap()];
        let table = RegionTable::new(&asked, &BTreeSet::from(["plain"]), &BTreeMap::new()).unwrap();
        assert_eq!(table.of("plain").regions, [BTreeSet::from([1, 2])]);
    }

    #[test]
    fn ignored_values_are_no_region() {
        let schemes = schemes(&[("part", "1=lesion,9=ignore"), ("whole", "1=lesion")]);
        let names = BTreeSet::from(["part", "whole"]);
        let table = RegionTable::new(&[], &names, &schemes).unwrap();
        assert_eq!(table.regions, [Region::new("lesion", [1]).unwrap()]);
        assert_eq!(table.of("part").ignored, BTreeSet::from([9]));
        assert_eq!(table.of("whole").ignored, BTreeSet::new());
        let asked = [Region::new("all", [1, 9]).unwrap()];
        let error = RegionTable::new(&asked, &names, &schemes).unwrap_err().to_string();
        assert!(error.contains("'all' has the value 9, which the data set 'part' ignores"), "{error}");
    }

    #[test]
    fn mistakes_say_what_to_do() {
        let none = RegionTable::new(&[], &BTreeSet::from(["plain"]), &BTreeMap::new()).unwrap_err();
        assert!(none.to_string().contains("--label-scheme"), "{none}");
        let message = |rows: &[(&str, &str)]| {
            let schemes = schemes(rows);
            let names = schemes.keys().map(String::as_str).collect();
            RegionTable::new(&[], &names, &schemes).unwrap_err().to_string()
        };
        let nothing = message(&[("a", "brats_2023"), ("b", "binary"), ("c", "5=cyst")]);
        assert!(nothing.contains("'a' (ET, TC, WT) and 'b' (foreground)"), "{nothing}");
        assert!(
            nothing.ends_with("--set 'task.regions=[{ name = \"foreground\", labels = [1, 2, 3, 5] }]'"),
            "{nothing}"
        );
        // In either order: what one of them lacks is never dropped without a word.
        for rows in
            [&[("a", "brats_2023"), ("b", "brats_gli_2024")], &[("b", "brats_2023"), ("a", "brats_gli_2024")]]
        {
            let some = message(rows);
            assert!(some.contains("RC") && some.contains("train on those that all have"), "{some}");
            assert!(
                some.contains("{ name = \"ET\", labels = [3] }") && !some.contains("name = \"RC\""),
                "{some}"
            );
        }
    }

    #[test]
    fn regions_that_a_scheme_lacks_have_their_own_values() {
        let schemes = schemes(&[("old", "brats_legacy")]);
        let asked = [Region::new("TC", [1, 3]).unwrap(), Region::new("core", [1]).unwrap()];
        let table = RegionTable::new(&asked, &BTreeSet::from(["old"]), &schemes).unwrap();
        assert_eq!(table.of("old").regions, [BTreeSet::from([1, 4]), BTreeSet::from([1])]);
    }
}
