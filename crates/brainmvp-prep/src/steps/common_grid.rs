//! Chooses the image whose grid becomes the grid of the case.

use brainmvp_volume::{Grid, Modality};
use serde_json::{Value, json};

use super::Step;
use crate::pipeline::SAME_PLACE_MM;
use crate::{CaseVolumes, Error, PrepConfig, Result};

/// Chooses the reference image. Nothing is resampled here: 'resample' takes every volume from its own grid to the
/// final one at once, so that each is interpolated no more than once.
///
/// The rule: the image that the others were registered to, if they were; otherwise the grid that most images have; in a
/// tie, the one with the smallest voxels; then that of the first modality in the order of the templates.
pub(super) struct CommonGrid;

impl Step for CommonGrid {
    fn name(&self) -> &'static str {
        "common_grid"
    }

    fn apply(&self, case: &mut CaseVolumes, _: &PrepConfig) -> Result<Value> {
        if let Some(modality) = case.reference {
            return Ok(json!({ "reference": modality }));
        }
        let grids: Vec<_> = case.images.iter().map(|(modality, image)| (*modality, *image.grid())).collect();
        let modality = reference(&grids).ok_or_else(|| Error::step(self.name(), "the case has no image"))?;
        case.reference = Some(modality);
        Ok(json!({ "reference": modality }))
    }
}

fn reference(grids: &[(Modality, Grid)]) -> Option<Modality> {
    let sharing =
        |grid: &Grid| grids.iter().filter(|(_, other)| grid.same_lattice(other, SAME_PLACE_MM)).count();
    let best = grids.iter().min_by(|(_, a), (_, b)| {
        sharing(b).cmp(&sharing(a)).then_with(|| a.voxel_mm3().total_cmp(&b.voxel_mm3()))
    });
    best.map(|(modality, _)| *modality)
}

#[cfg(test)]
mod tests {
    use brainmvp_volume::Affine;

    use super::*;

    fn grid(spacing_mm: f64) -> Grid {
        Grid::new([20; 3], Affine::from_spacing([spacing_mm; 3], [0.0; 3]))
    }

    #[test]
    fn most_then_finest_then_first() {
        use Modality::{Adc, Dwi, Flair, T1, T2};
        let choose = |grids: &[(Modality, Grid)]| reference(grids);
        assert_eq!(choose(&[(Flair, grid(0.5)), (Dwi, grid(2.0)), (Adc, grid(2.0))]), Some(Dwi));
        assert_eq!(choose(&[(Flair, grid(1.0)), (T1, grid(0.9)), (T2, grid(1.2))]), Some(T1));
        assert_eq!(choose(&[(Flair, grid(1.0)), (T1, grid(1.0))]), Some(Flair));
        assert_eq!(choose(&[]), None);
    }
}
