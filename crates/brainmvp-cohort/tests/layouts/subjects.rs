//! Which files are of one case, and which cases are of one subject.

use brainmvp_cohort::layouts::{IndexOptions, Indexed, index};
use brainmvp_volume::Modality::{Flair, T1, T1c, T2};

use crate::trees::{auto, case, ids, modalities, tree};

fn subjects(found: &Indexed) -> Vec<&str> {
    found.cohort.cases.iter().map(|case| case.subject.as_str()).collect()
}

#[test]
fn numbered_series_of_a_patient_are_one_case() {
    for files in [
        ["P01/01-T1.nii.gz", "P01/02-T1+C.nii.gz", "P01/03-T2.nii.gz", "P01/04-FLAIR.nii.gz"],
        ["P01/01-T1/i.nii.gz", "P01/02-T1+C/i.nii.gz", "P01/03-T2/i.nii.gz", "P01/04-FLAIR/i.nii.gz"],
        ["P01/1_T1.nii.gz", "P01/2_T1c.nii.gz", "P01/3_T2.nii.gz", "P01/4_FLAIR.nii.gz"],
    ] {
        let folder = tree(&files);
        let found = auto(&folder);
        assert_eq!(ids(&found), ["P01"], "{files:?}: {:?}", found.rejected);
        assert_eq!(modalities(&found.cohort.cases[0]), [Flair, T1, T1c, T2], "{files:?}");
    }
    // A series that comes twice is refused by name, with both files.
    let folder =
        tree(&["P01/01-T1.nii", "P01/02-FLAIR.nii", "P02/01-T1.nii", "P02/02-FLAIR.nii", "P02/07-T1.nii"]);
    let found = auto(&folder);
    assert_eq!(ids(&found), ["P01"]);
    assert!(found.rejected[0].reason.contains("01-T1.nii") && found.rejected[0].reason.contains("07-T1.nii"));
}

#[test]
fn examinations_of_a_patient_have_one_subject() {
    let folder = tree(&[
        "P01/baseline/t1.nii",
        "P01/baseline/seg.nii",
        "P01/followup/t1.nii",
        "P02/baseline/t1.nii",
        "P03/baseline/t1.nii",
    ]);
    let found = auto(&folder);
    assert_eq!(ids(&found), ["P01_baseline", "P01_followup", "P02_baseline", "P03_baseline"]);
    assert_eq!(subjects(&found), ["P01", "P01", "P02", "P03"]);
    let told = found.reading.unwrap();
    assert!(told.contains("4 cases of 3 subjects") && told.contains("--pattern"), "{told}");
    // At the end of the names of folders or files.
    for files in [["P01_baseline/t1.nii", "P01_2019-03-04/t1.nii"], ["P01_ses-1_t1.nii", "P01_ses-2_t1.nii"]]
    {
        let folder = tree(&files);
        let found = auto(&folder);
        assert_eq!((subjects(&found), found.cohort.cases.len()), (vec!["P01"; 2], 2), "{files:?}");
    }
}

#[test]
fn one_patient_alone_is_a_subject_too() {
    let folder = tree(&["P01/baseline/t1.nii", "P01/followup/t1.nii"]);
    let found = index(&folder.path().join("P01"), "plain", &IndexOptions::default()).unwrap();
    assert_eq!((ids(&found), subjects(&found)), (vec!["P01_baseline", "P01_followup"], vec!["P01"; 2]));
}

#[test]
fn what_the_user_says_of_subjects_wins() {
    let folder = tree(&["P01/baseline/t1.nii", "P01/followup/t1.nii"]);
    let pattern = regex::Regex::new(r"(?P<case>[^/]+/[^/]+)/(?P<mod>t1)\.nii").unwrap();
    let found =
        index(folder.path(), "auto", &IndexOptions { pattern: Some(pattern), ..IndexOptions::default() });
    assert!(found.is_err(), "an id has no slash");
    std::fs::write(folder.path().join("t.csv"), "id;subject\nP01_followup;someone else\n").unwrap();
    let options = IndexOptions { table: Some(folder.path().join("t.csv")), ..IndexOptions::default() };
    let found = index(folder.path(), "auto", &options).unwrap();
    assert_eq!(case(&found, "P01_followup").subject, "someone else");
}
