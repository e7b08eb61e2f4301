//! The original images and labels of a cohort.

use std::path::Path;

use brainmvp_cohort::Cohort;
use brainmvp_volume::Role as FileRole;

use super::title_of;
use crate::Result;
use crate::items::{Item, Items};
use crate::shown::{Collection, Group, Role, Shown, Stage};

pub(super) fn open(path: &Path, into: &mut Collection, items: &Items) -> Result<()> {
    let cohort = Cohort::load(path)?;
    into.witnesses.push(path.to_owned());
    for case in &cohort.cases {
        let shown = into.case_of(&case.data_set, case.id.as_str());
        shown.subject.get_or_insert_with(|| case.subject.clone());
        shown.site = shown.site.take().or_else(|| case.site.clone());
        shown.class = shown.class.take().or_else(|| case.class.clone());
        shown.split = shown.split.or(case.split);
        shown.name_labels(cohort.label_scheme(case));
        let volumes = case.files().filter_map(|(role, path)| {
            let (name, role) = match role {
                FileRole::Image(modality) => (modality.name(), Role::Image),
                FileRole::Label => ("label", Role::Label),
                FileRole::BrainMask => ("brain mask", Role::BrainMask),
                FileRole::Ignored => return None,
            };
            Some(Shown::new(name, role, Item::Listed(path.to_owned()), items))
        });
        let volumes = volumes.collect();
        shown.groups.push(Group {
            title: title_of(path),
            stage: Stage::Original,
            volumes,
            steps: Vec::new(),
        });
    }
    Ok(())
}
