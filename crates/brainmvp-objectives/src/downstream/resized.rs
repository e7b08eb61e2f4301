//! Whole cases in one size, for tasks with one answer for a case.

use brainmvp_nets::layers::Pass;
use brainmvp_nets::networks::{ClassificationNetwork, Classified};
use brainmvp_volume::resample::{Interpolation, onto_grid};
use brainmvp_volume::{Affine, Grid, Volume};
use burn::module::Module as _;
use burn::tensor::Tensor;
use rand::{Rng, RngExt};

use super::copies::Copies;
use super::{Channel, CopyPlan, Inputs, interleave};
use crate::patch::PatchSource;

/// The size to which a whole case is resized, and the box that is cut out.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Resized {
    /// Voxels of the resized case along x, y and z.
    pub whole: [usize; 3],
    /// Voxels of the box; not larger than the resized case.
    pub patch: [usize; 3],
}

impl Resized {
    /// The central box, channels fastest, then x: a tensor `[Z, Y, X, C]`.
    ///
    /// # Errors
    /// If the case cannot be read.
    pub fn centre<S: PatchSource>(&self, case: &S, inputs: &Inputs) -> Result<Vec<f32>, S::Error> {
        let start = std::array::from_fn(|axis| (self.whole[axis] - self.patch[axis]) / 2);
        let shape = case.shape();
        let channels = inputs.read(case, [0; 3], shape)?;
        let channels: Vec<Vec<f32>> =
            channels.into_iter().map(|channel| self.cut(channel.voxels, shape, start)).collect();
        Ok(interleave(&channels.iter().map(Vec::as_slice).collect::<Vec<_>>()))
    }

    /// The copies of a box at a random place.
    pub(super) fn draw<S: PatchSource>(
        &self,
        plan: &CopyPlan,
        case: &S,
        rng: &mut dyn Rng,
    ) -> Result<Copies, S::Error> {
        let shape = case.shape();
        let start = std::array::from_fn(|axis| rng.random_range(0..=self.whole[axis] - self.patch[axis]));
        let cut = |voxels: Vec<f32>| self.cut(voxels, shape, start);
        let channels = plan.inputs.read(case, [0; 3], shape)?.into_iter();
        let channels = channels.map(|channel| Channel { voxels: cut(channel.voxels), ..channel }).collect();
        let filling = |modality| plan.filling(case, modality, [0; 3], shape).map(cut);
        Ok(plan.draw(channels, filling, self.patch, rng))
    }

    /// What a network says of the copies of a batch, and the first copies.
    pub(super) fn outputs(
        &self,
        plan: &CopyPlan,
        network: &ClassificationNetwork,
        batch: &[&Copies],
        pass: &mut Pass<'_>,
    ) -> (Vec<Classified>, Option<Tensor<5>>) {
        #[expect(clippy::expect_used, reason = "every network has parameters")]
        let device = network.devices().into_iter().next().expect("parameters are on a device");
        let inputs = plan.tensors(batch, self.patch, &device);
        let image = inputs.first().cloned();
        (inputs.into_iter().map(|copy| network.forward(copy, pass)).collect(), image)
    }

    /// The box at `start` of the resized case, from a volume of `shape` voxels, with trilinear interpolation. Both cover
    /// the same field of view: along each axis the centre of voxel i of n is at (i + 1/2) / n.
    fn cut(&self, voxels: Vec<f32>, shape: [usize; 3], start: [usize; 3]) -> Vec<f32> {
        let spacing: [f64; 3] = std::array::from_fn(|axis| shape[axis] as f64 / self.whole[axis] as f64);
        let origin: [f64; 3] = std::array::from_fn(|axis| (start[axis] as f64 + 0.5) * spacing[axis] - 0.5);
        let volume = Volume::new(Grid::new(shape, Affine::from_spacing([1.0; 3], [0.0; 3])), voxels);
        let grid = Grid::new(self.patch, Affine::from_spacing(spacing, origin));
        onto_grid(&volume, &grid, Interpolation::Trilinear, 0.0).into_voxels()
    }
}
