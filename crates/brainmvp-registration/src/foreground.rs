//! Finds the head, or the brain, in an image.

use brainmvp_volume::{Affine, Grid, Volume};
use nalgebra::Vector3;

use crate::{Error, Result};

/// Which points are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Margin {
    /// The foreground and its wide surroundings, for the search: a stripped brain is located in a head with the help of
    /// the dark skull and the bright skin around it.
    Wide,
    /// The foreground and its border with the background.
    Narrow,
    /// The foreground without its edge, for a stripped brain in a head: the head has no such edge, and matching it
    /// would stretch the brain to the skull.
    Inside,
}

/// How far the points of each margin reach beyond the foreground, in mm.
const MARGINS_MM: [f64; 3] = [26.0, 6.0, -3.0];

/// The foreground voxels of a coarse copy of an image.
#[derive(Debug, Clone)]
pub(crate) struct Foreground {
    /// The intensities that are mapped to 0 and 1.
    pub(crate) window: [f32; 2],
    /// The middle of the foreground, in mm.
    pub(crate) centre: Vector3<f64>,
    /// Root mean square distance of the foreground from its centre, in mm.
    pub(crate) radius_mm: f64,
    /// The size of the foreground, without the margin.
    pub(crate) volume_mm3: f64,
    /// The grid of `places`.
    pub(crate) affine: Affine,
    /// The voxels of the foreground with each margin, in the order of memory.
    places: [Vec<[usize; 3]>; 3],
}

impl Foreground {
    /// Finds the voxels brighter than a tenth of the image's range.
    pub(crate) fn find(image: &Volume) -> Result<Self> {
        let voxels = image.voxels();
        let share = |share: f64| quantile(voxels, share);
        let (low, high) = (share(0.02), share(0.98));
        let threshold = low + 0.1 * (high - low);
        let inside: Vec<bool> = voxels.iter().map(|voxel| *voxel > threshold).collect();
        let bright: Vec<f32> = voxels.iter().copied().filter(|voxel| *voxel > threshold).collect();
        let top = if bright.is_empty() { low } else { quantile(&bright, 0.998) };
        if top.is_nan() || top <= low {
            return Err(Error::image("the image has no contrast"));
        }
        let grid = *image.grid();
        let world = |offset: usize| Vector3::from(grid.affine.to_world(grid.voxel(offset).map(|v| v as f64)));
        let all =
            || inside.iter().enumerate().filter(|(_, inside)| **inside).map(|(offset, _)| world(offset));
        let count = all().count() as f64;
        let centre = all().sum::<Vector3<f64>>() / count;
        let radius_mm = (all().map(|place| (place - centre).norm_squared()).sum::<f64>() / count).sqrt();
        let places = MARGINS_MM.map(|margin_mm| {
            let mask = with_margin(&inside, &grid, margin_mm);
            mask.iter()
                .enumerate()
                .filter(|(_, inside)| **inside)
                .map(|(offset, _)| grid.voxel(offset))
                .collect()
        });
        Ok(Self {
            window: [low, top],
            centre,
            radius_mm: radius_mm.max(1.0),
            volume_mm3: count * grid.affine.linear().determinant().abs(),
            affine: grid.affine,
            places,
        })
    }

    /// The voxels of the foreground with a margin, in the order of memory.
    pub(crate) fn places(&self, margin: Margin) -> &[[usize; 3]] {
        &self.places[margin as usize]
    }
}

/// The value below which the given share of the voxels lie.
fn quantile(voxels: &[f32], share: f64) -> f32 {
    let mut sorted = voxels.to_vec();
    let index = ((sorted.len() - 1) as f64 * share).round() as usize;
    *sorted.select_nth_unstable_by(index, f32::total_cmp).1
}

/// The mask dilated by a margin, one axis after the other; a negative margin erodes it.
fn with_margin(mask: &[bool], grid: &Grid, margin_mm: f64) -> Vec<bool> {
    if margin_mm < 0.0 {
        let outside: Vec<bool> = mask.iter().map(|inside| !inside).collect();
        return with_margin(&outside, grid, -margin_mm).iter().map(|outside| !outside).collect();
    }
    let spacing = grid.affine.spacing_mm();
    let strides = [1, grid.shape[0], grid.shape[0] * grid.shape[1]];
    let mut wide = mask.to_vec();
    for axis in 0..3 {
        let reach = (margin_mm / spacing[axis]).round() as usize;
        let before = wide.clone();
        for (offset, _) in before.iter().enumerate().filter(|(_, inside)| **inside) {
            let place = grid.voxel(offset)[axis];
            let (low, high) = (place.saturating_sub(reach), (place + reach).min(grid.shape[axis] - 1));
            for other in low..=high {
                wide[offset + other * strides[axis] - place * strides[axis]] = true;
            }
        }
    }
    wide
}
