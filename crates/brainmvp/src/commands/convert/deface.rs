//! `--deface`: which voxels of the images of a head are erased.

use brainmvp_cohort::bids::Erasure;
use brainmvp_prep::brain::{BrainPrior, is_stripped};
use brainmvp_prep::{Face, erased_value};
use brainmvp_volume::nifti::Erased;
use brainmvp_volume::{Modality, Volume};

/// Says what the faces are in the images of one head, aligned as their files say.
pub(super) fn eraser() -> impl Fn(&[(Modality, Volume)]) -> Result<Vec<Erasure>, String> + Sync {
    let prior = BrainPrior::built_in();
    move |images| {
        let stripped: Vec<bool> = images.iter().map(|(_, image)| is_stripped(image)).collect();
        let heads =
            || images.iter().zip(&stripped).filter(|(_, stripped)| !**stripped).map(|(image, _)| image);
        // These show too little of the brain to find it, so they are used only if there is nothing else.
        let telling = |modality: Modality| !matches!(modality, Modality::Adc | Modality::Dwi | Modality::Mra);
        let any_telling = heads().any(|(modality, _)| telling(*modality));
        let mut used: Vec<&Volume> = heads()
            .filter(|(modality, _)| !any_telling || telling(*modality))
            .map(|(_, image)| image)
            .collect();
        if used.is_empty() {
            return Ok(images.iter().map(|_| Erasure::Nothing("it shows a brain without a head")).collect());
        }
        // The brain is searched for on the field of view of the first.
        used.sort_by(|a, b| field_mm3(b).total_cmp(&field_mm3(a)));
        let face = Face::find(&used, &prior)
            .map_err(|error| format!("{error}; without --deface, the images are written with their faces"))?;
        let erase = |((_, image), stripped): (&(Modality, Volume), &bool)| {
            if *stripped {
                return Erasure::Nothing("it shows a brain without a head");
            }
            let voxels = face.on(image.grid());
            if voxels.contains(&true) {
                Erasure::Voxels(Erased { voxels, value: erased_value(image) })
            } else {
                Erasure::Nothing("the face is outside its field of view")
            }
        };
        Ok(images.iter().zip(&stripped).map(erase).collect())
    }
}

fn field_mm3(image: &Volume) -> f64 {
    image.grid().len() as f64 * image.grid().voxel_mm3()
}
