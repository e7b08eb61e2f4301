//! The foreground of an image.

use brainmvp_prep::brain::is_stripped;
use brainmvp_volume::{Volume, background};

use crate::record::MeasuredIn;

const BINS: usize = 256;

/// The voxels of the head or, in a stripped image, of the brain.
pub(crate) fn foreground(image: &Volume) -> (Vec<bool>, MeasuredIn) {
    if let Some(background) = background(image).filter(|_| is_stripped(image)) {
        let inside = |value: &f32| *value != background && value.is_finite();
        return (image.voxels().iter().map(inside).collect(), MeasuredIn::StrippedImage);
    }
    let threshold = otsu(image.voxels());
    (image.voxels().iter().map(|value| *value > threshold).collect(), MeasuredIn::Head)
}

/// The threshold that divides the finite values into two classes of least variance (Otsu, IEEE Transactions on Systems,
/// Man, and Cybernetics 9, 1979). Values above the 99th percentile are set to it first; otherwise fat and vessels would
/// form one of the classes.
fn otsu(values: &[f32]) -> f32 {
    let mut finite: Vec<f32> = values.iter().copied().filter(|value| value.is_finite()).collect();
    if finite.is_empty() {
        return 0.0;
    }
    let high = finite.len() * 99 / 100;
    let top = *finite.select_nth_unstable_by(high, f32::total_cmp).1;
    let low = finite.iter().copied().fold(f32::INFINITY, f32::min);
    if top <= low {
        return low;
    }
    let width = (f64::from(top) - f64::from(low)) / BINS as f64;
    let mut counts = [0_u64; BINS];
    for value in &finite {
        counts[(((f64::from(*value) - f64::from(low)) / width) as usize).min(BINS - 1)] += 1;
    }
    let total: f64 = counts.iter().map(|n| *n as f64).sum();
    let sum: f64 = counts.iter().enumerate().map(|(bin, n)| bin as f64 * *n as f64).sum();
    let (mut below, mut sum_below) = (0.0, 0.0);
    let (mut best, mut most) = (0, f64::NEG_INFINITY);
    for (bin, count) in counts.iter().enumerate() {
        below += *count as f64;
        sum_below += bin as f64 * *count as f64;
        let above = total - below;
        if below == 0.0 || above == 0.0 {
            continue;
        }
        let between = below * above * (sum_below / below - (sum - sum_below) / above).powi(2);
        if between > most {
            (best, most) = (bin, between);
        }
    }
    (f64::from(low) + (best as f64 + 1.0) * width) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_threshold_lies_between_air_and_head() {
        let air = (0..6000).map(|i| (i % 11) as f32);
        let head = (0..4000).map(|i| 300.0 + (i % 400) as f32);
        let fat = (0..50).map(|i| 5000.0 + i as f32);
        let values: Vec<f32> = air.chain(head).chain(fat).chain([f32::NAN]).collect();
        let threshold = otsu(&values);
        assert!((10.0..300.0).contains(&threshold), "{threshold}");
        assert_eq!(otsu(&[5.0; 20]), 5.0, "nothing is above the only value");
        assert_eq!(otsu(&[f32::NAN]), 0.0);
    }
}
