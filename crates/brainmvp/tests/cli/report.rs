//! Pictures of cases and the table of a cohort.

use std::collections::BTreeMap;

use brainmvp::volume::{Affine, Grid, Volume, nifti};

use crate::program::Place;

const PREPROCESS: [&str; 6] = ["preprocess", "phantom/cohort.json", "--out", "cache", "--spacing", "6"];
const REPORT: [&str; 6] = ["report", "cache", "--cohort", "phantom/cohort.json", "--out", "report"];

/// Nine healthy brains in two modalities, none missing.
fn place() -> Place {
    let place = Place::new();
    let options = ["--size", "32", "--missing-rate", "0", "--sites", "2", "--modalities", "t1,flair"];
    place.run(&[&["phantom", "--out", "phantom", "--cases", "9"], &options[..]].concat()).succeeds();
    place
}

/// The rows of the table by case and modality, each by the names of the columns.
fn rows(place: &Place) -> BTreeMap<(String, String), BTreeMap<String, String>> {
    let mut reader = csv::Reader::from_path(place.path("report/images.csv")).unwrap();
    let rows = reader.deserialize::<BTreeMap<String, String>>().map(Result::unwrap);
    rows.map(|row| ((row["case"].clone(), row["modality"].clone()), row)).collect()
}

fn key(case: &str, modality: &str) -> (String, String) {
    (case.to_owned(), modality.to_owned())
}

#[test]
fn outliers_are_named_and_the_rest_is_not() {
    let place = place();
    let file = |case: &str, modality: &str| place.path(format!("phantom/{case}/{case}_{modality}.nii.gz"));
    // One image with slices 2.4 times as thick (and so a brain 2.4 times as large), one that is cut short.
    let t1 = nifti::read(&file("phantom-0002", "t1")).unwrap();
    let mut affine = t1.grid().affine.rows();
    for row in &mut affine {
        row[2] *= 2.4;
    }
    let wide = Volume::new(Grid::new(t1.shape(), Affine::from_rows(affine)), t1.voxels().to_vec());
    nifti::write(&file("phantom-0002", "t1"), &wide, nifti::WriteOptions::default()).unwrap();
    let whole = std::fs::read(file("phantom-0005", "flair")).unwrap();
    std::fs::write(file("phantom-0005", "flair"), &whole[..whole.len() / 2]).unwrap();

    place.run(&[&PREPROCESS[..], &["--report", "report"]].concat()).succeeds().prints(&[
        "8 cases prepared",
        "1 left out",
        "index.html: 9 cases (9 drawn now), 18 rows",
    ]);
    let rows = rows(&place);
    assert_eq!(rows.len(), 18);
    let odd = &rows[&key("phantom-0002", "t1")];
    assert_eq!(odd["slice_mm"], "14.40");
    assert!(
        odd["reasons"].contains("Slices, mm: 14.4 is unusually high; the median of 9 t1 images is 6"),
        "{odd:?}"
    );
    let cut = &rows[&key("phantom-0005", "flair")];
    assert_eq!(cut["status"], "left out");
    assert!(cut["reasons"].contains("truncated") && cut["snr"].is_empty(), "{cut:?}");
    assert!(!rows[&key("phantom-0005", "t1")]["snr"].is_empty(), "what can be read is measured");
    for (key, row) in
        rows.iter().filter(|((case, _), _)| !["phantom-0002", "phantom-0005"].contains(&case.as_str()))
    {
        assert!(!row["flags"].contains("_mm"), "{key:?}: {row:?}");
        assert!(row["snr"].parse::<f64>().unwrap() > 1.0 && row["brain_ml"].parse::<f64>().unwrap() > 500.0);
    }

    let page = std::fs::read_to_string(place.path("report/index.html")).unwrap();
    assert!(page.contains("is unusually high") && page.contains("data:image/png;base64,"));
    assert!(page.contains("href=\"cases/phantom-0002.png\""));
    assert!(!page.contains("http"), "the page needs no network");
    for case in 1..=9 {
        let picture = std::fs::read(place.path(format!("report/cases/phantom-000{case}.png"))).unwrap();
        assert!(picture.starts_with(b"\x89PNG"));
    }
}

#[test]
fn a_report_is_kept_goes_on_and_outlives_the_files() {
    let place = place();
    place.run(&PREPROCESS).succeeds();
    place.run(&REPORT).succeeds().prints(&["9 cases (9 drawn now)"]);
    let read = |name: &str| std::fs::read(place.path(name)).unwrap();
    let (page, table) = (read("report/index.html"), read("report/images.csv"));
    let unchanged = || page == read("report/index.html") && table == read("report/images.csv");

    place.run(&REPORT).succeeds().prints(&["9 cases (0 drawn now)"]);
    assert!(unchanged());
    std::fs::remove_file(place.path("report/cases/phantom-0003.png")).unwrap();
    std::fs::write(place.path("report/cases/phantom-0004.json"), "{").unwrap();
    place.run(&REPORT).succeeds().prints(&["9 cases (2 drawn now)"]);
    assert!(unchanged());
    // Prepared in another way: every picture is made anew.
    place.run(&[&PREPROCESS[..], &["--intensity", "zscore"]].concat()).succeeds();
    place.run(&REPORT).succeeds().prints(&["9 cases (9 drawn now)"]);
    assert!(!unchanged());

    // The files are gone: what was measured stays, and what is drawn anew says so.
    std::fs::remove_dir_all(place.path("phantom/phantom-0007")).unwrap();
    place.run(&REPORT).succeeds().prints(&["9 cases (0 drawn now)"]);
    assert!(!rows(&place)[&key("phantom-0007", "t1")]["snr"].is_empty());
    place.run(&[&REPORT[..], &["--force"]].concat()).succeeds();
    let gone = &rows(&place)[&key("phantom-0007", "t1")];
    assert!(gone["reasons"].contains("t1: No such file") && gone["snr"].is_empty(), "{gone:?}");
    assert!(!gone["prepared_median"].is_empty());

    place.run(&["report", "cache", "--out", "after"]).succeeds().notes(&["without --cohort"]);
    let table = std::fs::read_to_string(place.path("after/images.csv")).unwrap();
    assert_eq!(table.lines().count(), 19);
}

#[test]
fn shares_of_a_report_fit_together() {
    let place = place();
    for share in ["1/2", "2/2"] {
        place
            .run(&[&PREPROCESS[..], &["--shard", share, "--report", "report"]].concat())
            .succeeds()
            .prints(&["pictures of"])
            .notes(&["once all shares are done: brainmvp report"]);
    }
    assert!(!place.path("report/index.html").exists());
    place.run(&REPORT).succeeds().prints(&["9 cases (0 drawn now), 18 rows"]);
}

#[test]
fn heads_are_shown_with_the_brain_that_was_found() {
    let place = Place::new();
    let phantom = ["phantom", "--out", "heads", "--cases", "1", "--size", "48", "--head", "whole"];
    place.run(&[&phantom[..], &["--modalities", "t1", "--lesions", "glioma"]].concat()).succeeds();
    let mut cohort = place.json("heads/cohort.json");
    cohort["cases"][0].as_object_mut().unwrap().remove("brain_mask");
    place.write("heads/no-mask.json", &cohort.to_string());
    let preprocess = ["preprocess", "heads/no-mask.json", "--out", "cache", "--spacing", "4"];
    place.run(&[&preprocess[..], &["--report", "report"]].concat()).succeeds();
    let rows = rows(&place);
    let (_, row) = rows.first_key_value().unwrap();
    assert_eq!(
        [&row["skull"], &row["mask"], &row["measured_in"], &row["label"]],
        ["on", "found", "brain mask", "yes"]
    );
    assert!((900.0..2200.0).contains(&row["brain_ml"].parse().unwrap()), "{row:?}");
}

#[test]
fn a_report_of_nothing_says_so() {
    let place = Place::new();
    place.run(&["report", "nowhere", "--out", "report"]).fails(2, &["nowhere"]);
    place.write("taken", "");
    place.run(&["report", "nowhere", "--out", "taken"]).fails(2, &["taken"]);
}
