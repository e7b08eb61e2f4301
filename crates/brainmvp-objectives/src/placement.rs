//! The position of the voxels of a case relative to those of a template.

use brainmvp_volume::{Affine, Grid};

use crate::patch::PatchSource;
use crate::templates::template_start;

/// The map from the voxels of a case to those of a template, `[x, y, z]` both.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Placement {
    /// The voxels of both coincide: this is added to an index, and values of the template are copied.
    Shift([isize; 3]),
    /// Any other map. Values of the template are interpolated.
    Affine(Affine),
}

/// A map that takes every voxel of a case this near to a voxel of the template, in voxels, is a shift.
const SAME_VOXEL: f64 = 1e-3;

impl Placement {
    /// The placement of a case of `shape` voxels whose indices `map` takes to those of a template.
    pub fn new(map: Affine, shape: [usize; 3]) -> Self {
        let origin = map.to_world([0.0; 3]).map(f64::round);
        let is_shift = (0..8).all(|corner| {
            let voxel: [f64; 3] = std::array::from_fn(|axis| {
                if corner >> axis & 1 == 1 { shape[axis].saturating_sub(1) as f64 } else { 0.0 }
            });
            let there = map.to_world(voxel);
            (0..3).all(|axis| (there[axis] - voxel[axis] - origin[axis]).abs() <= SAME_VOXEL)
        });
        // Further away everything is 0 in both cases.
        let is_near = origin.iter().all(|voxels| voxels.abs() < 1e9);
        if is_shift && is_near {
            Self::Shift(origin.map(|voxels| voxels as isize))
        } else {
            Self::Affine(map)
        }
    }

    /// The placement of two grids by coordinates. `None` if the template's affine has no inverse.
    pub fn between(case: &Grid, template: &Grid) -> Option<Self> {
        let map = template.affine.inverse()?.after(&case.affine);
        map.matrix().iter().all(|value| value.is_finite()).then(|| Self::new(map, case.shape))
    }

    /// Voxel on voxel, the centre of the registered volume on that of the template, whatever the world says: what
    /// [`template_start`] does, and the authors' released program.
    pub fn centred<S: PatchSource>(case: &S, template: [usize; 3]) -> Self {
        Self::Shift(template_start(case, [0; 3], template))
    }

    /// The map of a patch that starts at a voxel of the case.
    pub(crate) fn of_patch(&self, start: [isize; 3]) -> Self {
        match self {
            Self::Shift(shift) => Self::Shift(std::array::from_fn(|axis| start[axis] + shift[axis])),
            Self::Affine(map) => {
                let start = Affine::from_spacing([1.0; 3], start.map(|voxel| voxel as f64));
                Self::Affine(map.after(&start))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn grids_of_one_spacing_are_shifted(
            shift in prop::array::uniform3(-20_isize..20), spacing in 0.5..4.0_f64,
            origin in prop::array::uniform3(-200.0..200.0_f64), off in prop::array::uniform3(-4e-4..4e-4_f64),
        ) {
            let template = Grid::new([40; 3], Affine::from_spacing([spacing; 3], origin));
            let first = template.affine.to_world(std::array::from_fn(|axis| shift[axis] as f64 + off[axis]));
            let case = Grid::new([30; 3], Affine::from_spacing([spacing; 3], first));
            prop_assert_eq!(Placement::between(&case, &template), Some(Placement::Shift(shift)));
        }
    }

    #[test]
    fn what_is_between_voxels_stays_there() {
        let template = Grid::new([40; 3], Affine::from_spacing([2.0; 3], [0.0; 3]));
        for (spacing, origin) in [(2.0, 1.0), (2.001, 0.0), (6.0, 0.0)] {
            let case = Grid::new([30; 3], Affine::from_spacing([spacing; 3], [origin; 3]));
            let placement = Placement::between(&case, &template);
            assert!(matches!(placement, Some(Placement::Affine(_))), "{spacing} {origin}: {placement:?}");
        }
        let flat = Grid::new([2; 3], Affine::from_spacing([1.0, 1.0, 0.0], [0.0; 3]));
        assert_eq!(Placement::between(&template, &flat), None);
    }
}
