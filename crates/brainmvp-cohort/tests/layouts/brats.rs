//! BraTS folders of every year.

use brainmvp_cohort::layouts::{IndexOptions, index};
use brainmvp_volume::Modality::T1c;

use crate::trees::{GLIOMA, auto, case, ids, modalities, name, tree};

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
