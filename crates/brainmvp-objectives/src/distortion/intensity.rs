//! Non-linear maps of intensity (Models Genesis): Bezier curves.

use rand::{Rng, RngExt};

/// Steps of the table of a map.
const STEPS: usize = 4096;

/// Points of the curve.
const POINTS: usize = 4 * STEPS;

/// A map of `[0, 1]` onto itself: a table, linear between its entries.
#[derive(Debug, Clone, PartialEq)]
pub struct IntensityMap {
    table: Vec<f32>,
}

/// Whether bright stays bright.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Course {
    /// From 0 to 1.
    Rising,
    /// From 1 to 0.
    Falling,
}

impl IntensityMap {
    /// A cubic Bezier curve from (0, 0) to (1, 1) with these two points between, which lie in the unit square.
    ///
    /// Both of its coordinates rise, so that it is the graph of a map. The falling map pairs each abscissa with the ordinate
    /// of the curve run through backwards, as the published program does.
    pub fn bezier(between: [[f64; 2]; 2], course: Course) -> Self {
        let point = |number: usize| number as f64 / POINTS as f64;
        let x = |number| curve(between, 0, point(number));
        let y = |number| match course {
            Course::Rising => curve(between, 1, point(number)),
            Course::Falling => curve(between, 1, 1.0 - point(number)),
        };
        let mut next = 1;
        let entry = |step: usize| {
            let at = step as f64 / STEPS as f64;
            while next < POINTS && x(next) < at {
                next += 1;
            }
            let (low, high) = (x(next - 1), x(next));
            let share = if high > low { ((at - low) / (high - low)).clamp(0.0, 1.0) } else { 1.0 };
            ((1.0 - share) * y(next - 1) + share * y(next)) as f32
        };
        Self { table: (0..=STEPS).map(entry).collect() }
    }

    /// A map with random points between; with this chance it falls.
    pub fn draw(falls: f64, rng: &mut dyn Rng) -> Self {
        let between = [[rng.random(), rng.random()], [rng.random(), rng.random()]];
        Self::bezier(between, if rng.random_bool(falls) { Course::Falling } else { Course::Rising })
    }

    /// The image of an intensity; one outside `[0, 1]` is moved to its end.
    pub fn at(&self, value: f32) -> f32 {
        let place = value.clamp(0.0, 1.0) * STEPS as f32;
        let below = (place as usize).min(STEPS - 1);
        let share = place - below as f32;
        self.table[below] + share * (self.table[below + 1] - self.table[below])
    }

    /// Maps all of these.
    pub fn apply(&self, voxels: &mut [f32]) {
        for value in voxels {
            *value = self.at(*value);
        }
    }
}

/// A coordinate of the curve at `t`.
fn curve([first, second]: [[f64; 2]; 2], axis: usize, t: f64) -> f64 {
    let s = 1.0 - t;
    3.0 * s * s * t * first[axis] + 3.0 * s * t * t * second[axis] + t * t * t
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;

    #[test]
    fn points_on_the_diagonal_change_nothing() {
        let third = 1.0 / 3.0;
        let same = IntensityMap::bezier([[third; 2], [2.0 * third; 2]], Course::Rising);
        assert!((0..=1000).all(|i| (same.at(i as f32 / 1000.0) - i as f32 / 1000.0).abs() < 1e-5));
    }

    #[test]
    fn the_middle_of_a_curve_by_hand() {
        let between = [[0.2, 0.8], [0.6, 0.9]];
        assert!((curve(between, 0, 0.5) - 0.425).abs() < 1e-12);
        assert!((curve(between, 1, 0.5) - 0.7625).abs() < 1e-12);
        assert!((IntensityMap::bezier(between, Course::Rising).at(0.425) - 0.7625).abs() < 1e-5);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        /// Maps go from end to end, and never back.
        #[test]
        fn maps_are_monotonic(seed: u64, falls: bool) {
            let map = IntensityMap::draw(f64::from(u8::from(falls)), &mut ChaCha8Rng::seed_from_u64(seed));
            let (first, last) = if falls { (1.0, 0.0) } else { (0.0, 1.0) };
            prop_assert!((map.at(0.0) - first).abs() < 1e-6 && (map.at(1.0) - last).abs() < 1e-6);
            prop_assert_eq!((map.at(-1.0), map.at(2.0)), (map.at(0.0), map.at(1.0)));
            let sign = if falls { -1.0 } else { 1.0 };
            let is_monotonic = map.table.windows(2).all(|pair| sign * (pair[1] - pair[0]) >= -1e-6);
            prop_assert!(is_monotonic);
        }
    }
}
