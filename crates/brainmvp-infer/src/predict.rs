//! Predictions for a whole case.

use burn::tensor::activation::{sigmoid, softmax};
use burn::tensor::{Device, Tensor};

use crate::window::values;
use crate::{Blended, Error, Mirror, Result, SlidingWindow, WindowSource};

/// The probability of each class in each voxel. Classes are independent (sigmoid), as in the loss of segmentation.
/// Probabilities, not logits, are averaged over mirror images and where windows overlap.
///
/// # Shapes
/// `network` takes `[B, D, H, W, channels]` to logits `[B, D, H, W, classes]`.
///
/// # Errors
/// Those of [`SlidingWindow::run`]; `network` may stop the work with [`Error::Stopped`].
pub fn segment(
    windows: &SlidingWindow,
    mirror: &Mirror,
    source: &impl WindowSource,
    classes: usize,
    device: &Device,
    mut network: impl FnMut(Tensor<5>) -> Result<Tensor<5>>,
) -> Result<Blended> {
    windows.run(source, classes, device, |window| mirror.mean(window, |window| network(window).map(sigmoid)))
}

/// The probability of each class of a case (softmax), averaged over mirror images.
///
/// # Shapes
/// `case` is `[1, D, H, W, channels]`; `network` takes it to logits `[1, classes]`.
///
/// # Errors
/// [`Error::Predict`] if they are not finite; errors of `network`.
pub fn classify(
    mirror: &Mirror,
    case: Tensor<5>,
    mut network: impl FnMut(Tensor<5>) -> Result<Tensor<2>>,
) -> Result<Vec<f32>> {
    let probabilities =
        mirror.mean_of(case, |case| network(case).map(|logits| softmax(logits, 1)), |p, _| p)?;
    finite(values(probabilities)?)
}

/// The outputs of a network for a case, averaged over mirror images.
///
/// # Shapes
/// `case` is `[1, D, H, W, channels]`; `network` takes it to `[1, outputs]`.
///
/// # Errors
/// [`Error::Predict`] if they are not finite; errors of `network`.
pub fn regress(
    mirror: &Mirror,
    case: Tensor<5>,
    network: impl FnMut(Tensor<5>) -> Result<Tensor<2>>,
) -> Result<Vec<f32>> {
    finite(values(mirror.mean_of(case, network, |outputs, _| outputs)?)?)
}

fn finite(values: Vec<f32>) -> Result<Vec<f32>> {
    if values.iter().all(|value| value.is_finite()) {
        return Ok(values);
    }
    let reason = "the network's result is not finite; the weights or the images contain NaN or infinity";
    Err(Error::Predict(reason.into()))
}

/// The mean of an encoder's deepest features over all windows of a case and all positions in them. Where windows
/// overlap, voxels count more than once; padding around a case that is smaller than a window counts too. Windows in
/// which every channel is 0 do not count if `windows` skips them, unless there are no others.
///
/// # Shapes
/// `encoder` takes `[B, D, H, W, channels]` to features `[B, D', H', W', width]`; the result has `width` numbers.
///
/// # Errors
/// Those of the windows and of `encoder`.
pub fn embed(
    windows: &SlidingWindow,
    source: &impl WindowSource,
    device: &Device,
    encoder: impl Fn(Tensor<5>) -> Result<Tensor<5>>,
) -> Result<Vec<f32>> {
    let (mut sum, mut count) = (Vec::new(), 0_usize);
    windows.each_batch(source, device, |starts, batch| {
        let features = encoder(batch)?;
        let [of, d, h, w, width] = features.dims();
        let means = values(features.reshape([of, d * h * w, width]).mean_dim(1))?;
        sum.resize(width, 0.0_f64);
        for (mean, start) in means.chunks_exact(width).zip(starts) {
            if !mean.iter().all(|value| value.is_finite()) {
                return Err(Error::NotFinite { window: *start });
            }
            sum.iter_mut().zip(mean).for_each(|(sum, value)| *sum += f64::from(*value));
            count += 1;
        }
        Ok(())
    })?;
    if count == 0 {
        // There were only empty windows.
        return embed(&SlidingWindow { skip_empty: false, ..windows.clone() }, source, device, encoder);
    }
    Ok(sum.into_iter().map(|sum| (sum / count as f64) as f32).collect())
}
