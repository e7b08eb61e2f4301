//! Prior knowledge of a brain: its shape in standard space, and its pose in an image.

use brainmvp_phantom::brain_depth_mm;
use brainmvp_volume::{Affine, Grid, LabelMap, Volume};
use rayon::prelude::*;

use super::morphology::depth_mm;

/// Depth in the brain in standard space: mm, negative outside.
#[derive(Debug, Clone)]
pub struct BrainPrior {
    depth: Volume,
    to_voxel: Affine,
    centre_mm: [f64; 3],
}

/// How far around the brain the built-in shape is stored.
const MARGIN_MM: f64 = 36.0;
const SPACING_MM: f64 = 3.0;

impl BrainPrior {
    /// The shape of the average phantom.
    pub fn built_in() -> Self {
        let (low, high) = ([-72.0, -106.0, -84.0], [72.0, 74.0, 80.0]);
        let origin = low.map(|mm: f64| mm - MARGIN_MM);
        let shape =
            std::array::from_fn(|i| ((high[i] + MARGIN_MM - origin[i]) / SPACING_MM).ceil() as usize + 1);
        let grid = Grid::new(shape, Affine::from_spacing([SPACING_MM; 3], origin));
        // On one thread: other threads may be waiting for this, and must not be given parts of it to do.
        let depth = (0..grid.len()).map(|voxel| {
            let at = grid.affine.to_world(grid.voxel(voxel).map(|i| i as f64));
            brain_depth_mm(at.map(|mm| mm as f32))
        });
        Self::of_depth(Volume::new(grid, depth.collect()))
    }

    /// The shape of a user's brain mask (above 0 inside), for example that of an atlas; `None` if it is empty or full.
    pub fn of_mask(mask: &LabelMap) -> Option<Self> {
        let grid = *mask.grid();
        let inside: Vec<bool> = mask.voxels().iter().map(|v| *v > 0).collect();
        let outside: Vec<bool> = inside.iter().map(|v| !v).collect();
        if !inside.contains(&true) || !outside.contains(&true) || grid.affine.inverse().is_none() {
            return None;
        }
        let spacing = grid.affine.spacing_mm();
        let (within, without) =
            (depth_mm(&inside, grid.shape, spacing), depth_mm(&outside, grid.shape, spacing));
        let depth = within.iter().zip(&without).map(|(within, without)| within - without).collect();
        Some(Self::of_depth(Volume::new(grid, depth)))
    }

    #[expect(clippy::expect_used, reason = "`of_mask` refuses other grids, and the built-in one is ours")]
    fn of_depth(depth: Volume) -> Self {
        let grid = *depth.grid();
        let (mut sum, mut count) = ([0.0; 3], 0.0_f64);
        for (voxel, _) in depth.voxels().iter().enumerate().filter(|(_, depth)| **depth > 0.0) {
            let at = grid.affine.to_world(grid.voxel(voxel).map(|i| i as f64));
            (0..3).for_each(|i| sum[i] += at[i]);
            count += 1.0;
        }
        Self {
            centre_mm: sum.map(|mm| mm / count.max(1.0)),
            to_voxel: grid.affine.inverse().expect("the mask's grid has a usable affine"),
            depth,
        }
    }

    /// The map from world mm of an image to the prior's own mm, for a brain in the given pose.
    pub(super) fn standard(&self, pose: &Pose) -> Affine {
        pose.to_standard(self.centre_mm)
    }

    /// The map from world mm of an image to voxels of the prior, for a brain in the given pose.
    pub(super) fn placed(&self, pose: &Pose) -> PlacedPrior<'_> {
        let spacing_mm = self.depth.grid().affine.spacing_mm().into_iter().fold(f64::INFINITY, f64::min);
        let map = self.to_voxel.after(&self.standard(pose));
        PlacedPrior { depth: &self.depth, map, spacing_mm: spacing_mm as f32 }
    }
}

/// A prior placed in an image.
pub(super) struct PlacedPrior<'a> {
    depth: &'a Volume,
    /// From world mm of the image to voxels of `depth`.
    map: Affine,
    /// The smallest voxel size of `depth`.
    spacing_mm: f32,
}

impl PlacedPrior<'_> {
    /// Depth at the voxels of a grid, `x` fastest.
    pub(super) fn on_grid(&self, grid: &Grid) -> Vec<f32> {
        let map = self.map.after(&grid.affine);
        let step = map.linear().column(0).into_owned();
        let [nx, ny, _] = grid.shape;
        let mut depth = vec![0.0; grid.len()];
        depth.par_chunks_mut(nx.max(1)).enumerate().for_each(|(row, depths)| {
            let start = map.to_world([0.0, (row % ny) as f64, (row / ny) as f64]);
            for (x, depth) in depths.iter_mut().enumerate() {
                *depth = self.at_voxel(std::array::from_fn(|i| (start[i] + step[i] * x as f64) as f32));
            }
        });
        depth
    }

    /// Trilinear; beyond the border the depth keeps decreasing with the distance from it.
    fn at_voxel(&self, index: [f32; 3]) -> f32 {
        let shape = self.depth.shape();
        let mut beyond = 0.0;
        let mut low = [0; 3];
        let mut share = [0.0; 3];
        for axis in 0..3 {
            let last = shape[axis] - 1;
            let inside = index[axis].clamp(0.0, last as f32);
            beyond += (index[axis] - inside).abs();
            low[axis] = (inside as usize).min(last.saturating_sub(1));
            share[axis] = inside - low[axis] as f32;
        }
        let step = [1, shape[0], shape[0] * shape[1]];
        let next: [usize; 3] = std::array::from_fn(|i| if shape[i] > 1 { step[i] } else { 0 });
        let first = low[0] + low[1] * step[1] + low[2] * step[2];
        let voxels = self.depth.voxels();
        let along_x = |at: usize| voxels[at] + (voxels[at + next[0]] - voxels[at]) * share[0];
        let along_y = |at: usize| {
            let low = along_x(at);
            low + (along_x(at + next[1]) - low) * share[1]
        };
        let depth = along_y(first);
        depth + (along_y(first + next[2]) - depth) * share[2] - beyond * self.spacing_mm
    }
}

/// The position, rotation and size of a brain, relative to the prior.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Pose {
    /// The world mm of the prior's centre.
    pub(super) centre_mm: [f64; 3],
    /// Rotations about x (nodding), y and z, in radians.
    pub(super) turn: [f64; 3],
    /// The logarithm of the size along the brain's axes, relative to what the head's size lets expect.
    pub(super) log_size: [f64; 3],
    /// The logarithm of the expected size.
    expected_log_size: f64,
}

/// Limits of the angles and sizes of a head.
const MAX_TURN: f64 = 0.6;
const MAX_LOG_SIZE: f64 = 0.20;

impl Pose {
    /// Upright, larger than the prior by the factor exp(`expected_log_size`).
    pub(super) fn upright(centre_mm: [f64; 3], expected_log_size: f64) -> Self {
        Self { centre_mm, turn: [0.0; 3], log_size: [0.0; 3], expected_log_size }
    }

    fn to_standard(self, centre_mm: [f64; 3]) -> Affine {
        let turn = nalgebra::Rotation3::from_euler_angles(self.turn[0], self.turn[1], self.turn[2]);
        let shrink = nalgebra::Matrix3::from_diagonal(
            &self.log_size.map(|s| (-self.expected_log_size - s).exp()).into(),
        );
        let linear = shrink * turn.matrix();
        let shift = nalgebra::Vector3::from(centre_mm) - linear * nalgebra::Vector3::from(self.centre_mm);
        Affine::from_rows(std::array::from_fn(|r| [linear[(r, 0)], linear[(r, 1)], linear[(r, 2)], shift[r]]))
    }

    /// The height of each voxel above the centre of the brain, along the brain's own axis, mm.
    pub(super) fn height_mm(&self, grid: &Grid) -> Vec<f32> {
        let map = self.to_standard([0.0; 3]).after(&grid.affine);
        let row = map.rows()[2];
        let up = |voxel: [usize; 3]| row[3] + (0..3).map(|i| row[i] * voxel[i] as f64).sum::<f64>();
        (0..grid.len()).into_par_iter().map(|v| up(grid.voxel(v)) as f32).collect()
    }

    /// From a voxel of a grid to that on the other side of the brain's middle, at the same height and depth.
    pub(super) fn opposite(&self, grid: &Grid) -> Option<Affine> {
        let to_brain = self.to_standard([0.0; 3]).after(&grid.affine);
        let turned = Affine::from_rows([[-1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]]);
        Some(to_brain.inverse()?.after(&turned).after(&to_brain))
    }

    fn moved(mut self, parameter: usize, step: f64) -> Self {
        let axis = parameter % 3;
        match parameter / 3 {
            0 => self.centre_mm[axis] += step * 100.0,
            1 => self.turn[axis] = (self.turn[axis] + step).clamp(-MAX_TURN, MAX_TURN),
            _ => self.log_size[axis] = (self.log_size[axis] + step).clamp(-MAX_LOG_SIZE, MAX_LOG_SIZE),
        }
        self
    }

    /// The pose near this one for which the prior contains the most of `weight` (above 0 where brain is likely, on
    /// `grid`): a search along the nine parameters, one at a time, with steps of 10 mm, 0.1 rad and 10 % that become
    /// ever smaller.
    pub(super) fn fitted(self, prior: &BrainPrior, weight: &[f32], grid: &Grid) -> Self {
        let sparse = Sparse::of(weight, grid);
        let mut best = (sparse.score(prior, &self), self);
        let mut step = 0.08;
        while step > 0.004 {
            let mut improved = false;
            for parameter in 0..9 {
                for signed in [step, -step] {
                    let pose = best.1.moved(parameter, signed);
                    let score = sparse.score(prior, &pose);
                    if score > best.0 {
                        best = (score, pose);
                        improved = true;
                        break;
                    }
                }
            }
            if !improved {
                step *= 0.5;
            }
        }
        best.1
    }

    /// The penalty for an unlikely pose, in voxels of brain: heads differ in size by about 6 % and nod by about 15
    /// degrees.
    fn unlikeliness(&self) -> f64 {
        let size: f64 = self.log_size.iter().map(|s| (s / 0.06).powi(2)).sum();
        let mean = self.log_size.iter().sum::<f64>() / 3.0;
        let shape: f64 = self.log_size.iter().map(|s| ((s - mean) / 0.05).powi(2)).sum();
        let [nod, roll, yaw] = self.turn;
        size + shape + (nod / 0.25).powi(2) + (roll / 0.12).powi(2) + (yaw / 0.12).powi(2)
    }
}

/// Takes every second voxel of the weights along each axis.
struct Sparse {
    grid: Grid,
    weight: Vec<f32>,
}

impl Sparse {
    fn of(weight: &[f32], grid: &Grid) -> Self {
        let shape = grid.shape.map(|n| n.div_ceil(2));
        let mut rows = grid.affine.rows();
        for value in rows.iter_mut().flat_map(|row| &mut row[..3]) {
            *value *= 2.0;
        }
        let sparse = Grid::new(shape, Affine::from_rows(rows));
        let weight = (0..sparse.len()).map(|v| weight[grid.offset(sparse.voxel(v).map(|i| 2 * i))]).collect();
        Self { grid: sparse, weight }
    }

    fn score(&self, prior: &BrainPrior, pose: &Pose) -> f64 {
        /// The width in mm over which the prior's edge is blurred.
        const EDGE_MM: f32 = 6.0;
        /// The cost of a deviation by one standard deviation, in voxels of this grid.
        const DEVIATION: f64 = 60.0;
        let depth = prior.placed(pose).on_grid(&self.grid);
        let pairs = depth.par_chunks(1 << 13).zip(self.weight.par_chunks(1 << 13));
        let gathered = pairs.map(|(depth, weight)| {
            let share = |depth: f32| (0.5 + depth / EDGE_MM).clamp(0.0, 1.0);
            depth.iter().zip(weight).map(|(d, w)| share(*d) * w).sum::<f32>()
        });
        // Summed in order, so that the result does not depend on the threads.
        let gathered = gathered.collect::<Vec<_>>().into_iter().map(f64::from).sum::<f64>();
        gathered - DEVIATION * pose.unlikeliness()
    }
}
