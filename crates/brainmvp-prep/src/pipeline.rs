//! A case in memory, and the list of steps that it runs through.

use std::collections::BTreeMap;
use std::sync::Arc;

use brainmvp_volume::{Grid, LabelMap, Modality, Volume};
use rayon::prelude::*;
use serde_json::{Map, Value};

use crate::cache::StepRecord;
use crate::steps::{SKULL_STRIP, Step, registry};
use crate::{Atlas, Error, PrepConfig, Result, SkullStrip, Space};

/// The volumes of a case on their way through the pipeline.
#[derive(Debug, Clone)]
pub struct CaseVolumes {
    /// The images, at least one. Each has its own grid until they share one.
    pub images: BTreeMap<Modality, Volume>,
    /// The label map, on a grid of its own at first.
    pub label: Option<LabelMap>,
    /// The brain mask, above 0 inside, on a grid of its own at first.
    pub brain_mask: Option<LabelMap>,
    /// The image whose grid the others are brought to, once it is chosen.
    pub reference: Option<Modality>,
    /// What the case is registered to; the pipeline's own.
    pub atlas: Option<Arc<Atlas>>,
    /// The space that the case was brought to; `None` while it stands where its files say.
    pub space: Option<Space>,
    /// The grid that all volumes are brought to, if it is not that of the reference image.
    pub target: Option<Grid>,
    /// The grid before the crop, once there is one.
    pub uncropped: Option<Grid>,
    /// The voxel of `uncropped` that is the first one now.
    pub crop_offset: [usize; 3],
}

/// Steps in the order in which they run.
pub struct Pipeline {
    steps: Vec<&'static dyn Step>,
    config: PrepConfig,
    atlas: Option<Arc<Atlas>>,
}

impl CaseVolumes {
    /// A case as its files have it.
    pub fn new(
        images: BTreeMap<Modality, Volume>,
        label: Option<LabelMap>,
        brain_mask: Option<LabelMap>,
    ) -> Self {
        Self {
            images,
            label,
            brain_mask,
            reference: None,
            atlas: None,
            space: None,
            target: None,
            uncropped: None,
            crop_offset: [0; 3],
        }
    }

    /// The modality whose grid the case has or will have: the chosen one, or the first.
    pub fn reference_modality(&self) -> Option<Modality> {
        self.reference.or_else(|| self.images.keys().next().copied())
    }

    /// The grid of [`CaseVolumes::reference_modality`].
    pub fn reference_grid(&self) -> Option<Grid> {
        self.images.get(&self.reference_modality()?).map(|image| *image.grid())
    }

    /// The one grid of all volumes.
    ///
    /// # Errors
    /// [`Error::Step`], for `step`, if they are on different grids or there is no image.
    pub fn common_grid(&self, step: &'static str) -> Result<Grid> {
        let grid = self.reference_grid().ok_or_else(|| Error::step(step, "the case has no image"))?;
        let mut grids: Vec<_> = self.images.iter().map(|(m, image)| (m.name(), image.grid())).collect();
        grids.extend(self.label.as_ref().map(|v| ("label", v.grid())));
        grids.extend(self.brain_mask.as_ref().map(|v| ("brain mask", v.grid())));
        match grids.iter().find(|(_, other)| !grid.same_place(other, SAME_PLACE_MM)) {
            None => Ok(grid),
            Some((name, other)) => {
                let (a, b) = (grid.shape, other.shape);
                let reason = format!("the grid of the {name} ({b:?} voxels) is not that of the case ({a:?})");
                Err(Error::step(step, reason + "; run 'common_grid' and 'resample' before"))
            }
        }
    }

    /// Replaces every image by `f` of it, in parallel; returns the records of `f`, by modality.
    ///
    /// # Errors
    /// The first error of `f` in the order of the modalities.
    pub(crate) fn map_images(
        &mut self,
        f: impl Fn(Modality, Volume) -> Result<(Volume, Value)> + Sync,
    ) -> Result<Value> {
        let images = std::mem::take(&mut self.images);
        let done: Vec<_> = images.into_par_iter().map(|(m, image)| f(m, image).map(|r| (m, r))).collect();
        let mut facts = Map::new();
        for result in done {
            let (modality, (image, fact)) = result?;
            self.images.insert(modality, image);
            facts.insert(modality.name().to_owned(), fact);
        }
        Ok(Value::Object(facts))
    }
}

/// Grids whose corners are closer together than this are one grid: a hundredth of a voxel, beyond what affines in single
/// precision differ by.
pub(crate) const SAME_PLACE_MM: f64 = 0.01;

impl Pipeline {
    /// The version of the behaviour of the steps. If it changes, every case is prepared again.
    pub const VERSION: u32 = 6;

    /// The pipeline of a configuration.
    ///
    /// # Errors
    /// [`Error::Config`] for an unknown step, a step twice or a value out of its bounds; where the atlas cannot be
    /// read.
    pub fn new(config: &PrepConfig) -> Result<Self> {
        config.validate()?;
        let mut steps: Vec<&'static dyn Step> = Vec::new();
        for name in &config.steps {
            let step = registry().iter().find(|step| step.name() == name).ok_or_else(|| {
                let known: Vec<_> = registry().iter().map(|step| step.name()).collect();
                Error::config(format!("steps: unknown step '{name}' (known: {})", known.join(" ")))
            })?;
            if steps.iter().any(|other| other.name() == name) {
                return Err(Error::config(format!("steps: '{name}' comes twice")));
            }
            steps.push(*step);
        }
        let atlas = config.atlas.as_ref().map(Atlas::read).transpose()?.map(Arc::new);
        Ok(Self { steps, config: config.clone(), atlas })
    }

    /// What it carries out.
    pub fn config(&self) -> &PrepConfig {
        &self.config
    }

    /// Whether a brain is searched for in cases that show the whole head and have no mask.
    pub(crate) fn may_search_brain(&self) -> bool {
        self.config.skull_strip == SkullStrip::Auto
            && self.steps.iter().any(|step| step.name() == SKULL_STRIP)
    }

    /// What cases are registered to.
    pub fn atlas(&self) -> Option<&Atlas> {
        self.atlas.as_deref()
    }

    /// Runs every step on a case and returns what each did. Afterwards all volumes share one grid.
    ///
    /// # Errors
    /// Where a step cannot treat the case, or the volumes end on different grids.
    pub fn run(&self, case: &mut CaseVolumes) -> Result<Vec<StepRecord>> {
        let mut records = Vec::with_capacity(self.steps.len());
        case.atlas.clone_from(&self.atlas);
        for step in &self.steps {
            let did = step.apply(case, &self.config)?;
            records.push(StepRecord { step: step.name().to_owned(), did });
        }
        case.common_grid("end of the pipeline")?;
        Ok(records)
    }
}

impl std::fmt::Debug for Pipeline {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.steps.iter().map(|step| step.name())).finish()
    }
}
