//! A cohort of phantoms: plausible multi-parametric brain MRI, generated from a seed.
//!
//! A [`Subject`] is drawn (pose, folds, ventricles, vessels, lesions, site, available modalities) and then rendered: a
//! model of the anatomy in standard space says which tissues a voxel holds, the equations of the pulse sequences turn
//! their relaxation, density and diffusion into signals, and a model of the scanner adds shading, thick slices and noise.
//! All cases are on one grid, registered up to small differences in pose and shape.
//!
//! The same configuration gives the same bits on every machine and with any number of threads: the arithmetic is
//! IEEE addition, multiplication, division and square root, and the `libm` crate's logarithm and exponential.

mod acquire;
mod anatomy;
mod cortex;
mod head;
mod lesion;
mod random;
mod sequence;
mod shape;
mod site;
mod subject;
#[cfg(test)]
mod tests;
mod tissue;
mod vessels;
mod waves;
mod write;

use brainmvp_cohort::{Error, Result};
use brainmvp_volume::{Affine, Grid, Modality};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use anatomy::brain_depth_mm;
pub use lesion::{Disease, Grade, LABEL_CORE, LABEL_ENHANCING, LABEL_OEDEMA};
pub use subject::{PhantomCase, Subject, draw_subject};
pub use write::write_cohort;

/// What to generate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PhantomConfig {
    /// Number of cases.
    pub cases: usize,
    /// Voxels along the longest side (front to back) of every volume. The field of view is always the same, so this
    /// decides the spacing: 192 mm / `size` for stripped brains, 240 mm / `size` for whole heads.
    pub size: usize,
    /// The seed of everything.
    pub seed: u64,
    /// The modalities to make.
    pub modalities: Vec<Modality>,
    /// Chance that a modality of a case is missing; one always stays.
    pub missing_rate: f64,
    /// Number of sites that the cases come from.
    pub sites: usize,
    /// How often each disease occurs.
    pub lesions: DiseaseMix,
    /// Share of the gliomas that are of high grade.
    pub high_grade_share: f64,
    /// Brains alone or whole heads.
    pub head: Head,
    /// Largest rotation left by registration about each axis, in degrees.
    pub rotation_deg: f64,
    /// Largest translation left by registration along each axis, in mm.
    pub translation_mm: f64,
    /// Deviation of the smooth deformation, in mm.
    pub deformation_mm: f64,
}

impl Default for PhantomConfig {
    fn default() -> Self {
        Self {
            cases: 16,
            size: 96,
            seed: 0,
            modalities: Modality::ALL.to_vec(),
            missing_rate: 0.2,
            sites: 3,
            lesions: DiseaseMix::default(),
            high_grade_share: 0.5,
            head: Head::Stripped,
            rotation_deg: 3.0,
            translation_mm: 2.0,
            deformation_mm: 2.0,
        }
    }
}

impl PhantomConfig {
    /// The grid of all cases: cubic voxels over the field of view, whose longest side `size` divides.
    pub fn grid(&self) -> Grid {
        // mm along x, y and z, and the centre: the MNI brain, or a head with nose and neck.
        let (view, centre) = match self.head {
            Head::Stripped => ([160.0, 192.0, 160.0], [0.0, -17.0, 5.0]),
            Head::Whole => ([192.0, 240.0, 208.0], [0.0, -6.0, -14.0]),
        };
        let spacing = view[1] / self.size.max(1) as f64;
        let shape = view.map(|mm: f64| (mm / spacing).round().max(1.0) as usize);
        let origin = std::array::from_fn(|axis| centre[axis] - 0.5 * spacing * (shape[axis] as f64 - 1.0));
        Grid::new(shape, Affine::from_spacing([spacing; 3], origin))
    }

    /// Refuses what cannot be made.
    ///
    /// # Errors
    /// [`Error::Option`] naming the field: a size outside 16 to 512, a share outside 0 to 1, no site, no modality,
    /// no disease.
    pub fn check(&self) -> Result<()> {
        let refuse = |what: String| Err(Error::Option(format!("phantom: {what}")));
        if !(16..=512).contains(&self.size) {
            return refuse(format!("size is {}, but must be from 16 to 512", self.size));
        }
        for (name, share) in
            [("missing_rate", self.missing_rate), ("high_grade_share", self.high_grade_share)]
        {
            if !(0.0..=1.0).contains(&share) {
                return refuse(format!("{name} is {share}, but must be from 0 to 1"));
            }
        }
        for (name, limit) in [
            ("rotation_deg", self.rotation_deg),
            ("translation_mm", self.translation_mm),
            ("deformation_mm", self.deformation_mm),
        ] {
            if !(0.0..=10.0).contains(&limit) {
                return refuse(format!("{name} is {limit}, but must be from 0 to 10"));
            }
        }
        if self.sites == 0 || self.modalities.is_empty() {
            return refuse("at least one site and one modality are needed".to_owned());
        }
        let total: f64 = self.lesions.weights().iter().sum();
        if !(total > 0.0 && total.is_finite()) {
            return refuse("no disease has a positive, finite weight in lesions".to_owned());
        }
        Ok(())
    }
}

/// What of the head is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Head {
    /// The brain; everything else is exactly 0.
    #[default]
    Stripped,
    /// The whole head.
    Whole,
}

/// How often each disease occurs, relative to the others.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DiseaseMix {
    /// How often there is no lesion, relative to the others.
    pub healthy: f64,
    /// How often gliomas of low and high grade.
    pub glioma: f64,
    /// How often metastases.
    pub metastases: f64,
    /// How often acute infarcts.
    pub stroke: f64,
    /// How often vestibular schwannomas.
    pub schwannoma: f64,
}

/// Gliomas alone: one label scheme, and the grades as classes, so that a cohort serves every command.
impl Default for DiseaseMix {
    fn default() -> Self {
        Self::only(Disease::Glioma)
    }
}

impl DiseaseMix {
    /// Some of each. The label maps of different diseases mean different things.
    pub const MIXED: Self =
        Self { healthy: 0.15, glioma: 0.4, metastases: 0.15, stroke: 0.2, schwannoma: 0.1 };

    /// No disease yet.
    pub const NONE: Self = Self { healthy: 0.0, glioma: 0.0, metastases: 0.0, stroke: 0.0, schwannoma: 0.0 };

    /// Only this disease.
    pub fn only(disease: Disease) -> Self {
        let weight = |other| if other == disease { 1.0 } else { 0.0 };
        let [healthy, glioma, metastases, stroke, schwannoma] = Disease::ALL.map(weight);
        Self { healthy, glioma, metastases, stroke, schwannoma }
    }

    /// The weights in the order of [`Disease::ALL`]; negative and undefined ones count as 0.
    fn weights(&self) -> [f64; 5] {
        [self.healthy, self.glioma, self.metastases, self.stroke, self.schwannoma].map(|w| w.max(0.0))
    }
}
