//! What every pre-training method must fulfil, whichever it is. The list of methods is run through; a method that is added
//! to it is tested here without another line.

#![allow(clippy::unwrap_used)] // that is how a test fails
#![allow(clippy::print_stdout)] // which method is tested, and what comes out

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;

use brainmvp_nets::Init;
use brainmvp_nets::layers::Pass;
use brainmvp_nets::networks::{NetworkConfig, SegmentationNetwork};
use brainmvp_nets::weights::{self, FirstLayer, Head, InputChannels, Skipped, transfer};
use brainmvp_objectives::patch::PatchSource;
use brainmvp_objectives::pretraining::{
    ForMethod, Kept, KeptPart, Method, MethodConfig, MethodName, MethodPreset, MocoConfig, Negatives,
    Pretraining, Setup, VocoConfig,
};
use brainmvp_objectives::{Frame, Moment, Objective, Scene};
use brainmvp_ranks::Ranks;
use brainmvp_volume::{Affine, Grid, Modality};
use burn::tensor::{Device, Gradients, Tensor, TensorData};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

#[path = "methods/order.rs"]
mod order;

/// A case of smooth images, all of which show the same structures in different ways.
struct Case {
    person: String,
    modalities: Vec<Modality>,
    shape: [usize; 3],
    /// Whether all voxels are 0.
    is_blank: bool,
}

impl Case {
    fn new(person: &str, modalities: &[Modality], shape: [usize; 3]) -> Self {
        Self { person: person.to_owned(), modalities: modalities.to_vec(), shape, is_blank: false }
    }

    fn value(&self, modality: Modality, [x, y, z]: [isize; 3]) -> f32 {
        let at = [x, y, z];
        let inside = (0..3).all(|axis| (0..self.shape[axis] as isize).contains(&at[axis]));
        if self.is_blank || !inside {
            return 0.0;
        }
        let seed = self.person.bytes().map(f32::from).sum::<f32>() + 3.0 * modality.index() as f32;
        let wave = |axis: usize| (at[axis] as f32 * 0.35 + seed * (axis + 1) as f32).sin();
        0.5 + 0.15 * (wave(0) + wave(1) + wave(2))
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
        self.shape
    }

    fn modalities(&self) -> &[Modality] {
        &self.modalities
    }

    fn patch(&self, modality: Modality, start: [isize; 3], size: [usize; 3]) -> Result<Vec<f32>, Infallible> {
        let mut voxels = Vec::with_capacity(size.iter().product());
        for z in 0..size[2] as isize {
            for y in 0..size[1] as isize {
                let row = (0..size[0] as isize).map(|x| [start[0] + x, start[1] + y, start[2] + z]);
                voxels.extend(row.map(|at| self.value(modality, at)));
            }
        }
        Ok(voxels)
    }
}

const FOUR: [Modality; 4] = [Modality::Flair, Modality::T1, Modality::T1c, Modality::T2];

/// Cases with four modalities, with some of them, and with one.
fn cases(shape: [usize; 3]) -> Vec<Case> {
    vec![
        Case::new("a", &FOUR, shape),
        Case::new("b", &FOUR, shape),
        Case::new("c", &FOUR[1..3], shape),
        Case::new("d", &FOUR[1..2], shape),
    ]
}

/// A method's settings, its network in its small form, and the size of its patches.
struct Small {
    method: MethodConfig,
    network: NetworkConfig,
    patch: [usize; 3],
}

/// The settings of methods whose defaults take long, so that they do not.
fn quick(method: MethodConfig) -> MethodConfig {
    match method {
        MethodConfig::Voco(config) => {
            MethodConfig::Voco(VocoConfig { grid: [2, 2, 1], crops: 2, projector: 64, ..config })
        }
        MethodConfig::Moco(config) => MethodConfig::Moco(MocoConfig { hidden: 64, width: 32, ..config }),
        other => other,
    }
}

/// Every method, small enough to be tested.
fn methods() -> Vec<Small> {
    let small = |name: MethodName| {
        let method = quick(MethodConfig::of(name, MethodPreset::default()));
        let title = method.network().network().title();
        let tiny = |(preset, _, network): &(&str, &str, NetworkConfig)| {
            preset.contains("tiny") && network.title() == title
        };
        let network = NetworkConfig::presets().into_iter().find(tiny).unwrap().2;
        let large_enough = |patch: &[usize; 3]| patch[0] >= 32 && method.problem(&network, *patch).is_none();
        let patch = (1..9).map(|n| [n * network.stride(); 3]).find(large_enough).unwrap();
        Small { method, network, patch }
    };
    MethodConfig::names().into_iter().map(small).collect()
}

/// What is trained on some cases, and its samples: one of each case.
fn begin<M: Method>(
    method: &M,
    small: &Small,
    cases: &[Case],
    device: &Device,
) -> (M::Objective, Samples<M>) {
    let shape = cases[0].shape;
    let frame =
        Frame { reference: Grid::new(shape, Affine::from_spacing([1.0; 3], [0.0; 3])), largest: shape };
    let network = method.input(&small.network);
    let setup =
        Setup { network: &network, patch: small.patch, frame: &frame, cases, is_new: true, waiting: &() };
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let Ok(objective) = method.build(&setup, &mut Init { device, rng: &mut rng });
    let samples = samples::<M>(&objective, cases, 0);
    (objective, samples)
}

type Samples<M> = Vec<<<M as Method>::Objective as Objective>::Sample>;

fn samples<M: Method>(objective: &M::Objective, cases: &[Case], seed: u64) -> Samples<M> {
    let plan = objective.plan();
    let draw = |index: usize| {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(index as u64);
        let target = cases[index].modalities[0];
        let scene = Scene { cases, index, target: Some(target) };
        let Ok(sample) = M::Objective::draw(&plan, scene, &mut rng);
        sample
    };
    let mut batch: Samples<M> = (0..cases.len()).map(draw).collect();
    M::Objective::mix(&plan, &mut batch);
    batch
}

/// A moment at which all terms of a loss are on.
const LATE: Moment = Moment { step: 900, total_steps: 1500, epoch: 10_000 };

fn loss<O: Objective>(objective: &O, samples: &[O::Sample]) -> (Tensor<1>, f32) {
    let evaluation = objective.forward(samples, LATE, &mut Pass::training(&mut ChaCha8Rng::seed_from_u64(0)));
    (evaluation.total, evaluation.quality.into_scalar())
}

fn values<O: Objective>(objective: &O) -> BTreeMap<String, Vec<f32>> {
    let mut all = BTreeMap::new();
    weights::visit(objective, |entry, data| {
        all.insert(entry.path.to_owned(), data.as_slice::<f32>().unwrap().to_vec());
    });
    all
}

/// Runs a test over all methods.
fn for_all(test: impl Fn(&Small)) {
    for small in methods() {
        println!("{}", small.method.name().name());
        test(&small);
    }
}

/// Adam without weight decay, in the plainest form.
#[derive(Default)]
struct Adam {
    moments: BTreeMap<String, Vec<[f32; 2]>>,
    steps: i32,
}

impl Adam {
    fn step<O: Objective>(&mut self, objective: O, gradients: &Gradients, rate: f32) -> O {
        self.steps += 1;
        let mut moved = values(&objective);
        let correct = |beta: f32| 1.0 - beta.powi(self.steps);
        weights::visit_gradients(&objective, gradients, |entry, data| {
            let rate = rate * objective.group(entry).rate as f32;
            let gradient = data.as_slice::<f32>().unwrap();
            let moments = self.moments.entry(entry.path.to_owned()).or_default();
            moments.resize(gradient.len(), [0.0; 2]);
            let values = moved.get_mut(entry.path).unwrap();
            for ((value, [first, second]), slope) in values.iter_mut().zip(moments).zip(gradient) {
                *first = 0.9 * *first + 0.1 * slope;
                *second = 0.999 * *second + 0.001 * slope * slope;
                *value -= rate * (*first / correct(0.9)) / ((*second / correct(0.999)).sqrt() + 1e-8);
            }
        });
        let moved_by = |path: &str| self.moments.contains_key(path).then(|| moved[path].clone());
        let moved = weights::load(objective, |entry| {
            Ok::<_, ()>(moved_by(entry.path).map(|values| TensorData::new(values, entry.shape.to_vec())))
        });
        moved.unwrap()
    }
}

/// The most steps of [`Overfit`].
const STEPS: usize = 240;

/// One batch, over and over: what is minimised falls to a tenth of what it was.
struct Overfit<'a>(&'a Small);

impl ForMethod for Overfit<'_> {
    type Output = ();

    fn with<M: Method>(self, method: &M) {
        let device = Device::flex().autodiff();
        let cases = &cases([40; 3])[..2];
        let (mut objective, samples) = begin(method, self.0, cases, &device);
        let mut adam = Adam::default();
        let mut qualities = Vec::new();
        for step in 0..STEPS {
            let (total, quality) = loss(&objective, &samples);
            qualities.push(quality);
            if quality < qualities[0] / 10.0 {
                println!("  {} to {quality} in {step} steps", qualities[0]);
                return;
            }
            let rate = 3e-3 * (1.0 - step as f32 / STEPS as f32);
            let at = Moment { step: step as u64, ..LATE };
            objective = adam.step(objective, &total.backward(), rate).after_step(at);
        }
        panic!("{qualities:?}");
    }
}

#[test]
fn one_batch_can_be_learnt_by_heart() {
    for_all(|small| small.method.with(Overfit(small)));
}

/// The same seed makes the same sample, another one another.
struct Drawn<'a>(&'a Small);

impl ForMethod for Drawn<'_> {
    type Output = ();

    fn with<M: Method>(self, method: &M) {
        let device = Device::flex().autodiff();
        let cases = cases([40; 3]);
        // A forward pass may change buffers, so each loss is that of a new objective.
        let of = |seed: u64| {
            let (objective, _) = begin(method, self.0, &cases, &device);
            loss(&objective, &samples::<M>(&objective, &cases, seed)).0.into_scalar::<f32>()
        };
        assert_eq!(of(0), of(0));
        assert_ne!(of(0), of(1));
    }
}

#[test]
fn samples_depend_on_the_seed_alone() {
    for_all(|small| small.method.with(Drawn(small)));
}

/// The loss and all gradients of these cases are finite.
struct Finite<'a>(&'a Small, Vec<Case>);

impl ForMethod for Finite<'_> {
    type Output = ();

    fn with<M: Method>(self, method: &M) {
        let device = Device::flex().autodiff();
        let (objective, samples) = begin(method, self.0, &self.1, &device);
        let (total, quality) = loss(&objective, &samples);
        assert!(total.clone().into_scalar::<f32>().is_finite() && quality.is_finite());
        weights::visit_gradients(&objective, &total.backward(), |entry, data| {
            let finite = data.as_slice::<f32>().unwrap().iter().all(|value| value.is_finite());
            assert!(finite, "the gradient of {}", entry.path);
        });
    }
}

#[test]
fn blank_images_have_a_finite_loss() {
    for_all(|small| {
        let blank = |case| Case { is_blank: true, ..case };
        small.method.with(Finite(small, cases([40; 3]).into_iter().map(blank).collect()));
    });
}

#[test]
fn any_modality_may_be_missing() {
    for_all(|small| {
        for modality in Modality::ALL {
            let alone = ["a", "b"].map(|person| Case::new(person, &[modality], [40; 3]));
            small.method.with(Finite(small, alone.into_iter().collect()));
        }
        let all = ["a", "b"].map(|person| Case::new(person, &Modality::ALL, [40; 3]));
        small.method.with(Finite(small, all.into_iter().collect()));
    });
}

#[test]
fn cases_smaller_than_a_patch_are_no_obstacle() {
    for_all(|small| small.method.with(Finite(small, cases([20, 24, 12]))));
}

/// Everything that is said to be kept is there, and the network downstream takes it over.
struct Transferred<'a>(&'a Small);

impl ForMethod for Transferred<'_> {
    type Output = ();

    fn with<M: Method>(self, method: &M) {
        let device = Device::flex().autodiff();
        let (objective, _) = begin(method, self.0, &cases([40; 3]), &device);
        let Kept { head, parts, by_modality } = M::Objective::kept();
        let mut kept = BTreeMap::new();
        weights::visit(&objective, |entry, data| {
            let to = |KeptPart { from, to }: &KeptPart| {
                Some(format!("{to}{}", entry.path.strip_prefix(from.as_str())?))
            };
            if let Some(path) = parts.iter().find_map(to) {
                kept.insert(path, data);
            }
        });
        let network = self.0.network.with_in_channels(3);
        let mut rng = ChaCha8Rng::seed_from_u64(2);
        let mut init = Init { device: &device, rng: &mut rng };
        let downstream = SegmentationNetwork::new(&network, 2, &mut init);
        let channels = if by_modality {
            InputChannels::Chosen(&[0, 2, 5])
        } else {
            InputChannels::One(FirstLayer::Drop)
        };
        let (_, report) = transfer(&network, downstream, &kept, channels);
        let decoder = head != Head::None;
        for (path, why) in &report.skipped {
            let explained = match why {
                Skipped::FirstLayer | Skipped::Output => true,
                // The decoder downstream may have more than that of pre-training.
                Skipped::Absent => path.starts_with("decoder."),
                Skipped::Shape { .. } => false,
            };
            assert!(explained, "{path}: {why:?}");
        }
        assert!(report.loaded.iter().any(|path| path.starts_with("encoder.")));
        assert_eq!(report.loaded.iter().any(|path| path.starts_with("decoder.")), decoder);
    }
}

#[test]
fn what_is_kept_is_taken_over() {
    for_all(|small| small.method.with(Transferred(small)));
}

/// The gradient along a random direction is the change of the loss along it.
struct Slope<'a>(&'a Small);

impl ForMethod for Slope<'_> {
    type Output = ();

    fn with<M: Method>(self, method: &M) {
        let device = Device::flex().autodiff();
        let (objective, samples) = begin(method, self.0, &cases([40; 3])[..2], &device);
        let (total, _) = loss(&objective, &samples);
        let start_loss = f64::from(total.clone().into_scalar::<f32>());
        // Along the gradient itself the slope is steepest, so that rounding matters least.
        let mut direction = BTreeMap::new();
        weights::visit_gradients(&objective, &total.backward(), |entry, data| {
            direction.insert(entry.path.to_owned(), data.as_slice::<f32>().unwrap().to_vec());
        });
        let norm = direction.values().flatten().map(|g| f64::from(*g).powi(2)).sum::<f64>().sqrt();
        let start = values(&objective);
        let at = |by: f64| {
            let (fresh, _) = begin(method, self.0, &cases([40; 3])[..2], &device);
            let moved = weights::load(fresh, |entry| {
                Ok::<_, ()>(direction.get(entry.path).map(|gradient| {
                    let pairs = start[entry.path].iter().zip(gradient);
                    let moved = pairs.map(|(value, slope)| value + (by / norm) as f32 * slope);
                    TensorData::new(moved.collect::<Vec<f32>>(), entry.shape.to_vec())
                }))
            });
            f64::from(loss(&moved.unwrap(), &samples).0.into_scalar::<f32>())
        };
        // So far that the loss changes by a five-hundredth: more than rounding, less than where it curves.
        let by = 2e-3 * start_loss / norm;
        let slope = (at(by) - at(-by)) / (2.0 * by);
        println!("  slope {slope}, gradient {norm}");
        assert!((slope - norm).abs() < 0.05 * norm + 1e-3, "slope {slope}, gradient {norm}");
    }
}

#[test]
fn gradients_are_slopes() {
    for_all(|small| small.method.with(Slope(small)));
}

/// What a rank has of a step: the loss, the gradients, and the buffers after it.
struct Stepped {
    loss: f64,
    gradients: BTreeMap<String, Vec<f32>>,
    buffers: BTreeMap<String, Vec<f32>>,
}

fn step<M: Method>(objective: &M::Objective, samples: &mut [Samples<M>], ranks: &Ranks) -> Stepped {
    if M::Objective::WHOLE_STEPS {
        objective.meet(&mut samples.iter_mut().map(Vec::as_mut_slice).collect::<Vec<_>>(), ranks);
    }
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let mut stepped = Stepped { loss: 0.0, gradients: BTreeMap::new(), buffers: BTreeMap::new() };
    let batches = samples.len() as f32;
    for batch in samples {
        let total = objective.forward(batch, LATE, &mut Pass::of_share(&mut rng, ranks, batch.len())).total;
        stepped.loss += f64::from(total.clone().into_scalar::<f32>() / batches);
        weights::visit_gradients(objective, &total.backward(), |entry, data| {
            let gradient = data.as_slice::<f32>().unwrap();
            let sum = stepped.gradients.entry(entry.path.to_owned()).or_default();
            sum.resize(gradient.len(), 0.0);
            sum.iter_mut().zip(gradient).for_each(|(sum, value)| *sum += value / batches);
        });
    }
    stepped.buffers = values(objective);
    stepped
}

/// Ranks that share a batch have, on average, the loss and the gradients of a process that has all of it, and the buffers.
struct Shared<'a>(&'a Small);

impl ForMethod for Shared<'_> {
    type Output = ();

    fn with<M: Method>(self, method: &M) {
        let cases = cases([40; 3]);
        // The samples of the second batch are those of the first, of other cases.
        let drawn = |objective: &M::Objective, own: std::ops::Range<usize>| -> Vec<Samples<M>> {
            [0, 1].map(|seed| samples::<M>(objective, &cases, seed).drain(own.clone()).collect()).into()
        };
        let of = |ranks: &Ranks| {
            let (objective, _) = begin(method, self.0, &cases, &Device::flex().autodiff());
            let share = cases.len() / ranks.count();
            let mut own = drawn(&objective, ranks.rank() * share..(ranks.rank() + 1) * share);
            step::<M>(&objective, &mut own, ranks)
        };
        let whole = of(&Ranks::alone());
        let shares: Vec<Stepped> = std::thread::scope(|scope| {
            let threads = brainmvp_ranks::threads(2).into_iter().map(|ranks| scope.spawn(|| of(&{ ranks })));
            threads.collect::<Vec<_>>().into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let loss = f64::midpoint(shares[0].loss, shares[1].loss);
        assert!((loss - whole.loss).abs() < 1e-5 * whole.loss.abs(), "loss {loss}, alone {}", whole.loss);
        let size = |of: &[f32]| of.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt();
        let largest = whole.gradients.values().map(|gradient| size(gradient)).fold(0.0, f64::max);
        let names: BTreeSet<&String> = shares.iter().flat_map(|share| share.gradients.keys()).collect();
        assert_eq!(names, whole.gradients.keys().collect());
        for (name, expected) in &whole.gradients {
            let mut off = expected.clone();
            for share in &shares {
                for (off, value) in off.iter_mut().zip(share.gradients.get(name).into_iter().flatten()) {
                    *off -= value / 2.0;
                }
            }
            let (off, expected) = (size(&off), size(expected));
            // A rounding may decide which side of 0 an activation is on.
            assert!(off < 1e-3 * largest, "{name}: off by {off} of {expected}; the largest is {largest}");
        }
        for share in &shares {
            for (name, expected) in &whole.buffers {
                let pairs = share.buffers[name].iter().zip(expected);
                let off: Vec<f32> = pairs.map(|(found, expected)| found - expected).collect();
                assert!(size(&off) <= 1e-5 * size(expected), "{name}: off by {}", size(&off));
            }
        }
    }
}

#[test]
fn ranks_share_a_batch() {
    for_all(|small| small.method.with(Shared(small)));
    for mut small in methods() {
        if let MethodConfig::BrainMvp(config) = &mut small.method {
            config.negatives = Negatives::Queue;
            small.method.with(Shared(&small));
        }
    }
}
