//! A cohort of phantoms: plausible multi-parametric brain MRI, made from nothing but a seed.
//!
//! A [`Subject`] is drawn (pose, folds, ventricles, vessels, lesions, site, which modalities there are) and then
//! rendered: a model of the anatomy in standard space says which tissues a voxel holds, the equations of the
//! pulse sequences turn their relaxation, density and diffusion into signals, and a model of the scanner adds
//! shading, thick slices and noise. All cases lie on one grid, registered up to a small rest of pose and shape.
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
mod tissue;
mod vessels;
mod waves;

use brainmvp_volume::Modality;
use serde::{Deserialize, Serialize};

pub use lesion::{Disease, Grade, LABEL_CORE, LABEL_ENHANCING, LABEL_OEDEMA};
pub use subject::{PhantomCase, Subject, draw_subject};

/// What to generate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PhantomConfig {
    /// Number of cases.
    pub cases: usize,
    /// Voxels along the longest side (front to back) of every volume. The field of view is always the same, so
    /// this sets the spacing: 192 mm / `size` for stripped brains, 240 mm / `size` for whole heads.
    pub size: usize,
    /// The seed of everything.
    pub seed: u64,
    /// The modalities to make.
    pub modalities: Vec<Modality>,
    /// Chance of each modality of a case to be missing; one always stays.
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

/// What of the head is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Head {
    /// The brain; everything else is exactly 0.
    #[default]
    Stripped,
    /// The whole head.
    Whole,
}

/// How often each disease occurs, relative to the others.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DiseaseMix {
    /// No lesion.
    pub healthy: f64,
    /// Gliomas of low and high grade.
    pub glioma: f64,
    /// Metastases.
    pub metastases: f64,
    /// Acute infarcts.
    pub stroke: f64,
    /// Vestibular schwannomas.
    pub schwannoma: f64,
}

impl Default for DiseaseMix {
    fn default() -> Self {
        Self { healthy: 0.15, glioma: 0.4, metastases: 0.15, stroke: 0.2, schwannoma: 0.1 }
    }
}

impl DiseaseMix {
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
