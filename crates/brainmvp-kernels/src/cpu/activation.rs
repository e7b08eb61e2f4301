//! Exponential, the exact (erf) GELU, and the leaky ReLU of a sum, on vectors of floats.

use super::buffer::build;
use super::simd::{InstructionSet, Lanes, dispatch, load_some, store_some};

/// `1.5 * 2^23`: adding it rounds to an integer, which is then in the low bits.
const ROUNDING: f32 = 12_582_912.0;
/// Below this the exponential is no longer a normal float.
const SMALLEST_EXPONENT: f32 = -87.3;

/// `e^x` for `x <= 88`, within 2e-7 relative; values that would underflow give the smallest normal float.
#[inline(always)]
pub(crate) unsafe fn exp<L: Lanes>(x: L) -> L {
    // e^x = 2^n e^r, n the integer nearest to x / ln 2 and |r| <= ln 2 / 2, where a Taylor sum converges fast.
    const TAYLOR: [f32; 6] = [1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0];
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    // SAFETY: the caller has the instruction set of `L`.
    unsafe {
        let x = x.max(L::splat(SMALLEST_EXPONENT));
        let rounded = L::splat(ROUNDING).mul_add(x, L::splat(std::f32::consts::LOG2_E));
        let n = rounded.sub(L::splat(ROUNDING));
        let r = x.mul_add(n, L::splat(-LN_2_HIGH)).mul_add(n, L::splat(-LN_2_LOW));
        let mut sum = L::splat(1.0 / 720.0);
        for coefficient in TAYLOR {
            sum = L::splat(coefficient).mul_add(sum, r);
        }
        sum.mul(rounded.exponent_from_low_bits())
    }
}

/// The standard normal distribution at `z`: cumulative probability within 1e-6, and density.
///
/// Abramowitz and Stegun, Handbook of Mathematical Functions, 7.1.26: `1 - erf(a) = t P(t) e^(-a^2)`,
/// `t = 1 / (1 + p a)`. The exponential is the density's.
#[inline(always)]
unsafe fn normal<L: Lanes>(z: L) -> (L, L) {
    const P: f32 = 0.327_591_1 * std::f32::consts::FRAC_1_SQRT_2;
    // Half of the handbook's coefficients, for the tail on one side.
    const COEFFICIENTS: [f32; 4] = [-0.726_576, 0.710_706_9, -0.142_248_37, 0.127_414_8];
    const FRAC_1_SQRT_2_PI: f32 = 0.398_942_3;
    // SAFETY: the caller has the instruction set of `L`.
    unsafe {
        let distance = z.max(L::zero().sub(z));
        let gaussian = exp(z.mul(z).mul(L::splat(-0.5)));
        let t = L::splat(1.0).div(L::splat(1.0).mul_add(distance, L::splat(P)));
        let mut sum = L::splat(0.530_702_7);
        for coefficient in COEFFICIENTS {
            sum = L::splat(coefficient).mul_add(sum, t);
        }
        let tail = sum.mul(t).mul(gaussian);
        // 1/2 + sign(z) (1/2 - tail), where the lower side keeps the tail's relative accuracy.
        let upper = L::splat(1.0).sub(tail);
        let cumulative = tail.where_negative(z, upper);
        (cumulative, gaussian.mul(L::splat(FRAC_1_SQRT_2_PI)))
    }
}

/// `z` times the normal distribution's cumulative probability at `z`.
#[inline(always)]
unsafe fn gelu_lanes<L: Lanes>(z: L) -> L {
    // SAFETY: the caller has the instruction set of `L`.
    unsafe { z.mul(normal(z).0) }
}

dispatch! {
    /// `output[i] = gelu(z[i])` for `count` floats; `output` may be `z`.
    unsafe fn gelu(z: *const f32, output: *mut f32, count: usize) = gelu_values
}

dispatch! {
    /// `z[i]` becomes `gelu(z[i])`, and `gradient[i]` is multiplied by the derivative there, for `count` floats.
    unsafe fn gelu_with_gradient(z: *mut f32, gradient: *mut f32, count: usize) = gelu_with_gradient_values
}

#[inline(always)]
unsafe fn gelu_values<L: Lanes>(z: *const f32, output: *mut f32, count: usize) {
    for i in (0..count).step_by(L::N) {
        let left = (count - i) as isize;
        // SAFETY: the caller promises `count` floats behind both pointers, and the instruction set of `L`.
        unsafe { store_some(gelu_lanes(load_some::<L>(z.add(i), left)), output.add(i), left) };
    }
}

#[inline(always)]
unsafe fn gelu_with_gradient_values<L: Lanes>(z: *mut f32, gradient: *mut f32, count: usize) {
    for i in (0..count).step_by(L::N) {
        let left = (count - i) as isize;
        // SAFETY: the caller promises `count` floats behind the pointers, and the instruction set of `L`.
        unsafe {
            let (values, upstream) = (load_some::<L>(z.add(i), left), load_some::<L>(gradient.add(i), left));
            let (cumulative, density) = normal(values);
            store_some(values.mul(cumulative), z.add(i), left);
            store_some(upstream.mul(cumulative.mul_add(values, density)), gradient.add(i), left);
        }
    }
}

/// Floats per task of the sums.
const CHUNK: usize = 1 << 15;

/// The leaky ReLU of `x + y`.
pub(crate) fn leaky_sum(x: &[f32], y: &[f32], slope: f32) -> Vec<f32> {
    over_chunks([x, y], |set, [x, y], to| {
        // SAFETY: all three have the same number of floats.
        unsafe { leaky_sum_on(set, x, y, slope, to) }
    })
}

/// The gradient of [`leaky_sum`] for either of its inputs, given its output and the gradient for that.
pub(crate) fn leaky_sum_backward(output: &[f32], gradient: &[f32], slope: f32) -> Vec<f32> {
    over_chunks([output, gradient], |set, [output, gradient], to| {
        // SAFETY: all three have the same number of floats.
        unsafe { leaky_gradient_on(set, output, gradient, slope, to) }
    })
}

/// As many floats as there are of each slice, which `fill` writes from chunks of them.
fn over_chunks(from: [&[f32]; 2], fill: impl Fn(InstructionSet, [&[f32]; 2], *mut f32) + Sync) -> Vec<f32> {
    let len = from[0].len();
    assert_eq!(from[1].len(), len);
    let set = InstructionSet::detect();
    // SAFETY: the kernels write all floats of the chunk.
    let [output] = unsafe {
        build(len, CHUNK, |index, [to], count| {
            fill(set, from.map(|values| &values[index * CHUNK..][..count]), to);
        })
    };
    output
}

dispatch! {
    /// All of `to`, as many floats as each slice has, is written.
    unsafe fn leaky_sum_on(x: &[f32], y: &[f32], slope: f32, to: *mut f32) = leaky_sum_values
}

dispatch! {
    /// All of `to`, as many floats as each slice has, is written.
    unsafe fn leaky_gradient_on(output: &[f32], gradient: &[f32], slope: f32, to: *mut f32) = leaky_gradient_values
}

#[inline(always)]
unsafe fn leaky_sum_values<L: Lanes>(x: &[f32], y: &[f32], slope: f32, to: *mut f32) {
    for at in (0..x.len()).step_by(L::N) {
        let count = (x.len() - at) as isize;
        // SAFETY: the caller has the instruction set of `L`, and as many floats in all three.
        unsafe {
            let [x, y] = [x, y].map(|values| load_some::<L>(values.as_ptr().add(at), count));
            let sum = x.add(y);
            store_some(sum.mul(L::splat(slope)).where_negative(sum, sum), to.add(at), count);
        }
    }
}

#[inline(always)]
unsafe fn leaky_gradient_values<L: Lanes>(output: &[f32], gradient: &[f32], slope: f32, to: *mut f32) {
    for at in (0..output.len()).step_by(L::N) {
        let count = (output.len() - at) as isize;
        // SAFETY: the caller has the instruction set of `L`, and as many floats in all three.
        unsafe {
            let [output, gradient] =
                [output, gradient].map(|values| load_some::<L>(values.as_ptr().add(at), count));
            let above_zero = L::zero().sub(output);
            let scaled = gradient.mul(L::splat(slope));
            store_some(gradient.where_negative(above_zero, scaled), to.add(at), count);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::simd::InstructionSet;

    /// `erf` by its Taylor series in f64: sum of (-1)^n x^(2n+1) / (n! (2n+1)).
    fn erf(x: f64) -> f64 {
        let (mut term, mut sum) = (x, x);
        for n in 1..200 {
            term *= -x * x / n as f64;
            sum += term / (2 * n + 1) as f64;
        }
        sum * 2.0 / std::f64::consts::PI.sqrt()
    }

    fn points() -> Vec<f32> {
        (-4003..4004).map(|i| i as f32 / 1000.0).collect()
    }

    #[test]
    fn gelu_is_the_exact_one() {
        let z = points();
        for set in InstructionSet::available() {
            let mut output = vec![f32::NAN; z.len()];
            // SAFETY: both hold `z.len()` floats.
            unsafe { gelu(set, z.as_ptr(), output.as_mut_ptr(), z.len()) };
            for (&z, &got) in z.iter().zip(&output) {
                let z = f64::from(z);
                let expected = z * 0.5 * (1.0 + erf(z / std::f64::consts::SQRT_2));
                assert!((f64::from(got) - expected).abs() < 1e-6, "{set:?} at {z}: {got}, not {expected}");
            }
        }
    }

    #[test]
    fn gelu_gradient_is_the_derivative() {
        let z = points();
        for set in InstructionSet::available() {
            let (mut values, mut output) = (z.clone(), vec![2.0; z.len()]);
            // SAFETY: both hold `z.len()` floats.
            unsafe { gelu_with_gradient(set, values.as_mut_ptr(), output.as_mut_ptr(), z.len()) };
            for (&z, &got) in z.iter().zip(&output) {
                let z = f64::from(z);
                let density = (-0.5 * z * z).exp() / (2.0 * std::f64::consts::PI).sqrt();
                let expected = 0.5 * (1.0 + erf(z / std::f64::consts::SQRT_2)) + z * density;
                assert!((f64::from(got) / 2.0 - expected).abs() < 1e-6, "{set:?} at {z}: {got}");
            }
        }
    }

    #[test]
    fn far_values_and_nans() {
        let z = [-1e30, -200.0, -20.0, 20.0, 1e4, f32::NAN];
        for set in InstructionSet::available() {
            let mut output = [1.0; 6];
            // SAFETY: both hold six floats.
            unsafe { gelu(set, z.as_ptr(), output.as_mut_ptr(), 6) };
            assert!(output[..3].iter().all(|x| x.abs() < 1e-6), "{set:?}: {output:?}");
            assert_eq!(output[3..5], [20.0, 1e4]);
            assert!(output[5].is_nan(), "{set:?}");
        }
    }
}
