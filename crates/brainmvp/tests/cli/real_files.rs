//! Real cases as they come: a glioma of BraTS, a stroke of ISLES on two grids, a glioma of another pipeline.
//!
//! The files are those of [`test_data`].

use std::path::PathBuf;

use brainmvp_golden::test_data;

use crate::program::Place;

/// The folders of the three cases, below the folder of the data.
const FOLDERS: [&str; 3] = ["brats-gli-00001", "isles22-0009", "tcga-fg-6692/reference/raw_bet"];

/// The three folders, or `None` where one is absent.
fn folders() -> Option<Vec<PathBuf>> {
    FOLDERS.into_iter().map(test_data).collect()
}

#[test]
fn three_folders_become_a_cache() {
    let Some(folders) = folders() else { return };
    let place = Place::new();
    let folders: Vec<&str> = folders.iter().map(|folder| folder.to_str().unwrap()).collect();
    place
        .run(&[&["index"], &folders[..], &["--out", "real.json"]].concat())
        .succeeds()
        .prints(&["3 cases of 3 data sets"])
        .notes(&["seg-BraTS23_1_mapped"]);
    place.run(&["check", "real.json"]).succeeds().prints(&[
        "flair 3, t1 2, t1c 2, t2 2, dwi 1, adc 1",
        "will be resampled",
        "no problems",
    ]);
    place
        .run(&["preprocess", "real.json", "--out", "cache"])
        .succeeds()
        .prints(&["3 cases prepared", "0 left out"]);
    let manifest = place.json("cache/manifest.json");
    let modalities = |case: usize| manifest["cases"][case]["modalities"].to_string();
    assert_eq!(modalities(0), r#"["flair","t1","t1c","t2"]"#, "OtherEXampleFromTCIA");
    assert_eq!(modalities(1), r#"["flair","t1","t1c","t2"]"#, "brats-gli-00001");
    assert_eq!(modalities(2), r#"["flair","dwi","adc"]"#, "isles22-0009");
    let labels: Vec<_> = (0..3).map(|case| manifest["cases"][case]["has_label"].as_bool().unwrap()).collect();
    assert_eq!(labels, [false, true, true]);
}

#[cfg(unix)]
#[test]
fn one_folder_with_the_cases_does_as_well() {
    let Some(folders) = folders() else { return };
    let place = Place::new();
    std::fs::create_dir(place.path("study")).unwrap();
    for folder in folders {
        let link = place.path("study").join(folder.file_name().unwrap());
        std::os::unix::fs::symlink(std::fs::canonicalize(&folder).unwrap(), link).unwrap();
    }
    place
        .run(&["index", "study", "--out", "study/cohort.json"])
        .succeeds()
        .prints(&["3 cases of 1 data set"]);
    place.run(&["check", "study/cohort.json"]).succeeds().prints(&["13 files", "no problems"]);
}
