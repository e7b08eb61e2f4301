//! Minimisation of a smooth convex function (L-BFGS; Nocedal 1980).

use std::collections::VecDeque;

use crate::Matrix;

/// Steps that the curvature is estimated from.
const MEMORY: usize = 12;

/// The most steps. A strictly convex function needs far fewer.
const STEPS: usize = 3000;

/// Where a function is smallest, from `start` on: there no slope is larger than `tolerance`, or rounding allows no descent any
/// more. `of` returns the value and the slopes; `steps` says how far a slope of 1 leads in each direction at first, the
/// inverse of a bound on the curvature.
pub(crate) fn minimise(
    start: Matrix,
    steps: &Matrix,
    tolerance: f64,
    of: impl Fn(&Matrix) -> (f64, Matrix),
) -> Matrix {
    let mut at = start;
    let (mut value, mut slopes) = of(&at);
    let mut memory: VecDeque<Step> = VecDeque::new();
    for _ in 0..STEPS {
        if slopes.amax() <= tolerance {
            break;
        }
        let direction = descent(&slopes, steps, &memory);
        let steepness = slopes.dot(&direction);
        let halved = (0..40).map(|halvings| 0.5_f64.powi(halvings));
        let next = halved.into_iter().find_map(|length| {
            let there = &at + &direction * length;
            let (lower, slopes) = of(&there);
            // The sums of the values are rounded.
            let rounding = 1e-15 * (1.0 + value.abs());
            (lower <= value + 1e-4 * length * steepness + rounding).then_some((there, lower, slopes))
        });
        let Some((there, lower, there_slopes)) = next else { break };
        let (moved, change) = (&there - &at, &there_slopes - &slopes);
        let curvature = moved.dot(&change);
        if curvature > 0.0 {
            if memory.len() == MEMORY {
                memory.pop_front();
            }
            memory.push_back(Step { moved, change, curvature });
        }
        (at, value, slopes) = (there, lower, there_slopes);
    }
    at
}

/// A step: how far, how the slopes changed, and the product of both.
struct Step {
    moved: Matrix,
    change: Matrix,
    curvature: f64,
}

/// The direction to go.
fn descent(slopes: &Matrix, steps: &Matrix, memory: &VecDeque<Step>) -> Matrix {
    let mut direction = -slopes;
    let mut shares = Vec::with_capacity(memory.len());
    for Step { moved, change, curvature } in memory.iter().rev() {
        let share = moved.dot(&direction) / curvature;
        direction -= change * share;
        shares.push(share);
    }
    direction.component_mul_assign(steps);
    if let Some(Step { change, curvature, .. }) = memory.back() {
        direction *= curvature / change.dot(&change.component_mul(steps));
    }
    for (Step { moved, change, curvature }, share) in memory.iter().zip(shares.into_iter().rev()) {
        let other = change.dot(&direction) / curvature;
        direction += moved * (share - other);
    }
    direction
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bottom_of_a_narrow_valley_is_found() {
        // Curvatures of 1 to 10^6, turned, so that no coordinate has one of its own.
        let curvatures = [1.0, 30.0, 1e3, 1e6];
        let turn = Matrix::from_fn(4, 4, |i, j| ((i * 4 + j) as f64).sin()).qr().q();
        let form = &turn * Matrix::from_diagonal(&curvatures.to_vec().into()) * turn.transpose();
        let bottom = Matrix::from_column_slice(4, 1, &[1.0, -2.0, 3.0, 0.5]);
        let of = |x: &Matrix| {
            let away = x - &bottom;
            let slopes = &form * &away;
            (0.5 * away.dot(&slopes), slopes)
        };
        let found = minimise(Matrix::zeros(4, 1), &Matrix::repeat(4, 1, 1e-6), 1e-9, of);
        assert!((found - bottom).amax() < 1e-6);
    }
}
