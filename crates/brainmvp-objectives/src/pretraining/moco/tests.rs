use std::collections::BTreeMap;

use brainmvp_nets::weights::{entries, visit, visit_gradients};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::pretraining::test_cases::untrained;

const PATCH: [usize; 3] = [32; 3];

fn moco(config: MocoConfig, device: &Device) -> Moco {
    let config = MocoConfig { hidden: 16, width: 8, ..config };
    untrained(&config, &NetworkConfig::Unetr(UnetrConfig::tiny()), PATCH, device)
}

/// Samples of as many persons.
fn samples(count: u64) -> Vec<MocoSample> {
    let view = |person: u64, view: u64| {
        let value = |i: usize| (i as f32 * 0.013 * (person + 1) as f32 + view as f32).sin();
        (0..PATCH.iter().product()).map(value).collect()
    };
    let identity = |person| Identity { person, data_set: 0 };
    (0..count)
        .map(|n| MocoSample { views: [view(n, 0), view(n, 1)], identity: identity(n), step: None })
        .collect()
}

fn values(branch: &Branch) -> Vec<f32> {
    let mut all = Vec::new();
    visit(branch, |_, data| all.extend_from_slice(data.as_slice().unwrap()));
    all
}

/// The loss of some samples, and the gradients by name.
fn gradients(moco: &Moco, samples: &[MocoSample]) -> (f32, BTreeMap<String, Vec<f32>>) {
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let total = moco.forward(samples, Moment::default(), &mut Pass::training(&mut rng)).total;
    let (loss, slopes) = (total.clone().into_scalar(), total.backward());
    let mut all = BTreeMap::new();
    visit_gradients(moco, &slopes, |entry, data| {
        all.insert(entry.path.to_owned(), data.as_slice::<f32>().unwrap().to_vec());
    });
    (loss, all)
}

#[test]
fn projector_and_predictor_are_as_large_as_published() {
    let device = Device::flex();
    let init = &mut Init { device: &device, rng: &mut ChaCha8Rng::seed_from_u64(1) };
    let MocoConfig { hidden, width, .. } = MocoConfig::DEFAULT;
    let count = |perceptron: &Perceptron| {
        let mut count = 0;
        entries(perceptron, |entry| count += entry.shape.iter().product::<usize>());
        count
    };
    assert_eq!(count(&Perceptron::new(&[768, hidden, hidden, width], init)), 20_987_904);
    assert_eq!(count(&Perceptron::new(&[width, hidden, width], init)), 2_105_344);
}

#[test]
fn two_cases_that_are_told_apart_have_the_loss_by_hand() {
    let device = Device::flex();
    let rows = Tensor::<2>::eye(2, &device);
    let both = [rows.clone(), rows];
    let of = [0, 1].map(|person| Identity { person, data_set: 0 });
    for (temperature, expected) in [(0.2, 0.005_372_28_f32), (1.0, 1.253_046_6)] {
        let found: f32 = loss(both.clone(), both.clone(), &of, temperature).into_scalar();
        assert!((found - expected).abs() < 1e-6, "{found} instead of {expected}");
    }
    // One person has no negatives.
    let same = [Identity { person: 0, data_set: 0 }; 2];
    assert!(loss(both.clone(), both, &same, 0.2).into_scalar::<f32>().abs() < 1e-6);
}

#[test]
fn the_momentum_rises_to_one() {
    let at = |step| MocoConfig::DEFAULT.momentum_at(Moment { step, total_steps: 100, epoch: 0 });
    for (step, expected) in [(0, 0.99), (50, 0.995), (100, 1.0)] {
        assert!((at(step) - expected).abs() < 1e-12, "{step}");
    }
}

#[test]
fn the_teacher_begins_as_its_student_has_no_gradient_and_follows() {
    let device = Device::flex().autodiff();
    let moco = moco(MocoConfig::DEFAULT, &device);
    let start = values(&moco.student);
    assert_eq!(values(&moco.teacher), start);
    let (_, slopes) = gradients(&moco, &samples(3));
    assert!(slopes.keys().any(|path| path.starts_with("student.projector.")));
    assert!(slopes.keys().any(|path| path.starts_with("predictor.")));
    assert!(!slopes.keys().any(|path| path.starts_with("teacher.")));
    let mut rng = ChaCha8Rng::seed_from_u64(9);
    let mut init = Init { device: &device, rng: &mut rng };
    let student = Branch::new(&UnetrConfig::tiny(), &moco.config, &mut init);
    // In the middle of a run, half of the change of the start.
    let at = Moment { step: 49, total_steps: 100, epoch: 0 };
    let moved = Moco { student, ..moco }.after_step(at);
    let pairs = values(&moved.teacher).into_iter().zip(start).zip(values(&moved.student));
    for ((teacher, before), student) in pairs {
        assert!((teacher - (0.995 * before + 0.005 * student)).abs() < 1e-6);
    }
}

#[test]
fn a_frozen_embedding_has_no_gradient() {
    let device = Device::flex().autodiff();
    let embedding = "student.encoder.patch_embedding.patch_embeddings.weight";
    for frozen_embedding in [true, false] {
        let moco = moco(MocoConfig { frozen_embedding, ..MocoConfig::DEFAULT }, &device);
        assert_eq!(!gradients(&moco, &samples(3)).1.contains_key(embedding), frozen_embedding);
    }
}

#[test]
fn the_mean_of_all_tokens_needs_no_other_token() {
    let device = Device::flex().autodiff();
    let moco = moco(MocoConfig { feature: MocoFeature::Mean, ..MocoConfig::DEFAULT }, &device);
    assert!(moco.student.token.is_none());
    let (loss, slopes) = gradients(&moco, &samples(3));
    assert!(loss > 0.0 && slopes.contains_key("student.encoder.norm.weight"));
}

/// A step of six cases has the loss and the gradients of one batch, in whatever batches they come.
#[test]
fn batches_that_have_met_are_one() {
    let device = Device::flex().autodiff();
    let moco = moco(MocoConfig { frozen_embedding: false, ..MocoConfig::DEFAULT }, &device);
    let (whole, expected) = gradients(&moco, &samples(6));
    let largest = |slopes: &[f32]| slopes.iter().fold(0.0_f32, |largest, slope| largest.max(slope.abs()));
    // A shift before a batch norm has no slope but that of rounding.
    let rounding = 1e-6 * expected.values().map(|slopes| largest(slopes)).fold(0.0, f32::max);
    for size in [1, 2, 3] {
        let mut samples = samples(6);
        moco.meet(&mut samples.chunks_mut(size).collect::<Vec<_>>(), &Ranks::alone());
        let parts: Vec<_> = samples.chunks(size).map(|batch| gradients(&moco, batch)).collect();
        for (path, whole) in &expected {
            let largest = largest(whole);
            for (i, slope) in whole.iter().enumerate() {
                let mean = parts.iter().map(|(_, part)| part[path][i]).sum::<f32>() / parts.len() as f32;
                let near = (mean - slope).abs() < 1e-3 * largest + rounding;
                assert!(near, "{path}: {mean}, not {slope}");
            }
        }
        assert!(parts.iter().all(|(loss, _)| (loss - whole).abs() < 1e-5), "{whole}");
    }
    // Without each other, their losses are others.
    let alone = gradients(&moco, &samples(2)).0;
    assert!((alone - whole).abs() > 1e-3);
}
