//! The progress of a job: a bar on a terminal, an occasional line elsewhere, nothing when quiet.

use std::collections::VecDeque;
use std::fmt::Display;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use brainmvp_view::text::duration;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::ui::Ui;

/// A line is printed after this time...
const LINE_EVERY: Duration = Duration::from_secs(10);

/// ...or after this share of the job, but no more often than every second.
const LINE_SHARE: f64 = 0.1;

/// The progress of a job with a known number of pieces. Threads may share it.
pub(crate) struct Progress {
    ui: Ui,
    what: &'static str,
    unit: &'static str,
    total: u64,
    bar: Option<ProgressBar>,
    state: Mutex<State>,
}

struct State {
    done: u64,
    rate: Rate,
    message: String,
    /// When the last line was printed, and how many pieces were done by then.
    line: (Instant, u64),
}

impl Progress {
    /// A job that starts now: `what` is done to `total` pieces called `unit`.
    pub(crate) fn new(ui: &Ui, what: &'static str, unit: &'static str, total: usize) -> Self {
        Self::resume(ui, what, unit, 0, total)
    }

    /// A job in which `done` of `total` pieces were done before; they do not count for its rate.
    pub(crate) fn resume(ui: &Ui, what: &'static str, unit: &'static str, done: usize, total: usize) -> Self {
        let (done, total) = (done as u64, total as u64);
        let now = Instant::now();
        let state = State { done, rate: Rate::new(now, done), message: String::new(), line: (now, done) };
        let bar = ui.bars().map(|bars| bars.add(bar(what, done, total)));
        Self { ui: ui.clone(), what, unit, total, bar, state: Mutex::new(state) }
    }

    /// Reports how many pieces are done. Smaller numbers than before are ignored, since threads may overtake each other.
    pub(crate) fn advance(&self, done: usize) {
        let mut state = self.state();
        let now = Instant::now();
        state.done = state.done.max(done as u64);
        let done = state.done;
        state.rate.note(now, done);
        if let Some(bar) = &self.bar {
            bar.set_position(done);
            bar.set_message(self.told(&state));
        } else if self.is_line_due(&state, now) {
            state.line = (now, done);
            self.ui.note(self.line(&state));
        }
    }

    /// Sets a message to show with the progress, e.g. a loss.
    pub(crate) fn message(&self, message: impl Display) {
        let mut state = self.state();
        state.message = message.to_string();
        if let Some(bar) = &self.bar {
            bar.set_message(self.told(&state));
        }
    }

    /// Ends the job, complete or not, with a line that gives the time it took.
    pub(crate) fn finish(self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        let state = self.state();
        let seconds = state.rate.started.elapsed().as_secs_f64();
        let Self { what, unit, total, .. } = &self;
        let counted = format!("{what} {}/{total} {unit} in {}", state.done, duration(seconds));
        self.ui.note(with_message(counted, &state.message));
    }

    /// One line without the bar: `preprocess 12/40 cases, 1.3 cases/s, 21 s left`.
    fn line(&self, state: &State) -> String {
        format!("{} {}/{} {}", self.what, state.done, self.total, self.told(state))
    }

    /// The part after the count: `cases, 1.3 cases/s, 21 s left`.
    fn told(&self, state: &State) -> String {
        let mut told = self.unit.to_owned();
        if let Some(per_second) = state.rate.per_second() {
            let left = (self.total.saturating_sub(state.done)) as f64 / per_second;
            told = format!("{told}, {}, {} left", speed(per_second, self.unit), duration(left));
        }
        with_message(told, &state.message)
    }

    fn is_line_due(&self, state: &State, now: Instant) -> bool {
        let (last, done) = state.line;
        let share = (state.done - done) as f64 / self.total.max(1) as f64;
        let waited = now.duration_since(last);
        state.done < self.total
            && (waited >= LINE_EVERY || (share >= LINE_SHARE && waited >= Duration::from_secs(1)))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An interrupted job leaves no half-drawn bar behind.
impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

#[expect(clippy::expect_used, reason = "the template is a constant")]
fn bar(what: &'static str, done: u64, total: u64) -> ProgressBar {
    // Nothing is drawn until it is added to the bars of the `Ui`.
    let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::hidden());
    let style = ProgressStyle::with_template("{prefix} [{wide_bar}] {pos}/{len} {msg}");
    bar.set_style(style.expect("a template without faults").progress_chars("=> "));
    bar.set_prefix(what);
    bar.set_position(done);
    bar
}

fn with_message(text: String, message: &str) -> String {
    if message.is_empty() { text } else { format!("{text}; {message}") }
}

/// The rate over the last minute, so that a slow start does not distort it.
pub(crate) struct Rate {
    started: Instant,
    samples: VecDeque<(Instant, u64)>,
}

impl Rate {
    const WINDOW: Duration = Duration::from_mins(1);

    pub(crate) fn new(now: Instant, done: u64) -> Self {
        Self { started: now, samples: VecDeque::from([(now, done)]) }
    }

    /// Keeps a sample, at most two per second, and always two or more.
    pub(crate) fn note(&mut self, now: Instant, done: u64) {
        let count = self.samples.len();
        let close = count > 2 && now.duration_since(self.samples[count - 2].0) < Duration::from_millis(500);
        if close {
            self.samples.pop_back();
        }
        self.samples.push_back((now, done));
        while self.samples.len() > 2 && now.duration_since(self.samples[1].0) > Self::WINDOW {
            self.samples.pop_front();
        }
    }

    /// Pieces per second, as soon as there is enough to compute it from.
    pub(crate) fn per_second(&self) -> Option<f64> {
        let ((first, before), (last, done)) = (self.samples.front()?, self.samples.back()?);
        let seconds = last.duration_since(*first).as_secs_f64();
        (done > before && seconds > 0.0).then(|| (done - before) as f64 / seconds)
    }
}

/// `1.3 cases/s`, or `4.2 s/case` for slow jobs.
pub(crate) fn speed(per_second: f64, unit: &str) -> String {
    if per_second >= 10.0 {
        format!("{per_second:.0} {unit}/s")
    } else if per_second >= 1.0 {
        format!("{per_second:.1} {unit}/s")
    } else {
        format!("{:.1} s/{}", 1.0 / per_second, unit.strip_suffix('s').unwrap_or(unit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speeds_are_short() {
        assert_eq!(speed(0.25, "cases"), "4.0 s/case");
        assert_eq!(speed(1.31, "cases"), "1.3 cases/s");
    }

    #[test]
    fn the_rate_is_that_of_the_last_minute() {
        let start = Instant::now();
        let mut rate = Rate::new(start, 5);
        assert_eq!(rate.per_second(), None);
        // A slow half minute, then two pieces a second.
        for tenth in 1..=3000_u64 {
            let seconds = tenth as f64 / 10.0;
            let done = 5 + if seconds < 30.0 { 0 } else { (2.0 * (seconds - 30.0)) as u64 };
            rate.note(start + Duration::from_millis(100 * tenth), done);
        }
        let per_second = rate.per_second().unwrap();
        assert!((per_second - 2.0).abs() < 0.1, "{per_second}");
        assert!(rate.samples.len() < 200, "{}", rate.samples.len());
    }

    #[test]
    fn progress_is_shared_and_never_goes_back() {
        let progress = Progress::new(&Ui::new(true), "count", "pieces", 64);
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let progress = &progress;
                scope.spawn(move || (1..=16).for_each(|i| progress.advance(16 * thread + i)));
            }
        });
        progress.advance(3);
        progress.message("loss 0.5");
        assert_eq!(progress.state().done, 64);
        let line = progress.line(&progress.state());
        assert!(line.starts_with("count 64/64 pieces, ") && line.ends_with(" left; loss 0.5"), "{line}");
        progress.finish();
    }
}
