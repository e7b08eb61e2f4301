//! Resampling from the prepared grid back to the grid of the input.

use std::ops::Range;

use brainmvp_volume::resample::{Interpolation, onto_grid};
use brainmvp_volume::{Affine, Grid, LabelMap, Volume};

use crate::{Error, LabelDecision, Result};

/// Probabilities of regions on the prepared grid of a case, and the grid of its input.
///
/// Probabilities are interpolated trilinearly, and the label is decided where it is written: labels themselves are never
/// interpolated. Beyond the prepared grid (the part that was cropped away, or that the scan did not reach) there is
/// background.
#[derive(Debug, Clone)]
pub struct NativeSpace<'a> {
    regions: &'a [Volume],
    grid: Grid,
}

/// The number of planes interpolated at once, so that not all regions are in memory on the grid of the input.
const PLANES: usize = 16;

impl<'a> NativeSpace<'a> {
    /// Probabilities, all on one grid, to be resampled to `grid`.
    ///
    /// # Errors
    /// [`Error::Shape`] if they are on several grids.
    pub fn new(regions: &'a [Volume], grid: Grid) -> Result<Self> {
        let first = regions.first().map(Volume::grid);
        match regions.iter().find(|region| Some(region.grid()) != first) {
            None => Ok(Self { regions, grid }),
            Some(odd) => Err(Error::Shape {
                what: "the grid of a region",
                got: odd.shape().to_vec(),
                expected: first.map_or(Vec::new(), |grid| grid.shape.to_vec()),
            }),
        }
    }

    /// The label of every voxel.
    ///
    /// # Errors
    /// [`Error::Shape`] if `decision` is for another number of regions.
    pub fn labels(&self, decision: &LabelDecision) -> Result<LabelMap> {
        if decision.regions() != self.regions.len() {
            let (got, expected) = (vec![self.regions.len()], vec![decision.regions()]);
            return Err(Error::Shape { what: "the list of regions", got, expected });
        }
        let mut labels = Vec::with_capacity(self.grid.len());
        for first in (0..self.grid.shape[2]).step_by(PLANES) {
            let part = planes(&self.grid, first..self.grid.shape[2].min(first + PLANES));
            let parts: Vec<Volume> = self.regions.iter().map(|region| brought(region, &part)).collect();
            labels.extend(decision.labels(&parts.iter().map(Volume::voxels).collect::<Vec<_>>()));
        }
        Ok(LabelMap::new(self.grid, labels))
    }

    /// The probability of one region in every voxel.
    ///
    /// # Panics
    /// If there is no such region.
    pub fn probability(&self, region: usize) -> Volume {
        brought(&self.regions[region], &self.grid)
    }
}

fn brought(region: &Volume, grid: &Grid) -> Volume {
    onto_grid(region, grid, Interpolation::Trilinear, 0.0)
}

/// Some planes of a grid along z.
fn planes(grid: &Grid, planes: Range<usize>) -> Grid {
    let mut rows = grid.affine.rows();
    let origin = grid.affine.to_world([0.0, 0.0, planes.start as f64]);
    rows.iter_mut().zip(origin).for_each(|(row, place)| row[3] = place);
    Grid::new([grid.shape[0], grid.shape[1], planes.len()], Affine::from_rows(rows))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use brainmvp_volume::orientation;
    use brainmvp_volume::resample::to_spacing;
    use proptest::prelude::*;

    use super::*;

    fn decision() -> LabelDecision {
        LabelDecision::new(&[BTreeSet::from([1, 2]), BTreeSet::from([2])]).unwrap()
    }

    /// A ball of label 1 with one of label 2 in it, mm from the middle of the grid.
    fn balls(grid: Grid, radii_mm: [f64; 2]) -> LabelMap {
        let middle = grid.affine.to_world(grid.shape.map(|n| (n as f64 - 1.0) / 2.0));
        let label = |at: usize| {
            let place = grid.affine.to_world(grid.voxel(at).map(|i| i as f64));
            let mm = (0..3).map(|axis| (place[axis] - middle[axis]).powi(2)).sum::<f64>().sqrt();
            radii_mm.iter().filter(|radius| mm <= **radius).count() as u16
        };
        LabelMap::new(grid, (0..grid.len()).map(label).collect())
    }

    fn probabilities(labels: &LabelMap) -> Vec<Volume> {
        (1..=2).map(|least| labels.map(|label| if label >= least { 0.9 } else { 0.05 })).collect()
    }

    fn dice(a: &LabelMap, b: &LabelMap, value: u16) -> f64 {
        let both = a.voxels().iter().zip(b.voxels()).filter(|(a, b)| **a == value && **b == value).count();
        let each = [a, b].map(|map| map.voxels().iter().filter(|label| **label == value).count());
        2.0 * both as f64 / (each[0] + each[1]) as f64
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        /// Any orientation and place; 1 mm, where nothing is interpolated.
        #[test]
        fn labels_come_back_through_ras(
            axes in Just([0_usize, 1, 2]).prop_shuffle(), signs in prop::array::uniform3(any::<bool>()),
            origin in prop::array::uniform3(-50.0..50.0_f64), shape in prop::array::uniform3(5_usize..24),
        ) {
            let mut rows = [[0.0; 4]; 3];
            for axis in 0..3 {
                rows[axis][axes[axis]] = if signs[axis] { 1.0 } else { -1.0 };
                rows[axis][3] = origin[axis];
            }
            let labels = balls(Grid::new(shape, Affine::from_rows(rows)), [4.0, 2.0]);
            let regions: Vec<Volume> =
                probabilities(&labels).into_iter().map(orientation::to_ras).collect();
            let native = NativeSpace::new(&regions, *labels.grid()).unwrap();
            prop_assert_eq!(native.labels(&decision()).unwrap(), labels);
        }
    }

    #[test]
    fn a_ball_survives_another_spacing_and_a_crop() {
        let rotated =
            Affine::from_rows([[0.0, -0.8, 0.5, 12.0], [0.9, 0.05, 0.1, -40.0], [-0.05, 0.4, 2.4, 3.0]]);
        let labels = balls(Grid::new([64, 60, 26], rotated), [20.0, 12.0]);
        let prepared = probabilities(&labels).into_iter().map(|region| {
            let region = to_spacing(&orientation::to_ras(region), [1.0; 3], Interpolation::Trilinear);
            // A crop that leaves the balls in.
            let [nx, ny, nz] = region.shape();
            let part = planes(region.grid(), 4..nz - 3);
            let area = nx * ny;
            Volume::new(part, region.voxels()[4 * area..(nz - 3) * area].to_vec())
        });
        let prepared: Vec<Volume> = prepared.collect();
        let native = NativeSpace::new(&prepared, *labels.grid()).unwrap();
        let back = native.labels(&decision()).unwrap();
        assert_eq!(back.grid(), labels.grid());
        for value in [1, 2] {
            let dice = dice(&back, &labels, value);
            assert!(dice > 0.93, "label {value}: {dice}");
        }
        // Beyond the prepared grid the probability is 0; within it is that of some voxel.
        let probability = native.probability(0);
        assert_eq!(probability.voxels()[0], 0.0);
        let [low, high] = [0.05 - 1e-6, 0.9 + 1e-6];
        assert!(probability.voxels().iter().all(|p| *p == 0.0 || (low..=high).contains(p)));
    }

    #[test]
    fn other_grids_and_numbers_of_regions_are_refused() {
        let grid = |n| Grid::new([n, 2, 2], Affine::from_spacing([1.0; 3], [0.0; 3]));
        let regions = [Volume::filled(grid(2), 0.1), Volume::filled(grid(3), 0.1)];
        assert!(NativeSpace::new(&regions, grid(2)).is_err());
        let one = NativeSpace::new(&regions[..1], grid(2)).unwrap();
        assert!(one.labels(&decision()).is_err());
    }
}
