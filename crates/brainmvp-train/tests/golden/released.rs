//! A PyTorch checkpoint laid out as the released ones, read whole and written back.

use std::collections::BTreeSet;
use std::path::Path;

use brainmvp_golden::{file, json, parameter};
use brainmvp_nets::networks::{NetworkConfig, ResEncConfig, UniFormerConfig};
use brainmvp_nets::weights::{Head, TEMPLATES, complete};
use brainmvp_train::pretrained::Pretrained;
use brainmvp_train::saved::{Format, SavedNetwork};
use brainmvp_volume::Modality;

fn released() -> SavedNetwork {
    SavedNetwork::open(&file("released_layout_small.pt")).unwrap()
}

/// The published names of a network of one block a stage.
fn keys_of_one_block() -> BTreeSet<String> {
    let is_first = |key: &&String| {
        let mut parts = key.split('.').skip_while(|part| !part.starts_with("blocks"));
        parts.nth(1).is_none_or(|block| block == "0")
    };
    json("checkpoint_keys_uniformer").as_object().unwrap().keys().filter(is_first).cloned().collect()
}

#[test]
fn every_value_is_read() {
    let saved = released();
    // Its numbers are those of UniFormer-S made small one by one, so that its MLPs are not all alike.
    let expected = UniFormerConfig {
        widths: [8, 16, 24, 32],
        depths: [1; 4],
        head_width: 8,
        mlp_ratio: [4, 2, 4, 4],
        ..UniFormerConfig::small()
    };
    assert_eq!(
        (&saved.about.network, saved.about.head),
        (&NetworkConfig::UniFormer(expected), Head::Reconstruction)
    );
    assert!(saved.missing.is_empty() && saved.assumed.is_some());
    let completed = complete(&saved.about.network, saved.about.head, &saved.weights, &saved.unused).unwrap();
    assert!(completed.filled.is_empty(), "{:?}", completed.filled);
    let mut seen: BTreeSet<String> = [TEMPLATES.to_owned()].into();
    for (key, tensor) in completed.tensors {
        let shape = tensor.shape().to_vec();
        if key.ends_with("num_batches_tracked") {
            assert_eq!(tensor.as_slice::<i64>().unwrap(), [0]);
        } else {
            assert_eq!(tensor.as_slice::<f32>().unwrap(), parameter(&key, &shape), "{key}");
        }
        seen.insert(key);
    }
    assert_eq!(seen, keys_of_one_block());
}

/// It has up to four names for the same bytes, and an output for every stage.
#[test]
fn a_checkpoint_of_nnssl_is_read() {
    let saved = SavedNetwork::open(&file("nnssl_layout_small.pt")).unwrap();
    let expected = NetworkConfig::ResEnc(ResEncConfig::tiny());
    assert_eq!((&saved.about.network, saved.about.head), (&expected, Head::Reconstruction));
    assert_eq!((saved.missing.len(), saved.unused.len()), (0, 4));
    let completed = complete(&saved.about.network, saved.about.head, &saved.weights, &saved.unused).unwrap();
    assert!(completed.filled.is_empty(), "{:?}", completed.filled);
    let names: BTreeSet<String> = completed.tensors.keys().cloned().collect();
    assert_eq!(names, json("keys_resenc").as_object().unwrap().keys().cloned().collect());
    for (key, tensor) in completed.tensors {
        let first = key.strip_prefix("decoder.").filter(|rest| rest.starts_with("encoder.")).unwrap_or(&key);
        let first = first.replace(".all_modules.0.", ".conv.").replace(".all_modules.1.", ".norm.");
        let expected = parameter(&first, &tensor.shape().to_vec());
        assert_eq!(tensor.as_slice::<f32>().unwrap(), expected, "{key}");
    }
}

#[test]
fn the_templates_are_turned_to_our_axes() {
    let templates = released().templates.unwrap();
    let size @ [nx, ny, nz] = templates.size;
    assert_eq!((size, templates.affine), ([20, 20, 15], None));
    let values = parameter(TEMPLATES, &[Modality::ALL.len(), nx, ny, nz]);
    for (volume, expected) in templates.volumes.iter().zip(values.chunks_exact(nx * ny * nz)) {
        for (offset, value) in expected.iter().enumerate() {
            let (x, y, z) = (offset / (ny * nz), offset / nz % ny, offset % nz);
            assert_eq!(volume[(z * ny + y) * nx + x], *value);
        }
    }
    assert_eq!(templates.volumes.len(), Modality::ALL.len());
    let frozen = Pretrained::open(&file("released_layout_small.pt")).unwrap().templates.unwrap();
    let voxels = frozen.frozen.get(Modality::Adc).unwrap();
    let (low, high) = voxels.iter().fold((1.0_f32, 0.0_f32), |(l, h), v| (l.min(*v), h.max(*v)));
    assert_eq!((frozen.frozen.size(), low, high), (size, 0.0, 1.0));
}

#[test]
fn what_is_written_is_read_back_to_the_bit() {
    let folder = tempfile::tempdir().unwrap();
    let mut saved = released();
    let there_and_back = |saved: &SavedNetwork, format, path: &Path| {
        assert!(saved.write(path, format).unwrap().is_empty());
        SavedNetwork::open(path).unwrap()
    };
    for (format, name) in [(Format::Pytorch, "model.pt"), (Format::Safetensors, "model.safetensors")] {
        let path = folder.path().join(name);
        let back = there_and_back(&saved, format, &path);
        // The file tells what was assumed of the one before it.
        (saved.origin, saved.assumed) = (path.display().to_string(), None);
        saved.folder = folder.path().to_owned();
        assert_eq!(back, saved);
        let first = std::fs::read(&path).unwrap();
        there_and_back(&back, format, &path);
        assert!(std::fs::read(&path).unwrap() == first, "{name}: a second time, another file");
    }
}
