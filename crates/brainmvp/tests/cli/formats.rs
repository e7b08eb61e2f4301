//! FreeSurfer's and NRRD files where NIfTI files are taken.

use std::io::Write as _;
use std::path::Path;

use brainmvp::prep::cache::Cache;
use brainmvp::volume::{Modality, Volume, nifti};

use crate::program::Place;

/// The volume as big-endian floats with the place as directions and centre.
pub(crate) fn write_mgh(path: &Path, image: &Volume) {
    let (grid, spacing) = (image.grid(), image.grid().affine.spacing_mm());
    let mut bytes: Vec<u8> = Vec::new();
    let [x, y, z] = image.shape().map(|length| length as i32);
    bytes.extend([1, x, y, z, 1, 3, 0].into_iter().flat_map(i32::to_be_bytes));
    bytes.extend(1_i16.to_be_bytes());
    let centre = grid.affine.to_world(grid.shape.map(|length| length as f64 / 2.0));
    let linear = grid.affine.linear();
    let directions = (0..9).map(|at| linear[(at % 3, at / 3)] / spacing[at / 3]);
    for number in spacing.into_iter().chain(directions).chain(centre) {
        bytes.extend((number as f32).to_be_bytes());
    }
    bytes.resize(284, 0);
    bytes.extend(image.voxels().iter().flat_map(|voxel| voxel.to_be_bytes()));
    std::fs::write(path, bytes).unwrap();
}

/// The volume in Slicer's world.
fn write_nrrd(path: &Path, image: &Volume) {
    let rows = image.grid().affine.rows();
    let vector = |c: usize| format!("({},{},{})", -rows[0][c], -rows[1][c], rows[2][c]);
    let [x, y, z] = image.shape();
    let mut file = std::fs::File::create(path).unwrap();
    write!(
        file,
        "NRRD0004\ntype: float\ndimension: 3\nspace: left-posterior-superior\nsizes: {x} {y} {z}\n\
         space directions: {} {} {}\nendian: little\nencoding: raw\nspace origin: {}\n\n",
        vector(0),
        vector(1),
        vector(2),
        vector(3)
    )
    .unwrap();
    let bytes: Vec<u8> = image.voxels().iter().flat_map(|voxel| voxel.to_le_bytes()).collect();
    file.write_all(&bytes).unwrap();
}

#[test]
fn other_formats_give_the_same_cases() {
    let place = Place::new();
    let options = ["--size", "32", "--missing-rate", "0", "--modalities", "t1,flair", "--quiet"];
    place.run(&[&["phantom", "--out", "phantom", "--cases", "2"], &options[..]].concat()).succeeds();
    std::fs::create_dir(place.path("other")).unwrap();
    std::fs::create_dir(place.path("truth")).unwrap();
    for case in ["phantom-0001", "phantom-0002"] {
        let read =
            |name: &str| nifti::read(&place.path(format!("phantom/{case}/{case}_{name}.nii.gz"))).unwrap();
        write_mgh(&place.path(format!("other/{case}_t1.mgh")), &read("t1"));
        write_nrrd(&place.path(format!("other/{case}_flair.nrrd")), &read("flair"));
        write_mgh(&place.path(format!("other/{case}_seg.mgh")), &read("seg"));
        write_mgh(&place.path(format!("other/{case}_brain_mask.mgh")), &read("mask"));
        write_nrrd(&place.path(format!("truth/{case}.nrrd")), &read("seg"));
    }
    place.run(&["index", "other", "--out", "other.json"]).succeeds().prints(&["2 cases", "brain mask"]);
    place.run(&["check", "other.json"]).succeeds().prints(&["no problems"]);
    for (cohort, cache) in [("phantom/cohort.json", "expected"), ("other.json", "found")] {
        let preprocess = ["preprocess", cohort, "--out", cache, "--spacing", "6"];
        place.run(&preprocess).succeeds().prints(&["2 cases prepared"]);
    }
    let [expected, found] = ["expected", "found"].map(|dir| Cache::open(place.path(dir)).unwrap());
    for (a, b) in expected.cases().iter().zip(found.cases()) {
        let [a, b] = [expected.open_case(a).unwrap(), found.open_case(b).unwrap()];
        assert_eq!(a.shape(), b.shape());
        for modality in [Modality::T1, Modality::Flair] {
            let voxels = [&a, &b].map(|case| {
                let mut voxels = vec![0.0; a.shape().iter().product()];
                case.read_patch(modality, [0; 3], a.shape(), &mut voxels).unwrap();
                voxels
            });
            let apart = voxels[0].iter().zip(&voxels[1]).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(apart < 1e-3, "{modality}: {apart}");
        }
    }
    let evaluate = ["evaluate", "--pred", "truth", "--truth", "other.json", "--out", "metrics.json"];
    place.run(&evaluate).succeeds().prints(&["2 cases scored", "1.0000"]);
    let register =
        ["register", "--fixed", "other/phantom-0001_t1.mgh", "--moving", "other/phantom-0001_flair.nrrd"];
    place.run(&[&register[..], &["--out", "to.txt"]].concat()).succeeds();

    place.write("other/phantom-0002_t1.mgh", "\0\0\0\u{1}");
    place
        .run(&["check", "other.json"])
        .prints(&["phantom-0002_t1.mgh: truncated within the header"])
        .fails(2, &["1 of 2"]);
}
