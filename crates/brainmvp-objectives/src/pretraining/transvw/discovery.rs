//! The first stage: places that can be recognised, and the cases in which they look alike.

use std::collections::BTreeMap;

use brainmvp_nets::Init;
use brainmvp_nets::layers::Pass;
use brainmvp_nets::networks::{Encoder, NetworkConfig, Segmentation};
use brainmvp_volume::Modality;
use burn::module::Module;
use burn::optim::{AdamConfig, GradientsParams};
use burn::tensor::Tensor;
use burn::tensor::activation::sigmoid;
use rand::seq::SliceRandom;
use rand::{Rng, RngExt};

use super::config::{DiscoveryConfig, Features, TransVwConfig};
use crate::distortion::resize;
use crate::losses::{ReconstructionNorm, reconstruction};
use crate::patch::PatchSource;
use crate::pretraining::Setup;
use crate::pretraining::tensors::volumes;
use crate::templates::template_start;

/// Places that are tried in a case before another one is asked.
const TRIES: usize = 200;

/// Cases that are asked for a place before the best of their places is taken.
const REFERENCES: usize = 3;

/// The learning rate of the auto-encoder.
const LEARNING_RATE: f64 = 1e-3;

/// Plain features are images smaller by this factor than what the auto-encoder sees.
const COARSER: usize = 8;

/// The classes that were found.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Dictionary {
    /// Where the cube of each class starts, in the grid of the registered volumes.
    pub(super) places: Vec<[usize; 3]>,
    /// The cases of each class, the one that it was found in first.
    pub(super) instances: Vec<Vec<usize>>,
}

/// The features of each modality of a case.
type OfCase = BTreeMap<Modality, Vec<f32>>;

/// What a dictionary is made from.
pub(super) struct Discovery<'a, S> {
    pub(super) config: &'a TransVwConfig,
    pub(super) setup: &'a Setup<'a, S>,
    /// Voxels of the registered volumes.
    pub(super) grid: [usize; 3],
    /// Sides of the cubes.
    pub(super) sides: [usize; 3],
}

impl<S: PatchSource> Discovery<'_, S> {
    /// Finds the classes. If it is stopped on the way, some are missing.
    ///
    /// # Errors
    /// If a case cannot be read.
    pub(super) fn run(&self, init: &mut Init<'_>) -> Result<Dictionary, S::Error> {
        let found = self.places(init.rng)?;
        let (cases, wanted) = (self.setup.cases.len(), self.config.instances);
        self.setup.waiting.note(&format!(
            "{} places were found that are to be recognised, each in {} cases",
            found.len(),
            wanted.min(cases)
        ));
        let (places, references): (Vec<_>, Vec<usize>) = found.into_iter().unzip();
        // If every case is an instance, there is nothing to compare.
        let features = if wanted < cases { self.features(init)? } else { vec![OfCase::new(); cases] };
        let instances = references.into_iter().map(|reference| nearest(&features, reference, wanted));
        Ok(Dictionary { places, instances: instances.collect() })
    }

    /// Places far from each other, each with the case that it was found in.
    fn places(&self, rng: &mut dyn Rng) -> Result<Vec<([usize; 3], usize)>, S::Error> {
        let mut order: Vec<usize> = (0..self.setup.cases.len()).collect();
        order.shuffle(rng);
        let mut references = order.into_iter().cycle();
        let mut found = Vec::new();
        while found.len() < self.config.classes && !self.setup.waiting.is_stopped() {
            let mut best: Option<(f64, [usize; 3], usize)> = None;
            for reference in references.by_ref().take(REFERENCES) {
                let candidate = self.place_in(reference, &found, rng)?;
                best = [best, candidate.map(|(share, place)| (share, place, reference))]
                    .into_iter()
                    .flatten()
                    .max_by(|a, b| a.0.total_cmp(&b.0));
                if best.is_some_and(|(share, ..)| share >= self.config.foreground) {
                    break;
                }
            }
            match best {
                Some((_, place, reference)) => found.push((place, reference)),
                // There is no room for another one.
                None => break,
            }
        }
        Ok(found)
    }

    /// A place in a case that has enough foreground, or else the one with the most; with its share of foreground. `None` if
    /// all that were tried are too near to those that were found.
    fn place_in(
        &self,
        reference: usize,
        found: &[([usize; 3], usize)],
        rng: &mut dyn Rng,
    ) -> Result<Option<(f64, [usize; 3])>, S::Error> {
        let case = &self.setup.cases[reference];
        let modalities = case.modalities();
        let modality = modalities[rng.random_range(0..modalities.len())];
        let foreground = Foreground::of(&whole(case, modality, self.grid)?, self.grid);
        let mut best: Option<(f64, [usize; 3])> = None;
        for _ in 0..TRIES {
            let place = std::array::from_fn(|axis| rng.random_range(0..=self.grid[axis] - self.sides[axis]));
            let distance = |other: [usize; 3]| {
                (0..3).map(|axis| (place[axis].abs_diff(other[axis]) as f64).powi(2)).sum::<f64>().sqrt()
            };
            if found.iter().any(|(other, _)| distance(*other) < self.config.apart) {
                continue;
            }
            let share = foreground.share(place, self.sides);
            if best.is_none_or(|(most, _)| share > most) {
                best = Some((share, place));
            }
            if share >= self.config.foreground {
                break;
            }
        }
        Ok(best)
    }

    /// The features of all images of all cases.
    fn features(&self, init: &mut Init<'_>) -> Result<Vec<OfCase>, S::Error> {
        let DiscoveryConfig { size, features, .. } = self.config.discovery;
        let network = match features {
            Features::AutoEncoder => Some(self.auto_encoder(init)?),
            Features::Image => None,
        };
        let coarse = size.map(|n| (n / COARSER).max(1));
        let mut all = Vec::new();
        for (number, case) in self.setup.cases.iter().enumerate() {
            if self.setup.waiting.is_stopped() {
                all.resize(self.setup.cases.len(), OfCase::new());
                break;
            }
            self.say("features of case", number, self.setup.cases.len(), "");
            let mut of_case = OfCase::new();
            for &modality in case.modalities() {
                let features = match &network {
                    Some(network) => network.features(self.head(case, modality, init)?),
                    None => resize(&whole(case, modality, self.grid)?, self.grid, coarse),
                };
                of_case.insert(modality, features);
            }
            all.push(of_case);
        }
        Ok(all)
    }

    /// Trains an auto-encoder on whole volumes at a low resolution.
    fn auto_encoder(&self, init: &mut Init<'_>) -> Result<AutoEncoder, S::Error> {
        let mut network = AutoEncoder::new(self.setup.network, init);
        let mut optimizer = AdamConfig::new().with_epsilon(1e-8).init();
        for step in 0..self.config.discovery.steps {
            if self.setup.waiting.is_stopped() {
                break;
            }
            let case = &self.setup.cases[init.rng.random_range(0..self.setup.cases.len())];
            let modalities = case.modalities();
            let modality = modalities[init.rng.random_range(0..modalities.len())];
            let loss = network.loss(self.head(case, modality, init)?, init.rng);
            let told = format!(", loss {:.4}", loss.clone().into_scalar::<f32>());
            self.say("auto-encoder: step", step, self.config.discovery.steps, &told);
            let gradients = GradientsParams::from_grads(loss.backward(), &network);
            network = optimizer.step(LEARNING_RATE, network, gradients);
        }
        Ok(network)
    }

    /// A whole volume at the resolution of the auto-encoder, `[1, D, H, W, 1]`.
    fn head(&self, case: &S, modality: Modality, init: &Init<'_>) -> Result<Tensor<5>, S::Error> {
        let size = self.config.discovery.size;
        let voxels = resize(&whole(case, modality, self.grid)?, self.grid, size);
        Ok(volumes(std::iter::once(voxels.as_slice()), size, init.device))
    }

    /// Says ten times on the way how far it is.
    fn say(&self, what: &str, done: usize, of: usize, more: &str) {
        if (done + 1) * 10 / of > done * 10 / of {
            self.setup.waiting.note(&format!("{what} {} of {of}{more}", done + 1));
        }
    }
}

/// All of an image, in the grid of the registered volumes.
fn whole<S: PatchSource>(case: &S, modality: Modality, grid: [usize; 3]) -> Result<Vec<f32>, S::Error> {
    case.patch(modality, template_start(case, [0; 3], grid).map(|at| -at), grid)
}

/// The cases whose features are nearest to those of one of them, that one first: by the mean distance over the modalities
/// that both have. Cases that have none in common come last.
fn nearest(features: &[OfCase], reference: usize, count: usize) -> Vec<usize> {
    let distance = |case: usize| {
        let common = features[case].iter().filter_map(|(modality, own)| {
            let other = features[reference].get(modality)?;
            Some(own.iter().zip(other).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>().sqrt())
        });
        let common: Vec<f64> = common.collect();
        if common.is_empty() { f64::INFINITY } else { common.iter().sum::<f64>() / common.len() as f64 }
    };
    let mut ranked: Vec<(f64, usize)> = (0..features.len()).map(|case| (distance(case), case)).collect();
    // The reference first even if another case is equal to it.
    let is_other = |case: usize| case != reference;
    ranked.sort_by(|a, b| is_other(a.1).cmp(&is_other(b.1)).then(a.0.total_cmp(&b.0)));
    ranked.into_iter().take(count).map(|(_, case)| case).collect()
}

/// Counts of foreground voxels in boxes, by a table of sums.
struct Foreground {
    sums: Vec<u32>,
    size: [usize; 3],
}

impl Foreground {
    /// Of an image; the foreground is above 0.
    fn of(voxels: &[f32], [nx, ny, nz]: [usize; 3]) -> Self {
        let size = [nx + 1, ny + 1, nz + 1];
        let mut sums = vec![0u32; size.iter().product()];
        let index = |x: usize, y: usize, z: usize| (z * size[1] + y) * size[0] + x;
        for z in 0..nz {
            for y in 0..ny {
                let mut row = 0;
                for x in 0..nx {
                    row += u32::from(voxels[(z * ny + y) * nx + x] > 0.0);
                    // All before in this slab and in this row, of which those of both are counted twice.
                    sums[index(x + 1, y + 1, z + 1)] =
                        row + sums[index(x + 1, y, z + 1)] + sums[index(x + 1, y + 1, z)]
                            - sums[index(x + 1, y, z)];
                }
            }
        }
        Self { sums, size }
    }

    /// The share of foreground in a box inside the image.
    fn share(&self, start: [usize; 3], sides: [usize; 3]) -> f64 {
        let mut count = 0i64;
        for corner in 0..8 {
            let at: [usize; 3] = std::array::from_fn(|axis| {
                start[axis] + if corner >> axis & 1 == 1 { sides[axis] } else { 0 }
            });
            let sum = self.sums[(at[2] * self.size[1] + at[1]) * self.size[0] + at[0]];
            count += if u32::count_ones(corner) % 2 == 1 { i64::from(sum) } else { -i64::from(sum) };
        }
        count as f64 / sides.iter().product::<usize>() as f64
    }
}

/// Restores a volume from its features.
#[derive(Module, Debug)]
struct AutoEncoder {
    encoder: Encoder,
    decoder: Segmentation,
}

impl AutoEncoder {
    fn new(network: &NetworkConfig, init: &mut Init<'_>) -> Self {
        Self { encoder: network.encoder(init), decoder: network.segmentation(1, init) }
    }

    fn loss(&self, x: Tensor<5>, rng: &mut dyn Rng) -> Tensor<1> {
        let pass = &mut Pass::training(rng);
        let restored = sigmoid(self.decoder.forward(self.encoder.forward(x.clone(), pass), pass).logits);
        reconstruction(restored, x, ReconstructionNorm::Squared)
    }

    /// The mean of the deepest features.
    fn features(&self, x: Tensor<5>) -> Vec<f32> {
        let deepest = self.encoder.forward(x, &mut Pass::evaluation()).deepest().detach();
        let rows: Tensor<2> = deepest.flatten(0, 3);
        rows.mean_dim(0).into_data().iter::<f32>().collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        /// The table of sums against counting.
        #[test]
        fn foreground_is_counted(bits in prop::collection::vec(any::<bool>(), 5 * 4 * 6), at in 0usize..24) {
            let voxels: Vec<f32> = bits.iter().map(|bit| f32::from(u8::from(*bit))).collect();
            let foreground = Foreground::of(&voxels, [5, 4, 6]);
            let (start, sides) = ([at % 2, at / 2 % 3, at / 6], [3, 2, 2]);
            let inside = |i: &usize| {
                let voxel = [i % 5, i / 5 % 4, i / 20];
                (0..3).all(|axis| (start[axis]..start[axis] + sides[axis]).contains(&voxel[axis]))
            };
            let expected = (0..voxels.len()).filter(inside).filter(|&i| bits[i]).count();
            prop_assert!((foreground.share(start, sides) * 12.0 - expected as f64).abs() < 1e-9);
        }
    }

    #[test]
    fn the_nearest_come_first_and_the_reference_before_them() {
        let of = |values: &[(Modality, f32)]| -> OfCase {
            values.iter().map(|(modality, value)| (*modality, vec![*value, 0.0])).collect()
        };
        let features = [
            of(&[(Modality::T1, 1.0)]),
            of(&[(Modality::T1, 5.0), (Modality::T2, 0.0)]),
            of(&[(Modality::T1, 1.0), (Modality::T2, 9.0)]),
            of(&[(Modality::T2, 0.0)]),
        ];
        assert_eq!(nearest(&features, 2, 3), [2, 0, 1]);
        assert_eq!(nearest(&features, 0, 4), [0, 2, 1, 3]);
        assert_eq!(nearest(&features, 3, 2), [3, 1]);
    }
}
