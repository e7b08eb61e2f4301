//! Dense convolution in Burn's own terms.

use burn::backend::Backend;
use burn::backend::ops::ConvOptions;
use burn::backend::tensor::FloatTensor;

use super::depthwise::{channels_first, channels_last};
use super::dims;

pub(crate) fn reference<B: Backend>(
    x: FloatTensor<B>,
    weight: FloatTensor<B>,
    stride: usize,
) -> FloatTensor<B> {
    let kernel = dims::<B>(&weight)[0];
    let options = ConvOptions::new([stride; 3], [kernel / 2; 3], [1; 3], 1);
    let weight = B::float_permute(weight, &[4, 3, 0, 1, 2]);
    channels_last::<B>(B::conv3d(channels_first::<B>(x), weight, None, options))
}
