//! Every data set of the paper as downloaded: generated trees with the exact names, and their traps.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::path::PathBuf;

use brainmvp_cohort::identity::Aliases;
use brainmvp_cohort::layouts::{IndexOptions, Indexed, index};
use brainmvp_cohort::{Case, LabelScheme, PUBLIC_DATA_SETS, Purpose, Split, public_data_set};
use brainmvp_volume::Modality::{self, Adc, Dwi, Flair, Mra, Pd, T1, T1c, T2};
use tempfile::TempDir;

/// Files; the text after `=` is their content.
fn tree(files: &[&str]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for file in files {
        let (name, text) = file.split_once('=').unwrap_or((file, ""));
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    folder
}

fn auto(folder: &TempDir) -> Indexed {
    index(folder.path(), "auto", &IndexOptions::default()).unwrap()
}

fn ids(found: &Indexed) -> Vec<&str> {
    found.cohort.cases.iter().map(|case| case.id.as_str()).collect()
}

fn case<'a>(found: &'a Indexed, id: &str) -> &'a Case {
    let case = found.cohort.cases.iter().find(|case| case.id.as_str() == id);
    case.unwrap_or_else(|| panic!("no {id} in {:?}, {:?}", ids(found), found.rejected))
}

fn modalities(case: &Case) -> Vec<Modality> {
    case.images.keys().copied().collect()
}

fn name(path: Option<&PathBuf>) -> &str {
    path.and_then(|path| path.file_name()).and_then(|name| name.to_str()).unwrap_or("-")
}

fn scheme(found: &Indexed, id: &str) -> String {
    found.cohort.label_scheme(case(found, id)).map(ToString::to_string).unwrap_or_default()
}

#[test]
fn brats_of_2023_ssa_met_ped() {
    for (cohort, scheme_name) in [("SSA", "brats_2023"), ("MET", "brats_2023"), ("PED", "brats_2023")] {
        let files: Vec<String> = ["t1c", "t1n", "t2f", "t2w", "seg"]
            .map(|word| {
                let id = format!("BraTS-{cohort}-00002-000");
                format!("ASNR-MICCAI-BraTS2023-{cohort}-Challenge-TrainingData/{id}/{id}-{word}.nii.gz")
            })
            .into();
        let folder = tree(&files.iter().map(String::as_str).collect::<Vec<_>>());
        let found = auto(&folder);
        let id = format!("BraTS-{cohort}-00002-000");
        assert_eq!((found.layout, scheme(&found, &id).as_str()), ("brats", scheme_name));
        assert_eq!(case(&found, &id).data_set, format!("brats2023-{}", cohort.to_lowercase()));
        assert_eq!(modalities(case(&found, &id)), [Flair, T1, T1c, T2]);
    }
}

#[test]
fn ixi_folders_by_modality_with_sites() {
    let folder = tree(&[
        "IXI-T1/IXI002-Guys-0828-T1.nii.gz",
        "IXI-T2/IXI002-Guys-0828-T2.nii.gz",
        "IXI-PD/IXI002-Guys-0828-PD.nii.gz",
        "IXI-MRA/IXI002-Guys-0828-MRA.nii.gz",
        "IXI-DTI/IXI002-Guys-0828-DTI-00.nii.gz",
        "IXI-T1/IXI012-HH-1211-T1.nii.gz",
    ]);
    let found = auto(&folder);
    let first = case(&found, "IXI002-Guys-0828");
    assert_eq!((found.layout, modalities(first)), ("public", vec![T1, T2, Mra, Pd]));
    assert_eq!((first.subject.as_str(), first.site.as_deref()), ("IXI002", Some("Guys")));
    assert_eq!(case(&found, "IXI012-HH-1211").data_set, "ixi");
    assert!(found.rejected.is_empty(), "{:?}", found.rejected);
}

#[test]
fn ucsf_twins_follow_ups_and_a_missing_adc() {
    let folder = tree(&[
        "PKG - UCSF-PDGM Version 5/UCSF-PDGM-v5/UCSF-PDGM-0429_nifti/UCSF-PDGM-0429_T1.nii.gz",
        "PKG - UCSF-PDGM Version 5/UCSF-PDGM-v5/UCSF-PDGM-0429_nifti/UCSF-PDGM-0429_T1_bias.nii.gz",
        "PKG - UCSF-PDGM Version 5/UCSF-PDGM-v5/UCSF-PDGM-0429_nifti/UCSF-PDGM-0429_T1c_bias.nii.gz",
        "PKG - UCSF-PDGM Version 5/UCSF-PDGM-v5/UCSF-PDGM-0429_nifti/UCSF-PDGM-0429_DTI_eddy_noreg.nii.gz",
        "PKG - UCSF-PDGM Version 5/UCSF-PDGM-v5/UCSF-PDGM-0429_nifti/UCSF-PDGM-0429_SWI.nii.gz",
        "PKG - UCSF-PDGM Version 5/UCSF-PDGM-v5/UCSF-PDGM-0429_nifti/UCSF-PDGM-0429_tumor_segmentation.nii.gz",
        "PKG - UCSF-PDGM Version 5/UCSF-PDGM-v5/UCSF-PDGM-0429_nifti/UCSF-PDGM-0429_brain_segmentation.nii.gz",
        "PKG - UCSF-PDGM Version 5/UCSF-PDGM-v5/UCSF-PDGM-0429_FU003d_nifti/UCSF-PDGM-0429_FU003d_T1.nii.gz",
        "PKG - UCSF-PDGM Version 5/UCSF-PDGM-v5/UCSF-PDGM-0420_nifti/UCSF-PDGM-0420_DWI.nii.gz",
        "PKG - UCSF-PDGM Version 5/UCSF-PDGM-v5/UCSF-PDGM-0420_nifti/UCSF-PDGM-0420_FLAIR.nii.gz",
    ]);
    let found = auto(&folder);
    let first = case(&found, "UCSF-PDGM-0429");
    assert_eq!(modalities(first), [T1, T1c], "the only T1c has a twin's name");
    assert_eq!(name(first.images.get(&T1)), "UCSF-PDGM-0429_T1.nii.gz");
    assert_eq!(name(first.label.as_ref()), "UCSF-PDGM-0429_tumor_segmentation.nii.gz");
    assert_eq!(name(first.brain_mask.as_ref()), "UCSF-PDGM-0429_brain_segmentation.nii.gz");
    assert_eq!(case(&found, "UCSF-PDGM-0429_FU003d").subject, "UCSF-PDGM-0429");
    assert_eq!(modalities(case(&found, "UCSF-PDGM-0420")), [Flair, Dwi]);
    assert_eq!(scheme(&found, "UCSF-PDGM-0429"), "brats_legacy");
}

#[test]
fn isles_in_its_three_layouts() {
    let id = "sub-strokecase0001_ses-0001";
    let zenodo = [
        "ISLES-2022/sub-strokecase0001/ses-0001/dwi/sub-strokecase0001_ses-0001_dwi.nii.gz",
        "ISLES-2022/sub-strokecase0001/ses-0001/dwi/sub-strokecase0001_ses-0001_adc.nii.gz",
        "ISLES-2022/sub-strokecase0001/ses-0001/anat/sub-strokecase0001_ses-0001_FLAIR.nii.gz",
        "ISLES-2022/derivatives/sub-strokecase0001/ses-0001/sub-strokecase0001_ses-0001_msk.nii.gz",
        "ISLES-2022/participants.tsv=participant_id\tsex\nsub-strokecase0001\tM\n",
    ];
    let challenge = [
        "rawdata/sub-strokecase0001/ses-0001/sub-strokecase0001_ses-0001_dwi.nii.gz",
        "rawdata/sub-strokecase0001/ses-0001/sub-strokecase0001_ses-0001_adc.nii.gz",
        "rawdata/sub-strokecase0001/ses-0001/sub-strokecase0001_ses-0001_flair.nii.gz",
        "derivatives/sub-strokecase0001/ses-0001/sub-strokecase0001_ses-0001_msk.nii.gz",
    ];
    let flat = [
        "sub-strokecase0001_ses-0001/sub-strokecase0001_ses-0001_adc.nii.gz",
        "sub-strokecase0001_ses-0001/sub-strokecase0001_ses-0001_dwi.nii.gz",
        "sub-strokecase0001_ses-0001/sub-strokecase0001_ses-0001_FLAIR.nii.gz",
        "sub-strokecase0001_ses-0001/sub-strokecase0001_ses-0001_msk.nii.gz",
    ];
    for files in [&zenodo[..], &challenge, &flat] {
        let folder = tree(files);
        let found = auto(&folder);
        let stroke = case(&found, id);
        assert_eq!((found.layout, modalities(stroke)), ("public", vec![Flair, Dwi, Adc]));
        assert_eq!(name(stroke.label.as_ref()), "sub-strokecase0001_ses-0001_msk.nii.gz");
        assert_eq!((stroke.subject.as_str(), scheme(&found, id).as_str()), ("sub-strokecase0001", "binary"));
    }
    // The general layout of BIDS reads it as well.
    let folder = tree(&zenodo);
    let found = index(&folder.path().join("ISLES-2022"), "bids", &IndexOptions::default()).unwrap();
    let stroke = case(&found, id);
    assert_eq!(modalities(stroke), [Flair, Dwi, Adc]);
    assert_eq!(name(stroke.label.as_ref()), "sub-strokecase0001_ses-0001_msk.nii.gz");
}

#[test]
fn mrbrains_twice_one_and_two_kinds_of_labels() {
    let folder = tree(&[
        "MRBrainS13DataNii/TrainingData/1/T1.nii",
        "MRBrainS13DataNii/TrainingData/1/T1_1mm.nii",
        "MRBrainS13DataNii/TrainingData/1/T1_IR.nii",
        "MRBrainS13DataNii/TrainingData/1/T2_FLAIR.nii",
        "MRBrainS13DataNii/TrainingData/1/LabelsForTraining.nii",
        "MRBrainS13DataNii/TrainingData/1/LabelsForTesting.nii",
        "MRBrainS13DataNii/TestData/1/T1.nii",
        "MRBrainS13DataNii/TestData/1/T2_FLAIR.nii",
        "MRBrainS13DataNii/TestData/1/LabelsForTesting.nii",
    ]);
    let found = auto(&folder);
    assert_eq!(ids(&found), ["TestData-1", "TrainingData-1"]);
    let training = case(&found, "TrainingData-1");
    assert_eq!((modalities(training), training.split), (vec![Flair, T1], Some(Split::Training)));
    assert_eq!(name(training.images.get(&T1)), "T1.nii");
    assert_eq!(name(training.label.as_ref()), "LabelsForTraining.nii");
    assert_eq!(scheme(&found, "TrainingData-1"), "mrbrains13");
    assert_eq!(scheme(&found, "TestData-1"), "mrbrains13_merged");
    assert_eq!(case(&found, "TestData-1").split, Some(Split::Test));
    // What the paper calls T1CE there, if it is asked for.
    let aliases = Aliases::extended(&[("t1_ir".to_owned(), "t1c".to_owned())].into()).unwrap();
    let third = index(folder.path(), "auto", &IndexOptions { aliases, ..IndexOptions::default() }).unwrap();
    let training = case(&third, "TrainingData-1");
    assert_eq!(modalities(training), [Flair, T1, T1c]);
    assert_eq!(name(training.images.get(&T1c)), "T1_IR.nii");
    assert_eq!(name(training.images.get(&T1)), "T1.nii");
}

#[test]
fn upenn_masks_lie_elsewhere_and_come_in_two_kinds() {
    let folder = tree(&[
        "NIfTI-files/images_structural/UPENN-GBM-00001_11/UPENN-GBM-00001_11_T1.nii.gz",
        "NIfTI-files/images_structural/UPENN-GBM-00001_11/UPENN-GBM-00001_11_T1GD.nii.gz",
        "NIfTI-files/images_structural/UPENN-GBM-00001_11/UPENN-GBM-00001_11_T2.nii.gz",
        "NIfTI-files/images_structural/UPENN-GBM-00001_11/UPENN-GBM-00001_11_FLAIR.nii.gz",
        "NIfTI-files/images_structural_unstripped/UPENN-GBM-00001_11/UPENN-GBM-00001_11_T1_unstripped.nii.gz",
        "NIfTI-files/automated_segm/UPENN-GBM-00001_11_automated_approx_segm.nii.gz",
        "NIfTI-files/images_segm/UPENN-GBM-00001_11_segm.nii.gz",
        "NIfTI-files/images_DTI/images_DTI/UPENN-GBM-00001_11/UPENN-GBM-00001_11_DTI_FA.nii.gz",
        "NIfTI-files/images_DSC/UPENN-GBM-00001_11/UPENN-GBM-00001_11_DSC_ap-rCBV.nii.gz",
        "NIfTI-files/images_structural/UPENN-GBM-00001_21/UPENN-GBM-00001_21_T1.nii.gz",
        "NIfTI-files/images_structural/UPENN-GBM-00002_11/UPENN-GBM-00002_11_T1.nii.gz",
        "NIfTI-files/automated_segm/UPENN-GBM-00002_11_automated_approx_segm.nii.gz",
    ]);
    let found = auto(&folder);
    let first = case(&found, "UPENN-GBM-00001_11");
    assert_eq!(modalities(first), [Flair, T1, T1c, T2]);
    assert_eq!(name(first.images.get(&T1)), "UPENN-GBM-00001_11_T1.nii.gz");
    assert_eq!(name(first.label.as_ref()), "UPENN-GBM-00001_11_segm.nii.gz");
    assert_eq!(case(&found, "UPENN-GBM-00001_21").subject, first.subject);
    let second = case(&found, "UPENN-GBM-00002_11");
    assert_eq!(name(second.label.as_ref()), "UPENN-GBM-00002_11_automated_approx_segm.nii.gz");
    assert!(found.rejected.is_empty(), "{:?}", found.rejected);
}

#[test]
fn vsseg_whose_t1_is_enhanced() {
    let folder = tree(&[
        "vs_gk_1/vs_gk_t1_refT1.nii.gz",
        "vs_gk_1/vs_gk_t2_refT2.nii.gz",
        "vs_gk_1/vs_gk_seg_refT1.nii.gz",
        "vs_gk_1/vs_gk_seg_refT2.nii.gz",
        "vs_gk_12/vs_gk_t1_refT1.nii.gz",
        "vs_gk_12/vs_gk_t2_refT1.nii.gz",
        "vs_gk_12/vs_gk_t2_refT2.nii.gz",
    ]);
    let found = auto(&folder);
    assert_eq!(ids(&found), ["vs_gk_1", "vs_gk_12"]);
    let first = case(&found, "vs_gk_1");
    assert_eq!((modalities(first), name(first.label.as_ref())), (vec![T1c, T2], "vs_gk_seg_refT1.nii.gz"));
    assert_eq!(name(case(&found, "vs_gk_12").images.get(&T2)), "vs_gk_t2_refT1.nii.gz");
    assert_eq!(scheme(&found, "vs_gk_1"), "binary");
    let folder = tree(&[
        "sub-001/anat/sub-001_T1w.nii.gz",
        "sub-001/anat/sub-001_T2w.nii.gz",
        "derivatives/manual_segmentation_masks_of_T1w/sub-001/anat/sub-001_space-individual_desc-tumor_mask.nii.gz",
        "derivatives/T1w_registered_to_T2w/sub-001/anat/sub-001_space-individual_T1w.nii.gz",
    ]);
    let options = IndexOptions { data_set: Some("vsseg".to_owned()), ..IndexOptions::default() };
    let found = index(folder.path(), "auto", &options).unwrap();
    let first = case(&found, "sub-001");
    assert_eq!((found.layout, modalities(first)), ("bids", vec![T1c, T2]));
    assert_eq!(name(first.label.as_ref()), "sub-001_space-individual_desc-tumor_mask.nii.gz");
    assert_eq!(scheme(&found, "sub-001"), "binary");
}

#[test]
fn adni_images_with_the_table_of_the_collection() {
    let image = |number: &str| {
        format!(
            "ADNI/002_S_0295/MPR__GradWarp__B1_Correction__N3__Scaled/2006-04-18_08_20_30.0/{number}/ADNI_002_S_0295_MR_MPR__GradWarp__B1_Correction__N3__Scaled_Br_20070319113623975_S13408_{number}.nii"
        )
    };
    let table =
        "ADNI1.csv=Image Data ID,Subject,Group,Sex\nI45108,002_S_0295,LMCI,M\nI118671,002_S_0295,CN,M\n";
    let folder = tree(&[&image("I45108"), &image("I118671"), table]);
    let options = IndexOptions { table: Some(folder.path().join("ADNI1.csv")), ..IndexOptions::default() };
    let found = index(folder.path(), "auto", &options).unwrap();
    let first = case(&found, "002_S_0295_I45108");
    assert_eq!((first.subject.as_str(), first.class.as_deref()), ("002_S_0295", Some("MCI")));
    assert_eq!(case(&found, "002_S_0295_I118671").class.as_deref(), Some("NC"));
    assert_eq!((modalities(first), first.data_set.as_str()), (vec![T1], "adni"));
}

#[test]
fn adhd_of_several_sites_with_doubled_rows() {
    let folder = tree(&[
        "NYU/sub-0010001/ses-1/anat/sub-0010001_ses-1_run-1_T1w.nii.gz",
        "NYU/sub-0010001/ses-1/anat/sub-0010001_ses-1_run-2_T1w.nii.gz",
        "Peking_3/sub-1050345/ses-1/anat/sub-1050345_ses-1_acq-1_T1w.nii.gz",
        "Brown/sub-0026001/ses-1/anat/sub-0026001_ses-1_T1w.nii.gz",
        "NYU/participants.tsv=participant_id\tdx\tgender\n10001\tADHD-Combined\tMale\n10001\tADHD-Combined\tMale\n",
        "Peking_3/participants.tsv=participant_id\tdx\n1050345\tTypically Developing Children\n",
        "Brown/participants.tsv=participant_id\tdx\n26001\tpending\n",
    ]);
    let found = auto(&folder);
    let first = case(&found, "0010001_1");
    assert_eq!(found.layout, "public");
    assert_eq!(name(first.images.get(&T1)), "sub-0010001_ses-1_run-1_T1w.nii.gz");
    assert_eq!((first.site.as_deref(), first.class.as_deref()), (Some("NYU"), Some("ADHD")));
    assert_eq!(case(&found, "1050345_1").class.as_deref(), Some("control"));
    assert_eq!(case(&found, "0026001_1").class, None, "withheld");
    assert_eq!(first.data_set, "adhd200");
}

#[test]
fn abide_raw_whose_codes_run_the_other_way() {
    let table =
        "Phenotypic_V1_0b.csv=,SUB_ID,SITE_ID,DX_GROUP,NOTE\n1,50952,NYU,1,\"a, b\"\n2,50612,USM,2,-9999\n";
    let folder = tree(&[
        "NYU/0050952/session_1/anat_1/mprage.nii.gz",
        "NYU/0050952/session_1/anat_2/mprage.nii.gz",
        "USM/sub-0050612/anat/sub-0050612_T1w.nii.gz",
        table,
    ]);
    let options =
        IndexOptions { table: Some(folder.path().join("Phenotypic_V1_0b.csv")), ..IndexOptions::default() };
    let found = index(folder.path(), "auto", &options).unwrap();
    let first = case(&found, "0050952_1");
    assert_eq!((first.class.as_deref(), first.data_set.as_str()), (Some("autism"), "abide1"));
    assert!(first.images[&T1].ends_with("anat_1/mprage.nii.gz"));
    assert_eq!(case(&found, "0050612").class.as_deref(), Some("control"));
    assert!(found.unused_rows.is_empty(), "{:?}", found.unused_rows);
}

#[test]
fn fifteen_whole_rows() {
    assert_eq!(PUBLIC_DATA_SETS.len(), 15);
    let names: BTreeSet<_> = PUBLIC_DATA_SETS.iter().map(|set| set.name).collect();
    assert_eq!(names.len(), 15);
    let pretraining = PUBLIC_DATA_SETS.iter().filter(|set| set.purpose == Purpose::Pretraining);
    let (cases, images) = pretraining
        .fold((0, 0), |(cases, images), set| (cases + set.cases, images + set.cases * set.modalities.len()));
    assert_eq!((cases, images), (3755, 16_022), "the sums of the paper");
    for set in PUBLIC_DATA_SETS {
        if let Some(scheme) = set.label_scheme {
            assert!(scheme.parse::<LabelScheme>().is_ok(), "{}: {scheme}", set.name);
        }
        assert_eq!(set.purpose == Purpose::Classification, !set.classes.is_empty(), "{}", set.name);
        for pattern in set.files {
            let regex = regex::Regex::new(pattern.path).unwrap();
            assert!(pattern.only.is_some() || regex.capture_names().flatten().any(|name| name == "mod"));
        }
        for text in [set.archive, set.terms, set.citation, set.note, set.split] {
            assert!(!text.is_empty() && !text.contains("http"), "{}: {text}", set.name);
        }
    }
}

#[test]
fn words_of_tables_become_classes() {
    let class = |set: &str, word: &str| public_data_set(set).unwrap().class_of(word);
    assert_eq!([class("abide1", "1"), class("abide1", "2")], ["autism", "control"]);
    assert_eq!([class("adhd200", "0"), class("adhd200", "3")], ["control", "ADHD"]);
    assert_eq!([class("adni", "LMCI"), class("adni", "CN"), class("adni", "SMC")], ["MCI", "NC", "SMC"]);
}
