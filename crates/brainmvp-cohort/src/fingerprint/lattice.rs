//! Numbers on a cube of bins, and smoothing them.

use rayon::prelude::*;

/// A cube of bins, x fastest.
#[derive(Debug, Clone)]
pub(super) struct Lattice {
    pub(super) side: usize,
    pub(super) bins: Vec<f32>,
}

impl Lattice {
    pub(super) fn zeros(side: usize) -> Self {
        Self { side, bins: vec![0.0; side * side * side] }
    }

    /// `f` of each bin.
    pub(super) fn map(&self, f: impl Fn(f32) -> f32) -> Self {
        Self { side: self.side, bins: self.bins.iter().map(|bin| f(*bin)).collect() }
    }

    /// Each bin times a factor.
    pub(super) fn scaled(&self, factor: f64) -> Self {
        self.map(|bin| bin * factor as f32)
    }

    /// `f` of each bin of two.
    pub(super) fn with(&self, other: &Self, f: impl Fn(f32, f32) -> f32) -> Self {
        let bins = self.bins.iter().zip(&other.bins).map(|(a, b)| f(*a, *b)).collect();
        Self { side: self.side, bins }
    }

    /// Adds a value at a position in bins, distributed over the eight surrounding bins. Anything outside the cube is
    /// lost.
    pub(super) fn add(&mut self, [x, y, z]: [f32; 3], value: f32) {
        let side = self.side as isize;
        let (fx, fy, fz) = (x.floor(), y.floor(), z.floor());
        let (x0, y0, z0) = (fx as isize, fy as isize, fz as isize);
        if x0 < 0 || y0 < 0 || z0 < 0 || x0 + 1 >= side || y0 + 1 >= side || z0 + 1 >= side {
            return;
        }
        let (x, y, z) = (x - fx, y - fy, z - fz);
        let at = ((z0 * side + y0) * side + x0) as usize;
        for (step_z, weight_z) in [(0, 1.0 - z), (self.side * self.side, z)] {
            for (step_y, weight_y) in [(0, 1.0 - y), (self.side, y)] {
                let row = at + step_z + step_y;
                let weight = value * weight_z * weight_y;
                self.bins[row] += weight * (1.0 - x);
                self.bins[row + 1] += weight * x;
            }
        }
    }

    /// 1 in bins of this value or more, and in those that they shut off from the border of the cube; 0 elsewhere.
    pub(super) fn filled(&self, least: f32) -> Self {
        let side = self.side;
        let mut outside = vec![false; self.bins.len()];
        let on_border = |at: &usize| {
            [at % side, at / side % side, at / (side * side)]
                .iter()
                .any(|place| *place == 0 || *place + 1 == side)
        };
        let mut open: Vec<usize> = (0..self.bins.len()).filter(on_border).collect();
        while let Some(at) = open.pop() {
            if outside[at] || self.bins[at] >= least {
                continue;
            }
            outside[at] = true;
            let places = [at % side, at / side % side, at / (side * side)];
            for (place, step) in places.into_iter().zip([1, side, side * side]) {
                open.extend((place > 0).then(|| at - step));
                open.extend((place + 1 < side).then(|| at + step));
            }
        }
        Self { side, bins: outside.iter().map(|outside| f32::from(u8::from(!outside))).collect() }
    }

    /// Smoothed by a Gaussian of this deviation in bins, 0 beyond the cube.
    pub(super) fn smoothed(&self, deviation: f32) -> Self {
        let reach = (3.0 * deviation).ceil() as usize;
        let weight = |distance: usize| (-0.5 * (distance as f32 / deviation).powi(2)).exp();
        let total = weight(0) + 2.0 * (1..=reach).map(weight).sum::<f32>();
        let kernel: Vec<f32> = (0..=reach).map(|distance| weight(distance) / total).collect();
        let mut bins = self.bins.clone();
        // Smooths along x and rotates the axes, three times; the axes are then back in their order.
        for _ in 0..3 {
            bins = along_rows_and_turned(&bins, self.side, &kernel);
        }
        Self { side: self.side, bins }
    }
}

/// Rows convolved with a symmetric kernel, given by one half of it. The axes of the result are (y, z, x).
fn along_rows_and_turned(bins: &[f32], side: usize, kernel: &[f32]) -> Vec<f32> {
    let mut rows = vec![0.0; bins.len()];
    rows.par_chunks_mut(side).zip(bins.par_chunks(side)).for_each(|(out, row)| {
        for (distance, weight) in kernel.iter().enumerate().take(side) {
            for (at, out) in out[distance..].iter_mut().enumerate() {
                *out += weight * row[at];
            }
            if distance > 0 {
                for (at, out) in out[..side - distance].iter_mut().enumerate() {
                    *out += weight * row[at + distance];
                }
            }
        }
    });
    let mut turned = vec![0.0; bins.len()];
    turned.par_chunks_mut(side * side).enumerate().for_each(|(x, plane)| {
        for (at, out) in plane.iter_mut().enumerate() {
            // (y, z) of the new plane, x of the old rows: `at` is z * side + y.
            *out = rows[at * side + x];
        }
    });
    turned
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shut_off_is_filled() {
        let mut shell = Lattice::zeros(8);
        for (at, bin) in shell.bins.iter_mut().enumerate() {
            let places = [at % 8, at / 8 % 8, at / 64];
            let within = |margin: usize| places.iter().all(|place| (margin..8 - margin).contains(place));
            *bin = f32::from(u8::from(within(1) && !within(2)));
        }
        assert_eq!(shell.filled(0.5).bins.iter().sum::<f32>(), 216.0);
        // With a hole, the shell alone is left.
        shell.bins[(4 * 8 + 4) * 8 + 1] = 0.0;
        assert_eq!(shell.filled(0.5).bins.iter().sum::<f32>(), (216 - 64 - 1) as f32);
    }

    #[test]
    fn a_point_becomes_a_ball() {
        let mut lattice = Lattice::zeros(16);
        lattice.add([7.25, 8.0, 9.0], 2.0);
        assert_eq!(lattice.bins[(9 * 16 + 8) * 16 + 7], 1.5);
        let smooth = lattice.smoothed(1.5);
        let at = |x: usize, y: usize, z: usize| smooth.bins[(z * 16 + y) * 16 + x];
        assert!((smooth.bins.iter().sum::<f32>() - 2.0).abs() < 1e-4);
        assert!((at(7, 10, 9) - at(7, 8, 11)).abs() < 1e-6 && (at(7, 6, 9) - at(7, 10, 9)).abs() < 1e-6);
        assert!(at(7, 8, 9) > at(8, 8, 9) && at(8, 8, 9) > at(9, 8, 9));
    }
}
