//! From the header's sform, qform or voxel sizes to an affine, and back to a quaternion.

use nalgebra::{Matrix3, Rotation3, UnitQuaternion};

use super::layout::{Fields, Layout};
use crate::Affine;

/// Below this the quaternion's real part is rounding noise (the bound of the standard's reference code).
const QUATERNION_EPSILON: f64 = 1e-7;

/// Which of the standard's three methods places the voxels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placement {
    /// Method 3: the matrix `srow_x`, `srow_y`, `srow_z`, where `sform_code > 0`.
    Sform,
    /// Method 2: the quaternion, where `qform_code > 0`.
    Qform,
    /// Method 1: the voxel sizes alone; orientation and origin are not known.
    Spacing,
}

/// Where a header places the voxels.
pub(super) struct Placed {
    /// By the first method that the header has and that is not degenerate.
    pub(super) affine: Affine,
    /// That method.
    pub(super) placement: Placement,
    /// The affine of the qform where the sform was taken.
    pub(super) passed_over: Option<Affine>,
}

/// What a header says of the place of its voxels.
pub(super) fn from_header<B: AsRef<[u8]>>(fields: &Fields<B>, layout: &Layout, mm_per_unit: f64) -> Placed {
    let in_mm = |rows: [[f64; 4]; 3]| Affine::from_rows(rows.map(|row| row.map(|v| v * mm_per_unit)));
    let spacing = fields.floats::<3>(layout.pixdim, 1).map(usable_size);
    let sform = || in_mm(std::array::from_fn(|row| fields.floats(layout.srow_x, 4 * row)));
    let qform = || {
        let qfac = if fields.float(layout.pixdim, 0) < 0.0 { -1.0 } else { 1.0 };
        let rotation = rotation_of(fields.floats(layout.quatern_b, 0));
        let linear = rotation * Matrix3::from_diagonal(&[spacing[0], spacing[1], spacing[2] * qfac].into());
        let offset: [f64; 3] = fields.floats(layout.qoffset_x, 0);
        in_mm(std::array::from_fn(|r| [linear[(r, 0)], linear[(r, 1)], linear[(r, 2)], offset[r]]))
    };
    let valid = |code, affine: &dyn Fn() -> Affine| {
        (fields.integer(code, 0) > 0).then(affine).filter(Affine::is_usable)
    };
    match (valid(layout.sform_code, &sform), valid(layout.qform_code, &qform)) {
        (Some(affine), passed_over) => Placed { affine, placement: Placement::Sform, passed_over },
        (None, Some(affine)) => Placed { affine, placement: Placement::Qform, passed_over: None },
        (None, None) => {
            let affine = Affine::from_spacing(spacing.map(|size| size * mm_per_unit), [0.0; 3]);
            let affine = if affine.is_usable() { affine } else { Affine::from_spacing([1.0; 3], [0.0; 3]) };
            Placed { affine, placement: Placement::Spacing, passed_over: None }
        }
    }
}

/// A voxel size that is zero or missing counts as one; signs carry no meaning.
fn usable_size(size: f64) -> f64 {
    if size.is_finite() && size != 0.0 { size.abs() } else { 1.0 }
}

/// The rotation of a quaternion given by its three imaginary parts; if they are too long, they are scaled to a half turn.
fn rotation_of([b, c, d]: [f64; 3]) -> Matrix3<f64> {
    let length_squared = b * b + c * c + d * d;
    let (real, scale) = if 1.0 - length_squared < QUATERNION_EPSILON {
        (0.0, length_squared.sqrt().recip())
    } else {
        ((1.0 - length_squared).sqrt(), 1.0)
    };
    let [b, c, d] = [b, c, d].map(|v| v * scale);
    let a = real;
    Matrix3::new(
        a * a + b * b - c * c - d * d,
        2.0 * (b * c - a * d),
        2.0 * (b * d + a * c),
        2.0 * (b * c + a * d),
        a * a + c * c - b * b - d * d,
        2.0 * (c * d - a * b),
        2.0 * (b * d - a * c),
        2.0 * (c * d + a * b),
        a * a + d * d - b * b - c * c,
    )
}

/// The numbers of a qform.
pub(super) struct Qform {
    /// The imaginary parts of the quaternion; the real part is not negative.
    pub(super) bcd: [f64; 3],
    /// Whether the third axis is mirrored: -1 or 1.
    pub(super) qfac: f64,
}

/// The qform of an affine, or `None` if its axes are not at right angles, which a quaternion cannot express.
pub(super) fn to_qform(affine: &Affine) -> Option<Qform> {
    let spacing = affine.spacing_mm();
    let mut axes = affine.linear();
    for axis in 0..3 {
        axes.column_mut(axis).unscale_mut(spacing[axis]);
    }
    let right_angled = (axes.transpose() * axes - Matrix3::identity()).amax() < 1e-4;
    if !affine.is_usable() || !right_angled {
        return None;
    }
    let qfac = axes.determinant().signum();
    axes.column_mut(2).scale_mut(qfac);
    let quaternion = UnitQuaternion::from_rotation_matrix(&Rotation3::from_matrix_unchecked(axes));
    let sign = if quaternion.w < 0.0 { -1.0 } else { 1.0 };
    Some(Qform { bcd: [quaternion.i, quaternion.j, quaternion.k].map(|v| v * sign), qfac })
}
