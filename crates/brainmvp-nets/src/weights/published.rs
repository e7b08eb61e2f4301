//! Converts whole networks to and from the published state dicts.

use std::collections::BTreeMap;

use burn::module::Module;
use burn::tensor::{Device, TensorData};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng as _;

use super::{Entry, Head, Layout, Upstream, entries, visit};
use crate::networks::{ClassificationNetwork, Encoder, NetworkConfig, Reconstruction, SegmentationNetwork};
use crate::{Error, Init, Result};

/// Tensors by their names in PyTorch, in PyTorch's axis order.
pub type StateDict = BTreeMap<String, TensorData>;

/// The published name of the templates.
pub const TEMPLATES: &str = "rep_template";

/// A counter of PyTorch's batch norms, which has no effect.
const COUNTER: &str = "num_batches_tracked";

/// A tensor that only the published network has.
#[derive(Debug, Clone, PartialEq)]
pub enum Extra {
    /// It is not used, and has this value in a new network.
    Idle(TensorData),
    /// It follows from the sizes of the network.
    Constant(TensorData),
}

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
    /// Names of the tensors that were not there: they are freshly initialised.
    pub filled: Vec<String>,
}

/// Takes the tensors that the network needs from fp32 tensors by their published names.
///
/// # Errors
/// If a shape is wrong, or a part of the encoder is missing.
pub fn take(layout: &Layout, mut tensors: StateDict) -> Result<Taken> {
    let mut taken = Taken { weights: BTreeMap::new(), unused: StateDict::new(), missing: Vec::new() };
    let mut wrong = None;
    let (network, head) = (&layout.network, layout.head);
    for_each_entry(network, head, |entry| {
        let upstream = Upstream::of(network, head, entry);
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
    for_each_entry(network, Head::None, |entry| {
        if !taken.weights.contains_key(entry.path) {
            encoder.push(Upstream::of(network, head, entry).key);
        }
    });
    if let Some(first) = encoder.first() {
        return Err(Error::Missing { first: first.clone(), count: encoder.len() });
    }
    taken.unused = tensors.into_iter().filter(|(key, _)| !key.ends_with(COUNTER)).collect();
    Ok(taken)
}

/// The state dict of a network with these fp32 weights, by our paths. Tensors that only the published network has are
/// taken from `others` (by published names), or freshly initialised. So is the output layer of pre-training, which no other
/// network takes over, if it is not there: some published weights come without.
///
/// # Errors
/// If a weight is missing or has another shape.
pub fn complete(
    network: &NetworkConfig,
    head: Head,
    weights: &BTreeMap<String, TensorData>,
    others: &StateDict,
) -> Result<Completed> {
    let outputs = missing_outputs(network, head, weights);
    let mut filled = Vec::new();
    let mut tensors = StateDict::new();
    let mut missing = Vec::new();
    let mut wrong = None;
    for_each_entry(network, head, |entry| {
        let upstream = Upstream::of(network, head, entry);
        let fresh = outputs.get(entry.path);
        filled.extend(fresh.map(|_| upstream.key.clone()));
        let Some(found) = weights.get(entry.path).or(fresh) else {
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
    for (key, extra) in network.extras(head) {
        let values = match (extra, others.get(&key)) {
            (Extra::Constant(values), _) => values,
            (Extra::Idle(_), Some(given)) => given.clone(),
            (Extra::Idle(values), None) => {
                filled.push(key.clone());
                values
            }
        };
        tensors.insert(key, values);
    }
    let copied = |(key, values): (&String, &TensorData)| -> Vec<(String, TensorData)> {
        network.copies(key).into_iter().map(|copy| (copy, values.clone())).collect()
    };
    let copies: StateDict = tensors.iter().flat_map(copied).collect();
    tensors.extend(copies);
    let counters: Vec<String> = tensors
        .keys()
        .filter_map(|key| Some(format!("{}{COUNTER}", key.strip_suffix("running_var")?)))
        .collect();
    for key in counters {
        tensors.insert(key, TensorData::new(vec![0_i64], [0_usize; 0]));
    }
    Ok(Completed { tensors, filled })
}

/// New values for the output layer of pre-training, where it is missing.
fn missing_outputs(
    network: &NetworkConfig,
    head: Head,
    weights: &BTreeMap<String, TensorData>,
) -> BTreeMap<String, TensorData> {
    let mut values = BTreeMap::new();
    if head == Head::Reconstruction {
        let (device, mut rng) = (Device::flex(), ChaCha8Rng::seed_from_u64(0));
        let decoder = network.reconstruction(&mut Init { device: &device, rng: &mut rng });
        visit(&PretrainingDecoder { decoder }, |entry, value| {
            let is_output = network.outputs().iter().any(|output| entry.path.starts_with(output));
            if is_output && !weights.contains_key(entry.path) {
                values.insert(entry.path.to_owned(), value);
            }
        });
    }
    values
}

/// Gives the parameters of a decoder their path.
#[derive(Module, Debug)]
struct PretrainingDecoder {
    decoder: Reconstruction,
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
