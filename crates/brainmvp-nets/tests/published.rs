//! The published networks: their numbers of parameters, the names and shapes of their state dicts, and the logits of the
//! reference networks.

#![allow(clippy::unwrap_used)] // that is how a test fails

mod reference;

use brainmvp_golden::Golden;
use brainmvp_nets::Init;
use brainmvp_nets::layers::Pass;
use brainmvp_nets::networks::{
    Merging, NetworkConfig, PresetName, SegmentationNetwork, SwinUnetrConfig, Unet3dConfig, UnetrConfig,
    UniFormerConfig,
};
use brainmvp_nets::weights::{self, Head, Layout, StateDict, TEMPLATES, Upstream};
use burn::tensor::{Device, Tensor, TensorData};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use reference::{assert_close, input, strided};

fn parameters(module: &impl burn::module::Module) -> usize {
    let mut total = 0;
    weights::entries(module, |entry| {
        if !entry.path.contains("running_") {
            total += entry.shape.iter().product::<usize>();
        }
    });
    total
}

#[test]
fn networks_have_the_published_numbers_of_parameters() {
    let device = Device::flex();
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let init = &mut Init { device: &device, rng: &mut rng };
    let small = PresetName::default().network();
    // The published state dict has 10.5 M more, of skip connections that pre-training does not use.
    assert_eq!(parameters(&small.encoder(init)) + parameters(&small.reconstruction(init)), 23_775_233);
    for (preset, inputs, classes, expected) in [
        ("unetr", 1, 14, 92_784_046),
        ("unetr", 4, 3, 102_222_387),
        ("swin-unetr", 1, 14, 62_187_296),
        ("swin-unetr", 4, 3, 62_191_941),
    ] {
        let config = PresetName::named(preset).unwrap().network().with_in_channels(inputs);
        let network = SegmentationNetwork::new(&config, classes, init);
        assert_eq!(parameters(&network), expected, "{preset} {inputs} {classes}");
        assert!(config.parameters_at_least() <= expected as u64);
        assert!(config.parameters_at_least() > parameters(&network.encoder) as u64 / 3);
    }
}

/// The UNETR and the Swin-UNETR of the reference logits.
fn small_unetr() -> UnetrConfig {
    UnetrConfig { in_channels: 4, width: 192, mlp_width: 768, positions: [2; 3], ..UnetrConfig::published() }
}

fn small_swin_unetr() -> SwinUnetrConfig {
    SwinUnetrConfig { in_channels: 4, feature: 24, ..SwinUnetrConfig::published() }
}

/// Logits of a network with weights from their names; the input has 64^3 voxels and four channels.
fn logits(network: &NetworkConfig, classes: usize, crop: usize, device: &Device) -> Tensor<5> {
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let model = SegmentationNetwork::new(network, classes, &mut Init { device, rng: &mut rng });
    let model = weights::load(model, |entry| {
        let upstream = Upstream::of(network, Head::Segmentation { classes }, entry);
        let values = brainmvp_golden::parameter(&upstream.key, &upstream.shape);
        Ok::<_, ()>(Some(TensorData::new(upstream.to_ours(&values, entry.shape), entry.shape.to_vec())))
    });
    let x = input("x", [1, 4, 64, 64, 64], device).slice([0..1, 0..crop, 0..crop, 0..crop, 0..4]);
    model.unwrap().forward(x, &mut Pass::evaluation()).logits
}

/// Our `[B, Z, Y, X, C]` as the reference's `[B, C, X, Y, Z]`.
fn assert_volume(ours: Tensor<5>, golden: &Golden, name: &str) {
    let ours = ours.permute([0, 4, 3, 2, 1]);
    let (shape, expected) = golden.tensor(name);
    assert_eq!(ours.dims(), shape, "{name}");
    assert_close(&ours.into_data().try_to_vec().unwrap(), expected, 1e-4, name);
}

#[test]
fn unetr_eval() {
    unetr_eval_on(&Device::flex());
}

#[cfg(feature = "wgpu")]
#[test]
fn unetr_eval_on_wgpu() {
    unetr_eval_on(&Device::wgpu(burn::tensor::DeviceKind::DefaultDevice));
}

fn unetr_eval_on(device: &Device) {
    let network = NetworkConfig::Unetr(small_unetr());
    assert_volume(logits(&network, 3, 32, device), &Golden::open("unetr_eval"), "logits");
}

#[test]
fn swin_unetr_eval() {
    swin_unetr_eval_on(&Device::flex());
}

#[cfg(feature = "wgpu")]
#[test]
fn swin_unetr_eval_on_wgpu() {
    swin_unetr_eval_on(&Device::wgpu(burn::tensor::DeviceKind::DefaultDevice));
}

fn swin_unetr_eval_on(device: &Device) {
    let golden = Golden::open("swin_unetr_eval");
    let of = |merging| {
        let network = NetworkConfig::SwinUnetr(SwinUnetrConfig { merging, ..small_swin_unetr() });
        strided(logits(&network, 3, 64, device), 2)
    };
    let fixed = of(Merging::Fixed);
    let difference: f32 = (of(Merging::Legacy) - fixed.clone()).abs().max().into_scalar();
    assert!(difference > 1e-3, "the merging matters");
    assert_volume(fixed, &golden, "logits_stride2");
}

/// A published network's state dict, without templates.
fn published(keys: &str) -> StateDict {
    let shape = |shape: &serde_json::Value| -> Vec<usize> {
        shape.as_array().unwrap().iter().map(|size| size.as_u64().unwrap() as usize).collect()
    };
    let keys = brainmvp_golden::json(keys);
    let keys = keys.as_object().unwrap().iter().filter(|(key, _)| *key != TEMPLATES);
    let tensor = |key: &str, shape: Vec<usize>| {
        if key.ends_with("num_batches_tracked") {
            return TensorData::new(vec![0_i64], shape);
        }
        if key.ends_with("relative_position_index") {
            // Offsets along three axes in a window of 7, each from -6 to 6.
            let place = |token: i64| token / 49 * 169 + token / 7 % 7 * 13 + token % 7;
            let index = (0..343).flat_map(|i| (0..343).map(move |j| place(i) - place(j) + 1098));
            return TensorData::new(index.collect::<Vec<i64>>(), shape);
        }
        TensorData::new(brainmvp_golden::parameter(key, &shape), shape)
    };
    keys.map(|(key, sizes)| (key.clone(), tensor(key, shape(sizes)))).collect()
}

#[test]
fn published_networks_are_recognised_and_written_as_they_were() {
    let small = UniFormerConfig::small();
    let segmentation = UniFormerConfig { in_channels: 4, ..small.clone() };
    for (keys, network, head, idle) in [
        ("checkpoint_keys_uniformer", NetworkConfig::UniFormer(small), Head::Reconstruction, 16),
        (
            "checkpoint_keys_uniunet",
            NetworkConfig::UniFormer(segmentation),
            Head::Segmentation { classes: 3 },
            0,
        ),
        ("checkpoint_keys_unet3d", NetworkConfig::Unet3d(Unet3dConfig::published()), Head::Reconstruction, 0),
        ("keys_unetr", NetworkConfig::Unetr(small_unetr()), Head::Segmentation { classes: 3 }, 24),
        (
            "keys_swin_unetr",
            // Which merging belongs to weights is not among them.
            NetworkConfig::SwinUnetr(SwinUnetrConfig { merging: Merging::Legacy, ..small_swin_unetr() }),
            Head::Segmentation { classes: 3 },
            0,
        ),
    ] {
        let tensors = published(keys);
        let shapes = tensors.iter().map(|(key, tensor)| (key.clone(), tensor.shape().to_vec())).collect();
        let layout = Layout::recognise(&shapes).unwrap();
        assert_eq!((&layout.network, layout.head), (&network, head));
        let learnt =
            tensors.iter().filter_map(|(key, tensor)| Some((layout.published(key)?, tensor.clone())));
        let taken = weights::take(&layout, learnt.collect()).unwrap();
        assert_eq!((taken.missing.len(), taken.unused.len()), (0, idle), "{keys}");
        let whole = weights::complete(&network, head, &taken.weights, &taken.unused).unwrap();
        assert!(whole.tensors == tensors && whole.filled.is_empty(), "{keys}");
        // Without the idle tensors, names and shapes are still those that PyTorch expects.
        let filled = weights::complete(&network, head, &taken.weights, &StateDict::new()).unwrap();
        assert_eq!(filled.filled.len(), idle);
        let shapes_of = |tensors: &StateDict| -> Vec<(String, Vec<usize>)> {
            tensors.iter().map(|(key, tensor)| (key.clone(), tensor.shape().to_vec())).collect()
        };
        assert_eq!(shapes_of(&filled.tensors), shapes_of(&tensors));
    }
}
