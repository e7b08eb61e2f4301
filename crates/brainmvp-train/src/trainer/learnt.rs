//! Pictures of images that are learnt themselves, beside what they should come to look like.

use std::collections::BTreeMap;

use brainmvp_objectives::patch::PatchSource;
use brainmvp_objectives::templates::mean_image;
use brainmvp_volume::Modality;
use brainmvp_volume::picture::Picture;
use burn::tensor::Tensor;

use crate::Result;
use crate::batches::CaseSource;
use crate::log::pictures;
use crate::templates::frame;

/// Cases in a mean image: more of them take time, and the picture looks the same.
const MOST_CASES: usize = 32;

/// The mean images, drawn once.
#[derive(Default)]
pub(super) struct LearntImages {
    means: Option<BTreeMap<Modality, Picture>>,
}

impl LearntImages {
    /// A row for each modality that some case has: the mean image, and the learnt one, `[Z, Y, X]`.
    ///
    /// # Errors
    /// If a case cannot be read, or an image cannot be fetched from its device.
    pub(super) fn draw(&mut self, images: &[(Modality, Tensor<3>)], cases: &[CaseSource]) -> Result<Picture> {
        let means = match self.means.take() {
            Some(means) => means,
            None => mean_pictures(images, cases)?,
        };
        let means = self.means.insert(means);
        let mut rows = Vec::new();
        for (modality, image) in images {
            let Some(mean) = means.get(modality) else { continue };
            let learnt = pictures::small(&pictures::voxels(image)?, shape(image));
            rows.push((modality.name(), [mean.clone(), learnt]));
        }
        let rows: Vec<(&str, &[Picture])> = rows.iter().map(|(name, row)| (*name, &row[..])).collect();
        Ok(Picture::montage(&rows))
    }
}

fn mean_pictures(
    images: &[(Modality, Tensor<3>)],
    cases: &[CaseSource],
) -> Result<BTreeMap<Modality, Picture>> {
    let mut means = BTreeMap::new();
    for (modality, image) in images {
        let with: Vec<&CaseSource> =
            cases.iter().filter(|case| case.modalities().contains(modality)).collect();
        let step = with.len().div_ceil(MOST_CASES).max(1);
        let some = with.into_iter().step_by(step).filter(|case| case.can_be_read());
        let some: Vec<CaseSource> = some.cloned().collect();
        let grid = frame(cases).grid(Some(shape(image)));
        if let Some(mean) = mean_image(&grid, &some, *modality)? {
            means.insert(*modality, pictures::small(&mean, grid.shape));
        }
    }
    Ok(means)
}

/// Along X, Y and Z.
fn shape(image: &Tensor<3>) -> [usize; 3] {
    let [z, y, x] = image.dims();
    [x, y, z]
}
