//! What a name says does not depend on the layout that the file is found in.

// The functions that tests share are tests too.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use brainmvp_cohort::layouts::{IndexOptions, Indexed, index};
use brainmvp_volume::Modality::{self, Flair, T1, T1c, T2};
use tempfile::TempDir;

/// Names of the files of one session, each with its modality; `None` for those that are no image of one.
type Session = &'static [(&'static str, Option<Modality>)];

const SESSIONS: [Session; 12] = [
    &[("T1_C-", Some(T1)), ("T1_C+", Some(T1c))],
    &[("T1", Some(T1)), ("T1_postcontrast", Some(T1c))],
    &[("T1_pre_contrast", Some(T1)), ("T1_post_contrast", Some(T1c))],
    &[("AX T1 W.O CONTRAST", Some(T1)), ("AX T1 W CONTRAST", Some(T1c))],
    &[("T1_ohne_KM", Some(T1)), ("T1_KM", Some(T1c))],
    &[("T1", Some(T1)), ("T1-C", Some(T1c))],
    &[("T1-C", Some(T1)), ("T1+C", Some(T1c))],
    &[("T1", Some(T1)), ("T2_to_T1", Some(T2)), ("FLAIR_reg_to_T1", Some(Flair))],
    &[("T1", Some(T1)), ("T1_gado", Some(T1c)), ("T1_subtraction", None), ("T1map", None), ("T2star", None)],
    &[("T1_post_op", Some(T1)), ("FLAIR", Some(Flair)), ("eADC", None), ("DWI_b50", None), ("c1T1", None)],
    &[("T1_FLAIR", Some(T1)), ("T2_FLAIR", Some(Flair)), ("T2_CISS", Some(T2)), ("PD_T2", None)],
    &[("T1_2019-pre", Some(T1)), ("T1_2019-post", Some(T1c)), ("MIP", None)],
];

/// A folder with the files of a session, in the form of a layout.
type Build = fn(&Path, Session);

const LAYOUTS: [(&str, Build); 7] = [
    ("plain", |root, session| each(session, |name| write(&root.join(format!("P-17/{name}.nii.gz")), ""))),
    ("plain", |root, session| {
        each(session, |name| write(&root.join(format!("P-17/P-17_{name}.nii.gz")), ""));
    }),
    ("plain", |root, session| each(session, |name| write(&root.join(format!("P-17_{name}.nii.gz")), ""))),
    ("brats", |root, session| {
        each(session, |name| {
            write(&root.join(format!("BraTS2021_00017/BraTS2021_00017_{name}.nii.gz")), "");
        });
    }),
    ("monai", |root, session| {
        let images = session.iter().filter(|(_, modality)| modality.is_some());
        let images: Vec<String> = images.map(|(name, _)| format!("\"P-17/{name}.nii.gz\"")).collect();
        each(session, |name| write(&root.join(format!("P-17/{name}.nii.gz")), ""));
        write(
            &root.join("list.json"),
            &format!("{{\"training\": [{{\"image\": [{}]}}]}}", images.join(", ")),
        );
    }),
    ("nnssl", |root, session| {
        let images = session.iter().filter(|(_, modality)| modality.is_some());
        let image = |name: &str| format!("{{\"image_path\": \"{name}.nii.gz\", \"modality\": \"{name}\"}}");
        let images: Vec<String> = images.map(|(name, _)| image(name)).collect();
        each(session, |name| write(&root.join(format!("{name}.nii.gz")), ""));
        let list = format!(
            "{{\"datasets\": {{\"1\": {{\"subjects\": {{\"P-17\": {{\"sessions\": {{\"s\": {{\"images\": [{}]}}}}}}}}}}}}}}",
            images.join(", ")
        );
        write(&root.join("pretrain_data.json"), &list);
    }),
    // dcm2niix's names that say nothing, with the description in the JSON file.
    ("plain", |root, session| {
        for (number, (name, _)) in session.iter().enumerate() {
            let stem = format!("P-17/x{number}");
            write(&root.join(format!("{stem}.nii.gz")), "");
            write(&root.join(format!("{stem}.json")), &format!("{{\"SeriesDescription\": \"{name}\"}}"));
        }
    }),
];

fn each(session: Session, write: impl Fn(&str)) {
    for (name, _) in session {
        write(name);
    }
}

fn write(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

fn indexed(build: Build, session: Session, options: &IndexOptions) -> (TempDir, Indexed) {
    let folder = tempfile::tempdir().unwrap();
    build(folder.path(), session);
    let found = index(folder.path(), "auto", options).unwrap();
    (folder, found)
}

#[test]
fn a_session_is_the_same_in_every_layout() {
    for (at, (layout, build)) in LAYOUTS.iter().enumerate() {
        for session in SESSIONS {
            // A list gives words one by one, and refuses those that are open alone.
            let alone = ["T1-C", "T1_2019-post"];
            if *layout == "nnssl" && session.iter().any(|(name, _)| alone.contains(name)) {
                continue;
            }
            let (folder, found) = indexed(*build, session, &IndexOptions::default());
            assert_eq!(found.layout, *layout, "{session:?}");
            let cases = &found.cohort.cases;
            assert_eq!(cases.len(), 1, "{layout} {at} {session:?}: {cases:#?}, {:?}", found.rejected);
            for (number, (name, modality)) in session.iter().enumerate() {
                let of_file = |path: &Path| {
                    let stem =
                        path.file_name().unwrap().to_str().unwrap().trim_end_matches(".nii.gz").to_owned();
                    let own = stem.trim_start_matches("P-17_").trim_start_matches("BraTS2021_00017_");
                    own == *name || own == format!("x{number}")
                };
                let taken =
                    cases[0].images.iter().find(|(_, path)| of_file(path)).map(|(modality, _)| *modality);
                let why: Vec<String> =
                    found.explained.iter().map(|e| format!("{:?} {}", e.path, e.finding.reason())).collect();
                assert_eq!(taken, *modality, "{layout} {at}: {name} of {session:?}\n{}", why.join("\n"));
            }
            drop(folder);
        }
    }
}

#[test]
fn every_file_is_explained_and_what_is_open_is_refused_by_name() {
    let session: Session =
        &[("T1", Some(T1)), ("FLAIR", Some(Flair)), ("PD_T2", None), ("T1_T2", None), ("scan", None)];
    let (_folder, found) = indexed(LAYOUTS[0].1, session, &IndexOptions::default());
    assert_eq!(found.explained.len(), 5);
    let refused: Vec<String> = found
        .refused
        .iter()
        .map(|file| {
            format!("{} {}", file.path.file_name().unwrap().to_string_lossy(), file.finding.decision())
        })
        .collect();
    assert_eq!(refused.len(), 2, "{refused:?}");
    assert!(
        refused[0].contains("PD_T2.nii.gz") && refused[0].contains("'PD' in the name: pd"),
        "{refused:?}"
    );
}

#[test]
fn the_users_word_settles_it() {
    let session: Session = &[("T1_T2", Some(T2)), ("T1", Some(T1)), ("Segm", None)];
    let words = [("t1_t2".to_owned(), "t2".to_owned()), ("Segm".to_owned(), "mask".to_owned())];
    let aliases = brainmvp_cohort::identity::Aliases::extended(&words.into()).unwrap();
    let (_folder, found) =
        indexed(LAYOUTS[1].1, session, &IndexOptions { aliases, ..IndexOptions::default() });
    let case = &found.cohort.cases[0];
    assert!(case.images[&T2].ends_with("P-17_T1_T2.nii.gz") && case.images[&T1].ends_with("P-17_T1.nii.gz"));
    assert!(case.brain_mask.as_ref().unwrap().ends_with("P-17_Segm.nii.gz") && case.label.is_none());
    assert!(found.refused.is_empty());
}

#[test]
fn lists_that_contradict_the_names_are_told() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["p1/p1_t1ce", "p1/p1_t1"] {
        write(&folder.path().join(format!("{name}.nii.gz")), "");
    }
    let list = r#"{"modality": {"0": "T1w", "1": "t1gd"}, "training": [{"image": ["p1/p1_t1ce.nii.gz", "p1/p1_t1.nii.gz"]}]}"#;
    write(&folder.path().join("list.json"), list);
    let found = index(folder.path(), "auto", &IndexOptions::default()).unwrap();
    let said = found.warnings.join("; ");
    assert!(
        said.contains("contradict the list") && said.contains("p1_t1ce.nii.gz: t1 by the list"),
        "{said}"
    );
    // In the right order, nothing is said.
    let list = r#"{"modality": {"0": "t1gd", "1": "T1w"}, "training": [{"image": ["p1/p1_t1ce.nii.gz", "p1/p1_t1.nii.gz"]}]}"#;
    write(&folder.path().join("list.json"), list);
    let found = index(folder.path(), "auto", &IndexOptions::default()).unwrap();
    assert!(found.warnings.is_empty(), "{:?}", found.warnings);
    let folder = tempfile::tempdir().unwrap();
    write(&folder.path().join("imagesTr/p1_flair_0000.nii.gz"), "");
    write(
        &folder.path().join("dataset.json"),
        r#"{"channel_names": {"0": "T1"}, "labels": {"background": 0}}"#,
    );
    let found = index(folder.path(), "auto", &IndexOptions::default()).unwrap();
    assert_eq!(found.layout, "nnunet");
    assert!(found.warnings.join("; ").contains("contradict the list"), "{:?}", found.warnings);
}

#[test]
fn bids_without_agent_and_in_wrong_folders() {
    let folder = tempfile::tempdir().unwrap();
    for name in [
        "sub-1/anat/sub-1_ce-none_T1w.nii.gz",
        "sub-1/anat/sub-1_ce-gadolinium_T1w.nii.gz",
        "sub-1/anat/sub-1_acq-T1_space-T1w_T2w.nii.gz",
        "sub-2/anat/sub-3_T1w.nii.gz",
        "sub-2/anat/sub-2_T2w.nii.gz",
        "sub-4/dwi/sub-4_FLAIR.nii.gz",
    ] {
        write(&folder.path().join(name), "");
    }
    write(&folder.path().join("sub-4/dwi/sub-4_FLAIR.json"), r#"{"EchoTime": 0.12, "RepetitionTime": 9}"#);
    let found = index(folder.path(), "bids", &IndexOptions::default()).unwrap();
    let case = |id: &str| found.cohort.cases.iter().find(|case| case.id.as_str() == id).unwrap();
    assert!(case("sub-1").images[&T1].ends_with("sub-1_ce-none_T1w.nii.gz"));
    assert!(case("sub-1").images[&T1c].ends_with("sub-1_ce-gadolinium_T1w.nii.gz"));
    assert!(case("sub-1").images.contains_key(&T2), "registered to T1w");
    assert!(!case("sub-2").images.contains_key(&T1) && case("sub-4").images.contains_key(&Flair));
    assert!(found.refused[0].finding.decision().contains("sub-2"), "{:?}", found.refused);
    assert!(found.warnings.join("; ").contains("sub-4_FLAIR"), "{:?}", found.warnings);
}

#[test]
fn attributes_beside_the_image_decide_where_the_name_is_silent() {
    let folder = tempfile::tempdir().unwrap();
    let json = |te: f64, tr: f64, more: &str| {
        format!("{{\"EchoTime\": {te}, \"RepetitionTime\": {tr}, \"ScanningSequence\": \"SE\"{more}}}")
    };
    for (name, json) in [
        ("p/5_AX_SE", json(0.01, 0.5, "")),
        ("p/6_AX_SE_fs", json(0.01, 0.5, ", \"ContrastBolusAgent\": \"Gadovist\"")),
        ("p/7_AX", json(0.1, 4.0, "")),
        ("p/8_AX_T1", json(0.1, 4.0, "")),
        ("p/9_knee", json(0.01, 0.5, ", \"BodyPartExamined\": \"KNEE\"")),
    ] {
        write(&folder.path().join(format!("{name}.nii.gz")), "");
        write(&folder.path().join(format!("{name}.json")), &json);
    }
    let found = index(folder.path(), "plain", &IndexOptions::default()).unwrap();
    let of = |part: &str| {
        let file = found.explained.iter().find(|file| file.path.to_string_lossy().contains(part)).unwrap();
        file.finding.decision()
    };
    assert_eq!([of("5_AX_SE"), of("6_AX_SE"), of("7_AX")], ["t1", "t1c", "t2"]);
    assert!(of("8_AX_T1").contains("contradictory"), "{}", of("8_AX_T1"));
    assert!(of("9_knee").contains("another part"), "{}", of("9_knee"));
}
