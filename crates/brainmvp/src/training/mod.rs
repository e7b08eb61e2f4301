//! The progress of a run: a view of several lines on a terminal, an occasional line elsewhere.

mod course;
mod drawing;

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use brainmvp_train::log::metrics::{StepMetrics, ValidationMetrics};
use brainmvp_view::text::size;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

use crate::progress::Progress;
use crate::screen;
use crate::ui::Ui;
use brainmvp_bench::memory::Memory;
use course::{Course, scores};

/// How often the view is drawn, whatever a step takes.
const DRAW_EVERY: Duration = Duration::from_millis(250);

/// The progress of a run, shown from its first step on.
pub(crate) struct TrainingView {
    ui: Ui,
    shown: Shown,
}

enum Shown {
    Lines(Progress),
    View(View),
}

impl TrainingView {
    /// A run that has taken its first step in this process, and ends at `last`; `what` names the command. What earlier processes
    /// have recorded in the folder of the run is part of the view.
    pub(crate) fn new(ui: &Ui, what: &'static str, folder: &Path, first: &StepMetrics, last: u64) -> Self {
        let before = first.step.saturating_sub(1);
        let shown = match ui.bars() {
            None => Shown::Lines(Progress::resume(ui, what, "steps", before as usize, last as usize)),
            Some(bars) => {
                let mut course = Course::new(what, before, last);
                course.recall(folder);
                let course = Arc::new(Mutex::new(course));
                Shown::View(View { bar: bars.add(bar(Arc::clone(&course))), course })
            }
        };
        let view = Self { ui: ui.clone(), shown };
        view.step(first);
        if let Shown::View(View { bar, .. }) = &view.shown {
            bar.enable_steady_tick(DRAW_EVERY);
        }
        view
    }

    /// A step is done.
    pub(crate) fn step(&self, metrics: &StepMetrics) {
        match &self.shown {
            Shown::Lines(progress) => {
                let memory = Memory::of_this_process().map(|memory| memory.now_bytes);
                let memory = memory.map_or(String::new(), |bytes| format!(", memory {}", size(bytes)));
                progress.message(format!("loss {:.4}{memory}", metrics.loss));
                progress.advance(metrics.step as usize);
            }
            Shown::View(view) => lock(&view.course).step(metrics),
        }
    }

    /// A validation is done.
    pub(crate) fn validated(&self, metrics: &ValidationMetrics) {
        match &self.shown {
            Shown::Lines(_) => tell_validation(&self.ui, metrics),
            Shown::View(view) => lock(&view.course).validated(metrics),
        }
    }

    /// Ends the view, whether or not all steps are done, with a line that stays.
    pub(crate) fn finish(self) {
        match self.shown {
            Shown::Lines(progress) => progress.finish(),
            Shown::View(view) => {
                let summary = lock(&view.course).summary();
                drop(view);
                self.ui.note(summary);
            }
        }
    }
}

/// A line for a validation.
pub(crate) fn tell_validation(ui: &Ui, metrics: &ValidationMetrics) {
    let best = if metrics.best { ", the best so far" } else { "" };
    ui.note(format!("validation at step {}: {}{best}", metrics.step, scores(&metrics.scores).join(", ")));
}

struct View {
    course: Arc<Mutex<Course>>,
    bar: ProgressBar,
}

/// A run that fails leaves no view behind.
impl Drop for View {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

fn lock(course: &Mutex<Course>) -> MutexGuard<'_, Course> {
    course.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The lines of the view, made anew whenever they are drawn: the terminal may have another size.
#[expect(clippy::expect_used, reason = "the template is a constant")]
fn bar(course: Arc<Mutex<Course>>) -> ProgressBar {
    let draw = move |_: &ProgressState, into: &mut dyn std::fmt::Write| {
        let (rows, columns) = screen::size();
        let lines = drawing::lines(&lock(&course), Memory::of_this_process(), rows, columns);
        // Writing to a buffer does not fail.
        let _ = into.write_str(&lines.join("\n"));
    };
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
    let style = ProgressStyle::with_template("{view}").expect("a template without faults");
    bar.set_style(style.with_key("view", draw));
    bar
}
