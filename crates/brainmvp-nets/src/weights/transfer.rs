//! Transfers the parameters of a pre-trained network to a downstream one.
//!
//! Parameters with the same name and shape are taken over: the encoder, and the parts of the decoder that pre-training
//! used. The first layer has more channels downstream; [`FirstLayer`] says what happens to it. The output layer is
//! never taken over, since its output was another one.

use std::collections::BTreeMap;
use std::convert::Infallible;

use burn::module::Module;
use burn::tensor::TensorData;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Entry, load};
use crate::networks::NetworkConfig;

/// The axis of input channels in a kernel `[K, K, K, Cin, Cout]`.
const INPUT_AXIS: usize = 3;

/// What happens to a first layer that has C channels downstream, and one in pre-training.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum FirstLayer {
    /// It is freshly initialised, as in the authors' released program.
    #[default]
    Drop,
    /// Each channel gets the pre-trained kernel: the layer sees the sum of the channels.
    Repeat,
    /// Each channel gets the pre-trained kernel divided by C: the layer sees the mean of the channels.
    Average,
}

/// The channels of the first layer in pre-training, for those of the downstream network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InputChannels<'a> {
    /// There was one, for any modality.
    One(FirstLayer),
    /// There was one for each modality: that of each downstream channel is here. They are taken over.
    Chosen(&'a [usize]),
}

/// The outcome of a transfer, by the downstream network's parameters and buffers.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Transferred {
    /// Taken over unchanged.
    pub loaded: Vec<String>,
    /// Adapted to another number of input channels.
    pub fitted: Vec<String>,
    /// Left as initialised, and why.
    pub skipped: Vec<(String, Skipped)>,
    /// Parameters that only the pre-trained network has.
    pub unused: Vec<String>,
}

/// Why a parameter was not taken over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Skipped {
    /// The pre-trained network has none with this name.
    Absent,
    /// It belongs to the first layer, which is freshly initialised.
    FirstLayer,
    /// It belongs to the output layer.
    Output,
    /// Its shape differs.
    Shape {
        /// In the downstream network.
        expected: Vec<usize>,
        /// In the pre-trained network.
        found: Vec<usize>,
    },
}

/// Takes over everything that fits from `source`, the fp32 parameters and buffers of a pre-trained network by their
/// paths. `module` is a new network of this kind, with any head.
pub fn transfer<M: Module>(
    network: &NetworkConfig,
    module: M,
    source: &BTreeMap<String, TensorData>,
    channels: InputChannels<'_>,
) -> (M, Transferred) {
    let mut report = Transferred::default();
    let loaded = load(module, |entry| {
        let path = entry.path.to_owned();
        Ok::<_, Infallible>(match find(network, entry, source, channels) {
            Ok(Found::Same(values)) => {
                report.loaded.push(path);
                Some(values)
            }
            Ok(Found::Fitted(values)) => {
                report.fitted.push(path);
                Some(values)
            }
            Err(skipped) => {
                report.skipped.push((path, skipped));
                None
            }
        })
    });
    let module = match loaded {
        Ok(module) => module,
        Err(never) => match never {},
    };
    let taken = |path: &String| report.loaded.contains(path) || report.fitted.contains(path);
    report.unused = source.keys().filter(|path| !taken(path)).cloned().collect();
    (module, report)
}

enum Found {
    Same(TensorData),
    Fitted(TensorData),
}

fn find(
    network: &NetworkConfig,
    entry: Entry<'_>,
    source: &BTreeMap<String, TensorData>,
    channels: InputChannels<'_>,
) -> Result<Found, Skipped> {
    let is_in = |layers: &[&str]| layers.iter().any(|layer| entry.path.starts_with(layer));
    if is_in(network.outputs()) {
        return Err(Skipped::Output);
    }
    let is_first = is_in(network.first_layers());
    if is_first && channels == InputChannels::One(FirstLayer::Drop) {
        return Err(Skipped::FirstLayer);
    }
    let found = source.get(entry.path).ok_or(Skipped::Absent)?;
    let differs = || Skipped::Shape { expected: entry.shape.to_vec(), found: found.shape().to_vec() };
    let same = found.shape().to_vec() == entry.shape;
    match channels {
        // A bias does not depend on the input's channels.
        InputChannels::Chosen(chosen) if is_first && entry.shape.len() > INPUT_AXIS => {
            choose(found, entry.shape, chosen).map(Found::Fitted).ok_or_else(differs)
        }
        _ if same => Ok(Found::Same(found.clone())),
        InputChannels::One(first_layer) if is_first => {
            fit(found, entry.shape, first_layer).map(Found::Fitted).ok_or_else(differs)
        }
        _ => Err(differs()),
    }
}

/// A kernel with one input channel, expanded to as many as `shape` has; `None` if anything else differs.
#[expect(clippy::expect_used, reason = "whoever reads a file makes fp32 of its tensors")]
fn fit(kernel: &TensorData, shape: &[usize], first_layer: FirstLayer) -> Option<TensorData> {
    let mut single = shape.to_vec();
    *single.get_mut(INPUT_AXIS)? = 1;
    if kernel.shape().to_vec() != single {
        return None;
    }
    let (channels, outputs) = (shape[INPUT_AXIS], *shape.last()?);
    let factor = if first_layer == FirstLayer::Average { 1.0 / channels as f32 } else { 1.0 };
    let values = kernel.as_slice::<f32>().expect("`transfer` takes fp32 parameters");
    let taps = values.chunks_exact(outputs.max(1));
    let values: Vec<f32> = taps.flat_map(|tap| tap.repeat(channels)).map(|value| value * factor).collect();
    Some(TensorData::new(values, shape.to_vec()))
}

/// The chosen input channels of a kernel, as many as `shape` has; `None` if anything else differs.
#[expect(clippy::expect_used, reason = "whoever reads a file makes fp32 of its tensors")]
fn choose(kernel: &TensorData, shape: &[usize], chosen: &[usize]) -> Option<TensorData> {
    let found = kernel.shape().to_vec();
    let inputs = *found.get(INPUT_AXIS)?;
    let mut expected = found.clone();
    expected[INPUT_AXIS] = chosen.len();
    if expected != shape || chosen.iter().any(|channel| *channel >= inputs) {
        return None;
    }
    let row: usize = shape[INPUT_AXIS + 1..].iter().product();
    let values = kernel.as_slice::<f32>().expect("`transfer` takes fp32 parameters");
    let taps = values.chunks_exact((inputs * row).max(1));
    let pick = |tap: &[f32], channel: &usize| tap[channel * row..(channel + 1) * row].to_vec();
    let values: Vec<f32> = taps
        .flat_map(|tap| chosen.iter().flat_map(|channel| pick(tap, channel)).collect::<Vec<_>>())
        .collect();
    Some(TensorData::new(values, shape.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chosen_channels_are_those_of_the_kernel() {
        // Two taps along z, of three inputs and two outputs.
        let kernel = TensorData::new((0..12).map(|i| i as f32).collect::<Vec<_>>(), [2, 1, 1, 3, 2]);
        let chosen = choose(&kernel, &[2, 1, 1, 2, 2], &[2, 0]).unwrap();
        assert_eq!(chosen.as_slice::<f32>().unwrap(), [4.0, 5.0, 0.0, 1.0, 10.0, 11.0, 6.0, 7.0]);
        assert_eq!(choose(&kernel, &[2, 1, 1, 2, 2], &[3, 0]), None);
        assert_eq!(choose(&kernel, &[2, 1, 1, 2, 3], &[2, 0]), None);
    }
}
