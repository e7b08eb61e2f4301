//! What the user says, and tables.

use brainmvp_cohort::Split;
use brainmvp_cohort::identity::Aliases;
use brainmvp_cohort::layouts::{IndexOptions, index, read_exclusions};
use brainmvp_volume::Modality::{T1, T1c};

use crate::trees::{ids, modalities, tree};

#[test]
fn the_user_has_the_last_word() {
    let folder = tree(&[
        "vs_gk_1/vs_gk_t1_refT1.nii.gz",
        "vs_gk_1/vs_gk_seg_refT1.nii.gz",
        "vs_gk_2/vs_gk_t1_refT1.nii.gz",
    ]);
    std::fs::write(folder.path().join("table.csv"), "id,class,split\n1,A,test\n2,B,train\n").unwrap();
    std::fs::write(folder.path().join("out.txt"), "2 # unreadable\nnobody\n").unwrap();
    let options = IndexOptions {
        name: Some("mine".into()),
        data_set: Some("vsseg".into()),
        site: Some("London".into()),
        label_scheme: Some("binary".parse().unwrap()),
        aliases: Aliases::extended(&[("t1".to_owned(), "t1c".to_owned())].into()).unwrap(),
        pattern: Some(regex::Regex::new(r"vs_gk_(?P<case>\d+)/vs_gk_(?P<mod>t1|seg)_refT1\.nii").unwrap()),
        table: Some(folder.path().join("table.csv")),
        exclude: read_exclusions(&folder.path().join("out.txt")).unwrap(),
        ..IndexOptions::default()
    };
    let found = index(folder.path(), "auto", &options).unwrap();
    assert_eq!(ids(&found), ["1"]);
    let only = &found.cohort.cases[0];
    assert_eq!(modalities(only), [T1c]);
    assert_eq!(
        (only.site.as_deref(), only.class.as_deref(), only.split),
        (Some("London"), Some("A"), Some(Split::Test))
    );
    assert_eq!((found.cohort.name.as_str(), only.data_set.as_str()), ("mine", "vsseg"));
    assert_eq!(found.cohort.label_scheme(only).unwrap().to_string(), "binary");
    assert_eq!(found.unused_exclusions, ["nobody"]);
}

#[test]
fn options_that_contradict_are_refused() {
    let folder = tree(&["a/t1.nii"]);
    let pattern = |text: &str| Some(regex::Regex::new(text).unwrap());
    let rows = [
        ("nosuch", IndexOptions::default(), "known: auto nnunet nnssl monai brats public bids plain"),
        ("brats", IndexOptions { pattern: pattern("x"), ..IndexOptions::default() }, "layout 'plain'"),
        ("plain", IndexOptions { channels: vec![T1], ..IndexOptions::default() }, "layout 'monai'"),
        (
            "plain",
            IndexOptions { pattern: pattern("(?P<case>a)"), ..IndexOptions::default() },
            "no group 'mod'",
        ),
        ("brats", IndexOptions::default(), "no case found"),
    ];
    for (layout, options, reason) in rows {
        let message = index(folder.path(), layout, &options).unwrap_err().to_string();
        assert!(message.contains(reason), "{message}");
    }
    assert!(index(&folder.path().join("none"), "auto", &IndexOptions::default()).is_err());
    let empty = tempfile::tempdir().unwrap();
    assert!(
        index(empty.path(), "auto", &IndexOptions::default())
            .unwrap_err()
            .to_string()
            .contains("no layout fits")
    );
}

#[test]
fn excluded_cases_are_not_complained_about() {
    let folder = tree(&["good/t1.nii", "two/a_t1.nii", "two/two_t1.nii.gz", "two/two_t1.nii"]);
    let options = IndexOptions { exclude: vec!["two".into(), "a".into()], ..IndexOptions::default() };
    let found = index(folder.path(), "plain", &options).unwrap();
    assert_eq!(ids(&found), ["good"]);
    assert!(found.rejected.is_empty() && found.warnings.is_empty(), "{found:?}");
}

#[test]
fn the_users_words_win_over_those_of_a_data_set() {
    // The T1 images of this data set are enhanced, unless the user says otherwise.
    let words = |target: &str| Aliases::extended(&[("t1".to_owned(), target.to_owned())].into()).unwrap();
    let folder = tree(&["vs_gk_1/vs_gk_t1_refT1.nii.gz", "vs_gk_1/vs_gk_seg_refT1.nii.gz"]);
    let plain = tree(&["a/t1.nii", "a/t2.nii"]);
    for (aliases, expected) in [(Aliases::default(), T1c), (words("t1"), T1)] {
        let options = IndexOptions { aliases, data_set: Some("vsseg".into()), ..IndexOptions::default() };
        let found = index(folder.path(), "public", &options).unwrap();
        assert_eq!(modalities(&found.cohort.cases[0]), [expected], "public");
        let found = index(plain.path(), "plain", &options).unwrap();
        assert!(modalities(&found.cohort.cases[0]).contains(&expected), "plain {expected}");
    }
}
