//! Phantoms, whose images are exactly aligned: a known transform must be recovered.

#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr)]

use std::collections::BTreeMap;
use std::sync::LazyLock;

use brainmvp_phantom::{Head, PhantomConfig, draw_subject};
use brainmvp_registration::atlas::{AtlasOptions, average};
use brainmvp_registration::{Error, Motion, Options, Pyramid, Transform, register};
use brainmvp_volume::Modality::{Flair, T1, T2};
use brainmvp_volume::resample::{Interpolation, onto_grid};
use brainmvp_volume::{Affine, Grid, Modality, Volume};

/// T1, T2 and FLAIR of a subject at 3 mm, and its brain mask.
fn images(index: usize, head: Head) -> BTreeMap<Modality, Volume> {
    let size = if head == Head::Whole { 80 } else { 64 };
    let modalities = vec![T1, T2, Flair];
    let config = PhantomConfig { size, modalities, missing_rate: 0.0, head, ..PhantomConfig::default() };
    draw_subject(&config, index).render().images
}

static WHOLE: LazyLock<BTreeMap<Modality, Volume>> = LazyLock::new(|| images(0, Head::Whole));
static STRIPPED: LazyLock<BTreeMap<Modality, Volume>> = LazyLock::new(|| images(0, Head::Stripped));

/// Arbitrary rotations, and shifts up to 60 mm.
fn far_away(i: usize) -> Transform {
    let turn = |k: usize| (((i + 1) * k * 37 + 13 * k) % 360) as f64;
    let rotate = |degrees: f64, p: usize, q: usize| {
        let (sin, cos) = degrees.to_radians().sin_cos();
        let mut rows = [[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]];
        (rows[p][p], rows[q][q], rows[p][q], rows[q][p]) = (cos, cos, -sin, sin);
        Transform::from_rows(rows)
    };
    let mut rows = rotate(turn(5), 0, 1).after(&rotate(turn(7), 1, 2)).after(&rotate(turn(11), 0, 2)).rows();
    (0..3).for_each(|axis| rows[axis][3] = ((i + 1) * (axis + 3) * 29 % 120) as f64 - 60.0);
    Transform::from_rows(rows)
}

/// The largest distance between two transforms over the surface of a brain, in mm.
fn apart(found: &Transform, truth: &Transform) -> f64 {
    let ends = [[70.0, 0.0, 0.0], [0.0, 85.0, 0.0], [0.0, 0.0, 60.0]];
    let places = ends.iter().flat_map(|end| [1.0, -1.0].map(|side| end.map(|mm| mm * side)));
    let places = places.map(|[x, y, z]| [x, y - 17.0, z + 5.0]);
    places.map(|place| found.distance_mm(truth, place)).fold(0.0, f64::max)
}

/// Registers `moving`, displaced by `far`, to `fixed` and returns how far the result is from the truth.
#[track_caller]
fn missed_by(fixed: &Volume, moving: &Volume, far: &Transform, motion: Motion) -> f64 {
    let moved = far.move_volume(moving.clone()).unwrap();
    let options = Options { motion, ..Options::default() };
    let found = register(&Pyramid::new(fixed).unwrap(), &Pyramid::new(&moved).unwrap(), &options).unwrap();
    let mm = apart(&found.transform, &far.inverse().unwrap());
    println!("{mm:.3} mm, similarity {:.3}", found.similarity);
    mm
}

#[test]
fn any_start_and_contrast_is_found_to_half_a_millimetre() {
    for (i, (fixed, moving)) in
        [(T1, T2), (T2, Flair), (Flair, T1), (T1, T1), (T1, Flair)].into_iter().enumerate()
    {
        for images in [&*WHOLE, &*STRIPPED] {
            let mm = missed_by(&images[&fixed], &images[&moving], &far_away(i), Motion::Rigid);
            assert!(mm < 0.5, "{fixed} {moving} {i}: {mm}");
        }
    }
}

#[test]
fn headers_turned_by_right_angles_are_seen_through() {
    // The header claims wrong directions of the axes.
    for rows in [
        [[0.0, -1.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]],
        [[-1.0, 0.0, 0.0, 10.0], [0.0, -1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]],
        [[1.0, 0.0, 0.0, 0.0], [0.0, -1.0, 0.0, 0.0], [0.0, 0.0, -1.0, 20.0]],
        [[0.0, 0.0, 1.0, 0.0], [1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0]],
    ] {
        let mm = missed_by(&WHOLE[&T1], &WHOLE[&T2], &Transform::from_rows(rows), Motion::Rigid);
        assert!(mm < 0.5, "{rows:?}: {mm}");
    }
}

#[test]
fn thick_oblique_slices_are_placed_as_well() {
    let oblique = |rows| Grid::new([256, 256, 30], Affine::from_rows(rows));
    let axial = oblique([[-0.9, 0.0, 0.33, 112.0], [0.0, 0.9, -0.41, -120.0], [0.05, 0.06, 5.47, -90.0]]);
    let tilted = oblique([[-0.89, 0.0, 0.6, 105.0], [-0.02, 0.86, -1.57, -95.0], [0.1, 0.26, 5.26, -120.0]]);
    let thick = |image: &Volume, grid: &Grid| onto_grid(image, grid, Interpolation::Trilinear, 0.0);
    let (fixed, moving) = (thick(&WHOLE[&T1], &axial), thick(&WHOLE[&T2], &tilted));
    for far in [Transform::identity(), far_away(2)] {
        let mm = missed_by(&fixed, &moving, &far, Motion::Rigid);
        assert!(mm < 0.5, "{mm}");
    }
}

#[test]
fn scales_and_shears_are_found() {
    let stretch =
        Transform::from_rows([[1.1, 0.03, 0.0, 5.0], [0.0, 0.95, -0.04, 2.0], [0.02, 0.0, 1.05, -7.0]]);
    let mm = missed_by(&WHOLE[&T1], &WHOLE[&T2], &far_away(3).after(&stretch), Motion::Affine);
    // A quarter of a voxel at the ends of the brain: twelve parameters are less certain than six.
    assert!(mm < 0.75, "{mm}");
}

#[test]
fn a_brain_finds_its_place_in_a_head_and_a_head_around_a_brain() {
    for far in [Transform::identity(), far_away(1), far_away(4)] {
        for (fixed, moving) in [(&STRIPPED[&T1], &WHOLE[&T1]), (&WHOLE[&T1], &STRIPPED[&T2])] {
            let mm = missed_by(fixed, moving, &far, Motion::Rigid);
            assert!(mm < 1.0, "{mm}");
        }
    }
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let found = [1, 3].map(|threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let (fixed, moving) = (&STRIPPED[&T1], far_away(0).move_volume(STRIPPED[&T2].clone()).unwrap());
        pool.install(|| {
            let options = Options { motion: Motion::Affine, seed: 3, ..Options::default() };
            register(&Pyramid::new(fixed).unwrap(), &Pyramid::new(&moving).unwrap(), &options).unwrap()
        })
    });
    assert_eq!(found[0], found[1]);
}

#[test]
fn what_cannot_be_right_is_refused() {
    let head = Pyramid::new(&WHOLE[&T1]).unwrap();
    let grid = *WHOLE[&T1].grid();
    let scramble = |i: usize| ((i as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) as f32;
    let noise = Volume::new(grid, (0..grid.len()).map(scramble).collect());
    let result = register(&head, &Pyramid::new(&noise).unwrap(), &Options::default());
    assert!(matches!(result, Err(Error::Failed { .. })), "{result:?}");
    // A head of half the size is not a head.
    let small = Transform::from_rows([[0.5, 0.0, 0.0, 0.0], [0.0, 0.5, 0.0, 0.0], [0.0, 0.0, 0.5, 0.0]]);
    let small = Pyramid::new(&small.move_volume(WHOLE[&T2].clone()).unwrap()).unwrap();
    let options = Options { motion: Motion::Affine, ..Options::default() };
    let result = register(&head, &small, &options);
    assert!(matches!(result, Err(Error::Failed { .. })), "{result:?}");
}

#[test]
fn a_cohort_averages_into_an_atlas_that_its_images_fit() {
    let heads: Vec<Volume> = (0..3).map(|index| images(index, Head::Stripped).remove(&T1).unwrap()).collect();
    let read = |index: usize| Ok(far_away(index).move_volume(heads[index].clone()).unwrap());
    let options = AtlasOptions { rounds: 3, ..AtlasOptions::default() };
    let atlas = average(&heads[0], 3, &read, &options, &|_| {}).unwrap();
    assert_eq!((atlas.images, atlas.left_out.len()), (3, 0));
    let fits = |atlas: &Volume, image: &Volume| {
        let options = Options { motion: Motion::Affine, ..Options::default() };
        register(&Pyramid::new(atlas).unwrap(), &Pyramid::new(image).unwrap(), &options).unwrap().similarity
    };
    // The others fit the mean better than they fit the first one.
    for other in &heads[1..] {
        let (to_mean, to_first) = (fits(&atlas.mean, other), fits(&heads[0], other));
        assert!(to_mean > to_first, "{to_mean} {to_first}");
    }
}
