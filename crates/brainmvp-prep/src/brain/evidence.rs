//! The evidence for brain in each voxel.

use super::head::HeadMask;
use super::morphology::{depth_mm, dilate, fill_holes, heaviest_component};
use super::prior::Pose;
use super::working::{WORKING_MM, Working};

const MM: [f64; 3] = [WORKING_MM; 3];
const BINS: usize = 64;
/// The limit of the logarithm of the likelihood ratio that a value can contribute.
const LOUDEST: f32 = 2.0;
/// Voxels brighter than most of the brain may be a lesion, so they count less against it.
const LOUDEST_BRIGHT: f32 = 1.2;
/// Values around the brain are sampled in a shell this thick.
const SHELL_MM: f32 = 15.0;
/// Skin, fat and bone are together at least about this thick, everywhere over the brain,
const THINNEST_COVER_MM: f32 = 12.5;
/// and thicker by this under the vertex, with the fluid over the convexity.
const MORE_AT_VERTEX_MM: f32 = 3.0;
/// Under the vault, anything deeper than this is most likely brain.
const USUAL_COVER_MM: f32 = 15.0;
/// What speaks for brain where the other half of it is deeper than [`OTHER_HALF_MM`]: as much as the values of a lesion in three
/// images may speak against it.
const OTHER_HALF: f32 = 3.5;
/// The halves of a brain differ by less than this.
const OTHER_HALF_MM: f32 = 4.0;
/// Bridges of tissue narrower than twice this do not join scalp or muscle to the brain.
const BRIDGE_MM: f32 = 3.0;
/// Voxels closer than this to the connected tissue belong to it again.
const REACH_MM: f32 = 5.5;

/// How well the position of the brain is known.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Stage {
    /// The prior may be misplaced: values within this many mm of its border, on either side, are not used.
    Placing { margin_mm: f32 },
    /// The border is being found. (Only then is the cover assumed to be thicker above: earlier, that would push the
    /// prior down.)
    Border {
        /// Whether this is the last search. Only then is the border known well enough for one half of the brain to speak for the
        /// other: earlier, what leaks into the neck on one side would support what leaks on the other.
        is_last: bool,
    },
}

/// The images of a head on the working grid.
pub(super) struct Evidence<'a> {
    pub(super) working: &'a Working,
    pub(super) head: &'a HeadMask,
}

impl Evidence<'_> {
    /// For each voxel the log likelihood ratio of brain against anything else, from its values, its depth below the
    /// skin and the tissue it is connected to. `share` is the current estimate of the brain, `depth` that of the prior.
    pub(super) fn of(&self, share: &[f32], depth: &[f32], pose: &Pose, stage: Stage) -> Vec<f32> {
        let (margin_mm, more_at_vertex_mm) = match stage {
            Stage::Placing { margin_mm } => (margin_mm, 0.0),
            Stage::Border { .. } => (2.5, MORE_AT_VERTEX_MM),
        };
        let mut likely = self.by_value(share, margin_mm);
        self.by_depth(&mut likely, depth, &pose.height_mm(&self.working.grid), more_at_vertex_mm);
        if stage == (Stage::Border { is_last: true }) {
            self.by_other_half(&mut likely, share, depth, pose);
        }
        self.detach(&mut likely, depth);
        likely
    }

    fn by_value(&self, share: &[f32], margin_mm: f32) -> Vec<f32> {
        let shape = self.working.grid.shape;
        let inside: Vec<bool> = share.iter().map(|s| *s > 0.5).collect();
        let outside: Vec<bool> = inside.iter().map(|v| !v).collect();
        let (within, without) = (depth_mm(&inside, shape, MM), depth_mm(&outside, shape, MM));
        // Images that agree are stronger evidence than one alone, but not as strong as independent observations.
        let weight = 1.0 / (self.working.images.len() as f32).sqrt();
        let mut likely = vec![0.0; share.len()];
        for image in &self.working.images {
            let (mut brain, mut around) = (Histogram::new(), Histogram::new());
            for (voxel, value) in image.iter().enumerate() {
                if within[voxel] > margin_mm - WORKING_MM as f32 {
                    brain.0[bin(*value)] += 1.0;
                } else if (margin_mm..margin_mm + SHELL_MM).contains(&without[voxel]) {
                    around.0[bin(*value)] += 1.0;
                }
            }
            let bright = brain.quantile_bin(0.75);
            let (brain, around) = (brain.density(), around.density());
            let of_bin: [f32; BINS] = std::array::from_fn(|b| {
                let least = if b > bright { -LOUDEST_BRIGHT } else { -LOUDEST };
                weight * (brain[b] / around[b]).ln().clamp(least, LOUDEST)
            });
            likely.iter_mut().zip(image).for_each(|(likely, value)| *likely += of_bin[bin(*value)]);
        }
        let air = likely.iter_mut().zip(&self.head.inside).filter(|(_, inside)| !**inside);
        air.for_each(|(likely, _)| *likely = -LOUDEST);
        likely
    }

    fn by_depth(&self, likely: &mut [f32], depth: &[f32], height_mm: &[f32], more_at_vertex_mm: f32) {
        for (voxel, likely) in likely.iter_mut().enumerate() {
            let below = self.head.below_skin_mm[voxel];
            let near_vertex = ((height_mm[voxel] - 20.0) / 30.0).clamp(0.0, 1.0);
            *likely += (below - THINNEST_COVER_MM - more_at_vertex_mm * near_vertex).clamp(-5.0, 0.0);
            if depth[voxel] > -10.0 {
                let vault = (0.5 + height_mm[voxel] / 20.0).clamp(0.0, 1.0);
                *likely += ((below - USUAL_COVER_MM) / 3.0).clamp(0.0, 0.5) * vault;
            }
        }
    }

    /// A lesion has other values than the brain, and may fill a pole of a lobe. Where there is brain in one half, and tissue
    /// as far below the skin in the other, that is brain as well.
    fn by_other_half(&self, likely: &mut [f32], share: &[f32], prior_depth: &[f32], pose: &Pose) {
        let grid = &self.working.grid;
        let Some(opposite) = pose.opposite(grid) else { return };
        let inside: Vec<bool> = share.iter().map(|share| *share > 0.5).collect();
        let depth = depth_mm(&inside, grid.shape, MM);
        for (voxel, likely) in likely.iter_mut().enumerate().filter(|(_, likely)| **likely < 0.0) {
            let is_covered = self.head.inside[voxel] && self.head.below_skin_mm[voxel] > THINNEST_COVER_MM;
            if is_covered && prior_depth[voxel] > 0.0 {
                let other = opposite.to_world(grid.voxel(voxel).map(|place| place as f64));
                let other = other.map(f64::round);
                if (0..3).all(|axis| other[axis] >= 0.0 && other[axis] < grid.shape[axis] as f64) {
                    let deep = depth[grid.offset(other.map(|place| place as usize))];
                    *likely += OTHER_HALF * ((deep - OTHER_HALF_MM) / OTHER_HALF_MM).clamp(0.0, 1.0);
                }
            }
        }
    }

    /// Removes the likelihood of tissue that is not connected to the middle of the brain.
    fn detach(&self, likely: &mut [f32], depth: &[f32]) {
        let shape = self.working.grid.shape;
        let tissue: Vec<bool> = likely.iter().zip(depth).map(|(l, d)| *l > 0.0 && *d > -18.0).collect();
        let core = held_together(&tissue, shape, depth, BRIDGE_MM);
        let near = dilate(&core, shape, MM, REACH_MM);
        likely
            .iter_mut()
            .zip(near)
            .filter(|(_, near)| !near)
            .for_each(|(likely, _)| *likely = likely.min(-1.0));
    }
}

/// Keeps one component, without holes, and fills the cisterns and sulci within the prior's shape.
pub(super) fn clean(share: &mut [f32], shape: [usize; 3], depth: &[f32]) {
    const CLOSE_MM: f32 = 8.0;
    let inside: Vec<bool> = share.iter().map(|v| *v > 0.5).collect();
    let near = dilate(&held_together(&inside, shape, depth, 3.9), shape, MM, 6.0);
    share.iter_mut().zip(near).filter(|(_, near)| !near).for_each(|(share, _)| *share = 0.0);
    let mut filled: Vec<bool> = share.iter().map(|v| *v > 0.5).collect();
    let closed = depth_mm(&dilate(&filled, shape, MM, CLOSE_MM), shape, MM);
    for (voxel, filled) in filled.iter_mut().enumerate() {
        *filled |= closed[voxel] > CLOSE_MM && depth[voxel] > 0.0;
    }
    fill_holes(&mut filled, shape);
    share
        .iter_mut()
        .zip(filled)
        .filter(|(_, filled)| *filled)
        .for_each(|(share, _)| *share = share.max(0.75));
}

/// The component of the eroded mask that is deepest in the prior.
fn held_together(inside: &[bool], shape: [usize; 3], depth: &[f32], rim_mm: f32) -> Vec<bool> {
    let core: Vec<bool> = depth_mm(inside, shape, MM).iter().map(|d| *d > rim_mm).collect();
    heaviest_component(&core, shape, |voxel| depth[voxel].max(0.0))
}

/// A histogram of values between 0 and 2.
struct Histogram([f32; BINS]);

fn bin(value: f32) -> usize {
    ((value * 0.5 * BINS as f32) as usize).min(BINS - 1)
}

impl Histogram {
    fn new() -> Self {
        Self([0.0; BINS])
    }

    /// The bin below which `share` of the values are.
    fn quantile_bin(&self, share: f32) -> usize {
        let total: f32 = self.0.iter().sum();
        let mut sum = 0.0;
        let reached = self.0.iter().position(|count| {
            sum += count;
            sum > share * total
        });
        reached.unwrap_or(BINS)
    }

    /// Smoothed and normalised; no bin is empty, since a value that was never seen is not evidence.
    fn density(&self) -> [f32; BINS] {
        const KERNEL: [f32; 5] = [0.06, 0.24, 0.4, 0.24, 0.06];
        const LEAST: f32 = 2e-3;
        let total = self.0.iter().sum::<f32>().max(1.0);
        std::array::from_fn(|b| {
            let taps = KERNEL.iter().enumerate();
            let near = taps.filter_map(|(k, weight)| self.0.get((b + k).wrapping_sub(2)).map(|n| n * weight));
            near.sum::<f32>() / total + LEAST
        })
    }
}
