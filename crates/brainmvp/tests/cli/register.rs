//! Images that do not lie on each other: one pair, a cohort, an atlas of a cohort.

use brainmvp::registration::Transform;
use brainmvp::volume::nifti::{self, WriteOptions};

use crate::program::Place;

/// Whole phantom heads of T1 and T2, 48 voxels long.
fn heads(place: &Place, cases: &str) {
    let options =
        ["--cases", cases, "--size", "48", "--modalities", "t1,t2", "--missing-rate", "0", "--head", "whole"];
    place
        .run(&[&["phantom", "--out", "heads", "--lesions", "glioma", "-q"], &options[..]].concat())
        .succeeds();
}

/// Writes a NIfTI file again with every first-voxel place moved: x to the back by 30 mm, axes x and y turned by 90 degrees.
fn displace(place: &Place, name: &str) {
    let path = place.path(name);
    let turn = Transform::from_rows([[0.0, -1.0, 0.0, 12.0], [1.0, 0.0, 0.0, -30.0], [0.0, 0.0, 1.0, 8.0]]);
    let image = turn.move_volume(nifti::read(&path).unwrap()).unwrap();
    nifti::write(&path, &image, WriteOptions::default()).unwrap();
}

#[test]
fn one_image_onto_another() {
    let place = Place::new();
    heads(&place, "1");
    let (t1, t2) = ("heads/phantom-0001/phantom-0001_t1.nii.gz", "heads/phantom-0001/phantom-0001_t2.nii.gz");
    displace(&place, t2);
    let register = ["register", "--fixed", t1, "--moving", t2, "--out", "out/t2.txt"];
    place.run(&[&register[..], &["--apply", "out/t2.nii.gz"]].concat()).succeeds().prints(&[
        "out/t2.txt: rotation 90.",
        "similarity 0.",
        "overlap ",
    ]);
    let text = std::fs::read_to_string(place.path("out/t2.txt")).unwrap();
    assert!(text.starts_with("#Insight Transform File V1.0\n"), "{text}");
    // Moved, it lies where the first one does: nothing is left to do.
    let again = ["register", "--fixed", t1, "--moving", "out/t2.nii.gz", "--out", "again.txt"];
    place.run(&again).succeeds().prints(&["rotation 0.", "shift 0."]);
}

#[test]
fn what_cannot_be_registered_is_refused_and_nothing_is_written() {
    let place = Place::new();
    heads(&place, "1");
    let t1 = "heads/phantom-0001/phantom-0001_t1.nii.gz";
    let label = "heads/phantom-0001/phantom-0001_seg.nii.gz";
    let register =
        |moving| ["register", "--fixed", t1, "--moving", moving, "--out", "t.txt", "--apply", "m.nii.gz"];
    place.run(&register(label)).fails(2, &["registration failed"]);
    place.run(&register("absent.nii.gz")).fails(2, &["absent.nii.gz"]);
    place
        .run(&[&register(t1)[..], &["--least-similarity", "1"]].concat())
        .fails(2, &["similarity", "less than 1"]);
    assert!(!place.path("t.txt").exists() && !place.path("m.nii.gz").exists());
}

#[test]
fn a_cohort_goes_to_an_atlas_of_its_own() {
    let place = Place::new();
    heads(&place, "3");
    displace(&place, "heads/phantom-0002/phantom-0002_t2.nii.gz");
    let atlas = ["atlas", "heads/cohort.json", "--modality", "t1", "--out", "atlas.nii.gz", "--spacing", "4"];
    place
        .run(&[&atlas[..], &["--rounds", "2"]].concat())
        .succeeds()
        .prints(&["the mean t1 of 3 cases, 0 left out"]);
    // An image that shows nothing of the head puts its case aside, by name.
    let grid_of = place.path("heads/phantom-0003/phantom-0003_t2.nii.gz");
    let image = nifti::read(&grid_of).unwrap();
    let scramble = |i: usize| ((i as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 50) as f32;
    let noise =
        brainmvp::volume::Volume::new(*image.grid(), (0..image.voxels().len()).map(scramble).collect());
    nifti::write(&grid_of, &noise, WriteOptions::default()).unwrap();

    let preprocess =
        ["preprocess", "heads/cohort.json", "--out", "cache", "--spacing", "4", "--atlas", "atlas.nii.gz"];
    place.run(&preprocess).succeeds().prints(&["2 cases prepared", "1 left out"]).notes(&[
        "case 'phantom-0003' is left out",
        "t2 to t1",
        "registration failed",
    ]);
    let cache = brainmvp::prep::cache::Cache::open(place.path("cache")).unwrap();
    let atlas = nifti::read_header(&place.path("atlas.nii.gz")).unwrap();
    for entry in cache.cases() {
        let case = cache.open_case(entry).unwrap();
        let facts = case.metadata();
        assert_eq!(facts.uncropped.shape, atlas.grid.shape);
        let record = &facts.provenance.iter().find(|record| record.step == "register").unwrap().did;
        assert_eq!(record["reference"], "t1");
        assert_eq!(
            (&record["images"]["t1"]["onto"], &record["images"]["t2"]["onto"]),
            (&"atlas.nii.gz".into(), &"t1".into())
        );
        let similarity = record["images"]["t2"]["similarity"].as_f64().unwrap();
        assert!(similarity > 0.1, "{similarity}");
    }
}

#[test]
fn a_case_in_a_standard_space_stays_there() {
    use brainmvp::volume::{Affine, Grid, Volume};
    let place = Place::new();
    std::fs::create_dir_all(place.path("mni/a")).unwrap();
    let grid = Grid::new([91, 109, 91], Affine::from_spacing([2.0; 3], [-90.0, -126.0, -72.0]));
    for (name, levels) in [("t1", 97), ("t2", 89)] {
        let value = |i: usize| if (300_000..600_000).contains(&i) { (i % levels) as f32 } else { 0.0 };
        let image = Volume::new(grid, (0..grid.len()).map(value).collect());
        nifti::write(&place.path(format!("mni/a/a_{name}.nii.gz")), &image, WriteOptions::default()).unwrap();
    }
    place.run(&["index", "mni", "--out", "mni.json"]).succeeds();
    let preprocess = ["preprocess", "mni.json", "--out", "cache", "--spacing", "2", "--skull-strip", "none"];
    place.run(&[&preprocess[..], &["--register", "rigid"]].concat()).succeeds();
    let cache = brainmvp::prep::cache::Cache::open(place.path("cache")).unwrap();
    let case = cache.open_case(&cache.cases()[0]).unwrap();
    let record = case.metadata().provenance.iter().find(|record| record.step == "register").unwrap();
    assert_eq!(record.did["already_in"], "MNI152");
}

#[test]
fn settings_that_contradict_each_other_are_refused() {
    let place = Place::with_phantom(1);
    let preprocess =
        |more: &[&str]| place.run(&[&["preprocess", "phantom/cohort.json", "--out", "c"], more].concat());
    preprocess(&["--register", "affine"]).fails(2, &["needs an atlas"]);
    place.write("a.nii.gz", "any file");
    preprocess(&["--register", "none", "--atlas", "a.nii.gz"]).fails(2, &["a.nii.gz", "rigid or affine"]);
    preprocess(&["--atlas", "absent.nii.gz"]).fails(2, &["absent.nii.gz"]);
    preprocess(&["--register", "rigid", "--steps", "reorient"]).fails(2, &["lacks 'register'"]);
}
