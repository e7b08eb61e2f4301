//! The self-supervision of Swin-UNETR (Tang et al., CVPR 2022): rotation, contrast, and inpainting.
//!
//! Each patch is seen in two views. Each view is turned by a number of right angles, and then boxes of it are filled with
//! noise, and others with the same places of another sample of the batch. The network says how far each view is turned,
//! tells which two views are of one patch, and reconstructs what was cut out. A case takes part with any of its modalities,
//! one at a time; how many it has makes no difference. In a batch of one there is no other sample: nothing is copied, and
//! the contrast is 0.

mod cut_out;
mod heads;

use brainmvp_kernels::ops::ranks::gather_rows;
use brainmvp_nets::Init;
use brainmvp_nets::layers::Pass;
use brainmvp_nets::networks::{Encode as _, Network as _, NetworkConfig, PresetName, Swin};
use burn::module::Module;
use rand::{Rng, RngExt};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use self::cut_out::Cut;
use self::heads::{SwinSslHeads, TURNS};
use super::tensors::{picture, volumes};
use super::{Kept, Method, MethodPreset, Pretraining, Setup, Training, swin};
use crate::limits;
use crate::losses::{classification, supervised_contrast, unit};
use crate::patch::{PatchSource, draw_image};
use crate::turn::{Axis, Turn};
use crate::{Evaluation, Moment, Objective, Scene};

pub use cut_out::CutOutConfig;

/// The settings of the method.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SwinSslConfig {
    /// The axis that views are turned about: x in the released program, z in the paper of the method.
    pub axis: Axis,
    /// What is cut out.
    pub cut_out: CutOutConfig,
    /// Temperature of the contrast.
    pub temperature: f32,
    /// Weight of the rotation.
    pub weight_rotation: f32,
    /// Weight of the contrast.
    pub weight_contrast: f32,
    /// Weight of the reconstruction.
    pub weight_reconstruction: f32,
}

impl Default for SwinSslConfig {
    fn default() -> Self {
        Self {
            axis: Axis::X,
            cut_out: CutOutConfig::default(),
            temperature: 0.5,
            weight_rotation: 1.0,
            weight_contrast: 1.0,
            weight_reconstruction: 1.0,
        }
    }
}

impl Method for SwinSslConfig {
    const TITLE: &'static str = "Swin-UNETR self-supervision (Tang et al.)";
    const ABOUT: &'static str = "two views that are turned and cut: rotation, contrast, inpainting";
    type Objective = SwinSsl;

    fn network() -> PresetName {
        swin::preset()
    }

    /// The two of the method.
    fn views(&self) -> usize {
        2
    }

    fn training(_preset: MethodPreset) -> Training {
        Training {
            batch_size: 2,
            learning_rate: 4e-4,
            warmup_steps: 500,
            weight_decay: 0.1,
            clip_norm: 1.0,
            ..Training::default()
        }
    }

    fn problem(&self, network: &NetworkConfig, patch: [usize; 3]) -> Option<String> {
        if let Some(problem) = swin::problem(network) {
            return Some(problem);
        }
        let stride = network.stride();
        if patch.map(|n| n / stride).iter().product::<usize>() < 2 {
            return Some(format!("patch.size {patch:?} must hold two tokens or more ({stride} voxels each)"));
        }
        if !Turn::is_possible(patch, self.axis) {
            return Some(format!("patch.size {patch:?} must be as long along both axes that are turned"));
        }
        self.cut_out
            .problem()
            .or_else(|| limits::positive(&[("method.temperature", f64::from(self.temperature))]))
            .or_else(|| {
                limits::not_negative(&[
                    ("method.weight_rotation", f64::from(self.weight_rotation)),
                    ("method.weight_contrast", f64::from(self.weight_contrast)),
                    ("method.weight_reconstruction", f64::from(self.weight_reconstruction)),
                ])
            })
    }

    fn build<S: PatchSource>(&self, setup: &Setup<'_, S>, init: &mut Init<'_>) -> Result<SwinSsl, S::Error> {
        let network = swin::sizes(setup.network);
        let widths: Vec<usize> = network.levels().into_iter().map(|level| level.width).collect();
        Ok(SwinSsl {
            encoder: network.encoder(init),
            heads: SwinSslHeads::new(&widths, init),
            config: self.clone(),
            patch: setup.patch,
        })
    }
}

/// The encoder and its heads.
#[derive(Module, Debug)]
pub struct SwinSsl {
    /// What is kept after pre-training.
    pub encoder: Swin,
    /// What is thrown away.
    pub heads: SwinSslHeads,
    #[module(skip)]
    config: SwinSslConfig,
    #[module(skip)]
    patch: [usize; 3],
}

/// The data that loader threads need to draw samples.
#[derive(Debug, Clone)]
pub struct SwinSslPlan {
    config: SwinSslConfig,
    patch: [usize; 3],
}

/// A view of a patch. Voxels are x fastest.
struct View {
    /// By how many right angles it is turned.
    quarters: usize,
    /// The turned patch, which is to be reconstructed.
    target: Vec<f32>,
    /// The same with boxes of noise; at last with what is copied from another sample too: what the network sees.
    cut: Vec<f32>,
    /// What is copied from another sample.
    copied: Vec<Cut>,
    /// From which one, as a share of the batch.
    other: f64,
}

/// Two views of one case's patch.
pub struct SwinSslSample {
    views: [View; 2],
}

impl SwinSslPlan {
    fn view(&self, patch: &[f32], rng: &mut dyn Rng) -> View {
        let (size, cut_out) = (self.patch, &self.config.cut_out);
        let quarters = rng.random_range(0..TURNS);
        let turn = Turn { axis: self.config.axis, quarters };
        let target = turn.of(patch, size);
        let mut cut = target.clone();
        for noisy in cut_out.draw(size, rng) {
            noisy.fill_with_noise(&mut cut, size, rng);
        }
        View { quarters, target, cut, copied: cut_out.draw(size, rng), other: rng.random() }
    }
}

impl View {
    /// The views of a batch with what is copied between them. They are made one after the other: what is copied from an earlier one
    /// is already cut, a later one is still whole.
    fn seen(views: &[&Self], size: [usize; 3]) -> Vec<Vec<f32>> {
        let mut seen: Vec<Vec<f32>> = views.iter().map(|view| view.target.clone()).collect();
        for (index, view) in views.iter().enumerate() {
            let other = (view.other * views.len() as f64) as usize;
            let mut image = view.cut.clone();
            if other != index {
                view.copied.iter().for_each(|cut| cut.fill_from(&mut image, &seen[other], size));
            }
            seen[index] = image;
        }
        seen
    }
}

impl Objective for SwinSsl {
    type Plan = SwinSslPlan;
    type Sample = SwinSslSample;

    fn plan(&self) -> SwinSslPlan {
        SwinSslPlan { config: self.config.clone(), patch: self.patch }
    }

    fn draw<S: PatchSource>(
        plan: &SwinSslPlan,
        scene: Scene<'_, S>,
        rng: &mut dyn Rng,
    ) -> Result<SwinSslSample, S::Error> {
        let (_, _, voxels) = draw_image(scene.case(), scene.target, plan.patch, rng)?;
        Ok(SwinSslSample { views: [(); 2].map(|()| plan.view(&voxels, rng)) })
    }

    const MIXES: bool = true;

    fn mix(plan: &SwinSslPlan, batch: &mut [SwinSslSample]) {
        for index in 0..2 {
            let views: Vec<&View> = batch.iter().map(|sample| &sample.views[index]).collect();
            let seen = View::seen(&views, plan.patch);
            batch.iter_mut().zip(seen).for_each(|(sample, seen)| sample.views[index].cut = seen);
        }
    }

    fn forward(&self, samples: &[SwinSslSample], _at: Moment, pass: &mut Pass<'_>) -> Evaluation {
        let device = self.heads.out.weight.val().device();
        let of_all = |index: usize| samples.iter().map(|sample| &sample.views[index]).collect::<Vec<_>>();
        let views = [of_all(0), of_all(1)].concat();
        let input = volumes(views.iter().map(|view| view.cut.as_slice()), self.patch, &device);
        let target = volumes(views.iter().map(|view| view.target.as_slice()), self.patch, &device);

        let deepest = self.encoder.forward(input.clone(), pass).deepest();
        let (turns, features) = self.heads.of_tokens(&deepest);
        let output = self.heads.reconstruct(deepest);
        let quarters: Vec<Option<usize>> = views.iter().map(|view| Some(view.quarters)).collect();
        let rotation = classification(turns, &quarters, &vec![1.0; views.len()]);
        let features = gather_rows(unit(features), &pass.ranks);
        let [all, own] = [features.dims()[0], views.len()];
        // The two views of each sample, on each rank.
        let patches: Vec<usize> = (0..all).map(|row| row / own * own + row % samples.len()).collect();
        let contrast = supervised_contrast(features, &patches, self.config.temperature);
        let reconstruction = (output.clone() - target.clone()).abs().mean();
        let total = rotation.clone() * self.config.weight_rotation
            + contrast.clone() * self.config.weight_contrast
            + reconstruction.clone() * self.config.weight_reconstruction;
        Evaluation {
            quality: total.clone().detach(),
            total,
            parts: vec![
                ("loss_rotation", rotation),
                ("loss_contrast", contrast),
                ("loss_reconstruction", reconstruction),
            ],
            pictures: vec![
                ("target", picture(&target, 0)),
                ("view", picture(&input, 0)),
                ("reconstruction", picture(&output, 0)),
            ],
        }
    }
}

impl Pretraining for SwinSsl {
    fn kept() -> Kept {
        Kept::encoder()
    }
}

#[cfg(test)]
mod tests {
    use brainmvp_nets::networks::SwinUnetrConfig;
    use brainmvp_nets::weights::entries;
    use burn::tensor::{Device, Tensor};
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;

    fn plan(cut_out: CutOutConfig) -> SwinSslPlan {
        SwinSslPlan { config: SwinSslConfig { cut_out, ..SwinSslConfig::default() }, patch: [16; 3] }
    }

    fn ramp(offset: f32) -> Vec<f32> {
        (0..16 * 16 * 16).map(|i| offset + i as f32).collect()
    }

    #[test]
    fn sizes_are_as_published() {
        let device = Device::flex();
        let init = &mut Init { device: &device, rng: &mut ChaCha8Rng::seed_from_u64(1) };
        let network = SwinUnetrConfig::published();
        let widths: Vec<usize> = network.levels().into_iter().map(|level| level.width).collect();
        let mut count = 0;
        entries(&SwinSslHeads::new(&widths, init), |entry| count += entry.shape.iter().product::<usize>());
        assert_eq!(count, 11_035_189);
        entries(&network.encoder(init), |entry| count += entry.shape.iter().product::<usize>());
        assert_eq!(count, 19_097_191);
    }

    #[test]
    fn zero_logits_are_undecided_between_four_turns() {
        let logits = Tensor::zeros([2, TURNS], &Device::flex());
        let loss: f32 = classification(logits, &[Some(3), Some(1)], &[1.0; 2]).into_scalar();
        assert!((loss - 1.386_294).abs() < 1e-6, "{loss}");
    }

    /// Without boxes the view is its target, the patch turned; with them it is not.
    #[test]
    fn a_view_without_boxes_is_the_turned_patch() {
        let (voxels, mut rng) = (ramp(0.0), ChaCha8Rng::seed_from_u64(1));
        let mut seen = [false; TURNS];
        for _ in 0..40 {
            let whole = plan(CutOutConfig { most: 0.0, ..CutOutConfig::default() }).view(&voxels, &mut rng);
            let turn = Turn { quarters: whole.quarters, ..Turn::default() };
            assert_eq!(whole.target, turn.of(&voxels, [16; 3]));
            assert_eq!(View::seen(&[&whole, &whole], [16; 3]), vec![whole.target.clone(); 2]);
            seen[whole.quarters] = true;
            let cut = plan(CutOutConfig::default()).view(&voxels, &mut rng);
            assert!(cut.target != cut.cut);
        }
        assert_eq!(seen, [true; TURNS]);
    }

    /// The first view copies from the second, which is whole; the second from the first, which is cut.
    #[test]
    fn boxes_are_copied_from_another_sample() {
        let plan = plan(CutOutConfig::default());
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        let mut first = plan.view(&ramp(10_000.0), &mut rng);
        let mut second = plan.view(&ramp(20_000.0), &mut rng);
        (first.other, second.other) = (0.6, 0.2);
        let seen = View::seen(&[&first, &second], [16; 3]);
        let mut expected = first.cut.clone();
        first.copied.iter().for_each(|cut| cut.fill_from(&mut expected, &second.target, [16; 3]));
        assert!(expected == seen[0] && expected != first.cut);
        let mut expected = second.cut.clone();
        second.copied.iter().for_each(|cut| cut.fill_from(&mut expected, &seen[0], [16; 3]));
        assert!(expected == seen[1] && expected != second.cut);
        // A sample that would copy from itself does not.
        first.other = 0.0;
        assert!(View::seen(&[&first, &second], [16; 3])[0] == first.cut);
    }
}
