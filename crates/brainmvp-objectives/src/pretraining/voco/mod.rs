//! VoCo (Wu et al., CVPR 2024): where a crop of a head is from, told by how alike it is to crops of known places.
//!
//! The middle of a head is divided into base crops. Random crops of it are compared with all of them, and are to be as alike
//! to each as they overlap it; base crops are to be unlike each other. A teacher, which follows the network, makes one of
//! the two sides of each comparison. A case takes part with any of its modalities, one at a time; how many it has makes no
//! difference. What of the region is outside the case is 0.

mod crops;
mod loss;

use brainmvp_nets::Init;
use brainmvp_nets::layers::{Linear, Pass, mean_over_voxels};
use brainmvp_nets::networks::{Encode as _, Network as _, NetworkConfig, PresetName, Swin, SwinUnetrConfig};
use brainmvp_nets::weights::{Head, follow};
use burn::module::Module;
use burn::tensor::Tensor;
use burn::tensor::activation::relu;
use rand::Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use self::crops::{VocoPlan, VocoSample};
use self::loss::{Terms, likeness};
use super::tensors::{picture, standardised, volumes};
use super::{Kept, KeptPart, Method, MethodPreset, Pretraining, Setup, Training, swin};
use crate::limits;
use crate::losses::unit;
use crate::patch::PatchSource;
use crate::turn::{Axis, Turn};
use crate::{Evaluation, Moment, Objective, Scene};

/// The settings of the method. A crop has the size of a patch.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct VocoConfig {
    /// Base crops along x, y and z; each has the size of a patch.
    pub grid: [usize; 3],
    /// Random crops of a case.
    pub crops: usize,
    /// Channels of the projector.
    pub projector: usize,
    /// Share of the teacher that stays in each step.
    pub momentum: f64,
    /// Whether only the first of two base crops has a gradient of their likeness, as in the released program: the last one
    /// is then never moved away from the others.
    pub detached: bool,
    /// Chance that a crop is mirrored along an axis.
    pub mirror: f64,
    /// Chance that it is turned about z.
    pub turn: f64,
    /// Chance that all intensities of a crop are shifted.
    pub shift_chance: f64,
    /// The largest of these shifts.
    pub shift: f32,
}

impl Default for VocoConfig {
    fn default() -> Self {
        Self {
            grid: [3, 3, 2],
            crops: 4,
            projector: 2048,
            momentum: 0.9,
            detached: false,
            mirror: 0.2,
            turn: 0.2,
            shift_chance: 0.1,
            shift: 0.1,
        }
    }
}

/// The largest number of base crops along an axis, and of random crops.
const MOST_CROPS: u64 = 64;

/// The most channels of the projector.
const MOST_CHANNELS: u64 = 8192;

impl Method for VocoConfig {
    const TITLE: &'static str = "VoCo (Wu et al.)";
    const ABOUT: &'static str = "where a crop is from, told by crops of known places";
    type Objective = Voco;

    fn network() -> PresetName {
        swin::preset()
    }

    /// With the grid, 192 x 192 x 128 voxels: a head at 1 mm.
    fn patch() -> [usize; 3] {
        [64; 3]
    }

    /// All base crops and random ones.
    fn views(&self) -> usize {
        self.grid.iter().product::<usize>() + self.crops
    }

    fn training(_preset: MethodPreset) -> Training {
        Training {
            batch_size: 2,
            learning_rate: 1e-4,
            warmup_steps: 5000,
            weight_decay: 0.01,
            ..Training::default()
        }
    }

    fn problem(&self, network: &NetworkConfig, patch: [usize; 3]) -> Option<String> {
        if let Some(problem) = swin::problem(network) {
            return Some(problem);
        }
        let [x, y, z] = self.grid.map(|n| n as u64);
        let counts = [
            ("method.grid", x, MOST_CROPS),
            ("method.grid", y, MOST_CROPS),
            ("method.grid", z, MOST_CROPS),
            ("method.crops", self.crops as u64, MOST_CROPS),
            ("method.projector", self.projector as u64, MOST_CHANNELS),
        ];
        let chances = [
            ("method.momentum", self.momentum),
            ("method.mirror", self.mirror),
            ("method.turn", self.turn),
            ("method.shift_chance", self.shift_chance),
            ("method.shift", f64::from(self.shift)),
        ];
        let turned = (self.turn > 0.0 && !Turn::is_possible(patch, Axis::Z))
            .then(|| format!("patch.size {patch:?} must be as long along x as along y, or method.turn 0"));
        limits::counts(&counts).or_else(|| limits::shares(&chances)).or(turned)
    }

    fn build<S: PatchSource>(&self, setup: &Setup<'_, S>, init: &mut Init<'_>) -> Result<Voco, S::Error> {
        let network = swin::sizes(setup.network);
        let student = Branch::new(network, self.projector, init);
        let teacher = follow(Branch::new(network, self.projector, init), &student, 0.0);
        Ok(Voco { student, teacher, config: *self, patch: setup.patch })
    }
}

/// The network, and its teacher.
#[derive(Module, Debug)]
pub struct Voco {
    /// What is trained.
    pub student: Branch,
    /// What follows it; its encoder is kept after pre-training.
    pub teacher: Branch,
    #[module(skip)]
    config: VocoConfig,
    #[module(skip)]
    patch: [usize; 3],
}

/// An encoder with its projector.
#[derive(Module, Debug)]
pub struct Branch {
    /// Of crops.
    pub encoder: Swin,
    /// Its layers, with a batch norm and a `ReLU` between them.
    pub projector: Vec<Linear>,
}

impl Branch {
    fn new(network: &SwinUnetrConfig, width: usize, init: &mut Init<'_>) -> Self {
        let deepest = network.levels().last().map_or(0, |level| level.width);
        let encoder = network.encoder(init);
        let projector = [deepest, width, width].map(|inputs| Linear::new(inputs, width, init));
        Self { encoder, projector: projector.into() }
    }

    /// A vector of length 1 for each crop, `[N, D, H, W, 1]` to `[N, F]`.
    fn describe(&self, crops: Tensor<5>, pass: &mut Pass<'_>) -> Tensor<2> {
        let pooled = mean_over_voxels(self.encoder.forward(crops, pass).deepest());
        let projected = self.projector.iter().enumerate().fold(pooled, |x, (layer, linear)| {
            linear.forward(if layer == 0 { x } else { relu(standardised(x, &pass.norms)) })
        });
        unit(projected)
    }
}

impl Voco {
    /// The terms of one case, of the descriptions of its crops by student and teacher, `[bases + crops, F]` each.
    fn terms(&self, [student, teacher]: [Tensor<2>; 2], overlaps: &[f32]) -> Terms {
        let bases: usize = self.config.grid.iter().product();
        let split =
            |rows: Tensor<2>| [rows.clone().narrow(0, 0, bases), rows.narrow(0, bases, self.config.crops)];
        let ([bases, crops], [known_bases, known_crops]) = (split(student), split(teacher));
        let alike = (likeness(crops, known_bases) + likeness(known_crops, bases.clone())) / 2.0;
        let [overlapping, apart] = loss::of_crops(alike, overlaps);
        Terms { overlapping, apart, bases: loss::of_bases(bases, self.config.detached) }
    }
}

impl Objective for Voco {
    type Plan = VocoPlan;
    type Sample = VocoSample;

    fn plan(&self) -> VocoPlan {
        VocoPlan { config: self.config, patch: self.patch }
    }

    fn draw<S: PatchSource>(
        plan: &VocoPlan,
        scene: Scene<'_, S>,
        rng: &mut dyn Rng,
    ) -> Result<VocoSample, S::Error> {
        plan.draw(scene.case(), scene.target, rng)
    }

    fn forward(&self, samples: &[VocoSample], _at: Moment, pass: &mut Pass<'_>) -> Evaluation {
        let device = self.student.projector[0].weight.val().device();
        let crops = samples.iter().flat_map(|sample| &sample.crops).map(Vec::as_slice);
        let crops = volumes(crops, self.patch, &device);
        // The crops of a sample follow each other, so that those of a rank are of one piece.
        pass.samples = crops.dims()[0];
        let student = self.student.describe(crops.clone(), pass);
        let teacher = self.teacher.describe(crops.clone(), pass).detach();
        let count = samples.first().map_or(0, |sample| sample.crops.len());
        let terms: Vec<Terms> = samples
            .iter()
            .enumerate()
            .map(|(index, sample)| {
                let of_case = |rows: &Tensor<2>| rows.clone().narrow(0, index * count, count);
                self.terms([of_case(&student), of_case(&teacher)], &sample.overlaps)
            })
            .collect();
        let mean = |term: fn(&Terms) -> Tensor<1>| Tensor::cat(terms.iter().map(term).collect(), 0).mean();
        let overlapping = mean(|terms| terms.overlapping.clone());
        let apart = mean(|terms| terms.apart.clone());
        let bases = mean(|terms| terms.bases.clone());
        let total = overlapping.clone() + apart.clone() + bases.clone();
        // The first random crop, and the base crop that it overlaps most.
        let first = samples.first().map_or(&[][..], |sample| &sample.overlaps[..count - self.config.crops]);
        let most = (0..first.len()).max_by(|a, b| first[*a].total_cmp(&first[*b])).unwrap_or(0);
        Evaluation {
            quality: total.clone().detach(),
            total,
            parts: vec![("loss_overlapping", overlapping), ("loss_apart", apart), ("loss_bases", bases)],
            pictures: vec![
                ("crop", picture(&crops, count - self.config.crops)),
                ("base crop", picture(&crops, most)),
            ],
        }
    }

    fn after_step(self, _at: Moment) -> Self {
        let teacher = follow(self.teacher, &self.student, self.config.momentum);
        Self { teacher, ..self }
    }
}

impl Pretraining for Voco {
    fn kept() -> Kept {
        Kept {
            head: Head::None,
            parts: vec![KeptPart::new("teacher.encoder.", "encoder.")],
            by_modality: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use brainmvp_nets::weights::{entries, visit, visit_gradients};
    use burn::tensor::{Device, Distribution};
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;

    fn voco(device: &Device) -> Voco {
        let init = &mut Init { device, rng: &mut ChaCha8Rng::seed_from_u64(1) };
        let config = VocoConfig { grid: [2, 1, 1], crops: 1, projector: 8, ..VocoConfig::default() };
        let network = SwinUnetrConfig::tiny();
        let [student, teacher] = [(); 2].map(|()| Branch::new(&network, config.projector, init));
        Voco { teacher: follow(teacher, &student, 0.0), student, config, patch: [32; 3] }
    }

    fn values(branch: &Branch) -> Vec<f32> {
        let mut all = Vec::new();
        visit(branch, |_, data| all.extend_from_slice(data.as_slice().unwrap()));
        all
    }

    fn sample(device: &Device) -> VocoSample {
        device.seed(7);
        let crop = |_| {
            let voxels = Tensor::<1>::random([32 * 32 * 32], Distribution::Default, device);
            voxels.into_data().try_to_vec().unwrap()
        };
        VocoSample { crops: (0..3).map(crop).collect(), overlaps: vec![0.25, 0.75] }
    }

    #[test]
    fn the_projector_is_as_large_as_published() {
        let device = Device::flex();
        let init = &mut Init { device: &device, rng: &mut ChaCha8Rng::seed_from_u64(1) };
        let branch = Branch::new(&SwinUnetrConfig { feature: 48, ..SwinUnetrConfig::tiny() }, 2048, init);
        let mut count = 0;
        entries(&branch.projector, |entry| count += entry.shape.iter().product::<usize>());
        assert_eq!(count, 9_967_616);
    }

    #[test]
    fn the_teacher_begins_as_its_student_has_no_gradient_and_follows() {
        let device = Device::flex().autodiff();
        let voco = voco(&device);
        let start = values(&voco.student);
        assert_eq!(values(&voco.teacher), start);
        let evaluation = voco.forward(
            &[sample(&device)],
            Moment::default(),
            &mut Pass::training(&mut ChaCha8Rng::seed_from_u64(1)),
        );
        let gradients = evaluation.total.backward();
        let count = |branch: &Branch| {
            let mut found = 0;
            visit_gradients(branch, &gradients, |_, _| found += 1);
            found
        };
        assert!(count(&voco.student) > 10);
        assert_eq!(count(&voco.teacher), 0);
        let mut rng = ChaCha8Rng::seed_from_u64(9);
        let other = Branch::new(&SwinUnetrConfig::tiny(), 8, &mut Init { device: &device, rng: &mut rng });
        let moved = Voco { student: other, ..voco }.after_step(Moment::default());
        let pairs = values(&moved.teacher).into_iter().zip(start).zip(values(&moved.student));
        for ((teacher, before), student) in pairs {
            assert!((teacher - (0.9 * before + 0.1 * student)).abs() < 1e-6);
        }
    }
}
