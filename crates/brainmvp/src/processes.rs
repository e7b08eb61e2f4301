//! The processes that a launcher such as `mpirun` has started together, to train one network.

use std::env;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use brainmvp_mpi::Processes;
use brainmvp_ranks::Ranks;

use crate::failure::{self, Advise as _};
use crate::ui::Ui;

/// What launchers tell a process of how many there are: Open MPI; MPICH, Intel MPI and Slurm by PMI.
const COUNTS: [&str; 2] = ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE"];

/// Slurm by PMIx tells a process its number by the first, and how many there are by the second.
const SLURM_PMIX: [&str; 2] = ["PMIX_RANK", "SLURM_STEP_NUM_TASKS"];

/// How long the other processes wait before they say what went wrong: in most cases the first one says the same, and ends all.
const FIRST_SPEAKS: Duration = Duration::from_secs(2);

/// How many processes the launcher has started; 1 without a launcher.
fn launched() -> usize {
    let number = |name: &str| env::var(name).ok()?.parse::<usize>().ok();
    let by_pmix = || env::var_os(SLURM_PMIX[0]).and_then(|_| number(SLURM_PMIX[1]));
    COUNTS.iter().find_map(|name| number(name)).or_else(by_pmix).unwrap_or(1)
}

/// Whether no launcher has started others with this process.
pub(crate) fn is_alone() -> bool {
    launched() < 2
}

/// Does something together with the processes that were started with this one, if there are any. If it fails in one, all end.
///
/// # Errors
/// Those of `run`, for a process that is alone; if the processes cannot be connected.
pub(crate) fn together<T>(ui: &Ui, run: impl FnOnce(&Ranks) -> anyhow::Result<T>) -> anyhow::Result<T> {
    let count = launched();
    if count < 2 {
        return run(&Ranks::alone());
    }
    let processes = Processes::join().advise(|_| {
        format!(
            "{count} processes were started together. Start one; or build the program with `cargo build --release \
             --features mpi`, if there is an MPI library (docs/clusters.md)"
        )
    })?;
    let ranks = processes.ranks();
    let ended = std::panic::catch_unwind(AssertUnwindSafe(|| run(ranks)));
    if !matches!(ended, Ok(Ok(_))) && !ranks.is_first() {
        std::thread::sleep(FIRST_SPEAKS);
    }
    let who = || ui.alert(format!("process {} of {count} failed; all end", ranks.rank()));
    match ended {
        Ok(Ok(done)) => {
            processes.leave();
            Ok(done)
        }
        Ok(Err(error)) => {
            who();
            failure::report(&error, ui);
            processes.abort(i32::from(failure::exit_code(&error)))
        }
        Err(_) => {
            who();
            failure::report_panic(ui);
            processes.abort(1)
        }
    }
}
