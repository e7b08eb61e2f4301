//! Templates, as files in the space of their data.

use std::path::Path;

use brainmvp_volume::Modality;

use super::title_of;
use crate::items::{Inside, Item, Items};
use crate::shown::{Collection, Group, Role, Shown, Stage};

pub(crate) const FILE_NAME: &str = "templates.json";
pub(crate) const PICTURE: &str = "templates.png";

/// They are shown as a case of their own.
pub(super) fn open(path: &Path, into: &mut Collection, items: &Items) {
    into.witnesses.push(path.join(FILE_NAME));
    let shown = |modality: Modality| {
        let file = Inside::new(path, format!("{modality}.nii.gz"))?;
        Some(Shown::new(modality.name(), Role::Image, Item::Inside(file), items))
    };
    let volumes: Vec<Shown> = Modality::ALL.into_iter().filter_map(shown).collect();
    if volumes.is_empty() {
        return;
    }
    let case = into.case(&title_of(path));
    case.pictures.extend(Inside::new(path, PICTURE).map(|picture| items.address(Item::Inside(picture))));
    case.groups.push(Group {
        title: title_of(path),
        stage: Stage::Prepared,
        volumes,
        steps: vec!["learnt templates".to_owned()],
    });
}
