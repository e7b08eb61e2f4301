//! The templates of a fine-tuning run in one file, so that prediction uses the same ones as training.
//!
//! The volumes are `[Z, Y, X]`, by the names of their modalities; the accompanying text is a [`TemplatesAbout`].

use std::path::Path;

use brainmvp_objectives::FrozenTemplates;
use brainmvp_volume::Modality;
use safetensors::Dtype;

use crate::about::TemplatesAbout;
use crate::placement::TemplateSet;
use crate::tensor_file::{self, TensorFile};
use crate::{Error, Result};

/// Writes them, completely or not at all.
///
/// # Errors
/// If the file cannot be written.
pub(super) fn save(set: &TemplateSet, path: &Path) -> Result<()> {
    let templates = &set.frozen;
    let text = serde_json::to_string(&about(set)).map_err(|e| Error::checkpoint(path, e.to_string()))?;
    let volumes: Vec<(Modality, &[f32])> =
        templates.modalities().filter_map(|modality| Some((modality, templates.get(modality)?))).collect();
    let [x, y, z] = templates.size();
    let described =
        volumes.iter().map(|(modality, _)| (modality.name().to_owned(), Dtype::F32, vec![z, y, x]));
    tensor_file::write(path, text, described.collect(), |place, file| {
        volumes[place].1.iter().try_for_each(|value| file.write_all(&value.to_le_bytes()))
    })
}

/// Reads them.
///
/// # Errors
/// If the file cannot be read or contains anything else.
pub(super) fn load(path: &Path) -> Result<TemplateSet> {
    let wrong = |reason: &dyn std::fmt::Display| {
        Error::checkpoint(path, format!("not the templates of a run: {reason}"))
    };
    let mut file = TensorFile::open(path)?;
    let about: TemplatesAbout =
        serde_json::from_str(file.text().unwrap_or_default()).map_err(|e| wrong(&e))?;
    let [x, y, z] = about.size;
    let names: Vec<String> = file.tensors().map(|(name, _)| name).collect();
    let mut volumes = Vec::new();
    for name in names {
        let modality: Modality = name.parse().map_err(|e| wrong(&e))?;
        let (shape, values) = file.floats(&name)?;
        if shape != [z, y, x] {
            return Err(wrong(&format!("{name} has the shape {shape:?}, expected {:?}", [z, y, x])));
        }
        volumes.push((modality, values));
    }
    let frozen = FrozenTemplates::new(about.size, about.affine(), about.range_floor, volumes);
    Ok(TemplateSet { frozen, frame: about.frame })
}

/// What is said of them. They were normalised before, and are used as they are.
pub(super) fn about(set: &TemplateSet) -> TemplatesAbout {
    let affine = set.frozen.grid().map(|grid| grid.affine.rows());
    TemplatesAbout { size: set.frozen.size(), affine, range_floor: None, frame: set.frame.clone() }
}

#[cfg(test)]
mod tests {
    use brainmvp_volume::{Affine, Grid};

    use super::*;
    use crate::placement::TemplateFrame;

    #[test]
    fn what_is_stored_is_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("templates.safetensors");
        let volumes = [
            (Modality::T2, vec![0.0, 0.25, 4.0, 1.0, 2.0, 3.0]),
            (Modality::T1, vec![0.0, 0.1, 0.2, 0.0, 0.0, 0.0]),
        ];
        let affine = Affine::from_spacing([1.0, 2.0, 3.0], [4.0, 5.0, 6.0]);
        let frozen = FrozenTemplates::new([3, 2, 1], Some(affine), Some(1.0), volumes);
        let frame = Some(TemplateFrame::of_grid(&Grid::new([5; 3], affine)));
        let templates = TemplateSet { frozen, frame };
        save(&templates, &path).unwrap();
        assert_eq!(load(&path).unwrap(), templates);
        std::fs::write(&path, b"short").unwrap();
        assert!(load(&path).unwrap_err().to_string().contains("templates.safetensors"));
    }
}
