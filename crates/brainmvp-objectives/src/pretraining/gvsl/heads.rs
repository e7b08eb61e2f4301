//! What is put on the network to be dropped afterwards: one that brings two patches together, and one that restores.

use brainmvp_nets::Init;
use brainmvp_nets::layers::{Activation, Conv3d, GroupNorm, Linear, Pointwise};
use brainmvp_nets::networks::{ConvPair, NetworkConfig};
use burn::module::Module;
use burn::tensor::{Tensor, TensorData};

use super::warp::{positions, warp};

/// Channels within the heads at the full size.
const WIDTH: usize = 16;

/// Channels that share their statistics.
const GROUP: usize = 8;

/// The largest rotation about each axis.
const ROTATION: f32 = std::f32::consts::PI / 9.0;

/// The largest change of scale along each axis.
const SCALE: f32 = 0.25;

/// The largest angle of each shear.
const SHEAR: f32 = std::f32::consts::PI / 18.0;

/// The deviation of the first weights of the displacements: they begin near 0, as is usual in registration.
const FIRST_MOVES: f32 = 1e-5;

/// Finds what moves the patch of one person onto that of another: an affine map from the deepest features of both, then a
/// displacement of each voxel from their finest features.
#[derive(Module, Debug)]
pub struct Matching {
    /// On the deepest features of both.
    pub affine: ConvPair,
    /// To three angles.
    pub rotation: Linear,
    /// To three factors.
    pub scale: Linear,
    /// To three shifts.
    pub translation: Linear,
    /// To six angles.
    pub shear: Linear,
    /// On the finest features of both.
    pub deformable: ConvPair,
    /// To three displacements.
    pub flow: Conv3d,
}

/// Restores a patch from the finest features.
#[derive(Module, Debug)]
pub struct Restoration {
    /// Narrows.
    pub conv: Conv3d,
    /// With its activation.
    pub norm: GroupNorm,
    /// To one channel.
    pub out: Pointwise,
}

/// What [`Matching`] found.
pub(super) struct Matched {
    /// The moved image, `[B, D, H, W, 1]`.
    pub(super) image: Tensor<5>,
    /// The displacements after the affine map, `[B, D, H, W, 3]`.
    pub(super) flow: Tensor<5>,
}

/// What deviates from the published program.
#[derive(Debug, Clone, Copy)]
pub(super) struct Conventions {
    /// Whether the head of the affine map is trained.
    pub(super) affine_gradient: bool,
    /// Whether displacements are read as in the released program.
    pub(super) released_sampling: bool,
}

impl Matching {
    pub(super) fn new(network: &NetworkConfig, init: &mut Init<'_>) -> Self {
        let (deepest, finest) = (network.deepest_width(), network.finest_width());
        let hidden = (deepest / 2).next_multiple_of(GROUP);
        let mut flow = Conv3d::new([WIDTH, 3], 3, init).with_bias(init);
        flow.weight = init.normal(flow.weight.dims(), FIRST_MOVES);
        Self {
            affine: ConvPair::new([2 * deepest, hidden], init),
            rotation: Linear::new(hidden, 3, init),
            scale: Linear::new(hidden, 3, init),
            translation: Linear::new(hidden, 3, init),
            shear: Linear::new(hidden, 6, init),
            deformable: ConvPair::new([2 * finest, WIDTH], init),
            flow,
        }
    }

    /// Moves `image` by what the features of it and of the `fixed` patch say.
    ///
    /// # Shapes
    /// - `deepest`, `finest`: features of the moving and the fixed patch, `[B, D', H', W', C]` each
    /// - `image`: `[B, D, H, W, 1]`
    pub(super) fn forward(
        &self,
        deepest: [Tensor<5>; 2],
        finest: [Tensor<5>; 2],
        image: Tensor<5>,
        conventions: Conventions,
    ) -> Matched {
        let [batch, d, h, w, _] = image.dims();
        let affine = self.affine_moves(Tensor::cat(deepest.to_vec(), 4), [d, h, w]);
        let affine = if conventions.affine_gradient { affine } else { affine.detach() };
        let [moving, fixed] = finest;
        let together = Tensor::cat(vec![warp(moving, affine.clone()), fixed], 4);
        let flow = self.flow.forward(self.deformable.forward(together));
        let moves: Tensor<3> = flow.clone().reshape([batch, d * h * w, 3]);
        let moves = if conventions.released_sampling { released(moves, [d, h, w]) } else { moves };
        Matched { image: warp(warp(image, affine), moves), flow }
    }

    /// The displacements of an affine map, `[B, D H W, 3]`.
    fn affine_moves(&self, deepest: Tensor<5>, size: [usize; 3]) -> Tensor<3> {
        let hidden = self.affine.forward(deepest);
        let [batch, d, h, w, width] = hidden.dims();
        let pooled: Tensor<2> = hidden.reshape([batch, d * h * w, width]).mean_dim(1).squeeze_dim(1);
        let bounded = |head: &Linear| head.forward(pooled.clone()).clamp(-1.0, 1.0);
        let rotation = bounded(&self.rotation) * ROTATION;
        let scale = bounded(&self.scale) * SCALE + 1.0;
        let shear = bounded(&self.shear) * SHEAR;
        let shift = self.translation.forward(pooled.clone());
        moves(matrix(rotation, scale, shear), shift, size)
    }
}

/// Shear, scale, and the rotations about z, y and x, one after the other from the last on, `[B, 3, 3]` for x, y and z.
///
/// # Shapes
/// Angles `[B, 3]`, factors `[B, 3]`, angles of the shears xy, xz, yx, yz, zx, zy `[B, 6]`.
fn matrix(rotation: Tensor<2>, scale: Tensor<2>, shear: Tensor<2>) -> Tensor<3> {
    let zero = rotation.clone().narrow(1, 0, 1).zeros_like();
    let one = zero.ones_like();
    let joined = |rows: [&Tensor<2>; 9]| -> Tensor<3> {
        let batch = zero.dims()[0];
        Tensor::cat(rows.map(Tensor::clone).to_vec(), 1).reshape([batch, 3, 3])
    };
    let turned = |axis: usize| {
        let angle = rotation.clone().narrow(1, axis, 1);
        let (sin, cos) = (angle.clone().sin(), angle.cos());
        let back = -sin.clone();
        match axis {
            0 => joined([&one, &zero, &zero, &zero, &cos, &back, &zero, &sin, &cos]),
            1 => joined([&cos, &zero, &sin, &zero, &one, &zero, &back, &zero, &cos]),
            _ => joined([&cos, &back, &zero, &sin, &cos, &zero, &zero, &zero, &one]),
        }
    };
    let [sx, sy, sz] = [0, 1, 2].map(|axis| scale.clone().narrow(1, axis, 1));
    let scaled = joined([&sx, &zero, &zero, &zero, &sy, &zero, &zero, &zero, &sz]);
    let tangents = shear.clone().sin() / shear.cos();
    let [xy, xz, yx, yz, zx, zy] = [0, 1, 2, 3, 4, 5].map(|place| tangents.clone().narrow(1, place, 1));
    let sheared = joined([&one, &xy, &xz, &yx, &one, &yz, &zx, &zy, &one]);
    sheared.matmul(scaled).matmul(turned(2)).matmul(turned(1)).matmul(turned(0))
}

/// The displacements, in voxels, of a map in a frame from -1 to 1 along each axis; `shift` is in voxels, and divided by the
/// size to be one of the frame, as published.
fn moves(matrix: Tensor<3>, shift: Tensor<2>, size: [usize; 3]) -> Tensor<3> {
    let device = matrix.device();
    let [d, h, w] = size;
    let along =
        |values: [f32; 3]| Tensor::<3>::from_data(TensorData::new(values.to_vec(), [1, 1, 3]), &device);
    let sizes = [w, h, d].map(|n| n as f32);
    let half = along(sizes.map(|n| ((n - 1.0) / 2.0).max(0.5)));
    let in_frame = (positions(size, &device) - half.clone()) / half.clone();
    // What the matrix adds to a place, rather than the place itself: exactly 0 if it is the identity.
    let change = matrix - Tensor::<2>::eye(3, &device).unsqueeze();
    let shift: Tensor<3> = shift.unsqueeze_dim::<3>(1) / along(sizes);
    (in_frame.expand([change.dims()[0], d * h * w, 3]).matmul(change.swap_dims(1, 2)) + shift) * half
}

/// Displacements as the released program reads them, which takes the size for the distance between the first and the last
/// voxel: one of 0 moves voxel i to i S / (S - 1) - 1/2.
fn released(moves: Tensor<3>, size: [usize; 3]) -> Tensor<3> {
    let device = moves.device();
    let [d, h, w] = size;
    let factor = [w, h, d].map(|n| n as f32 / (n as f32 - 1.0).max(1.0)).to_vec();
    let factor = Tensor::<3>::from_data(TensorData::new(factor, [1, 1, 3]), &device);
    let at = positions(size, &device);
    moves * factor.clone() + at * (factor - 1.0) - 0.5
}

impl Restoration {
    pub(super) fn new(network: &NetworkConfig, init: &mut Init<'_>) -> Self {
        Self {
            conv: Conv3d::new([network.finest_width(), WIDTH], 3, init).with_bias(init),
            norm: GroupNorm::new(WIDTH, 4, Activation::LeakyRelu(0.2), init),
            out: Pointwise::new(WIDTH, 1, init),
        }
    }

    /// # Shapes
    /// `[B, D, H, W, C]` to `[B, D, H, W, 1]`
    pub(super) fn forward(&self, finest: Tensor<5>) -> Tensor<5> {
        self.out.forward(self.norm.forward(self.conv.forward(finest)))
    }
}

#[cfg(test)]
mod tests {
    use brainmvp_nets::networks::PresetName;
    use brainmvp_nets::weights;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use burn::tensor::Device;

    use super::*;

    fn parameters<M: Module>(module: &M) -> usize {
        let mut count = 0;
        weights::entries(module, |entry| count += entry.shape.iter().product::<usize>());
        count
    }

    fn heads(preset: &str) -> (Matching, Restoration) {
        let device = Device::flex();
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let init = &mut Init { device: &device, rng: &mut rng };
        let network = PresetName::named(preset).unwrap().network();
        (Matching::new(&network, init), Restoration::new(&network, init))
    }

    #[test]
    fn the_heads_have_as_many_parameters_as_published() {
        let (matching, restoration) = heads("unet3d-c");
        assert_eq!(parameters(&matching) + parameters(&restoration), 8_902_595);
    }

    fn row<const N: usize>(values: [f32; N]) -> Tensor<2> {
        Tensor::from_data(TensorData::new(values.to_vec(), [1, N]), &Device::flex())
    }

    fn numbers<const D: usize>(x: Tensor<D>) -> Vec<f32> {
        x.into_data().try_to_vec().unwrap()
    }

    #[test]
    fn without_angles_the_matrix_is_the_identity() {
        let identity = matrix(row([0.0; 3]), row([1.0; 3]), row([0.0; 6]));
        assert_eq!(numbers(identity.clone()), [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]);
        let still = numbers(moves(identity, row([0.0; 3]), [3, 5, 4]));
        assert!(still.iter().all(|value| *value == 0.0));
    }

    /// A rotation of 20 degrees about z is the most that the head can say.
    #[test]
    fn a_rotation_by_hand() {
        let turned = numbers(matrix(row([0.0, 0.0, ROTATION]), row([1.0; 3]), row([0.0; 6])));
        let (sin, cos) = 20f32.to_radians().sin_cos();
        let expected = [cos, -sin, 0.0, sin, cos, 0.0, 0.0, 0.0, 1.0];
        assert!(turned.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6));
    }

    /// A scale of 1.25 about the centre moves the first voxel by an eighth of the distance to the last; a shift of the size
    /// along x is one of half the frame.
    #[test]
    fn displacements_by_hand() {
        let matrix = matrix(row([0.0; 3]), row([1.25; 3]), row([0.0; 6]));
        let moved = numbers(moves(matrix, row([5.0, 0.0, 0.0]), [9, 7, 5]));
        let expected = [-0.5 + 2.0, -0.75, -1.0];
        assert!(moved[..3].iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-5), "{:?}", &moved[..3]);
    }

    #[test]
    fn the_released_program_moves_voxels_that_should_stay() {
        let device = Device::flex();
        let moved = numbers(released(Tensor::zeros([1, 96, 3], &device), [1, 1, 96]));
        assert!((moved[0] + 0.5).abs() < 1e-6 && (moved[95 * 3] - 0.5).abs() < 1e-4);
    }

    /// The published matrix is made of numbers without gradients; ours are those of the head.
    #[test]
    fn the_affine_head_has_a_gradient_unless_it_is_to_have_none() {
        let device = Device::flex().autodiff();
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let network = PresetName::named("unet3d-c-tiny").unwrap().network();
        let matching = Matching::new(&network, &mut Init { device: &device, rng: &mut rng });
        let random =
            |shape| brainmvp_nets::normal::<5>(shape, 1.0, &mut ChaCha8Rng::seed_from_u64(2), &device);
        let (deepest, finest) = (random([2, 1, 1, 1, 24]), random([2, 16, 16, 16, 8]));
        for affine_gradient in [true, false] {
            let conventions = Conventions { affine_gradient, released_sampling: false };
            let of_two = |x: &Tensor<5>| [x.clone(), x.clone() * 0.5];
            let matched =
                matching.forward(of_two(&deepest), of_two(&finest), random([2, 16, 16, 16, 1]), conventions);
            let gradients = (matched.image.clone() * matched.image).mean().backward();
            let slope =
                matching.rotation.weight.val().grad(&gradients).map(|g| g.abs().max().into_scalar::<f32>());
            assert_eq!(slope.is_some_and(|slope| slope > 0.0), affine_gradient);
        }
    }
}
