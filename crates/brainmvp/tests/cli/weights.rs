//! Weights in and out.

use std::collections::BTreeMap;

use brainmvp_nets::networks::NetworkConfig;
use brainmvp_train::saved::{LearntTemplates, SavedNetwork};

use crate::program::Place;

/// A place with `released.pt`, a PyTorch checkpoint of a small network.
fn with_checkpoint() -> Place {
    let place = Place::new();
    std::fs::copy(brainmvp_golden::file("released_layout_small.pt"), place.path("released.pt")).unwrap();
    place
}

#[test]
fn import_and_export() {
    let place = with_checkpoint();
    place.run(&["import", "released.pt", "--out", "made/weights.safetensors"]).succeeds().prints(&[
        "UniFormer, 8, 16, 24, 32 channels, 1, 1, 1, 1 blocks, 1 input channel",
        "decoder of pre-training",
        "flair t1 t1c t2 mra pd dwi adc (20 x 20 x 15 voxels; their position is not known)",
        "attention heads are 8 channels wide",
        "16 tensors, such as decoder.decoder2.conv_block.conv1.conv.weight",
        "made/weights.safetensors written",
    ]);
    let export = ["export", "made/weights.safetensors", "--format", "pytorch", "--out", "model.pt"];
    place.run(&export).succeeds().prints(&["model.pt written"]);
    let weights = |name: &str| SavedNetwork::open(&place.path(name)).unwrap();
    let (released, back) = (weights("released.pt"), weights("model.pt"));
    assert_eq!((released.weights, released.templates), (back.weights, back.templates));
    // The same again is the same file.
    let first = std::fs::read(place.path("model.pt")).unwrap();
    place.run(&export).succeeds();
    assert!(std::fs::read(place.path("model.pt")).unwrap() == first);
    place
        .run(&["templates", "made/weights.safetensors", "--out", "templates"])
        .succeeds()
        .prints(&["8 templates written"])
        .notes(&["their position is not known"]);
    assert!(place.path("templates/t1c.nii.gz").is_file());
}

#[test]
fn the_weights_of_a_run() {
    let place = Place::with_phantom(2);
    place.run(&["preprocess", "phantom/cohort.json", "--out", "cache", "--spacing", "6"]).succeeds();
    place
        .run(&["export", "cache", "--format", "pytorch", "--out", "a.pt"])
        .fails(2, &["cache", "is not a run"]);
    let settings = ["model.preset=tiny", "patch.size=16", "train.max_steps=1", "train.batch_size=1"];
    let settings = settings.iter().flat_map(|setting| ["--set", setting]);
    let pretrain: Vec<&str> =
        ["pretrain", "--data", "cache", "--out", "run"].into_iter().chain(settings).collect();
    place.run(&pretrain).succeeds();
    for (format, out) in [("pytorch", "model.pt"), ("safetensors", "model.safetensors")] {
        place
            .run(&["export", "run", "--format", format, "--out", out])
            .succeeds()
            .prints(&["UniFormer, 16, 32, 48, 64 channels", "decoder of pre-training", "step 1", "written"])
            .notes(&["16 tensors more, which were not there"]);
    }
    let [run, pytorch, safetensors] =
        ["run", "model.pt", "model.safetensors"].map(|name| SavedNetwork::open(&place.path(name)).unwrap());
    // How often each template was updated is the run's to tell.
    let templates = run.templates.map(|templates| LearntTemplates { updates: BTreeMap::new(), ..templates });
    assert_eq!((&run.weights, &templates), (&pytorch.weights, &pytorch.templates));
    assert_eq!((&run.weights, &templates), (&safetensors.weights, &safetensors.templates));
    assert!(pytorch.templates.unwrap().affine.is_some(), "a file of ours tells where its templates lie");
}

/// From a run to a PyTorch file, to a weights file, and back.
#[test]
fn the_weights_of_every_network() {
    let place = Place::with_phantom(2);
    place.run(&["preprocess", "phantom/cohort.json", "--out", "cache", "--spacing", "4"]).succeeds();
    let presets = NetworkConfig::presets().into_iter().filter(|(name, ..)| name.contains("tiny"));
    for (name, _, network) in presets {
        let preset = format!("model.preset={name}");
        let settings = [preset.as_str(), "patch.size=32", "train.max_steps=1", "train.batch_size=1"];
        let settings = settings.iter().flat_map(|setting| ["--set", setting]);
        let pretrain: Vec<&str> =
            ["pretrain", "--data", "cache", "--out", name].into_iter().chain(settings).collect();
        place.run(&pretrain).succeeds();
        let (pytorch, weights) = (format!("{name}.pt"), format!("{name}.safetensors"));
        place
            .run(&["export", name, "--format", "pytorch", "--out", &pytorch])
            .succeeds()
            .prints(&[network.title(), "decoder of pre-training"]);
        place.run(&["import", &pytorch, "--out", &weights]).succeeds().prints(&["missing", "none"]);
        let [run, there, back] = [name, pytorch.as_str(), weights.as_str()]
            .map(|name| SavedNetwork::open(&place.path(name)).unwrap());
        assert_eq!(run.about.network, network);
        assert_eq!((&run.weights, &run.about.network), (&there.weights, &there.about.network), "{name}");
        assert_eq!((&run.weights, &run.about.network), (&back.weights, &back.about.network), "{name}");
    }
}

#[test]
fn mistakes() {
    let place = with_checkpoint();
    let import = |file: &str| place.run(&["import", file, "--out", "weights.safetensors"]);
    import("absent.pt").fails(2, &["absent.pt", "No such file"]);
    place.write("text.pt", "this is no checkpoint, however it is called");
    import("text.pt").fails(2, &["text.pt", "PyTorch"]).notes(&["hint: supported are the folder of a run"]);
    place.write("empty.pt", "");
    import("empty.pt").fails(2, &["empty.pt"]);
    let bytes = std::fs::read(place.path("released.pt")).unwrap();
    std::fs::write(place.path("short.pt"), &bytes[..bytes.len() / 2]).unwrap();
    import("short.pt").fails(2, &["short.pt"]);
    // A pickle of {"fc": 1}: a checkpoint, but of no network.
    std::fs::write(place.path("other.pt"), b"\x80\x02}X\x02\0\0\0fcK\x01s.").unwrap();
    import("other.pt").fails(2, &["other.pt", "not a network that this program supports"]);
    std::fs::create_dir(place.path("folder")).unwrap();
    import("folder").fails(2, &["folder", "is a folder"]).notes(&["brainmvp export"]);
    place.run(&["import", "released.pt", "--out", "folder"]).fails(2, &["is a folder; give a file"]);
    place.run(&["import", "released.pt", "--out", "released.pt"]).fails(2, &["released.pt", "--out"]);
    assert!(std::fs::read(place.path("released.pt")).unwrap() == bytes);
    place.run(&["export", "released.pt", "--format", "onnx", "--out", "a"]).fails(2, &["onnx", "pytorch"]);
    place.run(&["templates", "text.pt", "--out", "t"]).fails(2, &["text.pt"]);
    assert!(!place.path("weights.safetensors").exists());
}
