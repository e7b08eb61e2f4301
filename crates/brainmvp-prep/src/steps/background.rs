//! Makes the background of every image 0, and what an image shows brighter than that.

use brainmvp_volume::connected::is_on_a_face;
use brainmvp_volume::{Noise, Volume, background, noise_around};
use rayon::prelude::*;
use serde_json::{Value, json};

use super::Step;
use crate::brain::PLAUSIBLE_ML;
use crate::brain::morphology::{fill_holes, fill_holes_of_slices, heaviest_component};
use crate::percentile::percentiles;
use crate::{CaseVolumes, PrepConfig, Result};

/// Finds the background of every image and makes it 0, by a rising line that no contrast depends on; every later step
/// takes 0 for "nothing here" and fills with it. An image in which it is 0 already, below everything else, stays as it
/// is, and so does one with a head in the noise of a magnitude image.
///
/// This is the first step: between a brain of -2 to 2 and air at -1024, interpolation would make a rim of any value.
pub(super) struct Background;

/// The background is below the tissue if it is no further above its 1st percentile than this part of the range from there
/// to the 99th: interpolation leaves ripples below 0 around a stripped brain, and air has noise.
const RIPPLES: f32 = 0.1;

/// Noise is around a level other than 0 if that is more than so many times its spread: the level of a magnitude image's noise is
/// twice its spread, and more if several coils were combined.
const LEVEL_SPREADS: f32 = 4.0;

/// A background further below the tissue than so many times its range was filled in: no brain is that much brighter than the values
/// within it differ.
const FILLED: f32 = 1.0;

/// The darkest tissue is this part of that range above a background amid the grey values.
const STEP: f32 = 0.01;

/// Percentiles are estimated from about as many voxels.
const SAMPLES: usize = 1 << 20;

/// What is done to an image.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Change {
    /// The background is 0 and below everything else, or there is no reason to think otherwise.
    None,
    /// The lowest value is taken as 0: a background below everything else, or noise around a level that is not 0.
    Lower {
        /// What is subtracted.
        by: f32,
    },
    /// The background has a value amid those of the tissue, as 0 in z-scores, one far below, or noise: the tissue begins just above
    /// it.
    Lift {
        /// The background.
        around: Around,
        /// The value of the tissue that comes to lie just above 0, with everything below.
        darkest: f32,
        /// How far above 0.
        step: f32,
    },
}

/// What is around a head or a brain.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Around {
    Value(f32),
    Noise(Noise),
}

impl Step for Background {
    fn name(&self) -> &'static str {
        "background"
    }

    fn apply(&self, case: &mut CaseVolumes, _: &PrepConfig) -> Result<Value> {
        case.map_images(|_, mut image| {
            let change = Change::of(&image);
            change.apply(&mut image);
            Ok((image, change.record()))
        })
    }
}

impl Change {
    fn of(image: &Volume) -> Self {
        let found = background(image);
        let Some([low, high]) = outer_percentiles(image, found) else { return Self::None };
        let range = high - low;
        match found {
            Some(background)
                if background - low > RIPPLES * range
                    || (background != 0.0 && low - background > FILLED * range) =>
            {
                Self::Lift { around: Around::Value(background), darkest: low, step: STEP * range }
            }
            Some(background) if background != 0.0 => Self::Lower { by: background },
            Some(_) => Self::None,
            None => {
                let noise = noise_around(image).filter(|noise| noise.spread < RIPPLES * range);
                let is_shifted = |noise: Noise| {
                    let dark = noise.level - low <= RIPPLES * range;
                    dark && noise.level > (RIPPLES * range).max(LEVEL_SPREADS * noise.spread)
                };
                let lift = noise.and_then(|noise| {
                    Self::brain_in(noise, image).or_else(|| Self::head_in(noise, image, [low, high]))
                });
                match lift {
                    Some(lift) => lift,
                    None if low < 0.0 || noise.is_some_and(is_shifted) => Self::Lower { by: low },
                    None => Self::None,
                }
            }
        }
    }

    /// What is done to a brain without its skull in noise: what is out of the noise has the size of a brain and reaches no
    /// side of the field of view, as a head does with its neck.
    fn brain_in(noise: Noise, image: &Volume) -> Option<Self> {
        let voxel_ml = image.grid().voxel_mm3() / 1000.0;
        let ml = |voxels: usize| voxels as f64 * voxel_ml;
        let out = image.voxels().par_iter().filter(|voxel| noise.excludes(**voxel)).count();
        // Most images show heads, for which no more is needed.
        if ml(out) > *PLAUSIBLE_ML.end() {
            return None;
        }
        let around = Around::Noise(noise);
        let brain = around.shown(image);
        let voxels = || brain.iter().enumerate().filter(|(_, inside)| **inside).map(|(voxel, _)| voxel);
        let floats = !voxels().any(|voxel| is_on_a_face(voxel, image.shape()));
        let values: Vec<f32> = voxels().map(|voxel| image.voxels()[voxel]).collect();
        let [low, high] = percentiles(&values, [1.0, 99.0]).ok()?;
        let range = high - low;
        let [darkest, step] =
            if noise.level - low > RIPPLES * range { [low, STEP * range] } else { [noise.level, 0.0] };
        (floats && PLAUSIBLE_ML.contains(&ml(values.len()))).then_some(Self::Lift { around, darkest, step })
    }

    /// What is done to a head in air that is grey, as it is in signed images (an inversion recovery with its phase), where fluid
    /// is darker than air.
    fn head_in(noise: Noise, image: &Volume, [low, high]: [f32; 2]) -> Option<Self> {
        let range = high - low;
        if noise.level - low <= RIPPLES * range {
            return None;
        }
        let around = Around::Noise(noise);
        let head = around.shown(image).into_iter().filter(|inside| *inside).count();
        let ml = head as f64 * image.grid().voxel_mm3() / 1000.0;
        let is_head = ml > *PLAUSIBLE_ML.start() && head < image.grid().len();
        is_head.then_some(Self::Lift { around, darkest: low, step: STEP * range })
    }

    fn apply(self, image: &mut Volume) {
        match self {
            Self::None => {}
            Self::Lower { by } => image.voxels_mut().par_iter_mut().for_each(|voxel| *voxel -= by),
            Self::Lift { around, darkest, step } => {
                let inside = around.shown(image);
                let lift = |voxel: f32| (voxel - darkest).max(0.0) + step;
                let voxels = image.voxels_mut().par_iter_mut().zip(&inside);
                voxels.for_each(|(voxel, inside)| *voxel = if *inside { lift(*voxel) } else { 0.0 });
            }
        }
    }

    fn record(self) -> Value {
        match self {
            Self::None => Value::Null,
            Self::Lower { by } => json!({ "subtracted": by }),
            Self::Lift { around: Around::Value(background), darkest, .. } => {
                json!({ "background": background, "darkest_tissue": darkest })
            }
            Self::Lift { around: Around::Noise(noise), darkest, .. } => {
                json!({ "noise_around": noise.level, "spread": noise.spread, "darkest_tissue": darkest })
            }
        }
    }
}

impl Around {
    /// The voxels of the head or brain. Tissue may have the value of the background; enclosed by other tissue, it is not air. A head
    /// is cut off at the neck, and encloses it within slices.
    fn shown(self, image: &Volume) -> Vec<bool> {
        let shape = image.shape();
        match self {
            Self::Value(background) => {
                let mut inside: Vec<bool> = image.voxels().iter().map(|voxel| *voxel != background).collect();
                fill_holes(&mut inside, shape);
                inside
            }
            Self::Noise(noise) => {
                let out: Vec<bool> = image.voxels().iter().map(|voxel| noise.excludes(*voxel)).collect();
                let mut inside = heaviest_component(&out, shape, |_| 1.0);
                fill_holes_of_slices(&mut inside, shape);
                inside
            }
        }
    }
}

/// Percentiles 1 and 99 of what is not background; `None` if that is nothing.
fn outer_percentiles(image: &Volume, background: Option<f32>) -> Option<[f32; 2]> {
    // An odd step does not stay in a few columns of voxels.
    let step = (image.grid().len() / SAMPLES) | 1;
    let sample = image.voxels().iter().step_by(step).copied();
    let sample: Vec<f32> = sample.filter(|v| v.is_finite() && Some(*v) != background).collect();
    percentiles(&sample, [1.0, 99.0]).ok()
}

#[cfg(test)]
mod tests {
    use brainmvp_volume::{Affine, Grid};
    use proptest::prelude::*;

    use super::*;

    /// A ball of tissue of 10 to 90, brighter to the right, that a face of the volume cuts off; 0 around it.
    fn stripped() -> Volume {
        let grid = Grid::new([20, 18, 16], Affine::from_spacing([1.0; 3], [0.0; 3]));
        let value = |offset: usize| {
            let [x, y, z] = grid.voxel(offset).map(|i| i as f32);
            let inside = (x - 9.0).powi(2) + (y - 8.0).powi(2) + (z - 2.0).powi(2) < 49.0;
            if inside { 10.0 + 4.0 * x + ((offset * 7919) % 10) as f32 } else { 0.0 }
        };
        Volume::new(grid, (0..grid.len()).map(value).collect())
    }

    fn changed(image: &Volume) -> Volume {
        let mut image = image.clone();
        Change::of(&image).apply(&mut image);
        image
    }

    /// Mean and standard deviation of the tissue.
    fn moments(image: &Volume) -> [f32; 2] {
        let tissue: Vec<f32> = image.voxels().iter().copied().filter(|v| *v != 0.0).collect();
        let mean = tissue.iter().sum::<f32>() / tissue.len() as f32;
        let variance = tissue.iter().map(|v| (v - mean).powi(2)).sum::<f32>() / tissue.len() as f32;
        [mean, variance.sqrt()]
    }

    #[test]
    fn what_is_right_already_stays() {
        let image = stripped();
        assert_eq!(Change::of(&image), Change::None);
        // Ripples of an interpolation around the brain.
        let mut rippled = image.clone();
        rippled.voxels_mut().iter_mut().skip(3).step_by(40).for_each(|v| *v -= 0.5);
        assert_eq!(Change::of(&rippled), Change::None);
        let noise = image.map(|v| v + 1.0 + (v as usize % 3) as f32);
        assert_eq!(Change::of(&Volume::filled(*image.grid(), 5.0)), Change::None);
        let head = Volume::new(
            *image.grid(),
            (0..image.grid().len()).map(|i| noise.voxels()[i] + (i % 5) as f32).collect(),
        );
        assert_eq!(Change::of(&head), Change::None, "a head in the noise of a magnitude image");
    }

    proptest! {
        #[test]
        fn a_shifted_and_scaled_image_becomes_the_unshifted(
            scale in 0.001_f32..1e3,
            offset in prop_oneof![Just(0.0_f32), Just(-1024.0), Just(1000.0), -1e3_f32..1e3],
        ) {
            let image = stripped();
            let found = changed(&image.map(|v| scale * (v + offset)));
            for (found, original) in found.voxels().iter().zip(image.voxels()) {
                prop_assert!((found / scale - original).abs() < 1e-3 * 90.0, "{found} of {original}");
                prop_assert_eq!(*found == 0.0, *original == 0.0);
            }
        }

        #[test]
        fn integers_are_as_good(offset in -1024_i16..1024, scale in 1_i16..50) {
            let image = stripped();
            let found = changed(&image.map(|v| f32::from(scale * v as i16 + offset)));
            for (found, original) in found.voxels().iter().zip(image.voxels()) {
                prop_assert_eq!(*found, f32::from(scale) * original.trunc());
            }
        }

        #[test]
        fn scores_of_the_brain_are_lifted_above_a_background_of_any_value(
            centre in -0.5_f32..0.5,
            sign in prop_oneof![Just(1.0_f32), Just(-1.0)],
            fill in prop_oneof![Just(0.0_f32), -0.5_f32..0.5],
        ) {
            let image = stripped();
            let [mean, deviation] = moments(&image);
            let score = |v: f32| if v == 0.0 { fill } else { sign * (v - mean) / deviation + centre };
            let scores = image.map(score);
            let found = changed(&scores);
            let mut pairs = Vec::new();
            for (place, (found, original)) in found.voxels().iter().zip(image.voxels()).enumerate() {
                prop_assert_eq!(*found > 0.0, *original > 0.0, "voxel {} is {}", place, found);
                if *original > 0.0 {
                    pairs.push((scores.voxels()[place], *found));
                }
            }
            // A rising line of slope 1, but for the darkest hundredth.
            pairs.sort_by(|a, b| a.0.total_cmp(&b.0));
            let slope = |a: (f32, f32), b: (f32, f32)| (b.1 - a.1) - (b.0 - a.0);
            prop_assert!(pairs.windows(2).all(|w| w[0].1 <= w[1].1));
            let rest = &pairs[pairs.len() / 50..];
            prop_assert!(slope(rest[0], rest[rest.len() - 1]).abs() < 1e-4);
        }
    }

    #[test]
    fn a_head_around_a_negative_level_comes_to_0() {
        let image = stripped();
        let air = |i: usize| ((i * 7919) % 7) as f32 / 7.0;
        let shifted = (0..image.grid().len()).map(|i| image.voxels()[i] + air(i) - 1024.0).collect();
        let found = changed(&Volume::new(*image.grid(), shifted));
        for (i, (found, original)) in found.voxels().iter().zip(image.voxels()).enumerate() {
            assert!((found - original - air(i)).abs() < 0.2, "{found} {original}");
        }
    }

    /// The noise of a magnitude image: a level of twice its spread.
    fn magnitude_noise(seed: usize) -> f32 {
        let uniform = ((seed as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) as f32 / (1 << 24) as f32;
        (-2.0 * (1.0 - uniform).ln()).sqrt()
    }

    /// A ball of 750 ml in the middle of noise, without skull and neck.
    fn floating(noise: impl Fn(usize) -> f32) -> Volume {
        let grid = Grid::new([20, 18, 17], Affine::from_spacing([8.0; 3], [0.0; 3]));
        let value = |offset: usize| {
            let [x, y, z] = grid.voxel(offset).map(|i| i as f32);
            let inside = (x - 9.0).powi(2) + (y - 8.0).powi(2) + (z - 8.0).powi(2) < 49.0;
            noise(offset) + if inside { 30.0 + 4.0 * x + ((offset * 7919) % 10) as f32 } else { 0.0 }
        };
        Volume::new(grid, (0..grid.len()).map(value).collect())
    }

    proptest! {
        #[test]
        fn a_head_in_noise_around_a_far_level_comes_to_0(
            level in prop_oneof![-1e4_f32..-20.0, 30.0_f32..1e4],
            scale in 0.01_f32..100.0,
        ) {
            let image = stripped();
            let head = (0..image.grid().len()).map(|i| image.voxels()[i] + magnitude_noise(i)).collect();
            let head = Volume::new(*image.grid(), head);
            prop_assert_eq!(Change::of(&head), Change::None, "around 0");
            let found = changed(&head.map(|v| scale * (v + level)));
            for (found, original) in found.voxels().iter().zip(head.voxels()) {
                prop_assert!((found / scale - original).abs() < 0.5, "{found} of {original}");
            }
        }

        #[test]
        fn a_brain_in_noise_around_any_level_gets_0_around_it(
            level in prop_oneof![Just(0.0_f32), -1e3_f32..1e3],
            sign in prop_oneof![Just(1.0_f32), Just(-1.0)],
            scale in 0.01_f32..100.0,
            whole in any::<bool>(),
        ) {
            let clean = floating(|_| 0.0);
            let noisy = floating(magnitude_noise);
            let number = |v: f32| if whole { (100.0 * v).round() } else { scale * v };
            let found = changed(&noisy.map(|v| number(sign * v + level)));
            let mut dark = 0;
            for (voxel, (found, clean)) in found.voxels().iter().zip(clean.voxels()).enumerate() {
                if *clean == 0.0 {
                    prop_assert_eq!(*found, 0.0, "voxel {}", voxel);
                } else {
                    dark += usize::from(*found <= 0.0);
                }
            }
            prop_assert_eq!(dark, 0);
        }
    }

    /// A head that reaches a side, in noise with air amid its values: half of the tissue is darker.
    #[test]
    fn a_head_in_grey_noise_gets_0_around_it() {
        let head = floating(|_| 0.0);
        let grid = *head.grid();
        let neck = |voxel: usize| matches!(grid.voxel(voxel), [7..12, 6..11, 0..9]);
        let tissue = |voxel: usize| head.voxels()[voxel] > 0.0 || neck(voxel);
        let value = |voxel: usize| {
            let air = 140.0 + magnitude_noise(voxel);
            let [x, ..] = grid.voxel(voxel);
            if tissue(voxel) { 20.0 + 16.0 * x as f32 } else { air }
        };
        let image = Volume::new(grid, (0..grid.len()).map(value).collect());
        assert!(matches!(Change::of(&image), Change::Lift { around: Around::Noise(_), .. }));
        let found = changed(&image);
        let air = (0..grid.len()).filter(|voxel| !tissue(*voxel));
        assert_eq!(air.filter(|voxel| found.voxels()[*voxel] > 0.0).count(), 0);
        let dark = (0..grid.len()).filter(|voxel| tissue(*voxel) && found.voxels()[*voxel] <= 0.0).count();
        assert_eq!(dark, 0);
        // Columns of tissue keep their order.
        let along = |x| found.voxels()[grid.offset([x, 8, 8])];
        assert!((4..14).all(|x| along(x) <= along(x + 1)) && along(4) < along(14));
    }

    /// What a tool fills in around a brain says nothing about the brain.
    #[test]
    fn a_background_far_below_leaves_the_contrast() {
        let image = stripped();
        let found = changed(&image.map(|v| if v == 0.0 { -1024.0 } else { v }));
        let [low, high] = outer_percentiles(&image, Some(0.0)).unwrap();
        for (found, original) in found.voxels().iter().zip(image.voxels()) {
            let expected =
                if *original == 0.0 { 0.0 } else { (original - low).max(0.0) + STEP * (high - low) };
            assert!((found - expected).abs() < 1e-3, "{found} of {original}");
        }
    }

    #[test]
    fn what_reaches_a_side_is_a_head_in_noise() {
        let mut head = floating(magnitude_noise);
        let grid = *head.grid();
        (0..9).for_each(|z| head.voxels_mut()[grid.offset([9, 8, z])] = 50.0);
        assert_eq!(Change::of(&head), Change::None);
        assert!(matches!(Change::of(&head.map(|v| v + 500.0)), Change::Lower { .. }));
    }

    #[test]
    fn a_small_part_of_the_brain_without_air_stays() {
        let grid = Grid::new([20, 18, 17], Affine::from_spacing([1.0; 3], [0.0; 3]));
        let tissue = |v: usize| 400.0 + 20.0 * magnitude_noise(v) + ((v / 360) % 7 * 15) as f32;
        assert_eq!(Change::of(&Volume::new(grid, (0..grid.len()).map(tissue).collect())), Change::None);
    }

    #[test]
    fn scores_of_0_within_the_brain_are_brain() {
        let image = stripped();
        let [mean, deviation] = moments(&image);
        let mut scores = image.map(|v| if v == 0.0 { 0.0 } else { (v - mean) / deviation });
        let middle = image.grid().offset([9, 8, 3]);
        scores.voxels_mut()[middle] = 0.0;
        assert!(changed(&scores).voxels()[middle] > 1.0);
    }
}
