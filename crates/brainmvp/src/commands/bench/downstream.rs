//! The work after pre-training: fine-tuning and inference.

use std::path::Path;
use std::time::Instant;

use brainmvp_train::bench::{Finetuning, Inference};
use brainmvp_train::device::device;

use super::Shape;
use super::child::Sample;
use crate::memory::Memory;

/// Steps of fine-tuning.
pub(super) fn finetune(shape: &Shape, _: &Path) -> anyhow::Result<Sample> {
    let state = Finetuning::new(&shape.network(), shape.size, shape.batch, &device("cpu")?);
    let parameters = state.parameters();
    measure(shape, state, parameters, Finetuning::step)
}

/// Windows of inference.
pub(super) fn inference(shape: &Shape, _: &Path) -> anyhow::Result<Sample> {
    let state = Inference::new(&shape.network(), shape.size, shape.batch, &device("cpu")?);
    let parameters = state.parameters();
    measure(shape, state, parameters, |state| {
        let result = state.run();
        (state, result)
    })
}

/// Times a piece of work repeatedly. The first time is a warm-up.
fn measure<T>(
    shape: &Shape,
    mut state: T,
    parameters: u64,
    run: impl Fn(T) -> (T, f32),
) -> anyhow::Result<Sample> {
    let mut seconds = Vec::new();
    for _ in 0..=shape.repetitions {
        let begun = Instant::now();
        let (next, result) = run(state);
        seconds.push(begun.elapsed().as_secs_f64());
        anyhow::ensure!(result.is_finite(), "the result is not finite");
        state = next;
    }
    Ok(Sample {
        seconds: seconds.split_off(1),
        peak_memory_bytes: Memory::peak_of_this_process(),
        parameters: Some(parameters),
        voxels_alike: None,
    })
}
