//! Placing the templates of a pre-training run on a case.
//!
//! If the case is in the space of the templates, coordinates in mm relate the voxels of both, whatever the spacings.
//! Otherwise the template is registered to the case, once: the transform is stored with the prepared cases, in
//! `CACHE/placements`.

mod frame;
mod registered;

use std::fmt;
use std::path::Path;

use brainmvp_objectives::{FrozenTemplates, Placement};
use brainmvp_volume::{Affine, Grid, Modality};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::frame::TemplateFrame;
pub(crate) use self::frame::is_same_spacing;
use self::registered::{Candidates, Registered};
use crate::Result;
use crate::batches::CaseSource;

/// How templates are placed on a case.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PlacementRule {
    /// By coordinates if the case is in the space of the templates, otherwise by registration.
    #[default]
    Auto,
    /// By coordinates, whatever the spaces.
    World,
    /// By registration, whatever the spaces.
    Register,
    /// By coordinates if the case is in the space of the templates; any other case is left out by name.
    Refuse,
    /// Voxel by voxel with the centres aligned, whatever the spacings and spaces, as in the authors' released program.
    Centre,
}

/// How templates were placed on a case.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum How {
    /// Voxel by voxel, with the centres aligned.
    Centred,
    /// By coordinates in mm.
    World,
    /// By registration of the template of a modality.
    Registered {
        /// The modality.
        modality: Modality,
        /// The similarity of template and image; see [`brainmvp_registration::Registration::similarity`].
        similarity: f64,
    },
}

impl fmt::Display for How {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Centred => f.write_str("centre on centre, voxel by voxel"),
            Self::World => f.write_str("by their coordinates"),
            Self::Registered { modality, similarity } => {
                write!(f, "registered to the {modality} image (similarity {similarity:.3})")
            }
        }
    }
}

/// The result of placing templates on a case.
#[derive(Debug, Clone, PartialEq)]
pub enum Placed {
    /// They were placed.
    At(Placement, How),
    /// They could not be registered, for this reason: the case goes without templates.
    Nowhere(String),
    /// [`PlacementRule::Refuse`] refuses the case for this reason.
    Refused(String),
}

/// The templates of a pre-training run, and what is known of their position.
#[derive(Debug, Clone, PartialEq)]
pub struct TemplateSet {
    /// The volumes, and their grid if it is known.
    pub frozen: FrozenTemplates,
    /// The frame that they were learnt in; `None` if the file does not say.
    pub frame: Option<TemplateFrame>,
}

impl TemplateSet {
    /// Those of some modalities.
    pub fn only(&self, modalities: &[Modality]) -> Self {
        Self { frozen: self.frozen.only(modalities), frame: self.frame.clone() }
    }
}

/// Places templates on cases.
pub struct Placer<'a> {
    templates: &'a TemplateSet,
    rule: PlacementRule,
    candidates: Candidates<'a>,
}

impl<'a> Placer<'a> {
    /// Transforms are stored in the folder `cache` of prepared cases, if there is one.
    pub fn new(templates: &'a TemplateSet, rule: PlacementRule, cache: Option<&Path>) -> Self {
        let grid = templates.frozen.grid().unwrap_or_else(|| assumed_grid(templates.frozen.size()));
        let store = cache.map(|cache| cache.join("placements"));
        Self { templates, rule, candidates: Candidates::new(&templates.frozen, grid, store) }
    }

    /// Places the templates on a case.
    ///
    /// # Errors
    /// If the case cannot be read, or the folder of transforms cannot be written.
    pub fn place(&self, case: &CaseSource) -> Result<Placed> {
        match self.by_coordinates(case) {
            Some(placed) => Ok(placed),
            None => self.by_registration(case),
        }
    }

    /// Whether the templates have to be registered to a case, because they cannot or should not be placed by coordinates.
    pub fn must_register(&self, case: &CaseSource) -> bool {
        self.by_coordinates(case).is_none()
    }

    /// A placement without registration; `None` if registration is necessary.
    fn by_coordinates(&self, case: &CaseSource) -> Option<Placed> {
        let frozen = &self.templates.frozen;
        let centred = || Placed::At(Placement::centred(case, frozen.size()), How::Centred);
        let world = |grid: &Grid| match Placement::between(&case.grid(), grid) {
            Some(placement) => Placed::At(placement, How::World),
            None => Placed::Nowhere("the affine of the templates has no inverse".to_owned()),
        };
        let apart = match (self.rule, frozen.grid()) {
            (PlacementRule::Centre, _) => return Some(centred()),
            (PlacementRule::World, Some(grid)) => return Some(world(&grid)),
            (PlacementRule::World, None) => {
                return Some(Placed::Nowhere("the position of the templates is not known".to_owned()));
            }
            (PlacementRule::Register, _) => return None,
            (PlacementRule::Auto | PlacementRule::Refuse, Some(grid)) => {
                let frame = self.templates.frame.clone().unwrap_or_else(|| TemplateFrame::of_grid(&grid));
                match frame.apart_from(case) {
                    None => return Some(world(&grid)),
                    Some(reason) => reason,
                }
            }
            // The published file of weights does not contain the position of its templates; they have the size of the
            // registered volumes.
            (PlacementRule::Auto | PlacementRule::Refuse, None) => {
                let (ours, theirs) = (case.registered_grid().shape, frozen.size());
                if ours == theirs {
                    return Some(centred());
                }
                format!(
                    "the position of the templates is not known, and their size {theirs:?} is not that of the registered \
                     volume, {ours:?}"
                )
            }
        };
        (self.rule == PlacementRule::Refuse).then_some(Placed::Refused(apart))
    }

    /// The result of the registration, now or earlier.
    fn by_registration(&self, case: &CaseSource) -> Result<Placed> {
        let found = match self.candidates.register(case)? {
            Ok(found) => found,
            Err(reason) => return Ok(Placed::Nowhere(reason)),
        };
        let Registered { modality, similarity, transform } = found;
        let placement = self.candidates.grid().affine.inverse().map(|to_voxels| {
            let to_template = Affine::from_rows(transform).after(&case.grid().affine);
            Placement::new(to_voxels.after(&to_template), case.grid().shape)
        });
        Ok(match placement {
            Some(placement) => Placed::At(placement, How::Registered { modality, similarity }),
            None => Placed::Nowhere("the affine of the templates has no inverse".to_owned()),
        })
    }
}

/// Voxels of 1 mm around the origin: the grid of templates without a known one.
pub(crate) fn assumed_grid(size: [usize; 3]) -> Grid {
    let first = size.map(|voxels| -(voxels.saturating_sub(1) as f64) / 2.0);
    Grid::new(size, Affine::from_spacing([1.0; 3], first))
}
