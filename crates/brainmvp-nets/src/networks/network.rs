//! What a network is made of: the traits that each file of this folder implements.

use std::fmt::Debug;

use burn::module::Module;
use burn::tensor::Tensor;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::heads::Segmented;
use crate::layers::Pass;
use crate::weights::{Axes, Entry, Extra, Head, Parts, published_axes};
use crate::{Init, Result};

/// A network: its sizes, its parts, and its form in the published state dicts.
///
/// An encoder makes features of several levels from a volume. A decoder makes a volume from the deepest of them
/// (pre-training) or from all of them (segmentation). Parameters are found by their paths: those of the encoder begin with
/// `encoder.`, those of the decoder with `decoder.`.
pub trait Network: Clone + Debug + PartialEq + Default + Serialize + DeserializeOwned + 'static {
    /// The name in print: `UniFormer`.
    const TITLE: &'static str;
    /// Its named sizes; the first is the published network.
    const PRESETS: &'static [Preset<Self>];
    /// Weight decay in fine-tuning (BrainMVP, appendix I).
    const WEIGHT_DECAY: f32;
    /// The name of the first layer's kernel in the published state dicts, by which they are recognised.
    const OPENING: &'static str;
    /// What may stand before the names of the encoder in a state dict, in the order in which they are tried.
    const PREFIXES: &'static [&'static str] = &[];
    /// What stands before the opening where a state dict holds the network a second time, as a part of its decoder.
    const COPIED_UNDER: &'static [&'static str] = &[];
    /// The paths of the layers that see the input, in any network that contains this one.
    const FIRST_LAYERS: &'static [&'static str];
    /// The paths of the layers that make the output.
    const OUTPUTS: &'static [&'static str];
    /// Whether the published decoders of pre-training and of segmentation have the same tensors.
    const ONE_DECODER: bool = false;

    /// From a volume to features.
    type Encoder: Encode;
    /// From the deepest features to a volume.
    type Reconstruction: Reconstruct;
    /// From all features to logits.
    type Segmentation: Segment;

    /// What is wrong with the sizes, if anything.
    fn problem(&self) -> Option<String>;

    /// Channels of the input.
    fn in_channels(&self) -> usize;

    /// The same network with another number of input channels.
    fn with_in_channels(&self, in_channels: usize) -> Self;

    /// The levels of the features, in the order in which the encoder returns them: the deepest is the last.
    fn levels(&self) -> Vec<Level>;

    /// Sizes of the input along each axis must be multiples of this.
    fn stride(&self) -> usize {
        self.levels().last().map_or(1, |deepest| deepest.reduction)
    }

    /// A lower bound of the encoder's number of parameters, within a factor of three for all but the narrowest.
    fn parameters_at_least(&self) -> u64;

    /// Its sizes in a sentence: `64, 128, 320, 512 channels, 3, 4, 8, 3 blocks`.
    fn sizes(&self) -> String;

    /// A new encoder.
    fn encoder(&self, init: &mut Init<'_>) -> Self::Encoder;

    /// A new decoder for pre-training.
    fn reconstruction(&self, init: &mut Init<'_>) -> Self::Reconstruction;

    /// A new decoder with one output for each of `classes`, which may overlap.
    fn segmentation(&self, classes: usize, init: &mut Init<'_>) -> Self::Segmentation;

    /// The sizes and the head of the network with these published tensors.
    ///
    /// # Errors
    /// If a tensor is missing, or has another number of axes.
    fn recognise(parts: &Parts<'_>) -> Result<(Self, Head)>;

    /// Takes over what cannot be seen in the shapes of the tensors of a network with this head.
    fn take_unseen(&mut self, _told: &Self, _head: Head) {}

    /// What could not be seen in the shapes and was assumed, in a sentence.
    fn assumed(&self) -> Option<String> {
        None
    }

    /// The name in the published state dict with this head, of a name that may be that of another one; without what stands
    /// before the whole network. `None` if nothing can be learnt from the tensor: it is a constant, or one of
    /// [`Network::copies`].
    fn canonical(_head: Head, name: &str) -> Option<String> {
        Some(name.to_owned())
    }

    /// The name in the published state dict with this head.
    fn key(&self, head: Head, entry: Entry<'_>) -> String;

    /// The axes of a parameter in the published state dicts.
    fn axes(entry: Entry<'_>) -> Axes {
        published_axes(entry)
    }

    /// The tensors that only the published network has, by their published names.
    fn extras(&self, _head: Head) -> Vec<(String, Extra)> {
        Vec::new()
    }

    /// The other names that the published state dict has for a tensor.
    fn copies(_key: &str) -> Vec<String> {
        Vec::new()
    }
}

/// A network of certain sizes, by name.
pub struct Preset<N> {
    /// The name: `uniformer-small`.
    pub name: &'static str,
    /// What it is for, in a sentence.
    pub about: &'static str,
    /// Its sizes.
    pub sizes: fn() -> N,
}

/// One level of an encoder's features.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Level {
    /// Channels.
    pub width: usize,
    /// The input is larger than this level by this factor along each axis.
    pub reduction: usize,
}

/// The features of a volume.
#[derive(Debug, Clone)]
pub struct Features {
    /// What the encoder was given, `[B, D, H, W, in_channels]`.
    pub input: Tensor<5>,
    /// What it made of it, `[B, D/r, H/r, W/r, width]` for each [`Level`].
    pub levels: Vec<Tensor<5>>,
}

impl Features {
    /// The deepest level.
    ///
    /// # Panics
    /// If there is no level: every encoder has one.
    #[expect(clippy::expect_used, reason = "every encoder has a level")]
    pub fn deepest(&self) -> Tensor<5> {
        self.levels.last().expect("an encoder has a level").clone()
    }

    /// The levels of an encoder that has `N`.
    ///
    /// # Panics
    /// If it has another number.
    pub(crate) fn into_levels<const N: usize>(self) -> [Tensor<5>; N] {
        let found = self.levels.len();
        self.levels.try_into().unwrap_or_else(|_| panic!("a decoder for {N} levels of features got {found}"))
    }
}

/// From a volume to features.
pub trait Encode: Module {
    /// # Shapes
    /// `x`: `[B, D, H, W, in_channels]`, D, H, W multiples of [`Network::stride`]
    ///
    /// # Panics
    /// If a size is not a multiple of the stride.
    fn forward(&self, x: Tensor<5>, pass: &mut Pass<'_>) -> Features;
}

/// From the deepest features to a volume.
pub trait Reconstruct: Module {
    /// # Shapes
    /// The deepest features of an encoder to `[B, D, H, W, 1]`.
    fn forward(&self, deepest: Tensor<5>) -> Tensor<5>;
}

/// From all features to logits.
pub trait Segment: Module {
    /// # Shapes
    /// Logits are `[B, D, H, W, classes]`.
    fn forward(&self, features: Features, pass: &mut Pass<'_>) -> Segmented;
}

/// Refuses volumes that an encoder cannot take.
///
/// # Panics
/// If a size is not a multiple of the stride.
pub(super) fn assert_multiples(title: &str, x: &Tensor<5>, stride: usize) {
    let [_, d, h, w, _] = x.dims();
    assert!(
        [d, h, w].iter().all(|size| size % stride == 0),
        "{title} takes sizes that are multiples of {stride}, got {d}x{h}x{w}"
    );
}

/// Numbers as in a sentence: `64, 128, 320`.
pub(super) fn listed(numbers: &[usize]) -> String {
    numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
