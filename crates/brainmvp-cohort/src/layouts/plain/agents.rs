//! Folders that say nothing but whether a contrast agent was given: `P01/KM/T1`, `post_contrast/P01_T1`.

use std::collections::{BTreeMap, BTreeSet};

use brainmvp_volume::{Modality, Role};

use super::folders::FolderName;
use super::tree::Entry;
use crate::identity::{self, Aliases, Evidence, Says};

/// The folders of a tree that are about the contrast agent, by their paths, with what they say.
pub(super) struct AgentFolders {
    folders: BTreeMap<Vec<String>, Evidence>,
}

/// A name as short as this may be somebody's initials (`KM`).
const INITIALS: usize = 2;

impl AgentFolders {
    /// Judges the names of all folders, each beside those in the same folder and by the images in it.
    pub(super) fn of(entries: &[Entry], aliases: &Aliases) -> Self {
        let mut images: BTreeMap<&[String], BTreeSet<Role>> = BTreeMap::new();
        let mut beside: BTreeMap<&[String], BTreeSet<&str>> = BTreeMap::new();
        for entry in entries {
            for (depth, name) in entry.folders.iter().enumerate() {
                let inside = images.entry(&entry.folders[..=depth]).or_default();
                inside.extend(Some(entry.candidate.role).filter(|role| matches!(role, Role::Image(_))));
                beside.entry(&entry.folders[..depth]).or_default().insert(name);
            }
        }
        let mut folders = BTreeMap::new();
        for (above, names) in beside {
            let told: BTreeMap<&str, Evidence> = names
                .iter()
                .filter_map(|name| Some((*name, identity::agent_of_folder(name, aliases)?)))
                .collect();
            let path = |name: &str| [above, &[name.to_owned()]].concat();
            let only_t1 = |name: &str| {
                let t1 = |role: &Role| matches!(role, Role::Image(Modality::T1 | Modality::T1c));
                images.get(path(name).as_slice()).is_some_and(|roles| roles.iter().all(t1))
            };
            let given = told.values().any(|evidence| evidence.says == Says::Agent(true));
            let people = names
                .iter()
                .any(|name| !told.contains_key(name) && FolderName::of(name, aliases) == FolderName::Other);
            let counts =
                |name: &str, evidence: &Evidence| match (&evidence.says, FolderName::of(name, aliases)) {
                    // `pre` and `post` of T1 alone may be about the agent; with other images they are examinations or stages.
                    (Says::Open(_), FolderName::Stage) => {
                        told.len() > 1 && told.keys().all(|name| only_t1(name))
                    }
                    (Says::Open(_), _) => told.keys().all(|name| only_t1(name)),
                    // `native` beside `contrast`.
                    (_, FolderName::Stage) => given,
                    _ => {
                        name.chars().filter(|c| c.is_alphabetic()).count() > INITIALS
                            || !people
                            || name.contains(['+', '-'])
                    }
                };
            folders.extend(
                told.iter()
                    .filter(|(name, evidence)| counts(name, evidence))
                    .map(|(name, evidence)| (path(name), evidence.clone())),
            );
        }
        Self { folders }
    }

    /// Whether a folder is one of them.
    pub(super) fn holds(&self, folder: &[String]) -> bool {
        self.folders.contains_key(folder)
    }

    /// Tells the images what the folders above them say, the nearest first. Of other images than T1, those with the agent are
    /// a version of those without.
    pub(super) fn tell(&self, entries: &mut [Entry]) {
        for entry in entries {
            let mut above = (1..=entry.folders.len()).rev();
            let Some(evidence) = above.find_map(|depth| self.folders.get(&entry.folders[..depth])) else {
                continue;
            };
            let candidate = &mut entry.candidate;
            candidate.finding.hear_folder(evidence);
            candidate.role = candidate.finding.role().unwrap_or(Role::Ignored);
            let t1 = matches!(candidate.role, Role::Image(Modality::T1 | Modality::T1c));
            if evidence.says == Says::Agent(true) && matches!(candidate.role, Role::Image(_)) && !t1 {
                candidate.variant.push(evidence.text.to_lowercase());
            }
        }
    }
}
