//! The peak speed of the machine.

use std::hint::black_box;
use std::time::Instant;

use super::simd::{InstructionSet, Lanes, dispatch, sum};

/// Independent chains of multiply-adds: more than latency times units on any machine.
const CHAINS: usize = 12;

/// fp32 operations per second when all threads do nothing but multiply and add in registers, the best of several runs
/// (a fifth of a second in total). A kernel's speed is given as a share of it.
pub fn peak_flops() -> f64 {
    const TURNS: usize = 400_000;
    const RUNS: usize = 10;
    let set = InstructionSet::detect();
    let run = || {
        let start = Instant::now();
        let operations = rayon::broadcast(|_| {
            let mut operations = 0.0;
            chains(set, TURNS, &mut operations);
            operations
        });
        operations.into_iter().sum::<f64>() / start.elapsed().as_secs_f64()
    };
    (0..RUNS).map(|_| run()).fold(0.0, f64::max)
}

dispatch! {
    /// Runs the chains and returns the number of operations.
    fn chains(turns: usize, operations: &mut f64) = chains_of
}

#[inline(always)]
unsafe fn chains_of<L: Lanes>(turns: usize, operations: &mut f64) {
    // SAFETY: the caller has the instruction set of `L`.
    unsafe {
        let (factor, term) = (L::splat(black_box(0.999)), L::splat(black_box(0.001)));
        let mut values = [factor; CHAINS];
        for _ in 0..turns {
            for value in &mut values {
                *value = term.mul_add(*value, factor);
            }
        }
        for value in values {
            black_box(sum(value));
        }
    }
    *operations = (2 * turns * CHAINS * L::N) as f64;
}
