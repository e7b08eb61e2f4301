//! The axes of a grid, as far as distances need them.

use brainmvp_volume::Affine;

/// Axes count as being at right angles up to this cosine: an affine is stored in single precision. Taking them as exactly
/// so changes a distance by half of that part.
const ROUNDING: f64 = 1e-5;

/// The steps in mm of a voxel along x, y and z.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Axes {
    /// Turned back where they are at right angles: then step `i` has only coordinate `i`.
    steps_mm: [[f64; 3]; 3],
    spacing_mm: [f64; 3],
    is_sheared: bool,
}

impl Axes {
    /// Those of a usable affine.
    pub(crate) fn of(affine: &Affine) -> Self {
        let (linear, spacing_mm) = (affine.linear(), affine.spacing_mm());
        let cosine = |a: usize, b: usize| {
            linear.column(a).dot(&linear.column(b)).abs() / (spacing_mm[a] * spacing_mm[b])
        };
        let is_sheared = [(0, 1), (0, 2), (1, 2)].into_iter().any(|(a, b)| cosine(a, b) > ROUNDING);
        let straight = Affine::from_spacing(spacing_mm, [0.0; 3]).linear();
        let steps = if is_sheared { linear } else { straight };
        Self {
            steps_mm: std::array::from_fn(|axis| steps.column(axis).into_owned().into()),
            spacing_mm,
            is_sheared,
        }
    }

    /// Whether the axes are not at right angles.
    pub(crate) fn is_sheared(&self) -> bool {
        self.is_sheared
    }

    /// The voxel size along x, y and z, mm.
    pub(crate) fn spacing_mm(&self) -> [f64; 3] {
        self.spacing_mm
    }

    /// Where a voxel is, mm from the first, in directions that are at right angles.
    pub(crate) fn place(&self, voxel: [f64; 3]) -> [f64; 3] {
        std::array::from_fn(|i| (0..3).map(|axis| voxel[axis] * self.steps_mm[axis][i]).sum())
    }

    /// The longest diagonal of a box of `shape` voxels, mm.
    pub(crate) fn diagonal_mm(&self, shape: [usize; 3]) -> f64 {
        let [x, y, z] = shape.map(|count| count as f64);
        let length = |corner: [f64; 3]| self.place(corner).iter().map(|mm| mm * mm).sum::<f64>().sqrt();
        [[x, y, z], [x, y, -z], [x, -y, z], [x, -y, -z]].map(length).into_iter().fold(0.0, f64::max)
    }
}
