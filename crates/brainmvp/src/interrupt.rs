//! Ctrl-C and SIGTERM: a command that can be resumed saves its state and stops; others stop at once.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context as _;

use crate::ui::Ui;

/// Whether to stop. Set by the first signal and never reset.
static STOP: AtomicBool = AtomicBool::new(false);

/// Whether the current command checks [`STOP`].
static HEEDED: AtomicBool = AtomicBool::new(false);

/// The flag that tells a command to stop. After this call the first signal only sets the flag; the second ends the
/// program at once.
pub(crate) fn stop_flag() -> &'static AtomicBool {
    HEEDED.store(true, Ordering::SeqCst);
    &STOP
}

/// Listens for signals, until the program ends.
///
/// # Errors
/// If the system does not allow it.
pub(crate) fn listen(ui: &Ui) -> anyhow::Result<()> {
    subscribe(ui.clone()).context("cannot listen for Ctrl-C")
}

#[cfg(unix)]
fn subscribe(ui: Ui) -> std::io::Result<()> {
    use signal_hook::consts::{SIGINT, SIGTERM};
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM])?;
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || signals.forever().for_each(|_| on_signal(&ui)))?;
    Ok(())
}

#[cfg(not(unix))]
fn subscribe(ui: Ui) -> Result<(), ctrlc::Error> {
    ctrlc::set_handler(move || on_signal(&ui))
}

/// What is said begins in a new line: the terminal has shown `^C`.
fn on_signal(ui: &Ui) {
    if HEEDED.load(Ordering::SeqCst) && !STOP.swap(true, Ordering::SeqCst) {
        ui.alert("\nstopping as soon as the current work is saved; press Ctrl-C again to stop at once");
    } else {
        ui.exit("\nerror: interrupted", 1)
    }
}
