//! Exponential and the exact (erf) GELU on vectors of floats.

use super::simd::{Lanes, WIDEST_LANES, dispatch};

/// `1.5 * 2^23`: adding it rounds to an integer, which is then in the low bits.
const ROUNDING: f32 = 12_582_912.0;
/// Below it the exponential is not a normal float any more.
const SMALLEST_EXPONENT: f32 = -87.3;

/// `e^x` for `x <= 88`, within 2e-7 relative; what would underflow gives the smallest normal float.
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
    // Half the handbook's coefficients: half the tail is what one side has.
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

/// `gradient` times the derivative of GELU at `z`.
#[inline(always)]
unsafe fn gelu_gradient_lanes<L: Lanes>(z: L, gradient: L) -> L {
    // SAFETY: the caller has the instruction set of `L`.
    unsafe {
        let (cumulative, density) = normal(z);
        gradient.mul(cumulative.mul_add(z, density))
    }
}

dispatch! {
    /// `output[i] = gelu(z[i])` for `count` floats; `output` may be `z`.
    unsafe fn gelu(z: *const f32, output: *mut f32, count: usize) = gelu_values
}

dispatch! {
    /// `output[i] = gradient[i] gelu'(z[i])` for `count` floats; `output` may be one of the inputs.
    unsafe fn gelu_gradient(z: *const f32, gradient: *const f32, output: *mut f32, count: usize) = gelu_gradient_values
}

#[inline(always)]
unsafe fn gelu_values<L: Lanes>(z: *const f32, output: *mut f32, count: usize) {
    let whole = count - count % L::N;
    // SAFETY: the caller promises `count` floats behind both pointers, and the instruction set of `L`.
    unsafe {
        for i in (0..whole).step_by(L::N) {
            gelu_lanes(L::load(z.add(i))).store(output.add(i));
        }
        let rest = count - whole;
        let mut lanes = [0.0; WIDEST_LANES];
        lanes.as_mut_ptr().copy_from_nonoverlapping(z.add(whole), rest);
        gelu_lanes(L::load(lanes.as_ptr())).store(lanes.as_mut_ptr());
        output.add(whole).copy_from_nonoverlapping(lanes.as_ptr(), rest);
    }
}

#[inline(always)]
unsafe fn gelu_gradient_values<L: Lanes>(
    z: *const f32,
    gradient: *const f32,
    output: *mut f32,
    count: usize,
) {
    let whole = count - count % L::N;
    // SAFETY: the caller promises `count` floats behind the pointers, and the instruction set of `L`.
    unsafe {
        for i in (0..whole).step_by(L::N) {
            gelu_gradient_lanes(L::load(z.add(i)), L::load(gradient.add(i))).store(output.add(i));
        }
        let rest = count - whole;
        let (mut lanes, mut gradients) = ([0.0; WIDEST_LANES], [0.0; WIDEST_LANES]);
        lanes.as_mut_ptr().copy_from_nonoverlapping(z.add(whole), rest);
        gradients.as_mut_ptr().copy_from_nonoverlapping(gradient.add(whole), rest);
        gelu_gradient_lanes(L::load(lanes.as_ptr()), L::load(gradients.as_ptr())).store(lanes.as_mut_ptr());
        output.add(whole).copy_from_nonoverlapping(lanes.as_ptr(), rest);
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
            let mut output = vec![f32::NAN; z.len()];
            let gradient = vec![2.0; z.len()];
            // SAFETY: all hold `z.len()` floats.
            unsafe { gelu_gradient(set, z.as_ptr(), gradient.as_ptr(), output.as_mut_ptr(), z.len()) };
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
