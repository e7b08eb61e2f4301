//! Files that are not what they say: an error that names the file, never a panic, never memory without bound.

#![allow(clippy::unwrap_used)] // that is how a test fails

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use brainmvp_nets::networks::NetworkConfig;
use brainmvp_nets::weights::Head;
use brainmvp_train::about::About;
use brainmvp_train::saved::{Format, SavedNetwork};
use burn::tensor::TensorData;
use proptest::prelude::*;
use zip::write::SimpleFileOptions;

/// A small network in one file of each format, made once.
fn files() -> &'static [Vec<u8>; 2] {
    static FILES: OnceLock<[Vec<u8>; 2]> = OnceLock::new();
    FILES.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let released = released();
        [(Format::Pytorch, "a.pt"), (Format::Safetensors, "a.safetensors")].map(|(format, name)| {
            let path = folder.path().join(name);
            released.write(&path, format).unwrap();
            std::fs::read(&path).unwrap()
        })
    })
}

/// Opens these bytes as a file.
fn open(bytes: &[u8]) -> Result<SavedNetwork, String> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(bytes).unwrap();
    SavedNetwork::open(file.path()).map_err(|error| {
        let message = error.to_string();
        assert!(message.starts_with(file.path().to_str().unwrap()), "{message}");
        message
    })
}

/// Somewhere in a file, and mostly where its description is: at the ends.
fn place(length: usize) -> impl Strategy<Value = usize> {
    prop_oneof![0..length.min(40_000), length.saturating_sub(20_000)..length, 0..length]
}

/// One of the files, and somewhere in it.
fn file_and_place() -> impl Strategy<Value = (usize, usize)> {
    (0usize..2).prop_flat_map(|which| (Just(which), place(files()[which].len())))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn a_changed_byte_is_an_error_or_another_value((which, at) in file_and_place(), bits in 1u8..) {
        let mut bytes = files()[which].clone();
        bytes[at] ^= bits;
        drop(open(&bytes));
    }

    #[test]
    fn a_part_of_a_file_is_refused((which, length) in file_and_place()) {
        prop_assert!(open(&files()[which][..length]).is_err());
    }
}

#[test]
fn other_files_are_refused() {
    let code = b"cos\nsystem\n(Vtouch /tmp/brainmvp-was-here\ntR.";
    for bytes in
        [&b""[..], b"P", b"hello, this is a text", b"\x80\x02}q\0.", b"\x80\x02]q\0.", code, &[0; 4096]]
    {
        open(bytes).unwrap_err();
    }
    assert!(!Path::new("/tmp/brainmvp-was-here").exists());
}

/// A file of one tensor whose pickle is `text`, with a storage of four bytes.
fn pytorch(pickle: &[u8]) -> Vec<u8> {
    let mut archive = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    for (name, bytes) in [("a/data.pkl", pickle), ("a/data/0", &[0; 4]), ("a/version", b"3\n")] {
        archive.start_file(name, options).unwrap();
        archive.write_all(bytes).unwrap();
    }
    archive.finish().unwrap().into_inner()
}

/// `{"conv1a.weight": a tensor of this shape and these strides on a storage of so many elements}`.
fn one_tensor(elements: &str, shape: &str, strides: &str) -> Vec<u8> {
    let call = "ctorch._utils\n_rebuild_tensor_v2\n";
    let storage = format!("((Vstorage\nctorch\nFloatStorage\nV0\nVcpu\nI{elements}\ntQ");
    format!("(Vconv1a.weight\n{call}{storage}I0\n{shape}{strides}I00\nccollections\nOrderedDict\n)RtRd.")
        .into_bytes()
}

#[test]
fn claims_are_held_against_the_file() {
    let tuple = |values: &[u64]| {
        let values = values.iter().map(|value| format!("I{value}\n")).collect::<Vec<_>>().concat();
        format!("({values}t")
    };
    // As it should be: one element, and then no network.
    let honest = one_tensor("1", &tuple(&[1, 1, 1, 1, 1]), &tuple(&[1; 5]));
    let message = open(&pytorch(&honest)).unwrap_err();
    assert!(message.contains("ds1.weight"), "{message}");
    // One element seen two thousand million times.
    let spread = one_tensor("1", &tuple(&[2_000_000_000, 1, 1, 1, 1]), &tuple(&[0; 5]));
    let message = open(&pytorch(&spread)).unwrap_err();
    assert!(message.contains("claim"), "{message}");
    // More elements than there are bytes.
    for elements in ["2000000000", "9000000000000000000"] {
        let shape = tuple(&[elements.parse().unwrap(), 1, 1, 1, 1]);
        open(&pytorch(&one_tensor(elements, &shape, &tuple(&[1; 5])))).unwrap_err();
    }
}

#[test]
fn values_that_are_no_numbers_are_named() {
    let mut saved = released();
    let name = "encoder.blocks2.0.norm1.weight";
    let shape = saved.weights[name].shape();
    let mut values = saved.weights[name].as_slice::<f32>().unwrap().to_vec();
    values[3] = f32::NAN;
    saved.weights.insert(name.to_owned(), TensorData::new(values, shape));
    let folder = tempfile::tempdir().unwrap();
    for (format, name) in [(Format::Pytorch, "a.pt"), (Format::Safetensors, "a.safetensors")] {
        let path = folder.path().join(name);
        saved.write(&path, format).unwrap();
        let message = SavedNetwork::open(&path).unwrap_err().to_string();
        assert!(message.contains("'encoder.uniformer.blocks2.0.norm1.weight' has 1 value"), "{message}");
    }
}

fn released() -> SavedNetwork {
    SavedNetwork::open(&brainmvp_golden::file("released_layout_small.pt")).unwrap()
}

#[test]
fn a_small_file_cannot_ask_for_a_large_network() {
    let mut saved = released();
    saved.about.head = Head::None;
    saved.weights.retain(|name, _| name.starts_with("encoder."));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.safetensors");
    saved.write(&path, Format::Safetensors).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    // The metadata may say what it likes.
    let text = String::from_utf8_lossy(&bytes[..2000]).into_owned();
    for (honest, odd) in [
        (r#"\"depths\":[1,1,1,1]"#, r#"\"depths\":[1,1,1,9]"#),
        (r#"\"head_width\":8"#, r#"\"head_width\":0"#),
        (r#"\"version\":2"#, r#"\"version\":3"#),
    ] {
        let at = text.find(honest).unwrap();
        let mut changed = bytes.clone();
        changed[at..at + honest.len()].copy_from_slice(odd.as_bytes());
        open(&changed).unwrap_err();
    }
    assert_eq!(open(&bytes).unwrap().weights, saved.weights);
}

#[test]
fn every_head_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let presets = NetworkConfig::presets().into_iter().filter(|(name, ..)| name.contains("tiny"));
    let networks: Vec<NetworkConfig> = presets.map(|(.., network)| network).collect();
    let heads = [
        Head::None,
        Head::Reconstruction,
        Head::Segmentation { classes: 1 },
        Head::Classification { classes: 3 },
        Head::Regression,
    ];
    for (network, head) in networks.iter().flat_map(|network| heads.map(|head| (network, head))) {
        let weights = weights_of(network, head);
        let saved = SavedNetwork {
            about: About::unknown(network.clone(), head),
            step: Some(7),
            weights,
            templates: None,
            unused: [].into(),
            missing: Vec::new(),
            assumed: None,
            origin: String::new(),
            folder: PathBuf::new(),
        };
        for (format, name) in [(Format::Pytorch, "a.pt"), (Format::Safetensors, "a.safetensors")] {
            let path = folder.path().join(name);
            saved.write(&path, format).unwrap();
            let back = SavedNetwork::open(&path).unwrap();
            assert_eq!(
                (&back.about, back.step, &back.weights),
                (&saved.about, Some(7), &saved.weights),
                "{name}"
            );
        }
    }
}

/// Weights of a new network.
fn weights_of(network: &NetworkConfig, head: Head) -> std::collections::BTreeMap<String, TensorData> {
    use brainmvp_nets::networks::{ClassificationNetwork, SegmentationNetwork};
    use brainmvp_nets::{Init, weights::visit};
    use rand::SeedableRng as _;

    let device = burn::tensor::Device::flex();
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(1);
    let init = &mut Init { device: &device, rng: &mut rng };
    let mut weights = std::collections::BTreeMap::new();
    let mut add = |prefix: &str, path: &str, values: TensorData| {
        weights.insert(format!("{prefix}{path}"), values);
    };
    match head {
        Head::None => visit(&network.encoder(init), |entry, values| add("encoder.", entry.path, values)),
        Head::Reconstruction => {
            visit(&network.encoder(init), |entry, values| add("encoder.", entry.path, values));
            visit(&network.reconstruction(init), |entry, values| add("decoder.", entry.path, values));
        }
        Head::Segmentation { classes } => {
            visit(&SegmentationNetwork::new(network, classes, init), |entry, values| {
                add("", entry.path, values);
            });
        }
        Head::Classification { .. } | Head::Regression => {
            let outputs = if let Head::Classification { classes } = head { classes } else { 1 };
            visit(&ClassificationNetwork::new(network, outputs, init), |entry, values| {
                add("", entry.path, values);
            });
        }
    }
    weights
}
