//! The sums of a segmentation's losses in one pass over memory, and their gradient in another.

use rayon::prelude::*;

use super::activation::exp;
use super::buffer::build;
use super::simd::{InstructionSet, Lanes, WIDEST_LANES, dispatch, load_some, store_some};
use crate::ops::overlap::SUMS;

/// Registers of each class in a chunk. A chunk begins with the first class in whichever lanes there are.
const REGISTERS: usize = 1 << 9;

/// The sums of each class, `[4, classes]`, of logits and members `[voxels, classes]`. Chunks are added in order and in
/// double precision.
pub(crate) fn forward(logits: &[f32], members: &[f32], classes: usize) -> Vec<f32> {
    assert_eq!(logits.len(), members.len());
    let set = InstructionSet::detect();
    let chunk = chunk(classes);
    let parts: Vec<Vec<f64>> = logits
        .par_chunks(chunk)
        .zip(members.par_chunks(chunk))
        .map(|(logits, members)| {
            let mut sums = vec![0.0; SUMS * classes];
            add_sums(set, logits, members, &mut sums);
            sums
        })
        .collect();
    let mut total = vec![0.0_f64; SUMS * classes];
    for part in parts {
        total.iter_mut().zip(part).for_each(|(total, sum)| *total += sum);
    }
    total.into_iter().map(|sum| sum as f32).collect()
}

/// The gradient for the logits, given that for the sums.
pub(crate) fn backward(logits: &[f32], members: &[f32], gradient: &[f32], classes: usize) -> Vec<f32> {
    assert!(logits.len() == members.len() && gradient.len() == SUMS * classes);
    let set = InstructionSet::detect();
    let chunk = chunk(classes);
    // What each lane of as many registers as there are classes takes part in: then the classes begin anew.
    let repeated: [Vec<f32>; SUMS] = std::array::from_fn(|sum| {
        let of = &gradient[sum * classes..][..classes];
        of.iter().copied().cycle().take(classes * WIDEST_LANES).collect()
    });
    // SAFETY: the kernel writes all floats of the chunk.
    let [gradient] = unsafe {
        build(logits.len(), chunk, |index, [to], count| {
            let part = index * chunk..index * chunk + count;
            gradients(set, [&logits[part.clone()], &members[part]], &repeated, to);
        })
    };
    gradient
}

/// Floats of a chunk.
fn chunk(classes: usize) -> usize {
    REGISTERS * WIDEST_LANES * classes
}

dispatch! {
    /// Adds the sums of a chunk.
    fn add_sums(logits: &[f32], members: &[f32], sums: &mut [f64]) = add_sums_of
}

dispatch! {
    /// Writes the gradients of a chunk.
    unsafe fn gradients(from: [&[f32]; 2], of_sums: &[Vec<f32>; SUMS], to: *mut f32) = gradients_of
}

#[inline(always)]
unsafe fn add_sums_of<L: Lanes>(logits: &[f32], members: &[f32], sums: &mut [f64]) {
    let classes = sums.len() / SUMS;
    // SAFETY: the caller has the instruction set of `L`; the places lie in the slices.
    unsafe {
        let mut lanes = vec![[L::zero(); SUMS]; classes];
        for (register, at) in (0..logits.len()).step_by(L::N).enumerate() {
            let left = (logits.len() - at) as isize;
            let (x, member) =
                (load_some::<L>(logits.as_ptr().add(at), left), load_members(members.as_ptr().add(at), left));
            let (probability, softplus) = sigmoid(x);
            let known = |value: L| L::zero().where_negative(member, value);
            let (p, t) = (known(probability), known(member));
            let entropy = known(softplus.sub(x.mul(member)));
            let [overlap, predicted, labelled, all] = &mut lanes[register % classes];
            *overlap = overlap.mul_add(p, t);
            *predicted = predicted.mul_add(p, p);
            *labelled = labelled.mul_add(t, t);
            *all = all.add(entropy);
        }
        for (register, of) in lanes.into_iter().enumerate() {
            for (sum, of) in of.into_iter().enumerate() {
                let mut values = [0.0; WIDEST_LANES];
                of.store(values.as_mut_ptr());
                for (lane, value) in values[..L::N].iter().enumerate() {
                    sums[sum * classes + (register * L::N + lane) % classes] += f64::from(*value);
                }
            }
        }
    }
}

#[inline(always)]
unsafe fn gradients_of<L: Lanes>([logits, members]: [&[f32]; 2], of_sums: &[Vec<f32>; SUMS], to: *mut f32) {
    // SAFETY: the caller has the instruction set of `L`; as many floats lie behind all pointers.
    unsafe {
        let period = of_sums[0].len();
        for at in (0..logits.len()).step_by(L::N) {
            let left = (logits.len() - at) as isize;
            let (x, member) =
                (load_some::<L>(logits.as_ptr().add(at), left), load_members(members.as_ptr().add(at), left));
            let [of_overlap, of_predicted, _, of_entropy] =
                [0, 1, 2, 3].map(|sum| L::load(of_sums[sum].as_ptr().add(at % period)));
            let (p, _) = sigmoid(x);
            let of_probability = of_overlap.mul(member).mul_add(of_predicted, p.add(p));
            let gradient = of_entropy.mul(p.sub(member)).mul_add(p.sub(p.mul(p)), of_probability);
            store_some(L::zero().where_negative(member, gradient), to.add(at), left);
        }
    }
}

/// Some members; beyond them what is not known.
///
/// # Safety
/// There are `count` floats, and the machine has the instruction set.
#[inline(always)]
unsafe fn load_members<L: Lanes>(from: *const f32, count: isize) -> L {
    // SAFETY: the caller's promise; the array is as long as the widest lanes.
    unsafe {
        if count >= L::N as isize {
            return L::load(from);
        }
        let mut values = [-1.0; WIDEST_LANES];
        values.as_mut_ptr().copy_from_nonoverlapping(from, count.max(0) as usize);
        L::load(values.as_ptr())
    }
}

/// The logistic function, and `log(1 + e^x)`.
///
/// # Safety
/// The machine has the instruction set.
#[inline(always)]
unsafe fn sigmoid<L: Lanes>(x: L) -> (L, L) {
    /// `2 atanh(s) / s` by powers of `s^2`, from the highest: within 1e-8 up to `s` = 1/3.
    const ATANH: [f32; 7] = [2.0 / 13.0, 2.0 / 11.0, 2.0 / 9.0, 2.0 / 7.0, 2.0 / 5.0, 2.0 / 3.0, 2.0];
    // SAFETY: the caller's promise.
    unsafe {
        let (one, distance) = (L::splat(1.0), x.max(L::zero().sub(x)));
        let below = exp(L::zero().sub(distance));
        let inverse = one.div(one.add(below));
        let probability = below.mul(inverse).where_negative(x, inverse);
        // log(1 + e) = 2 atanh(e / (2 + e)).
        let s = below.div(below.add(L::splat(2.0)));
        let square = s.mul(s);
        let mut sum = L::zero();
        for coefficient in ATANH {
            sum = L::splat(coefficient).mul_add(sum, square);
        }
        (probability, x.max(L::zero()).mul_add(sum, s))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sums_are_those_of_the_formulas() {
        let formula = |x: f64, t: f64| {
            let p = 1.0 / (1.0 + (-x).exp());
            [p * t, p * p, t * t, x.max(0.0) + (-x.abs()).exp().ln_1p() - x * t]
        };
        // Several chunks, the last of which does not fill its last register.
        let classes = 3;
        let count = classes * (2 * REGISTERS * WIDEST_LANES + 5);
        let logits: Vec<f32> = (0..count).map(|i| ((i * 37) % 211) as f32 / 5.0 - 20.0).collect();
        let members: Vec<f32> = (0..count).map(|i| [1.0, 0.0, -1.0, 0.0][(i / 7) % 4]).collect();
        let mut expected = vec![0.0; SUMS * classes];
        for (at, (x, t)) in logits.iter().zip(&members).enumerate().filter(|(_, (_, t))| **t >= 0.0) {
            for (sum, value) in formula(f64::from(*x), f64::from(*t)).into_iter().enumerate() {
                expected[sum * classes + at % classes] += value;
            }
        }
        for set in InstructionSet::available() {
            let sums = set.run(|| forward(&logits, &members, classes));
            for (sum, expected) in sums.iter().zip(&expected) {
                assert!(
                    (f64::from(*sum) - expected).abs() < 2e-6 * expected,
                    "{set:?}: {sum}, not {expected}"
                );
            }
        }
    }

    #[test]
    fn far_from_zero_the_entropy_is_a_line() {
        for set in InstructionSet::available() {
            for (x, t, entropy) in
                [(200.0, 0.0, 200.0), (-200.0, 1.0, 200.0), (200.0, 1.0, 0.0), (-200.0, 0.0, 0.0)]
            {
                let sums = set.run(|| forward(&[x], &[t], 1));
                assert!((sums[3] - entropy).abs() < 1e-6, "{set:?}: {x} {t} {sums:?}");
                let gradient = set.run(|| backward(&[x], &[t], &[0.0, 0.0, 0.0, 1.0], 1));
                let slope = if entropy == 0.0 { 0.0 } else { x.signum() };
                assert!((gradient[0] - slope).abs() < 1e-6, "{set:?}: {x} {t} {gradient:?}");
            }
        }
    }
}
