//! Volumes that belong to nothing.

use std::path::{Path, PathBuf};

use brainmvp_volume::file::stem;

use super::{entries, title_of};
use crate::Result;
use crate::items::{Inside, Item, Items};
use crate::shown::{Collection, Group, Role, Shown, Stage};

/// Words in the name of a label map.
const LABEL_WORDS: [&str; 5] = ["seg", "label", "labels", "msk", "mask"];

/// Whether a folder holds volumes, or folders with volumes.
pub(super) fn are_in(folder: &Path) -> bool {
    let below = entries(folder);
    let is_volume = |path: &PathBuf| stem(path).is_some();
    below.iter().any(is_volume)
        || below.iter().any(|path| path.is_dir() && entries(path).iter().any(is_volume))
}

#[expect(clippy::unnecessary_wraps, reason = "all kinds are opened in the same way")]
pub(super) fn open_file(path: &Path, into: &mut Collection, items: &Items) -> Result<()> {
    let volume = shown(path, Item::Listed(path.to_owned()), items);
    add(into, "files", "files", volume.into_iter().collect());
    Ok(())
}

/// The volumes of a folder are one case, and so are those of each folder in it.
#[expect(clippy::unnecessary_wraps, reason = "all kinds are opened in the same way")]
pub(super) fn open_folder(folder: &Path, into: &mut Collection, items: &Items) -> Result<()> {
    let below = entries(folder);
    let cases =
        std::iter::once(folder).chain(below.iter().map(PathBuf::as_path).filter(|path| path.is_dir()));
    for case in cases {
        let volumes = entries(case).into_iter().filter_map(|path| {
            let item = Inside::new(folder, std::fs::canonicalize(&path).ok()?)?;
            shown(&path, Item::Inside(item), items)
        });
        let name = title_of(case);
        add(into, &name, &name, volumes.collect());
    }
    Ok(())
}

fn shown(path: &Path, item: Item, items: &Items) -> Option<Shown> {
    let name = stem(path)?;
    let lower = name.to_ascii_lowercase();
    let is_label = lower.split(['_', '-', '.', ' ']).any(|word| LABEL_WORDS.contains(&word));
    Some(Shown::new(name, if is_label { Role::Label } else { Role::Image }, item, items))
}

/// Adds volumes to the group of this title, which is added if it is new.
fn add(into: &mut Collection, case: &str, title: &str, volumes: Vec<Shown>) {
    if volumes.is_empty() {
        return;
    }
    let groups = &mut into.case(case).groups;
    if let Some(group) = groups.iter_mut().find(|group| group.title == title) {
        group.volumes.extend(volumes);
        return;
    }
    let title = title.to_owned();
    groups.push(Group { title, stage: Stage::Original, volumes, steps: Vec::new() });
}
