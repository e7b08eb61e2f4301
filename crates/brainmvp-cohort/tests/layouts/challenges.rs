//! Data sets that no layout of their own reads, as downloaded.

use brainmvp_volume::Modality::{Flair, T1, T1c, T2};

use crate::trees::{auto, case, ids, modalities, name, tree};

#[test]
fn lumiere_has_weeks_of_patients() {
    let week = "LUMIERE/Imaging/Patient-001/week-044";
    let first = "LUMIERE/Imaging/Patient-001/week-000-1";
    let mut files: Vec<String> = Vec::new();
    for folder in [week, first] {
        files.extend(["CT1", "T1", "T2", "FLAIR"].map(|word| format!("{folder}/{word}.nii.gz")));
        files.extend(
            [
                "HD-GLIO-AUTO-segmentation/registered/CT1_r2s_bet_reg.nii.gz",
                "HD-GLIO-AUTO-segmentation/registered/segmentation.nii.gz",
            ]
            .map(|file| format!("{folder}/{file}")),
        );
        files.push(format!("{folder}/DeepBraTumIA-segmentation/atlas/skull_strip/t1_skull_strip.nii.gz"));
        files.push(format!("{folder}/DeepBraTumIA-segmentation/atlas/segmentation/seg_mask.nii.gz"));
    }
    files.push("LUMIERE/Imaging/Patient-002/week-003/T1.nii.gz".to_owned());
    let folder = tree(&files.iter().map(String::as_str).collect::<Vec<_>>());
    let found = auto(&folder);
    assert_eq!(ids(&found), ["Patient-001_week-000-1", "Patient-001_week-044", "Patient-002_week-003"]);
    let case = case(&found, "Patient-001_week-044");
    assert_eq!((case.subject.as_str(), modalities(case)), ("Patient-001", vec![Flair, T1, T1c, T2]));
    assert!(case.images[&T1].ends_with("week-044/T1.nii.gz"), "not one of a tool: {case:?}");
    assert!(found.rejected.is_empty(), "{:?}", found.rejected);
    assert!(found.reading.is_some_and(|told| told.contains("week-0")), "the guess is told");
}

#[test]
fn wmh_challenge_has_originals_and_prepared_images() {
    let mut files: Vec<String> = Vec::new();
    for subject in ["Utrecht/0", "Utrecht/2", "Singapore/50", "Amsterdam/GE3T/100"] {
        for stage in ["orig", "pre"] {
            files.extend(
                ["3DT1", "T1", "FLAIR"].map(|word| format!("training/{subject}/{stage}/{word}.nii.gz")),
            );
        }
        files.push(format!("training/{subject}/wmh.nii.gz"));
    }
    let folder = tree(&files.iter().map(String::as_str).collect::<Vec<_>>());
    let found = auto(&folder);
    assert_eq!(ids(&found), ["0", "100", "2", "50"], "{:?}", found.rejected);
    let first = case(&found, "0");
    assert_eq!((first.subject.as_str(), modalities(first)), ("0", vec![Flair, T1]));
    for image in first.images.values() {
        assert!(image.parent().unwrap().ends_with("orig"), "{}", image.display());
    }
    assert_eq!(name(first.label.as_ref()), "wmh.nii.gz");
}

#[test]
fn hcp_has_a_folder_called_t1w() {
    let folder = tree(&[
        "100307/T1w/T1w_acpc_dc_restore_brain.nii.gz",
        "100307/T1w/T2w_acpc_dc_restore_brain.nii.gz",
        "100307/T1w/aparc+aseg.nii.gz",
        "100307/T1w/wmparc.nii.gz",
        "100307/MNINonLinear/T1w_restore_brain.nii.gz",
        "100408/T1w/T1w_acpc_dc_restore_brain.nii.gz",
    ]);
    let found = auto(&folder);
    assert_eq!(ids(&found), ["100307", "100408"], "{:?}", found.rejected);
    let first = case(&found, "100307");
    assert_eq!(modalities(first), [T1, T2]);
    assert_eq!(name(first.images.get(&T1)), "T1w_acpc_dc_restore_brain.nii.gz");
    assert_eq!(
        (name(first.label.as_ref()), name(first.brain_mask.as_ref())),
        ("-", "-"),
        "no parcellation is a label"
    );
}

#[test]
fn open_ms_data_has_raw_and_registered_images_of_a_patient() {
    let raw = ["T1W", "T1WKS", "T2W", "FLAIR", "consensus_gt"];
    let mut files: Vec<String> = Vec::new();
    for patient in ["patient01", "patient02"] {
        files.extend(raw.map(|word| format!("cross_sectional/raw/{patient}/{patient}_{word}.nii.gz")));
        files.extend(
            raw.map(|word| format!("cross_sectional/coregistered_resampled/{patient}/{word}.nii.gz")),
        );
    }
    let folder = tree(&files.iter().map(String::as_str).collect::<Vec<_>>());
    let found = auto(&folder);
    assert_eq!(ids(&found), ["patient01", "patient02"], "one case of each: {:?}", found.rejected);
    let first = case(&found, "patient01");
    assert!(
        modalities(first).contains(&T1)
            && modalities(first).contains(&Flair)
            && modalities(first).contains(&T2)
    );
    let folders: std::collections::BTreeSet<_> =
        first.images.values().map(|path| path.parent().unwrap()).collect();
    assert_eq!(folders.len(), 1, "images of one stage");
    assert_eq!(
        first.label.as_ref().unwrap().parent(),
        folders.first().copied(),
        "and the label on their grid"
    );
    assert!(name(first.label.as_ref()).ends_with("consensus_gt.nii.gz"));
}

#[test]
fn longitudinal_studies_of_open_ms_data() {
    let folder = tree(&[
        "longitudinal/raw/patient01/study1_FLAIR.nii.gz",
        "longitudinal/raw/patient01/study1_T1W.nii.gz",
        "longitudinal/raw/patient01/study2_FLAIR.nii.gz",
        "longitudinal/raw/patient02/study1_FLAIR.nii.gz",
    ]);
    let found = auto(&folder);
    assert_eq!(ids(&found), ["patient01_study1", "patient01_study2", "patient02"], "{:?}", found.rejected);
    assert_eq!(case(&found, "patient01_study2").subject, "patient01");
}

#[test]
fn one_label_of_brats_of_2020_has_a_name_of_its_own() {
    let folder = tree(&[
        "BraTS20_Training_355/BraTS20_Training_355_t1.nii",
        "BraTS20_Training_355/BraTS20_Training_355_t1ce.nii",
        "BraTS20_Training_355/W39_1998.09.19_Segm.nii",
        "BraTS20_Training_356/BraTS20_Training_356_t1.nii",
        "BraTS20_Training_356/BraTS20_Training_356_seg.nii",
    ]);
    let found = auto(&folder);
    assert_eq!((found.layout, ids(&found)), ("brats", vec!["BraTS20_Training_355", "BraTS20_Training_356"]));
    let odd = case(&found, "BraTS20_Training_355");
    assert_eq!((modalities(odd), name(odd.label.as_ref())), (vec![T1, T1c], "W39_1998.09.19_Segm.nii"));
    assert!(found.warnings.is_empty(), "{:?}", found.warnings);
}
