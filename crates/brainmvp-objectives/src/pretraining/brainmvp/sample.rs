//! Drawing a sample from a case.

use brainmvp_volume::Modality;
use rand::{Rng, RngExt};

use super::Masks;
use crate::DrawBy;
use crate::losses::Identity;
use crate::masking::{Mask, MaskConfig};
use crate::patch::{PatchSource, draw_start};
use crate::templates::template_start;

/// What the loader needs to draw samples.
#[derive(Debug, Clone)]
pub struct BrainMvpPlan {
    /// How samples are drawn.
    pub draw: DrawBy,
    /// Voxels of a patch along x, y and z.
    pub patch: [usize; 3],
    /// The masks.
    pub mask: MaskConfig,
    /// Whether two views share a mask.
    pub masks: Masks,
    /// Whether a second modality is read.
    pub partner: bool,
    /// Voxels of a template along x, y and z.
    pub template: [usize; 3],
}

/// One case's target, its filling, and its two masks. Voxels are x fastest.
pub struct BrainMvpSample {
    /// Whose it is.
    pub identity: Identity,
    /// Modality of the target.
    pub modality: Modality,
    /// The target patch, x of the equations.
    pub target: Vec<f32>,
    /// The same box in another modality; `None` if the case has only one, or no view needs another.
    pub partner: Option<Vec<f32>>,
    /// Where the patch starts in the template, `[x, y, z]`.
    pub template_start: [isize; 3],
    /// Mask of the cross-modal view.
    pub mask_cross: Mask,
    /// Mask of the distilled view.
    pub mask_distill: Mask,
}

impl BrainMvpPlan {
    /// Draws a sample. Target, position and masks do not depend on which tasks are on, so that runs without one of them
    /// see the same patches.
    ///
    /// # Errors
    /// If the case cannot be read.
    pub(super) fn draw<S: PatchSource>(
        &self,
        case: &S,
        target: Option<Modality>,
        rng: &mut dyn Rng,
    ) -> Result<BrainMvpSample, S::Error> {
        let modalities = case.modalities();
        let modality = target.unwrap_or_else(|| modalities[rng.random_range(0..modalities.len())]);
        let others: Vec<Modality> = modalities.iter().copied().filter(|&other| other != modality).collect();
        let partner = (!others.is_empty()).then(|| others[rng.random_range(0..others.len())]);
        let start = draw_start(case, modality, self.patch, rng)?;
        let mask_cross = self.mask.draw(self.patch, rng);
        Ok(BrainMvpSample {
            identity: Identity::of(case.person(), case.data_set()),
            modality,
            target: case.patch(modality, start, self.patch)?,
            partner: partner
                .filter(|_| self.partner)
                .map(|other| case.patch(other, start, self.patch))
                .transpose()?,
            template_start: template_start(case, start, self.template),
            mask_distill: match self.masks {
                Masks::Independent => self.mask.draw(self.patch, rng),
                Masks::Shared => mask_cross.clone(),
            },
            mask_cross,
        })
    }
}
