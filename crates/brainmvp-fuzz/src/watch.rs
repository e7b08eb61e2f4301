//! What a reading must not do: panic, or never end.

use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind, set_hook, take_hook};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// After this a reading counts as one that never ends.
const NEVER: Duration = Duration::from_secs(60);

/// Where the last panic was, of any thread.
static PLACE: Mutex<String> = Mutex::new(String::new());

type Hook = Box<dyn Fn(&PanicHookInfo<'_>) + Send + Sync>;

/// Ends the process where an execution never ends, with its number; keeps panics off the terminal.
pub(crate) struct Watch {
    execution: Arc<AtomicU64>,
    usual: Option<Hook>,
    _end: Sender<()>,
}

impl Watch {
    #[expect(clippy::print_stderr, reason = "the last words of a test that fails")]
    pub(crate) fn over(name: &str) -> Self {
        let (_end, ended) = channel::<()>();
        let execution = Arc::new(AtomicU64::new(0));
        let (seen, name) = (Arc::clone(&execution), name.to_owned());
        std::thread::spawn(move || {
            let mut before = u64::MAX;
            while ended.recv_timeout(NEVER) == Err(RecvTimeoutError::Timeout) {
                let now = seen.load(Relaxed);
                if now == before {
                    eprintln!("{name}: execution {now} does not end");
                    std::process::abort();
                }
                before = now;
            }
        });
        let usual = Some(take_hook());
        set_hook(Box::new(|info| {
            if let Ok(mut place) = PLACE.lock() {
                *place = info.location().map(ToString::to_string).unwrap_or_default();
            }
        }));
        Self { execution, usual, _end }
    }

    /// Runs something as the execution of this number; where it panics, says with which words and where.
    pub(crate) fn caught<T>(&self, number: u64, run: impl FnOnce() -> T) -> Result<T, String> {
        self.execution.store(number, Relaxed);
        catch_unwind(AssertUnwindSafe(run)).map_err(|payload| {
            let words = payload.downcast_ref::<String>().map(String::as_str);
            let words = words.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or_default();
            // With its numbers, one fault would be many.
            let words: String = words.chars().filter(|c| !c.is_ascii_digit()).take(120).collect();
            let place = PLACE.lock().map(|place| place.clone()).unwrap_or_default();
            format!("{words} at {place}")
        })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some(usual) = self.usual.take() {
            set_hook(usual);
        }
    }
}
