//! Prepared cases, and those that could not be prepared.

use std::path::Path;

use brainmvp_prep::cache::{Cache, CaseEntry};

use crate::Result;
use crate::items::{Item, Items, Part};
use crate::shown::{Collection, Group, Role, Shown, Stage};

pub(super) fn open(path: &Path, title: &str, into: &mut Collection, items: &Items) -> Result<()> {
    let cache = Cache::open(path)?;
    into.witnesses.push(path.join("manifest.json"));
    let steps = &cache.manifest().preparation.config.steps;
    let steps: Vec<String> = steps.iter().map(ToString::to_string).collect();
    for entry in cache.cases() {
        let facts = &entry.case;
        let shown = into.case_of(&facts.data_set, facts.id.as_str());
        shown.subject.get_or_insert_with(|| facts.subject.clone());
        shown.site = shown.site.take().or_else(|| facts.site.clone());
        shown.class = shown.class.take().or_else(|| facts.class.clone());
        shown.split = shown.split.or(facts.split);
        shown.name_labels(cache.manifest().label_schemes.get(&facts.data_set));
        shown.flags.extend(entry.warnings.iter().cloned());
        shown.groups.push(Group {
            title: title.to_owned(),
            stage: Stage::Prepared,
            volumes: volumes(&cache, entry, items),
            steps: steps.clone(),
        });
    }
    for left_out in &cache.manifest().quarantined {
        into.case(left_out.id.as_str()).quarantined.insert(left_out.reason.clone());
    }
    Ok(())
}

fn volumes(cache: &Cache, entry: &CaseEntry, items: &Items) -> Vec<Shown> {
    let item = |part| Item::Prepared { cache: cache.dir().to_owned(), case: entry.case.id.clone(), part };
    let images = entry.modalities.iter();
    let images = images.map(|m| Shown::new(m.name(), Role::Image, item(Part::Image(*m)), items));
    let label = entry.has_label.then(|| Shown::new("label", Role::Label, item(Part::Label), items));
    // The manifest does not say whether there is a mask.
    let mask = cache.open_case(entry).is_ok_and(|case| case.has_brain_mask());
    let mask = mask.then(|| Shown::new("brain mask", Role::BrainMask, item(Part::BrainMask), items));
    images.chain(label).chain(mask).collect()
}
