//! The allowed maps, and steps between them.

use nalgebra::{DVector, Matrix3, Vector3};
use serde::{Deserialize, Serialize};

use crate::Transform;

/// How the head may differ between the two images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Motion {
    /// Rotation and translation, 6 parameters: one head, scanned twice.
    Rigid,
    /// Also scales and shears, 12 parameters: two heads, or a head and an atlas.
    Affine,
}

/// A map during the search: `x -> linear (x - centre) + image`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pose {
    pub(crate) centre: Vector3<f64>,
    pub(crate) linear: Matrix3<f64>,
    pub(crate) image: Vector3<f64>,
}

impl Pose {
    /// A transform as a pose about `centre`.
    #[cfg(test)]
    pub(crate) fn of(transform: &Transform, centre: Vector3<f64>) -> Self {
        Self { centre, linear: transform.linear(), image: transform.apply(centre.into()).into() }
    }

    pub(crate) fn transform(&self) -> Transform {
        Transform::about(self.centre, self.linear, self.image)
    }
}

/// The directions in which a pose can change. One unit along each moves the head by about a millimetre.
#[derive(Debug, Clone)]
pub(crate) struct Directions {
    linear: Vec<Matrix3<f64>>,
}

impl Directions {
    /// The directions of a motion for a head whose points lie about `radius_mm` from its centre.
    pub(crate) fn new(motion: Motion, radius_mm: f64) -> Self {
        let unit = |row: usize, column: usize| {
            let mut matrix = Matrix3::zeros();
            matrix[(row, column)] = 1.0 / radius_mm;
            matrix
        };
        let pairs = [(2, 1), (0, 2), (1, 0)];
        let mut linear: Vec<_> = pairs.iter().map(|&(a, b)| unit(a, b) - unit(b, a)).collect();
        if motion == Motion::Affine {
            linear.extend((0..3).map(|axis| unit(axis, axis)));
            linear.extend(pairs.iter().map(|&(a, b)| unit(a, b) + unit(b, a)));
        }
        Self { linear }
    }

    /// The number of parameters.
    pub(crate) fn count(&self) -> usize {
        self.linear.len() + 3
    }

    /// The pose after a step. Linear changes multiply by the matrix exponential, so a rigid pose stays rigid.
    pub(crate) fn step(&self, pose: &Pose, step: &DVector<f64>) -> Pose {
        let mut change = Matrix3::zeros();
        for (direction, length) in self.linear.iter().zip(step.iter()) {
            change += direction * *length;
        }
        let shift = step.rows(self.linear.len(), 3);
        let image = pose.image + Vector3::new(shift[0], shift[1], shift[2]);
        Pose { centre: pose.centre, linear: change.exp() * pose.linear, image }
    }

    /// The gradient along the directions. `moments` is the sum over points of force times (x - centre) transposed,
    /// `total` the sum of forces, where a force is the gradient by the place in the moving image.
    pub(crate) fn gradient(&self, pose: &Pose, moments: &Matrix3<f64>, total: &Vector3<f64>) -> DVector<f64> {
        let turned = moments * pose.linear.transpose();
        let linear = self.linear.iter().map(|direction| direction.dot(&turned));
        DVector::from_iterator(self.count(), linear.chain(total.iter().copied()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rigid_steps_keep_lengths() {
        let directions = Directions::new(Motion::Rigid, 60.0);
        let mut pose = Pose::of(&Transform::identity(), Vector3::new(1.0, 2.0, 3.0));
        for i in 0..20 {
            pose = directions.step(&pose, &DVector::from_fn(6, |k, _| ((i * 7 + k * 3) % 11) as f64 - 4.0));
        }
        let transform = pose.transform();
        assert!(transform.scales().iter().all(|scale| (scale - 1.0).abs() < 1e-9));
        assert!(transform.rotation_deg() > 5.0);
    }
}
