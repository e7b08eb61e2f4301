//! Generated trees with the exact names of the public data sets, and their traps.

// The functions that tests share are tests too.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use brainmvp_cohort::identity::Aliases;
use brainmvp_cohort::layouts::{IndexOptions, Indexed, LAYOUTS, index, read_exclusions};
use brainmvp_cohort::{Case, Split};
use brainmvp_volume::Modality::{self, Adc, Dwi, Flair, Mra, Pd, T1, T1c, T2};
use tempfile::TempDir;

/// Empty files: an index looks at names alone.
fn tree(files: &[&str]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for file in files {
        let path = folder.path().join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "").unwrap();
    }
    folder
}

fn auto(folder: &TempDir) -> Indexed {
    index(folder.path(), "auto", &IndexOptions::default()).unwrap()
}

fn case<'a>(indexed: &'a Indexed, id: &str) -> &'a Case {
    let cases = &indexed.cohort.cases;
    cases.iter().find(|case| case.id.as_str() == id).unwrap_or_else(|| panic!("no case {id} in {cases:#?}"))
}

fn ids(indexed: &Indexed) -> Vec<&str> {
    indexed.cohort.cases.iter().map(|case| case.id.as_str()).collect()
}

fn modalities(case: &Case) -> Vec<Modality> {
    case.images.keys().copied().collect()
}

fn name(path: Option<&PathBuf>) -> &str {
    path.and_then(|path| path.file_name()).and_then(|name| name.to_str()).unwrap_or("-")
}

const GLIOMA: [Modality; 4] = [Flair, T1, T1c, T2];

#[test]
fn brats_of_2021_with_its_hybrid_names() {
    let folder = tree(&[
        "BraTS2021_Training_Data/BraTS2021_00000/BraTS2021_00000_flair.nii.gz",
        "BraTS2021_Training_Data/BraTS2021_00000/BraTS2021_00000_t1.nii.gz",
        "BraTS2021_Training_Data/BraTS2021_00000/BraTS2021_00000_t1ce.nii.gz",
        "BraTS2021_Training_Data/BraTS2021_00000/BraTS2021_00000_t2.nii.gz",
        "BraTS2021_Training_Data/BraTS2021_00000/BraTS2021_00000_seg.nii.gz",
        "BraTS2021_Validation_Data/BraTS-GLI-00001-000/BraTS-GLI-00001-000-flair.nii.gz",
        "BraTS2021_Validation_Data/BraTS-GLI-00001-000/BraTS-GLI-00001-000-t1.nii.gz",
        "BraTS2021_Validation_Data/BraTS-GLI-00001-000/BraTS-GLI-00001-000-t1ce.nii.gz",
        "BraTS2021_Validation_Data/BraTS-GLI-00001-000/BraTS-GLI-00001-000-t2.nii.gz",
    ]);
    let found = auto(&folder);
    assert_eq!(found.layout, "brats", "{}", found.why);
    assert_eq!(ids(&found), ["BraTS-GLI-00001-000", "BraTS2021_00000"]);
    for found_case in &found.cohort.cases {
        assert_eq!(modalities(found_case), GLIOMA);
        assert_eq!(found_case.data_set, "brats2021");
        assert_eq!(found.cohort.label_scheme(found_case).unwrap().to_string(), "brats_legacy");
    }
    assert_eq!(name(case(&found, "BraTS2021_00000").label.as_ref()), "BraTS2021_00000_seg.nii.gz");
    assert_eq!(name(case(&found, "BraTS-GLI-00001-000").images.get(&T1c)), "BraTS-GLI-00001-000-t1ce.nii.gz");
    assert!(found.warnings.is_empty() && found.rejected.is_empty(), "{found:?}");
}

#[test]
fn brats_of_2023_groups_time_points_by_subject() {
    let folder = tree(&[
        "ASNR-MICCAI-BraTS2023-MEN-Challenge-TrainingData/BraTS-MEN-00004-000/BraTS-MEN-00004-000-t1c.nii.gz",
        "ASNR-MICCAI-BraTS2023-MEN-Challenge-TrainingData/BraTS-MEN-00004-000/BraTS-MEN-00004-000-t1n.nii.gz",
        "ASNR-MICCAI-BraTS2023-MEN-Challenge-TrainingData/BraTS-MEN-00004-000/BraTS-MEN-00004-000-t2f.nii.gz",
        "ASNR-MICCAI-BraTS2023-MEN-Challenge-TrainingData/BraTS-MEN-00004-000/BraTS-MEN-00004-000-t2w.nii.gz",
        "ASNR-MICCAI-BraTS2023-MEN-Challenge-TrainingData/BraTS-MEN-00004-000/BraTS-MEN-00004-000-seg.nii.gz",
        "ASNR-MICCAI-BraTS2023-MEN-Challenge-TrainingData/BraTS-MEN-00004-013/BraTS-MEN-00004-013-t1c.nii.gz",
        "ASNR-MICCAI-BraTS2023-MEN-Challenge-TrainingData/BraTS-MEN-00004-013/BraTS-MEN-00004-013-odd.nii.gz",
    ]);
    let found = auto(&folder);
    let first = case(&found, "BraTS-MEN-00004-000");
    assert_eq!((first.subject.as_str(), modalities(first)), ("BraTS-MEN-00004", GLIOMA.to_vec()));
    assert_eq!(case(&found, "BraTS-MEN-00004-013").subject, "BraTS-MEN-00004");
    assert_eq!(found.cohort.label_scheme(first).unwrap().to_string(), "brats_2023");
    assert!(found.warnings[0].starts_with("1 file is not recognised"), "{:?}", found.warnings);
}

#[test]
fn brats_of_2018_has_its_class_from_a_folder() {
    let folder = tree(&[
        "MICCAI_BraTS_2018_Data_Training/HGG/Brats18_2013_2_1/Brats18_2013_2_1_t1ce.nii.gz",
        "MICCAI_BraTS_2018_Data_Training/LGG/Brats18_TCIA09_141_1/Brats18_TCIA09_141_1_flair.nii",
        "MICCAI_BraTS_2018_Data_Training/LGG/Brats18_TCIA09_141_1/Brats18_TCIA09_141_1_seg.nii",
    ]);
    let found = auto(&folder);
    assert_eq!(case(&found, "Brats18_2013_2_1").class.as_deref(), Some("HGG"));
    let low = case(&found, "Brats18_TCIA09_141_1");
    assert_eq!((low.class.as_deref(), low.subject.as_str()), (Some("LGG"), "Brats18_TCIA09_141"));
    assert_eq!(found.cohort.label_scheme(low).unwrap().to_string(), "brats_legacy");
}

#[test]
fn a_new_name_without_its_year_declares_no_labels() {
    let folder = tree(&[
        "x/BraTS-PED-00002-000/BraTS-PED-00002-000-t1c.nii.gz",
        "x/BraTS-PED-00002-000/BraTS-PED-00002-000-seg.nii.gz",
    ]);
    let found = auto(&folder);
    assert_eq!(found.cohort.data_sets["brats-ped"].label_scheme, None);
    let options =
        IndexOptions { label_scheme: Some("brats_ped_2024".parse().unwrap()), ..IndexOptions::default() };
    let found = index(folder.path(), "brats", &options).unwrap();
    assert_eq!(found.cohort.data_sets["brats-ped"].label_scheme, options.label_scheme);
}

#[test]
fn plain_case_folders_with_the_names_of_ucsf_and_isles() {
    let folder = tree(&[
        "UCSF-PDGM-0420_nifti/UCSF-PDGM-0420_T1.nii.gz",
        "UCSF-PDGM-0420_nifti/UCSF-PDGM-0420_T1_bias.nii.gz",
        "UCSF-PDGM-0420_nifti/UCSF-PDGM-0420_T1c.nii.gz",
        "UCSF-PDGM-0420_nifti/UCSF-PDGM-0420_T2.nii.gz",
        "UCSF-PDGM-0420_nifti/UCSF-PDGM-0420_FLAIR.nii.gz",
        "UCSF-PDGM-0420_nifti/UCSF-PDGM-0420_DWI.nii.gz",
        "UCSF-PDGM-0420_nifti/UCSF-PDGM-0420_SWI.nii.gz",
        "UCSF-PDGM-0420_nifti/UCSF-PDGM-0420_DTI_eddy_noreg.nii.gz",
        "UCSF-PDGM-0420_nifti/UCSF-PDGM-0420_brain_segmentation.nii.gz",
        "UCSF-PDGM-0420_nifti/UCSF-PDGM-0420_brain_parenchyma_segmentation.nii.gz",
        "UCSF-PDGM-0420_nifti/UCSF-PDGM-0420_tumor_segmentation.nii.gz",
        "sub-strokecase0001_ses-0001/sub-strokecase0001_ses-0001_adc.nii.gz",
        "sub-strokecase0001_ses-0001/sub-strokecase0001_ses-0001_dwi.nii.gz",
        "sub-strokecase0001_ses-0001/sub-strokecase0001_ses-0001_FLAIR.nii.gz",
        "sub-strokecase0001_ses-0001/sub-strokecase0001_ses-0001_msk.nii.gz",
    ]);
    let found = index(folder.path(), "plain", &IndexOptions::default()).unwrap();
    assert_eq!((found.layout, ids(&found)), ("plain", vec!["UCSF-PDGM-0420", "sub-strokecase0001_ses-0001"]));
    let glioma = case(&found, "UCSF-PDGM-0420");
    assert_eq!(modalities(glioma), [Flair, T1, T1c, T2, Dwi], "no ADC");
    assert_eq!(name(glioma.images.get(&T1)), "UCSF-PDGM-0420_T1.nii.gz", "not the bias-corrected twin");
    assert_eq!(name(glioma.label.as_ref()), "UCSF-PDGM-0420_tumor_segmentation.nii.gz");
    assert_eq!(name(glioma.brain_mask.as_ref()), "UCSF-PDGM-0420_brain_segmentation.nii.gz");
    let stroke = case(&found, "sub-strokecase0001_ses-0001");
    assert_eq!(modalities(stroke), [Flair, Dwi, Adc]);
    assert_eq!(name(stroke.label.as_ref()), "sub-strokecase0001_ses-0001_msk.nii.gz");
    assert_eq!(
        found.warnings,
        ["1 variant files passed over in favour of a plainer one, e.g. ".to_owned()
            + &folder
                .path()
                .join("UCSF-PDGM-0420_nifti/UCSF-PDGM-0420_T1_bias.nii.gz")
                .display()
                .to_string()]
    );
}

#[test]
fn folders_by_modality_are_joined() {
    let folder = tree(&[
        "IXI-T1/IXI002-Guys-0828-T1.nii.gz",
        "IXI-T1/IXI012-HH-1211-T1.nii.gz",
        "IXI-T2/IXI002-Guys-0828-T2.nii.gz",
        "IXI-PD/IXI002-Guys-0828-PD.nii.gz",
        "IXI-MRA/IXI002-Guys-0828-MRA.nii.gz",
        "IXI-DTI/IXI002-Guys-0828-DTI-00.nii.gz",
    ]);
    let found = index(folder.path(), "plain", &IndexOptions::default()).unwrap();
    assert_eq!(ids(&found), ["IXI002-Guys-0828", "IXI012-HH-1211"]);
    assert_eq!(modalities(&found.cohort.cases[0]), [T1, T2, Mra, Pd]);
    assert_eq!(modalities(&found.cohort.cases[1]), [T1]);
}

#[test]
fn one_name_in_two_folders_gets_longer_ids() {
    let folder = tree(&[
        "TrainingData/1/T1.nii",
        "TrainingData/1/T1_1mm.nii",
        "TrainingData/1/T1_IR.nii",
        "TrainingData/1/T2_FLAIR.nii",
        "TrainingData/1/LabelsForTraining.nii",
        "TestData/1/T1.nii",
        "TestData/2/T1.nii",
    ]);
    let found = index(folder.path(), "plain", &IndexOptions::default()).unwrap();
    assert_eq!(ids(&found), ["2", "TestData-1", "TrainingData-1"]);
    let full = case(&found, "TrainingData-1");
    assert_eq!((modalities(full), name(full.images.get(&T1))), (vec![Flair, T1], "T1.nii"));
    assert_eq!(name(full.label.as_ref()), "LabelsForTraining.nii");
    assert!(found.rejected.is_empty(), "{:?}", found.rejected);
}

#[test]
fn plain_flat_files_and_analyze_pairs() {
    let folder = tree(&[
        "p1_T1.nii.gz",
        "p1_flair.nii",
        "p2_t1.hdr",
        "p2_t1.img",
        "p2_seg.nii",
        "notes.txt",
        "odd.nii",
    ]);
    let found = auto(&folder);
    assert_eq!(ids(&found), ["p1", "p2"]);
    assert_eq!(name(case(&found, "p2").images.get(&T1)), "p2_t1.hdr");
    assert!(found.warnings[0].contains("odd.nii"), "{:?}", found.warnings);
}

#[test]
fn phantom_names() {
    let folder = tree(&["c1/c1_t1.nii.gz", "c1/c1_seg.nii.gz", "c1/c1_mask.nii.gz", "cohort.json"]);
    let found = auto(&folder);
    let only = case(&found, "c1");
    assert_eq!(
        (name(only.label.as_ref()), name(only.brain_mask.as_ref())),
        ("c1_seg.nii.gz", "c1_mask.nii.gz")
    );
    assert!(found.warnings[0].contains("cohort.json"), "{:?}", found.warnings);
}

#[test]
fn a_bad_case_is_named_and_the_rest_goes_on() {
    let folder =
        tree(&["good/t1.nii", "two/two_t1.nii", "two/two_T1.nii.gz", "empty/seg.nii", "bad:name/t1.nii"]);
    let found = auto(&folder);
    assert_eq!(ids(&found), ["good"]);
    let reasons: BTreeMap<_, _> =
        found.rejected.iter().map(|r| (r.case.as_str(), r.reason.as_str())).collect();
    assert!(reasons["two"].contains("two_t1.nii") && reasons["two"].contains("two_T1.nii.gz"));
    assert!(reasons["empty"].contains("no image"));
    assert!(reasons["bad:name"].contains("case id"));
}

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
    assert!(found.warnings.iter().any(|w| w.contains("nobody")), "{:?}", found.warnings);
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

fn monai(files: &[&str], list: &str) -> TempDir {
    let folder = tree(files);
    std::fs::write(folder.path().join("dataset.json"), list).unwrap();
    folder
}

#[test]
fn a_list_in_the_dialect_of_brainmvp() {
    let isles = "sub-strokecase0001_ses-0001/sub-strokecase0001_ses-0001_";
    let files = ["adc", "dwi", "FLAIR", "msk"].map(|word| format!("{isles}{word}.nii.gz"));
    let hybrid = "BraTS2021_Validation_Data/BraTS-GLI-00001-000/BraTS-GLI-00001-000-t1ce.nii.gz";
    let mut all: Vec<&str> = files.iter().map(String::as_str).collect();
    all.push(hybrid);
    let list = format!(
        r#"{{"training": [{{"image": ["{}", "{}", "{}"], "label": "{}", "fold": 0}}], "validation": [{{"image": ["{hybrid}"]}}]}}"#,
        files[0], files[1], files[2], files[3]
    );
    let folder = monai(&all, &list);
    let found = auto(&folder);
    assert_eq!(found.layout, "monai", "{}", found.why);
    assert_eq!(ids(&found), ["BraTS-GLI-00001-000", "sub-strokecase0001_ses-0001"]);
    let stroke = case(&found, "sub-strokecase0001_ses-0001");
    assert_eq!((modalities(stroke), stroke.split), (vec![Flair, Dwi, Adc], Some(Split::Training)));
    assert_eq!(name(stroke.label.as_ref()), "sub-strokecase0001_ses-0001_msk.nii.gz");
    assert_eq!(case(&found, "BraTS-GLI-00001-000").split, Some(Split::Validation));
    assert_eq!(found.warnings, ["key 'fold' of 1 cases is not used"]);
    // The same by the file itself.
    let by_file = index(&folder.path().join("dataset.json"), "auto", &IndexOptions::default()).unwrap();
    assert_eq!(by_file.cohort.cases, found.cohort.cases);
}

#[test]
fn a_decathlon_list_with_tables() {
    let folder = monai(
        &["imagesTr/p_01.nii.gz", "labelsTr/p_01.nii.gz", "imagesTs/p_02.nii.gz"],
        r#"{"name": "Heart", "modality": {"0": "T1gd"}, "labels": {"0": "background", "1": "atrium"}, "numTraining": 1,
            "training": [{"image": "./imagesTr/p_01.nii.gz", "label": "./labelsTr/p_01.nii.gz"}],
            "test": ["./imagesTs/p_02.nii.gz"]}"#,
    );
    let found = auto(&folder);
    assert_eq!(ids(&found), ["p_01", "p_02"]);
    let first = case(&found, "p_01");
    assert_eq!((modalities(first), first.data_set.as_str()), (vec![T1c], "Heart"));
    assert_eq!(found.cohort.label_scheme(first).unwrap().to_string(), "1=atrium");
    assert_eq!(case(&found, "p_02").split, Some(Split::Test));
}

#[test]
fn a_table_of_labels_that_is_no_table_is_reported() {
    let folder = monai(
        &["a/a_t1.nii", "a/a_seg.nii"],
        r#"{"labels": {"background": 0, "tumour": 1},
            "training": [{"image": "a/a_t1.nii", "label": "a/a_seg.nii"}]}"#,
    );
    let found = auto(&folder);
    assert!(found.cohort.label_scheme(case(&found, "a")).is_none());
    assert!(found.warnings[0].contains("\"labels\" has 'background': 0"), "{:?}", found.warnings);
}

#[test]
fn lists_with_classes_channels_and_faults() {
    let folder = monai(
        &["a/x.nii", "a/y.nii", "b/x.nii", "b/y.nii", "c/c_t1.nii"],
        r#"{"training": [{"image": ["a/x.nii", "a/y.nii"], "label": 1}, {"image": ["b/x.nii", "b/none.nii"]},
            {"image": "c/c_t1.nii"}, {"image": 3}]}"#,
    );
    let options = IndexOptions { channels: vec![T2, Flair], ..IndexOptions::default() };
    let found = index(folder.path(), "auto", &options).unwrap();
    assert_eq!(ids(&found), ["a"]);
    assert_eq!(name(found.cohort.cases[0].images.get(&T2)), "x.nii");
    assert_eq!(found.cohort.cases[0].class.as_deref(), Some("1"));
    let reasons: Vec<_> = found.rejected.iter().map(|r| r.reason.as_str()).collect();
    for part in ["none.nii: no such file", "1 image files for 2 channels", "neither a path"] {
        assert!(reasons.iter().any(|reason| reason.contains(part)), "{part}: {reasons:?}");
    }
    // Files that are all elsewhere give one message, not one per case.
    let options = IndexOptions { base_dir: Some(PathBuf::from("/nowhere")), ..options };
    assert!(index(folder.path(), "monai", &options).unwrap_err().to_string().contains("--base-dir"));
}

#[test]
fn a_case_in_two_splits_is_kept_once() {
    let folder = monai(
        &["a/a_t1.nii"],
        r#"{"training": [{"image": "a/a_t1.nii"}], "test": [{"image": "a/a_t1.nii"}]}"#,
    );
    let found = auto(&folder);
    assert_eq!(ids(&found), ["a"]);
    assert!(found.rejected[0].reason.contains("training and test"), "{:?}", found.rejected);
}

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

#[test]
fn nnunet_channels_are_told_by_their_names() {
    let folder = tree(&[
        "Dataset137_BraTS/imagesTr/BraTS_1_0000.nii.gz",
        "Dataset137_BraTS/imagesTr/BraTS_1_0001.nii.gz",
        "Dataset137_BraTS/imagesTr/BraTS_2_0000.nii.gz",
        "Dataset137_BraTS/labelsTr/BraTS_1.nii.gz",
        "Dataset137_BraTS/imagesTs/BraTS_3_0000.nii.gz",
        "Dataset137_BraTS/imagesTs/BraTS_3_0001.nii.gz",
        "Dataset042_Regions/imagesTr/x_0000.nii.gz",
        "Task001_Old/imagesTr/y_0000.nii.gz",
        "Task001_Old/labelsTr/y.nii.gz",
    ]);
    let write = |folder_name: &str, text: &str| {
        std::fs::write(folder.path().join(folder_name).join("dataset.json"), text).unwrap();
    };
    let two = r#"{"channel_names": {"1": "T1ce", "0": "Flair"}, "labels": {"background": 0, "core": 1}, "file_ending": ".nii.gz"}"#;
    write("Dataset137_BraTS", two);
    write(
        "Dataset042_Regions",
        r#"{"channel_names": {"0": "T2w"}, "labels": {"background": 0, "whole": [1, 2]}}"#,
    );
    write(
        "Task001_Old",
        r#"{"modality": {"0": "T1gd"}, "labels": {"0": "background", "1": "x"},
            "training": [{"image": "./imagesTr/y.nii.gz", "label": "./labelsTr/y.nii.gz"}]}"#,
    );
    let found = auto(&folder);
    assert_eq!((found.layout, ids(&found)), ("nnunet", vec!["BraTS_1", "BraTS_3", "x", "y"]));
    let first = case(&found, "BraTS_1");
    assert_eq!((modalities(first), first.split), (vec![Flair, T1c], Some(Split::Training)));
    assert_eq!(name(first.images.get(&T1c)), "BraTS_1_0001.nii.gz");
    assert_eq!(found.cohort.label_scheme(first).unwrap().to_string(), "1=core");
    assert_eq!(case(&found, "BraTS_3").split, Some(Split::Test));
    assert_eq!(found.cohort.label_scheme(case(&found, "y")).unwrap().to_string(), "1=x");
    assert!(found.rejected[0].reason.contains("1 of 2 channels"), "{:?}", found.rejected);
    assert!(found.warnings.iter().any(|warning| warning.contains("regions")), "{:?}", found.warnings);
}

#[test]
fn a_damaged_data_set_of_nnunet_is_named() {
    let folder = tree(&["Dataset001_A/imagesTr/a_0000.nii.gz", "Dataset002_B/imagesTr/b_0000.nii.gz"]);
    let write = |name: &str, text: &str| {
        std::fs::write(folder.path().join(name).join("dataset.json"), text).unwrap();
    };
    write("Dataset001_A", r#"{"channel_names": {"0": "T1"}, "labels": {"backgr"#);
    write("Dataset002_B", r#"{"channel_names": {"0": "T1"}, "labels": {"background": 0}}"#);
    let found = auto(&folder);
    assert_eq!((found.layout, ids(&found)), ("nnunet", vec!["b"]));
    assert_eq!(found.rejected[0].case, "Dataset001_A");
    assert!(found.rejected[0].reason.contains("not JSON"), "{:?}", found.rejected);
}

#[test]
fn nnssl_paths_start_from_variables() {
    let folder = tree(&["raw/a/s1_t1.nii", "raw/a/s1_mask.nii", "raw/a/s2_flair.nii"]);
    let list = r#"{"collection_index": 1, "datasets": {"7": {"name": "set", "subjects": {
        "a": {"sessions": {
            "s1": {"images": [{"image_path": "$nnssl_raw/a/s1_t1.nii", "modality": "T1w",
                               "associated_masks": {"anatomy_mask": "$nnssl_raw/a/s1_mask.nii"}}]},
            "s2": {"images": [{"image_path": "$nnssl_raw/a/s2_flair.nii", "modality": "FLAIR", "associated_masks": null}]}}},
        "b": {"sessions": {"s1": {"images": [{"image_path": "$nnssl_raw/b.nii", "modality": "T2w"}]}}}}}}}"#;
    std::fs::write(folder.path().join("pretrain_data.json"), list).unwrap();
    let raw = folder.path().join("raw").to_string_lossy().into_owned();
    let variables = BTreeMap::from([("nnssl_raw".to_owned(), raw)]);
    let found = index(folder.path(), "auto", &IndexOptions { variables, ..IndexOptions::default() }).unwrap();
    assert_eq!((found.layout, ids(&found)), ("nnssl", vec!["a_s1", "a_s2"]));
    let first = case(&found, "a_s1");
    assert_eq!((first.subject.as_str(), first.data_set.as_str(), modalities(first)), ("a", "set", vec![T1]));
    assert_eq!(name(first.brain_mask.as_ref()), "s1_mask.nii");
    assert!(found.rejected[0].reason.contains("no such file"), "{:?}", found.rejected);
    let message = index(folder.path(), "nnssl", &IndexOptions::default()).unwrap_err().to_string();
    assert!(message.contains("nnssl_raw is not set"), "{message}");
}

#[test]
fn bids_with_sessions_runs_masks_and_participants() {
    let folder = tree(&[
        "sub-01/ses-1/anat/sub-01_ses-1_run-2_T1w.nii.gz",
        "sub-01/ses-1/anat/sub-01_ses-1_run-1_T1w.nii.gz",
        "sub-01/ses-1/anat/sub-01_ses-1_ce-gadolinium_T1w.nii.gz",
        "sub-01/ses-1/anat/sub-01_ses-1_T2starw.nii.gz",
        "sub-01/ses-1/dwi/sub-01_ses-1_dwi.nii.gz",
        "sub-01/ses-1/dwi/sub-01_ses-1_dwi.bval",
        "sub-01/ses-1/dwi/sub-01_ses-1_ADC.nii.gz",
        "sub-01/ses-2/anat/sub-01_ses-2_FLAIR.nii.gz",
        "sub-02/anat/sub-02_T2w.nii.gz",
        "derivatives/manual/sub-01/ses-1/anat/sub-01_ses-1_label-lesion_mask.nii.gz",
        "derivatives/fmriprep/sub-01/ses-1/anat/sub-01_ses-1_dseg.nii.gz",
        "derivatives/fmriprep/sub-01/ses-1/anat/sub-01_ses-1_desc-brain_mask.nii.gz",
        "derivatives/fmriprep/sub-01/ses-1/anat/sub-01_ses-1_space-MNI152NLin2009cAsym_desc-brain_mask.nii.gz",
        "derivatives/fmriprep/sub-01/ses-1/anat/sub-01_ses-1_desc-preproc_T1w.nii.gz",
    ]);
    let participants = "participant_id	age	group	site
sub-01	40	patient	Basel
sub-02	50	n/a	n/a
sub-03	1	x	y
";
    std::fs::write(folder.path().join("participants.tsv"), participants).unwrap();
    let found = auto(&folder);
    assert_eq!((found.layout, ids(&found)), ("bids", vec!["sub-01_ses-1", "sub-01_ses-2", "sub-02"]));
    let first = case(&found, "sub-01_ses-1");
    assert_eq!(modalities(first), [T1, T1c, Adc], "the 4-D series is left out");
    assert_eq!(name(first.images.get(&T1)), "sub-01_ses-1_run-1_T1w.nii.gz");
    assert_eq!(name(first.label.as_ref()), "sub-01_ses-1_label-lesion_mask.nii.gz");
    assert_eq!(name(first.brain_mask.as_ref()), "sub-01_ses-1_desc-brain_mask.nii.gz");
    assert_eq!((first.subject.as_str(), first.class.as_deref()), ("sub-01", Some("patient")));
    assert_eq!(first.site.as_deref(), Some("Basel"));
    assert_eq!(case(&found, "sub-01_ses-2").subject, "sub-01");
    let said = found.warnings.join("; ");
    assert!(said.contains("2 derived images") && said.contains("1 4-D diffusion series"), "{said}");

    let folder = tree(&["A/sub-1/anat/sub-1_T1w.nii", "B/sub-1/anat/sub-1_T1w.nii"]);
    let found = index(folder.path(), "bids", &IndexOptions::default()).unwrap();
    assert_eq!(ids(&found), ["A-sub-1", "B-sub-1"]);
    assert_eq!(
        (found.cohort.cases[1].subject.as_str(), found.cohort.cases[1].site.as_deref()),
        ("B-sub-1", Some("B"))
    );
}

fn real_data() -> Option<PathBuf> {
    let default = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    let folder = std::env::var_os("BRAINMVP_TEST_DATA").map_or(default, PathBuf::from);
    if !folder.is_dir() {
        eprintln!("skipped: no real data at {}", folder.display());
        return None;
    }
    Some(folder)
}

#[test]
fn real_folders() {
    let Some(data) = real_data() else { return };
    let rows: [(&str, &str, &[Modality], &str); 4] = [
        ("brats-gli-00001", "brats-gli-00001", &GLIOMA, "seg-BraTS23_1.nii.gz"),
        ("isles22-0009", "isles22-0009", &[Flair, Dwi, Adc], "msk.nii.gz"),
        ("tcga-fg-6692/reference/raw_bet", "OtherEXampleFromTCIA", &GLIOMA, "-"),
        ("singles", "chris", &[T1, Mra, Pd], "-"),
    ];
    for (folder, id, expected, label) in rows {
        let found = index(&data.join(folder), "auto", &IndexOptions::default()).unwrap();
        let found_case = case(&found, id);
        assert_eq!(
            (modalities(found_case), name(found_case.label.as_ref())),
            (expected.to_vec(), label),
            "{folder}"
        );
        assert!(found.rejected.is_empty(), "{folder}: {:?}", found.rejected);
    }
}

#[cfg(unix)]
#[test]
fn linked_folders_keep_the_names_that_the_user_sees() {
    let store = tree(&["123/t1.nii", "123/seg.nii"]);
    let folder = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(store.path().join("123"), folder.path().join("case-a")).unwrap();
    let found = auto(&folder);
    assert_eq!(ids(&found), ["case-a"]);
    found.cohort.save(&folder.path().join("cohort.json")).unwrap();
    let text = std::fs::read_to_string(folder.path().join("cohort.json")).unwrap();
    assert!(text.contains("\"case-a/t1.nii\""), "{text}");
}

#[test]
fn excluded_cases_are_not_complained_about() {
    let folder = tree(&["good/t1.nii", "two/a_t1.nii", "two/two_t1.nii.gz", "two/two_t1.nii"]);
    let options = IndexOptions { exclude: vec!["two".into(), "a".into()], ..IndexOptions::default() };
    let found = index(folder.path(), "plain", &options).unwrap();
    assert_eq!(ids(&found), ["good"]);
    assert!(found.rejected.is_empty() && found.warnings.is_empty(), "{found:?}");
}
