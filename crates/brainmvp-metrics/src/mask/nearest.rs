//! The distance from every voxel of one set to the nearest voxel of another.
//!
//! Only distances at a surface are needed, and most are small. A distance transform would have to fill the whole box
//! around both masks; instead the rows around a voxel are examined, nearest row first, 64 voxels of a row at a time.
//! Voxels with nothing within reach use a k-d tree, which is built when it is first needed. On a sheared grid, where the
//! nearest voxel of a row is not beside, all of them use it.

use std::f64::consts::PI;
use std::sync::OnceLock;

use rayon::prelude::*;

use super::tree::{Tree, squared_distance};
use super::{Axes, BITS, Mask};

/// About how many rows are examined before the tree is used.
const ROWS: f64 = 256.0;
/// How many voxels a window over a row has on either side of the middle.
const HALF: usize = BITS / 2;
/// How many voxels a thread takes at a time.
const BLOCK: usize = 2048;

/// Distances in mm from each voxel of `from` to the nearest of `to`, in the order of [`Mask::voxels`]; infinite if `to`
/// is empty. Both are on the same grid, with these axes.
pub(crate) fn distances(from: &Mask, to: &Mask, axes: &Axes) -> Vec<f64> {
    let voxels = from.voxels();
    let nearest = Nearest::new(to, axes);
    let mut distances = vec![0.0; voxels.len()];
    distances.par_chunks_mut(BLOCK).zip(voxels.par_chunks(BLOCK)).for_each(|(distances, voxels)| {
        let mut last = None;
        for (distance, voxel) in distances.iter_mut().zip(voxels) {
            *distance = nearest.squared_distance(voxel.map(|i| i as usize), &mut last).sqrt();
        }
    });
    distances
}

/// A row parallel to the one through a voxel.
#[derive(Debug, Clone, Copy)]
struct Row {
    dy: isize,
    dz: isize,
    /// The squared distance between the two rows, mm^2.
    squared: f64,
}

/// The last result of the tree.
#[derive(Debug, Clone, Copy)]
struct Found {
    from: [f64; 3],
    nearest: Option<[f64; 3]>,
    mm: f64,
}

struct Nearest<'a> {
    mask: &'a Mask,
    axes: &'a Axes,
    /// The rows, the nearest first; none on a sheared grid.
    rows: Vec<Row>,
    /// Anything found within this distance (mm) is certainly the nearest.
    reach_mm: f64,
    tree: OnceLock<Tree>,
}

impl<'a> Nearest<'a> {
    fn new(mask: &'a Mask, axes: &'a Axes) -> Self {
        if axes.is_sheared() {
            return Self { mask, axes, rows: Vec::new(), reach_mm: 0.0, tree: OnceLock::new() };
        }
        let [sx, sy, sz] = axes.spacing_mm();
        // The ellipse, in rows, of a circle in mm.
        let reach = (ROWS * sy * sz / PI).sqrt();
        // Rows beyond the grid are never needed.
        let limit = |spacing: f64, count: usize| ((reach / spacing) as isize).min(count as isize);
        let (ny, nz) = (limit(sy, mask.shape[1]), limit(sz, mask.shape[2]));
        let place = |dy: isize, dz: isize| {
            let squared = (dy as f64 * sy).powi(2) + (dz as f64 * sz).powi(2);
            Row { dy, dz, squared }
        };
        let mut rows: Vec<Row> = (-nz..=nz).flat_map(|dz| (-ny..=ny).map(move |dy| place(dy, dz))).collect();
        rows.retain(|row| row.squared <= reach * reach);
        rows.sort_by(|a, b| a.squared.total_cmp(&b.squared));
        let reach_mm = reach.min(HALF as f64 * sx);
        Self { mask, axes, rows, reach_mm, tree: OnceLock::new() }
    }

    /// The squared distance to the voxel of the set nearest to `[x, y, z]`, mm^2. `last` is the tree's last result,
    /// preferably for a neighbour.
    fn squared_distance(&self, voxel: [usize; 3], last: &mut Option<Found>) -> f64 {
        let point = self.axes.place(voxel.map(|i| i as f64));
        // The distance changes by no more than the distance between two points, so what is far stays far for neighbours.
        let far =
            last.is_some_and(|last| last.mm - squared_distance(last.from, point).sqrt() > self.reach_mm);
        if !far {
            let found = self.in_rows(voxel);
            if found <= self.reach_mm * self.reach_mm {
                return found;
            }
        }
        let places = || self.mask.voxels().into_iter().map(|voxel| self.axes.place(voxel.map(f64::from)));
        let tree = self.tree.get_or_init(|| Tree::new(places().collect()));
        let (squared, nearest) = tree.nearest(point, last.and_then(|last| last.nearest));
        *last = Some(Found { from: point, nearest, mm: squared.sqrt() });
        squared
    }

    /// The squared distance to the nearest voxel of the rows and windows within reach, mm^2; infinite if there is none.
    fn in_rows(&self, [x, y, z]: [usize; 3]) -> f64 {
        let [_, ny, nz] = self.mask.shape;
        let [step_mm, ..] = self.axes.spacing_mm();
        let mut best = f64::INFINITY;
        for row in &self.rows {
            if row.squared >= best {
                break;
            }
            let (y, z) = (y.wrapping_add_signed(row.dy), z.wrapping_add_signed(row.dz));
            if y >= ny || z >= nz {
                continue;
            }
            let window = window(self.mask.row(y, z), x);
            if window != 0 {
                let steps = (window >> HALF).trailing_zeros().min((window << (HALF - 1)).leading_zeros());
                best = best.min(row.squared + (f64::from(steps) * step_mm).powi(2));
            }
        }
        best
    }
}

/// 64 voxels of a row: `x` is bit 32, the voxels before it the lower bits.
#[inline]
fn window(row: &[u64], x: usize) -> u64 {
    let Some(start) = x.checked_sub(HALF) else {
        return row[0] << (HALF - x);
    };
    let (word, shift) = (start / BITS, start % BITS);
    let low = row[word] >> shift;
    match row.get(word + 1) {
        Some(next) if shift > 0 => low | next << (BITS - shift),
        _ => low,
    }
}

#[cfg(test)]
mod tests {
    use brainmvp_volume::Affine;
    use proptest::prelude::*;

    use super::super::tests::{mask_of, shape};
    use super::*;

    /// Distances between places in the world.
    fn by_brute_force(from: &Mask, to: &Mask, affine: &Affine) -> Vec<f64> {
        let others = to.voxels();
        let squared = |a: [u32; 3], b: [u32; 3]| -> f64 {
            squared_distance(affine.to_world(a.map(f64::from)), affine.to_world(b.map(f64::from)))
        };
        let nearest =
            |v: [u32; 3]| others.iter().map(|o| squared(v, *o)).fold(f64::INFINITY, f64::min).sqrt();
        from.voxels().into_iter().map(nearest).collect()
    }

    /// Straight, turned and mirrored, and sheared axes.
    fn affine() -> impl Strategy<Value = Affine> {
        let spacing_mm = prop_oneof![Just([1.0; 3]), Just([0.9, 0.9, 5.5]), prop::array::uniform3(0.1..8.0)];
        let shear = prop_oneof![Just([0.0; 3]), prop::array::uniform3(-1.5..1.5)];
        (spacing_mm, shear, 0.0..7.0_f64, any::<bool>()).prop_map(
            |([sx, sy, sz], [a, b, c], turn, mirror)| {
                let (sin, cos) = turn.sin_cos();
                let turned =
                    Affine::from_rows([[cos, -sin, 0.0, 9.0], [sin, cos, 0.0, -70.0], [0.0, 0.0, 1.0, 3.0]]);
                let sx = if mirror { -sx } else { sx };
                let sheared = [[sx, a * sy, b * sz, 0.0], [0.0, sy, c * sz, 0.0], [0.0, 0.0, sz, 0.0]];
                turned.after(&Affine::from_rows(sheared))
            },
        )
    }

    proptest! {
        #[test]
        fn distances_are_those_of_brute_force(
            (from, to) in shape().prop_flat_map(|shape| (mask_of(shape), mask_of(shape))),
            affine in affine(),
        ) {
            let found = distances(&from, &to, &Axes::of(&affine));
            for (found, expected) in found.iter().zip(by_brute_force(&from, &to, &affine)) {
                prop_assert!(*found == expected || (found - expected).abs() < 1e-9, "{found} {expected}");
            }
        }

        #[test]
        fn far_voxels_are_found_by_the_tree(
            voxels in prop::collection::vec((0_usize..150, 0_usize..90, 0_usize..60), 1..9),
            affine in affine(),
        ) {
            let shape = [150, 90, 60];
            let mut flags = vec![false; shape.iter().product()];
            for (x, y, z) in voxels {
                flags[(z * 90 + y) * 150 + x] = true;
            }
            let to = Mask::new(shape, &flags);
            flags.iter_mut().enumerate().for_each(|(i, flag)| *flag = i % 997 == 0);
            let from = Mask::new(shape, &flags);
            let found = distances(&from, &to, &Axes::of(&affine));
            for (found, expected) in found.iter().zip(by_brute_force(&from, &to, &affine)) {
                prop_assert!((found - expected).abs() < 1e-9, "{found} {expected}");
            }
        }
    }
}
