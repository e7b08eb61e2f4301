//! Whether a run fits into memory, before it begins.

use brainmvp_train::memory::Gauge;
use brainmvp_train::run::RunRequest;
use brainmvp_view::text::size;

use crate::failure::{Advise as _, bad_input};
use crate::interrupt;
use crate::processes;
use crate::scratch::Scratch;
use crate::ui::Ui;
use brainmvp_bench::memory::{Memory, free_memory};

/// Measures the memory of a kind of run.
type Measure = fn(&RunRequest, &Gauge<'_>) -> brainmvp_train::Result<Option<u64>>;

/// Refuses a run that would be ended by the system for want of memory, perhaps after hours.
pub(super) fn refuse_too_large(request: &RunRequest, measure: Measure, ui: &Ui) -> anyhow::Result<()> {
    // Several processes share a batch, and perhaps a machine. Memory of a GPU is not counted here.
    let Some(free_bytes) = free_memory().filter(|_| processes::is_alone() && request.device == "cpu") else {
        return Ok(());
    };
    let scratch = Scratch::beside(None)?;
    let gauge = Gauge {
        scratch: scratch.path(),
        free_bytes,
        peak_bytes: &Memory::peak_of_this_process,
        stop: interrupt::stop_flag(),
    };
    let Some(needed) = measure(request, &gauge)? else { return Ok(()) };
    let (needed_size, free) = (size(needed), size(free_bytes));
    if needed <= free_bytes {
        ui.note(format!("note: a step will need about {needed_size} of memory; {free} are free"));
        return Ok(());
    }
    Err(bad_input(format!("a step would need about {needed_size} of memory, and {free} are free"))).advise(|_| {
        "make train.batch_size or patch.size smaller (with train.accumulate, several small batches make a step)".to_owned()
    })
}
