//! Damaged cohorts, tables, lists and archives: an error or another cohort, within a second and little memory.

#![allow(clippy::unwrap_used, reason = "a failing test may panic")]

use std::io::Write as _;
use std::path::Path;

use brainmvp_cohort::check::{CheckOptions, Report, check};
use brainmvp_cohort::identity::Acquisition;
use brainmvp_cohort::layouts::{IndexOptions, index, read_exclusions};
use brainmvp_cohort::{Cohort, Error};
use brainmvp_fuzz::{Memory, Place, Seed, fuzz};

#[global_allocator]
static MEMORY: brainmvp_fuzz::Counting = brainmvp_fuzz::Counting;

/// A value of JSON takes many times the two bytes that it may have in the file.
const TEXT: Memory = Memory { fixed: 256 << 10, for_each_byte: 160 };

fn said<T>(outcome: brainmvp_cohort::Result<T>) -> Result<(), String> {
    outcome.map(drop).map_err(|error| error.to_string())
}

/// A folder of three cases with empty images, beside which a damaged file lies.
fn place(name: &str) -> Place {
    let place = Place::new(name);
    for case in ["a", "b", "c"] {
        std::fs::create_dir(place.folder().join(case)).unwrap();
        for word in ["t1", "flair", "seg"] {
            std::fs::write(place.folder().join(case).join(format!("{case}_{word}.nii")), "").unwrap();
        }
    }
    place
}

/// Whether the damaged file makes a cohort; that no case is left is fine too.
fn indexed(path: &Path, layout: &str, options: &IndexOptions) -> Result<(), String> {
    match index(path, layout, options) {
        Err(Error::NoCase { found, .. }) => {
            drop(found);
            Ok(())
        }
        other => said(other),
    }
}

#[test]
fn cohort_files() {
    let json = r#"{
  "format": "brainmvp-cohort",
  "version": 1,
  "name": "example",
  "data_sets": {"other": {"label_scheme": {"1": "stroke"}}, "set": {"label_scheme": "brats_2023"}},
  "cases": [
    {"id": "a", "subject": "a", "data_set": "other", "images": {"adc": "data/a.nii"}},
    {
      "id": "b",
      "subject": "person",
      "data_set": "set",
      "site": "A",
      "class": "HGG",
      "numbers": {"age": 63.5},
      "split": "training",
      "images": {"flair": "data/b_flair.nii.gz", "t1": "data/b_t1.nii.gz"},
      "label": "data/b_seg.nii.gz",
      "brain_mask": "data/mask.nii.gz"
    }
  ]
}
"#;
    let place = Place::new("cohort.json");
    fuzz("cohort.json", &[Seed::new(json)], TEXT, |bytes| said(Cohort::load(place.holding(bytes))));
}

#[test]
fn tables_of_cases() {
    let seeds = [
        "id,class,site,subject,split,age\na,HGG,\"Bern, CH\",p1,train,63.5\nb,LGG,,p2,test,71\nc,,,,,n/a\n",
        "id;age;class\na;63,5;2,0\nb;71,25;3,0\n",
        "participant_id\tdx\tage\nsub-a\tpending\t1e2\nb\tADHD\t-3\n",
    ];
    let place = place("table.csv");
    let numbers = vec!["age".to_owned()];
    fuzz("tables of cases (CSV, TSV)", &seeds.map(Seed::new), TEXT, |bytes| {
        let table = Some(place.holding(bytes).to_owned());
        indexed(
            place.folder(),
            "plain",
            &IndexOptions { table, numbers: numbers.clone(), ..IndexOptions::default() },
        )
    });
}

#[test]
fn lists_of_other_programs() {
    let monai = [
        r#"{"name": "Heart", "modality": {"0": "T1"}, "labels": {"0": "background", "1": "atrium"}, "numTraining": 1,
            "training": [{"image": ["a/a_t1.nii", "a/a_flair.nii"], "label": "a/a_seg.nii", "fold": 0}],
            "test": ["./b/b_t1.nii"]}"#,
        r#"[{"t1": "a/a_t1.nii", "flair": "a/a_flair.nii", "seg": "a/a_seg.nii"}, {"image": {"t1": "b/b_t1.nii"}}]"#,
    ];
    let nnssl = r#"{"collection_name": "x", "collection_index": 1, "datasets": {"set": {"name": "set", "subjects": {"a": {
        "subject_id": "a", "sessions": {"s1": {"session_id": "s1", "images": [{"name": "a_t1.nii", "modality": "T1w",
        "image_path": "a/a_t1.nii", "associated_masks": {"anatomy_mask": "a/a_seg.nii"}}]}}}}}}}"#;
    let nnunet = r#"{"channel_names": {"0": "T1", "1": "FLAIR"}, "labels": {"background": 0, "tumour": [1, 2], "core": 2},
        "numTraining": 1, "file_ending": ".nii", "regions_class_order": [1, 2],
        "dataset": {"a": {"images": ["a/a_t1.nii", "a/a_flair.nii"], "label": "a/a_seg.nii"}}}"#;
    let by_list = place("list.json");
    fuzz("lists of MONAI (.json)", &monai.map(Seed::new), TEXT, |bytes| {
        indexed(by_list.holding(bytes), "monai", &IndexOptions::default())
    });
    let by_list = place("pretrain_data.json");
    fuzz("lists of nnssl (.json)", &[Seed::new(nnssl)], TEXT, |bytes| {
        indexed(by_list.holding(bytes), "nnssl", &IndexOptions::default())
    });
    let by_list = place("dataset.json");
    fuzz("lists of nnU-Net (.json)", &[Seed::new(nnunet)], TEXT, |bytes| {
        by_list.holding(bytes);
        indexed(by_list.folder(), "nnunet", &IndexOptions::default())
    });
}

/// Of the empty images of a place.
fn indexed_cohort(folder: &Path) -> Cohort {
    match index(folder, "plain", &IndexOptions::default()) {
        Err(Error::NoCase { found, .. }) => found.cohort,
        other => other.unwrap().cohort,
    }
}

#[test]
fn what_lies_beside_images() {
    let sidecar = r#"{"EchoTime": 0.012, "RepetitionTime": [1, 2], "ImageType": ["ORIGINAL", "Primary"],
        "ScanningSequence": "SE_IR", "BodyPart": "BRAIN", "Modality": "MR", "SeriesDescription": "t1 tra", "InversionTime": "0.9"}"#;
    fuzz("sidecars of images (.json)", &[Seed::new(sidecar)], TEXT, |bytes| {
        let text = std::str::from_utf8(bytes).map_err(|error| error.to_string())?;
        Acquisition::from_json(text).map(drop).ok_or_else(|| "no sidecar".to_owned())
    });
    let ids = Place::new("exclude.txt");
    fuzz("ids to leave out (.txt)", &[Seed::new("a # twice\nb\n\n# c\n")], TEXT, |bytes| {
        said(read_exclusions(ids.holding(bytes)))
    });
    let checked = place("check.json");
    let found = indexed_cohort(checked.folder());
    check(&found, &CheckOptions::default(), &|_, _| ()).save(&checked.folder().join("check.json")).unwrap();
    let seed = Seed::new(std::fs::read(checked.folder().join("check.json")).unwrap());
    fuzz("report of a check (.json)", &[seed], TEXT, |bytes| said(Report::load(checked.holding(bytes))));
}

/// Only names are read, from what may unpack into much.
#[test]
fn archives() {
    let unpacked = Memory { fixed: 1 << 20, for_each_byte: 160 };
    let tar = || {
        let mut bytes = Vec::new();
        for (name, length) in [("notes.txt", 600_usize), ("a/b_t1.nii.gz", 3)] {
            let mut header = [0; 512];
            header[..name.len()].copy_from_slice(name.as_bytes());
            header[124..135].copy_from_slice(format!("{length:011o}").as_bytes());
            bytes.extend(header);
            bytes.resize(bytes.len() + length.next_multiple_of(512), 0);
        }
        bytes
    };
    let gzip = |bytes: Vec<u8>| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(&bytes).unwrap();
        encoder.finish().unwrap()
    };
    let zip = {
        let mut archive = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
        for name in ["readme.txt", "x/case_flair.nii.gz"] {
            archive
                .start_file(
                    name,
                    zip::write::SimpleFileOptions::default()
                        .compression_method(zip::CompressionMethod::Stored),
                )
                .unwrap();
            archive.write_all(b"some bytes").unwrap();
        }
        archive.finish().unwrap().into_inner()
    };
    let read = |place: &Place, bytes: &[u8]| {
        place.holding(bytes);
        indexed(place.folder(), "plain", &IndexOptions::default())
    };
    let at = place("more.tar");
    fuzz("archives (.tar)", &[Seed::new(tar()).with_numbers([(124, 8)])], unpacked, |bytes| read(&at, bytes));
    let at = place("more.tar.gz");
    fuzz(
        "archives (.tar.gz)",
        &[Seed::new(tar()).packed_by(gzip), Seed::new(gzip(tar()))],
        unpacked,
        |bytes| read(&at, bytes),
    );
    let at = place("more.zip");
    fuzz("archives (.zip)", &[Seed::new(zip)], unpacked, |bytes| read(&at, bytes));
}
