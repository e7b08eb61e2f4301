//! The noise of an image, estimated from the image itself.

use brainmvp_volume::Volume;

/// With fewer blocks than this nothing is estimated.
const FEWEST_BLOCKS: usize = 200;

/// The median absolute value of a normal distribution of deviation 1.
const MEDIAN_OF_NORMAL: f64 = 0.674_489_75;

/// The standard deviation of the noise among the voxels `inside`; `None` if there is too little to measure, or no noise.
///
/// The median absolute deviation of the finest diagonal Haar wavelet coefficients, over blocks of 2 x 2 x 2 voxels that
/// are inside, in the half of them in which the image changes least (Coupé et al., Robust Rician noise estimation for
/// MR images, Medical Image Analysis 14, 2010, sections 2.2 and 2.3; their correction for Rician noise is left out, as
/// it is below 2 % in tissue with an SNR of 5). Air is not needed, so stripped images can be measured. Noise that was
/// smoothed by interpolation or a filter counts only as far as it is still visible.
pub fn noise_deviation(image: &Volume, inside: &[bool]) -> Option<f64> {
    let blocks = Blocks::of(image, inside);
    let mut flat = blocks.with_gradient();
    if flat.len() < FEWEST_BLOCKS {
        return None;
    }
    let half = flat.len() / 2;
    flat.select_nth_unstable_by(half, |a, b| a.0.total_cmp(&b.0));
    let mut details: Vec<f32> = flat[..half].iter().map(|(_, detail)| detail.abs()).collect();
    let middle = details.len() / 2;
    let median = f64::from(*details.select_nth_unstable_by(middle, f32::total_cmp).1);
    (median > 0.0 && median.is_finite()).then_some(median / MEDIAN_OF_NORMAL)
}

/// The mean and the diagonal coefficient of each block; NaN for blocks that are not entirely inside.
struct Blocks {
    shape: [usize; 3],
    means: Vec<f32>,
    details: Vec<f32>,
}

impl Blocks {
    fn of(image: &Volume, inside: &[bool]) -> Self {
        let [nx, ny, nz] = image.shape();
        let shape = [nx / 2, ny / 2, nz / 2];
        let (mut means, mut details) = (Vec::new(), Vec::new());
        for z in 0..shape[2] {
            for y in 0..shape[1] {
                for x in 0..shape[0] {
                    let (mut sum, mut detail) = (0.0, 0.0);
                    for corner in 0..8_usize {
                        let voxel = [2 * x + (corner & 1), 2 * y + (corner >> 1 & 1), 2 * z + (corner >> 2)];
                        let place = image.grid().offset(voxel);
                        let value = if inside[place] { image.voxels()[place] } else { f32::NAN };
                        sum += value;
                        detail += if corner.count_ones() % 2 == 0 { value } else { -value };
                    }
                    means.push(sum / 8.0);
                    details.push(detail / 8.0_f32.sqrt());
                }
            }
        }
        Self { shape, means, details }
    }

    /// The size of the gradient (from central differences) and the coefficient of every block whose neighbours are all
    /// inside.
    fn with_gradient(&self) -> Vec<(f32, f32)> {
        let [nx, ny, nz] = self.shape;
        let strides = [1, nx, nx * ny];
        // A stack of few slices has no neighbours above and below.
        let axes: Vec<usize> = (0..3).filter(|axis| self.shape[*axis] >= 3).collect();
        let mut found = Vec::new();
        for place in 0..nx * ny * nz {
            let at = [place % nx, place / nx % ny, place / (nx * ny)];
            if axes.iter().any(|axis| at[*axis] == 0 || at[*axis] + 1 == self.shape[*axis]) {
                continue;
            }
            let change =
                |axis: &usize| self.means[place + strides[*axis]] - self.means[place - strides[*axis]];
            let gradient = axes.iter().map(|axis| change(axis).powi(2)).sum::<f32>().sqrt();
            if gradient.is_finite() && self.details[place].is_finite() {
                found.push((gradient, self.details[place]));
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use brainmvp_volume::{Affine, Grid};
    use proptest::prelude::*;

    use super::*;

    /// Numbers of a normal distribution, from a small generator of its own.
    fn gaussian(seed: u64, count: usize) -> Vec<f32> {
        let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        let mut uniform = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 11) as f64 / (1_u64 << 53) as f64
        };
        // The sum of twelve uniform numbers has variance 1.
        (0..count).map(|_| ((0..12).map(|_| uniform()).sum::<f64>() - 6.0) as f32).collect()
    }

    /// A head of smooth tissue, bright within a ball, with stripes of 16 voxels for anatomy.
    fn head(noise: f32, seed: u64) -> (Volume, Vec<bool>) {
        let grid = Grid::new([48, 44, 40], Affine::from_spacing([1.0; 3], [0.0; 3]));
        let noises = gaussian(seed, grid.len());
        let inside: Vec<bool> = (0..grid.len())
            .map(|place| {
                let [x, y, z] = grid.voxel(place).map(|i| i as f64);
                (x - 24.0).powi(2) + (y - 22.0).powi(2) + (z - 20.0).powi(2) < 18.0_f64.powi(2)
            })
            .collect();
        let value = |place: usize| {
            let [x, y, _] = grid.voxel(place);
            let tissue = if (x / 16 + y / 16) % 2 == 0 { 600.0 } else { 900.0 };
            if inside[place] { tissue + x as f32 + noise * noises[place] } else { 0.0 }
        };
        (Volume::new(grid, (0..grid.len()).map(value).collect()), inside)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(12))]

        #[test]
        fn known_noise_is_found(noise in 2.0_f32..60.0, seed in 0_u64..1000) {
            let (image, inside) = head(noise, seed);
            let found = noise_deviation(&image, &inside).unwrap();
            // At the lowest noise the shading, of 1 in a voxel, counts too.
            prop_assert!((found / f64::from(noise) - 1.0).abs() < 0.15, "{found} for {noise}");
        }
    }

    #[test]
    fn nothing_to_measure() {
        let (image, inside) = head(0.0, 1);
        assert_eq!(noise_deviation(&image, &vec![false; inside.len()]), None);
        assert_eq!(noise_deviation(&image.map(|_| 3.0), &inside), None, "no noise at all");
        assert_eq!(noise_deviation(&image.map(|_| f32::NAN), &inside), None);
        for shape in [[1, 1, 1], [64, 64, 1], [1, 64, 64], [0, 3, 3]] {
            let grid = Grid::new(shape, Affine::from_spacing([1.0; 3], [0.0; 3]));
            assert_eq!(noise_deviation(&Volume::filled(grid, 1.0), &vec![true; grid.len()]), None);
        }
    }

    #[test]
    fn a_few_thick_slices_are_enough() {
        let grid = Grid::new([96, 96, 4], Affine::from_spacing([1.0, 1.0, 20.0], [0.0; 3]));
        let voxels = gaussian(7, grid.len()).into_iter().map(|noise| 500.0 + 10.0 * noise).collect();
        let found = noise_deviation(&Volume::new(grid, voxels), &vec![true; grid.len()]).unwrap();
        assert!((found - 10.0).abs() < 1.0, "{found}");
    }
}
