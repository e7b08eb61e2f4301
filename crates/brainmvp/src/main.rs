//! The program `brainmvp`: parses the command line, sets up, runs one command, and reports how it ended.

mod argument;
mod cli;
mod commands;
mod failure;
mod interrupt;
mod processes;
mod progress;
mod scratch;
mod screen;
mod training;
mod ui;

use std::panic::AssertUnwindSafe;
use std::process::ExitCode;

use anyhow::Context as _;

use cli::Cli;
use ui::Ui;

fn main() -> ExitCode {
    let cli = match cli::parse() {
        Ok(cli) => cli,
        Err(ended) => return ended,
    };
    let ui = Ui::new(cli.everywhere.quiet);
    match std::panic::catch_unwind(AssertUnwindSafe(|| run(cli, &ui))) {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(error)) => failure::report(&error, &ui),
        Err(_) => failure::report_panic(&ui),
    }
}

fn run(cli: Cli, ui: &Ui) -> anyhow::Result<()> {
    brainmvp_kernels::keep_freed_memory();
    interrupt::listen(ui)?;
    start_threads(cli.everywhere.threads)?;
    cli.command.run(ui)
}

/// The thread pool shared by all computation; `None` means one thread per core.
fn start_threads(threads: Option<usize>) -> anyhow::Result<()> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads.unwrap_or(0));
    pool.build_global().context("cannot start the threads")
}
