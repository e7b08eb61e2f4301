//! Reference numbers for the tests, and the rule that makes weights from names.
//!
//! The numbers were computed with PyTorch by the reference networks; `scripts/golden-networks.py` is for those that have a
//! library or no public program, and `scripts/golden-lesions.py` for the lesion-wise scores of BraTS 2023. Weights and inputs are a pure function of their
//! names ([`parameter`], [`input`]), so that a network of 34 M parameters needs no weight file.
//!
//! Each file is looked up in `$BRAINMVP_GOLDEN`, or without it in `../shared/golden` next to the repository; if it is not there, in this
//! crate's `files/`, where all of [`FILES`] are. `$BRAINMVP_GOLDEN_PREFIX` is put before every name of the rule: another
//! set of numbers.
//!
//! For tests alone: a missing or broken file is a panic, so that no test passes without its numbers. Files that the
//! repository does not hold are asked for ([`golden_data`], [`test_data`]); a test without them says that it is skipped.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use safetensors::{Dtype, SafeTensors};

/// The reference files that tests open without checking whether they exist: those of which the repository has a copy.
pub const FILES: [&str; 30] = [
    "adamw.safetensors",
    "checkpoint_keys_unet3d.json",
    "checkpoint_keys_uniformer.json",
    "checkpoint_keys_uniunet.json",
    "finetune_uniunet.json",
    "finetune_uniunet.safetensors",
    "keys_resenc.json",
    "keys_swin_unetr.json",
    "keys_unet3d_b.json",
    "keys_unet3d_c.json",
    "keys_unetr.json",
    "metrics_classification.json",
    "metrics_lesions.json",
    "metrics_segmentation.json",
    "metrics_segmentation.safetensors",
    "nnssl_layout_small.pt",
    "pretrain_unet3d.json",
    "pretrain_unet3d.safetensors",
    "pretrain_uniformer.json",
    "pretrain_uniformer.safetensors",
    "released_layout_small.pt",
    "resenc_eval.safetensors",
    "sliding_window.safetensors",
    "swin_unetr_eval.safetensors",
    "unet3d_b_eval.safetensors",
    "unet3d_c_eval.safetensors",
    "unetr_eval.safetensors",
    "uniformer_eval.safetensors",
    "uniformer_train.safetensors",
    "uniformer_train_grad_norms.json",
];

/// The tensors of a reference file.
pub struct Golden {
    tensors: BTreeMap<String, (Vec<usize>, Vec<f64>)>,
}

impl Golden {
    /// Opens `name`.safetensors.
    ///
    /// # Panics
    /// If it is absent or broken.
    pub fn open(name: &str) -> Self {
        let path = file(&format!("{name}.safetensors"));
        let bytes = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let file = SafeTensors::deserialize(&bytes).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let tensors = file
            .tensors()
            .into_iter()
            .map(|(name, view)| (name, (view.shape().to_vec(), values(view.dtype(), view.data()))))
            .collect();
        Self { tensors }
    }

    /// Names of all tensors.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// Shape and values, row-major.
    ///
    /// # Panics
    /// If there is no such tensor.
    pub fn tensor(&self, name: &str) -> (&[usize], &[f64]) {
        let (shape, values) =
            self.tensors.get(name).unwrap_or_else(|| panic!("no reference tensor '{name}'"));
        (shape, values)
    }
}

/// Reads `name`.json.
///
/// # Panics
/// If it is absent or broken.
pub fn json(name: &str) -> serde_json::Value {
    let path = file(&format!("{name}.json"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// A reference file or folder that the repository need not hold: `name` in `$BRAINMVP_GOLDEN`, otherwise in
/// `../shared/golden` next to the repository. `None`, with a line that the test is skipped, where it is absent.
pub fn golden_data(name: &str) -> Option<PathBuf> {
    present("BRAINMVP_GOLDEN", "golden", name)
}

/// A real file or folder: `name` in `$BRAINMVP_TEST_DATA`, otherwise in `../shared/data` next to the repository. `None`,
/// with a line that the test is skipped, where it is absent.
pub fn test_data(name: &str) -> Option<PathBuf> {
    present("BRAINMVP_TEST_DATA", "data", name)
}

#[expect(clippy::print_stderr, reason = "who runs the tests must see which were skipped")]
fn present(variable: &str, beside: &str, name: &str) -> Option<PathBuf> {
    let path = named_by(variable).unwrap_or_else(|| root().join("../shared").join(beside)).join(name);
    let exists = path.exists();
    if !exists {
        eprintln!("skipped: {} is absent; set {variable}", path.display());
    }
    exists.then_some(path)
}

/// The folder that a variable names. Tests run in the folder of their crate; a relative path is meant from the root of the
/// workspace.
fn named_by(variable: &str) -> Option<PathBuf> {
    let folder = root().join(std::env::var_os(variable)?);
    assert!(folder.is_dir(), "${variable} names {}, which is no folder", folder.display());
    Some(folder)
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Where a reference file is.
///
/// # Panics
/// If it is not one of [`FILES`]: it would be found next to this checkout, but be missing from a fresh clone.
pub fn file(name: &str) -> PathBuf {
    assert!(FILES.contains(&name), "{name} is not among the reference files that the repository holds");
    let folder = named_by("BRAINMVP_GOLDEN").unwrap_or_else(|| root().join("../shared/golden"));
    let beside = folder.join(name);
    if beside.exists() { beside } else { Path::new(env!("CARGO_MANIFEST_DIR")).join("files").join(name) }
}

/// The values of an input tensor called `name`: uniform in [0, 1).
pub fn input(name: &str, count: usize) -> Vec<f32> {
    uniform(name, count).map(|u| u as f32).collect()
}

/// The values of a parameter or buffer with the state-dict key `key` and its upstream `shape`, row-major.
pub fn parameter(key: &str, shape: &[usize]) -> Vec<f32> {
    let scale = (3.0 / shape.iter().skip(1).product::<usize>() as f64).sqrt();
    let value = |u: f64| {
        let signed = 2.0 * u - 1.0;
        if key.ends_with("running_mean") {
            0.1 * signed
        } else if key.ends_with("running_var") {
            1.0 + 0.5 * u
        } else if shape.len() >= 2 {
            signed * scale
        } else if key.ends_with("bias") {
            0.1 * signed
        } else {
            1.0 + 0.1 * signed
        }
    };
    uniform(key, shape.iter().product()).map(|u| value(u) as f32).collect()
}

/// Uniform values in [0, 1) from a name: FNV-1a seeds splitmix64.
fn uniform(name: &str, count: usize) -> impl Iterator<Item = f64> {
    let prefix = std::env::var("BRAINMVP_GOLDEN_PREFIX").unwrap_or_default();
    let seed = prefix
        .bytes()
        .chain(name.bytes())
        .fold(0xCBF2_9CE4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01B3));
    (1..=count as u64).map(move |i| {
        let mut z = seed.wrapping_add(i.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^= z >> 31;
        (z >> 40) as f64 / f64::from(1 << 24)
    })
}

fn values(dtype: Dtype, bytes: &[u8]) -> Vec<f64> {
    fn each<const N: usize>(bytes: &[u8], value: fn([u8; N]) -> f64) -> Vec<f64> {
        let (chunks, _) = bytes.as_chunks::<N>();
        chunks.iter().map(|chunk| value(*chunk)).collect()
    }
    match dtype {
        Dtype::U8 => each(bytes, |[b]| f64::from(b)),
        Dtype::F32 => each(bytes, |b| f64::from(f32::from_le_bytes(b))),
        Dtype::F64 => each(bytes, f64::from_le_bytes),
        Dtype::I64 => each(bytes, |b| i64::from_le_bytes(b) as f64),
        other => panic!("reference tensors of type {other:?} are not read"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::process::Command;

    use super::*;

    /// The names below `files/` as a listing of the repository, or of the disk, has them.
    fn listed_are(found: BTreeSet<String>) {
        let expected: BTreeSet<String> = FILES.map(|name| format!("files/{name}")).into();
        assert_eq!(found, expected);
    }

    #[test]
    fn every_file_lies_in_this_crate() {
        let entries = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/files")).unwrap();
        let name =
            |entry: std::io::Result<std::fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
        listed_are(entries.map(|entry| format!("files/{}", name(entry))).collect());
    }

    #[test]
    fn every_file_is_tracked_by_git() {
        let git = |arguments: &[&str]| {
            let mut command = Command::new("git");
            command.arg("ls-files").args(arguments).current_dir(env!("CARGO_MANIFEST_DIR"));
            let output = command.output().ok()?;
            output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
        };
        // Asking for a file that is surely tracked tells a clone from an unpacked archive, wherever that lies.
        if git(&["--error-unmatch", "Cargo.toml"]).is_none() {
            println!("skipped: this is no clone of the repository");
            return;
        }
        listed_are(git(&["files"]).unwrap().lines().map(str::to_owned).collect());
    }

    #[test]
    #[should_panic(expected = "not among the reference files")]
    fn other_files_are_not_opened_without_asking() {
        file("oblique.nii.gz");
    }

    #[test]
    fn what_is_absent_is_not_found() {
        for find in [test_data, golden_data] {
            assert_eq!(find("a file that nobody has"), None);
        }
    }

    #[test]
    fn values_are_a_function_of_the_name() {
        assert_eq!(input("x", 3), input("x", 5)[..3]);
        assert_ne!(input("x", 3), input("y", 3));
        assert!(parameter("a.running_var", &[100]).iter().all(|v| (1.0..1.5).contains(v)));
        assert!(parameter("a.norm.weight", &[100]).iter().all(|v| (0.9..1.1).contains(v)));
    }
}
