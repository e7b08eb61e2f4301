//! Registers every image to the reference image, and that to the atlas.

use std::collections::BTreeMap;

use brainmvp_registration::{Motion, Options, Pyramid, Registration, StandardSpace, Transform, register};
use brainmvp_volume::Modality::{Adc, Dwi, Flair, Mra, Pd, T1, T1c, T2};
use brainmvp_volume::orientation::Reorientation;
use brainmvp_volume::{Grid, LabelMap, Modality};
use rayon::prelude::*;
use serde_json::{Map, Value, json};

use super::Step;
use crate::pipeline::SAME_PLACE_MM;
use crate::{Atlas, CaseVolumes, Error, PrepConfig, RegisterKind, Result};

/// Registers the images of a case to each other and to the atlas. No voxel changes: an image's affine is replaced by
/// its position in the space of the reference or atlas, so that 'resample' interpolates it once.
///
/// A label map or brain mask moves with the image whose grid it has, otherwise with the reference.
pub(super) struct Register;

/// The image that the others are registered to is the first of these that the case has: modalities with fine detail and
/// good contrast come first, those that cover a part of the head or are distorted come last.
const REFERENCES: [Modality; 8] = [T1c, T1, T2, Flair, Pd, Dwi, Mra, Adc];

impl Step for Register {
    fn name(&self) -> &'static str {
        "register"
    }

    fn apply(&self, case: &mut CaseVolumes, config: &PrepConfig) -> Result<Value> {
        let motion = match config.register {
            RegisterKind::None => return Ok(Value::Null),
            RegisterKind::Rigid => Motion::Rigid,
            RegisterKind::Affine => Motion::Affine,
        };
        let atlas = case.atlas.clone();
        case.target = atlas.as_ref().map(|atlas| atlas.grid);
        case.space = atlas.as_ref().map(|atlas| atlas.space());
        if let Some(space) = space_of(case, atlas.as_deref()) {
            return Ok(json!({ "already_in": space }));
        }
        let reference = REFERENCES.into_iter().find(|modality| case.images.contains_key(modality));
        let reference = reference.ok_or_else(|| Error::step(self.name(), "the case has no image"))?;
        case.reference = Some(reference);
        let found = Found::search(case, reference, atlas.as_deref(), motion)?;
        found.apply(case)?;
        let atlas = atlas.map(|atlas| json!({ "file": atlas.file, "space": atlas.standard }));
        Ok(json!({ "reference": reference, "atlas": atlas, "images": found.facts() }))
    }
}

/// The space that all images are already in: the atlas's, or without one a recognised standard space.
fn space_of(case: &CaseVolumes, atlas: Option<&Atlas>) -> Option<String> {
    let turned = |grid: &Grid| Reorientation::to_ras(&grid.affine).grid(grid);
    let mut grids = case.images.values().map(|image| turned(image.grid()));
    let first = grids.next()?;
    if !grids.all(|grid| grid.same_place(&first, SAME_PLACE_MM)) {
        return None;
    }
    match atlas {
        Some(atlas) => first.same_place(&atlas.grid, SAME_PLACE_MM).then(|| atlas.name()),
        None => StandardSpace::of(&first).map(|space| space.name().to_owned()),
    }
}

/// The result for each image: its registration, and the composed transform.
struct Found {
    reference: Modality,
    atlas: Option<String>,
    images: BTreeMap<Modality, (Option<Registration>, Transform)>,
}

impl Found {
    fn search(
        case: &CaseVolumes,
        reference: Modality,
        atlas: Option<&Atlas>,
        motion: Motion,
    ) -> Result<Self> {
        let failed = |what: String| {
            move |e: brainmvp_registration::Error| Error::step("register", format!("{what}: {e}"))
        };
        let pyramids = case.images.par_iter().filter(|(modality, _)| !goes_along(case, **modality));
        let pyramids = pyramids.map(|(modality, image)| {
            Pyramid::new(image).map(|pyramid| (*modality, pyramid)).map_err(failed(modality.to_string()))
        });
        let pyramids: BTreeMap<Modality, Pyramid> =
            pyramids.collect::<Vec<_>>().into_iter().collect::<Result<_>>()?;
        let images = pyramids.par_iter().map(|(modality, pyramid)| -> Result<_> {
            let (fixed, name, motion) = if *modality != reference {
                (&pyramids[&reference], reference.to_string(), Motion::Rigid)
            } else if let Some(atlas) = atlas {
                (&atlas.pyramid, format!("the atlas {}", atlas.name()), motion)
            } else {
                return Ok((*modality, None));
            };
            let options = Options { motion, ..Options::default() };
            let found =
                register(fixed, pyramid, &options).map_err(failed(format!("{modality} to {name}")))?;
            Ok((*modality, Some(found)))
        });
        let single: BTreeMap<Modality, Option<Registration>> =
            images.collect::<Vec<_>>().into_iter().collect::<Result<_>>()?;
        let to_reference = single[&reference].map_or(Transform::identity(), |found| found.transform);
        let composed = |modality: Modality, found: Option<Registration>| match found {
            Some(found) if modality != reference => found.transform.after(&to_reference),
            _ => to_reference,
        };
        let mut images: BTreeMap<_, _> = single
            .into_iter()
            .map(|(modality, found)| (modality, (found, composed(modality, found))))
            .collect();
        if let (true, Some(of_dwi)) = (goes_along(case, Adc), images.get(&Dwi)) {
            images.insert(Adc, *of_dwi);
        }
        Ok(Self { reference, atlas: atlas.map(Atlas::name), images })
    }

    /// Moves every volume of the case.
    fn apply(&self, case: &mut CaseVolumes) -> Result<()> {
        let singular = || Error::step("register", "a transform has no inverse");
        let label = case.label.take().map(|label| self.move_labels(case, label)).transpose()?;
        let brain_mask = case.brain_mask.take().map(|mask| self.move_labels(case, mask)).transpose()?;
        (case.label, case.brain_mask) = (label, brain_mask);
        case.map_images(|modality, image| {
            let (_, transform) = &self.images[&modality];
            Ok((transform.move_volume(image).ok_or_else(singular)?, Value::Null))
        })?;
        Ok(())
    }

    /// The label map moved with the image whose grid it has.
    fn move_labels(&self, case: &CaseVolumes, labels: LabelMap) -> Result<LabelMap> {
        let owners = std::iter::once(self.reference).chain(case.images.keys().copied());
        let mut owners = owners.filter(|m| case.images[m].grid().same_lattice(labels.grid(), SAME_PLACE_MM));
        let owner = owners.next().unwrap_or(self.reference);
        let moved = self.images[&owner].1.move_volume(labels);
        moved.ok_or_else(|| Error::step("register", "a transform has no inverse"))
    }

    fn facts(&self) -> Value {
        let facts = self.images.iter().map(|(modality, (found, transform))| {
            let onto = if *modality == self.reference {
                self.atlas.clone()
            } else {
                Some(self.reference.to_string())
            };
            let fact = json!({
                "onto": onto,
                "similarity": found.map(|found| found.similarity),
                "overlap": found.map(|found| found.overlap),
                "iterations": found.map(|found| found.iterations),
                // The rows of the map from the space of the prepared case to that of the file, RAS+ mm.
                "transform": transform.rows(),
            });
            (modality.to_string(), fact)
        });
        Value::Object(facts.collect::<Map<_, _>>())
    }
}

/// Whether an image is moved with another one: an ADC map is computed from the DWI whose grid it has.
fn goes_along(case: &CaseVolumes, modality: Modality) -> bool {
    modality == Adc
        && match (case.images.get(&Adc), case.images.get(&Dwi)) {
            (Some(adc), Some(dwi)) => adc.grid().same_lattice(dwi.grid(), SAME_PLACE_MM),
            _ => false,
        }
}
