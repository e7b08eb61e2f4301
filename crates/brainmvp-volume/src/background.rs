//! The value around what an image shows.

use crate::Volume;
use crate::connected::open_to_the_outside;

/// The share of the edges of the field of view that must have one value. Noise is never that uniform, and a brain that
/// is cut off by a face of the volume still leaves its edges free.
const LEAST_SHARE: f64 = 0.75;

/// The one value that surrounds what an image shows, if there is one: 0 in most stripped images, -1024 in shifted
/// ones, 0 amid the grey values in images that were z-scored within the brain. `None` if air has noise or there is no
/// air, and in an image of a single value.
///
/// It is looked for on the twelve edges of the box of voxels, which heads and brains hardly ever touch, and must be on
/// three quarters of them.
pub fn background(image: &Volume) -> Option<f32> {
    let mut edges = edge_values(image);
    edges.sort_unstable_by(f32::total_cmp);
    // Runs of equal numbers; 0 and -0, which are next to each other, are equal.
    let longest = edges.chunk_by(|a, b| a == b).max_by_key(|run| run.len())?;
    let value = *longest.first()?;
    let common = longest.len() as f64 >= LEAST_SHARE * edges.len() as f64;
    let differs = || image.voxels().iter().any(|voxel| *voxel != value);
    (common && value.is_finite() && differs()).then_some(value)
}

/// Air with noise: grey values around a level.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Noise {
    /// The middle of the values.
    pub level: f32,
    /// How far below the level a sixth of the values begin: the standard deviation of normal noise, and half the level of
    /// the noise of a magnitude image, which is below 0 nowhere.
    pub spread: f32,
}

/// How many spreads from the level noise reaches.
const NOISE_SPREADS: f32 = 4.0;

impl Noise {
    /// Whether a value is beyond what the noise reaches.
    pub fn excludes(&self, value: f32) -> bool {
        (value - self.level).abs() > 1.5 * NOISE_SPREADS * self.spread
    }
}

/// The noise around what an image shows, if three quarters of the edges of the field of view are within four spreads of
/// their middle. `None` where [`background`] finds one value. Whether the edges show air is not said: they do if the level
/// is dark.
pub fn noise_around(image: &Volume) -> Option<Noise> {
    let mut edges = edge_values(image);
    if edges.is_empty() || edges.iter().any(|value| !value.is_finite()) || background(image).is_some() {
        return None;
    }
    edges.sort_unstable_by(f32::total_cmp);
    let (level, lower) = (edges[edges.len() / 2], edges[edges.len() * 4 / 25]);
    let spread = level - lower;
    let near = edges.iter().filter(|value| (**value - level).abs() <= NOISE_SPREADS * spread).count();
    (spread > 0.0 && near as f64 >= LEAST_SHARE * edges.len() as f64).then_some(Noise { level, spread })
}

/// Gives voxels that are NaN around what an image shows one value below all others, so that [`background`] finds it, and
/// returns how many they were. It is 0, or the next number below the lowest where that is 0 or less. Nothing is changed
/// if the edges of the field of view show something else, or where NaN or infinity is within what is shown.
pub fn nan_to_background(image: &mut Volume) -> usize {
    let edges = edge_values(image);
    let common = edges.iter().filter(|value| value.is_nan()).count() as f64;
    if edges.is_empty() || common < LEAST_SHARE * edges.len() as f64 {
        return 0;
    }
    let around = open_to_the_outside(image.shape(), |voxel| image.voxels()[voxel].is_nan());
    let shown =
        || image.voxels().iter().zip(&around).filter(|(_, around)| !**around).map(|(value, _)| *value);
    let low = shown().fold(f32::INFINITY, f32::min);
    if low == f32::INFINITY || !shown().all(f32::is_finite) {
        return 0;
    }
    let fill = if low > 0.0 { 0.0 } else { low.next_down() };
    let voxels = image.voxels_mut().iter_mut().zip(&around).filter(|(_, around)| **around);
    voxels.map(|(value, _)| *value = fill).count()
}

/// The voxels on the twelve edges; those in the corners are repeated.
fn edge_values(image: &Volume) -> Vec<f32> {
    let shape = image.shape();
    if image.grid().is_empty() {
        return Vec::new();
    }
    let mut values = Vec::with_capacity(4 * shape.iter().sum::<usize>());
    for axis in 0..3 {
        let (a, b) = ((axis + 1) % 3, (axis + 2) % 3);
        for (at_a, at_b) in [(0, 0), (0, shape[b] - 1), (shape[a] - 1, 0), (shape[a] - 1, shape[b] - 1)] {
            values.extend((0..shape[axis]).map(|along| {
                let mut voxel = [0; 3];
                (voxel[axis], voxel[a], voxel[b]) = (along, at_a, at_b);
                image.at(voxel)
            }));
        }
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Affine, Grid};

    fn ball(air: impl Fn(usize) -> f32) -> Volume {
        let grid = Grid::new([12, 10, 8], Affine::from_spacing([1.0; 3], [0.0; 3]));
        let inside = |offset: usize| {
            let [x, y, z] = grid.voxel(offset).map(|i| i as f32);
            (x - 5.5).powi(2) + (y - 4.5).powi(2) + (z - 1.0).powi(2) < 14.0
        };
        Volume::new(grid, (0..grid.len()).map(|v| if inside(v) { 40.0 + v as f32 } else { air(v) }).collect())
    }

    #[test]
    fn one_value_around_a_brain_that_is_cut_by_a_face() {
        for value in [0.0, -1024.0, 3.5, 1e6] {
            assert_eq!(background(&ball(|_| value)), Some(value));
        }
        assert_eq!(background(&ball(|v| if v % 2 == 0 { 0.0 } else { -0.0 })), Some(0.0));
    }

    #[test]
    fn nan_around_a_brain_becomes_one_value_below_it() {
        let nan = |image: Volume| image.map(|v| if v == 0.0 { f32::NAN } else { v });
        for change in [|v: f32| v, |v: f32| v - 60.0, |v: f32| v - 1e6, |v: f32| v / 1e6, |v: f32| -v] {
            let whole = ball(|_| 0.0);
            let expected = whole.map(|v| if v == 0.0 { 0.0 } else { change(v) });
            let mut found = nan(whole.clone()).map(change);
            let count = nan_to_background(&mut found);
            assert_eq!(count, whole.voxels().iter().filter(|v| **v == 0.0).count());
            let value = background(&found).unwrap();
            for (found, expected) in found.voxels().iter().zip(expected.voxels()) {
                assert!(if *expected == 0.0 { *found == value } else { found == expected && *found > value });
            }
            let low = found.voxels().iter().copied().filter(|v| *v != value).fold(f32::MAX, f32::min);
            assert_eq!(value == 0.0, low > 0.0, "{value} below {low}");
        }
    }

    #[test]
    fn nan_elsewhere_stays() {
        let changed = |mut image: Volume| nan_to_background(&mut image);
        let around = ball(|_| f32::NAN);
        let middle = around.grid().offset([5, 4, 1]);
        for value in [f32::NAN, f32::INFINITY] {
            let mut image = around.clone();
            image.voxels_mut()[middle] = value;
            assert_eq!(changed(image), 0, "{value} within");
            let mut image = ball(|_| 0.0);
            image.voxels_mut()[middle] = value;
            assert_eq!(changed(image), 0, "{value} within, 0 around");
        }
        assert_eq!(changed(around.map(|_| f32::NAN)), 0, "nothing is shown");
        assert_eq!(changed(ball(|v| if v % 2 == 0 { f32::NAN } else { 1.0 })), 0, "air that has values");
        assert_eq!(changed(ball(|_| f32::INFINITY)), 0);
    }

    #[test]
    fn noise_around_a_ball() {
        let noise = noise_around(&ball(|v| 100.0 + (v * 7919 % 11) as f32)).unwrap();
        assert!(noise.level == 105.0 && (3.0..=4.0).contains(&noise.spread), "{noise:?}");
        assert!(
            !noise.excludes(110.0) && !noise.excludes(100.0) && noise.excludes(140.0) && noise.excludes(60.0)
        );
        for one in [0.0, -1024.0] {
            assert_eq!(noise_around(&ball(|_| one)), None, "no noise");
        }
        assert_eq!(noise_around(&ball(|_| f32::NAN)), None);
    }

    #[test]
    fn none_where_air_has_noise_or_nothing_differs() {
        assert_eq!(background(&ball(|v| (v % 3) as f32)), None);
        assert_eq!(background(&ball(|_| f32::NAN)), None);
        let grid = Grid::new([4; 3], Affine::from_spacing([1.0; 3], [0.0; 3]));
        assert_eq!(background(&Volume::filled(grid, 7.0)), None);
        let empty = Grid::new([0, 4, 4], grid.affine);
        assert_eq!(background(&Volume::new(empty, Vec::new())), None);
    }
}
