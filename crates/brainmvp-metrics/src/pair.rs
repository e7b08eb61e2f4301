//! A predicted and a true mask, from which all segmentation metrics are computed.

use std::sync::OnceLock;

use brainmvp_volume::Affine;
use serde::{Deserialize, Serialize};

use crate::mask::{Axes, distances};
use crate::{Error, Mask, Result};

/// Which of the two masks of a pair is empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Emptiness {
    /// None: every metric is defined by its formula.
    Neither,
    /// Both: the structure is absent, as predicted.
    Both,
    /// Only the prediction: the structure was missed.
    Prediction,
    /// Only the truth: a structure was predicted where there is none.
    Truth,
}

/// Two masks on one grid. Surfaces and distances are computed once, when the first metric needs them.
#[derive(Debug)]
pub struct MaskPair {
    prediction: Mask,
    truth: Mask,
    axes: Axes,
    voxel_mm3: f64,
    voxels: VoxelCounts,
    surfaces: OnceLock<SurfaceDistances>,
}

/// The numbers of voxels of a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VoxelCounts {
    /// In the prediction.
    pub prediction: usize,
    /// In the truth.
    pub truth: usize,
    /// In both.
    pub common: usize,
}

/// The distances between two surfaces in mm, ascending. They lead from every surface voxel of one to the nearest
/// surface voxel of the other, between voxel centres; infinite if the other mask is empty.
#[derive(Debug, Clone, PartialEq)]
pub struct SurfaceDistances {
    /// From the prediction's surface to the truth's.
    pub to_truth: Vec<f64>,
    /// From the truth's surface to the prediction's.
    pub to_prediction: Vec<f64>,
}

impl Emptiness {
    /// Its name in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Neither => "neither",
            Self::Both => "both",
            Self::Prediction => "prediction",
            Self::Truth => "truth",
        }
    }
}

impl MaskPair {
    /// A pair of masks with voxels placed by `affine`, which may be sheared: distances are those in the world.
    ///
    /// # Errors
    /// [`Error::Grids`] if their shapes differ, [`Error::Spacing`] if the affine is not usable: a voxel size that is not a
    /// positive number, or axes in one plane.
    pub fn new(prediction: Mask, truth: Mask, affine: &Affine) -> Result<Self> {
        if prediction.shape() != truth.shape() {
            let shape = |mask: &Mask| format!("shape {:?}", mask.shape());
            return Err(Error::Grids { prediction: shape(&prediction), truth: shape(&truth) });
        }
        if !affine.is_usable() {
            return Err(Error::Spacing(affine.spacing_mm()));
        }
        Ok(Self::on(prediction, truth, Axes::of(affine), affine.linear().determinant().abs()))
    }

    /// The prediction and the truth.
    pub(crate) fn masks(&self) -> [&Mask; 2] {
        [&self.prediction, &self.truth]
    }

    /// The axes of their grid.
    pub(crate) fn axes(&self) -> &Axes {
        &self.axes
    }

    /// A pair of parts of these masks, on a part of their grid.
    pub(crate) fn part(&self, [prediction, truth]: [Mask; 2]) -> Self {
        Self::on(prediction, truth, self.axes.clone(), self.voxel_mm3)
    }

    fn on(prediction: Mask, truth: Mask, axes: Axes, voxel_mm3: f64) -> Self {
        let voxels = VoxelCounts {
            prediction: prediction.count(),
            truth: truth.count(),
            common: prediction.common(&truth),
        };
        Self { prediction, truth, axes, voxel_mm3, voxels, surfaces: OnceLock::new() }
    }

    /// Which mask is empty.
    pub fn emptiness(&self) -> Emptiness {
        match (self.voxels.prediction, self.voxels.truth) {
            (0, 0) => Emptiness::Both,
            (0, _) => Emptiness::Prediction,
            (_, 0) => Emptiness::Truth,
            _ => Emptiness::Neither,
        }
    }

    /// The number of voxels in each mask and in both.
    pub fn voxels(&self) -> VoxelCounts {
        self.voxels
    }

    /// The distances between the surfaces.
    pub fn surface_distances(&self) -> &SurfaceDistances {
        self.surfaces.get_or_init(|| {
            let (prediction, truth) = rayon::join(|| self.prediction.surface(), || self.truth.surface());
            let sorted = |from, to| {
                let mut distances = distances(from, to, &self.axes);
                distances.sort_unstable_by(f64::total_cmp);
                distances
            };
            let (to_truth, to_prediction) =
                rayon::join(|| sorted(&prediction, &truth), || sorted(&truth, &prediction));
            SurfaceDistances { to_truth, to_prediction }
        })
    }

    /// The volume of a voxel, mm^3.
    pub fn voxel_mm3(&self) -> f64 {
        self.voxel_mm3
    }

    /// The diagonal of the grid, mm. No two voxels are further apart.
    pub fn diagonal_mm(&self) -> f64 {
        self.axes.diagonal_mm(self.truth.shape())
    }
}
