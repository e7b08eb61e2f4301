//! Properties that hold for any volume, and readers that survive any bytes.

#![allow(clippy::unwrap_used, reason = "a failing test may panic")]

mod handmade;

use std::io::Write;
use std::path::Path;

use brainmvp_volume::nifti::{self, Datatype, WriteOptions};
use brainmvp_volume::orientation::{self, Reorientation};
use brainmvp_volume::resample::{Interpolation, grid_at_spacing, onto_grid, to_spacing};
use brainmvp_volume::{Affine, Grid, LabelMap, Volume};
use flate2::{Compression, write::GzEncoder};
use handmade::Handmade;
use proptest::array::uniform3;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use tempfile::TempDir;

/// Any rotation, voxels of 0.3 to 6 mm, either handedness.
fn affine() -> impl Strategy<Value = Affine> {
    (uniform3(-3.0..3.0_f64), uniform3(0.3..6.0_f64), uniform3(-200.0..200.0_f64), any::<bool>()).prop_map(
        |(angles, mut spacing, origin, mirrored)| {
            if mirrored {
                spacing[2] = -spacing[2];
            }
            let turn = |axis: usize, angle: f64| {
                let (sin, cos) = angle.sin_cos();
                let (a, b) = ((axis + 1) % 3, (axis + 2) % 3);
                let mut rows = [[0.0; 4]; 3];
                rows[axis][axis] = 1.0;
                (rows[a][a], rows[a][b], rows[b][a], rows[b][b]) = (cos, -sin, sin, cos);
                Affine::from_rows(rows)
            };
            let scale = Affine::from_spacing(spacing, [0.0; 3]);
            let rotated =
                turn(0, angles[0]).after(&turn(1, angles[1])).after(&turn(2, angles[2])).after(&scale);
            Affine::from_spacing([1.0; 3], origin).after(&rotated)
        },
    )
}

fn grid(longest: usize) -> impl Strategy<Value = Grid> {
    (uniform3(1..=longest), affine()).prop_map(|(shape, affine)| Grid::new(shape, affine))
}

fn image(longest: usize) -> impl Strategy<Value = Volume> {
    grid(longest).prop_flat_map(|grid| {
        prop::collection::vec(-1e4..1e4_f32, grid.len()).prop_map(move |voxels| Volume::new(grid, voxels))
    })
}

fn labels(longest: usize) -> impl Strategy<Value = LabelMap> {
    (grid(longest), select(vec![1_u16, 255, 256, u16::MAX])).prop_flat_map(|(grid, highest)| {
        prop::collection::vec(0..=highest, grid.len()).prop_map(move |voxels| LabelMap::new(grid, voxels))
    })
}

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

/// The same cases in every run, and no file of failures.
fn config(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        failure_persistence: None,
        rng_seed: proptest::test_runner::RngSeed::Fixed(7),
        ..ProptestConfig::default()
    }
}

const NAMES: [&str; 6] = ["a.nii", "a.nii.gz", "a.hdr", "a.img", "a.hdr.gz", "a.img.gz"];

proptest! {
    #![proptest_config(config(200))]

    #[test]
    fn an_image_is_read_back_as_written(
        volume in image(9), datatype in select(Datatype::ALL.to_vec()), name in select(NAMES.to_vec()), text in ".{0,120}"
    ) {
        let folder = folder();
        let path = folder.path().join(name);
        nifti::write(&path, &volume, WriteOptions { datatype, description: text.clone(), ..WriteOptions::default() }).unwrap();
        let read = nifti::read(&path).unwrap();
        let header = nifti::read_header(&path).unwrap();
        prop_assert_eq!(header.datatype, datatype);
        prop_assert!(header.description.len() < 80);
        prop_assert_eq!(read.shape(), volume.shape());
        prop_assert!(read.grid().affine.close_to(&volume.grid().affine, 1e-4));
        // Values that do not fit an integer type are scaled to its range: at most half a step is lost.
        let steps = if datatype.size() == 1 { 255.0 } else { 65535.0 };
        let exact = matches!(datatype, Datatype::F32 | Datatype::F64);
        let tolerance = if exact { 0.0 } else { 2e4 / steps * 0.51 + 0.01 };
        for (a, b) in read.voxels().iter().zip(volume.voxels()) {
            prop_assert!((a - b).abs() <= tolerance, "{:?}: {} became {}", datatype, b, a);
        }
    }

    #[test]
    fn whole_numbers_are_exact_in_any_type_that_holds_them(labels in labels(9), datatype in select(Datatype::ALL.to_vec())) {
        let folder = folder();
        let path = folder.path().join("a.nii");
        let image = labels.map(f32::from);
        let highest = f64::from(*labels.voxels().iter().max().unwrap());
        let limit = match datatype { Datatype::I8 => 127.0, Datatype::U8 => 255.0, Datatype::I16 => 32767.0, _ => 65535.0 };
        nifti::write(&path, &image, WriteOptions { datatype, ..WriteOptions::default() }).unwrap();
        if highest <= limit {
            let read = nifti::read(&path).unwrap();
            prop_assert_eq!(read.voxels(), image.voxels());
            prop_assert_eq!(nifti::read_header(&path).unwrap().scaling, None);
        }
    }

    #[test]
    fn labels_are_read_back_as_written(labels in labels(9), name in select(NAMES.to_vec())) {
        let folder = folder();
        let path = folder.path().join(name);
        nifti::write_labels(&path, &labels, "labels").unwrap();
        let read = nifti::read_labels(&path).unwrap();
        prop_assert_eq!(read.voxels(), labels.voxels());
        prop_assert!(read.grid().same_place(labels.grid(), 1e-2));
        let small = labels.voxels().iter().all(|label| *label < 256);
        let expected = if small { Datatype::U8 } else { Datatype::U16 };
        prop_assert_eq!(nifti::read_header(&path).unwrap().datatype, expected);
    }

    #[test]
    fn the_qform_says_what_the_sform_says(volume in image(3)) {
        let folder = folder();
        let path = folder.path().join("a.nii");
        nifti::write(&path, &volume, WriteOptions::default()).unwrap();
        let mut bytes = std::fs::read(&path).unwrap();
        prop_assert_eq!(&bytes[252..256], &[1, 0, 1, 0]);
        bytes[254] = 0; // sform_code
        std::fs::write(&path, &bytes).unwrap();
        let header = nifti::read_header(&path).unwrap();
        prop_assert_eq!(header.placement, nifti::Placement::Qform);
        prop_assert!(header.grid.same_place(volume.grid(), 1e-2), "{:?}", header.grid);
    }

    #[test]
    fn any_storage_order_is_undone(volume in image(5), order in 0..48_usize) {
        let stored = Reorientation::all().nth(order).unwrap().apply(&volume);
        prop_assert!(stored.grid().same_lattice(volume.grid(), 1e-6));
        let order = Reorientation::between(stored.grid(), volume.grid(), 1e-6).unwrap();
        let back = order.apply(&stored);
        prop_assert_eq!(back.voxels(), volume.voxels());
        prop_assert!(back.grid().same_place(volume.grid(), 1e-6));
        prop_assert!((stored.grid().voxel_mm3() / volume.grid().voxel_mm3() - 1.0).abs() < 1e-9);
        let mut rows = volume.grid().affine.rows();
        rows[0][3] += 50.0;
        let elsewhere = Grid::new(volume.shape(), Affine::from_rows(rows));
        prop_assert!(!elsewhere.same_lattice(volume.grid(), 1.0));
    }

    #[test]
    fn reorientation_keeps_every_voxel_at_its_place(volume in image(7)) {
        let turn = Reorientation::to_ras(&volume.grid().affine);
        let oriented = orientation::to_ras(volume.clone());
        prop_assert_eq!(orientation::code(&oriented.grid().affine), "RAS");
        prop_assert!(Reorientation::to_ras(&oriented.grid().affine).is_identity());
        let back = volume.grid().affine.inverse().unwrap().after(&oriented.grid().affine);
        for offset in 0..oriented.grid().len() {
            let voxel = oriented.grid().voxel(offset);
            let source = back.to_world(voxel.map(|index| index as f64)).map(|index| index.round() as usize);
            prop_assert_eq!(oriented.at(voxel), volume.at(source));
        }
        let undone = turn.inverse().apply(&oriented);
        prop_assert_eq!(undone.voxels(), volume.voxels());
        prop_assert!(undone.grid().same_place(volume.grid(), 1e-6));
    }

    #[test]
    fn a_linear_ramp_stays_one(
        upright in grid(12), shear in prop_oneof![Just(0.0), -0.4..0.4_f64],
        slopes in uniform3(-3.0..3.0_f64), spacing in uniform3(0.4..4.0_f64)
    ) {
        // A tilted gantry shears the volume, so it cannot be resampled axis by axis.
        let tilt = Affine::from_rows([[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, shear, 0.0], [0.0, 0.0, 1.0, 0.0]]);
        let source = Grid::new(upright.shape, upright.affine.after(&tilt));
        let ramp = |grid: &Grid, offset: usize| {
            let place = grid.affine.to_world(grid.voxel(offset).map(|index| index as f64));
            (0..3).map(|axis| slopes[axis] * place[axis]).sum::<f64>()
        };
        let volume = Volume::new(source, (0..source.len()).map(|offset| ramp(&source, offset) as f32).collect());
        let to_source = |grid: &Grid| source.affine.inverse().unwrap().after(&grid.affine);
        let spaced = to_spacing(&volume, spacing, Interpolation::Trilinear);
        for axis in 0..3 {
            prop_assert!((spaced.grid().affine.spacing_mm()[axis] - spacing[axis]).abs() < 1e-9);
        }
        let turned = Grid::new(source.shape, source.affine.after(&Affine::from_rows(
            [[0.8, -0.6, 0.0, 0.1], [0.6, 0.8, 0.0, 0.2], [0.0, 0.0, 1.0, 0.3]])));
        for (result, beyond_is_nan) in
            [(spaced, false), (onto_grid(&volume, &turned, Interpolation::Trilinear, f32::NAN), true)]
        {
            let map = to_source(result.grid());
            for offset in 0..result.grid().len() {
                let index = map.to_world(result.grid().voxel(offset).map(|index| index as f64));
                let value = result.voxels()[offset];
                // How far beyond the outermost centres, in voxels.
                let beyond = (0..3)
                    .map(|axis| (-index[axis]).max(index[axis] - (source.shape[axis] as f64 - 1.0)))
                    .fold(f64::MIN, f64::max);
                if beyond <= 0.0 {
                    prop_assert!((f64::from(value) - ramp(result.grid(), offset)).abs() < 0.02, "{:?} {}", index, value);
                } else if (beyond - 0.5).abs() > 1e-3 {
                    prop_assert_eq!(value.is_nan(), beyond_is_nan && beyond > 0.5, "{:?}", index);
                }
            }
        }
    }

    #[test]
    fn the_same_grid_gives_the_same_voxels(volume in image(7), labels in labels(7)) {
        for interpolation in [Interpolation::Trilinear, Interpolation::Nearest] {
            prop_assert_eq!(&onto_grid(&volume, volume.grid(), interpolation, -1.0), &volume);
            prop_assert_eq!(&onto_grid(&labels, labels.grid(), interpolation, 9), &labels);
            let own = volume.grid().affine.spacing_mm();
            for spacing in [own, [0.0; 3], [f64::NAN; 3]] {
                let spaced = to_spacing(&volume, spacing, interpolation);
                prop_assert_eq!(spaced.voxels(), volume.voxels());
            }
        }
    }

    #[test]
    fn nearest_makes_no_new_labels(labels in labels(7), target in grid(9), spacing in uniform3(0.4..4.0_f64)) {
        let known = |label: &u16| labels.voxels().contains(label) || *label == 7;
        prop_assert!(onto_grid(&labels, &target, Interpolation::Nearest, 7).voxels().iter().all(known));
        prop_assert!(to_spacing(&labels, spacing, Interpolation::Nearest).voxels().iter().all(known));
    }

    #[test]
    fn the_separable_way_equals_the_general_way(volume in image(9), spacing in uniform3(0.4..4.0_f64)) {
        let target = grid_at_spacing(volume.grid(), spacing);
        let map = volume.grid().affine.inverse().unwrap().after(&target.affine);
        for interpolation in [Interpolation::Trilinear, Interpolation::Nearest] {
            let spaced = to_spacing(&volume, spacing, interpolation);
            let general = onto_grid(&volume, &target, interpolation, f32::NAN);
            for offset in 0..target.len() {
                let index = map.to_world(target.voxel(offset).map(|index| index as f64));
                // Of two equally near voxels, rounding may choose the other.
                let tie = index.iter().any(|index| (index.rem_euclid(1.0) - 0.5).abs() < 1e-6);
                let (a, b) = (spaced.voxels()[offset], general.voxels()[offset]);
                prop_assert!(b.is_nan() || tie || (a - b).abs() < 0.1, "{:?}: {} and {}", index, a, b);
            }
        }
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A small valid file of either version and byte order.
fn valid_file() -> impl Strategy<Value = Vec<u8>> {
    (1..=2_u8, any::<bool>(), select(vec![(2_i16, 1_usize), (4, 2), (16, 4), (64, 8), (1024, 8)])).prop_map(
        |(version, big_endian, (code, size))| {
            let mut made = Handmade::new(version, big_endian, &[3.0, 3.0, 4.0, 5.0], code);
            made.bytes.extend((0..60 * size).map(|i| i as u8));
            made.bytes
        },
    )
}

/// Whatever it is, it is read or refused; never a panic.
fn read_all_ways(path: &Path) {
    let _ = nifti::read_header(path);
    let _ = nifti::read_labels(path);
    if let Ok(volume) = nifti::read(path) {
        assert!(volume.grid().affine.is_usable());
        let _ = orientation::to_ras(volume);
    }
}

proptest! {
    #![proptest_config(config(600))]

    #[test]
    fn damaged_files_never_panic(
        mut bytes in valid_file(), pack in any::<bool>(), cut in proptest::option::of(any::<Index>()),
        changes in prop::collection::vec((any::<Index>(), any::<u8>()), 0..12), in_header in any::<bool>()
    ) {
        let folder = folder();
        let path = folder.path().join("a.nii");
        let damage = |bytes: &mut Vec<u8>| {
            for (place, value) in &changes {
                let end = if in_header { bytes.len().min(560) } else { bytes.len() };
                bytes[place.index(end)] = *value;
            }
            if let Some(cut) = &cut {
                bytes.truncate(cut.index(bytes.len()));
            }
        };
        // Damage to the content and to the compression.
        if pack {
            std::fs::write(&path, gzip(&{ let mut inner = bytes.clone(); damage(&mut inner); inner })).unwrap();
            read_all_ways(&path);
            bytes = gzip(&bytes);
        }
        damage(&mut bytes);
        std::fs::write(&path, &bytes).unwrap();
        read_all_ways(&path);
    }

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..700), packed_magic in any::<bool>()) {
        let folder = folder();
        let path = folder.path().join("a.nii");
        let start: &[u8] = if packed_magic { &[0x1f, 0x8b, 8, 0] } else { &[] };
        std::fs::write(&path, [start, &bytes].concat()).unwrap();
        read_all_ways(&path);
    }
}

#[test]
fn an_image_with_gaps_is_not_stored_as_integers() {
    let folder = folder();
    let grid = Grid::new([2, 1, 1], Affine::from_spacing([1.0; 3], [0.0; 3]));
    let volume = Volume::new(grid, vec![1.0, f32::NAN]);
    let options = WriteOptions { datatype: Datatype::I16, ..WriteOptions::default() };
    let error = nifti::write(&folder.path().join("a.nii"), &volume, options).unwrap_err();
    assert!(error.to_string().contains("NaN"));
    assert!(nifti::write(&folder.path().join("a.mha"), &volume, WriteOptions::default()).is_err());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn an_axis_longer_than_nifti_1_can_say_becomes_nifti_2() {
    let folder = folder();
    let grid = Grid::new([40_000, 1, 1], Affine::from_spacing([0.5, 1.0, 2.0], [1.0, 2.0, 3.0]));
    let volume = Volume::new(grid, (0..40_000).map(|i| i as f32).collect());
    for name in NAMES {
        let path = folder.path().join(name);
        nifti::write(&path, &volume, WriteOptions::default()).unwrap();
        assert_eq!(nifti::read_header(&path).unwrap().version, 2);
        assert_eq!(nifti::read(&path).unwrap(), volume);
    }
}

#[test]
fn a_file_can_be_placed_as_another_one_to_the_bit() {
    let folder = folder();
    let rows = [[-0.9, 0.01, 0.3, 81.25], [0.02, 1.1, -0.2, -60.5], [0.1, 0.3, 4.0, 3.1]];
    let grid = Grid::new([3, 4, 2], Affine::from_rows(rows));
    let first = folder.path().join("first.nii");
    nifti::write(&first, &Volume::filled(grid, 1.5), WriteOptions::default()).unwrap();
    // Codes, voxel sizes and quaternion that do not follow from the affine, as another program may write them.
    let mut bytes = std::fs::read(&first).unwrap();
    bytes[252..256].copy_from_slice(&[3, 0, 4, 0]);
    bytes[76..80].copy_from_slice(&(-1.0_f32).to_le_bytes());
    bytes[256..260].copy_from_slice(&0.25_f32.to_le_bytes());
    std::fs::write(&first, &bytes).unwrap();
    let header = nifti::read_header(&first).unwrap();
    let second = folder.path().join("second.nii");
    let labels = LabelMap::filled(header.grid, 2);
    nifti::write_labels_in(&second, &labels, "", Some(&header.geometry)).unwrap();
    let written = nifti::read_header(&second).unwrap();
    assert_eq!((&written.grid, &written.geometry), (&header.grid, &header.geometry));
    assert_eq!(written.geometry.codes(), [3, 4]);
    // From the voxel sizes to the end of the matrix all bytes are the same, except for scaling and text.
    let copy = std::fs::read(&second).unwrap();
    assert_eq!((&copy[76..108], &copy[252..328]), (&bytes[76..108], &bytes[252..328]));
}

/// The 48 orders of storing a volume are a group: two after each other are a third, and each is undone by one of them.
#[test]
fn orientations_are_a_group() {
    let affine = Affine::from_spacing([1.0, 2.0, 3.0], [-4.0, 5.0, 6.0]);
    let volume = Volume::new(Grid::new([2, 3, 4], affine), (0..24_u16).collect());
    let all: Vec<Reorientation> = Reorientation::all().collect();
    let stored: Vec<_> = all.iter().map(|order| order.apply(&volume)).collect();
    assert_eq!(all.len(), 48);
    assert!(all[0].is_identity());
    for (i, one) in stored.iter().enumerate() {
        assert_eq!(stored.iter().position(|other| other == one), Some(i), "all differ");
        assert_eq!(all[i].inverse().apply(one), volume);
        assert_eq!(stored.iter().filter(|other| all[i].apply(other) == volume).count(), 1, "one inverse");
        for other in &all {
            assert!(stored.contains(&other.apply(one)), "{:?} after {:?}", other, all[i]);
        }
    }
}

proptest! {
    #![proptest_config(config(64))]
    #[test]
    fn affines_are_undone_by_their_inverses(
        (a, b) in (affine(), affine()),
        voxel in uniform3(-300.0..300.0_f64),
    ) {
        let inverse = a.inverse().unwrap();
        let identity = Affine::from_spacing([1.0; 3], [0.0; 3]);
        prop_assert!(inverse.after(&a).close_to(&identity, 1e-9) && a.after(&inverse).close_to(&identity, 1e-9));
        let distance = |p: [f64; 3], q: [f64; 3]| (0..3).map(|i| (p[i] - q[i]).abs()).fold(0.0, f64::max);
        prop_assert!(distance(inverse.to_world(a.to_world(voxel)), voxel) < 1e-9);
        // What is composed is applied one after the other, and undone in the other order.
        prop_assert!(distance(b.after(&a).to_world(voxel), b.to_world(a.to_world(voxel))) < 1e-8);
        let undone = a.inverse().unwrap().after(&b.inverse().unwrap());
        prop_assert!(b.after(&a).inverse().unwrap().close_to(&undone, 1e-8));
    }

    #[test]
    fn resampling_is_linear(
        volume in image(6),
        target in grid(6),
        (a, b) in (-2.0..2.0_f32, -2.0..2.0_f32),
    ) {
        let other = volume.clone().map(|value| (value * 0.37).sin() * 1e4);
        let voxels = volume.voxels().iter().zip(other.voxels()).map(|(x, y)| a * x + b * y).collect();
        let sum = Volume::new(*volume.grid(), voxels);
        let [whole, one, two] =
            [&sum, &volume, &other].map(|volume| onto_grid(volume, &target, Interpolation::Trilinear, 0.0));
        for ((whole, one), two) in whole.voxels().iter().zip(one.voxels()).zip(two.voxels()) {
            prop_assert!((whole - (a * one + b * two)).abs() < 0.1, "{whole}, not {a} * {one} + {b} * {two}");
        }
    }
}

/// A file in big-endian order with free text, an extension, and a scaling.
fn talkative(voxels: &[i16]) -> Vec<u8> {
    let mut bytes = vec![0; 352];
    bytes[..4].copy_from_slice(&348_i32.to_be_bytes());
    for (axis, length) in [3_i16, 2, 3, 2, 1, 1, 1, 1].into_iter().enumerate() {
        bytes[40 + 2 * axis..][..2].copy_from_slice(&length.to_be_bytes());
    }
    bytes[70..72].copy_from_slice(&4_i16.to_be_bytes());
    bytes[72..74].copy_from_slice(&16_i16.to_be_bytes());
    for (field, value) in
        [(76, 1.0_f32), (80, 1.0), (84, 2.0), (88, 3.0), (108, 384.0), (112, 0.5), (116, 7.0)]
    {
        bytes[field..field + 4].copy_from_slice(&value.to_be_bytes());
    }
    for (offset, length) in [(4, 10), (14, 18), (148, 80), (228, 24), (328, 16)] {
        bytes[offset..offset + length].fill(b'N');
    }
    bytes[252..254].copy_from_slice(&1_i16.to_be_bytes());
    bytes[344..348].copy_from_slice(b"n+1\0");
    bytes[348] = 1;
    bytes.extend(32_i32.to_be_bytes());
    bytes.extend(6_i32.to_be_bytes());
    bytes.extend([b'N'; 24]);
    bytes.extend(voxels.iter().flat_map(|voxel| voxel.to_be_bytes()));
    bytes
}

#[test]
fn a_copy_has_the_voxels_and_the_place_and_nothing_else() {
    let stored: Vec<i16> = (0..12).map(|i| 1000 * i - 5000).collect();
    let folder = folder();
    let (from, to) = (folder.path().join("from.nii"), folder.path().join("to.nii"));
    std::fs::write(&from, talkative(&stored)).unwrap();
    nifti::copy(&from, &to, None).unwrap();
    let (before, after) = (nifti::read_header(&from).unwrap(), nifti::read_header(&to).unwrap());
    assert_eq!((before.datatype, before.scaling), (after.datatype, after.scaling));
    assert_eq!((before.grid, before.geometry), (after.grid, after.geometry));
    assert_eq!(nifti::read(&from).unwrap(), nifti::read(&to).unwrap());
    let bytes = std::fs::read(&to).unwrap();
    assert!(bytes.len() == 352 + 24 && !bytes.windows(3).any(|three| three == b"NNN"), "{}", bytes.len());
    // Some voxels are replaced by what is stored for the value, the others keep their bits.
    let voxels: Vec<bool> = (0..12).map(|i| i % 5 == 2).collect();
    let erased = nifti::Erased { voxels: voxels.clone(), value: 7.0 };
    nifti::copy(&from, &to, Some(&erased)).unwrap();
    let found: Vec<f32> = nifti::read(&to).unwrap().into_voxels();
    for ((found, stored), erased) in found.iter().zip(&stored).zip(voxels) {
        assert_eq!(*found, if erased { 7.0 } else { f32::from(*stored) * 0.5 + 7.0 });
    }
}
