//! Finds the face in images of a head: what lies in front of the brain and below it, so that it can be erased.
//!
//! The search for the brain tells how a standard head lies in the image. In that head the face is a fixed wedge: below the brow, in
//! front of the ears. Of it, everything stays that is near the brain, or beside it.

use brainmvp_phantom::brain_depth_mm;
use brainmvp_volume::{Affine, Grid, LabelMap, Volume, background, noise_around};
use rayon::prelude::*;

use crate::brain::morphology::dilate;
use crate::brain::{BrainPrior, FoundBrain, NoBrain, find_brain};

/// What is closer to the brain than this stays. Masks of the brain miss up to about 10 mm at the tips of the temporal lobes.
const KEEP_MM: f64 = 12.0;
/// A brain that is found in one image alone counts if it agrees with that of all images to this Dice.
const AGREES: f64 = 0.85;
/// The brow of the standard head: the forehead above it stays.
const BROW_MM: f64 = 4.0;
/// The front of the ears of the standard head at the height of [`EARS_AT_MM`]; the jaw reaches further back below.
const EARS_MM: f64 = 2.0;
const EARS_AT_MM: f64 = -40.0;
const JAW_SLOPE: f64 = 0.2;
/// A brain of another size was not found, but something else.
const PLAUSIBLE_ML: std::ops::RangeInclusive<f64> = 500.0..=2200.0;

/// The grid of the standard head on which the brain is kept.
const STANDARD_MM: f64 = 2.0;
const STANDARD_LOW_MM: [f64; 3] = [-100.0, -130.0, -120.0];
const STANDARD_SHAPE: [usize; 3] = [101, 121, 116];

/// Why no face was found.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum NoFace {
    /// There is no brain to go by.
    #[error("the brain was not found, and without it the face is not: {0}")]
    NoBrain(#[from] NoBrain),
    /// What was found is not a brain.
    #[error("what was found as the brain has {0:.0} ml, so the face is not known")]
    NotABrain(f64),
}

/// Where the face is, in world mm.
#[derive(Debug, Clone)]
pub struct Face {
    to_standard: Affine,
    grid: Grid,
    to_voxel: Affine,
    /// Whether a voxel of the standard head is the brain or near it.
    near_brain: Vec<bool>,
    /// Whether, seen from the side, the brain is at a place of the standard head: y, z.
    beside_brain: Vec<bool>,
}

impl Face {
    /// Finds the face in one or more aligned images of one head. People move between images: what is the brain in one of them stays in
    /// all.
    ///
    /// # Errors
    /// [`NoFace`] if no brain is found, by which the face is.
    pub fn find(images: &[&Volume], prior: &BrainPrior) -> Result<Self, NoFace> {
        let found = find_brain(images, prior)?;
        if !PLAUSIBLE_ML.contains(&found.volume_ml) {
            return Err(NoFace::NotABrain(found.volume_ml));
        }
        let alone = images.iter().filter(|_| images.len() > 1);
        let alone = alone.filter_map(|image| Some(find_brain(&[image], prior).ok()?.mask)).collect();
        Self::beside(&found, alone).ok_or(NoFace::NoBrain(NoBrain::Nothing))
    }

    /// The face that belongs to a brain, `others` being further masks of it; `None` if that has no place.
    fn beside(found: &FoundBrain, others: Vec<LabelMap>) -> Option<Self> {
        let grid = Grid::new(STANDARD_SHAPE, Affine::from_spacing([STANDARD_MM; 3], STANDARD_LOW_MM));
        let from_standard = found.to_standard.inverse()?;
        let in_standard = |mask: &LabelMap| mask_on(&grid, mask, &from_standard);
        let mut brain = in_standard(&found.mask)?;
        let mut others = others.iter().map(in_standard).collect::<Option<Vec<_>>>()?;
        others.retain(|other| dice(other, &brain) > AGREES);
        for other in others {
            brain.iter_mut().zip(other).for_each(|(brain, other)| *brain |= other);
        }
        brain.par_iter_mut().enumerate().for_each(|(v, brain)| {
            let at = grid.affine.to_world(grid.voxel(v).map(|i| i as f64)).map(|mm| mm as f32);
            *brain |= brain_depth_mm(at) > 0.0;
        });
        let [nx, ..] = STANDARD_SHAPE;
        let beside_brain = brain.chunks_exact(nx).map(|row| row.contains(&true)).collect();
        let scale = found.to_standard.linear().determinant().abs().cbrt();
        let near_brain = dilate(&brain, grid.shape, [STANDARD_MM; 3], (KEEP_MM * scale) as f32);
        let to_voxel = grid.affine.inverse()?;
        Some(Self { to_standard: found.to_standard, grid, to_voxel, near_brain, beside_brain })
    }

    /// Whether each voxel of a grid is of the face.
    pub fn on(&self, grid: &Grid) -> Vec<bool> {
        let map = self.to_standard.after(&grid.affine);
        let is_face = |v| self.is_at(map.to_world(grid.voxel(v).map(|i| i as f64)));
        (0..grid.len()).into_par_iter().map(is_face).collect()
    }

    /// Whether a place of the standard head is of the face.
    fn is_at(&self, at: [f64; 3]) -> bool {
        let [_, y, z] = at;
        if z > BROW_MM || y < EARS_MM + JAW_SLOPE * (z - EARS_AT_MM) {
            return false;
        }
        let Some(voxel) = nearest(&self.grid, self.to_voxel.to_world(at)) else { return true };
        let offset = self.grid.offset(voxel);
        !self.near_brain[offset] && !self.beside_brain[offset / self.grid.shape[0]]
    }
}

/// A mask on the grid of the standard head; `None` if its own grid has no inverse.
fn mask_on(grid: &Grid, mask: &LabelMap, from_standard: &Affine) -> Option<Vec<bool>> {
    let into_mask = mask.grid().affine.inverse()?.after(from_standard).after(&grid.affine);
    let inside = |v: usize| {
        let at = into_mask.to_world(grid.voxel(v).map(|i| i as f64));
        nearest(mask.grid(), at).is_some_and(|at| mask.at(at) > 0)
    };
    Some((0..grid.len()).into_par_iter().map(inside).collect())
}

fn dice(a: &[bool], b: &[bool]) -> f64 {
    let count = |mask: &[bool]| mask.iter().filter(|inside| **inside).count() as f64;
    let common = a.iter().zip(b).filter(|(a, b)| **a && **b).count() as f64;
    2.0 * common / (count(a) + count(b)).max(1.0)
}

/// The voxel that holds a place, given in voxels; `None` beyond the grid.
fn nearest(grid: &Grid, at: [f64; 3]) -> Option<[usize; 3]> {
    let inside = |axis: usize| (at[axis] >= -0.5) && (at[axis] < grid.shape[axis] as f64 - 0.5);
    (0..3).all(inside).then(|| at.map(|i| i.round() as usize))
}

/// The value that replaces a face: that of the air around the head, or else 0, or the value nearest to 0 that occurs.
pub fn erased_value(image: &Volume) -> f32 {
    let air = background(image).or_else(|| noise_around(image).map(|noise| noise.level));
    air.unwrap_or_else(|| {
        let finite = image.voxels().iter().copied().filter(|value| value.is_finite());
        let [low, high] = finite.fold([f32::INFINITY, f32::NEG_INFINITY], |[l, h], v| [l.min(v), h.max(v)]);
        if low <= high { 0.0_f32.clamp(low, high) } else { 0.0 }
    })
}
