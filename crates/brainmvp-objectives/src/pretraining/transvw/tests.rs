//! The classes that are found, what is drawn of them, and what is learnt from which loss.

use std::cell::RefCell;

use brainmvp_nets::networks::{NetworkConfig, PresetName};
use brainmvp_nets::weights;
use brainmvp_volume::{Affine, Grid, Modality};
use burn::tensor::TensorData;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::Frame;
use crate::pretraining::test_cases::Case;
use crate::pretraining::{Method as _, Setup, Waiting};

const GRID: [usize; 3] = [48; 3];

/// A head of this brightness, a ball in the middle; each voxel says where it is by a small part of its value.
fn case(person: &'static str, brightness: f32) -> Case {
    let value = move |at: [isize; 3]| {
        let squared: isize = at.iter().map(|i| (i - 24).pow(2)).sum();
        let [x, y, z] = at.map(|i| i as f32);
        if squared < 22 * 22 { brightness + 1e-3 * x + 1e-4 * y + 1e-5 * z } else { 0.0 }
    };
    let (crop, shape) = ([4, 2, 3], [40; 3]);
    let modalities = vec![Modality::T1, Modality::T2];
    Case { person, registered: GRID, crop, shape, modalities, value: Box::new(value) }
}

fn cases() -> Vec<Case> {
    [("a", 0.1), ("b", 0.5), ("c", 0.15), ("d", 0.8), ("e", 0.45)].map(|(p, value)| case(p, value)).into()
}

fn small() -> TransVwConfig {
    let discovery = DiscoveryConfig { features: Features::Image, size: [32; 3], steps: 2 };
    TransVwConfig { classes: 6, instances: 2, cube: 16, vary: 0.0, discovery, ..TransVwConfig::default() }
}

fn network() -> NetworkConfig {
    PresetName::named("unet3d-b-tiny").unwrap().network()
}

fn build_while(config: &TransVwConfig, cases: &[Case], device: &Device, waiting: &dyn Waiting) -> TransVw {
    let reference = Grid::new(GRID, Affine::from_spacing([1.0; 3], [0.0; 3]));
    let (network, frame) = (network(), Frame { reference, largest: GRID });
    let setup = Setup { network: &network, patch: [16; 3], frame: &frame, cases, is_new: true, waiting };
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let Ok(built) = config.build(&setup, &mut Init { device, rng: &mut rng });
    built
}

fn build(config: &TransVwConfig, cases: &[Case]) -> TransVw {
    build_while(config, cases, &Device::flex().autodiff(), &())
}

#[test]
fn places_are_apart_and_their_cases_are_alike() {
    let found = build(&small(), &cases()).words.get();
    assert_eq!(found.places.len(), 6);
    for (number, place) in found.places.iter().enumerate() {
        for other in &found.places[..number] {
            let squared: usize = (0..3).map(|axis| place[axis].abs_diff(other[axis]).pow(2)).sum();
            assert!(squared >= 25, "{place:?} {other:?}");
        }
    }
    // Each of the dark and each of the bright ones has one that is nearest to it.
    let nearest = [2, 4, 0, 1, 1];
    for instances in &found.instances {
        assert_eq!(instances[1], nearest[instances[0]], "{instances:?}");
    }
}

#[test]
fn cubes_of_a_class_are_of_one_place() {
    let cases = cases();
    let objective = build(&TransVwConfig { instances: 5, ..small() }, &cases);
    let plan = objective.plan();
    for index in 0..5 {
        for seed in 0..6 {
            let scene = Scene { cases: &cases, index, target: None };
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let Ok(sample) = TransVw::draw(&plan, scene, &mut rng);
            let place = plan.places[sample.class.unwrap()];
            let expected = (cases[index].value)(std::array::from_fn(|axis| place[axis] as isize + 8));
            assert_eq!(sample.target[(8 * 16 + 8) * 16 + 8], expected);
            assert_ne!(sample.distorted, sample.target);
        }
    }
}

#[test]
fn a_case_in_no_class_is_only_restored() {
    let cases = cases();
    let objective = build(&TransVwConfig { classes: 1, instances: 1, ..small() }, &cases);
    let plan = objective.plan();
    let classified = (0..5).filter(|&index| {
        let scene = Scene { cases: &cases, index, target: None };
        let Ok(sample) = TransVw::draw(&plan, scene, &mut ChaCha8Rng::seed_from_u64(3));
        sample.class.is_some()
    });
    assert_eq!(classified.count(), 1);
}

/// All logits are 0: the cross-entropy of two classes is ln 2, and counts a hundredth. What is restored is 0.5.
#[test]
fn losses_by_hand() {
    let cases = [case("a", -1.0)];
    let objective = build(&TransVwConfig { classes: 2, ..small() }, &cases);
    let objective = weights::load(objective, |entry| {
        let is_weight = !entry.path.starts_with("words.");
        let zeros = || TensorData::new(vec![0.0f32; entry.shape.iter().product()], entry.shape.to_vec());
        Ok::<_, ()>(is_weight.then(zeros))
    });
    let sample = TransVwSample { class: Some(1), target: vec![0.0; 4096], distorted: vec![0.0; 4096] };
    let at = Moment::default();
    let result =
        objective.unwrap().forward(&[sample], at, &mut Pass::training(&mut ChaCha8Rng::seed_from_u64(0)));
    let parts: Vec<f32> = result.parts.into_iter().map(|(_, loss)| loss.into_scalar()).collect();
    assert!((parts[0] - 0.25).abs() < 1e-6 && (parts[1] - 2f32.ln()).abs() < 1e-6, "{parts:?}");
    assert!((result.total.into_scalar::<f32>() - 0.25 - 0.006_931_47).abs() < 1e-6);
}

#[test]
fn recognition_moves_the_encoder_and_its_head_alone() {
    let cases = cases();
    let objective = build(&TransVwConfig { weight_restoration: 0.0, ..small() }, &cases);
    let plan = objective.plan();
    let scene = Scene { cases: &cases, index: 0, target: None };
    let Ok(sample) = TransVw::draw(&plan, scene, &mut ChaCha8Rng::seed_from_u64(1));
    let total = objective
        .forward(&[sample], Moment::default(), &mut Pass::training(&mut ChaCha8Rng::seed_from_u64(0)))
        .total;
    let mut moved = std::collections::BTreeSet::new();
    weights::visit_gradients(&objective, &total.backward(), |entry, data| {
        if data.iter::<f32>().any(|slope| slope != 0.0) {
            moved.insert(entry.path.split('.').next().unwrap().to_owned());
        }
    });
    assert_eq!(moved.into_iter().collect::<Vec<_>>(), ["classifier", "encoder"]);
}

/// Writes down what it is told, and stops after some questions.
struct Impatient {
    told: RefCell<Vec<String>>,
    patience: RefCell<usize>,
}

impl Impatient {
    fn new(patience: usize) -> Self {
        Self { told: RefCell::default(), patience: RefCell::new(patience) }
    }
}

impl Waiting for Impatient {
    fn note(&self, text: &str) {
        self.told.borrow_mut().push(text.to_owned());
    }

    fn is_stopped(&self) -> bool {
        let left = self.patience.borrow().saturating_sub(1);
        self.patience.replace(left) == 0
    }
}

#[test]
fn an_auto_encoder_tells_cases_apart_and_can_be_stopped() {
    let discovery = DiscoveryConfig { features: Features::AutoEncoder, size: [16; 3], steps: 3 };
    let config = TransVwConfig { discovery, ..small() };
    let device = Device::flex().autodiff();
    let patient = Impatient::new(usize::MAX);
    let found = build_while(&config, &cases(), &device, &patient).words.get();
    assert!(found.instances.iter().all(|instances| instances.len() == 2 && instances[0] != instances[1]));
    let told = patient.told.into_inner().join("; ");
    assert!(told.contains("auto-encoder: step 3 of 3") && told.contains("case 5 of 5"), "{told}");
    // The same again, and not the whole of it.
    assert_eq!(build_while(&config, &cases(), &device, &()).words.get(), found);
    for patience in [0, 3, 7, 9] {
        let impatient = Impatient::new(patience);
        build_while(&config, &cases(), &device, &impatient);
        let told = impatient.told.into_inner().join("; ");
        assert!(!told.contains("case 5 of 5"), "{patience}: {told}");
    }
}

#[test]
fn the_classifier_has_as_many_parameters_as_published() {
    let device = Device::flex();
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let classifier = Classifier::new(512, 50, &mut Init { device: &device, rng: &mut rng });
    let mut count = 0;
    weights::entries(&classifier, |entry| {
        count += if entry.path.contains("running") { 0 } else { entry.shape.iter().product::<usize>() };
    });
    assert_eq!(count, 14_210_098);
}
