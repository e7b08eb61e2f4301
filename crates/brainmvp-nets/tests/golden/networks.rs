//! The published networks: their numbers of parameters, the names and shapes of their state dicts, and the logits of the
//! reference networks.

use super::reference::{assert_close, input, strided};
use brainmvp_golden::Golden;
use brainmvp_nets::Init;
use brainmvp_nets::heads::Segmented;
use brainmvp_nets::layers::Pass;
use brainmvp_nets::networks::{
    Merging, NetworkConfig, PresetName, ResEncConfig, SegmentationNetwork, SwinUnetrConfig, Unet3dBConfig,
    Unet3dCConfig, Unet3dConfig, UnetrConfig, UniFormerConfig,
};
use brainmvp_nets::weights::{self, Head, Layout, StateDict, TEMPLATES, Upstream};
use burn::tensor::{Device, Tensor, TensorData};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

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
        ("unet3d-b", 1, 1, 19_073_665),
        ("unet3d-b", 4, 3, 19_076_387),
        // The published numbers are 23,538,144 and 23,540,736, without an output layer of 27 * 32 + 1 for each class.
        ("unet3d-c", 1, 1, 23_538_144 + 865),
        ("unet3d-c", 4, 3, 23_540_736 + 3 * 865),
        ("resenc-l", 1, 3, 102_350_575),
        ("resenc-l", 4, 3, 102_353_167),
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

/// What a network with weights from their names makes of `x`, for three classes.
fn segmented(network: &NetworkConfig, x: Tensor<5>, pass: &mut Pass<'_>) -> Segmented {
    let (classes, device) = (3, &x.device());
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let model = SegmentationNetwork::new(network, classes, &mut Init { device, rng: &mut rng });
    let model = weights::load(model, |entry| {
        let upstream = Upstream::of(network, Head::Segmentation { classes }, entry);
        let values = brainmvp_golden::parameter(&upstream.key, &upstream.shape);
        Ok::<_, ()>(Some(TensorData::new(upstream.to_ours(&values, entry.shape), entry.shape.to_vec())))
    });
    model.unwrap().forward(x, pass)
}

/// The input of MONAI's networks, a corner of 64^3 voxels.
fn corner(size: usize, device: &Device) -> Tensor<5> {
    input("x", [1, 4, 64, 64, 64], device).slice([0..1, 0..size, 0..size, 0..size, 0..4])
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
    let logits = segmented(&network, corner(32, device), &mut Pass::evaluation()).logits;
    assert_volume(logits, &Golden::open("unetr_eval"), "logits");
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
        strided(segmented(&network, corner(64, device), &mut Pass::evaluation()).logits, 2)
    };
    let fixed = of(Merging::Fixed);
    let difference: f32 = (of(Merging::Legacy) - fixed.clone()).abs().max().into_scalar();
    assert!(difference > 1e-3, "the merging matters");
    assert_volume(fixed, &golden, "logits_stride2");
}

/// The small networks of `scripts/golden-networks.py`.
fn small_unets() -> [(&'static str, NetworkConfig); 3] {
    let unet3d_b = Unet3dBConfig { in_channels: 2, width: 4, ..Unet3dBConfig::published() };
    let unet3d_c = Unet3dCConfig { in_channels: 2, widths: [8, 16, 16, 24, 24] };
    let resenc = ResEncConfig { in_channels: 2, ..ResEncConfig::tiny() };
    [
        ("unet3d_b", NetworkConfig::Unet3dB(unet3d_b)),
        ("unet3d_c", NetworkConfig::Unet3dC(unet3d_c)),
        ("resenc", NetworkConfig::ResEnc(resenc)),
    ]
}

#[test]
fn unets_eval() {
    let device = Device::flex();
    for (name, network) in small_unets() {
        let golden = Golden::open(&format!("{name}_eval"));
        let x = input("x", [1, 2, 16, 32, 48], &device);
        let logits = segmented(&network, x.clone(), &mut Pass::evaluation()).logits;
        assert_volume(strided(logits, 2), &golden, "logits");
        // The coarsest is the first here, and the last there.
        let coarse = segmented(&network, x, &mut Pass::still()).coarse;
        assert_eq!(coarse.len(), golden.names().filter(|name| name.starts_with("coarse")).count());
        for (place, coarse) in coarse.into_iter().rev().enumerate() {
            assert_volume(strided(coarse, 2), &golden, &format!("coarse{}", place + 1));
        }
    }
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
        // ResEnc has several names for a tensor.
        let first = key.strip_prefix("decoder.").filter(|rest| rest.starts_with("encoder.")).unwrap_or(key);
        let first = first.replace(".all_modules.0.", ".conv.").replace(".all_modules.1.", ".norm.");
        TensorData::new(brainmvp_golden::parameter(&first, &shape), shape)
    };
    keys.map(|(key, sizes)| (key.clone(), tensor(key, shape(sizes)))).collect()
}

#[test]
fn published_networks_are_recognised_and_written_as_they_were() {
    let small = UniFormerConfig::small();
    let downstream = UniFormerConfig { in_channels: 4, ..small.clone() };
    let segmentation = Head::Segmentation { classes: 3 };
    let [unet3d_b, unet3d_c, resenc] = small_unets().map(|(_, network)| network);
    for (keys, network, head, idle) in [
        ("keys_unet3d_b", unet3d_b, segmentation, 0),
        ("keys_unet3d_c", unet3d_c, segmentation, 0),
        ("keys_resenc", resenc, segmentation, 0),
        ("checkpoint_keys_uniformer", NetworkConfig::UniFormer(small), Head::Reconstruction, 16),
        ("checkpoint_keys_uniunet", NetworkConfig::UniFormer(downstream), segmentation, 0),
        ("checkpoint_keys_unet3d", NetworkConfig::Unet3d(Unet3dConfig::published()), Head::Reconstruction, 0),
        ("keys_unetr", NetworkConfig::Unetr(small_unetr()), segmentation, 24),
        (
            "keys_swin_unetr",
            // Which merging belongs to weights is not among them.
            NetworkConfig::SwinUnetr(SwinUnetrConfig { merging: Merging::Legacy, ..small_swin_unetr() }),
            segmentation,
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

/// GVSL's weights are of a network without an output layer.
#[test]
fn weights_without_an_output_layer_get_a_new_one() {
    let mut tensors = published("keys_unet3d_c");
    tensors.retain(|key, _| !key.starts_with("out_conv."));
    let shapes = tensors.iter().map(|(key, tensor)| (key.clone(), tensor.shape().to_vec())).collect();
    let layout = Layout::recognise(&shapes).unwrap();
    assert_eq!(layout.head, Head::Reconstruction);
    let taken = weights::take(&layout, tensors).unwrap();
    assert_eq!(taken.missing, ["out_conv.weight", "out_conv.bias"]);
    let whole = weights::complete(&layout.network, layout.head, &taken.weights, &taken.unused).unwrap();
    assert_eq!(whole.filled, taken.missing);
    let weight = whole.tensors["out_conv.weight"].as_slice::<f32>().unwrap();
    assert!(weight.iter().any(|&value| value != 0.0));
}

/// nnU-Net's library makes outputs of all sizes, whether they are used or not.
#[test]
fn a_pretrained_resenc_has_all_names_of_its_library() {
    let device = Device::flex();
    let config = ResEncConfig { in_channels: 2, ..ResEncConfig::tiny() };
    let network = NetworkConfig::ResEnc(config);
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let init = &mut Init { device: &device, rng: &mut rng };
    let mut ours = std::collections::BTreeMap::new();
    let (encoder, decoder) = (network.encoder(init), network.reconstruction(init));
    weights::visit(&encoder, |entry, values| drop(ours.insert(format!("encoder.{}", entry.path), values)));
    weights::visit(&decoder, |entry, values| drop(ours.insert(format!("decoder.{}", entry.path), values)));
    let whole = weights::complete(&network, Head::Reconstruction, &ours, &StateDict::new()).unwrap();
    let names = |tensors: &StateDict| tensors.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&whole.tensors), names(&published("keys_resenc")));
    assert_eq!(whole.filled.len(), 4, "the outputs of two coarser stages");
}
