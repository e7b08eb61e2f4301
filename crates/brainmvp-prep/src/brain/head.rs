//! The head in an image, the depth of its voxels, and the position of the brain in it.

use brainmvp_volume::{Affine, Grid};

use super::morphology::{depth_mm, dilate, fill_holes, heaviest_component};
use super::working::{WORKING_MM, Working};

/// Voxels darker than this share of the brightest tissue are air, bone or fluid.
const DARK: f32 = 0.12;
/// Air only spreads through passages twice as wide as this; the skull is thinner.
const BONE_MM: f32 = 5.0;
/// The radius of the sphere that replaces the top of a head if it is outside the field of view.
const TOP_RADIUS_MM: f64 = 150.0;
/// The distance from the top of the scalp down to the middle of the brain, in a head of the usual size.
const TOP_TO_CENTRE_MM: f64 = 92.0;
/// The vault, below the top of the scalp.
const VAULT_MM: std::ops::Range<f64> = 25.0..100.0;
/// The cross-section of most adults' there: the median of TCGA-LGG.
const VAULT_MM2: f64 = 24_500.0;
/// Heads of newborns are smaller than those of adults by a factor of 0.6.
const MAX_LOG_SIZE: f64 = 0.5;
/// The smallest cross-section of a head, larger than noise.
const SMALLEST_MM2: f64 = 1500.0;
/// How far below the top the brain is searched for: brains are less than 17 cm high.
const HEIGHT_MM: f64 = 190.0;

/// The head on the working grid.
pub(super) struct HeadMask {
    /// Whether a voxel is anything but the air around the head.
    pub(super) inside: Vec<bool>,
    /// The depth of each voxel below the skin, mm.
    pub(super) below_skin_mm: Vec<f32>,
    /// The uppermost slice with a head in it.
    top: usize,
    /// How far the head extends beyond that slice, mm.
    above_mm: f64,
    /// The logarithm of its size, relative to that of most adults. Heads of children are smaller, and voxel sizes that are only
    /// nominal can make a head a third too large.
    pub(super) log_size: f64,
}

impl HeadMask {
    /// Everything but the surrounding air; `None` if nothing is as wide as a head.
    pub(super) fn of(working: &Working) -> Option<Self> {
        let shape = working.grid.shape;
        let mm = [WORKING_MM; 3];
        let limit = DARK * working.images.len() as f32;
        let air: Vec<f32> = working.images.iter().map(|image| air_level(image, &working.grid)).collect();
        let above_air =
            |v: usize| working.images.iter().zip(&air).map(move |(image, air)| (image[v] - air).abs());
        let dark: Vec<bool> = (0..working.grid.len()).map(|v| above_air(v).sum::<f32>() < limit).collect();
        let mut not_air: Vec<bool> = depth_mm(&dark, shape, mm).iter().map(|d| *d <= BONE_MM).collect();
        fill_holes(&mut not_air, shape);
        let air: Vec<bool> = not_air.iter().map(|v| !v).collect();
        let near_air = dilate(&air, shape, mm, BONE_MM + 1.0);
        let inside: Vec<bool> = near_air.iter().zip(&dark).map(|(near, dark)| !(*near && *dark)).collect();
        let inside = heaviest_component(&inside, shape, |_| 1.0);
        let area = shape[0] * shape[1];
        let area_mm2 = |slice: &[bool]| slice.iter().filter(|v| **v).count() as f64 * WORKING_MM * WORKING_MM;
        let areas: Vec<f64> = inside.chunks_exact(area).map(area_mm2).collect();
        let top = areas.iter().rposition(|mm2| *mm2 > SMALLEST_MM2)?;
        let cap = (areas[top] / std::f64::consts::PI).min(0.9 * TOP_RADIUS_MM * TOP_RADIUS_MM);
        let above_mm = TOP_RADIUS_MM - (TOP_RADIUS_MM * TOP_RADIUS_MM - cap).sqrt();
        let below_skin_mm = below_skin_mm(&inside, shape, top, above_mm);
        let log_size = log_size(&areas[..=top], above_mm);
        Some(Self { inside, below_skin_mm, top, above_mm, log_size })
    }

    /// The first guess for the middle of the brain, in world mm: below the top, in the middle of the vault.
    pub(super) fn brain_centre_mm(&self, working: &Working) -> [f64; 3] {
        let (mut sum, mut count) = ([0.0; 2], 0.0_f64);
        for (voxel, _) in self.inside.iter().enumerate().filter(|(_, inside)| **inside) {
            let [x, y, z] = working.grid.voxel(voxel);
            let below = (self.top as f64 - z as f64) * WORKING_MM + self.above_mm;
            if VAULT_MM.contains(&below) {
                sum = [sum[0] + x as f64, sum[1] + y as f64];
                count += 1.0;
            }
        }
        let z = self.top as f64 - (TOP_TO_CENTRE_MM * self.log_size.exp() - self.above_mm) / WORKING_MM;
        let [x, y] = sum.map(|s| s / count.max(1.0));
        working.grid.affine.to_world([x, y, z])
    }

    /// Head and images cropped to the box of the head, no further down than a brain can extend.
    pub(super) fn cut(self, working: Working) -> (Working, Self) {
        let grid = working.grid;
        let lowest = self.top.saturating_sub((HEIGHT_MM / WORKING_MM) as usize);
        let (mut low, mut high) = (grid.shape, [0; 3]);
        for (voxel, _) in self.inside.iter().enumerate().filter(|(_, inside)| **inside) {
            let at = grid.voxel(voxel);
            for axis in 0..3 {
                low[axis] = low[axis].min(at[axis]);
                high[axis] = high[axis].max(at[axis]);
            }
        }
        low[2] = low[2].max(lowest).min(high[2]);
        let shape: [usize; 3] = std::array::from_fn(|i| high[i] - low[i] + 1);
        let mut rows = grid.affine.rows();
        let origin = grid.affine.to_world(low.map(|i| i as f64));
        rows.iter_mut().zip(origin).for_each(|(row, mm)| row[3] = mm);
        let small = Grid::new(shape, Affine::from_rows(rows));
        let from: Vec<usize> = (0..small.len())
            .map(|v| {
                let at = small.voxel(v);
                grid.offset(std::array::from_fn(|i| at[i] + low[i]))
            })
            .collect();
        let images = working.images.iter().map(|image| from.iter().map(|v| image[*v]).collect()).collect();
        let head = Self {
            inside: from.iter().map(|v| self.inside[*v]).collect(),
            below_skin_mm: from.iter().map(|v| self.below_skin_mm[*v]).collect(),
            top: self.top - low[2],
            ..self
        };
        (Working { grid: small, images }, head)
    }
}

/// See [`HeadMask::log_size`]: by the median cross-section of the vault. `areas` (mm2) are those of the slices up to the top.
fn log_size(areas: &[f64], above_mm: f64) -> f64 {
    let below_mm = |slice: usize| slice as f64 * WORKING_MM + above_mm;
    let slices = areas.iter().rev().enumerate();
    let mut vault: Vec<f64> =
        slices.filter(|(slice, _)| VAULT_MM.contains(&below_mm(*slice))).map(|(_, mm2)| *mm2).collect();
    vault.sort_by(f64::total_cmp);
    vault
        .get(vault.len() / 2)
        .map_or(0.0, |mm2| 0.5 * (mm2 / VAULT_MM2).ln())
        .clamp(-MAX_LOG_SIZE, MAX_LOG_SIZE)
}

/// The value of air in an image: 0, unless the edges of the field of view are grey. That is so in images with signed
/// values, such as inversion recovery with its phase, where air is amid the tissues: what differs from it is head.
fn air_level(image: &[f32], grid: &Grid) -> f32 {
    let on_edge = |voxel: usize| {
        let at = grid.voxel(voxel);
        (0..3).filter(|axis| at[*axis] == 0 || at[*axis] + 1 == grid.shape[*axis]).count() >= 2
    };
    let mut edges: Vec<f32> = (0..image.len()).filter(|v| on_edge(*v)).map(|v| image[v]).collect();
    let middle = edges.len() / 2;
    let level = *edges.select_nth_unstable_by(middle, f32::total_cmp).1;
    if level > DARK { level } else { 0.0 }
}

/// Distances to the air. Where the field of view cuts the head off at the top, a cap is added: slices that shrink as
/// those of a sphere do.
fn below_skin_mm(inside: &[bool], [nx, ny, nz]: [usize; 3], top: usize, above_mm: f64) -> Vec<f32> {
    let area = nx * ny;
    let mm = [WORKING_MM; 3];
    let flat = depth_mm(&inside[top * area..][..area], [nx, ny, 1], mm);
    let mut sorted: Vec<f32> = flat.iter().copied().filter(|d| *d > 0.0).collect();
    sorted.sort_by(f32::total_cmp);
    let cross_section = |left: f64| 2.0 * TOP_RADIUS_MM * left - left * left;
    let mut whole = inside[..(top + 1) * area].to_vec();
    let layers = (above_mm / WORKING_MM).ceil() as usize;
    for layer in 1..=layers {
        let left = (above_mm - layer as f64 * WORKING_MM).max(0.0);
        let kept = (cross_section(left) / cross_section(above_mm) * sorted.len() as f64) as usize;
        let deeper = if kept == 0 { f32::INFINITY } else { sorted[sorted.len() - kept] };
        whole.extend(flat.iter().map(|depth| *depth >= deeper));
    }
    let mut depth = depth_mm(&whole, [nx, ny, top + 1 + layers], mm);
    depth.resize(nz * area, 0.0);
    depth
}
