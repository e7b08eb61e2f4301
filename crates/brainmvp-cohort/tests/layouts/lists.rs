//! Data lists: MONAI, the Decathlon, nnssl.

use std::collections::BTreeMap;
use std::path::PathBuf;

use brainmvp_cohort::Split;
use brainmvp_cohort::layouts::{IndexOptions, index};
use brainmvp_volume::Modality::{Adc, Dwi, Flair, T1, T1c, T2};
use tempfile::TempDir;

use crate::trees::{auto, case, ids, modalities, name, tree};

fn monai(files: &[&str], list: &str) -> TempDir {
    let folder = tree(files);
    std::fs::write(folder.path().join("dataset.json"), list).unwrap();
    folder
}

#[test]
fn a_list_in_the_dialect_of_brainmvp() {
    let isles = "sub-strokecase0001_ses-0001/sub-strokecase0001_ses-0001_";
    let files = ["adc", "dwi", "FLAIR", "msk"].map(|word| format!("{isles}{word}.nii.gz"));
    let hybrid = "BraTS2021_Validation_Data/BraTS-GLI-00001-000/BraTS-GLI-00001-000-t1ce.nii.gz";
    let mut all: Vec<&str> = files.iter().map(String::as_str).collect();
    all.push(hybrid);
    let list = format!(
        r#"{{"training": [{{"image": ["{}", "{}", "{}"], "label": "{}", "fold": 0}}], "validation": [{{"image": ["{hybrid}"]}}]}}"#,
        files[0], files[1], files[2], files[3]
    );
    let folder = monai(&all, &list);
    let found = auto(&folder);
    assert_eq!(found.layout, "monai", "{}", found.why);
    assert_eq!(ids(&found), ["BraTS-GLI-00001-000", "sub-strokecase0001_ses-0001"]);
    let stroke = case(&found, "sub-strokecase0001_ses-0001");
    assert_eq!((modalities(stroke), stroke.split), (vec![Flair, Dwi, Adc], Some(Split::Training)));
    assert_eq!(name(stroke.label.as_ref()), "sub-strokecase0001_ses-0001_msk.nii.gz");
    assert_eq!(case(&found, "BraTS-GLI-00001-000").split, Some(Split::Validation));
    assert_eq!(found.warnings, ["key 'fold' of 1 cases is not used"]);
    // The same by the file itself.
    let by_file = index(&folder.path().join("dataset.json"), "auto", &IndexOptions::default()).unwrap();
    assert_eq!(by_file.cohort.cases, found.cohort.cases);
}

#[test]
fn a_decathlon_list_with_tables() {
    let folder = monai(
        &["imagesTr/p_01.nii.gz", "labelsTr/p_01.nii.gz", "imagesTs/p_02.nii.gz"],
        r#"{"name": "Heart", "modality": {"0": "T1gd"}, "labels": {"0": "background", "1": "atrium"}, "numTraining": 1,
            "training": [{"image": "./imagesTr/p_01.nii.gz", "label": "./labelsTr/p_01.nii.gz"}],
            "test": ["./imagesTs/p_02.nii.gz"]}"#,
    );
    let found = auto(&folder);
    assert_eq!(ids(&found), ["p_01", "p_02"]);
    let first = case(&found, "p_01");
    assert_eq!((modalities(first), first.data_set.as_str()), (vec![T1c], "Heart"));
    assert_eq!(found.cohort.label_scheme(first).unwrap().to_string(), "1=atrium");
    assert_eq!(case(&found, "p_02").split, Some(Split::Test));
}

#[test]
fn a_table_of_labels_that_is_no_table_is_reported() {
    let folder = monai(
        &["a/a_t1.nii", "a/a_seg.nii"],
        r#"{"labels": {"0": "background", "tumour": "1"},
            "training": [{"image": "a/a_t1.nii", "label": "a/a_seg.nii"}]}"#,
    );
    let found = auto(&folder);
    assert!(found.cohort.label_scheme(case(&found, "a")).is_none());
    assert!(found.warnings[0].contains("\"labels\" has 'tumour': \"1\""), "{:?}", found.warnings);
}

#[test]
fn lists_with_classes_channels_and_faults() {
    let folder = monai(
        &["a/x.nii", "a/y.nii", "b/x.nii", "b/y.nii", "c/c_t1.nii"],
        r#"{"training": [{"image": ["a/x.nii", "a/y.nii"], "label": 1}, {"image": ["b/x.nii", "b/none.nii"]},
            {"image": "c/c_t1.nii"}, {"image": 3}]}"#,
    );
    let options = IndexOptions { channels: vec![T2, Flair], ..IndexOptions::default() };
    let found = index(folder.path(), "auto", &options).unwrap();
    assert_eq!(ids(&found), ["a"]);
    assert_eq!(name(found.cohort.cases[0].images.get(&T2)), "x.nii");
    assert_eq!(found.cohort.cases[0].class.as_deref(), Some("1"));
    let reasons: Vec<_> = found.rejected.iter().map(|r| r.reason.as_str()).collect();
    for part in ["none.nii: no such file", "1 image files for 2 channels", "neither a path"] {
        assert!(reasons.iter().any(|reason| reason.contains(part)), "{part}: {reasons:?}");
    }
    // Files that are all elsewhere give one message, not one per case.
    let options = IndexOptions { base_dir: Some(PathBuf::from("/nowhere")), ..options };
    assert!(index(folder.path(), "monai", &options).unwrap_err().to_string().contains("--base-dir"));
}

#[test]
fn a_case_in_two_splits_is_kept_once() {
    let folder = monai(
        &["a/a_t1.nii"],
        r#"{"training": [{"image": "a/a_t1.nii"}], "test": [{"image": "a/a_t1.nii"}]}"#,
    );
    let found = auto(&folder);
    assert_eq!(ids(&found), ["a"]);
    assert!(found.rejected[0].reason.contains("training and test"), "{:?}", found.rejected);
}

#[test]
fn nnssl_paths_start_from_variables() {
    let folder = tree(&["raw/a/s1_t1.nii", "raw/a/s1_mask.nii", "raw/a/s2_flair.nii"]);
    let list = r#"{"collection_index": 1, "datasets": {"7": {"name": "set", "subjects": {
        "a": {"sessions": {
            "s1": {"images": [{"image_path": "$nnssl_raw/a/s1_t1.nii", "modality": "T1w",
                               "associated_masks": {"anatomy_mask": "$nnssl_raw/a/s1_mask.nii"}}]},
            "s2": {"images": [{"image_path": "$nnssl_raw/a/s2_flair.nii", "modality": "FLAIR", "associated_masks": null}]}}},
        "b": {"sessions": {"s1": {"images": [{"image_path": "$nnssl_raw/b.nii", "modality": "T2w"}]}}}}}}}"#;
    std::fs::write(folder.path().join("pretrain_data.json"), list).unwrap();
    let raw = folder.path().join("raw").to_string_lossy().into_owned();
    let variables = BTreeMap::from([("nnssl_raw".to_owned(), raw)]);
    let found = index(folder.path(), "auto", &IndexOptions { variables, ..IndexOptions::default() }).unwrap();
    assert_eq!((found.layout, ids(&found)), ("nnssl", vec!["a_s1", "a_s2"]));
    let first = case(&found, "a_s1");
    assert_eq!((first.subject.as_str(), first.data_set.as_str(), modalities(first)), ("a", "set", vec![T1]));
    assert_eq!(name(first.brain_mask.as_ref()), "s1_mask.nii");
    assert!(found.rejected[0].reason.contains("no such file"), "{:?}", found.rejected);
    let message = index(folder.path(), "nnssl", &IndexOptions::default()).unwrap_err().to_string();
    assert!(message.contains("nnssl_raw is not set"), "{message}");
}

#[test]
fn bare_lists_and_keys_of_modalities() {
    let files = ["a/a_t1.nii", "a/a_flair.nii", "a/a_seg.nii", "b/x1.nii", "b/x2.nii", "b/brain.nii"];
    for list in [
        r#"[{"image": ["a/a_t1.nii", "a/a_flair.nii"], "label": "a/a_seg.nii"},
            {"image": {"t1": "b/x1.nii", "flair": "b/x2.nii"}}]"#,
        r#"[{"t1": "a/a_t1.nii", "flair": "a/a_flair.nii", "seg": "a/a_seg.nii", "fold": 0},
            {"image_t1": "b/x1.nii", "flair_image": "b/x2.nii", "brain_mask": "b/brain.nii"}]"#,
        r#"{"training": [{"T1": "a/a_t1.nii", "FLAIR": "a/a_flair.nii", "label": ["a/a_seg.nii"]},
                         {"id": "b", "subject": "s", "T1": "b/x1.nii", "FLAIR": "b/x2.nii", "split": "test"}]}"#,
    ] {
        let folder = monai(&files, list);
        let found = auto(&folder);
        assert_eq!((found.layout, ids(&found)), ("monai", vec!["a", "b"]), "{list}: {:?}", found.rejected);
        let by_file = index(&folder.path().join("dataset.json"), "auto", &IndexOptions::default()).unwrap();
        assert_eq!((by_file.layout, by_file.cohort.cases), ("monai", found.cohort.cases.clone()), "{list}");
        for id in ["a", "b"] {
            assert_eq!(modalities(case(&found, id)), [Flair, T1], "{list}");
        }
        assert_eq!(name(case(&found, "b").images.get(&T1)), "x1.nii");
        assert_eq!(name(case(&found, "a").label.as_ref()), "a_seg.nii");
    }
}

#[test]
fn lists_that_were_written_on_windows() {
    let files = ["imagesTr/p1/t1.nii", "imagesTr/p1/flair.nii", "labelsTr/p1_seg.nii"];
    let list = r#"{"training": [{"image": ["imagesTr\\p1\\t1.nii", ".\\imagesTr\\p1\\flair.nii"],
                                 "label": "labelsTr\\p1_seg.nii"}]}"#;
    let folder = monai(&files, list);
    let found = auto(&folder);
    assert_eq!(ids(&found), ["p1"], "{:?}", found.rejected);
    assert_eq!(modalities(&found.cohort.cases[0]), [Flair, T1]);
    assert!(found.cohort.cases[0].label.as_ref().unwrap().is_file());
}

#[test]
fn where_absent_files_were_looked_for_is_said() {
    let folder = monai(&[], r#"[{"image": "imagesTr/t1.nii"}]"#);
    let message = index(folder.path(), "auto", &IndexOptions::default()).unwrap_err().to_string();
    for part in [&folder.path().join("imagesTr/t1.nii").display().to_string(), "--base-dir"] {
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn a_subject_in_two_splits_goes_where_it_does_no_harm() {
    let folder = monai(
        &["a1/t1.nii", "a2/t1.nii", "b/t1.nii"],
        r#"{"training": [{"image": "a1/t1.nii", "subject": "a"}, {"image": "b/t1.nii"}],
            "test": [{"image": "a2/t1.nii", "subject": "a"}]}"#,
    );
    let found = auto(&folder);
    let split = |id| case(&found, id).split;
    assert_eq!(
        [split("a1"), split("a2"), split("b")],
        [Some(Split::Test), Some(Split::Test), Some(Split::Training)]
    );
    assert!(found.warnings.iter().any(|warning| warning.contains("'a'")), "{:?}", found.warnings);
}
