//! Images in blocks of a few mm, and what their grey values have in common within the brain.

use brainmvp_volume::{Affine, Grid, Volume, background};

/// An image averaged over blocks of about 4 mm.
pub(crate) struct Sketch {
    /// The grid of the file.
    pub(crate) file_grid: Grid,
    /// The grid of the blocks.
    pub(crate) grid: Grid,
    /// Relative to the background.
    means: Vec<f32>,
    /// The share of each block's voxels that are not background.
    filled: Vec<f32>,
    pub(crate) stripped: bool,
}

const BLOCK_MM: f64 = 4.0;

/// More than any brain with its cisterns.
const LARGEST_BRAIN_ML: f64 = 2200.0;

impl Sketch {
    pub(crate) fn of(volume: &Volume) -> Self {
        let file_grid = *volume.grid();
        let affine = &file_grid.affine;
        let spacing = affine.spacing_mm();
        let block: [usize; 3] = std::array::from_fn(|axis| {
            // Spacings that differ only by rounding, such as 1.6 mm in two formats, get blocks of the same size.
            ((BLOCK_MM / spacing[axis] - 0.01).round() as usize).clamp(1, file_grid.shape[axis].max(1))
        });
        let shape: [usize; 3] = std::array::from_fn(|axis| file_grid.shape[axis] / block[axis]);
        let mut rows = affine.rows();
        let origin = affine.to_world(block.map(|n| (n as f64 - 1.0) / 2.0));
        for (row, place) in rows.iter_mut().zip(origin) {
            (0..3).for_each(|axis| row[axis] *= block[axis] as f64);
            row[3] = place;
        }
        let grid = Grid::new(shape, Affine::from_rows(rows));
        let background = background(volume).unwrap_or(0.0);
        let (mut means, mut filled) = (vec![0.0; grid.len()], vec![0.0; grid.len()]);
        let share = 1.0 / block.iter().product::<usize>().max(1) as f32;
        for z in 0..shape[2] * block[2] {
            for y in 0..shape[1] * block[1] {
                let row = &volume.voxels()[file_grid.offset([0, y, z])..][..shape[0] * block[0]];
                let first = grid.offset([0, y / block[1], z / block[2]]);
                for (place, voxels) in row.chunks_exact(block[0]).enumerate() {
                    means[first + place] += share * voxels.iter().map(|v| v - background).sum::<f32>();
                    let tissue = voxels.iter().filter(|v| **v != background).count();
                    filled[first + place] += share * tissue as f32;
                }
            }
        }
        let all = grid.len() as f32;
        let rest: f32 = filled.iter().sum();
        let block_ml = grid.affine.linear().determinant().abs() / 1000.0;
        let stripped = rest <= 0.8 * all && f64::from(rest) * block_ml <= LARGEST_BRAIN_ML;
        Self { file_grid, grid, means, filled, stripped }
    }

    /// The mean at a point in the world, if there is anything but background.
    fn at(&self, from_world: &Affine, world: [f64; 3]) -> Option<f32> {
        let index = from_world.to_world(world).map(f64::round);
        let inside = (0..3).all(|axis| index[axis] >= 0.0 && index[axis] < self.grid.shape[axis] as f64);
        let block = inside.then(|| self.grid.offset(index.map(|i| i as usize)))?;
        (self.filled[block] > 0.0).then(|| self.means[block])
    }

    /// How well the outlines of two stripped images on one grid agree: their Dice score.
    pub(crate) fn agreement(&self, other: &Self) -> f64 {
        let both: f32 = self.filled.iter().zip(&other.filled).map(|(a, b)| a.min(*b)).sum();
        let each: f32 = self.filled.iter().zip(&other.filled).map(|(a, b)| a + b).sum();
        f64::from(2.0 * both / each)
    }
}

/// The values of every image at the points of the brain that all images cover, on the grid of the first.
pub(crate) fn shared_values(sketches: &[&Sketch]) -> Vec<Vec<f32>> {
    let mut values = vec![Vec::new(); sketches.len()];
    let from_world: Option<Vec<Affine>> =
        sketches.iter().map(|sketch| sketch.grid.affine.inverse()).collect();
    let (Some(from_world), Some(first)) = (from_world, sketches.first()) else { return values };
    let core = if sketches.iter().all(|sketch| sketch.stripped) { None } else { Some(Core::of(first)) };
    for offset in 0..first.grid.len() {
        let world = first.grid.affine.to_world(first.grid.voxel(offset).map(|i| i as f64));
        if core.as_ref().is_some_and(|core| !core.holds(world)) {
            continue;
        }
        let here = sketches.iter().zip(&from_world).map(|(sketch, from_world)| sketch.at(from_world, world));
        let here: Option<Vec<f32>> = here.map(|value| value.filter(|v| v.is_finite())).collect();
        for (all, value) in values.iter_mut().zip(here.into_iter().flatten()) {
            all.push(value);
        }
    }
    values
}

/// The part of a head that is brain in everyone: an upright elliptic cylinder below the vertex.
struct Core {
    centre: [f64; 2],
    radius: [f64; 2],
    below_mm: [f64; 2],
}

impl Core {
    fn of(sketch: &Sketch) -> Self {
        /// As a fraction of the upper quartile of the values above 0: air is darker.
        const AIR: f32 = 0.35;
        /// As a fraction of the half axes of the head.
        const PART: f64 = 0.63;
        /// Below the scalp and skull, and above the skull base.
        const DEPTH_MM: [f64; 2] = [20.0, 85.0];
        let mut inside: Vec<f32> = sketch.means.iter().copied().filter(|v| *v > 0.0).collect();
        inside.sort_by(f32::total_cmp);
        let bound = AIR * inside.get(inside.len() * 3 / 4).copied().unwrap_or_default();
        let mut places: [Vec<f64>; 3] = Default::default();
        for (offset, _) in sketch.means.iter().enumerate().filter(|(_, mean)| **mean > bound) {
            let world = sketch.grid.affine.to_world(sketch.grid.voxel(offset).map(|i| i as f64));
            places.iter_mut().zip(world).for_each(|(along, place)| along.push(place));
        }
        for along in &mut places {
            along.sort_by(f64::total_cmp);
        }
        let at = |axis: usize, part: f64| percentile(&places[axis], part);
        let top = at(2, 0.995);
        Self {
            centre: [0, 1].map(|axis| f64::midpoint(at(axis, 0.02), at(axis, 0.98))),
            radius: [0, 1].map(|axis| PART * (at(axis, 0.98) - at(axis, 0.02)) / 2.0),
            below_mm: DEPTH_MM.map(|depth| top - depth),
        }
    }

    fn holds(&self, [x, y, z]: [f64; 3]) -> bool {
        let [a, b] = [(x - self.centre[0]) / self.radius[0], (y - self.centre[1]) / self.radius[1]];
        a * a + b * b < 1.0 && z < self.below_mm[0] && z > self.below_mm[1]
    }
}

/// The quantile `part`, 0 to 1, of sorted values; NaN if there are none.
pub(crate) fn percentile<T: Copy + Into<f64>>(sorted: &[T], part: f64) -> f64 {
    let place = (part * sorted.len().saturating_sub(1) as f64).round() as usize;
    sorted.get(place).map_or(f64::NAN, |value| (*value).into())
}

/// The skew of values: -1 to 1, above 0 where the longer tail is the bright one.
pub(crate) fn lean(values: &[f32]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f32::total_cmp);
    let [low, middle, high] = [0.02, 0.5, 0.98].map(|part| percentile(&sorted, part));
    (high + low - 2.0 * middle) / (high - low)
}

/// The rank of each value.
pub(crate) fn ranks(values: &[f32]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| values[*a].total_cmp(&values[*b]));
    let mut ranks = vec![0.0; values.len()];
    for (rank, place) in order.into_iter().enumerate() {
        ranks[place] = rank as f64;
    }
    ranks
}

/// Pearson's correlation of two permutations of the same ranks.
pub(crate) fn correlation(a: &[f64], b: &[f64]) -> f64 {
    let mean = (a.len() as f64 - 1.0) / 2.0;
    let product: f64 = a.iter().zip(b).map(|(a, b)| (a - mean) * (b - mean)).sum();
    let square: f64 = a.iter().map(|a| (a - mean).powi(2)).sum();
    product / square
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_end_values_lean_to() {
        let bright: Vec<f32> = (0..100).map(|i| (i as f32).powi(3)).collect();
        let dark: Vec<f32> = bright.iter().map(|v| -v).collect();
        let even: Vec<f32> = (0..101).map(|i| i as f32).collect();
        assert!(lean(&bright) > 0.7 && lean(&dark) < -0.7 && lean(&even).abs() < 1e-9);
    }

    #[test]
    fn correlation_of_ranks() {
        let a = ranks(&[0.1, 5.0, -3.0, 2.0]);
        assert_eq!(a, [1.0, 3.0, 0.0, 2.0]);
        assert_eq!(correlation(&a, &a), 1.0);
        assert_eq!(correlation(&a, &ranks(&[-0.1, -5.0, 3.0, -2.0])), -1.0);
    }

    #[test]
    fn blocks_keep_their_place() {
        let grid = Grid::new([5, 4, 3], Affine::from_spacing([2.0, 1.0, 4.0], [10.0, 20.0, 30.0]));
        let volume = Volume::new(grid, (0..60).map(|i| i as f32).collect());
        let sketch = Sketch::of(&volume);
        assert_eq!(sketch.grid.shape, [2, 1, 3]);
        assert_eq!(sketch.grid.affine.origin_mm(), [11.0, 21.5, 30.0]);
        // Voxels 0 and 1 of four rows of five.
        assert_eq!(sketch.means[0], 8.0);
        let from_world = sketch.grid.affine.inverse().unwrap();
        assert_eq!(sketch.at(&from_world, [15.0, 21.0, 38.0]), Some(sketch.means[5]));
        assert_eq!(sketch.at(&from_world, [30.0, 21.0, 38.0]), None);
    }
}
