//! Drawing the patches of two persons.

use brainmvp_volume::Modality;
use rand::seq::IteratorRandom;
use rand::{Rng, RngExt};

use super::GvslConfig;
use crate::Scene;
use crate::distortion::{
    Affine, AffineRanges, Deformation, Elastic, IntensityMap, LocalShuffle, Outside, Paint, Sides, paint_in,
};
use crate::patch::{PatchSource, draw_start};
use crate::templates::template_start;

/// Boxes that give way to noise: of 9 to 18 voxels in a patch of 96.
const PAINT: Paint = Paint { sure: 0, most: 30, go_on: 0.95, sides: |n| [3 * n / 32, 3 * n / 16] };

/// Deviations of the Gaussian that smooths displacements, in voxels.
const SIGMA: [f64; 2] = [10.0, 13.0];

/// The data that loader threads need to draw samples.
#[derive(Debug, Clone)]
pub struct GvslPlan {
    pub(super) config: GvslConfig,
    pub(super) patch: [usize; 3],
}

/// Patches of the same place in two persons, deformed alike, x fastest.
pub struct GvslSample {
    /// Of the second person.
    pub(super) moving: Vec<f32>,
    /// Of the case.
    pub(super) fixed: Vec<f32>,
    /// The same with another appearance.
    pub(super) distorted: Vec<f32>,
}

impl GvslPlan {
    pub(super) fn draw<S: PatchSource>(
        &self,
        scene: Scene<'_, S>,
        rng: &mut dyn Rng,
    ) -> Result<GvslSample, S::Error> {
        let (case, modality) = (scene.case(), scene.modality(rng));
        let start = draw_start(case, modality, self.patch, rng)?;
        let fixed = case.patch(modality, start, self.patch)?;
        let moving = if let Some(other) = second(scene, modality, rng) {
            other.patch(modality, same_place(case, start, other), self.patch)?
        } else {
            let mut own = fixed.clone();
            IntensityMap::draw(0.0, rng).apply(&mut own);
            own
        };
        let distorted = self.with_other_appearance(fixed.clone(), rng);
        let deformation = self.deformation(rng);
        let [moving, fixed, distorted] =
            [moving, fixed, distorted].map(|voxels| deformation.apply(&voxels, self.patch, Outside::Zero));
        Ok(GvslSample { moving, fixed, distorted })
    }

    fn with_other_appearance(&self, mut voxels: Vec<f32>, rng: &mut dyn Rng) -> Vec<f32> {
        if rng.random_bool(self.config.shuffle) {
            let shuffle = LocalShuffle { boxes: self.config.boxes, sides: Sides::Exactly(20) };
            shuffle.apply(&mut voxels, self.patch, rng);
        }
        if rng.random_bool(self.config.intensity) {
            IntensityMap::draw(0.0, rng).apply(&mut voxels);
        }
        paint_in(&mut voxels, self.patch, &PAINT, rng);
        voxels
    }

    /// The map by which all patches of a sample are deformed.
    fn deformation(&self, rng: &mut dyn Rng) -> Deformation {
        let GvslConfig { rotation, scale, shear, shift, elastic, .. } = self.config;
        let affine = Affine::draw(&AffineRanges { rotation, scale, shear, shift }, self.patch, rng);
        let (alpha, sigma) = (elastic * rng.random::<f64>(), rng.random_range(SIGMA[0]..=SIGMA[1]));
        Deformation { affine, elastic: Some(Elastic::draw(self.patch, alpha, sigma, [true; 3], rng)) }
    }
}

/// A case of another person that has this modality.
fn second<'a, S: PatchSource>(scene: Scene<'a, S>, modality: Modality, rng: &mut dyn Rng) -> Option<&'a S> {
    let person = scene.case().person();
    let others = scene.cases.iter().filter(|other| other.person() != person);
    others.filter(|other| other.modalities().contains(&modality)).choose(rng)
}

/// Where a patch starts in another case so that it shows the same place of the registered volumes.
fn same_place<S: PatchSource>(case: &S, start: [isize; 3], other: &S) -> [isize; 3] {
    let (registered, crop) = (template_start(case, start, other.registered_shape()), other.crop_offset());
    std::array::from_fn(|axis| registered[axis] - crop[axis] as isize)
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::pretraining::test_cases::Case;

    /// A case whose voxels say where they are, times a factor.
    fn case(person: &'static str, factor: f32, crop: [usize; 3]) -> Case {
        let value =
            move |[x, y, z]: [isize; 3]| factor * (1.0 + x as f32 + 0.01 * y as f32 + 0.0001 * z as f32);
        let (registered, shape, modalities) = ([60; 3], [40; 3], vec![Modality::T1]);
        Case { person, registered, crop, shape, modalities, value: Box::new(value) }
    }

    fn plan() -> GvslPlan {
        let still =
            GvslConfig { rotation: 0.0, scale: [1.0; 2], shear: 0.0, shift: 0.0, ..Default::default() };
        GvslPlan { config: GvslConfig { elastic: 0.0, ..still }, patch: [16; 3] }
    }

    #[test]
    fn both_patches_show_the_same_place() {
        let cases = [case("a", 1.0, [3, 5, 0]), case("a", 9.0, [0; 3]), case("b", -1.0, [1, 0, 7])];
        for seed in 0..8 {
            let scene = Scene { cases: &cases, index: 0, target: None };
            let Ok(sample) = plan().draw(scene, &mut ChaCha8Rng::seed_from_u64(seed));
            assert!(sample.moving.iter().zip(&sample.fixed).all(|(b, a)| (a + b).abs() < 1e-4));
            assert_ne!(sample.distorted, sample.fixed);
        }
    }

    #[test]
    fn a_case_without_another_person_takes_its_own_place() {
        let cases = [case("a", 1e-2, [0; 3]), case("a", 1e-2, [5; 3])];
        let scene = Scene { cases: &cases, index: 0, target: None };
        let Ok(sample) = plan().draw(scene, &mut ChaCha8Rng::seed_from_u64(1));
        assert_ne!(sample.moving, sample.fixed);
        // A rising map keeps the order.
        let rises = |a: usize, b: usize| {
            (sample.fixed[a] - sample.fixed[b]) * (sample.moving[a] - sample.moving[b]) >= 0.0
        };
        assert!((1..sample.fixed.len()).all(|i| rises(i - 1, i)));
    }
}
