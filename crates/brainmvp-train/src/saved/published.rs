//! Reads networks from tensors with published names.

use std::collections::BTreeMap;
use std::path::Path;

use brainmvp_nets::weights::{Layout, StateDict, TEMPLATES, take, templates_to_ours};
use brainmvp_volume::Modality;
use burn::tensor::TensorData;
use half::{bf16, f16};
use safetensors::Dtype;

use super::{LearntTemplates, SavedNetwork};
use crate::about::{About, TemplatesAbout, Weights};
use crate::source::Chosen;
use crate::tensor_file::TensorFile;
use crate::{Error, Result};

/// A source of tensors with published names.
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

/// If a template's values are all within this of each other, it was never learnt: the published program would divide by
/// almost nothing.
const PUBLISHED_RANGE_FLOOR: f32 = 1e-6;

/// The network whose published tensors are in `source`.
pub(super) fn open(mut source: impl Tensors, told: Option<Weights>, chosen: &Chosen) -> Result<SavedNetwork> {
    let path = &chosen.path;
    let wrong = |source| Error::Weights { path: path.to_owned(), source };
    let shapes = source.shapes();
    let mut layout = Layout::recognise(&shapes).map_err(wrong)?;
    let mut assumed = None;
    if let Some(Weights { about, .. }) = &told {
        if let Some(problem) = about.problem() {
            return Err(Error::checkpoint(path, problem));
        }
        layout.told(&about.network, about.head).map_err(wrong)?;
    } else {
        assumed = layout.network.assumed();
    }
    let (mut tensors, mut templates) = (StateDict::new(), None);
    for (name, shape) in shapes {
        let Some(key) = layout.published(&name) else { continue };
        let values = source.floats(&name)?;
        refuse_odd(path, &name, &values)?;
        if key == TEMPLATES {
            let about = told.as_ref().and_then(|told| told.about.templates.as_ref());
            templates = Some(learnt(path, &shape, &values, about)?);
        } else {
            tensors.insert(key, TensorData::new(values, shape));
        }
    }
    let taken = take(&layout, tensors).map_err(wrong)?;
    let step = told.as_ref().and_then(|told| told.step);
    let unknown = || About {
        templates: templates.as_ref().map(LearntTemplates::about),
        ..About::unknown(layout.network.clone(), layout.head)
    };
    let steps = step.map_or(String::new(), |step| format!(", step {step}"));
    Ok(SavedNetwork {
        about: told.map_or_else(unknown, |told| told.about),
        step,
        weights: taken.weights,
        templates,
        unused: taken.unused,
        missing: taken.missing,
        assumed,
        origin: format!("{}{steps}", path.display()),
        folder: chosen.folder.clone(),
    })
}

fn learnt(
    path: &Path,
    shape: &[usize],
    values: &[f32],
    about: Option<&TemplatesAbout>,
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
        affine: about.and_then(TemplatesAbout::affine),
        frame: about.and_then(|about| about.frame.clone()),
        range_floor: about.map_or(Some(PUBLISHED_RANGE_FLOOR), |about| about.range_floor),
        volumes: templates_to_ours(values, [x, y, z]),
        updates: BTreeMap::new(),
    })
}

/// Refuses values that are not finite.
pub(crate) fn refuse_odd(path: &Path, name: &str, values: &[f32]) -> Result<()> {
    let odd = values.iter().filter(|value| !value.is_finite()).count();
    if odd == 0 {
        return Ok(());
    }
    let reason = format!("tensor '{name}' has {odd} values that are not finite, of {}", values.len());
    Err(Error::checkpoint(path, reason))
}
