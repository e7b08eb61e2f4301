//! Files of real scanners, compared with dcm2niix's results.
//!
//! The files are those of [`test_data`].

#![allow(clippy::unwrap_used)]

use brainmvp_dicom::{Series, scan};
use brainmvp_golden::test_data;
use brainmvp_volume::{Modality, Volume, nifti};

fn only_volume(series: &Series) -> Volume<f32> {
    let mut volumes = series.volumes().unwrap();
    assert_eq!(volumes.len(), 1);
    volumes.remove(0).read().unwrap()
}

#[test]
fn an_enhanced_adc_series_is_what_dcm2niix_makes_of_it() {
    let Some(folder) = test_data("dicom/xa30-adc") else { return };
    let scan = scan(&folder).unwrap();
    assert_eq!((scan.series.len(), scan.refused.len(), scan.others), (1, 0, 2));
    let finding = scan.series[0].volumes().unwrap().remove(0).finding;
    assert_eq!(finding.modality(), Some(Modality::Adc), "{}", finding.reason());
    let volume = only_volume(&scan.series[0]);
    let reference = nifti::read(&folder.join("11_DWI_dir80_PA.nii")).unwrap();
    assert_eq!(volume.shape(), reference.shape());
    let (ours, theirs) = (volume.grid().affine, reference.grid().affine);
    assert!(ours.close_to(&theirs, 1e-4), "{:?}\n{:?}", ours.rows(), theirs.rows());
    assert!(volume.voxels() == reference.voxels(), "voxels differ");
}

#[test]
fn one_image_in_four_encodings_is_one_image() {
    let Some(folder) = test_data("dicom/pydicom") else { return };
    let read = |name: &str| only_volume(&scan(&folder.join(name)).unwrap().series[0]);
    let plain = read("MR_small.dcm");
    assert_eq!(plain.shape(), [64, 64, 1]);
    // pydicom: the first and the last stored value, top left and bottom right.
    assert_eq!((plain.at([0, 63, 0]), plain.at([63, 0, 0])), (905.0, 862.0));
    for name in ["MR_small_RLE.dcm", "MR_small_bigendian.dcm", "MR_small_implicit.dcm"] {
        assert!(read(name) == plain, "{name}");
    }
}

#[test]
fn frames_without_a_place_are_refused() {
    let Some(folder) = test_data("dicom/pydicom") else { return };
    for name in ["emri_small.dcm", "emri_small_RLE.dcm"] {
        let scan = scan(&folder.join(name)).unwrap();
        let message = scan.refused[0].to_string();
        assert!(scan.series.is_empty());
        assert!(
            message.contains("10 frames, of which 0 have a position; convert it with dcm2niix"),
            "{message}"
        );
    }
}

#[test]
fn a_truncated_file_is_told_so() {
    let Some(folder) = test_data("dicom/pydicom") else { return };
    let scan = scan(&folder.join("MR_truncated.dcm")).unwrap();
    let message = scan.refused[0].to_string();
    assert!(scan.series.is_empty());
    assert!(message.contains("MR_truncated.dcm: truncated or corrupt: element (7FE0,0010)"), "{message}");
}
