//! Pictures of volumes, for the log.

use brainmvp_volume::picture::Picture;
use burn::tensor::Tensor;

use crate::{Error, Result};

/// The width of the three planes of a small picture, in pixels.
const SMALL: usize = 400;

/// The middle planes of an image with values from 0 to 1, `[Z, Y, X]`.
///
/// # Errors
/// If it cannot be fetched from its device.
pub(crate) fn planes(image: &Tensor<3>) -> Result<Picture> {
    let [z, y, x] = image.dims();
    Ok(Picture::three_planes(&voxels(image)?, [x, y, z], (0.0, 1.0)))
}

/// The middle planes of voxels, x fastest, over their own range of values.
pub(crate) fn small(voxels: &[f32], shape: [usize; 3]) -> Picture {
    let range =
        voxels.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), v| (low.min(*v), high.max(*v)));
    Picture::three_planes(voxels, shape, range).shrunk(SMALL)
}

/// The voxels of an image, `[Z, Y, X]`, x fastest.
///
/// # Errors
/// As [`planes`].
pub(crate) fn voxels(image: &Tensor<3>) -> Result<Vec<f32>> {
    image.to_data().try_to_vec::<f32>().map_err(|e| Error::Config(format!("{e:?}")))
}
