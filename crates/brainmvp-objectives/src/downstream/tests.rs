//! The two tasks side by side: the same copies must weigh the same in both.

use std::collections::{BTreeMap, BTreeSet};

use brainmvp_nets::Init;
use brainmvp_nets::layers::Pass;
use brainmvp_nets::networks::{ClassificationNetwork, NetworkConfig, SegmentationNetwork, Unet3dConfig};
use brainmvp_volume::Modality;
use burn::tensor::Device;
use rand::{Rng, RngExt};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use super::copies::Copies;
use super::*;
use crate::{Evaluation, Moment, Objective};

const SIZE: usize = 16;
const PATCH: [usize; 3] = [SIZE; 3];

/// Numbers of an evaluation: the total, then its parts.
type Losses = Vec<f32>;

fn losses(evaluation: &Evaluation) -> Losses {
    let all = std::iter::once(&evaluation.total).chain(evaluation.parts.iter().map(|(_, loss)| loss));
    all.map(|loss| loss.clone().into_scalar()).collect()
}

fn plan(mixing: MixingConfig) -> CopyPlan {
    let inputs = Inputs { channels: vec![Modality::T1], missing: Missing::Zero, templates: None };
    CopyPlan { inputs, mixing, augmentation: AugmentationConfig::default() }
}

fn copies(boxes: &[&[f32]]) -> Copies {
    let change = AugmentationConfig::default().draw(&mut ChaCha8Rng::seed_from_u64(0));
    Copies { boxes: boxes.iter().map(|voxels| voxels.to_vec()).collect(), change }
}

fn noise(seed: u64) -> Vec<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..SIZE.pow(3)).map(|_| rng.random()).collect()
}

/// Of a network without batch norm, so that a copy changes nothing for another.
fn init<T>(make: impl FnOnce(&NetworkConfig, &mut Init<'_>) -> T) -> T {
    let device = Device::flex();
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    make(&NetworkConfig::Unet3d(Unet3dConfig::tiny()), &mut Init { device: &device, rng: &mut rng })
}

/// What a network that segments says of copies with these boxes.
fn segmenting(mixing: MixingConfig, boxes: &[&[f32]], rng: &mut dyn Rng) -> Losses {
    let network = init(|config, init| SegmentationNetwork::new(config, 1, init));
    let plan = SegmentingPlan {
        copies: plan(mixing),
        labels: LabelMeaning { regions: vec![BTreeSet::from([1])], ignored: BTreeSet::new() },
        labels_by_data_set: BTreeMap::new(),
        patch: PATCH,
        labelled_share: 0.0,
    };
    let members = (0..SIZE.pow(3)).map(|voxel| f32::from(u8::from(voxel % 3 == 0))).collect();
    let sample = SegmentingSample { copies: copies(boxes), members, known: None };
    losses(&Segmenting::new(network, plan).forward(&[sample], Moment::default(), &mut Pass::training(rng)))
}

/// The same of one that classifies.
fn classifying(mixing: MixingConfig, boxes: &[&[f32]], rng: &mut dyn Rng) -> Losses {
    let network = init(|config, init| ClassificationNetwork::new(config, 2, init));
    let plan = ClassifyingPlan {
        copies: plan(mixing),
        classes: vec!["a".to_owned(), "b".to_owned()],
        class_weights: vec![1.0; 2],
        resized: Resized { whole: PATCH, patch: PATCH },
    };
    let sample = ClassifyingSample { copies: copies(boxes), class: Some(1), share: 1.0 };
    losses(&Classifying::new(network, plan).forward(&[sample], Moment::default(), &mut Pass::training(rng)))
}

#[test]
fn the_supervision_of_two_copies_is_added_in_both_tasks() {
    let two = MixingConfig { with: MixWith::Zero, ..MixingConfig::default() };
    let one = MixingConfig { with: MixWith::None, ..two };
    let pooled = MixingConfig { supervision: Supervision::Pooled, ..two };
    let (a, b) = (noise(1), noise(2));
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    for task in [segmenting, classifying] {
        let mut see = |mixing, boxes: &[&[f32]]| task(mixing, boxes, &mut rng);
        let [alone, other] = [&a, &b].map(|voxels| see(one, &[voxels]));
        assert_eq!(alone.len(), 2, "one copy has nothing to agree with");
        let equal = see(two, &[&a, &a]);
        assert!((equal[1] - 2.0 * alone[1]).abs() < 1e-6, "{equal:?} {alone:?}");
        assert!(equal[2].abs() < 1e-12 && (equal[0] - equal[1]).abs() < 1e-6, "equal copies agree");
        let different = see(two, &[&a, &b]);
        assert!((different[1] - alone[1] - other[1]).abs() < 1e-5, "{different:?}");
        // The paper's 0.1, whatever the task.
        assert!(different[2] > 0.0);
        let ratio = (different[0] - different[1]) / different[2];
        assert!((ratio - 0.1).abs() < 1e-3, "{ratio}: {different:?}");
        let released = see(pooled, &[&a, &a]);
        assert!((released[1] - alone[1]).abs() < 0.01 * alone[1], "{released:?} {alone:?}");
    }
}

#[test]
fn there_are_two_copies_only_where_something_can_be_replaced() {
    let count = |with, templates| {
        let mut plan = plan(MixingConfig { with, ..MixingConfig::default() });
        plan.inputs.templates = templates;
        plan.count()
    };
    let of = |modality| {
        Some(crate::FrozenTemplates::new([2, 1, 1], None, Some(1.0), [(modality, vec![0.0, 1.0])]))
    };
    for with in [MixWith::Templates, MixWith::Mean] {
        assert_eq!(count(with, None), 1);
        assert_eq!(count(with, of(Modality::T2)), 1, "no channel has a template");
        assert_eq!(count(with, of(Modality::T1)), 2);
    }
    assert_eq!((count(MixWith::Zero, None), count(MixWith::None, of(Modality::T1))), (2, 1));
}
