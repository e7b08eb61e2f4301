//! Products over the channels.

use brainmvp_kernels::ops;
use burn::module::{Module, Param};
use burn::tensor::Tensor;

use crate::Init;

/// A projection of tokens; a PyTorch `Linear`.
#[derive(Module, Debug)]
pub struct Linear {
    /// `[Cin, Cout]`.
    pub weight: Param<Tensor<2>>,
    /// `[Cout]`, if there is one.
    pub bias: Option<Param<Tensor<1>>>,
}

impl Linear {
    /// Normal weights with standard deviation 0.02, zero bias.
    pub fn new(inputs: usize, outputs: usize, init: &mut Init<'_>) -> Self {
        Self { weight: init.normal([inputs, outputs], 0.02), bias: Some(init.constant([outputs], 0.0)) }
    }

    /// Without its bias.
    pub fn unbiased(self) -> Self {
        Self { bias: None, ..self }
    }

    /// # Shapes
    /// `[.., Cin]` to `[.., Cout]`.
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        ops::linear(x, self.weight.val(), self.shift())
    }

    /// `onto` plus [`Linear::forward`], as one operation.
    pub fn forward_onto<const D: usize>(&self, onto: Tensor<D>, x: Tensor<D>) -> Tensor<D> {
        ops::linear_onto(onto, x, self.weight.val(), self.shift())
    }

    /// The bias, or zeros.
    pub(super) fn shift(&self) -> Tensor<1> {
        let weight = &self.weight;
        self.bias.as_ref().map_or_else(|| Tensor::zeros([weight.dims()[1]], &weight.device()), Param::val)
    }
}

/// A 1x1x1 convolution: the same product as [`Linear`], but stored upstream as a convolution and initialised like one.
#[derive(Module, Debug)]
pub struct Pointwise {
    /// `[Cin, Cout]`.
    pub weight: Param<Tensor<2>>,
    /// `[Cout]`.
    pub bias: Param<Tensor<1>>,
}

impl Pointwise {
    /// Kaiming-normal by fan out, zero bias.
    pub fn new(inputs: usize, outputs: usize, init: &mut Init<'_>) -> Self {
        Self {
            weight: init.normal([inputs, outputs], Init::kaiming_fan_out(outputs, 1)),
            bias: init.constant([outputs], 0.0),
        }
    }

    /// # Shapes
    /// `[.., Cin]` to `[.., Cout]`.
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        ops::linear(x, self.weight.val(), self.bias.val())
    }

    /// `onto` plus [`Pointwise::forward`], as one operation.
    pub fn forward_onto<const D: usize>(&self, onto: Tensor<D>, x: Tensor<D>) -> Tensor<D> {
        ops::linear_onto(onto, x, self.weight.val(), self.bias.val())
    }
}

/// `fc2(gelu(fc1(x)))` of [`Linear`] or [`Pointwise`] layers.
#[derive(Module, Debug)]
pub struct Mlp<L: Module> {
    /// Widens.
    pub fc1: L,
    /// Back to the width of the input.
    pub fc2: L,
}

impl Mlp<Linear> {
    /// An MLP on tokens.
    pub fn tokens(width: usize, hidden: usize, init: &mut Init<'_>) -> Self {
        Self { fc1: Linear::new(width, hidden, init), fc2: Linear::new(hidden, width, init) }
    }

    /// `onto` plus the perceptron of `x`.
    ///
    /// # Shapes
    /// `[.., C]` each, to the same.
    pub fn forward_onto<const D: usize>(&self, onto: Tensor<D>, x: Tensor<D>) -> Tensor<D> {
        let (fc1, fc2) = (&self.fc1, &self.fc2);
        ops::mlp_onto(onto, x, [fc1.weight.val(), fc2.weight.val()], [fc1.shift(), fc2.shift()])
    }
}

impl Mlp<Pointwise> {
    /// An MLP of 1x1x1 convolutions.
    pub fn voxels(width: usize, hidden: usize, init: &mut Init<'_>) -> Self {
        Self { fc1: Pointwise::new(width, hidden, init), fc2: Pointwise::new(hidden, width, init) }
    }

    /// `onto` plus the perceptron of `x`.
    ///
    /// # Shapes
    /// `[.., C]` each, to the same.
    pub fn forward_onto<const D: usize>(&self, onto: Tensor<D>, x: Tensor<D>) -> Tensor<D> {
        let (fc1, fc2) = (&self.fc1, &self.fc2);
        ops::mlp_onto(onto, x, [fc1.weight.val(), fc2.weight.val()], [fc1.bias.val(), fc2.bias.val()])
    }
}
