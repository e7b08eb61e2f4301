//! Smooth random displacements (Simard et al., 2003).

use rand::{Rng, RngExt};

use super::blur::gaussian;

/// A field of displacements on a grid of every `spacing`-th voxel, linear between its nodes.
///
/// The published field is noise of every voxel, smoothed by a Gaussian and multiplied by its strength. This one is noise on
/// a grid that is coarser than the Gaussian, with the same standard deviation and the same Gaussian: 3^3 to 6^3 times less
/// to compute.
#[derive(Debug, Clone)]
pub struct Elastic {
    spacing: usize,
    nodes: [usize; 3],
    /// In voxels, x fastest.
    moves: Vec<[f32; 3]>,
}

impl Elastic {
    /// A field for a patch of `size` voxels: noise in `[-1, 1]` smoothed by a Gaussian of deviation `sigma` voxels, times
    /// `alpha`; the axes that are false are not displaced.
    pub fn draw(size: [usize; 3], alpha: f64, sigma: f64, axes: [bool; 3], rng: &mut dyn Rng) -> Self {
        let spacing = ((sigma / 2.0) as usize).max(1);
        let nodes = size.map(|n| n.saturating_sub(1) / spacing + 2);
        // The mean of n independent values deviates by 1 / sqrt(n) of them: n is smaller by the cube of the spacing.
        let strength = alpha * (spacing as f64).powf(-1.5);
        let weights = gaussian(sigma / spacing as f64);
        let mut moves = vec![[0.0; 3]; nodes.iter().product()];
        for axis in (0..3).filter(|axis| axes[*axis]) {
            let mut field: Vec<f64> = moves.iter().map(|_| rng.random_range(-1.0..1.0)).collect();
            for along in 0..3 {
                field = smoothed(&field, nodes, along, &weights);
            }
            moves.iter_mut().zip(&field).for_each(|(to, from)| to[axis] = (strength * from) as f32);
        }
        Self { spacing, nodes, moves }
    }

    /// The displacement of a voxel of the patch, in voxels.
    pub fn at(&self, voxel: [usize; 3]) -> [f32; 3] {
        let low = voxel.map(|i| i / self.spacing);
        let share = voxel.map(|i| (i % self.spacing) as f32 / self.spacing as f32);
        let [nx, ny, _] = self.nodes;
        let first = (low[2] * ny + low[1]) * nx + low[0];
        let mut sum = [0.0; 3];
        for corner in 0..8 {
            let [dx, dy, dz] = [corner & 1, corner >> 1 & 1, corner >> 2];
            let along = |high: usize, axis: usize| if high == 1 { share[axis] } else { 1.0 - share[axis] };
            let weight = along(dx, 0) * along(dy, 1) * along(dz, 2);
            let node = self.moves[first + (dz * ny + dy) * nx + dx];
            sum.iter_mut().zip(node).for_each(|(sum, node)| *sum += weight * node);
        }
        sum
    }
}

/// Weighted sums along one axis; outside there is nothing.
fn smoothed(field: &[f64], nodes: [usize; 3], axis: usize, weights: &[f64]) -> Vec<f64> {
    let step: usize = nodes[..axis].iter().product();
    let mut out = vec![0.0; field.len()];
    for (index, value) in out.iter_mut().enumerate() {
        let at = index / step % nodes[axis];
        for (far, weight) in weights.iter().enumerate() {
            if far <= at {
                *value += weight * field[index - far * step];
            }
            if far > 0 && at + far < nodes[axis] {
                *value += weight * field[index + far * step];
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;

    /// The standard deviation of noise in [-1, 1], smoothed in three dimensions: 1 / sqrt(3) (2 sqrt(pi) sigma)^-1.5.
    #[test]
    fn the_field_is_as_strong_as_published() {
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        let (alpha, sigma) = (991.0, 8.0);
        let expected = alpha / 3f64.sqrt() * (2.0 * std::f64::consts::PI.sqrt() * sigma).powf(-1.5);
        let (mut squares, mut count) = (0.0, 0);
        for _ in 0..12 {
            let field = Elastic::draw([96; 3], alpha, sigma, [true, true, false], &mut rng);
            // Away from the borders, where there is less to be smoothed.
            for z in 32..64 {
                for x in 32..64 {
                    let [dx, dy, dz] = field.at([x, usize::midpoint(x, z), z]);
                    assert_eq!(dz, 0.0);
                    squares += f64::from(dx * dx + dy * dy);
                    count += 2;
                }
            }
        }
        let deviation = (squares / f64::from(count)).sqrt();
        assert!((0.75..1.25).contains(&(deviation / expected)), "{deviation} for {expected}");
    }

    #[test]
    fn the_field_is_smooth() {
        let field = Elastic::draw([40; 3], 991.0, 8.0, [true; 3], &mut ChaCha8Rng::seed_from_u64(6));
        for x in 0..39 {
            let (a, b) = (field.at([x, 20, 39]), field.at([x + 1, 20, 39]));
            assert!(a.iter().zip(b).all(|(a, b)| (a - b).abs() < 3.0), "{a:?} {b:?}");
        }
    }
}
