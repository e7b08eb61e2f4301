//! Networks out of tensors of published names.

use std::collections::BTreeMap;
use std::path::Path;

use brainmvp_nets::networks::NetworkConfig;
use brainmvp_nets::weights::{Head, Layout, StateDict, TEMPLATES, take, templates_to_ours};
use brainmvp_volume::{Affine, Modality};
use burn::tensor::TensorData;
use half::{bf16, f16};
use safetensors::Dtype;
use serde::{Deserialize, Serialize};

use super::{LearntTemplates, SavedNetwork};
use crate::tensor_file::TensorFile;
use crate::{Error, Result};

/// Where tensors of published names are read from.
pub(super) trait Tensors {
    /// The shapes of all tensors of floating-point numbers.
    fn shapes(&self) -> BTreeMap<String, Vec<usize>>;

    /// The values of one of them, row-major.
    fn floats(&mut self, name: &str) -> Result<Vec<f32>>;
}

impl Tensors for TensorFile {
    fn shapes(&self) -> BTreeMap<String, Vec<usize>> {
        let floats = self
            .tensors()
            .filter(|(_, info)| matches!(info.dtype, Dtype::F16 | Dtype::BF16 | Dtype::F32 | Dtype::F64));
        floats.map(|(name, info)| (name, info.shape.clone())).collect()
    }

    fn floats(&mut self, name: &str) -> Result<Vec<f32>> {
        let (dtype, _, bytes) = self.bytes(name)?;
        let values = match dtype {
            Dtype::F16 => each(&bytes, |b| f16::from_le_bytes(b).to_f32()),
            Dtype::BF16 => each(&bytes, |b| bf16::from_le_bytes(b).to_f32()),
            Dtype::F64 => each(&bytes, |b| f64::from_le_bytes(b) as f32),
            Dtype::F32 => each(&bytes, f32::from_le_bytes),
            other => {
                return Err(Error::checkpoint(self.path(), format!("tensor '{name}' is of type {other:?}")));
            }
        };
        Ok(values)
    }
}

/// Elements of `N` bytes as numbers.
pub(super) fn each<const N: usize>(bytes: &[u8], value: impl Fn([u8; N]) -> f32) -> Vec<f32> {
    let (elements, _) = bytes.as_chunks::<N>();
    elements.iter().map(|element| value(*element)).collect()
}

/// What a weights file says about itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct About {
    /// Version of the format.
    pub(super) version: u32,
    pub(super) network: NetworkConfig,
    pub(super) head: Head,
    pub(super) templates: Option<AboutTemplates>,
}

/// What a weights file says about its templates.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct AboutTemplates {
    pub(super) range_floor: f32,
    pub(super) affine: Option<[[f64; 4]; 3]>,
}

/// The JSON text of a weights file.
#[derive(Serialize, Deserialize)]
struct Wrapped {
    weights: About,
}

impl About {
    const VERSION: u32 = 1;

    /// Reads the JSON text of a file; `None` if it is that of a run's checkpoint.
    pub(super) fn parse(path: &Path, text: &str) -> Result<Option<Self>> {
        let failed = |e| Error::checkpoint(path, format!("its description cannot be read: {e}"));
        let value: serde_json::Value = serde_json::from_str(text).map_err(failed)?;
        let Some(weights) = value.get("weights") else { return Ok(None) };
        let version = weights.get("version").and_then(serde_json::Value::as_u64);
        if version != Some(u64::from(Self::VERSION)) {
            let version = version.map_or("none".to_owned(), |version| version.to_string());
            let reason = format!("version {version} of the format, this program reads {}", Self::VERSION);
            return Err(Error::checkpoint(path, reason));
        }
        let wrapped: Wrapped = serde_json::from_value(value).map_err(failed)?;
        Ok(Some(wrapped.weights))
    }

    /// What is to be said about a network.
    pub(super) fn of(saved: &SavedNetwork) -> Self {
        let templates = saved.templates.as_ref().map(|templates| AboutTemplates {
            range_floor: templates.range_floor,
            affine: templates.affine.map(|affine| affine.rows()),
        });
        Self { version: Self::VERSION, network: saved.network.clone(), head: saved.head, templates }
    }

    /// The JSON text.
    pub(super) fn to_text(&self, path: &Path) -> Result<String> {
        let wrapped = Wrapped { weights: self.clone() };
        serde_json::to_string(&wrapped).map_err(|e| Error::checkpoint(path, e.to_string()))
    }
}

/// Where a template's values are all within this of each other, the published program divides by next to nothing; it was
/// never learnt.
const PUBLISHED_RANGE_FLOOR: f32 = 1e-6;

/// The network whose published tensors `source` holds.
pub(super) fn open(path: &Path, mut source: impl Tensors, about: Option<About>) -> Result<SavedNetwork> {
    let wrong = |source| Error::Weights { path: path.to_owned(), source };
    let shapes = source.shapes();
    let mut layout = Layout::recognise(&shapes).map_err(wrong)?;
    let mut assumed = None;
    if let Some(about) = &about {
        layout.told(&about.network, about.head).map_err(wrong)?;
    } else if let NetworkConfig::UniFormer(config) = &layout.network {
        assumed = Some(format!("attention heads are {} channels wide", config.head_width));
    }
    let (mut tensors, mut templates) = (StateDict::new(), None);
    for (name, shape) in shapes {
        let Some(key) = layout.published(&name) else { continue };
        let values = source.floats(&name)?;
        refuse_odd(path, &name, &values)?;
        if key == TEMPLATES {
            templates = Some(learnt(
                path,
                &shape,
                &values,
                about.as_ref().and_then(|about| about.templates.as_ref()),
            )?);
        } else {
            tensors.insert(key, TensorData::new(values, shape));
        }
    }
    let taken = take(&layout, tensors).map_err(wrong)?;
    Ok(SavedNetwork {
        network: layout.network,
        head: layout.head,
        weights: taken.weights,
        templates,
        unused: taken.unused,
        missing: taken.missing,
        assumed,
        origin: path.display().to_string(),
    })
}

fn learnt(
    path: &Path,
    shape: &[usize],
    values: &[f32],
    about: Option<&AboutTemplates>,
) -> Result<LearntTemplates> {
    let [modalities, x, y, z] = *shape else {
        let reason = format!("{TEMPLATES} has shape {shape:?} instead of [modalities, x, y, z]");
        return Err(Error::checkpoint(path, reason));
    };
    if modalities != Modality::ALL.len() || values.is_empty() {
        let reason = format!(
            "{TEMPLATES} has shape {shape:?}: not a volume for each of {} modalities",
            Modality::ALL.len()
        );
        return Err(Error::checkpoint(path, reason));
    }
    Ok(LearntTemplates {
        size: [x, y, z],
        affine: about.and_then(|about| about.affine).map(Affine::from_rows),
        range_floor: about.map_or(PUBLISHED_RANGE_FLOOR, |about| about.range_floor),
        volumes: templates_to_ours(values, [x, y, z]),
    })
}

/// Refuses values that are not numbers.
pub(crate) fn refuse_odd(path: &Path, name: &str, values: &[f32]) -> Result<()> {
    let odd = values.iter().filter(|value| !value.is_finite()).count();
    if odd == 0 {
        return Ok(());
    }
    let reason = format!("tensor '{name}' has {odd} values that are not finite, of {}", values.len());
    Err(Error::checkpoint(path, reason))
}
