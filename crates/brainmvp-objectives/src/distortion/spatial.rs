//! Deformations of patches: rotation, scale, shear and shift, and elastic displacements, in one interpolation.

use rand::{Rng, RngExt};

use super::Elastic;

/// A linear map about the centre of a patch, and a shift.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Affine {
    /// Rows for x, y and z: where a voxel's value comes from.
    pub matrix: [[f32; 3]; 3],
    /// In voxels.
    pub shift: [f32; 3],
}

/// What a random [`Affine`] is drawn from, uniformly.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AffineRanges {
    /// Largest rotation about each axis, in degrees.
    pub rotation: f64,
    /// The smallest and the largest factor along each axis.
    pub scale: [f64; 2],
    /// Largest angle of each of the six shears, in degrees.
    pub shear: f64,
    /// Largest shift, as a share of the patch.
    pub shift: f64,
}

/// What is outside of a patch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outside {
    /// Nothing.
    Zero,
    /// The patch again, mirrored at its border.
    Mirror,
}

/// Where the values of a deformed patch come from.
#[derive(Debug, Clone)]
pub struct Deformation {
    /// About the centre.
    pub affine: Affine,
    /// Added to it.
    pub elastic: Option<Elastic>,
}

impl Affine {
    /// Nothing moves.
    pub const IDENTITY: Self =
        Self { matrix: [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]], shift: [0.0; 3] };

    /// A random one for a patch of `size` voxels.
    pub fn draw(ranges: &AffineRanges, size: [usize; 3], rng: &mut dyn Rng) -> Self {
        let mut within = |largest: f64| largest * rng.random_range(-1.0..=1.0);
        let angles: [f64; 3] = std::array::from_fn(|_| within(ranges.rotation).to_radians());
        let shears: [f64; 6] = std::array::from_fn(|_| within(ranges.shear).to_radians().tan());
        let shift = size.map(|n| (within(ranges.shift) * n as f64) as f32);
        let [least, most] = ranges.scale;
        let scale: [f64; 3] = std::array::from_fn(|_| rng.random_range(least..=most));
        let [sxy, sxz, syx, syz, szx, szy] = shears;
        let shear = [[1.0, sxy, sxz], [syx, 1.0, syz], [szx, szy, 1.0]];
        let scale = [[scale[0], 0.0, 0.0], [0.0, scale[1], 0.0], [0.0, 0.0, scale[2]]];
        let rotations = [2, 1, 0].map(|axis| rotation(axis, angles[axis]));
        let matrix = rotations.into_iter().fold(product(shear, scale), product);
        Self { matrix: matrix.map(|row| row.map(|value| value as f32)), shift }
    }
}

/// A rotation about an axis.
fn rotation(axis: usize, angle: f64) -> [[f64; 3]; 3] {
    let (sin, cos) = angle.sin_cos();
    let (second, third) = ((axis + 1) % 3, (axis + 2) % 3);
    let mut matrix = [[0.0; 3]; 3];
    matrix[axis][axis] = 1.0;
    matrix[second][second] = cos;
    matrix[second][third] = -sin;
    matrix[third][second] = sin;
    matrix[third][third] = cos;
    matrix
}

fn product(a: [[f64; 3]; 3], b: [[f64; 3]; 3]) -> [[f64; 3]; 3] {
    a.map(|row| std::array::from_fn(|column| (0..3).map(|i| row[i] * b[i][column]).sum()))
}

impl Deformation {
    /// Only elastic.
    pub fn elastic(elastic: Elastic) -> Self {
        Self { affine: Affine::IDENTITY, elastic: Some(elastic) }
    }

    /// The deformed patch of `size` voxels, by linear interpolation.
    pub fn apply(&self, voxels: &[f32], size: [usize; 3], outside: Outside) -> Vec<f32> {
        let mut out = Vec::with_capacity(voxels.len());
        for z in 0..size[2] {
            for y in 0..size[1] {
                out.extend((0..size[0]).map(|x| sample(voxels, size, self.source([x, y, z], size), outside)));
            }
        }
        out
    }

    /// Where the value of a voxel comes from.
    fn source(&self, voxel: [usize; 3], size: [usize; 3]) -> [f32; 3] {
        let centre = size.map(|n| (n as f32 - 1.0) / 2.0);
        let from: [f32; 3] = std::array::from_fn(|axis| voxel[axis] as f32 - centre[axis]);
        let elastic = self.elastic.as_ref().map_or([0.0; 3], |elastic| elastic.at(voxel));
        let Affine { matrix, shift } = &self.affine;
        std::array::from_fn(|axis| {
            let linear: f32 = matrix[axis].iter().zip(from).map(|(factor, from)| factor * from).sum();
            centre[axis] + linear + shift[axis] + elastic[axis]
        })
    }
}

/// The value at a place between voxels.
fn sample(voxels: &[f32], size: [usize; 3], place: [f32; 3], outside: Outside) -> f32 {
    let low = place.map(f32::floor);
    let share: [f32; 3] = std::array::from_fn(|axis| place[axis] - low[axis]);
    let ends: [[Option<usize>; 2]; 3] =
        std::array::from_fn(|axis| [0, 1].map(|high| index(low[axis] as isize + high, size[axis], outside)));
    let mut sum = 0.0;
    for (dz, z) in ends[2].into_iter().enumerate() {
        for (dy, y) in ends[1].into_iter().enumerate() {
            let (Some(z), Some(y)) = (z, y) else { continue };
            let row = (z * size[1] + y) * size[0];
            let along = |x: Option<usize>| x.map_or(0.0, |x| voxels[row + x]);
            let line = (1.0 - share[0]) * along(ends[0][0]) + share[0] * along(ends[0][1]);
            let weight = |high: usize, share: f32| if high == 1 { share } else { 1.0 - share };
            sum += weight(dy, share[1]) * weight(dz, share[2]) * line;
        }
    }
    sum
}

/// The voxel of an index that may be outside, if there is one.
fn index(at: isize, size: usize, outside: Outside) -> Option<usize> {
    let size = size as isize;
    match outside {
        Outside::Zero => (0..size).contains(&at).then_some(at as usize),
        Outside::Mirror => {
            let folded = at.rem_euclid(2 * size);
            Some(folded.min(2 * size - 1 - folded) as usize)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;

    const GVSL: AffineRanges = AffineRanges { rotation: 20.0, scale: [0.75, 1.25], shear: 10.0, shift: 0.1 };

    fn image(size: [usize; 3]) -> Vec<f32> {
        (0..size.iter().product()).map(|i: usize| (i as f32 * 0.37).sin()).collect()
    }

    #[test]
    fn the_identity_changes_nothing() {
        let still = Deformation { affine: Affine::IDENTITY, elastic: None };
        for size in [[5, 4, 3], [8; 3]] {
            for outside in [Outside::Zero, Outside::Mirror] {
                assert_eq!(still.apply(&image(size), size, outside), image(size));
            }
        }
    }

    #[test]
    fn whole_shifts_move_voxels() {
        let affine = Affine { shift: [1.0, 0.0, -1.0], ..Affine::IDENTITY };
        let moved = |outside| Deformation { affine, elastic: None }.apply(&image([3; 3]), [3; 3], outside);
        let (zero, mirror, original) = (moved(Outside::Zero), moved(Outside::Mirror), image([3; 3]));
        for (i, (zero, mirror)) in zero.into_iter().zip(mirror).enumerate() {
            let [x, y, z] = [i % 3, i / 3 % 3, i / 9];
            let at = |x: usize, z: usize| original[(z * 3 + y) * 3 + x];
            assert_eq!(zero, if x < 2 && z > 0 { at(x + 1, z - 1) } else { 0.0 });
            assert_eq!(mirror, at((x + 1).min(2), z.saturating_sub(1)));
        }
    }

    #[test]
    fn a_quarter_turn_exchanges_two_axes() {
        let matrix = rotation(2, std::f64::consts::FRAC_PI_2).map(|row| row.map(|value| value as f32));
        let turned = Deformation { affine: Affine { matrix, shift: [0.0; 3] }, elastic: None };
        let size = [5; 3];
        let (turned, original) = (turned.apply(&image(size), size, Outside::Mirror), image(size));
        for (i, value) in turned.iter().enumerate() {
            let [x, y, z] = [i % 5, i / 5 % 5, i / 25];
            assert!((value - original[(z * 5 + x) * 5 + 4 - y]).abs() < 1e-5);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        /// Interpolated values lie between those of the image; and nothing becomes of nothing.
        #[test]
        fn values_stay_in_their_range(seed: u64) {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let size = [12, 9, 17];
            let affine = Affine::draw(&GVSL, size, &mut rng);
            let elastic = Elastic::draw(size, 400.0, 10.0, [true; 3], &mut rng);
            let deformation = Deformation { affine, elastic: Some(elastic) };
            for outside in [Outside::Zero, Outside::Mirror] {
                let ones = deformation.apply(&vec![1.0; 12 * 9 * 17], size, outside);
                prop_assert!(ones.iter().all(|value| (-1e-6..=1.0 + 1e-5).contains(value)));
                if outside == Outside::Mirror {
                    prop_assert!(ones.iter().all(|value| (value - 1.0).abs() < 1e-5));
                }
                let none = deformation.apply(&vec![0.0; 12 * 9 * 17], size, outside);
                prop_assert!(none.iter().all(|value| *value == 0.0));
            }
        }
    }
}
