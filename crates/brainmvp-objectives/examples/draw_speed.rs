//! What drawing a sample costs a loader thread, for every pre-training method at patches of its usual size:
//! `cargo run --release -p brainmvp-objectives --example draw_speed`.

#![allow(clippy::print_stdout, clippy::unwrap_used)] // that is what it is for

use std::convert::Infallible;
use std::time::{Duration, Instant};

use brainmvp_nets::Init;
use brainmvp_nets::networks::NetworkConfig;
use brainmvp_objectives::patch::PatchSource;
use brainmvp_objectives::pretraining::{ForMethod, Method, MethodConfig, MethodPreset, Setup};
use brainmvp_objectives::{Frame, Objective, Scene};
use brainmvp_volume::{Affine, Grid, Modality};
use burn::tensor::Device;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

const SHAPE: [usize; 3] = [160, 192, 160];

/// How often each method draws.
const DRAWS: u64 = 40;

/// A case in memory; all of its modalities show the same.
struct Case {
    person: &'static str,
    voxels: Vec<f32>,
}

impl Case {
    fn new(person: &'static str) -> Self {
        let voxels = (0..SHAPE.iter().product()).map(|i: usize| (i as f32 * 0.01).sin().abs());
        Self { person, voxels: voxels.collect() }
    }
}

impl PatchSource for Case {
    type Error = Infallible;

    fn id(&self) -> &str {
        self.person
    }

    fn data_set(&self) -> &'static str {
        "set"
    }

    fn person(&self) -> &str {
        self.person
    }

    fn shape(&self) -> [usize; 3] {
        SHAPE
    }

    fn modalities(&self) -> &[Modality] {
        &[Modality::Flair, Modality::T1, Modality::T1c, Modality::T2]
    }

    fn patch(&self, _: Modality, start: [isize; 3], size: [usize; 3]) -> Result<Vec<f32>, Infallible> {
        let mut patch = Vec::with_capacity(size.iter().product());
        let at = |first: isize, i: usize, n: usize| (first + i as isize).rem_euclid(n as isize) as usize;
        for z in 0..size[2] {
            for y in 0..size[1] {
                let row = (at(start[2], z, SHAPE[2]) * SHAPE[1] + at(start[1], y, SHAPE[1])) * SHAPE[0];
                patch.extend((0..size[0]).map(|x| self.voxels[row + at(start[0], x, SHAPE[0])]));
            }
        }
        Ok(patch)
    }
}

/// The shortest and the median time of a draw.
struct Drawing<'a>(&'a [Case]);

impl ForMethod for Drawing<'_> {
    type Output = [Duration; 2];

    fn with<M: Method>(self, method: &M) -> [Duration; 2] {
        let title = M::network().network().title();
        let mut presets = NetworkConfig::presets().into_iter();
        let tiny = presets.find(|(name, _, network)| name.contains("tiny") && network.title() == title);
        let network = method.input(&tiny.unwrap().2);
        let reference = Grid::new(SHAPE, Affine::from_spacing([1.0; 3], [0.0; 3]));
        let frame = Frame { reference, largest: SHAPE };
        let setup = Setup {
            network: &network,
            patch: M::patch(),
            frame: &frame,
            cases: self.0,
            is_new: true,
            waiting: &(),
        };
        let device = Device::flex().autodiff();
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let Ok(objective) = method.build(&setup, &mut Init { device: &device, rng: &mut rng });
        let plan = objective.plan();
        let draw = |seed| {
            let scene = Scene { cases: self.0, index: 0, target: None };
            let begun = Instant::now();
            let Ok(_) = M::Objective::draw(&plan, scene, &mut ChaCha8Rng::seed_from_u64(seed));
            begun.elapsed()
        };
        let mut times: Vec<Duration> = (0..DRAWS).map(draw).collect();
        times.sort_unstable();
        [times[0], times[times.len() / 2]]
    }
}

fn main() {
    let cases = ["a", "b"].map(Case::new);
    for name in MethodConfig::names() {
        let method = MethodConfig::of(name, MethodPreset::default());
        let [least, median] = method.with(Drawing(&cases)).map(|time| time.as_secs_f64() * 1e3);
        println!("{:16} {least:7.1} ms at least, {median:7.1} ms in the median", name.name());
    }
}
