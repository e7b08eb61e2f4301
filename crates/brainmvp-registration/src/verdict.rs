//! Judges whether a registration can be right.

use crate::motion::Motion;
use crate::mutual_information::Likeness;
use crate::{Error, Result, Transform};

/// The least share of the points that must fall into the moving image.
const LEAST_OVERLAP: f64 = 0.4;
/// Limits of the stretch along any direction: from an infant's head to an adult's.
const SCALES: [f64; 2] = [0.6, 1.6];
/// Limit of the ratio between the largest and the smallest stretch: heads differ in size more than in shape.
const LARGEST_DISTORTION: f64 = 1.5;

/// The least size of one image's foreground relative to the other's: a slab of a brain in a head has more, a lesion less.
const LEAST_VIEW: f64 = 0.1;

/// Refuses images of which one shows very little of the other: a small object fits anywhere.
pub(crate) fn judge_sizes(fixed_mm3: f64, moving_mm3: f64) -> Result<()> {
    if fixed_mm3.min(moving_mm3) >= LEAST_VIEW * fixed_mm3.max(moving_mm3) {
        return Ok(());
    }
    let [fixed, moving] = [fixed_mm3, moving_mm3].map(|mm3| (mm3 / 1000.0).round());
    Err(Error::failed(format!(
        "the fixed image shows {fixed} ml, the moving one {moving} ml: these are not two heads"
    )))
}

/// Refuses a registration that cannot be right.
pub(crate) fn judge(
    transform: &Transform,
    motion: Motion,
    likeness: &Likeness,
    least_similarity: f64,
) -> Result<()> {
    let Likeness { similarity, overlap, .. } = *likeness;
    if overlap.is_nan() || overlap < LEAST_OVERLAP {
        let [overlap, least] = [overlap, LEAST_OVERLAP].map(|share| (100.0 * share).round());
        return Err(Error::failed(format!("the images share {overlap} % of the head, less than {least} %")));
    }
    if similarity.is_nan() || similarity < least_similarity {
        return Err(Error::failed(format!(
            "the images are too dissimilar: similarity {similarity:.3}, less than {least_similarity}"
        )));
    }
    let [largest, middle, smallest] = transform.scales();
    let [low, high] = SCALES;
    if motion == Motion::Affine
        && !(smallest >= low && largest <= high && largest / smallest <= LARGEST_DISTORTION)
    {
        return Err(Error::failed(format!(
            "stretches of {largest:.2}, {middle:.2} and {smallest:.2} are more than two heads can differ by"
        )));
    }
    Ok(())
}
