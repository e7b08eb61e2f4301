//! What holds for every layout.

use std::collections::BTreeMap;

use brainmvp_cohort::identity::Aliases;
use brainmvp_cohort::layouts::{IndexOptions, Indexed, LAYOUTS, index};
use brainmvp_volume::Modality::T1;

use crate::trees::{auto, modalities, tree};

/// A tree of one case for each layout; the JSON file, if any, has its text.
const TREES: [(&str, &[&str], (&str, &str)); 7] = [
    (
        "nnunet",
        &["imagesTr/a_0000.nii.gz"],
        ("dataset.json", r#"{"channel_names": {"0": "T1"}, "labels": {"background": 0}}"#),
    ),
    (
        "nnssl",
        &["a_t1.nii"],
        (
            "pretrain_data.json",
            r#"{"datasets": {"1": {"name": "d", "subjects": {"a": {"sessions": {"ses-DEFAULT": {"images":
                [{"name": "x", "image_path": "a_t1.nii", "modality": "T1w"}]}}}}}}}"#,
        ),
    ),
    ("monai", &["a/a_t1.nii.gz"], ("list.json", r#"{"training": [{"image": "a/a_t1.nii.gz"}]}"#)),
    ("brats", &["BraTS2021_00000/BraTS2021_00000_t1.nii.gz"], ("", "")),
    ("public", &["IXI-T1/IXI002-Guys-0828-T1.nii.gz"], ("", "")),
    ("bids", &["sub-a/anat/sub-a_T1w.nii.gz"], ("dataset_description.json", "{}")),
    ("plain", &["a/t1.nii"], ("", "")),
];

#[test]
fn every_layout_indexes_its_tree_and_saves() {
    assert_eq!(LAYOUTS.iter().map(|layout| layout.name()).collect::<Vec<_>>(), TREES.map(|(name, ..)| name));
    for (layout, (name, files, (json, text))) in LAYOUTS.iter().zip(TREES) {
        let folder = tree(files);
        if !json.is_empty() {
            std::fs::write(folder.path().join(json), text).unwrap();
        }
        assert!(layout.recognises(folder.path()).is_some(), "{name}");
        let found = auto(&folder);
        assert_eq!((found.layout, found.cohort.cases.len()), (name, 1), "{:?}", found.rejected);
        assert_eq!(modalities(&found.cohort.cases[0]), [T1], "{name}");
        found.cohort.save(&folder.path().join("cohort.json")).unwrap();
        assert!(!layout.describe().is_empty());
    }
}

/// The tree of a layout with one more file, and the cohort that it gives.
fn with_more(name: &str, more: &[&str]) -> Indexed {
    let (_, files, (json, text)) = TREES.into_iter().find(|(layout, ..)| *layout == name).unwrap();
    let folder = tree(&[files, more].concat());
    if !json.is_empty() {
        std::fs::write(folder.path().join(json), text).unwrap();
    }
    index(folder.path(), name, &IndexOptions::default()).unwrap()
}

#[test]
fn no_mask_is_taken_as_an_image() {
    // nnU-Net reads no words; see below.
    for (layout, files, _) in TREES.into_iter().filter(|(layout, ..)| *layout != "nnunet") {
        let (folder, stem) =
            files[0].rsplit_once('/').map_or(("", files[0]), |(folder, name)| (folder, name));
        let stem = stem.split('.').next().unwrap().trim_end_matches("_0000");
        let base = stem.trim_end_matches(['1', 't', 'T', 'w']).trim_end_matches(['_', '-']);
        for word in [
            "brain_mask",
            "T1_brain_mask",
            "T1_bet_mask",
            "lesion_mask",
            "T1_seg",
            "aparc+aseg",
            "wmparc",
            "T1_wm_prob",
        ] {
            let separator = if base.is_empty() { "" } else { "_" };
            let mask = format!("{folder}/{base}{separator}{word}.nii.gz");
            let found = with_more(layout, &[mask.trim_start_matches('/')]);
            let file = mask.rsplit('/').next().unwrap();
            for case in &found.cohort.cases {
                for (modality, image) in &case.images {
                    assert!(!image.ends_with(file), "{layout}: {file} is taken as {modality}");
                }
                if word.contains("parc") || word.contains("prob") {
                    assert!(
                        !case.label.as_ref().is_some_and(|label| label.ends_with(file)),
                        "{layout}: {file}"
                    );
                }
            }
            assert_eq!(found.cohort.cases.len(), 1, "{layout}: {file} makes no case of its own");
        }
    }
}

/// nnU-Net has no place for a mask: files are images by the number of their channel, and labels by the name of their case.
/// What has neither is no file of a case; a mask with a channel's number contradicts its list.
#[test]
fn nnunet_takes_no_mask_as_an_image_in_silence() {
    for folder in ["labelsTr", "masksTr", "."] {
        let found = with_more("nnunet", &[&format!("{folder}/a_brain_mask.nii.gz")]);
        let case = &found.cohort.cases[0];
        assert_eq!((modalities(case), found.cohort.cases.len()), (vec![T1], 1), "{folder}");
        assert!(case.label.is_none() && case.brain_mask.is_none(), "{folder}");
    }
    // Beside the images it makes the folder no data set of nnU-Net.
    let (_, files, (json, text)) = TREES[0];
    let folder = tree(&[files, &["imagesTr/a_brain_mask.nii.gz"]].concat());
    std::fs::write(folder.path().join(json), text).unwrap();
    index(folder.path(), "nnunet", &IndexOptions::default()).unwrap_err();
    let found = with_more("nnunet", &["imagesTr/a_brain_mask_0000.nii.gz"]);
    let said = found.warnings.join("; ");
    assert!(said.contains("a_brain_mask_0000.nii.gz: t1 by the list"), "{said}");
}

#[test]
fn what_is_passed_over_is_explained() {
    let files = [
        "P1/orig/T1.nii.gz",
        "P1/orig/T1_bias.nii.gz",
        "P1/orig/FLAIR.nii.gz",
        "P1/skull_stripped/T1.nii.gz",
        "P1/skull_stripped/T1_brain_mask.nii.gz",
        "P1/skull_stripped/T1map.nii.gz",
        "P2/T1map.nii.gz",
    ];
    let folder = tree(&files);
    let found = index(folder.path(), "plain", &IndexOptions::default()).unwrap();
    let unused = |file: &str| {
        let is = |path: &std::path::Path| path == folder.path().join(file);
        let all: Vec<_> = found.explained.iter().filter(|explained| is(&explained.path)).collect();
        assert_eq!(all.len(), 1, "{file} is explained once");
        (all[0].finding.decision(), all[0].unused.clone().unwrap_or_default())
    };
    assert_eq!(found.explained.len(), files.len());
    let (decision, reason) = unused("P1/skull_stripped/T1.nii.gz");
    assert!(
        decision == "t1" && reason.contains("'skull_stripped', and 'orig' is used"),
        "{decision} {reason}"
    );
    assert!(unused("P1/orig/T1_bias.nii.gz").1.contains("T1.nii.gz is plainer"));
    for used in [
        "P1/orig/T1.nii.gz",
        "P1/orig/FLAIR.nii.gz",
        "P1/skull_stripped/T1_brain_mask.nii.gz",
        "P2/T1map.nii.gz",
    ] {
        assert_eq!(unused(used).1, "", "{used}");
    }
    let found = with_more("bids", &["derivatives/x/sub-a/anat/sub-a_desc-preproc_T1w.nii.gz"]);
    let derived =
        found.explained.iter().find(|explained| explained.path.ends_with("sub-a_desc-preproc_T1w.nii.gz"));
    assert!(derived.unwrap().unused.as_ref().unwrap().contains("derived"));
}

#[test]
fn no_subject_is_in_two_splits() {
    for (layout, files, (json, text)) in TREES {
        let folder = tree(files);
        if !json.is_empty() {
            std::fs::write(folder.path().join(json), text).unwrap();
        }
        let first = index(folder.path(), layout, &IndexOptions::default()).unwrap();
        let (id, subject) = (first.cohort.cases[0].id.to_string(), first.cohort.cases[0].subject.clone());
        // The table puts the case and the subject into different splits, as far as they are different.
        let table = format!("id,split\n{subject},training\n{id},test\n");
        let table = if id == subject { format!("id,split\n{id},test\n") } else { table };
        std::fs::write(folder.path().join("table.csv"), table).unwrap();
        let options =
            IndexOptions { table: Some(folder.path().join("table.csv")), ..IndexOptions::default() };
        let found = index(folder.path(), layout, &options).unwrap();
        let mut splits = BTreeMap::new();
        for case in &found.cohort.cases {
            let split = splits.entry((&case.data_set, &case.subject)).or_insert(case.split);
            assert_eq!(*split, case.split, "{layout}");
        }
    }
}

#[test]
fn archives_are_named_by_every_layout() {
    let mut header = [0; 512];
    header[..11].copy_from_slice(b"p/t1.nii.gz");
    header[124..135].copy_from_slice(b"00000000000");
    for (layout, files, (json, text)) in TREES {
        let folder = tree(files);
        if !json.is_empty() {
            std::fs::write(folder.path().join(json), text).unwrap();
        }
        std::fs::write(folder.path().join("more.tar"), header).unwrap();
        let found = index(folder.path(), layout, &IndexOptions::default()).unwrap();
        let told = found.warnings.join("; ");
        assert!(told.contains("more.tar with p/t1.nii.gz") && told.contains("unpack"), "{layout}: {told}");
    }
    // Alone it is an error that says so.
    let folder = tree(&[]);
    std::fs::write(folder.path().join("all.tar"), header).unwrap();
    for path in [folder.path().to_owned(), folder.path().join("all.tar")] {
        let message = index(&path, "auto", &IndexOptions::default()).unwrap_err().to_string();
        assert!(message.contains("all.tar with p/t1.nii.gz"), "{message}");
    }
}

#[test]
fn the_users_words_are_for_labels_and_masks_too() {
    for (layout, image, label) in [
        ("plain", "a/t1.nii", "a/Zyx.nii"),
        ("plain", "a_t1.nii", "a_Zyx.nii"),
        ("brats", "BraTS2021_00000/BraTS2021_00000_t1.nii.gz", "BraTS2021_00000/BraTS2021_00000_Zyx.nii.gz"),
        ("bids", "sub-a/anat/sub-a_T1w.nii.gz", "sub-a/anat/sub-a_Zyx.nii.gz"),
    ] {
        let folder = tree(&[image, label]);
        for (target, is_label) in [("label", true), ("mask", false)] {
            let aliases = Aliases::extended(&[("Zyx".to_owned(), target.to_owned())].into()).unwrap();
            let found =
                index(folder.path(), layout, &IndexOptions { aliases, ..IndexOptions::default() }).unwrap();
            let case = &found.cohort.cases[0];
            assert_eq!(
                (case.label.is_some(), case.brain_mask.is_some()),
                (is_label, !is_label),
                "{layout} {target}"
            );
        }
        assert!(
            index(folder.path(), layout, &IndexOptions::default()).unwrap().cohort.cases[0].label.is_none()
        );
    }
}
