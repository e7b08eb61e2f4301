//! BIDS.

use brainmvp_cohort::layouts::{IndexOptions, index};
use brainmvp_volume::Modality::{Adc, T1, T1c};

use crate::trees::{auto, case, ids, modalities, name, tree};

#[test]
fn bids_with_sessions_runs_masks_and_participants() {
    let folder = tree(&[
        "sub-01/ses-1/anat/sub-01_ses-1_run-2_T1w.nii.gz",
        "sub-01/ses-1/anat/sub-01_ses-1_run-1_T1w.nii.gz",
        "sub-01/ses-1/anat/sub-01_ses-1_ce-gadolinium_T1w.nii.gz",
        "sub-01/ses-1/anat/sub-01_ses-1_T2starw.nii.gz",
        "sub-01/ses-1/dwi/sub-01_ses-1_dwi.nii.gz",
        "sub-01/ses-1/dwi/sub-01_ses-1_dwi.bval",
        "sub-01/ses-1/dwi/sub-01_ses-1_ADC.nii.gz",
        "sub-01/ses-2/anat/sub-01_ses-2_FLAIR.nii.gz",
        "sub-02/anat/sub-02_T2w.nii.gz",
        "derivatives/manual/sub-01/ses-1/anat/sub-01_ses-1_label-lesion_mask.nii.gz",
        "derivatives/fmriprep/sub-01/ses-1/anat/sub-01_ses-1_dseg.nii.gz",
        "derivatives/fmriprep/sub-01/ses-1/anat/sub-01_ses-1_desc-brain_mask.nii.gz",
        "derivatives/fmriprep/sub-01/ses-1/anat/sub-01_ses-1_space-MNI152NLin2009cAsym_desc-brain_mask.nii.gz",
        "derivatives/fmriprep/sub-01/ses-1/anat/sub-01_ses-1_desc-preproc_T1w.nii.gz",
    ]);
    let participants = "participant_id	age	group	site
sub-01	40	patient	Basel
sub-02	50	n/a	n/a
sub-03	1	x	y
";
    std::fs::write(folder.path().join("participants.tsv"), participants).unwrap();
    let found = auto(&folder);
    assert_eq!((found.layout, ids(&found)), ("bids", vec!["sub-01_ses-1", "sub-01_ses-2", "sub-02"]));
    let first = case(&found, "sub-01_ses-1");
    assert_eq!(modalities(first), [T1, T1c, Adc], "the 4-D series is left out");
    assert_eq!(name(first.images.get(&T1)), "sub-01_ses-1_run-1_T1w.nii.gz");
    assert_eq!(name(first.label.as_ref()), "sub-01_ses-1_label-lesion_mask.nii.gz");
    assert_eq!(name(first.brain_mask.as_ref()), "sub-01_ses-1_desc-brain_mask.nii.gz");
    assert_eq!((first.subject.as_str(), first.class.as_deref()), ("sub-01", Some("patient")));
    assert_eq!(first.site.as_deref(), Some("Basel"));
    assert_eq!(case(&found, "sub-01_ses-2").subject, "sub-01");
    let said = found.warnings.join("; ");
    assert!(said.contains("2 derived images") && said.contains("1 4-D diffusion series"), "{said}");

    let folder = tree(&["A/sub-1/anat/sub-1_T1w.nii", "B/sub-1/anat/sub-1_T1w.nii"]);
    let found = index(folder.path(), "bids", &IndexOptions::default()).unwrap();
    assert_eq!(ids(&found), ["A-sub-1", "B-sub-1"]);
    assert_eq!(
        (found.cohort.cases[1].subject.as_str(), found.cohort.cases[1].site.as_deref()),
        ("B-sub-1", Some("B"))
    );
}
