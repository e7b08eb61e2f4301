//! Ctrl-C and SIGTERM: stop with the state saved where a command can go on later, at once where it cannot.

use std::io::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context as _;

/// Whether to stop. Set by the first signal, never unset.
static STOP: AtomicBool = AtomicBool::new(false);

/// Whether a command looks at [`STOP`].
static HEEDED: AtomicBool = AtomicBool::new(false);

/// The flag that says when to stop. From now on the first signal only sets it; the second ends the program at once.
pub(crate) fn stop_flag() -> &'static AtomicBool {
    HEEDED.store(true, Ordering::SeqCst);
    &STOP
}

/// Listens for signals, until the program ends.
///
/// # Errors
/// Where the system does not allow it.
pub(crate) fn listen() -> anyhow::Result<()> {
    subscribe().context("cannot listen for Ctrl-C")
}

#[cfg(unix)]
fn subscribe() -> std::io::Result<()> {
    use signal_hook::consts::{SIGINT, SIGTERM};
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM])?;
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || signals.forever().for_each(|_| on_signal()))?;
    Ok(())
}

#[cfg(not(unix))]
fn subscribe() -> Result<(), ctrlc::Error> {
    ctrlc::set_handler(on_signal)
}

fn on_signal() {
    // Standard error may be closed; there is nobody to tell then.
    let say = |text: &str| drop(writeln!(std::io::stderr(), "{text}"));
    if HEEDED.load(Ordering::SeqCst) && !STOP.swap(true, Ordering::SeqCst) {
        say("\nstopping once the work at hand is saved; press Ctrl-C again to stop at once");
    } else {
        say("\nerror: interrupted");
        std::process::exit(1);
    }
}
