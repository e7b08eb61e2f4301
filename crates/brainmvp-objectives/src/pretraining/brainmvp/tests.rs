//! What each task costs and changes, and what it leaves alone.

use std::cell::RefCell;
use std::convert::Infallible;

use brainmvp_nets::networks::UniFormerConfig;
use brainmvp_nets::weights;
use brainmvp_volume::{Affine, Grid, Modality};
use burn::tensor::Device;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::pretraining::MethodPreset;

const PATCH: [usize; 3] = [16; 3];
const SIZE: [usize; 3] = [24; 3];

/// A case of noise, which remembers what was read of it.
struct Case {
    person: String,
    modalities: Vec<Modality>,
    read: RefCell<Vec<Modality>>,
}

impl Case {
    fn new(person: &str, modalities: &[Modality]) -> Self {
        Self { person: person.to_owned(), modalities: modalities.to_vec(), read: RefCell::default() }
    }
}

impl PatchSource for Case {
    type Error = Infallible;

    fn id(&self) -> &str {
        &self.person
    }

    fn data_set(&self) -> &'static str {
        "set"
    }

    fn person(&self) -> &str {
        &self.person
    }

    fn shape(&self) -> [usize; 3] {
        SIZE
    }

    fn modalities(&self) -> &[Modality] {
        &self.modalities
    }

    fn patch(&self, modality: Modality, start: [isize; 3], size: [usize; 3]) -> Result<Vec<f32>, Infallible> {
        self.read.borrow_mut().push(modality);
        let seed = start.iter().fold(modality.index() as u64 + 1, |seed, at| seed * 31 + *at as u64);
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        Ok((0..size.iter().product()).map(|_| rng.random_range(0.1..1.0)).collect())
    }
}

/// A case with two modalities and one with a single modality.
fn cases() -> [Case; 2] {
    [Case::new("a", &[Modality::T1, Modality::T2]), Case::new("b", &[Modality::Dwi])]
}

fn with_tasks(tasks: &[Task]) -> BrainMvpConfig {
    let config = BrainMvpConfig {
        tasks: tasks.to_vec(),
        contrast_from_epoch: 0,
        ..BrainMvpConfig::of(MethodPreset::Default)
    };
    assert_eq!(config.settings_problem(PATCH), None);
    config
}

fn objective(config: &BrainMvpConfig, device: &Device) -> BrainMvp {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let grid = Grid::new(SIZE, Affine::from_spacing([1.0; 3], [0.0; 3]));
    let templates = Templates::new(grid, 1, Some(1.0), device);
    let network = NetworkConfig::UniFormer(UniFormerConfig::tiny());
    BrainMvp::new(config, &network, templates, PATCH, &mut Init { device, rng: &mut rng })
}

fn draw(plan: &BrainMvpPlan, case: &Case, seed: u64) -> BrainMvpSample {
    let Ok(sample) = BrainMvp::draw(plan, Scene::of(case), &mut ChaCha8Rng::seed_from_u64(seed));
    sample
}

fn samples(objective: &BrainMvp) -> Vec<BrainMvpSample> {
    cases().iter().enumerate().map(|(i, case)| draw(&objective.plan(), case, i as u64)).collect()
}

fn values(x: Tensor<5>) -> Vec<f32> {
    x.into_data().try_to_vec().unwrap()
}

const ABLATIONS: [(&[Task], usize, &[&str], bool); 7] = [
    (&[Task::Cross], 1, &["loss_cross"], false),
    (&[Task::Distill], 1, &["loss_distill"], true),
    (&[Task::Contrast], 2, &["loss_contrast"], false),
    (&[Task::Cross, Task::Distill], 2, &["loss_cross", "loss_distill"], true),
    (&[Task::Cross, Task::Contrast], 2, &["loss_cross", "loss_contrast"], false),
    (&[Task::Distill, Task::Contrast], 2, &["loss_distill", "loss_contrast"], true),
    (
        &[Task::Cross, Task::Distill, Task::Contrast],
        2,
        &["loss_cross", "loss_distill", "loss_contrast"],
        true,
    ),
];

#[test]
fn a_task_that_is_off_makes_no_view_and_moves_no_template() {
    let device = Device::flex().autodiff();
    for (tasks, views, parts, learns) in ABLATIONS {
        let objective = objective(&with_tasks(tasks), &device);
        let samples = samples(&objective);
        assert_eq!(objective.views(&samples, 0).views.len(), views, "{tasks:?}");
        let evaluation = objective.forward(
            &samples,
            Moment::default(),
            &mut Pass::training(&mut ChaCha8Rng::seed_from_u64(0)),
        );
        let told: Vec<&str> = evaluation.parts.iter().map(|(name, _)| *name).collect();
        assert_eq!(told, parts, "{tasks:?}");
        let (mut templates, mut decoder) = (Vec::new(), false);
        weights::visit_gradients(&objective, &evaluation.total.backward(), |entry, _| {
            templates.extend(entry.path.strip_prefix("templates.volumes.").map(str::to_owned));
            decoder |= entry.path.starts_with("decoder.");
        });
        let used =
            samples.iter().map(|sample| sample.modality.index()).collect::<std::collections::BTreeSet<_>>();
        let expected = used.into_iter().filter(|_| learns).map(|index| index.to_string());
        assert_eq!(templates, expected.collect::<Vec<_>>(), "{tasks:?}");
        assert_eq!(decoder, tasks != [Task::Contrast], "{tasks:?}");
    }
}

#[test]
fn a_task_that_is_off_shares_no_batch_statistics() {
    let device = Device::flex().autodiff();
    let both = objective(&with_tasks(&[Task::Cross, Task::Distill]), &device);
    let samples = samples(&both);
    let [cross, distilled]: [Tensor<5>; 2] = both.views(&samples, 0).views.try_into().unwrap();
    for (task, view) in [(Task::Cross, cross), (Task::Distill, distilled)] {
        let alone = objective(&with_tasks(&[task]), &device);
        let targets = alone.views(&samples, 0).targets;
        let (reconstructed, _) = alone.reconstruct(view, &mut Pass::still());
        let expected = losses::reconstruction(reconstructed, targets, losses::ReconstructionNorm::Squared);
        let ours = alone
            .forward(&samples, Moment::default(), &mut Pass::training(&mut ChaCha8Rng::seed_from_u64(0)))
            .total;
        assert_eq!(ours.into_scalar::<f32>(), expected.into_scalar::<f32>(), "{task:?}");
    }
}

#[test]
fn all_tasks_see_the_same_patches_and_only_cross_modal_views_read_a_partner() {
    let device = Device::flex();
    let whole = objective(&with_tasks(&[Task::Cross, Task::Distill, Task::Contrast]), &device);
    for seed in 0..4 {
        let [case, _] = cases();
        let expected = draw(&whole.plan(), &case, seed);
        for (tasks, ..) in ABLATIONS {
            let plan = objective(&with_tasks(tasks), &device).plan();
            let [case, _] = cases();
            let sample = draw(&plan, &case, seed);
            assert!(sample.target == expected.target && sample.template_start == expected.template_start);
            assert!(sample.mask_cross == expected.mask_cross && sample.mask_distill == expected.mask_distill);
            let distilled_only = !tasks.contains(&Task::Cross) && tasks.contains(&Task::Distill);
            let partner_read = case.read.borrow().iter().any(|read| *read != sample.modality);
            assert_eq!(partner_read, !distilled_only, "{tasks:?}");
            assert_eq!(sample.partner.is_some(), partner_read);
        }
    }
}

#[test]
fn a_single_modality_is_completed_by_its_template_or_by_nothing() {
    let device = Device::flex();
    let [_, single] = cases();
    for (tasks, learns) in [(&[Task::Cross][..], false), (&[Task::Cross, Task::Distill], true)] {
        let mut objective = objective(&with_tasks(tasks), &device);
        let template = vec![0.5; SIZE.iter().product()];
        let ramp = template.iter().enumerate().map(|(i, x)| x + i as f32 / 1e4).collect();
        objective.templates = objective.templates.fixed([(Modality::Dwi, ramp)]);
        let sample = draw(&objective.plan(), &single, 1);
        let views = objective.views(std::slice::from_ref(&sample), 0);
        let cross = values(views.views[0].clone());
        let template: Option<Vec<f32>> = views.template.map(|x| x.into_data().try_to_vec().unwrap());
        assert_eq!(template.is_some(), learns);
        for (voxel, masked) in sample.mask_cross.voxels().iter().enumerate() {
            let expected = match &template {
                _ if !masked => sample.target[voxel],
                Some(template) => template[voxel],
                None => 0.0,
            };
            assert!((cross[voxel] - expected).abs() < 1e-6);
        }
    }
}

#[test]
fn before_its_epoch_the_cross_modal_view_is_filled_from_the_template() {
    let device = Device::flex();
    let config = BrainMvpConfig { cross_from_epoch: 2, masks: Masks::Shared, ..BrainMvpConfig::default() };
    let objective = objective(&config, &device);
    let samples = samples(&objective);
    let views = |epoch| objective.views(&samples, epoch).views.into_iter().map(values).collect::<Vec<_>>();
    let [before, then] = [views(1), views(2)];
    assert_eq!(before[0], before[1], "one mask, one filling");
    assert_ne!(then[0], then[1]);
}

#[test]
fn a_queue_takes_part_and_takes_up_what_it_has_seen() {
    let device = Device::flex().autodiff();
    let all = [Task::Cross, Task::Distill, Task::Contrast];
    let queued = BrainMvpConfig { negatives: Negatives::Queue, queue_length: 3, ..with_tasks(&all) };
    let [batch, queue] = [with_tasks(&all), queued].map(|config| objective(&config, &device));
    let contrast = |objective: &BrainMvp, samples: &[BrainMvpSample]| {
        let evaluation = objective.forward(
            samples,
            Moment::default(),
            &mut Pass::training(&mut ChaCha8Rng::seed_from_u64(0)),
        );
        evaluation.parts[2].1.clone().into_scalar::<f32>()
    };
    let first = samples(&batch);
    let more = |samples: &[BrainMvpSample]| contrast(&queue, samples) - contrast(&batch, samples);
    assert!(more(&first).abs() < 1e-6, "the queue is empty");
    let other = Case::new("c", &[Modality::T1, Modality::T2]);
    let second = [draw(&batch.plan(), &other, 7), draw(&batch.plan(), &cases()[0], 8)];
    assert!(more(&second) > 0.1, "more negatives, a higher loss");
    let held = weights::handles(&queue).into_iter().filter(|named| named.path.starts_with("queue."));
    let shapes: Vec<Vec<usize>> = held.map(|named| named.shape).collect();
    assert_eq!(shapes.len(), 3);
    assert!(shapes.iter().all(|shape| shape[0] == 3), "{shapes:?}");
    assert!(weights::handles(&batch).iter().all(|named| !named.path.starts_with("queue")));
}

#[test]
fn fixed_templates_have_no_gradient_and_stay_so() {
    let device = Device::flex().autodiff();
    let objective = objective(&with_tasks(&[Task::Cross, Task::Distill]), &device);
    let ramp: Vec<f32> = (0..SIZE.iter().product()).map(|i: usize| i as f32 / 2e4).collect();
    let volumes = Modality::ALL.map(|modality| (modality, ramp.clone()));
    let fixed = BrainMvp { templates: objective.templates.clone().fixed(volumes), ..objective };
    // As a checkpoint is loaded.
    let fixed = weights::load(fixed, |_| Ok::<_, ()>(None)).unwrap();
    let evaluation = fixed.forward(
        &samples(&fixed),
        Moment::default(),
        &mut Pass::training(&mut ChaCha8Rng::seed_from_u64(0)),
    );
    weights::visit_gradients(&fixed, &evaluation.total.backward(), |entry, _| {
        assert!(!entry.path.starts_with("templates."), "{}", entry.path);
    });
    let template = fixed.views(&samples(&fixed), 0).template.unwrap();
    assert!(template.max().into_scalar::<f32>() > 0.0);
}
