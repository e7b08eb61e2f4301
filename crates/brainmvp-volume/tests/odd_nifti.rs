//! Unusual real files: each is read correctly or refused with the reason.
//!
//! The files are those of [`test_data`].

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a failing test may panic, and a skipped one says so"
)]

use std::path::{Path, PathBuf};

use brainmvp_golden::test_data;
use brainmvp_volume::nifti::{self, Placement};
use nifti::Datatype::{self, F32, F64, I8, I16, I32, I64, U8, U16, U32, U64};
use nifti_oracle::{NiftiObject, NiftiVolume, RandomAccessNiftiVolume, ReaderOptions};

extern crate nifti as nifti_oracle;

enum Expected {
    /// Shape, type, placement, the affine's diagonal and origin, and the sum of the voxels that are numbers.
    Read([usize; 3], Datatype, Placement, [f64; 3], [f64; 3], f64),
    /// Words of the reason.
    Refused(&'static str),
}
use Expected::{Read, Refused};
use Placement::{Qform, Sform, Spacing};

const ONE: [f64; 3] = [1.0; 3];
const ZERO: [f64; 3] = [0.0; 3];
const CUBE: [usize; 3] = [3; 3];
const SMALL: Expected = Read([64, 64, 10], U8, Spacing, [3.0; 3], ZERO, 1_290_240.0);

const fn cube(datatype: Datatype) -> Expected {
    Read(CUBE, datatype, Sform, ONE, ZERO, 351.0)
}

#[rustfmt::skip]
const FILES: &[(&str, Expected)] = &[
    ("nibabel/anatomical.nii", Read([33, 41, 25], I16, Sform, [-2.0, 2.0, 2.0], [32.0, -40.0, -16.0], 284_166_082.0)),
    ("nibabel/example_nifti2.nii.gz", Refused("4-D with 2 volumes of 32x20x12")),
    ("nibabel/functional.nii", Refused("4-D with 20 volumes of 17x21x3")),
    ("nibabel/resampled_anat_moved.nii", Read([17, 21, 3], F32, Sform, [-4.0, 4.0, 8.0], [32.0, -40.0, 0.0], 7_749_957.098_663)),
    ("nibabel/someones_epi.nii.gz", Read([53, 61, 33], U8, Sform, [3.0, 2.866009473800659, 2.866009473800659], [-78.0, -76.0, -64.0], 4_873_536.846)),
    ("nifti-rs/27/float32.nii", cube(F32)),
    ("nifti-rs/27/float64.nii", cube(F64)),
    ("nifti-rs/27/int16.nii", cube(I16)),
    ("nifti-rs/27/int32.nii", cube(I32)),
    ("nifti-rs/27/int64.nii", cube(I64)),
    ("nifti-rs/27/int8.nii", cube(I8)),
    ("nifti-rs/27/uint16.nii", cube(U16)),
    ("nifti-rs/27/uint32.nii", cube(U32)),
    ("nifti-rs/27/uint64.nii", cube(U64)),
    ("nifti-rs/27/uint8.nii", cube(U8)),
    ("nifti-rs/avg152T1_LR_nifti.hdr.gz", Refused("avg152T1_LR_nifti.img.gz")),
    ("nifti-rs/avg152T1_LR_nifti.nii.gz", Read([91, 109, 91], U8, Sform, [-2.0, 2.0, 2.0], [90.0, -126.0, -72.0], 74_825_382.0)),
    ("nifti-rs/complex/complex32.nii", Refused("complex")),
    ("nifti-rs/complex/complex64.nii", Refused("complex")),
    ("nifti-rs/f32.nii.gz", Read([11, 11, 11], F32, Sform, ONE, ZERO, 166.000_000_715)),
    ("nifti-rs/minimal.hdr", SMALL),
    ("nifti-rs/minimal.hdr.gz", SMALL),
    ("nifti-rs/minimal.img", SMALL),
    ("nifti-rs/minimal.img.gz", SMALL),
    ("nifti-rs/minimal.nii", SMALL),
    ("nifti-rs/minimal.nii.gz", SMALL),
    ("nifti-rs/minimal2.hdr", SMALL),
    ("nifti-rs/minimal2.img.gz", SMALL),
    ("nifti-rs/minimal_extended_hdr.nii", Read([8, 8, 1], F64, Sform, ONE, ZERO, 0.0)),
    ("nifti-rs/rgb/3D.nii", Refused("RGB")),
    ("nifti-rs/rgb/4D.nii", Refused("RGB")),
    ("nifti-rs/rgba/4D.nii", Refused("RGBA")),
    ("nifti-rs/zstat1.nii.gz", Read([64, 64, 21], F32, Qform, [-4.0, 4.0, 6.0], ZERO, 11_648.372_022)),
];

fn files_under(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files_under(&path, found) } else { found.push(path) }
    }
}

#[test]
fn every_odd_file_is_read_right_or_refused() {
    let Some(folder) = test_data("odd-nifti") else { return };
    let mut found = Vec::new();
    files_under(&folder, &mut found);
    for path in &found {
        let name = path.strip_prefix(&folder).unwrap().to_str().unwrap();
        assert!(FILES.iter().any(|(file, _)| *file == name), "{name} is not in the table");
    }
    for (name, expected) in FILES {
        let result = nifti::read(&folder.join(name));
        match expected {
            Refused(words) => {
                let message = result.expect_err(name).to_string();
                assert!(message.contains(words), "{name}: {message}");
                assert!(
                    message.contains(Path::new(name).file_name().unwrap().to_str().unwrap()),
                    "{message}"
                );
            }
            Read(shape, datatype, placement, diagonal, origin, sum) => {
                let volume = result.unwrap_or_else(|error| panic!("{error}"));
                let header = nifti::read_header(&folder.join(name)).unwrap();
                assert_eq!(
                    (header.shape(), header.datatype, header.placement),
                    (*shape, *datatype, *placement),
                    "{name}"
                );
                assert_eq!(*volume.grid(), header.grid, "{name}");
                let linear = header.grid.affine.linear();
                for axis in 0..3 {
                    assert!((linear[(axis, axis)] - diagonal[axis]).abs() < 1e-6, "{name}: {linear}");
                    assert!((header.grid.affine.origin_mm()[axis] - origin[axis]).abs() < 1e-6, "{name}");
                }
                let total: f64 = volume.voxels().iter().filter(|v| !v.is_nan()).map(|v| f64::from(*v)).sum();
                assert!((total - sum).abs() <= 1e-6 * sum.abs(), "{name}: sum {total}");
            }
        }
    }
}

#[test]
fn voxels_equal_those_of_an_independent_reader() {
    let Some(folder) = test_data("") else { return };
    let mut found = Vec::new();
    for part in ["odd-nifti", "singles", "isles22-0009", "templates", "brats-gli-00001", "tcga-fg-6692/raw"] {
        files_under(&folder.join(part), &mut found);
    }
    let mut compared = 0;
    for path in found {
        let Ok(volume) = nifti::read(&path) else { continue };
        let Ok(oracle) = ReaderOptions::new().read_file(&path) else { continue };
        let oracle = oracle.into_volume();
        let rank = oracle.dim().len();
        let [nx, ny, nz] = volume.shape();
        // A step that is prime to the sizes reaches voxels all over a large volume.
        for offset in (0..nx * ny * nz).step_by(if nx * ny * nz > 100_000 { 97 } else { 1 }) {
            let [x, y, z] = volume.grid().voxel(offset).map(|index| index as u16);
            let index = [x, y, z, 0, 0, 0, 0];
            let expected = oracle.get_f64(&index[..rank]).unwrap() as f32;
            let value = volume.voxels()[offset];
            let equal = value == expected || (value.is_nan() && expected.is_nan());
            let close = (value - expected).abs() <= 1e-6 * expected.abs();
            assert!(
                equal || close,
                "{}: voxel ({x}, {y}, {z}) is {value}, expected {expected}",
                path.display()
            );
        }
        compared += 1;
    }
    eprintln!("{compared} files compared");
    assert!(compared >= 30, "only {compared} files could be compared");
}

#[test]
fn label_maps_are_told_from_images() {
    let Some(folder) = test_data("") else { return };
    let labels = nifti::read_labels(&folder.join("brats-gli-00001/seg-BraTS23_1.nii.gz")).unwrap();
    assert_eq!(labels.voxels().iter().max(), Some(&3));
    let image =
        folder.join("tcga-fg-6692/reference/normalized_bet/OtherEXampleFromTCIA_t1c_bet_normalized.nii.gz");
    let message = nifti::read_labels(&image).unwrap_err().to_string();
    assert!(message.contains("voxel ("), "{message}");
}
