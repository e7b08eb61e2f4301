//! The kernels as methods of the Flex backend. What has no kernel for its size or element type runs by its default.

use std::borrow::Cow;

use burn::backend::tensor::FloatTensor;
use burn::backend::{Flex, TensorMetadata};
use burn::tensor::TensorData;

use super::depthwise::{self, Sizes};
use crate::VolumeOps;
use crate::ops;

type Primitive = FloatTensor<Flex>;

impl VolumeOps for Flex {
    fn depthwise_conv3d(x: Primitive, weight: Primitive, bias: Primitive) -> Primitive {
        let (kernel, sizes) = sizes(&x, &weight);
        if let (Some(x), Some(w), Some(b)) = (floats(&x), floats(&weight), floats(&bias)) {
            match kernel {
                3 => return primitive(depthwise::forward::<3>(&x, &w, &b, sizes), shape(sizes)),
                5 => return primitive(depthwise::forward::<5>(&x, &w, &b, sizes), shape(sizes)),
                _ => {}
            }
        }
        ops::depthwise::reference::<Flex>(x, weight, bias)
    }

    fn depthwise_conv3d_backward(
        x: Primitive,
        weight: Primitive,
        gradient: Primitive,
    ) -> (Primitive, Primitive, Primitive) {
        let (kernel, sizes) = sizes(&x, &weight);
        if let (Some(x), Some(w), Some(g)) = (floats(&x), floats(&weight), floats(&gradient)) {
            match kernel {
                3 => return backward::<3>(&x, &w, &g, sizes),
                5 => return backward::<5>(&x, &w, &g, sizes),
                _ => {}
            }
        }
        ops::depthwise::reference_backward::<Flex>(x, weight, gradient)
    }
}

fn backward<const K: usize>(
    x: &[f32],
    weight: &[f32],
    gradient: &[f32],
    sizes: Sizes,
) -> (Primitive, Primitive, Primitive) {
    let input = depthwise::backward_input::<K>(gradient, weight, sizes);
    let (weight, bias) = depthwise::backward_weight::<K>(x, gradient, sizes);
    (
        primitive(input, shape(sizes)),
        primitive(weight, [K, K, K, sizes.channels]),
        primitive(bias, [sizes.channels]),
    )
}

fn sizes(x: &Primitive, weight: &Primitive) -> (usize, Sizes) {
    let (shape, kernel) = (x.shape(), weight.shape()[0]);
    let sizes =
        Sizes { batch: shape[0], depth: shape[1], height: shape[2], width: shape[3], channels: shape[4] };
    (kernel, sizes)
}

fn shape(sizes: Sizes) -> [usize; 5] {
    [sizes.batch, sizes.depth, sizes.height, sizes.width, sizes.channels]
}

/// The elements of an fp32 tensor in row-major order, copied only where the memory is not so; `None` for other types.
fn floats(tensor: &Primitive) -> Option<Cow<'_, [f32]>> {
    if let Some(slice) = tensor.as_slice::<f32>() {
        return Some(Cow::Borrowed(slice));
    }
    let contiguous = tensor.to_contiguous();
    contiguous.as_slice::<f32>().map(|slice| Cow::Owned(slice.to_vec()))
}

fn primitive<const D: usize>(values: Vec<f32>, shape: [usize; D]) -> Primitive {
    Primitive::from_data(TensorData::new(values, shape))
}
