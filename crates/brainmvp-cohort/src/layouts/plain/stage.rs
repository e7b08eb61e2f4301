//! The files of a case that lie in folders for stages of processing: one stage is chosen.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use brainmvp_volume::Role;

use super::super::{Candidate, Explained};
use super::tree::TreeFile;

/// The files of a case to use: those that lie in no folder of a stage, and those of one stage.
///
/// Images of several stages are never mixed, since they may be on different grids: where there are images outside all
/// stages, they are used, else the stage with the most modalities, and of several the one nearest to the original. A label
/// or mask of another stage is used if it is the only one. The others go to `passed_over`.
pub(super) fn chosen(
    files: Vec<TreeFile>,
    case: &str,
    passed_over: &mut Vec<Explained>,
    warnings: &mut Vec<String>,
) -> Vec<Candidate> {
    let mut images: BTreeMap<(usize, &str), BTreeSet<Role>> = BTreeMap::new();
    for file in files.iter().filter(|file| matches!(file.candidate.role, Role::Image(_))) {
        images.entry((file.rank, &file.stage)).or_default().insert(file.candidate.role);
    }
    let is_outside = images.keys().any(|(_, stage)| stage.is_empty());
    let best = images.iter().max_by_key(|(stage, roles)| (roles.len(), Reverse(*stage)));
    let best = best.filter(|_| !is_outside).map_or(String::new(), |((_, stage), _)| (*stage).to_owned());
    let (mut kept, mut others): (Vec<_>, Vec<_>) =
        files.into_iter().partition(|file| file.stage.is_empty() || file.stage == best);
    let mut added: Vec<TreeFile> = Vec::new();
    for role in [Role::Label, Role::BrainMask] {
        if kept.iter().any(|file| file.candidate.role == role) {
            continue;
        }
        let found: Vec<&TreeFile> = others.iter().filter(|file| file.candidate.role == role).collect();
        match found.as_slice() {
            [] => {}
            [only] => added.push((*only).clone()),
            [first, second, ..] => warnings.push(format!(
                "case '{case}': {} files for {} in folders of processing, none of which is used, e.g. {} and {}",
                found.len(),
                if role == Role::Label { "the label" } else { "the brain mask" },
                first.candidate.path.display(),
                second.candidate.path.display()
            )),
        }
    }
    others.retain(|other| added.iter().all(|file| file.candidate.path != other.candidate.path));
    kept.extend(added);
    let used = if best.is_empty() {
        "the files outside of such folders are".to_owned()
    } else {
        format!("'{best}' is")
    };
    passed_over.extend(others.into_iter().map(|TreeFile { stage, candidate, .. }| Explained {
        path: candidate.path,
        finding: candidate.finding,
        unused: Some(format!("it is of the stage of processing '{stage}', and {used} used")),
    }));
    kept.into_iter().map(|file| file.candidate).collect()
}

#[cfg(test)]
mod tests {
    use brainmvp_volume::Modality;

    use super::super::folders::stage_rank;
    use super::*;
    use crate::identity::Source;

    fn file(path: &str, role: Role) -> TreeFile {
        let stage = path.rsplit_once('/').map_or("", |(stage, _)| stage).to_owned();
        TreeFile {
            case: Vec::new(),
            rank: stage_rank(&stage).unwrap_or(usize::MAX),
            stage,
            candidate: Candidate::stated(path.into(), Source::List, "", role),
        }
    }

    fn chosen_of(files: &[(&str, Role)]) -> (Vec<String>, usize, usize) {
        let files = files.iter().map(|(path, role)| file(path, *role)).collect();
        let (mut passed_over, mut warnings) = (Vec::new(), Vec::new());
        let kept = chosen(files, "a", &mut passed_over, &mut warnings);
        let kept = kept.iter().map(|kept| kept.path.display().to_string()).collect();
        (kept, passed_over.len(), warnings.len())
    }

    const T1: Role = Role::Image(Modality::T1);
    const FLAIR: Role = Role::Image(Modality::Flair);

    #[test]
    fn images_of_one_stage() {
        let wmh = [
            ("pre/t1", T1),
            ("pre/flair", FLAIR),
            ("orig/t1", T1),
            ("orig/flair", FLAIR),
            ("wmh", Role::Label),
        ];
        assert_eq!(chosen_of(&wmh), (vec!["orig/t1".into(), "orig/flair".into(), "wmh".into()], 2, 0));
        let fuller = [("orig/t1", T1), ("pre/t1", T1), ("pre/flair", FLAIR)];
        assert_eq!(chosen_of(&fuller), (vec!["pre/t1".into(), "pre/flair".into()], 1, 0));
        let outside = [("t1", T1), ("reg/t1", T1), ("reg/flair", FLAIR), ("reg/seg", Role::Label)];
        assert_eq!(chosen_of(&outside), (vec!["t1".into(), "reg/seg".into()], 2, 0));
    }

    #[test]
    fn of_several_labels_elsewhere_none_is_used() {
        let files = [("t1", T1), ("a/seg", Role::Label), ("b/seg", Role::Label)];
        assert_eq!(chosen_of(&files), (vec!["t1".into()], 2, 1));
    }
}
