//! A patient's four raw series, and the atlas SRI24, compared with the transforms of a known pipeline.
//!
//! The files are those of [`test_data`].

#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::path::Path;
use std::time::Instant;

use brainmvp_golden::test_data;
use brainmvp_registration::{Motion, Options, Pyramid, Registration, Transform, register};
use brainmvp_volume::{Volume, nifti};

/// A matrix of NiftyReg: floating mm from reference mm, RAS+.
fn niftyreg(path: &Path) -> Transform {
    let text = std::fs::read_to_string(path).unwrap();
    let numbers: Vec<f64> = text.split_whitespace().map(|n| n.parse().unwrap()).collect();
    Transform::from_rows(std::array::from_fn(|r| std::array::from_fn(|c| numbers[4 * r + c])))
}

/// Degrees and the largest distance in mm over the surface of a brain mask.
fn error(found: &Transform, truth: &Transform, surface: &[[f64; 3]]) -> (f64, f64) {
    let back = found.inverse().unwrap().after(truth);
    let mm = surface.iter().map(|place| found.distance_mm(truth, *place)).fold(0.0, f64::max);
    (back.rotation_deg(), mm)
}

/// Voxels of the mask next to one outside, in mm.
fn surface(mask: &Volume) -> Vec<[f64; 3]> {
    let grid = mask.grid();
    let inside = |voxel: [usize; 3]| mask.at(voxel) > 0.0;
    let voxels = (0..grid.len()).map(|offset| grid.voxel(offset)).filter(|voxel| {
        inside(*voxel)
            && (0..3).any(|axis| {
                let beside = |step: isize| {
                    let mut other = *voxel;
                    other[axis] = other[axis].saturating_add_signed(step);
                    other[axis] < grid.shape[axis] && !inside(other)
                };
                beside(1) || beside(-1)
            })
    });
    voxels.map(|voxel| grid.affine.to_world(voxel.map(|v| v as f64))).collect()
}

fn timed(fixed: &Volume, moving: &Volume, motion: Motion) -> Registration {
    let started = Instant::now();
    let (a, b) = (Pyramid::new(fixed).unwrap(), Pyramid::new(moving).unwrap());
    let prepared = started.elapsed().as_secs_f64();
    let found = register(&a, &b, &Options { motion, ..Options::default() }).unwrap();
    println!("{:.3} s, of which {prepared:.3} s preparation", started.elapsed().as_secs_f64());
    found
}

#[test]
fn raw_series_agree_with_niftyreg() {
    let Some(case) = test_data("tcga-fg-6692") else { return };
    let raw = |name: &str| nifti::read(&case.join(format!("raw/{name}.nii.gz"))).unwrap();
    let surface = surface(&nifti::read(&case.join("native-masks/t1c.nii.gz")).unwrap());
    let fixed = raw("t1c");
    for name in ["t1", "t2", "flair"] {
        let truth = niftyreg(&case.join(format!("reference/co-registration/co__t1c__{name}.txt")));
        let found = timed(&fixed, &raw(name), Motion::Rigid);
        let (degrees, mm) = error(&found.transform, &truth, &surface);
        println!("{name}: {degrees:.3} degrees, {mm:.3} mm");
        assert!(degrees < 1.0 && mm < 1.5, "{name}: {degrees} degrees, {mm} mm");
    }
}

#[test]
fn registrations_of_four_series_agree_with_each_other() {
    let Some(case) = test_data("tcga-fg-6692") else { return };
    let read = |kind: &str, name: &str| nifti::read(&case.join(format!("{kind}/{name}.nii.gz"))).unwrap();
    let names = ["t1c", "t1", "t2", "flair"];
    let series = names.map(|name| Pyramid::new(&read("raw", name)).unwrap());
    let surfaces = names.map(|name| surface(&read("native-masks", name)));
    let onto = |i: usize, j: usize| register(&series[i], &series[j], &Options::default()).unwrap().transform;
    let transforms: Vec<Vec<Transform>> = (0..4).map(|i| (0..4).map(|j| onto(i, j)).collect()).collect();
    let (mut back, mut around) = (Vec::new(), Vec::new());
    for (i, j) in (0..16).map(|pair| (pair / 4, pair % 4)).filter(|(i, j)| i != j) {
        let there = transforms[i][j];
        back.push(error(&transforms[j][i].inverse().unwrap(), &there, &surfaces[i]).1);
        for k in (0..4).filter(|k| *k != i && *k != j) {
            around.push(error(&transforms[j][k].after(&there), &transforms[i][k], &surfaces[i]).1);
        }
    }
    let mean = |mm: &[f64]| mm.iter().sum::<f64>() / mm.len() as f64;
    let (back, around) = (mean(&back), mean(&around));
    println!("there and back {back:.3} mm, via a third series {around:.3} mm");
    assert!(back < 0.3 && around < 0.8, "{back} {around}");
}

#[test]
fn a_raw_series_goes_to_the_atlas_as_with_niftyreg() {
    let (Some(case), Some(templates)) = (test_data("tcga-fg-6692"), test_data("templates")) else { return };
    let moving = nifti::read(&case.join("raw/t1c.nii.gz")).unwrap();
    let fixed = nifti::read(&templates.join("sri24_t1_1mm_skull_stripped.nii.gz")).unwrap();
    let truth = niftyreg(&case.join("reference/atlas-registration/atlas__t1c.txt"));
    let mask = nifti::read(&case.join("reference/brain-extraction/atlas_bet_t1c_mask.nii.gz")).unwrap();
    let surface = surface(&mask);
    for motion in [Motion::Rigid, Motion::Affine] {
        let found = timed(&fixed, &moving, motion);
        let (degrees, mm) = error(&found.transform, &truth, &surface);
        println!("{motion:?}: {degrees:.3} degrees, {mm:.3} mm, scales {:?}", found.transform.scales());
        // No closer: the reference was registered to SRI24 with its head. NiftyReg itself, given the stripped one, ends
        // as far from it. See docs/measurements.md.
        assert!(degrees < 3.0 && mm < 9.0, "{motion:?}: {degrees} degrees, {mm} mm");
    }
}
