//! The ascent to the pose of highest similarity: BFGS with a backtracking line search (Nocedal and Wright, Numerical
//! Optimization, chapter 6), in parameters scaled so that one unit is a millimetre.

use nalgebra::{DMatrix, DVector};

use crate::motion::{Directions, Pose};
use crate::mutual_information::{Comparison, Likeness};

/// How far and how finely to climb.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ascent {
    /// The longest step, in mm.
    pub(crate) longest_mm: f64,
    /// A step shorter than this ends the climb, in mm.
    pub(crate) shortest_mm: f64,
    pub(crate) iterations: usize,
}

/// Where a climb ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Summit {
    pub(crate) pose: Pose,
    pub(crate) likeness: Likeness,
    pub(crate) iterations: usize,
}

/// The share of the gain predicted by the gradient that a step must achieve.
const SUFFICIENT: f64 = 1e-4;
/// How often a step is shortened before its direction is abandoned.
const SHORTENINGS: usize = 6;

impl Ascent {
    /// Climbs from a pose; `None` if no point falls into the moving image there.
    pub(crate) fn climb(
        &self,
        comparison: &mut Comparison<'_>,
        directions: &Directions,
        start: Pose,
    ) -> Option<Summit> {
        let size = directions.count();
        let (mut pose, mut likeness, mut gradient) = (start, None, DVector::zeros(0));
        let look = |comparison: &mut Comparison<'_>, pose: &Pose| {
            let (likeness, forces) = comparison.likeness_and_forces(pose)?;
            Some((likeness, directions.gradient(pose, &forces.moments, &forces.total)))
        };
        if let Some((found, slope)) = look(comparison, &pose) {
            (likeness, gradient) = (Some(found), slope);
        }
        let mut likeness = likeness?;
        // The negated inverse of the curvature; unknown at first.
        let mut bend: Option<DMatrix<f64>> = None;
        let mut iterations = 0;
        while iterations < self.iterations && gradient.norm() > 0.0 {
            iterations += 1;
            let newton = bend.as_ref().map(|bend| bend * &gradient).filter(|step| step.dot(&gradient) > 0.0);
            let first = newton.is_none();
            let mut step = newton.unwrap_or_else(|| &gradient * (0.5 * self.longest_mm / gradient.norm()));
            if step.norm() > self.longest_mm {
                step *= self.longest_mm / step.norm();
            }
            let mut next = None;
            for _ in 0..SHORTENINGS {
                let there = directions.step(&pose, &step);
                let promised = SUFFICIENT * step.dot(&gradient);
                match look(comparison, &there) {
                    Some((found, slope)) if found.information > likeness.information + promised => {
                        next = Some((there, found, slope));
                        break;
                    }
                    _ => step *= 0.4,
                }
                if step.norm() < self.shortest_mm {
                    break;
                }
            }
            let Some((there, found, slope)) = next else {
                // If the curvature no longer helps, it is reset once and the search continues along the gradient.
                if first {
                    break;
                }
                bend = None;
                continue;
            };
            let change = &gradient - &slope;
            let curved = change.dot(&step);
            if curved > 1e-12 * change.norm() * step.norm() {
                let before = bend
                    .take()
                    .unwrap_or_else(|| DMatrix::identity(size, size) * (curved / change.norm_squared()));
                bend = Some(updated(before, &step, &change, curved));
            }
            (pose, likeness, gradient) = (there, found, slope);
            if step.norm() < self.shortest_mm {
                break;
            }
        }
        Some(Summit { pose, likeness, iterations })
    }
}

/// The BFGS update of the inverse curvature.
fn updated(bend: DMatrix<f64>, step: &DVector<f64>, change: &DVector<f64>, curved: f64) -> DMatrix<f64> {
    let bent = &bend * change;
    let along = (curved + change.dot(&bent)) / (curved * curved);
    &bend + step * step.transpose() * along - (&bent * step.transpose() + step * bent.transpose()) / curved
}
