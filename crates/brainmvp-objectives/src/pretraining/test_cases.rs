//! Cases for the tests of methods.

use std::convert::Infallible;

use brainmvp_nets::Init;
use brainmvp_nets::networks::NetworkConfig;
use brainmvp_volume::{Affine, Grid, Modality};
use burn::tensor::Device;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::{Method, Setup};
use crate::Frame;
use crate::patch::PatchSource;

/// A case whose voxels are a function of their place in the registered volume, without end.
pub(super) struct Case {
    pub(super) person: &'static str,
    /// Voxels of the registered volume along each axis.
    pub(super) registered: [usize; 3],
    pub(super) crop: [usize; 3],
    pub(super) shape: [usize; 3],
    pub(super) modalities: Vec<Modality>,
    pub(super) value: Box<dyn Fn([isize; 3]) -> f32>,
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
        self.shape
    }

    fn registered_shape(&self) -> [usize; 3] {
        self.registered
    }

    fn crop_offset(&self) -> [usize; 3] {
        self.crop
    }

    fn modalities(&self) -> &[Modality] {
        &self.modalities
    }

    fn patch(&self, _: Modality, start: [isize; 3], size: [usize; 3]) -> Result<Vec<f32>, Infallible> {
        let at = |i: usize| [i % size[0], i / size[0] % size[1], i / (size[0] * size[1])];
        let registered = |i: usize| -> [isize; 3] {
            std::array::from_fn(|axis| start[axis] + (at(i)[axis] + self.crop[axis]) as isize)
        };
        Ok((0..size.iter().product()).map(|i| (self.value)(registered(i))).collect())
    }
}

/// What a method trains for patches of this size, without looking at any case.
pub(super) fn untrained<M: Method>(
    method: &M,
    network: &NetworkConfig,
    patch: [usize; 3],
    device: &Device,
) -> M::Objective {
    let frame =
        Frame { reference: Grid::new(patch, Affine::from_spacing([1.0; 3], [0.0; 3])), largest: patch };
    let setup: Setup<'_, Case> =
        Setup { network, patch, frame: &frame, cases: &[], is_new: true, waiting: &() };
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let Ok(objective) = method.build(&setup, &mut Init { device, rng: &mut rng });
    objective
}
