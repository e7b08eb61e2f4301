//! nnU-Net's raw folders.

use brainmvp_cohort::Split;
use brainmvp_volume::Modality::{Flair, T1c};

use crate::trees::{auto, case, ids, modalities, name, tree};

#[test]
fn nnunet_channels_are_told_by_their_names() {
    let folder = tree(&[
        "Dataset137_BraTS/imagesTr/BraTS_1_0000.nii.gz",
        "Dataset137_BraTS/imagesTr/BraTS_1_0001.nii.gz",
        "Dataset137_BraTS/imagesTr/BraTS_2_0000.nii.gz",
        "Dataset137_BraTS/labelsTr/BraTS_1.nii.gz",
        "Dataset137_BraTS/imagesTs/BraTS_3_0000.nii.gz",
        "Dataset137_BraTS/imagesTs/BraTS_3_0001.nii.gz",
        "Dataset042_Regions/imagesTr/x_0000.nii.gz",
        "Dataset042_Regions/labelsTr/x.nii.gz",
        "Task001_Old/imagesTr/y_0000.nii.gz",
        "Task001_Old/labelsTr/y.nii.gz",
    ]);
    let write = |folder_name: &str, text: &str| {
        std::fs::write(folder.path().join(folder_name).join("dataset.json"), text).unwrap();
    };
    let two = r#"{"channel_names": {"1": "T1ce", "0": "Flair"}, "labels": {"background": 0, "core": 1}, "file_ending": ".nii.gz"}"#;
    write("Dataset137_BraTS", two);
    write(
        "Dataset042_Regions",
        r#"{"channel_names": {"0": "T2w"}, "labels": {"background": 0, "whole": [1, 2]}}"#,
    );
    write(
        "Task001_Old",
        r#"{"modality": {"0": "T1gd"}, "labels": {"0": "background", "1": "x"},
            "training": [{"image": "./imagesTr/y.nii.gz", "label": "./labelsTr/y.nii.gz"}]}"#,
    );
    let found = auto(&folder);
    assert_eq!((found.layout, ids(&found)), ("nnunet", vec!["BraTS_1", "BraTS_3", "x", "y"]));
    let first = case(&found, "BraTS_1");
    assert_eq!((modalities(first), first.split), (vec![Flair, T1c], Some(Split::Training)));
    assert_eq!(name(first.images.get(&T1c)), "BraTS_1_0001.nii.gz");
    assert_eq!(found.cohort.label_scheme(first).unwrap().to_string(), "1=core");
    assert_eq!(case(&found, "BraTS_3").split, Some(Split::Test));
    assert_eq!(found.cohort.label_scheme(case(&found, "y")).unwrap().to_string(), "1=x");
    assert!(found.rejected[0].reason.contains("1 of 2 channels"), "{:?}", found.rejected);
    let nested = found.cohort.label_scheme(case(&found, "x")).unwrap();
    assert_eq!(nested.to_string(), "1=label 1,2=label 2,whole=1+2");
    assert!(found.warnings.is_empty(), "{:?}", found.warnings);
}

#[test]
fn a_damaged_data_set_of_nnunet_is_named() {
    let folder = tree(&["Dataset001_A/imagesTr/a_0000.nii.gz", "Dataset002_B/imagesTr/b_0000.nii.gz"]);
    let write = |name: &str, text: &str| {
        std::fs::write(folder.path().join(name).join("dataset.json"), text).unwrap();
    };
    write("Dataset001_A", r#"{"channel_names": {"0": "T1"}, "labels": {"backgr"#);
    write("Dataset002_B", r#"{"channel_names": {"0": "T1"}, "labels": {"background": 0}}"#);
    let found = auto(&folder);
    assert_eq!((found.layout, ids(&found)), ("nnunet", vec!["b"]));
    assert_eq!(found.rejected[0].case, "Dataset001_A");
    assert!(found.rejected[0].reason.contains("not JSON"), "{:?}", found.rejected);
}

#[test]
fn regions_and_ignored_labels_of_nnunet() {
    let folder = tree(&["Dataset1_X/imagesTr/a_0000.nii.gz", "Dataset1_X/labelsTr/a.nii.gz"]);
    let text = r#"{"channel_names": {"0": "T1"}, "regions_class_order": [1, 2, 3],
        "labels": {"background": 0, "whole tumor": [1, 2, 3], "tumor core": [2, 3], "ET": 3, "ignore": 4}}"#;
    std::fs::write(folder.path().join("Dataset1_X/dataset.json"), text).unwrap();
    let found = auto(&folder);
    let scheme = found.cohort.label_scheme(case(&found, "a")).unwrap();
    let regions: Vec<(&str, Vec<u16>)> =
        scheme.regions().into_iter().map(|(name, values)| (name, values.into_iter().collect())).collect();
    assert_eq!(regions, [("whole tumor", vec![1, 2, 3]), ("tumor core", vec![2, 3]), ("ET", vec![3])]);
    assert_eq!(scheme.ignored().into_iter().collect::<Vec<_>>(), [4]);
    assert!(scheme.allows(4) && !scheme.values().contains_key(&4) && !scheme.allows(5));
    assert!(found.warnings.is_empty(), "{:?}", found.warnings);
}
