//! Folders of real images, where there are any.

use brainmvp_cohort::layouts::{IndexOptions, index};
use brainmvp_golden::test_data;
use brainmvp_volume::Modality::{self, Adc, Dwi, Flair, Mra, Pd, T1};

use crate::trees::{GLIOMA, case, modalities, name};

#[test]
fn real_folders() {
    let Some(data) = test_data("") else { return };
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

#[test]
fn a_real_cohort_in_folders_of_modalities() {
    let Some(data) = test_data("") else { return };
    let found = index(&data.join("nichart"), "auto", &IndexOptions::default()).unwrap();
    assert_eq!(found.cohort.cases.len(), 23);
    let whole = |case: &&brainmvp_cohort::Case| modalities(case) == [Flair, T1] && case.label.is_some();
    assert_eq!(found.cohort.cases.iter().filter(whole).count(), 23);
}
