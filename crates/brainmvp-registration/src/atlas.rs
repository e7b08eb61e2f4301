//! An atlas averaged from many heads.

use brainmvp_volume::resample::{Interpolation, onto_grid};
use brainmvp_volume::{Grid, Volume};
use nalgebra::{Matrix3, Vector3};

use crate::{Error, Motion, Options, Pyramid, Result, Transform, register};

/// How an atlas is averaged.
#[derive(Debug, Clone, Copy)]
pub struct AtlasOptions {
    /// How often all images are registered to the mean of the previous round. The first round is rigid, later ones are
    /// affine.
    pub rounds: usize,
    /// The seed of the registrations.
    pub seed: u64,
}

impl Default for AtlasOptions {
    fn default() -> Self {
        Self { rounds: 4, seed: 0 }
    }
}

/// An averaged atlas.
#[derive(Debug, Clone)]
pub struct Atlas {
    /// The mean image: each image contributes with its intensities scaled to 0 to 1.
    pub mean: Volume,
    /// The number of images averaged.
    pub images: usize,
    /// Images that could not be registered in the last round, with the reason.
    pub left_out: Vec<(usize, String)>,
}

/// The share of the difference to the neighbours that sharpening adds; averaging has removed more.
const SHARPENING: f32 = 0.15;

/// Averages `count` images of one modality, which `read` returns one at a time, in the space and on the grid of `start`.
///
/// Every round registers all images to the mean so far and averages them; the mean gets the average size and shape of
/// the heads, whatever those of `start`, and is sharpened. `progress` is called with the number of registrations done.
///
/// # Errors
/// Where an image cannot be read, `start` cannot be registered to, or no image fits the mean.
pub fn average(
    start: &Volume,
    count: usize,
    read: &dyn Fn(usize) -> Result<Volume>,
    options: &AtlasOptions,
    progress: &dyn Fn(usize),
) -> Result<Atlas> {
    let mut atlas = Atlas { mean: start.clone(), images: 0, left_out: Vec::new() };
    for round in 0..options.rounds.max(1) {
        let motion = if round == 0 { Motion::Rigid } else { Motion::Affine };
        let fixed = Pyramid::new(&atlas.mean)?;
        let settings = Options { motion, seed: options.seed, ..Options::default() };
        let (mut found, mut left_out) = (Vec::new(), Vec::new());
        for index in 0..count {
            match register(&fixed, &Pyramid::new(&read(index)?)?, &settings) {
                Ok(registration) => found.push((index, registration.transform)),
                Err(error @ (Error::Failed { .. } | Error::Image { .. })) => {
                    left_out.push((index, error.to_string()));
                }
                Err(error) => return Err(error),
            }
            progress(round * count + index + 1);
        }
        if found.is_empty() {
            let reason =
                left_out.first().map_or_else(|| "there is no image".to_owned(), |(_, why)| why.clone());
            return Err(Error::failed(format!("no image fits the mean: {reason}")));
        }
        let to_average = average_shape(&found, fixed.foreground().centre);
        let placed = found.iter().map(|(index, transform)| (*index, transform.after(&to_average)));
        let mean = mean(start.grid(), &placed.collect::<Vec<_>>(), read)?;
        atlas = Atlas { mean: sharpened(&mean), images: found.len(), left_out };
    }
    Ok(atlas)
}

/// The map from the space of the average head to that of the current mean: the inverse of the transforms' mean stretch,
/// about the centre.
#[expect(clippy::expect_used, reason = "registrations are refused whose stretches are not near 1")]
fn average_shape(found: &[(usize, Transform)], centre: Vector3<f64>) -> Transform {
    let stretch = |transform: &Transform| transform.rotation().transpose() * transform.linear();
    let mean =
        found.iter().map(|(_, transform)| stretch(transform)).sum::<Matrix3<f64>>() / found.len() as f64;
    let back = mean.try_inverse().expect("a mean of stretches has an inverse");
    Transform::about(centre, back, centre)
}

/// The mean of the images, at each voxel over those that cover it.
fn mean(
    grid: &Grid,
    placed: &[(usize, Transform)],
    read: &dyn Fn(usize) -> Result<Volume>,
) -> Result<Volume> {
    let (mut sum, mut weight) = (vec![0.0_f32; grid.len()], vec![0.0_f32; grid.len()]);
    for (index, transform) in placed {
        let image = read(*index)?;
        let [low, high] = Pyramid::new(&image)?.foreground().window;
        let moved = transform.move_volume(image).ok_or_else(|| Error::failed("a transform is singular"))?;
        let moved = onto_grid(&moved, grid, Interpolation::Trilinear, f32::NAN);
        for ((sum, weight), value) in sum.iter_mut().zip(&mut weight).zip(moved.voxels()) {
            if value.is_finite() {
                *sum += ((value - low) / (high - low)).clamp(0.0, 1.0);
                *weight += 1.0;
            }
        }
    }
    // A voxel that few images cover is set to 0, like air.
    let least = 0.5 * placed.len() as f32;
    let mean = |(sum, weight): (&f32, &f32)| if *weight >= least { sum / weight } else { 0.0 };
    Ok(Volume::new(*grid, sum.iter().zip(&weight).map(mean).collect()))
}

/// The volume with more contrast between each voxel and its six neighbours; 0 and the borders stay.
fn sharpened(volume: &Volume) -> Volume {
    let grid = *volume.grid();
    let voxels = volume.voxels();
    let strides = [1, grid.shape[0], grid.shape[0] * grid.shape[1]];
    let sharp = (0..grid.len()).map(|offset| {
        let (voxel, value) = (grid.voxel(offset), voxels[offset]);
        if value == 0.0 || (0..3).any(|axis| voxel[axis] == 0 || voxel[axis] + 1 == grid.shape[axis]) {
            return value;
        }
        let around: f32 =
            strides.iter().map(|stride| voxels[offset - stride] + voxels[offset + stride]).sum();
        (value + SHARPENING * (6.0 * value - around)).clamp(0.0, 1.0)
    });
    Volume::new(grid, sharp.collect())
}
