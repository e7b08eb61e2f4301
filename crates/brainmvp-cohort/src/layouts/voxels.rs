//! Where everything else leaves open which weighting an image has, its voxels are asked.
//!
//! Nothing is opened in a session without such an image. The voxels never overrule: what is decided stays as it is, and
//! what the session has already is not taken twice.

use std::path::Path;

use brainmvp_volume::{Modality, file};

use super::Draft;
use crate::contrast::{KNOWN, Sketch, Vote, vote};
use crate::identity::{Finding, Verdict};

/// Asks the voxels of every image of the session whose weighting is open, one image in memory at a time.
///
/// The answers are written into the findings. A file that cannot be read has no answer.
pub(super) fn ask(draft: &mut Draft) {
    let open: Vec<(usize, Vec<Modality>)> =
        (0..draft.files.len()).filter_map(|at| Some((at, choices(&draft.files[at].finding)?))).collect();
    if open.is_empty() {
        return;
    }
    let known: Vec<(Modality, &Path)> =
        draft.files.iter().filter_map(|file| Some((file.finding.modality()?, file.path.as_path()))).collect();
    let taken: Vec<Modality> = known.iter().map(|(modality, _)| *modality).collect();
    let sketches: Vec<(Modality, Sketch)> = known
        .into_iter()
        .filter(|(modality, _)| matches!(modality, Modality::T1 | Modality::T1c))
        .filter_map(|(modality, path)| Some((modality, sketch(path).ok()?)))
        .collect();
    let votes: Vec<(usize, Result<Vote, String>)> = open
        .into_iter()
        .map(|(at, choices)| {
            (at, sketch(&draft.files[at].path).map(|image| vote(&image, &choices, &sketches)))
        })
        .collect();
    for (at, cast) in &votes {
        let others = votes.iter().filter(|(other, _)| other != at).filter_map(|(_, vote)| answer(vote));
        let taken: Vec<Modality> = taken.iter().copied().chain(others).collect();
        let finding = &mut draft.files[*at].finding;
        match cast {
            Ok(cast) => finding.hear_voxels(&cast.said, &cast.left, &taken),
            Err(error) => finding.hear_voxels(&format!("could not be read ({error})"), &[], &taken),
        }
    }
}

/// The weightings that an image may have by everything else, if the voxels can say something about them.
fn choices(finding: &Finding) -> Option<Vec<Modality>> {
    let Verdict::Open(doubt) = &finding.verdict else { return None };
    let asked = |modality: &Modality| KNOWN.contains(modality) && *modality != Modality::T1c;
    (doubt.choices.len() > 1 && doubt.choices.iter().all(asked)).then(|| doubt.choices.clone())
}

fn answer(vote: &Result<Vote, String>) -> Option<Modality> {
    match vote.as_ref().ok()?.left.as_slice() {
        [only] => Some(*only),
        _ => None,
    }
}

fn sketch(path: &Path) -> Result<Sketch, String> {
    file::read(path).map(|volume| Sketch::of(&volume)).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use brainmvp_volume::Role;

    use super::*;
    use crate::identity::{Aliases, of_file};
    use crate::layouts::Candidate;

    #[test]
    fn only_open_weightings_are_asked() {
        let choices_of = |name: &str| choices(&of_file(name, None, None, &Aliases::default()).finding);
        assert_eq!(choices_of("T1_T2").unwrap().len(), 2);
        assert_eq!(choices_of("FLAIR_T1").unwrap().len(), 2);
        for name in ["T1", "T1-C", "PD_T2", "mp2rage", "tumor_T1", "scan"] {
            assert_eq!(choices_of(name), None, "{name}");
        }
    }

    #[test]
    fn a_file_that_cannot_be_read_stays_refused_and_says_so() {
        let finding = of_file("T1_T2", None, None, &Aliases::default()).finding;
        let absent = PathBuf::from("nowhere/T1_T2.nii.gz");
        let mut draft =
            Draft { files: vec![Candidate::found(absent, finding, "", vec![])], ..Draft::new("a", "d") };
        ask(&mut draft);
        let finding = &draft.files[0].finding;
        assert!(matches!(finding.verdict, Verdict::Open(_)) && draft.files[0].role == Role::Ignored);
        assert!(finding.reason().contains("voxels: could not be read"), "{}", finding.reason());
    }
}
