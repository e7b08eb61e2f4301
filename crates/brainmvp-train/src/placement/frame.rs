//! The frame that templates were learnt in, and whether a case is in the same frame.

use brainmvp_prep::Space;
use brainmvp_prep::cache::GridRecord;
use brainmvp_registration::StandardSpace;
use brainmvp_volume::Grid;
use serde::{Deserialize, Serialize};

use crate::batches::CaseSource;
use crate::templates::most_frequent;

/// The registered volumes that templates were learnt from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TemplateFrame {
    /// The grid that most of them had before the crop.
    pub registered: GridRecord,
    /// Their space; `None` if they were not all in the same one.
    pub space: Option<Space>,
}

impl TemplateFrame {
    /// The frame of templates that are learnt from these cases; `None` if there are no cases.
    pub(crate) fn of(cases: &[CaseSource]) -> Option<Self> {
        let first = cases.first()?.space();
        let is_one = |case: &CaseSource| case.space() == first || case.space().is_shared_with(first);
        let space = cases.iter().all(is_one).then(|| first.clone());
        Some(Self { registered: *most_frequent(cases)?, space })
    }

    /// The cases whose registered volumes have another space or spacing than those of most cases, by index, with the
    /// reason.
    pub(crate) fn cases_of_other_spaces(cases: &[CaseSource]) -> Vec<(usize, String)> {
        let mut firsts: Vec<&CaseSource> = Vec::new();
        let group = |case| {
            firsts.iter().position(|first| are_alike(first, case)).unwrap_or_else(|| {
                firsts.push(case);
                firsts.len() - 1
            })
        };
        let groups: Vec<usize> = cases.iter().map(group).collect();
        let count = |group: &usize| groups.iter().filter(|other| *other == group).count();
        // In a tie, the first.
        let Some(most) = (0..firsts.len()).rev().max_by_key(count) else { return Vec::new() };
        let told = |case: &CaseSource| {
            let [x, y, z] = spacing_of(case);
            format!("{}, voxels of {x:.2} x {y:.2} x {z:.2} mm", case.space())
        };
        let ours = told(firsts[most]);
        let others = groups.iter().enumerate().filter(|(_, group)| **group != most);
        others.map(|(place, _)| (place, format!("{}, not {ours}", told(&cases[place])))).collect()
    }

    /// The frame of templates of which only the grid is known.
    pub(crate) fn of_grid(grid: &Grid) -> Self {
        let space = StandardSpace::of(grid).map_or(Space::Native, Space::Standard);
        Self { registered: GridRecord::from(grid), space: Some(space) }
    }

    /// Why a case is not in this frame; `None` if it is. It is if both belong to the same atlas or to the same standard
    /// space, or if both are native with registered volumes that fill the same box in space.
    pub(crate) fn apart_from(&self, case: &CaseSource) -> Option<String> {
        let space = case.space();
        match &self.space {
            Some(ours) if ours.is_shared_with(space) => None,
            Some(Space::Native) | None if *space == Space::Native => {
                let (ours, theirs) = (Grid::from(&self.registered), Grid::from(case.registered_grid()));
                let reason = "it is not registered to the templates' space, and its images are in another place \
                              than those that the templates were learnt from";
                (!fill_one_box(&ours, &theirs)).then(|| reason.to_owned())
            }
            Some(ours) => Some(format!("it is in {space}, and the templates were learnt in {ours}")),
            None => {
                Some(format!("it is in {space}, and the templates were learnt from cases of several spaces"))
            }
        }
    }
}

/// The voxel size of the registered volume, in mm.
fn spacing_of(case: &CaseSource) -> [f64; 3] {
    Grid::from(case.registered_grid()).affine.spacing_mm()
}

/// Voxel sizes that differ by more than this fraction are different.
const SAME_SPACING: f64 = 1e-3;

/// Whether the registered volumes of two cases have the same space and spacing.
fn are_alike(a: &CaseSource, b: &CaseSource) -> bool {
    (a.space() == b.space() || a.space().is_shared_with(b.space()))
        && is_same_spacing(spacing_of(a), spacing_of(b))
}

/// Whether voxel sizes in mm are the same but for rounding.
pub(crate) fn is_same_spacing(a: [f64; 3], b: [f64; 3]) -> bool {
    (0..3).all(|axis| (a[axis] - b[axis]).abs() <= SAME_SPACING * a[axis])
}

/// Whether the outermost voxel centres of two grids coincide, whatever the spacing: at each end of each axis, they may
/// differ by half a voxel of the one plus half a voxel of the other, which is as far as a change of spacing moves them.
fn fill_one_box(a: &Grid, b: &Grid) -> bool {
    let Some(to_a) = a.affine.inverse() else { return false };
    let to_a = to_a.after(&b.affine);
    let (of_a, of_b) = (a.affine.spacing_mm(), b.affine.spacing_mm());
    (0..8).all(|corner| {
        let end = |shape: [usize; 3]| -> [f64; 3] {
            std::array::from_fn(|axis| {
                if corner >> axis & 1 == 1 { shape[axis].saturating_sub(1) as f64 } else { 0.0 }
            })
        };
        let (ours, theirs) = (end(a.shape), to_a.to_world(end(b.shape)));
        (0..3).all(|axis| {
            (ours[axis] - theirs[axis]).abs() * of_a[axis] <= f64::midpoint(of_a[axis], of_b[axis])
        })
    })
}

#[cfg(test)]
mod tests {
    use brainmvp_volume::Affine;
    use brainmvp_volume::resample::grid_at_spacing;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn another_spacing_fills_the_same_box_and_another_place_does_not(
            shape in prop::array::uniform3(40_usize..80), origin in prop::array::uniform3(-100.0..100.0_f64),
            spacings in prop::array::uniform2(1.0..6.0_f64), axis in 0_usize..3,
        ) {
            let file = Grid::new(shape, Affine::from_spacing([1.5; 3], origin));
            let [a, b] = spacings.map(|spacing| grid_at_spacing(&file, [spacing; 3]));
            prop_assert!(fill_one_box(&a, &b) && fill_one_box(&b, &a));
            let mut moved = origin;
            moved[axis] += 1.1 * spacings[0].max(spacings[1]);
            let elsewhere = grid_at_spacing(&Grid::new(shape, Affine::from_spacing([1.5; 3], moved)), [spacings[1]; 3]);
            prop_assert!(!fill_one_box(&a, &elsewhere));
        }
    }

    #[test]
    fn turned_axes_are_another_box() {
        let grid = |x: f64, first: f64| {
            let rows = [[x, 0.0, 0.0, first], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]];
            Grid::new([40; 3], Affine::from_rows(rows))
        };
        assert!(fill_one_box(&grid(1.0, 0.0), &grid(1.0, 0.4)));
        assert!(!fill_one_box(&grid(1.0, 0.0), &grid(-1.0, 39.0)));
    }
}
