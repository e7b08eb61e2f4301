//! Drawing two views of a case.

use brainmvp_volume::Modality;
use rand::{Rng, RngExt};

use super::{MocoConfig, WholeStep};
use crate::Scene;
use crate::distortion::{blur, foreground_deviation, resize};
use crate::losses::Identity;
use crate::patch::{PatchSource, draw_any_start};
use crate::turn::mirror;

/// The data that loader threads need to draw samples.
#[derive(Debug, Clone)]
pub struct MocoPlan {
    pub(super) config: MocoConfig,
    pub(super) patch: [usize; 3],
}

/// Two views of one case. Voxels are x fastest.
pub struct MocoSample {
    pub(super) views: [Vec<f32>; 2],
    /// Whose they are.
    pub(super) identity: Identity,
    /// What is known of the other samples, if they are in several batches.
    pub(super) step: Option<WholeStep>,
}

impl MocoPlan {
    pub(super) fn draw<S: PatchSource>(
        &self,
        scene: Scene<'_, S>,
        rng: &mut dyn Rng,
    ) -> Result<MocoSample, S::Error> {
        let (case, modality) = (scene.case(), scene.modality(rng));
        let views = [self.view(case, modality, 0, rng)?, self.view(case, modality, 1, rng)?];
        Ok(MocoSample { views, identity: Identity::of(case.person(), case.data_set()), step: None })
    }

    /// The first or the second view.
    fn view<S: PatchSource>(
        &self,
        case: &S,
        modality: Modality,
        index: usize,
        rng: &mut dyn Rng,
    ) -> Result<Vec<f32>, S::Error> {
        let sides = self.sides(case.shape(), rng);
        let start = draw_any_start(case.shape(), sides, rng);
        let mut voxels = resize(&case.patch(modality, start, sides)?, sides, self.patch);
        self.intensities(&mut voxels, rng);
        let MocoConfig { blur: chance, blur_sigma: [least, most], .. } = self.config;
        let sigma = rng.random_range(least..=most);
        if rng.random_bool(chance[index]) {
            voxels = blur(&voxels, self.patch, sigma);
        }
        if rng.random_bool(self.config.solarise[index]) {
            solarise(&mut voxels);
        }
        for axis in 0..3 {
            if rng.random_bool(self.config.mirror) {
                mirror(&mut voxels, self.patch, axis);
            }
        }
        Ok(voxels)
    }

    /// The sides of a box in the proportions of a patch, with a random share of the case's voxels.
    fn sides(&self, shape: [usize; 3], rng: &mut dyn Rng) -> [usize; 3] {
        let voxels = |sides: [usize; 3]| sides.iter().product::<usize>() as f64;
        let share = rng.random_range(self.config.smallest..=1.0);
        let factor = (share * voxels(shape) / voxels(self.patch)).cbrt();
        self.patch.map(|n| (n as f64 * factor).round().max(1.0) as usize)
    }

    /// Other brightness and contrast, with their chance.
    fn intensities(&self, voxels: &mut [f32], rng: &mut dyn Rng) {
        let mut within = |range: f32| (2.0 * rng.random::<f32>() - 1.0) * range;
        let (factor, shift) = (1.0 + within(self.config.scale), within(self.config.shift));
        if rng.random_bool(self.config.intensity) {
            let shift = shift * foreground_deviation(voxels);
            for voxel in voxels {
                *voxel = *voxel * factor + shift;
            }
        }
    }
}

/// Bright becomes dark.
fn solarise(voxels: &mut [f32]) {
    for voxel in voxels.iter_mut().filter(|voxel| **voxel > 0.5) {
        *voxel = 1.0 - *voxel;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::pretraining::test_cases::Case;

    const NOTHING: MocoConfig = MocoConfig {
        smallest: 1.0,
        mirror: 0.0,
        intensity: 0.0,
        blur: [0.0; 2],
        solarise: [0.0; 2],
        ..MocoConfig::DEFAULT
    };

    fn case(shape: [usize; 3]) -> Case {
        Case {
            person: "a",
            registered: shape,
            crop: [0; 3],
            shape,
            modalities: vec![Modality::T1],
            value: Box::new(|at| at.iter().map(|i| *i as f32).sum::<f32>() / 64.0),
        }
    }

    fn draw(config: MocoConfig, seed: u64) -> MocoSample {
        let plan = MocoPlan { config, patch: [16; 3] };
        let Ok(sample) = plan.draw(Scene::of(&case([16; 3])), &mut ChaCha8Rng::seed_from_u64(seed));
        sample
    }

    proptest! {
        #[test]
        fn boxes_have_the_share_and_the_proportions_that_are_wanted(seed: u64) {
            let plan = MocoPlan { config: MocoConfig::DEFAULT, patch: [96, 96, 64] };
            let [x, y, z] = plan.sides([150, 180, 160], &mut ChaCha8Rng::seed_from_u64(seed));
            let share = (x * y * z) as f64 / f64::from(150 * 180 * 160);
            prop_assert!((0.19..1.02).contains(&share), "{share}");
            prop_assert!(x == y && (z as f64 / x as f64 - 2.0 / 3.0).abs() < 0.01);
        }
    }

    /// The views of a cube in the size of a patch, each with one change at a time.
    #[test]
    fn each_change_is_what_it_says() {
        let Ok(whole) = case([16; 3]).patch(Modality::T1, [0; 3], [16; 3]);
        assert_eq!(draw(NOTHING, 1).views, [whole.clone(), whole.clone()]);

        let mut mirrored = whole.clone();
        (0..3).for_each(|axis| mirror(&mut mirrored, [16; 3], axis));
        assert_eq!(draw(MocoConfig { mirror: 1.0, ..NOTHING }, 1).views[0], mirrored);

        let [first, second] = draw(MocoConfig { solarise: [0.0, 1.0], ..NOTHING }, 1).views;
        assert_eq!(first, whole);
        let solarised: Vec<f32> = whole.iter().map(|v| if *v > 0.5 { 1.0 - v } else { *v }).collect();
        assert_eq!(second, solarised);

        let [first, second] = draw(MocoConfig { blur: [1.0, 0.0], blur_sigma: [1.5; 2], ..NOTHING }, 1).views;
        assert_eq!(second, whole);
        assert_eq!(first, blur(&whole, [16; 3], 1.5));

        let config = MocoConfig { intensity: 1.0, ..NOTHING };
        let deviation = foreground_deviation(&whole);
        for seed in 0..20 {
            // The first voxel is 0, and the last one 45 / 64.
            let view = &draw(config, seed).views[0];
            let (shift, factor) = (view[0], (view[4095] - view[0]) / (45.0 / 64.0));
            assert!(shift.abs() <= 0.4 * deviation + 1e-6 && (factor - 1.0).abs() <= 0.4 + 1e-5);
            assert!(shift != 0.0 && factor != 1.0);
        }
    }
}
