//! Where patches come from.

use std::collections::{BTreeMap, BTreeSet};

use brainmvp_volume::Modality;
use rand::{Rng, RngExt};

use crate::Placement;

/// A prepared case as an objective sees it: some co-registered modalities on one grid, with intensities in `[0, 1]`.
///
/// Indices and sizes are `[x, y, z]`; voxels come with x fastest, which is a tensor `[Z, Y, X]`.
pub trait PatchSource {
    /// Why a patch could not be read.
    type Error;

    /// Name of the case.
    fn id(&self) -> &str;
    /// The data set that the case is from.
    fn data_set(&self) -> &str;
    /// Whom the case shows: the same text for all sessions of one person, in whatever data set.
    fn person(&self) -> &str;
    /// Voxels along x, y and z.
    fn shape(&self) -> [usize; 3];
    /// Voxels of the registered volume that this case was cropped from; its own, if it was not cropped.
    fn registered_shape(&self) -> [usize; 3] {
        self.shape()
    }
    /// Where the cropped case starts in the registered volume.
    fn crop_offset(&self) -> [usize; 3] {
        [0; 3]
    }
    /// The position of its voxels relative to those of the frozen templates; `None` if the templates were not placed on
    /// this case, and nothing of it is replaced by them.
    fn placement(&self) -> Option<Placement> {
        None
    }
    /// What there is, at least one, in canonical order.
    fn modalities(&self) -> &[Modality];
    /// The voxels of a box that starts at `start` (possibly outside); 0 if there is no volume.
    ///
    /// # Errors
    /// If the case has no such modality or its file cannot be read.
    fn patch(&self, modality: Modality, start: [isize; 3], size: [usize; 3])
    -> Result<Vec<f32>, Self::Error>;
    /// The label values of a box, like [`PatchSource::patch`] for an image; `None` if the case has no label map.
    ///
    /// # Errors
    /// If its file cannot be read.
    fn labels(&self, _start: [isize; 3], _size: [usize; 3]) -> Result<Option<Vec<u16>>, Self::Error> {
        Ok(None)
    }
    /// The class of the case, if it is known.
    fn class(&self) -> Option<&str> {
        None
    }
    /// A number of the case, by the name of its column, if it is known.
    fn number(&self, _name: &str) -> Option<f64> {
        None
    }
}

/// How often a drawn centre is thrown away before any centre will do.
const MOST_TRIES: usize = 64;

/// Draws where a patch starts: centred on the foreground (> 0) of `modality` or on its background, with equal chances,
/// and moved so that it is inside the volume. A volume smaller than the patch is centred in it.
///
/// # Errors
/// If the source cannot be read.
pub fn draw_start<S: PatchSource>(
    source: &S,
    modality: Modality,
    size: [usize; 3],
    rng: &mut dyn Rng,
) -> Result<[isize; 3], S::Error> {
    let shape = source.shape();
    let foreground = rng.random::<bool>();
    let mut centre = [0; 3];
    for _ in 0..MOST_TRIES {
        centre = shape.map(|n| rng.random_range(0..n.max(1)));
        let voxel = source.patch(modality, centre.map(|c| c as isize), [1; 3])?;
        if (voxel[0] > 0.0) == foreground {
            break;
        }
    }
    Ok(std::array::from_fn(|axis| start_along(centre[axis], shape[axis], size[axis])))
}

/// Draws a patch of one modality: `target`, or any that the case has; centred as [`draw_start`] does. Returns the modality,
/// where the patch starts, and its voxels, x fastest.
///
/// # Errors
/// If the source cannot be read.
pub fn draw_image<S: PatchSource>(
    source: &S,
    target: Option<Modality>,
    size: [usize; 3],
    rng: &mut dyn Rng,
) -> Result<(Modality, [isize; 3], Vec<f32>), S::Error> {
    let modalities = source.modalities();
    let modality = target.unwrap_or_else(|| modalities[rng.random_range(0..modalities.len())]);
    let start = draw_start(source, modality, size, rng)?;
    Ok((modality, start, source.patch(modality, start, size)?))
}

/// Draws where a patch starts so that it has a voxel of a structure at its centre: a label value that the case has, all
/// but the `ignored` ones with equal probability, and then one of its voxels. `None` if the case has no such voxel.
///
/// # Errors
/// If the source cannot be read.
#[expect(clippy::expect_used, reason = "the places are counted in the same labels")]
pub fn draw_labelled_start<S: PatchSource>(
    source: &S,
    size: [usize; 3],
    ignored: &BTreeSet<u16>,
    rng: &mut dyn Rng,
) -> Result<Option<[isize; 3]>, S::Error> {
    let shape = source.shape();
    let labels = source.labels([0; 3], shape)?.unwrap_or_default();
    let mut counts = BTreeMap::<u16, usize>::new();
    labels.iter().filter(|&&label| label > 0).for_each(|&label| *counts.entry(label).or_default() += 1);
    counts.retain(|label, _| !ignored.contains(label));
    if counts.is_empty() {
        return Ok(None);
    }
    let chosen = rng.random_range(0..counts.len());
    let (value, count) = counts.into_iter().nth(chosen).expect("a place below the number of values");
    let nth = rng.random_range(0..count);
    let mut voxels = labels.iter().enumerate().filter(|(_, label)| **label == value);
    let (offset, _) = voxels.nth(nth).expect("as many voxels as were counted");
    let centre = [offset % shape[0], offset / shape[0] % shape[1], offset / (shape[0] * shape[1])];
    Ok(Some(std::array::from_fn(|axis| start_along(centre[axis], shape[axis], size[axis]))))
}

/// Draws where a patch starts, uniformly over all positions inside a volume of `shape` voxels. A volume smaller than the
/// patch is centred in it.
pub fn draw_any_start(shape: [usize; 3], size: [usize; 3], rng: &mut dyn Rng) -> [isize; 3] {
    let central = central_start(shape, size);
    std::array::from_fn(|axis| match shape[axis].checked_sub(size[axis]) {
        Some(room) => rng.random_range(0..=room) as isize,
        None => central[axis],
    })
}

/// Where the patch in the middle of a volume starts.
pub fn central_start(shape: [usize; 3], size: [usize; 3]) -> [isize; 3] {
    std::array::from_fn(|axis| (shape[axis] as isize - size[axis] as isize).div_euclid(2))
}

fn start_along(centre: usize, shape: usize, size: usize) -> isize {
    let (centre, room) = (centre as isize, shape as isize - size as isize);
    if room < 0 { room.div_euclid(2) } else { (centre - size as isize / 2).clamp(0, room) }
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::SeedableRng;

    use super::*;

    #[test]
    fn every_place_is_as_likely_as_any_other() {
        let mut rng = ChaCha8Rng::seed_from_u64(4);
        let mut counts = [0; 5];
        for _ in 0..1000 {
            let [x, y, z] = draw_any_start([12, 5, 8], [8; 3], &mut rng);
            counts[usize::try_from(x).unwrap()] += 1;
            assert_eq!([y, z], [-2, 0]);
        }
        assert!(counts.iter().all(|count| (150..250).contains(count)), "{counts:?}");
    }

    #[test]
    fn patches_lie_inside_where_they_fit() {
        for centre in 0..20 {
            let start = start_along(centre, 20, 8);
            assert!((0..=12).contains(&start), "{centre}: {start}");
        }
        assert_eq!(start_along(3, 5, 8), -2);
        assert_eq!(start_along(10, 20, 8), 6);
    }
}
