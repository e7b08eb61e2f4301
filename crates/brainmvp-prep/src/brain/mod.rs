//! Finds the brain in images of a whole head, of any modality, from no more knowledge than the shape of a brain.
//!
//! On a grid of 2 mm, the head is everything but air, and a [`BrainPrior`] is placed below its top. Then three steps
//! alternate: histograms inside and around the current brain give the likelihood of each voxel, the prior is moved to
//! where brain is likely, and the smoothest border is found that fits the likelihood, the prior's shape and the depth
//! below the skin. Tissue that is connected to the middle of the brain only through narrow bridges (scalp, muscle,
//! eyes) is excluded first.

mod contour;
mod evidence;
mod head;
pub(crate) mod morphology;
mod prior;
mod working;

use brainmvp_volume::resample::{Interpolation, onto_grid};
use brainmvp_volume::{Affine, Grid, LabelMap, Volume, background};
use rayon::prelude::*;

use evidence::{Evidence, Stage, clean};
use head::HeadMask;
pub use prior::BrainPrior;
use prior::Pose;
pub(crate) use working::WORKING_MM;
use working::Working;

/// The range of brain volumes in ml: from a newborn's to the largest adult's, cisterns included. A head has more than
/// three litres.
pub const PLAUSIBLE_ML: std::ops::RangeInclusive<f64> = 250.0..=2200.0;

/// A brain mask, 1 inside, and its size.
#[derive(Debug, Clone)]
pub struct FoundBrain {
    /// The mask, on the grid of the first image.
    pub mask: LabelMap,
    /// Its size.
    pub volume_ml: f64,
    /// From world mm of the images to the space of the prior: how the head lies, and how large it is.
    pub to_standard: Affine,
}

/// Why no brain was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoBrain {
    /// There is no image, or one with a single grey value.
    #[error("there is no image with any contrast")]
    NoContrast,
    /// Nothing in the image is as wide as a head.
    #[error("nothing in the image has the size of a head")]
    NoHead,
    /// The search found nothing.
    #[error("no part of the head looks like a brain")]
    Nothing,
}

/// The number of rounds in which only the prior is moved, before the border is searched for.
const POSE_ROUNDS: usize = 3;
/// The number of rounds with border and pose.
const BORDER_ROUNDS: usize = 3;
/// The cost of border, relative to that of one voxel (2 mm) being less likely by a factor of e.
const SMOOTHNESS: f32 = 1.2;
/// The depth (mm) at which the prior outweighs a likelihood ratio of e.
const PRIOR_MM: f32 = 6.0;

/// Finds the brain in one or more aligned images of a head; the mask has the grid of the first. Takes a few seconds on
/// two cores.
///
/// # Errors
/// [`NoBrain`] if there is no head in the images. Whether the result is plausible is for the caller to judge.
pub fn find_brain(images: &[&Volume], prior: &BrainPrior) -> Result<FoundBrain, NoBrain> {
    let first = images.first().ok_or(NoBrain::NoContrast)?;
    let working = Working::of(images).ok_or(NoBrain::NoContrast)?;
    let head = HeadMask::of(&working).ok_or(NoBrain::NoHead)?;
    let (working, head) = head.cut(working);
    let (share, pose) = search(&working, &head, prior);
    let mask = onto(&share, &working.grid, first.grid());
    let voxels = mask.voxels().iter().filter(|v| **v > 0).count();
    if voxels == 0 {
        return Err(NoBrain::Nothing);
    }
    Ok(FoundBrain { volume_ml: volume_ml(&mask), mask, to_standard: prior.standard(&pose) })
}

/// The volume of the voxels above 0.
pub fn volume_ml(mask: &LabelMap) -> f64 {
    let voxels = mask.voxels().iter().filter(|v| **v > 0).count();
    voxels as f64 * mask.grid().voxel_mm3() / 1000.0
}

/// The share of brain in each voxel, and how the head lies.
fn search(working: &Working, head: &HeadMask, prior: &BrainPrior) -> (Vec<f32>, Pose) {
    let grid = &working.grid;
    let evidence = Evidence { working, head };
    let mut pose = Pose::upright(head.brain_centre_mm(working), head.log_size);
    let mut depth = prior.placed(&pose).on_grid(grid);
    let as_share = |depth: &[f32]| depth.iter().map(|d| f32::from(u8::from(*d > 0.0))).collect::<Vec<_>>();
    for round in 0..POSE_ROUNDS {
        // At first the prior may be off by a centimetre: only its core is certainly brain.
        let margin_mm = if round == 0 { 6.0 } else { 3.0 };
        let likely = evidence.of(&as_share(&depth), &depth, &pose, Stage::Placing { margin_mm });
        pose = pose.fitted(prior, &likely, grid);
        depth = prior.placed(&pose).on_grid(grid);
    }
    let mut share = as_share(&depth);
    for round in 0..BORDER_ROUNDS {
        let likely =
            evidence.of(&share, &depth, &pose, Stage::Border { is_last: round + 1 == BORDER_ROUNDS });
        let cost: Vec<f32> =
            likely.iter().zip(&depth).map(|(l, d)| -l - (d / PRIOR_MM).clamp(-6.0, 4.0)).collect();
        share = contour::segment(&cost, grid.shape, SMOOTHNESS, share, 120);
        clean(&mut share, grid.shape, &depth);
        if round + 1 < BORDER_ROUNDS {
            let inside: Vec<f32> = share.iter().map(|s| if *s > 0.5 { 1.0 } else { -1.0 }).collect();
            pose = pose.fitted(prior, &inside, grid);
            depth = prior.placed(&pose).on_grid(grid);
        }
    }
    (share, pose)
}

/// The mask of the shares above one half, after interpolation, since the border runs between the voxels of the working
/// grid.
fn onto(share: &[f32], from: &Grid, to: &Grid) -> LabelMap {
    let share = Volume::new(*from, share.to_vec());
    onto_grid(&share, to, Interpolation::Trilinear, 0.0).map(|share| u16::from(share > 0.5))
}

/// Whether an image shows only a brain: it has one [`background`] value, at least a fifth of its voxels have it, and the
/// rest is no larger than the largest brain.
pub fn is_stripped(image: &Volume) -> bool {
    let Some(background) = background(image) else { return false };
    let same: usize =
        image.voxels().par_chunks(1 << 16).map(|c| c.iter().filter(|v| **v == background).count()).sum();
    let voxel_ml = image.grid().voxel_mm3() / 1000.0;
    let rest_ml = (image.grid().len() - same) as f64 * voxel_ml;
    5 * same >= image.grid().len() && rest_ml <= *PLAUSIBLE_ML.end()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ball(radius: f64, air: f32) -> Volume {
        let grid = Grid::new([60; 3], Affine::from_spacing([4.0; 3], [-118.0; 3]));
        let value = |v| {
            let at = grid.affine.to_world(grid.voxel(v).map(|i| i as f64));
            if at.iter().map(|mm| mm * mm).sum::<f64>() < radius * radius {
                100.0
            } else {
                air + (v % 3) as f32 * air
            }
        };
        Volume::new(grid, (0..grid.len()).map(value).collect())
    }

    #[test]
    fn what_is_stripped() {
        assert!(is_stripped(&ball(70.0, 0.0)), "1.4 l in exact air is a brain");
        assert!(!is_stripped(&ball(95.0, 0.0)), "3.6 l is a head");
        assert!(!is_stripped(&ball(70.0, 1.0)), "air with noise was never set to 0");
    }

    #[test]
    fn air_amid_the_grey_values_is_air() {
        let voxels = |image: &Volume| {
            let head = HeadMask::of(&Working::of(&[image]).unwrap()).unwrap();
            head.inside.iter().filter(|inside| **inside).count() as f64
        };
        let head = ball(95.0, 1.0);
        // Tissue is darker than air below, and brighter above, as with the signed values of an inversion recovery.
        let middle = head.voxels().len() / 2;
        let signed = |(place, value): (usize, &f32)| if place < middle { -value } else { *value };
        let values = head.voxels().iter().enumerate().map(signed).collect();
        let found = voxels(&Volume::new(*head.grid(), values)) / voxels(&head);
        assert!((found - 1.0).abs() < 0.05, "{found}");
    }

    #[test]
    fn no_head_no_brain() {
        let prior = BrainPrior::built_in();
        assert_eq!(find_brain(&[], &prior).unwrap_err(), NoBrain::NoContrast);
        let grey = ball(70.0, 0.0).map(|_| 5.0);
        assert_eq!(find_brain(&[&grey], &prior).unwrap_err(), NoBrain::NoContrast);
        assert_eq!(find_brain(&[&ball(12.0, 0.0)], &prior).unwrap_err(), NoBrain::NoHead);
    }
}
