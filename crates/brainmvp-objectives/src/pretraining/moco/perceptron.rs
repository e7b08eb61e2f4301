//! What is put on the transformer in pre-training.

use brainmvp_kernels::ops::batch_norm_train;
use brainmvp_nets::Init;
use brainmvp_nets::layers::Linear;
use brainmvp_ranks::Ranks;
use burn::module::{Module, Param};
use burn::tensor::Tensor;
use burn::tensor::activation::relu;

use crate::pretraining::tensors::standardised;

/// Linear layers without biases. A batch norm follows each: with a `ReLU`, but the last one without scale and shift.
///
/// The norms are those of the batch and have no running statistics: the layers are thrown away after pre-training.
#[derive(Module, Debug)]
pub struct Perceptron {
    /// The layers.
    pub layers: Vec<Linear>,
    /// Of all norms but the last, `[C]` each.
    pub scales: Vec<Param<Tensor<1>>>,
    /// As many.
    pub shifts: Vec<Param<Tensor<1>>>,
}

impl Perceptron {
    /// Layers between these widths.
    pub(super) fn new(widths: &[usize], init: &mut Init<'_>) -> Self {
        let layers = widths.windows(2).map(|pair| Linear::new(pair[0], pair[1], init).unbiased()).collect();
        let inner = || widths[1..widths.len() - 1].iter();
        Self {
            layers,
            scales: inner().map(|width| init.constant([*width], 1.0)).collect(),
            shifts: inner().map(|width| init.constant([*width], 0.0)).collect(),
        }
    }

    /// `x` is of all ranks, so that its norms are too.
    ///
    /// # Shapes
    /// `[N, C]` to `[N, F]`.
    pub(super) fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let ranks = &Ranks::alone();
        let mut norms = self.scales.iter().zip(&self.shifts);
        self.layers.iter().fold(x, |x, layer| {
            let x = layer.forward(x);
            match norms.next() {
                Some((scale, shift)) => {
                    relu(batch_norm_train(x, scale.val(), shift.val(), 1e-5, ranks).output)
                }
                None => standardised(x, ranks),
            }
        })
    }
}
