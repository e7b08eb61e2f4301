//! Plain folders.

use std::collections::BTreeMap;

use brainmvp_cohort::layouts::{IndexOptions, index};
use brainmvp_volume::Modality::{Adc, Dwi, Flair, Mra, Pd, T1, T1c, T2};

use crate::trees::{auto, case, ids, modalities, name, tree};

#[test]
fn plain_case_folders_with_the_names_of_ucsf_and_isles() {
    let folder = tree(&[
        "UCSF-PDGM-0420_nifti/UCSF-PDGM-0420_T1.nii.gz",
        "UCSF-PDGM-0420_nifti/UCSF-PDGM-0420_T1_bias.nii.gz",
        "UCSF-PDGM-0420_nifti/UCSF-PDGM-0420_T1c.nii.gz",
        "UCSF-PDGM-0420_nifti/UCSF-PDGM-0420_T2.nii.gz",
        "UCSF-PDGM-0420_nifti/UCSF-PDGM-0420_FLAIR.nii.gz",
        "UCSF-PDGM-0420_nifti/UCSF-PDGM-0420_DWI.nii.gz",
        "UCSF-PDGM-0420_nifti/UCSF-PDGM-0420_SWI.nii.gz",
        "UCSF-PDGM-0420_nifti/UCSF-PDGM-0420_DTI_eddy_noreg.nii.gz",
        "UCSF-PDGM-0420_nifti/UCSF-PDGM-0420_brain_segmentation.nii.gz",
        "UCSF-PDGM-0420_nifti/UCSF-PDGM-0420_brain_parenchyma_segmentation.nii.gz",
        "UCSF-PDGM-0420_nifti/UCSF-PDGM-0420_tumor_segmentation.nii.gz",
        "sub-strokecase0001_ses-0001/sub-strokecase0001_ses-0001_adc.nii.gz",
        "sub-strokecase0001_ses-0001/sub-strokecase0001_ses-0001_dwi.nii.gz",
        "sub-strokecase0001_ses-0001/sub-strokecase0001_ses-0001_FLAIR.nii.gz",
        "sub-strokecase0001_ses-0001/sub-strokecase0001_ses-0001_msk.nii.gz",
    ]);
    let found = index(folder.path(), "plain", &IndexOptions::default()).unwrap();
    assert_eq!((found.layout, ids(&found)), ("plain", vec!["UCSF-PDGM-0420", "sub-strokecase0001_ses-0001"]));
    let glioma = case(&found, "UCSF-PDGM-0420");
    assert_eq!(modalities(glioma), [Flair, T1, T1c, T2, Dwi], "no ADC");
    assert_eq!(name(glioma.images.get(&T1)), "UCSF-PDGM-0420_T1.nii.gz", "not the bias-corrected twin");
    assert_eq!(name(glioma.label.as_ref()), "UCSF-PDGM-0420_tumor_segmentation.nii.gz");
    assert_eq!(name(glioma.brain_mask.as_ref()), "UCSF-PDGM-0420_brain_segmentation.nii.gz");
    let stroke = case(&found, "sub-strokecase0001_ses-0001");
    assert_eq!(modalities(stroke), [Flair, Dwi, Adc]);
    assert_eq!(name(stroke.label.as_ref()), "sub-strokecase0001_ses-0001_msk.nii.gz");
    assert_eq!(
        found.warnings,
        ["1 variant files passed over in favour of a plainer one, e.g. ".to_owned()
            + &folder
                .path()
                .join("UCSF-PDGM-0420_nifti/UCSF-PDGM-0420_T1_bias.nii.gz")
                .display()
                .to_string()]
    );
}

#[test]
fn folders_by_modality_are_joined() {
    let folder = tree(&[
        "IXI-T1/IXI002-Guys-0828-T1.nii.gz",
        "IXI-T1/IXI012-HH-1211-T1.nii.gz",
        "IXI-T2/IXI002-Guys-0828-T2.nii.gz",
        "IXI-PD/IXI002-Guys-0828-PD.nii.gz",
        "IXI-MRA/IXI002-Guys-0828-MRA.nii.gz",
        "IXI-DTI/IXI002-Guys-0828-DTI-00.nii.gz",
    ]);
    let found = index(folder.path(), "plain", &IndexOptions::default()).unwrap();
    assert_eq!(ids(&found), ["IXI002-Guys-0828", "IXI012-HH-1211"]);
    assert_eq!(modalities(&found.cohort.cases[0]), [T1, T2, Mra, Pd]);
    assert_eq!(modalities(&found.cohort.cases[1]), [T1]);
}

#[test]
fn one_name_in_two_folders_gets_longer_ids() {
    let folder = tree(&[
        "TrainingData/1/T1.nii",
        "TrainingData/1/T1_1mm.nii",
        "TrainingData/1/T1_IR.nii",
        "TrainingData/1/T2_FLAIR.nii",
        "TrainingData/1/LabelsForTraining.nii",
        "TestData/1/T1.nii",
        "TestData/2/T1.nii",
    ]);
    let found = index(folder.path(), "plain", &IndexOptions::default()).unwrap();
    assert_eq!(ids(&found), ["2", "TestData-1", "TrainingData-1"]);
    let full = case(&found, "TrainingData-1");
    assert_eq!((modalities(full), name(full.images.get(&T1))), (vec![Flair, T1], "T1.nii"));
    assert_eq!(name(full.label.as_ref()), "LabelsForTraining.nii");
    assert!(found.rejected.is_empty(), "{:?}", found.rejected);
}

#[test]
fn plain_flat_files_and_analyze_pairs() {
    let folder = tree(&[
        "p1_T1.nii.gz",
        "p1_flair.nii",
        "p2_t1.hdr",
        "p2_t1.img",
        "p2_seg.nii",
        "notes.txt",
        "odd.nii",
    ]);
    let found = auto(&folder);
    assert_eq!(ids(&found), ["p1", "p2"]);
    assert_eq!(name(case(&found, "p2").images.get(&T1)), "p2_t1.hdr");
    assert!(found.warnings[0].contains("odd.nii"), "{:?}", found.warnings);
}

#[test]
fn phantom_names() {
    let folder = tree(&["c1/c1_t1.nii.gz", "c1/c1_seg.nii.gz", "c1/c1_mask.nii.gz", "cohort.json"]);
    let found = auto(&folder);
    let only = case(&found, "c1");
    assert_eq!(
        (name(only.label.as_ref()), name(only.brain_mask.as_ref())),
        ("c1_seg.nii.gz", "c1_mask.nii.gz")
    );
    assert!(found.warnings[0].contains("cohort.json"), "{:?}", found.warnings);
}

#[test]
fn a_bad_case_is_named_and_the_rest_goes_on() {
    let folder =
        tree(&["good/t1.nii", "two/two_t1.nii", "two/two_T1.nii.gz", "empty/seg.nii", "bad:name/t1.nii"]);
    let found = auto(&folder);
    assert_eq!(ids(&found), ["good"]);
    let reasons: BTreeMap<_, _> =
        found.rejected.iter().map(|r| (r.case.as_str(), r.reason.as_str())).collect();
    assert!(reasons["two"].contains("two_t1.nii") && reasons["two"].contains("two_T1.nii.gz"));
    assert!(reasons["empty"].contains("no image"));
    assert!(reasons["bad:name"].contains("case id"));
}

#[cfg(unix)]
#[test]
fn linked_folders_keep_the_names_that_the_user_sees() {
    let store = tree(&["123/t1.nii", "123/seg.nii"]);
    let folder = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(store.path().join("123"), folder.path().join("case-a")).unwrap();
    let found = auto(&folder);
    assert_eq!(ids(&found), ["case-a"]);
    found.cohort.save(&folder.path().join("cohort.json")).unwrap();
    let text = std::fs::read_to_string(folder.path().join("cohort.json")).unwrap();
    assert!(text.contains("\"case-a/t1.nii\""), "{text}");
}

#[test]
fn folders_of_modalities_and_of_label_maps() {
    let folder = tree(&[
        "t1/Subj1_T1.nii.gz",
        "t1/Subj2_T1.nii.gz",
        "flair/Subj1_FL.nii.gz",
        "flair/Subj2_FL.nii.gz",
        "wmh/Subj1_FL_DLWMLS.nii.gz",
        "wmh/Subj2_FL_DLWMLS.nii.gz",
        "regions/Subj1_T1_DLMUSE.nii.gz",
        "regions/Subj2_T1_DLMUSE.nii.gz",
    ]);
    let found = auto(&folder);
    assert_eq!(ids(&found), ["Subj1", "Subj2"]);
    for number in [1, 2] {
        let case = case(&found, &format!("Subj{number}"));
        assert_eq!(modalities(case), [Flair, T1]);
        assert_eq!(name(case.label.as_ref()), format!("Subj{number}_FL_DLWMLS.nii.gz"));
    }
    assert!(found.rejected.is_empty(), "{:?}", found.rejected);

    // The map has the name of the image that it was drawn on.
    let folder = tree(&["images/P1_T1.nii", "images/P2_T1.nii", "labels/P1_T1.nii", "labels/P2_T1.nii"]);
    let found = auto(&folder);
    assert_eq!(ids(&found), ["P1", "P2"]);
    let label = case(&found, "P2").label.clone().unwrap();
    assert!(modalities(case(&found, "P2")) == [T1] && label.ends_with("labels/P2_T1.nii"), "{label:?}");
}
