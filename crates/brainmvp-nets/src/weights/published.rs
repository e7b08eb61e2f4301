//! Converts whole networks to and from the published state dicts.

use std::collections::BTreeMap;

use burn::module::Module;
use burn::tensor::{Device, TensorData};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng as _;

use super::{Entry, Head, Layout, Upstream, entries, visit};
use crate::heads::SkipDecoder;
use crate::networks::{ClassificationNetwork, Encoder, NetworkConfig, Reconstruction, SegmentationNetwork};
use crate::{Error, Init, Result};

/// Tensors by their names in PyTorch, in PyTorch's axis order.
pub type StateDict = BTreeMap<String, TensorData>;

/// The published name of the templates.
pub const TEMPLATES: &str = "rep_template";

/// A counter of PyTorch's batch norms, which has no effect.
const COUNTER: &str = "num_batches_tracked";

/// The contents of a state dict.
#[derive(Debug, Clone, PartialEq)]
pub struct Taken {
    /// fp32 parameters and buffers by our paths, in our axis order.
    pub weights: BTreeMap<String, TensorData>,
    /// Tensors that the network does not use, by their published names.
    pub unused: StateDict,
    /// Published names of tensors of the head that are missing in the state dict. The encoder is always complete.
    pub missing: Vec<String>,
}

/// A state dict as PyTorch expects it.
#[derive(Debug, Clone, PartialEq)]
pub struct Completed {
    /// Every tensor of the published network.
    pub tensors: StateDict,
    /// Names of the tensors that this network does not have: they are freshly initialised.
    pub filled: Vec<String>,
}

/// Takes the tensors that the network needs from fp32 tensors by their published names.
///
/// # Errors
/// If a shape is wrong, or a part of the encoder is missing.
pub fn take(layout: &Layout, mut tensors: StateDict) -> Result<Taken> {
    let mut taken = Taken { weights: BTreeMap::new(), unused: StateDict::new(), missing: Vec::new() };
    let mut wrong = None;
    for_each_entry(&layout.network, layout.head, |entry| {
        let upstream = Upstream::of(entry);
        let Some(found) = tensors.remove(&upstream.key) else {
            taken.missing.push(upstream.key);
            return;
        };
        let shape = found.shape().to_vec();
        match found.as_slice::<f32>() {
            Ok(values) if shape == upstream.shape => {
                let ours = TensorData::new(upstream.to_ours(values, entry.shape), entry.shape.to_vec());
                taken.weights.insert(entry.path.to_owned(), ours);
            }
            _ => {
                wrong.get_or_insert(Error::Shape {
                    key: upstream.key,
                    expected: upstream.shape,
                    found: shape,
                });
            }
        }
    });
    if let Some(error) = wrong {
        return Err(error);
    }
    let mut encoder = Vec::new();
    for_each_entry(&layout.network, Head::None, |entry| {
        if !taken.weights.contains_key(entry.path) {
            encoder.push(Upstream::of(entry).key);
        }
    });
    if let Some(first) = encoder.first() {
        return Err(Error::Missing { first: first.clone(), count: encoder.len() });
    }
    taken.unused = tensors.into_iter().filter(|(key, _)| !key.ends_with(COUNTER)).collect();
    Ok(taken)
}

/// The state dict of a network with these fp32 weights, by our paths. Tensors that only the published network has are
/// taken from `others` (by published names), or freshly initialised.
///
/// # Errors
/// If a weight is missing or has another shape.
pub fn complete(
    network: &NetworkConfig,
    head: Head,
    weights: &BTreeMap<String, TensorData>,
    others: &StateDict,
) -> Result<Completed> {
    let mut tensors = StateDict::new();
    let mut missing = Vec::new();
    let mut wrong = None;
    for_each_entry(network, head, |entry| {
        let upstream = Upstream::of(entry);
        let Some(found) = weights.get(entry.path) else {
            missing.push(entry.path.to_owned());
            return;
        };
        match found.as_slice::<f32>() {
            Ok(values) if found.shape().to_vec() == entry.shape => {
                let theirs = TensorData::new(upstream.to_upstream(values, entry.shape), upstream.shape);
                tensors.insert(upstream.key, theirs);
            }
            _ => {
                let (expected, found) = (entry.shape.to_vec(), found.shape().to_vec());
                wrong.get_or_insert(Error::Shape { key: entry.path.to_owned(), expected, found });
            }
        }
    });
    if let Some(first) = missing.first() {
        return Err(Error::Missing { first: first.clone(), count: missing.len() });
    }
    if let Some(error) = wrong {
        return Err(error);
    }
    let mut filled = Vec::new();
    for (key, values) in never_used(network, head) {
        let given = others.get(&key).cloned();
        if given.is_none() {
            filled.push(key.clone());
        }
        tensors.insert(key, given.unwrap_or(values));
    }
    let counters: Vec<String> = tensors
        .keys()
        .filter_map(|key| Some(format!("{}{COUNTER}", key.strip_suffix("running_var")?)))
        .collect();
    for key in counters {
        tensors.insert(key, TensorData::new(vec![0_i64], [0_usize; 0]));
    }
    Ok(Completed { tensors, filled })
}

/// The network of pre-training, without templates.
#[derive(Module, Debug)]
struct PretrainingNetwork {
    encoder: Encoder,
    decoder: Reconstruction,
}

/// An encoder alone.
#[derive(Module, Debug)]
struct EncoderAlone {
    encoder: Encoder,
}

fn for_each_entry(network: &NetworkConfig, head: Head, each: impl FnMut(Entry<'_>)) {
    let (device, mut rng) = (Device::flex(), ChaCha8Rng::seed_from_u64(0));
    let init = &mut Init { device: &device, rng: &mut rng };
    match head {
        Head::None => entries(&EncoderAlone { encoder: network.encoder(init) }, each),
        Head::Reconstruction => {
            let (encoder, decoder) = (network.encoder(init), network.reconstruction(init));
            entries(&PretrainingNetwork { encoder, decoder }, each);
        }
        Head::Segmentation { classes } => {
            entries(&SegmentationNetwork::new(network, classes, init), each);
        }
        Head::Classification { classes } => {
            entries(&ClassificationNetwork::new(network, classes, init), each);
        }
        Head::Regression => entries(&ClassificationNetwork::new(network, 1, init), each),
    }
}

/// The tensors that the published network of pre-training has but never uses: its decoder is that of segmentation,
/// whose blocks for skip connections are idle.
#[expect(clippy::expect_used, reason = "parameters are fp32")]
fn never_used(network: &NetworkConfig, head: Head) -> Vec<(String, TensorData)> {
    let (NetworkConfig::UniFormer(config), Head::Reconstruction) = (network, head) else { return Vec::new() };
    let (device, mut rng) = (Device::flex(), ChaCha8Rng::seed_from_u64(0));
    let init = &mut Init { device: &device, rng: &mut rng };
    let decoder = SkipDecoder::new(config.widths, [config.in_channels, 1], init);
    let mut idle = Vec::new();
    visit(&IdleDecoder { decoder }, |entry, values| {
        if entry.path.contains(".conv_block.") || entry.path.starts_with("decoder.proj1.") {
            let upstream = Upstream::of(entry);
            let values = values.as_slice::<f32>().expect("new parameters are fp32");
            let theirs = upstream.to_upstream(values, entry.shape);
            idle.push((upstream.key, TensorData::new(theirs, upstream.shape)));
        }
    });
    idle
}

/// Gives the decoder's parameters their path.
#[derive(Module, Debug)]
struct IdleDecoder {
    decoder: SkipDecoder,
}
