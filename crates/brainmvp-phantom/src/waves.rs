//! Smooth random fields: sums of plane waves.
//!
//! A sum of waves of one wavelength is the random field whose zero lines wind like a labyrinth, at an even
//! distance from each other: the pattern of sulci. Sums over a band of long wavelengths make deformations,
//! coil sensitivities and the mottling of tissue.

use super::random::Random;
use super::shape::Point;

/// Waves evaluated together, so that the compiler can use vector instructions.
const LANES: usize = 8;

/// Which waves to draw.
#[derive(Debug, Clone, Copy)]
pub(super) struct Band {
    /// Number of waves; rounded up to a multiple of 8.
    pub(super) count: usize,
    /// Shortest and longest wavelength in mm.
    pub(super) wavelength_mm: [f32; 2],
    /// Factors on the wave vectors along x, y and z: a small one stretches the pattern along that axis.
    pub(super) stretch: Point,
}

impl Band {
    /// Waves of the same strength in all directions.
    pub(super) fn isotropic(count: usize, shortest_mm: f32, longest_mm: f32) -> Self {
        Self { count, wavelength_mm: [shortest_mm, longest_mm], stretch: [1.0; 3] }
    }
}

#[derive(Debug, Clone, Default)]
struct Lanes {
    /// Wave vectors in turns per mm, one array an axis.
    vector: [[f32; LANES]; 3],
    phase: [f32; LANES],
}

/// A random field of mean 0 and variance 1.
#[derive(Debug, Clone)]
pub(super) struct Waves {
    lanes: Vec<Lanes>,
    amplitude: f32,
}

impl Waves {
    /// Draws the waves of a band.
    pub(super) fn draw(random: &mut Random, band: Band) -> Self {
        let groups = band.count.div_ceil(LANES).max(1);
        let [shortest, longest] = band.wavelength_mm;
        let mut lanes = vec![Lanes::default(); groups];
        for group in &mut lanes {
            for lane in 0..LANES {
                let direction = random.direction();
                let frequency = random.between(1.0 / longest, 1.0 / shortest);
                for axis in 0..3 {
                    group.vector[axis][lane] = direction[axis] * frequency * band.stretch[axis];
                }
                group.phase[lane] = random.unit();
            }
        }
        Self { lanes, amplitude: (2.0 / (groups * LANES) as f32).sqrt() }
    }

    /// The field at a point.
    pub(super) fn value(&self, p: Point) -> f32 {
        let mut sum = [0.0; LANES];
        for group in &self.lanes {
            for lane in 0..LANES {
                sum[lane] += cosine_of_turns(group.turns(p, lane));
            }
        }
        total(sum) * self.amplitude
    }

    /// The field at a point and its gradient per mm.
    pub(super) fn value_and_gradient(&self, p: Point) -> (f32, Point) {
        let mut sum = [0.0; LANES];
        let mut slope = [[0.0; LANES]; 3];
        for group in &self.lanes {
            for lane in 0..LANES {
                let turns = group.turns(p, lane);
                let sine = cosine_of_turns(turns - 0.25);
                sum[lane] += cosine_of_turns(turns);
                slope[0][lane] += group.vector[0][lane] * sine;
                slope[1][lane] += group.vector[1][lane] * sine;
                slope[2][lane] += group.vector[2][lane] * sine;
            }
        }
        let factor = -self.amplitude * std::f32::consts::TAU;
        (total(sum) * self.amplitude, slope.map(|s| total(s) * factor))
    }
}

impl Lanes {
    #[inline(always)]
    fn turns(&self, p: Point, lane: usize) -> f32 {
        p[0] * self.vector[0][lane]
            + p[1] * self.vector[1][lane]
            + p[2] * self.vector[2][lane]
            + self.phase[lane]
    }
}

fn total(lanes: [f32; LANES]) -> f32 {
    ((lanes[0] + lanes[4]) + (lanes[1] + lanes[5])) + ((lanes[2] + lanes[6]) + (lanes[3] + lanes[7]))
}

/// cos(2 pi `turns`), within 4e-6 for |`turns`| < 1e4, by exact IEEE operations only.
#[inline(always)]
pub(super) fn cosine_of_turns(turns: f32) -> f32 {
    // Adding and subtracting 1.5 * 2^23 rounds to the nearest whole number without a call.
    const ROUND: f32 = 12_582_912.0;
    let whole = (turns + ROUND) - ROUND;
    // cos(2 pi r) = sin(2 pi (1/4 - |r|)), whose argument is in [-1/4, 1/4]: Taylor to the ninth degree.
    let x = 0.25 - (turns - whole).abs();
    let y = x * x;
    x * (6.283_185_5 + y * (-41.341_7 + y * (81.605_25 + y * (-76.705_86 + y * 42.058_693))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Purpose;

    #[test]
    fn cosine_is_close() {
        for step in -4000..4000 {
            let turns = step as f32 * 0.0137;
            let exact = (f64::from(turns) * std::f64::consts::TAU).cos();
            assert!((f64::from(cosine_of_turns(turns)) - exact).abs() < 2e-5, "{turns}");
        }
    }

    #[test]
    fn gradient_matches_differences_and_variance_is_one() {
        let mut random = Random::new(3, 0, Purpose::Anatomy);
        let waves = Waves::draw(&mut random, Band::isotropic(24, 18.0, 22.0));
        let mut square = 0.0;
        for step in 0..2000 {
            let p = [step as f32 * 1.7, step as f32 * -0.9, step as f32 * 0.31];
            let (value, gradient) = waves.value_and_gradient(p);
            assert!((value - waves.value(p)).abs() < 1e-5);
            for axis in 0..3 {
                let mut moved = p;
                moved[axis] += 0.05;
                let mut back = p;
                back[axis] -= 0.05;
                let slope = (waves.value(moved) - waves.value(back)) / 0.1;
                assert!((slope - gradient[axis]).abs() < 5e-3, "{slope} {gradient:?}");
            }
            square += value * value / 2000.0;
        }
        assert!((0.6..1.5).contains(&square), "{square}");
    }
}
