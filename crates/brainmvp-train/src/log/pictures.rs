//! Pictures of volumes, for the log.

use brainmvp_volume::picture::Picture;
use burn::tensor::Tensor;

use crate::{Error, Result};

/// The width of the three planes of a learnt image, in pixels.
const LEARNT_SIDE: usize = 400;

/// The middle planes of an image with values from 0 to 1, `[Z, Y, X]`.
///
/// # Errors
/// If it cannot be fetched from its device.
pub(crate) fn planes(image: &Tensor<3>) -> Result<Picture> {
    planes_in(image, |_| (0.0, 1.0))
}

/// Images by name, one below the other, each over its own range of values.
///
/// # Errors
/// As [`planes`].
pub(crate) fn rows(images: &[(&'static str, Tensor<3>)]) -> Result<Picture> {
    let row = |(name, image): &(&'static str, Tensor<3>)| {
        Ok((*name, [planes_in(image, range)?.shrunk(LEARNT_SIDE)]))
    };
    let rows: Vec<(&str, [Picture; 1])> = images.iter().map(row).collect::<Result<_>>()?;
    let rows: Vec<(&str, &[Picture])> = rows.iter().map(|(name, row)| (*name, row.as_slice())).collect();
    Ok(Picture::montage(&rows))
}

/// The middle planes of an image, `[Z, Y, X]`, with the values that are shown black and white.
fn planes_in(image: &Tensor<3>, window: impl Fn(&[f32]) -> (f32, f32)) -> Result<Picture> {
    let [z, y, x] = image.dims();
    let voxels = image.to_data().try_to_vec::<f32>().map_err(|e| Error::Config(format!("{e:?}")))?;
    Ok(Picture::three_planes(&voxels, [x, y, z], window(&voxels)))
}

/// The lowest and the highest value.
fn range(voxels: &[f32]) -> (f32, f32) {
    voxels.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), v| (low.min(*v), high.max(*v)))
}
