//! From the scanner to a cohort, and from a cohort to BIDS.

use std::fs;

use dicom_core::VR;
use dicom_dictionary_std::{tags, uids};

use crate::handmade::{Slices, fragments, text};
use crate::program::Place;

/// A study of two people: T1, T1c and a localizer of one, T1 of the other, in one heap.
fn heap() -> Place {
    let place = Place::new();
    fs::create_dir(place.path("heap")).unwrap();
    // Series of one brightness would be copies of each other.
    let slices = |series: &'static str, description: &'static str, patient: &'static str| Slices {
        series,
        description,
        patient,
        rescale: [1.0, f64::from(*series.as_bytes().last().unwrap())],
        ..Slices::default()
    };
    for z in 0..6 {
        slices("1.2.1", "AX T1", "P-1").write(&place.path("heap"), z, Vec::new());
        slices("1.2.2", "AX T1 +C", "P-1").write(&place.path("heap"), z, Vec::new());
        slices("1.2.4", "Doe T1", "P-22").write(&place.path("heap"), z, Vec::new());
        if z < 3 {
            slices("1.2.3", "scout", "P-1").write(&place.path("heap"), z, Vec::new());
        }
    }
    place
}

#[test]
fn dicom_becomes_bids_without_names() {
    let place = heap();
    place
        .run(&["convert", "heap", "--out", "study", "--key", "private/key.tsv"])
        .succeeds()
        .prints(&[
            "sub-001_ses-01_ce-contrast_T1w.nii.gz: t1c, of series 3 (AX T1 +C) ['T1' in the description: t1; '+C' in the \
             description: contrast agent given; 'TE 9, TR 550 ms' by its times: t1]",
        ])
        .prints(&["not written: sub-001 ses-01 series 3 (scout): none (of too few slices for a brain)", "3 volumes written"]);
    let key = fs::read_to_string(place.path("private/key.tsv")).unwrap();
    assert!(key.contains("1\t1\tP-1\t") && key.contains("2\t1\tP-22\t"), "{key}");
    let sidecar = place.json("study/sub-002/ses-01/anat/sub-002_ses-01_T1w.json");
    assert_eq!(
        (&sidecar["EchoTime"], &sidecar["ModalityReason"]),
        (&0.009.into(), &"t1 in the description; 'TE 9, TR 550 ms' by its times: t1".into())
    );
    for name in walk(&place, "study") {
        let bytes = fs::read(place.path(&name)).unwrap();
        let bytes = if bytes.starts_with(&[0x1f, 0x8b]) { unpacked(&bytes) } else { bytes };
        for private in ["Doe", "P-1", "P-22", "1950", "2020", "Hospital", "STATION"] {
            let found = bytes.windows(private.len()).any(|window| window == private.as_bytes());
            assert!(!found && !name.contains(private), "{private} in {name}");
        }
    }
    // A second run without the key would give out numbers anew.
    place.run(&["convert", "heap", "--out", "study"]).fails(2, &["study", "not empty"]);
    place.run(&["convert", "heap", "--out", "study", "--key", "private/key.tsv"]).succeeds();
    place
        .run(&["convert", "heap", "--out", "other", "--key", "other/key.tsv"])
        .fails(2, &["identifies patients"]);
    place
        .run(&["index", "study", "--out", "cohort.json"])
        .succeeds()
        .prints(&["layout bids", "2 cases of 1 data set"]);
}

fn walk(place: &Place, folder: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(place.path(folder)).unwrap() {
        let entry = entry.unwrap();
        let name = format!("{folder}/{}", entry.file_name().to_str().unwrap());
        if entry.file_type().unwrap().is_dir() { found.extend(walk(place, &name)) } else { found.push(name) }
    }
    found
}

/// The header and voxels of a NIfTI file, by reading and writing it unpacked.
fn unpacked(packed: &[u8]) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (folder.path().join("a.nii.gz"), folder.path().join("a.nii"));
    fs::write(&from, packed).unwrap();
    let volume = brainmvp::volume::nifti::read(&from).unwrap();
    let options = brainmvp::volume::nifti::WriteOptions::default();
    brainmvp::volume::nifti::write(&to, &volume, options).unwrap();
    fs::read(&to).unwrap()
}

#[test]
fn a_heap_of_dicom_becomes_a_cohort_and_a_cache() {
    let place = heap();
    place
        .run(&["index", "heap", "--out", "cohort.json", "--series", "doe*=flair", "--series", "scout=ignore"])
        .succeeds()
        .prints(&["2 cases of 1 data set", "flair  1", "'doe*=flair' given by the user: flair"])
        .notes(&["converted into cohort-nifti"]);
    place
        .run(&["check", "cohort.json"])
        .succeeds()
        .prints(&["no problems", "6 x 4 x 6 at 0.8 x 0.9 x 5.5 mm"]);
    let preprocess = ["preprocess", "cohort.json", "--out", "cache", "--skull-strip", "none"];
    place.run(&preprocess).succeeds().prints(&["2 cases prepared"]);
}

#[test]
fn what_cannot_be_converted_is_named_and_the_rest_goes_on() {
    let place = heap();
    // A gap in one series, a truncated file in another.
    let gap = Slices { series: "1.2.5", patient: "P-22", ..Slices::default() };
    for z in [0, 1, 2, 3, 5] {
        gap.write(&place.path("heap"), z, Vec::new());
    }
    let cut = Slices { series: "1.2.6", ..Slices::default() }.write(&place.path("heap"), 0, Vec::new());
    let whole = fs::read(&cut).unwrap();
    fs::write(&cut, &whole[..whole.len() - 20]).unwrap();
    place.run(&["convert", "heap", "--out", "study"]).succeeds().prints(&["3 volumes written"]).notes(&[
        "1 of 6 slices missing",
        "dcm2niix",
        "truncated or corrupt: element (7FE0,0010)",
    ]);
    let only = Slices { series: "1.2.7", ..Slices::default() };
    fs::create_dir(place.path("mosaic")).unwrap();
    let mosaic = vec![text(tags::IMAGE_TYPE, VR::CS, "ORIGINAL\\PRIMARY\\M\\MOSAIC")];
    only.write(&place.path("mosaic"), 0, mosaic);
    place
        .run(&["convert", "mosaic", "--out", "none"])
        .fails(2, &["no DICOM image can be used"])
        .notes(&["mosaic"]);
    place.run(&["convert", "absent", "--out", "none"]).fails(2, &["absent", "No such file"]);
    place.run(&["convert", "heap", "--out", "x", "--series", "a"]).fails(2, &["write SERIES=MODALITY"]);
    place.run(&["convert", "heap", "--out", "x", "--space", "MNI"]).fails(2, &["are for a cohort"]);
}

#[test]
fn a_cohort_becomes_a_bids_derivative() {
    let place = Place::with_phantom(2);
    fs::create_dir(place.path("predictions")).unwrap();
    for case in ["phantom-0001", "phantom-0002"] {
        let label = place.path(format!("phantom/{case}/{case}_mask.nii.gz"));
        fs::copy(label, place.path(format!("predictions/{case}.nii.gz"))).unwrap();
    }
    place
        .run(&[
            "convert",
            "phantom/cohort.json",
            "--out",
            "bids",
            "--predictions",
            "predictions",
            "--space",
            "SRI24",
        ])
        .succeeds()
        .prints(&["of 2 cases as a BIDS derivative, 0 left out"]);
    let description = place.json("bids/dataset_description.json");
    assert_eq!(description["DatasetType"], "derivative");
    let name = "bids/sub-phantom0001/anat/sub-phantom0001_space-SRI24_desc-prediction_dseg";
    assert_eq!(place.json(format!("{name}.json").as_str())["Manual"], false);
    assert!(place.path(format!("{name}.nii.gz")).is_file());
    place.run(&["index", "bids", "--out", "again.json"]).succeeds().prints(&[
        "layout bids",
        "2 cases of 1 data set",
        "label       2",
    ]);
    fs::remove_file(place.path("predictions/phantom-0002.nii.gz")).unwrap();
    place
        .run(&["convert", "phantom/cohort.json", "--out", "bids2", "--predictions", "predictions"])
        .succeeds()
        .notes(&["case 'phantom-0002' is left out", "no such prediction"]);
}

#[test]
fn data_sets_are_listed() {
    let place = Place::new();
    place.run(&["datasets"]).succeeds().prints(&["Pre-training", "isles22", "767 cases", "CC BY-SA 3.0"]);
    place.run(&["datasets", "VSSeg"]).succeeds().prints(&[
        "Shapey et al.",
        "10.7937/TCIA.9YTJ-5Q73",
        "binary",
    ]);
    place.run(&["datasets", "nothing"]).fails(2, &["unknown data set 'nothing'", "ucsf-pdgm"]);
}

#[test]
fn shares_fill_one_cache() {
    let place = Place::with_phantom(3);
    let preprocess = ["preprocess", "phantom/cohort.json", "--out", "cache", "--spacing", "6"];
    let share = |share: &str| place.run(&[&preprocess[..], &["--shard", share]].concat());
    share("1/2").succeeds().prints(&["2 cases prepared"]);
    share("2/2").succeeds().prints(&["1 case prepared"]);
    assert_eq!(place.json("cache/manifest.json")["cases"].as_array().unwrap().len(), 3);
    place.run(&preprocess).succeeds().prints(&["0 cases prepared", "3 already there"]);
    share("3/2").fails(2, &["3/2", "1 to N"]);
    share("auto").fails(2, &["SLURM_ARRAY_TASK_ID"]);
    share("4/4").succeeds().notes(&["is empty"]);
}

#[test]
fn damaged_files_of_a_series_are_told_together() {
    let place = Place::new();
    fs::create_dir_all(place.path("study/a")).unwrap();
    fs::create_dir_all(place.path("study/b")).unwrap();
    for z in 0..6 {
        Slices::default().write(&place.path("study/a"), z, Vec::new());
        let packed = Slices { series: "1.2.3.9", syntax: uids::JPEGLS_LOSSLESS, ..Slices::default() };
        packed.write(&place.path("study/b"), z, vec![fragments(vec![vec![0; 8]])]);
    }
    let cut = Slices { series: "1.2.3.5", ..Slices::default() };
    let path = cut.write(&place.path("study"), 0, Vec::new());
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() - 10]).unwrap();
    #[cfg(unix)]
    std::os::unix::fs::symlink("/absent", place.path("study/link")).unwrap();
    let ended = place.run(&["convert", "study", "--out", "out"]).succeeds();
    let ended = ended.prints(&["1 volume written"]).notes(&[
        "JPEG-LS; decompress them first (`gdcmconv --raw`), or use dcm2niix (and 5 files of the same folder)",
        "truncated or corrupt: element (7FE0,0010)",
    ]);
    assert_eq!(ended.stderr.matches("JPEG-LS").count(), 1, "{ended:?}");
}

#[test]
fn both_sides_of_the_contrast_agent_in_one_session() {
    let place = Place::new();
    fs::create_dir(place.path("heap")).unwrap();
    let series = [
        ("1.2.1", "AX T1 W CONTRAST"),
        ("1.2.2", "AX T1 W/O CONTRAST"),
        ("1.2.3", "T1 POST-PRE SUB"),
        ("1.2.4", "T1 C-SPINE"),
        ("1.2.5", "T1 PRE/POST GD"),
    ];
    for (series, description) in series {
        let rescale = [1.0, f64::from(*series.as_bytes().last().unwrap())];
        for z in 0..6 {
            let slices = Slices { series, description, patient: "P-1", rescale, ..Slices::default() };
            slices.write(&place.path("heap"), z, Vec::new());
        }
    }
    place.run(&["index", "heap", "--out", "cohort.json", "--explain"]).succeeds().prints(&[
        "ce-contrast_T1w.nii.gz: t1c, of series 3 (AX T1 W CONTRAST)",
        "ses-01_T1w.nii.gz: t1, of series 3 (AX T1 W/O CONTRAST)",
        "(T1 POST-PRE SUB): none (a difference of images)",
        "(T1 C-SPINE): none (another part of the body)",
        "(T1 PRE/POST GD): refused ('PRE/POST' in the description: both with and without contrast agent)",
        "sub-001_ses-01_ce-contrast_T1w.nii.gz: t1c ['T1w' in the name: t1",
    ]);
}

#[test]
fn what_is_open_is_refused_by_name() {
    let place = Place::new();
    for name in ["T1", "T1_GD", "PD_T2", "FLAIR_to_T1"] {
        fs::create_dir_all(place.path("scans/P01")).unwrap();
        fs::write(place.path(format!("scans/P01/{name}.nii.gz")), "").unwrap();
    }
    place
        .run(&["index", "scans", "--out", "cohort.json", "--explain"])
        .succeeds()
        .prints(&["FLAIR_to_T1.nii.gz: flair ['FLAIR' in the name: flair]", "1 case of 1 data set"])
        .prints(&["T1_GD.nii.gz: t1c ['T1' in the name: t1; 'GD' in the name: contrast agent given]"])
        .notes(&[
            "PD_T2.nii.gz: refused (contradictory: 'PD' in the name: pd; 'T2' in the name: t2)",
            "--alias",
        ]);
    place
        .run(&["index", "scans", "--out", "again.json", "--alias", "pd_t2=pd"])
        .succeeds()
        .prints(&["pd     1"]);
}

/// Just where nothing can be used, the evidence is needed.
#[test]
fn files_are_explained_where_no_case_can_be_used() {
    let place = Place::new();
    fs::create_dir_all(place.path("scans/P01")).unwrap();
    fs::write(place.path("scans/P01/T1_pre_and_post_contrast.nii.gz"), "").unwrap();
    place
        .run(&["index", "scans", "--out", "cohort.json", "--explain"])
        .fails(2, &["no usable case"])
        .prints(&["P01/T1_pre_and_post_contrast.nii.gz: refused (", "both with and without contrast agent"]);
}
