//! Faces are found where they are, and never where the brain is.
//!
//! The real files are those of [`test_data`].

#![allow(clippy::unwrap_used, clippy::print_stdout)]

use brainmvp_golden::test_data;
use brainmvp_phantom::{Head, PhantomConfig, draw_subject};
use brainmvp_prep::brain::BrainPrior;
use brainmvp_prep::{Face, NoFace, erased_value};
use brainmvp_volume::Modality::{T1, T2};
use brainmvp_volume::orientation::Reorientation;
use brainmvp_volume::resample::{Interpolation, onto_grid};
use brainmvp_volume::{Affine, Grid, LabelMap, Volume, nifti};

/// Places of the standard head that belong to the face: the nose, the mouth, the chin.
const FACE_MM: [[f64; 3]; 3] = [[0.0, 96.0, -48.0], [0.0, 80.0, -90.0], [0.0, 82.0, -108.0]];

/// The eyes. In a T2 alone they may be taken for a part of the brain, which stays.
const EYES_MM: [[f64; 3]; 2] = [[32.0, 66.0, -38.0], [-32.0, 66.0, -38.0]];

/// Places that do not: the forehead, the crown, the back of the head, the neck, the ears.
const OTHERS_MM: [[f64; 3]; 6] = [
    [0.0, 82.0, 35.0],
    [0.0, -10.0, 88.0],
    [0.0, -115.0, 0.0],
    [0.0, -60.0, -90.0],
    [82.0, -22.0, -30.0],
    [-82.0, -22.0, -30.0],
];

fn find(images: &[&Volume]) -> Face {
    Face::find(images, &BrainPrior::built_in()).unwrap()
}

/// The mean of every `count` slices along an axis.
fn thick<T: Copy + Into<f64>>(volume: &Volume<T>, axis: usize, count: usize) -> Volume {
    let grid = volume.grid();
    let mut shape = grid.shape;
    shape[axis] /= count;
    let mut rows = grid.affine.rows();
    let mut first = [0.0; 3];
    first[axis] = (count as f64 - 1.0) / 2.0;
    let origin = grid.affine.to_world(first);
    rows.iter_mut().zip(origin).for_each(|(row, mm)| {
        row[axis] *= count as f64;
        row[3] = mm;
    });
    let thick = Grid::new(shape, Affine::from_rows(rows));
    let mean = |v: usize| {
        let mut voxel = thick.voxel(v);
        voxel[axis] *= count;
        let slices = (0..count).map(|i| {
            let mut at = voxel;
            at[axis] += i;
            volume.at(at).into()
        });
        (slices.sum::<f64>() / count as f64) as f32
    };
    Volume::new(thick, (0..thick.len()).map(mean).collect())
}

/// The face does not touch the mask (above 0), and is at the places of one; `eyes` are those that must be of it.
fn check(face: &Face, mask: &Volume, eyes: &[[f64; 3]], what: &str) {
    let grid = mask.grid();
    let erased = face.on(grid);
    let overlap =
        erased.iter().zip(mask.voxels()).filter(|(erased, inside)| **erased && **inside > 0.0).count();
    assert_eq!(overlap, 0, "{what}: voxels of the brain");
    let into = grid.affine.inverse().unwrap();
    let at = |mm: [f64; 3]| {
        let voxel = into.to_world(mm).map(f64::round);
        let inside = (0..3).all(|axis| voxel[axis] >= 0.0 && voxel[axis] < grid.shape[axis] as f64);
        inside.then(|| erased[grid.offset(voxel.map(|i| i as usize))])
    };
    for place in FACE_MM.iter().chain(eyes) {
        assert_ne!(at(*place), Some(false), "{what}: {place:?} stays");
    }
    for place in OTHERS_MM {
        assert_ne!(at(place), Some(true), "{what}: {place:?} is erased");
    }
}

#[test]
fn faces_of_phantoms() {
    let modalities = vec![T1, T2];
    let config = PhantomConfig {
        size: 64,
        head: Head::Whole,
        modalities,
        missing_rate: 0.0,
        ..PhantomConfig::default()
    };
    let case = draw_subject(&config, 1).render();
    let mask = case.brain_mask.map(f32::from);
    let [t1, t2] = [&case.images[&T1], &case.images[&T2]];
    check(&find(&[t1]), &mask, &EYES_MM, "T1");
    check(&find(&[t2]), &mask, &[], "T2");
    // Slices of 7.5 mm beside an isotropic image: both have one face.
    let together = find(&[t1, &thick(t2, 2, 2)]);
    check(&together, &mask, &[], "both");
    check(&together, &thick(&case.brain_mask, 2, 2), &[], "both, on thick slices");
    check(&find(&[&thick(t1, 0, 2)]), &thick(&case.brain_mask, 0, 2), &EYES_MM, "sagittal slices");
    // However the voxels are stored.
    let order = Reorientation::all().nth(29).unwrap();
    let [stored, mask] = [order.apply(t1), order.apply(&mask)];
    check(&find(&[&stored]), &mask, &EYES_MM, "another order");
}

#[test]
fn without_a_brain_there_is_no_face() {
    let grid = Grid::new([60; 3], Affine::from_spacing([4.0; 3], [-118.0; 3]));
    let flat = Volume::filled(grid, 1.0);
    let error = Face::find(&[&flat], &BrainPrior::built_in()).unwrap_err();
    assert!(matches!(error, NoFace::NoBrain(_)) && error.to_string().contains("contrast"), "{error}");
    let distance = |v: usize| {
        let at = grid.affine.to_world(grid.voxel(v).map(|i| i as f64));
        at.iter().map(|mm| mm * mm).sum::<f64>().sqrt()
    };
    // A bottle of 7 cm, with structure in it.
    let small = (0..grid.len()).map(|v| if distance(v) < 35.0 { 50.0 + (v % 7) as f32 } else { 0.0 });
    let small = Volume::new(grid, small.collect());
    assert!(Face::find(&[&small], &BrainPrior::built_in()).is_err());
}

#[test]
fn what_is_erased_looks_like_air() {
    let grid = Grid::new([30; 3], Affine::from_spacing([4.0; 3], [0.0; 3]));
    let image = |air: &dyn Fn(usize) -> f32| {
        let inside = |v: usize| grid.voxel(v).iter().all(|i| (8..22).contains(i));
        Volume::new(grid, (0..grid.len()).map(|v| if inside(v) { 500.0 } else { air(v) }).collect())
    };
    assert_eq!(erased_value(&image(&|_| -1024.0)), -1024.0);
    let noise = erased_value(&image(&|v| 10.0 + (v * 7919 % 13) as f32 / 4.0));
    assert!((10.0..13.5).contains(&noise), "{noise}");
    let any = Volume::new(grid, (0..grid.len()).map(|v| (v * 7919 % 1000) as f32 + 5.0).collect());
    assert!((5.0..1005.0).contains(&erased_value(&any)));
}

/// Real heads with masks of their brains by other programs. The masks of HD-BET and of the template are not those that the face is found by.
#[test]
fn real_brains_stay_whole() {
    let heads: [(&str, &[[&str; 2]]); 2] = [
        ("MNI152", &[["templates/MNI152_T1_2mm.nii.gz", "templates/MNI152_T1_2mm_Brain_Mask.nii.gz"]]),
        (
            "TCGA-FG-6692",
            &[
                ["tcga-fg-6692/raw/t1.nii.gz", "tcga-fg-6692/native-masks/t1.nii.gz"],
                ["tcga-fg-6692/raw/t1c.nii.gz", "tcga-fg-6692/native-masks/t1c.nii.gz"],
                ["tcga-fg-6692/raw/t2.nii.gz", "tcga-fg-6692/native-masks/t2.nii.gz"],
                ["tcga-fg-6692/raw/flair.nii.gz", "tcga-fg-6692/native-masks/flair.nii.gz"],
            ],
        ),
    ];
    for (name, files) in heads {
        let read = |[image, mask]: &[&str; 2]| {
            let [image, mask] = [test_data(image)?, test_data(mask)?];
            Some((nifti::read(&image).unwrap(), nifti::read(&mask).unwrap()))
        };
        let Some(images) = files.iter().map(read).collect::<Option<Vec<_>>>() else { continue };
        let face = find(&images.iter().map(|(image, _)| image).collect::<Vec<_>>());
        for (image, mask) in &images {
            let erased = face.on(image.grid());
            let count = |inside: &dyn Fn(usize) -> bool| (0..erased.len()).filter(|v| inside(*v)).count();
            let brain = count(&|v| mask.voxels()[v] > 0.0);
            let lost = count(&|v| mask.voxels()[v] > 0.0 && erased[v]);
            let ml = count(&|v| erased[v]) as f64 * image.grid().voxel_mm3() / 1000.0;
            println!("{name}: {lost} of {brain} voxels of the brain are lost, {ml:.0} ml erased");
            assert_eq!(lost, 0, "{name}");
            assert!(ml > 100.0, "{name}");
        }
    }
}

/// A mask is that of another grid, too: the face is a region of the world.
#[test]
fn the_face_is_one_region_of_the_world() {
    let config =
        PhantomConfig { size: 64, head: Head::Whole, modalities: vec![T1], ..PhantomConfig::default() };
    let case = draw_subject(&config, 3).render();
    let image = &case.images[&T1];
    let face = find(&[image]);
    let rows = [[1.2, 0.3, 0.0, -95.0], [-0.3, 1.2, 0.1, -80.0], [0.0, -0.2, 3.0, -110.0]];
    let other = Grid::new([150, 150, 60], Affine::from_rows(rows));
    let [here, there] = [*image.grid(), other].map(|grid| {
        let erased = face.on(&grid).into_iter().map(u16::from).collect();
        LabelMap::new(grid, erased)
    });
    let moved = onto_grid(&here, &other, Interpolation::Nearest, 0);
    let inside = onto_grid(&LabelMap::filled(*image.grid(), 1), &other, Interpolation::Nearest, 0);
    let compared: Vec<_> = (0..other.len()).filter(|v| inside.voxels()[*v] > 0).collect();
    let differ = compared.iter().filter(|v| moved.voxels()[**v] != there.voxels()[**v]).count();
    assert!(compared.len() > 100_000 && differ < compared.len() / 50, "{differ} of {}", compared.len());
}
