//! Scoring lesion by lesion, as the BraTS 2023 challenges do.
//!
//! - **Lesions.** The truth is dilated; each connected component of the result (26-neighbourhood) is the extent of a
//!   lesion, and the true voxels in it are the lesion. So parts that lie close together are one lesion.
//! - **Matching.** A predicted component (26-neighbourhood, not dilated) belongs to every lesion whose extent it meets,
//!   even where it has no voxel in common with the lesion itself. A lesion with a component is found, otherwise missed. A
//!   component of no lesion is a false alarm, however small it is.
//! - **Small lesions** are left out. A component that meets one is no false alarm.
//! - **Scores.** Dice and HD95 of a lesion are those of the lesion and all of its components, each as a whole. A missed
//!   lesion and a false alarm have Dice 0 and the penalty as HD95. The score of the case is the mean over lesions and
//!   false alarms; with neither, Dice is 1 and HD95 is 0 mm.
//!
//! This HD95 is over the area of the surface, unlike the metric `hd95_mm`. `docs/metrics.md` says more of the rule.

mod surface;

use std::collections::BTreeSet;

use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::mask::{Mask, Run, overlaps};
use crate::{Error, MaskPair, Result};

/// The most dilations: far beyond what any lesion needs.
const MOST_DILATIONS: u32 = 100;

/// Lesions that exceed the limit by less than this fraction of it are still left out: the rounding of a product such as
/// 50 voxels of 1 mm^3 must not be decisive.
const ROUNDING: f64 = 1e-6;

/// How lesions are told apart, and which of them count.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LesionRule {
    /// How often the truth is dilated by one voxel (18-neighbourhood): what this joins is one lesion, and what it
    /// meets is matched.
    pub dilations: u32,
    /// Lesions of at most this volume in mm^3 are left out.
    pub ignored_mm3: f64,
    /// HD95 in mm of a missed lesion and of a false alarm.
    pub penalty_mm: f64,
}

/// A rule by the name of its challenge.
#[derive(Debug)]
pub struct NamedRule {
    /// Its name in options.
    pub name: &'static str,
    /// The challenge.
    pub about: &'static str,
    /// The rule.
    pub rule: LesionRule,
}

/// About the diagonal of the grid of BraTS, 240 x 240 x 155 mm.
const BRATS_PENALTY_MM: f64 = 374.0;

const fn brats(dilations: u32, ignored_mm3: f64) -> LesionRule {
    LesionRule { dilations, ignored_mm3, penalty_mm: BRATS_PENALTY_MM }
}

/// The rules of the BraTS 2023 challenges.
pub static LESION_RULES: [NamedRule; 5] = [
    NamedRule { name: "gli", about: "BraTS 2023, adult glioma", rule: brats(3, 50.0) },
    NamedRule { name: "ssa", about: "BraTS 2023, glioma in Sub-Saharan Africa", rule: brats(3, 50.0) },
    NamedRule { name: "men", about: "BraTS 2023, meningioma", rule: brats(1, 50.0) },
    NamedRule { name: "ped", about: "BraTS 2023, paediatric tumours", rule: brats(3, 50.0) },
    NamedRule { name: "met", about: "BraTS 2023, metastases", rule: brats(1, 2.0) },
];

/// The lesions of a pair of masks, by a rule.
#[derive(Debug)]
pub struct Lesions<'a> {
    pair: &'a MaskPair,
    penalty_mm: f64,
    /// The runs of the truth, by lesion.
    truth: Vec<Run>,
    /// The runs of the prediction, by component.
    prediction: Vec<Run>,
    counted: Vec<Lesion>,
    left_out: usize,
    false_alarms: usize,
}

/// A lesion of the truth, with the predicted components that belong to it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lesion {
    /// Its number among the runs of the truth.
    part: u32,
    components: BTreeSet<u32>,
    voxels: usize,
    predicted: usize,
    common: usize,
}

impl Default for LesionRule {
    fn default() -> Self {
        LESION_RULES[0].rule
    }
}

impl LesionRule {
    /// The rule with this name, such as `met`.
    pub fn named(name: &str) -> Option<Self> {
        LESION_RULES.iter().find(|named| named.name == name).map(|named| named.rule)
    }

    /// Refuses values that are impossible.
    ///
    /// # Errors
    /// [`Error::Config`] with the field.
    pub fn validate(&self) -> Result<()> {
        let refuse = |field, value: String, expected: &str| {
            Err(Error::Config { field, value, expected: expected.to_owned() })
        };
        if self.dilations > MOST_DILATIONS {
            return refuse("lesions.dilations", self.dilations.to_string(), "100 at most");
        }
        if !(self.ignored_mm3.is_finite() && self.ignored_mm3 >= 0.0) {
            return refuse("lesions.ignored_mm3", self.ignored_mm3.to_string(), "a volume of 0 mm^3 or more");
        }
        if !(self.penalty_mm.is_finite() && self.penalty_mm > 0.0) {
            return refuse("lesions.penalty_mm", self.penalty_mm.to_string(), "a distance above 0 mm");
        }
        Ok(())
    }

    /// The lesions of the truth of a pair, matched with its prediction.
    pub fn find<'a>(&self, pair: &'a MaskPair) -> Lesions<'a> {
        let [prediction, truth] = pair.masks();
        let (extents, predicted) =
            rayon::join(|| truth.dilated(self.dilations).components(), || prediction.components());
        // A run of the truth lies in one run of its dilation.
        let truth: Vec<Run> =
            overlaps(&truth.runs(), &extents.runs).map(|(run, extent, _)| run.of_part(extent.part)).collect();
        let mut lesions: Vec<Lesion> =
            (0..extents.count).map(|part| Lesion { part: part as u32, ..Lesion::default() }).collect();
        for run in &truth {
            lesions[run.part as usize].voxels += run.voxels();
        }
        let mut sizes = vec![0; predicted.count];
        for run in &predicted.runs {
            sizes[run.part as usize] += run.voxels();
        }
        let mut belongs = vec![false; predicted.count];
        for (extent, run, _) in overlaps(&extents.runs, &predicted.runs) {
            let lesion = &mut lesions[extent.part as usize];
            if lesion.components.insert(run.part) {
                lesion.predicted += sizes[run.part as usize];
                belongs[run.part as usize] = true;
            }
        }
        for (run, _, common) in overlaps(&truth, &predicted.runs) {
            lesions[run.part as usize].common += common;
        }
        let limit_mm3 = self.ignored_mm3 * (1.0 + ROUNDING);
        let all = lesions.len();
        lesions.retain(|lesion| lesion.voxels as f64 * pair.voxel_mm3() > limit_mm3);
        Lesions {
            pair,
            penalty_mm: self.penalty_mm,
            truth,
            prediction: predicted.runs,
            left_out: all - lesions.len(),
            counted: lesions,
            false_alarms: belongs.iter().filter(|belongs| !**belongs).count(),
        }
    }
}

impl Lesion {
    /// The number of voxels.
    pub fn voxels(&self) -> usize {
        self.voxels
    }

    /// Whether a predicted component belongs to it.
    pub fn is_found(&self) -> bool {
        !self.components.is_empty()
    }

    /// Dice of the lesion and its components; 0 if it was missed.
    pub fn dice(&self) -> f64 {
        2.0 * self.common as f64 / (self.voxels + self.predicted) as f64
    }
}

impl Lesions<'_> {
    /// The lesions that count, in the order of their first voxels.
    pub fn counted(&self) -> &[Lesion] {
        &self.counted
    }

    /// How many lesions are too small to count.
    pub fn left_out(&self) -> usize {
        self.left_out
    }

    /// Lesions that were found.
    pub fn true_positives(&self) -> usize {
        self.counted.iter().filter(|lesion| lesion.is_found()).count()
    }

    /// Lesions that were missed.
    pub fn false_negatives(&self) -> usize {
        self.counted.len() - self.true_positives()
    }

    /// Predicted components that belong to no lesion.
    pub fn false_positives(&self) -> usize {
        self.false_alarms
    }

    /// The mean Dice over lesions and false alarms; 1 if there are none.
    pub fn dice(&self) -> f64 {
        self.mean(self.counted.iter().map(Lesion::dice).sum()).unwrap_or(1.0)
    }

    /// The mean HD95 over lesions and false alarms, mm; 0 if there are none.
    pub fn hd95_mm(&self) -> f64 {
        // Summed in order: the sum must not depend on the number of threads.
        let of_lesions: Vec<f64> = self.counted.par_iter().map(|lesion| self.hd95_of(lesion)).collect();
        self.mean(of_lesions.iter().sum::<f64>() + self.false_alarms as f64 * self.penalty_mm).unwrap_or(0.0)
    }

    /// HD95 of a lesion and its components, mm; the penalty if it was missed.
    pub fn hd95_of(&self, lesion: &Lesion) -> f64 {
        if !lesion.is_found() {
            return self.penalty_mm;
        }
        let truth: Vec<Run> = self.truth.iter().filter(|run| run.part == lesion.part).copied().collect();
        let belongs = |run: &&Run| lesion.components.contains(&run.part);
        let prediction: Vec<Run> = self.prediction.iter().filter(belongs).copied().collect();
        surface::hd95_mm(&self.pair.part(Mask::around([&prediction, &truth])))
    }

    /// A sum over lesions and false alarms, divided by their number; `None` if there are none.
    fn mean(&self, sum: f64) -> Option<f64> {
        let count = self.counted.len() + self.false_alarms;
        (count > 0).then(|| sum / count as f64)
    }
}

#[cfg(test)]
mod tests;
