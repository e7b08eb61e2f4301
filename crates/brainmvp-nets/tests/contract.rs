//! The contract that every network must satisfy.

#![allow(clippy::unwrap_used)] // that is how a test fails

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};

use brainmvp_nets::Init;
use brainmvp_nets::layers::Pass;
use brainmvp_nets::networks::{
    ClassificationNetwork, Encoder, Level, NetworkConfig, PresetName, Reconstruction, SegmentationNetwork,
};
use brainmvp_nets::weights::{self, FirstLayer, Head, InputChannels, Skipped, Upstream};
use burn::module::Module;
use burn::tensor::{Device, Distribution, Gradients, Tensor, TensorData};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

/// The small network of each kind: those that are called tiny.
fn networks() -> Vec<NetworkConfig> {
    let presets = NetworkConfig::presets().into_iter().filter(|(name, ..)| name.contains("tiny"));
    presets.map(|(.., network)| network).collect()
}

#[test]
fn every_network_has_names_and_a_small_form() {
    let presets = NetworkConfig::presets();
    let names: BTreeSet<&str> = presets.iter().map(|(name, ..)| *name).collect();
    assert_eq!(names.len(), presets.len(), "a name is given twice");
    let kinds =
        |networks: &[NetworkConfig]| networks.iter().map(NetworkConfig::title).collect::<BTreeSet<_>>();
    let all: Vec<NetworkConfig> = presets.iter().map(|(.., network)| network.clone()).collect();
    assert_eq!(kinds(&networks()), kinds(&all));
    assert_eq!(networks().len(), kinds(&all).len(), "one small form of each");
    for network in all {
        assert_eq!(network.problem(), None);
        assert_eq!(network.published_preset().network().title(), network.title());
        assert_eq!(network.with_in_channels(3).preset().network(), network.with_in_channels(1));
    }
}

/// The network of pre-training.
#[derive(Module, Debug)]
struct Pretrained {
    encoder: Encoder,
    decoder: Reconstruction,
}

fn with_init<T>(seed: u64, device: &Device, make: impl FnOnce(&mut Init<'_>) -> T) -> T {
    make(&mut Init { device, rng: &mut ChaCha8Rng::seed_from_u64(seed) })
}

fn pretrained(config: &NetworkConfig, seed: u64, device: &Device) -> Pretrained {
    with_init(seed, device, |init| Pretrained {
        encoder: config.encoder(init),
        decoder: config.reconstruction(init),
    })
}

fn segmentation(config: &NetworkConfig, seed: u64, device: &Device) -> SegmentationNetwork {
    with_init(seed, device, |init| SegmentationNetwork::new(&config.with_in_channels(3), 2, init))
}

/// The shape of a volume that a network takes, of another size along each axis.
fn shape_of(network: &NetworkConfig, batch: usize, channels: usize) -> [usize; 5] {
    let stride = network.stride();
    [batch, 2 * stride, stride, 3 * stride, channels]
}

fn volume(shape: [usize; 5], device: &Device) -> Tensor<5> {
    device.seed(3);
    Tensor::random(shape, Distribution::Default, device)
}

fn values(module: &impl Module) -> BTreeMap<String, TensorData> {
    let mut all = BTreeMap::new();
    weights::visit(module, |entry, data| {
        all.insert(entry.path.to_owned(), data);
    });
    all
}

/// Every parameter, except buffers, has a gradient, and no gradient is all zeros.
fn assert_gradients_everywhere(module: &impl Module, gradients: &Gradients) {
    let mut reached = BTreeSet::new();
    weights::visit_gradients(module, gradients, |entry, data| {
        let some = data.as_slice::<f32>().unwrap().iter().any(|&value| value != 0.0);
        assert!(some, "{} has a gradient of zeros", entry.path);
        reached.insert(entry.path.to_owned());
    });
    for path in values(module).into_keys().filter(|path| !path.contains("running_")) {
        assert!(reached.contains(&path), "no gradient reaches {path}");
    }
}

fn mean_square<const D: usize>(x: Tensor<D>) -> Tensor<1> {
    (x.clone() * x).mean()
}

#[test]
fn pretraining() {
    let device = Device::flex().autodiff();
    for config in networks() {
        let network = pretrained(&config, 1, &device);
        let features = network.encoder.forward(volume(shape_of(&config, 2, 1), &device), &mut Pass::still());
        let found: Vec<[usize; 5]> = features.levels.iter().map(Tensor::dims).collect();
        let [_, d, h, w, _] = shape_of(&config, 2, 1);
        let expected = config.levels().into_iter().map(|level| {
            let Level { width, reduction } = level;
            [2, d / reduction, h / reduction, w / reduction, width]
        });
        assert_eq!(found, expected.collect::<Vec<_>>());
        let deepest = features.deepest();
        assert_eq!(deepest.dims()[4], config.deepest_width());
        let reconstructed = network.decoder.forward(deepest);
        assert_eq!(reconstructed.dims(), shape_of(&config, 2, 1));
        assert_gradients_everywhere(&network, &mean_square(reconstructed).backward());
    }
}

#[test]
fn segmenting() {
    let device = Device::flex().autodiff();
    for config in networks() {
        let network = segmentation(&config, 1, &device);
        let segmented = network.forward(volume(shape_of(&config, 2, 3), &device), &mut Pass::still());
        assert_eq!(segmented.logits.dims(), shape_of(&config, 2, 2));
        assert_eq!(segmented.finest.dims(), shape_of(&config, 2, config.finest_width()));
        let mut loss = mean_square(segmented.logits);
        for coarse in segmented.coarse {
            assert_eq!(coarse.dims(), shape_of(&config, 2, 2));
            loss = loss + mean_square(coarse);
        }
        assert_gradients_everywhere(&network, &loss.backward());
    }
}

#[test]
fn classifying() {
    let device = Device::flex().autodiff();
    for config in networks() {
        let config = config.with_in_channels(2);
        let network = with_init(1, &device, |init| ClassificationNetwork::new(&config, 4, init));
        let classified = network.forward(volume(shape_of(&config, 2, 2), &device), &mut Pass::still());
        assert_eq!(classified.logits.dims(), [2, 4]);
        assert_gradients_everywhere(&network, &mean_square(classified.logits).backward());
    }
}

#[test]
fn sizes_that_do_not_fit_are_refused() {
    let device = Device::flex();
    for config in networks() {
        let network = segmentation(&config, 1, &device);
        let [_, d, h, w, _] = shape_of(&config, 1, 3);
        let x = volume([1, d, h + config.stride() / 2, w, 3], &device);
        let panic =
            catch_unwind(AssertUnwindSafe(|| network.forward(x, &mut Pass::evaluation()))).err().unwrap();
        let message = panic.downcast_ref::<String>().unwrap();
        assert!(message.contains(&format!("multiples of {}", config.stride())), "{message}");
    }
}

#[test]
fn weights_come_back_as_they_were() {
    let device = Device::flex();
    for config in networks() {
        let (network, other) = (segmentation(&config, 1, &device), segmentation(&config, 2, &device));
        let stored = values(&network);
        let loaded = weights::load(other, |entry| Ok::<_, ()>(stored.get(entry.path).cloned())).unwrap();
        assert_eq!(values(&loaded), stored);
        let run = |network: &SegmentationNetwork| {
            network
                .forward(volume(shape_of(&config, 1, 3), &device), &mut Pass::evaluation())
                .logits
                .into_data()
        };
        assert_eq!(run(&network), run(&loaded));
    }
}

/// Every parameter has its own key, and survives conversion in both directions.
#[test]
fn published_keys_are_those_of_the_state_dicts() {
    let device = Device::flex();
    let published = |name: &str| -> BTreeMap<String, Vec<usize>> {
        serde_json::from_value(brainmvp_golden::json(name)).unwrap()
    };
    let uniformer = PresetName::named("uniformer-small").unwrap().network().with_in_channels(4);
    let downstream = with_init(0, &device, |init| SegmentationNetwork::new(&uniformer, 3, init));
    let unet3d_config = PresetName::named("unet3d").unwrap().network();
    let unet3d = pretrained(&unet3d_config, 0, &device);
    let mut of_uniunet = published("checkpoint_keys_uniunet");
    of_uniunet.retain(|key, _| !key.ends_with("num_batches_tracked"));
    let mut of_unet3d = published("checkpoint_keys_unet3d");
    of_unet3d.remove("rep_template");
    assert_eq!(keys(&uniformer, Head::Segmentation { classes: 3 }, &downstream), of_uniunet);
    assert_eq!(keys(&unet3d_config, Head::Reconstruction, &unet3d), of_unet3d);
}

fn keys(network: &NetworkConfig, head: Head, module: &impl Module) -> BTreeMap<String, Vec<usize>> {
    let mut keys = BTreeMap::new();
    weights::visit(module, |entry, data| {
        let upstream = Upstream::of(network, head, entry);
        let values = data.as_slice::<f32>().unwrap();
        let there = upstream.to_upstream(values, entry.shape);
        assert_eq!(upstream.to_ours(&there, entry.shape), values, "{}", entry.path);
        assert!(keys.insert(upstream.key, upstream.shape).is_none(), "two parameters of one key");
    });
    keys
}

#[test]
fn pretrained_weights_are_taken_over() {
    let device = Device::flex();
    for config in networks() {
        let source = values(&pretrained(&config, 1, &device));
        let fresh = values(&segmentation(&config, 2, &device));
        for first_layer in [FirstLayer::Drop, FirstLayer::Repeat, FirstLayer::Average] {
            let (network, report) = weights::transfer(
                &config,
                segmentation(&config, 2, &device),
                &source,
                InputChannels::One(first_layer),
            );
            let got = values(&network);
            let total = report.loaded.len() + report.fitted.len() + report.skipped.len();
            assert_eq!(total, got.len(), "every parameter is accounted for");
            for path in &report.loaded {
                assert_eq!(got[path], source[path], "{path}");
            }
            for (path, _) in &report.skipped {
                assert_eq!(got[path], fresh[path], "{path}");
            }
            assert!(
                !report
                    .skipped
                    .iter()
                    .any(|(path, why)| *why == Skipped::Absent && path.starts_with("encoder."))
            );
            assert!(report.loaded.iter().any(|path| path.starts_with("decoder.")));
            assert!(
                report
                    .unused
                    .iter()
                    .all(|path| path.starts_with("decoder.") || first_layer == FirstLayer::Drop)
            );
            assert_eq!(report.fitted.len(), usize::from(first_layer != FirstLayer::Drop));
            for path in &report.fitted {
                assert_fitted(&source[path], &got[path], first_layer);
            }
        }
    }
}

/// The kernel's response to three equal channels is as in pre-training, or three times that.
fn assert_fitted(single: &TensorData, three: &TensorData, first_layer: FirstLayer) {
    let outputs = *single.shape().to_vec().last().unwrap();
    let factor = if first_layer == FirstLayer::Average { 1.0 } else { 3.0 };
    let (single, three) = (single.as_slice::<f32>().unwrap(), three.as_slice::<f32>().unwrap());
    assert_eq!(three.len(), 3 * single.len());
    for (at, value) in single.iter().enumerate() {
        let (tap, output) = (at / outputs, at % outputs);
        let sum: f32 = (0..3).map(|channel| three[(3 * tap + channel) * outputs + output]).sum();
        assert!((sum - factor * value).abs() < 1e-5, "{sum}, not {factor} times {value}");
    }
}
