//! Folders, images and attributes of one session that say together whether a contrast agent was given, and files that are
//! registered to each other.

use std::path::Path;

use brainmvp_cohort::layouts::{IndexOptions, index};
use brainmvp_cohort::{Error, layouts};
use brainmvp_volume::Modality::{Flair, T1, T1c, T2};

use super::trees::{auto, case, ids, modalities, name, tree};

/// A tree of two patients: `P` stands for each.
fn of_two(files: &[&str]) -> layouts::Indexed {
    let files: Vec<String> = ["P01", "P02"]
        .iter()
        .flat_map(|patient| files.iter().map(move |file| format!("{}.nii.gz", file.replace('P', patient))))
        .collect();
    auto(&tree(&files.iter().map(String::as_str).collect::<Vec<_>>()))
}

#[test]
fn folders_about_the_agent_are_no_examinations() {
    for (without, with) in [
        ("P/nativ/T1", "P/KM/T1"),
        ("P/C-/T1", "P/C+/T1"),
        ("P/without_contrast/T1", "P/with_contrast/T1"),
        ("P/before_gad/mprage", "P/after_gad/mprage"),
        ("P/sans_gado/T1", "P/avec_gado/T1"),
        ("P/native/T1", "P/contrast/T1"),
        ("pre_contrast/P_T1", "post_contrast/P_T1"),
        ("pre_contrast/P/T1", "post_contrast/P/T1"),
        ("P/T1/precontrast", "P/T1/postcontrast"),
        ("P/T1/pre", "P/T1/post"),
        ("P/T1_pre/im", "P/T1_post/im"),
    ] {
        let found = of_two(&[without, with]);
        assert_eq!(ids(&found), ["P01", "P02"], "{with}: {:?}", found.rejected);
        let first = case(&found, "P01");
        assert_eq!(modalities(first), [T1, T1c], "{with}");
        let path = |modality| {
            let below = first.images[&modality].to_string_lossy().replace("P01", "P");
            below.trim_end_matches(".nii.gz").to_owned()
        };
        assert!(path(T1).ends_with(without) && path(T1c).ends_with(with), "{with}: {first:?}");
        // Alone, `T1/post` may be after anything.
        if !with.ends_with("/post") {
            let alone = of_two(&[with]);
            assert_eq!(
                alone.cohort.cases.iter().flat_map(modalities).collect::<Vec<_>>(),
                [T1c, T1c],
                "{with}"
            );
        }
    }
}

#[test]
fn of_other_images_the_one_without_agent_is_used() {
    let found =
        of_two(&["P/pre_contrast/T1", "P/pre_contrast/FLAIR", "P/post_contrast/T1", "P/post_contrast/FLAIR"]);
    let first = case(&found, "P01");
    assert_eq!((ids(&found).len(), modalities(first)), (2, vec![Flair, T1, T1c]));
    assert!(first.images[&Flair].to_string_lossy().contains("pre_contrast"), "{first:?}");
}

#[test]
fn pre_and_post_alone_are_not_told() {
    for files in [["P/pre/T1", "P/post/T1"], ["pre/P/T1", "post/P/T1"]] {
        let folder =
            tree(&[&format!("{}.nii.gz", files[0]), &format!("{}.nii.gz", files[1]), "P9/T2.nii.gz"]);
        let found = auto(&folder);
        assert_eq!(found.refused.len(), 2, "{files:?}: {:?}", found.explained);
        assert!(found.refused[0].finding.reason().contains("after an event"), "{files:?}");
        assert!(found.cohort.cases.iter().all(|case| !case.images.contains_key(&T1)));
    }
    // With other images they are examinations.
    let found = of_two(&["P/pre/T1", "P/pre/FLAIR", "P/post/T1", "P/post/FLAIR"]);
    assert!(found.refused.is_empty(), "{:?}", found.refused);
    assert!(found.cohort.cases.iter().all(|case| modalities(case) == [Flair, T1]));
}

#[test]
fn initials_are_no_agents() {
    let found = auto(&tree(&["KM/T1.nii.gz", "AB/T1.nii.gz", "CE/T1.nii.gz", "GD_03/T1.nii.gz"]));
    assert_eq!(ids(&found), ["AB", "CE", "GD_03", "KM"]);
    assert!(found.cohort.cases.iter().all(|case| modalities(case) == [T1]));
}

#[test]
fn an_agent_of_all_series_is_not_that_of_each() {
    let agent = r#"{"ContrastBolusAgent": "Dotarem"}"#;
    let index_of = |names: &[&str]| {
        let folder = tree(&[]);
        for name in names {
            let path = folder.path().join(format!("P1/{name}.nii.gz"));
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, "").unwrap();
            std::fs::write(folder.path().join(format!("P1/{name}.json")), agent).unwrap();
        }
        (auto(&folder), folder)
    };
    let (found, _folder) = index_of(&["T1_tra", "T1_tra_KM", "FLAIR"]);
    let only = case(&found, "P1");
    assert_eq!(modalities(only), [Flair, T1, T1c], "{:?}", found.explained);
    assert_eq!(name(only.images.get(&T1c)), "T1_tra_KM.nii.gz");
    let (found, _folder) = index_of(&["T1_tra", "T1_tra_KM"]);
    assert_eq!((modalities(case(&found, "P1")), found.refused.len()), (vec![T1c], 1));
    let (found, _folder) = index_of(&["T1_tra", "FLAIR"]);
    assert_eq!(modalities(case(&found, "P1")), [Flair, T1c], "nothing else speaks");
}

#[test]
fn registered_files_are_never_their_target() {
    let found = of_two(&["P_T1", "P_T2_flirt_T1", "P_FLAIR_flirt_T1"]);
    assert_eq!(ids(&found), ["P01", "P02"]);
    assert_eq!(modalities(case(&found, "P01")), [Flair, T1, T2]);
    for files in
        [["P_T1", "P_T2_xyztool_T1", "P_FLAIR_xyztool_T1"], ["P/T1", "P/T2_xyztool_T1", "P/FLAIR_xyztool_T1"]]
    {
        let found = of_two(&files);
        assert_eq!((ids(&found), found.refused.len()), (vec!["P01", "P02"], 4), "{:?}", found.explained);
        assert_eq!(modalities(case(&found, "P01")), [T1]);
    }
}

/// A word that all names begin with is that of the study.
#[test]
fn a_study_may_be_named_like_an_image() {
    let found = auto(&tree(&["PET_anna_T1.nii.gz", "PET_anna_FLAIR.nii.gz", "PET_berta_T1.nii.gz"]));
    assert_eq!(found.cohort.cases.len(), 2, "{:?}", found.explained);
    assert!(found.refused.is_empty());
}

#[test]
fn a_mask_named_after_an_image_is_not_that_of_the_brain_by_chance() {
    let found = of_two(&["P/orig/3DT1", "P/orig/FLAIR", "P/orig/3DT1_mask", "P/wmh"]);
    let first = case(&found, "P01");
    assert!(first.brain_mask.is_none() && name(first.label.as_ref()) == "wmh.nii.gz", "{first:?}");
    assert_eq!(found.refused.len(), 2);
    let found = of_two(&["P/T1", "P/mask", "P/seg"]);
    assert_eq!(name(case(&found, "P01").brain_mask.as_ref()), "mask.nii.gz");
    let of_mask = found.explained.iter().find(|file| file.path.ends_with("P01/mask.nii.gz")).unwrap();
    assert_eq!(of_mask.finding.decision(), "mask");
}

#[test]
fn labels_of_brats_2013_and_isles_2015() {
    let found = of_two(&[
        "HG/P/VSD.Brain.XX.O.MR_T1/VSD.Brain.XX.O.MR_T1.35",
        "HG/P/VSD.Brain.XX.O.MR_T2/VSD.Brain.XX.O.MR_T2.36",
        "HG/P/VSD.Brain_3more.XX.XX.OT/VSD.Brain_3more.XX.XX.OT.42",
    ]);
    assert_eq!(modalities(case(&found, "P01")), [T1, T2]);
    assert!(case(&found, "P01").label.is_some(), "{:?}", found.explained);
    let found = of_two(&[
        "P/VSD.Brain.XX.O.MR_DWI.1/VSD.Brain.XX.O.MR_DWI.1",
        "P/VSD.Brain.XX.O.OT.2/VSD.Brain.XX.O.OT.2",
    ]);
    assert!(case(&found, "P01").label.is_some(), "{:?}", found.explained);
}

#[test]
fn where_nothing_can_be_used_the_evidence_is_kept() {
    let folder = tree(&["P1/T1_pre_and_post_contrast.nii.gz", "P1/foo.nii.gz"]);
    let error = index(folder.path(), "auto", &IndexOptions::default()).unwrap_err();
    let Error::NoCase { found, reason, .. } = &error else { panic!("{error}") };
    assert!(reason.contains("no usable case"), "{reason}");
    assert_eq!((found.explained.len(), found.refused.len(), found.cohort.cases.len()), (2, 1, 0));
    assert!(found.refused[0].finding.reason().contains("both with and without"));
}

#[test]
fn channels_decide_together_and_tell_why() {
    let with_channels = |names: &str| {
        let folder = tree(&["imagesTr/a_0000.nii.gz", "imagesTr/a_0001.nii.gz"]);
        let text = format!("{{\"channel_names\": {names}, \"labels\": {{\"background\": 0}}}}");
        std::fs::write(folder.path().join("dataset.json"), text).unwrap();
        index(Path::new(folder.path()), "auto", &IndexOptions::default())
    };
    let found = with_channels(r#"{"0": "T1", "1": "T1-C"}"#).unwrap();
    assert_eq!(modalities(&found.cohort.cases[0]), [T1, T1c]);
    let reason = found.explained[1].finding.reason();
    assert!(reason.contains("channel 'T1-C'") && reason.contains("the other one is t1"), "{reason}");
    let message = with_channels(r#"{"0": "T1", "1": "T2 map"}"#).unwrap_err().to_string();
    assert!(message.contains("'map' in the list: a map of a quantity"), "{message}");
}
