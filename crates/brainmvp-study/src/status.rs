//! What of a study is done, running, failed and left, and how long it will take.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::Result;
use crate::folder::State;
use crate::run::Study;
use crate::summary::Progressed;

/// How far a study is.
#[derive(Debug, Clone, PartialEq)]
pub struct Status {
    /// The number of pre-trainings and cells in each state.
    pub pretrainings: Counts,
    /// The same of cells.
    pub cells: Counts,
    /// What failed, and why.
    pub failures: Vec<(String, String)>,
    /// What is running.
    pub running: Vec<String>,
    /// Seconds of one process that the rest will take; `None` before the first part of a kind is done.
    pub seconds_left: Option<f64>,
}

/// How many parts are in each state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Done.
    pub done: usize,
    /// Running.
    pub running: usize,
    /// Failed.
    pub failed: usize,
    /// Left.
    pub left: usize,
}

impl Counts {
    fn add(&mut self, state: &State) {
        match state {
            State::Done => self.done += 1,
            State::Running => self.running += 1,
            State::Failed(_) => self.failed += 1,
            State::Left => self.left += 1,
        }
    }

    /// All of them.
    pub fn total(&self) -> usize {
        self.done + self.running + self.failed + self.left
    }
}

impl Status {
    /// That of a study with these cells.
    ///
    /// # Errors
    /// If a result is damaged.
    pub fn of(study: &Study, cells: &[Progressed<'_>]) -> Result<Self> {
        let mut status = Self {
            pretrainings: Counts::default(),
            cells: Counts::default(),
            failures: Vec::new(),
            running: Vec::new(),
            seconds_left: None,
        };
        let (plan, mut times) = (&study.plan, Times::default());
        for (pretraining, (state, seconds)) in plan.pretrainings.iter().zip(study.pretrainings()?) {
            let arm = &plan.arms[pretraining.arm];
            // The same method and network takes the same time with every seed.
            times.add(format!("{:?} {:?}", arm.beginning, arm.network), "pretraining", seconds, &state);
            status.pretrainings.add(&state);
            status.note(study.name_of_pretraining(pretraining), state);
        }
        for Progressed { cell, state, result } in cells {
            let arm = &plan.arms[cell.arm];
            let seconds = result.as_ref().map(|result| result.seconds);
            times.add(format!("{} {:?}", cell.task, arm.network), "cell", seconds, state);
            status.cells.add(state);
            status.note(study.name_of(cell), state.clone());
        }
        status.seconds_left = times.left();
        Ok(status)
    }

    fn note(&mut self, name: String, state: State) {
        match state {
            State::Running => self.running.push(name),
            State::Failed(reason) => self.failures.push((name, reason)),
            State::Done | State::Left => {}
        }
    }

    /// As a page.
    pub fn markdown(&self) -> String {
        let mut text =
            "| | done | running | failed | left |\n| --- | ---: | ---: | ---: | ---: |\n".to_owned();
        for (what, counts) in [("pre-trainings", self.pretrainings), ("cells", self.cells)] {
            let Counts { done, running, failed, left } = counts;
            // Writing to a String cannot fail.
            let _ = writeln!(text, "| {what} | {done} | {running} | {failed} | {left} |");
        }
        if let Some(seconds) = self.seconds_left.filter(|seconds| *seconds > 0.0) {
            let _ = writeln!(text, "\nAbout {:.1} hours of one process are left.", seconds / 3600.0);
        }
        for name in &self.running {
            let _ = writeln!(text, "\nrunning: {name}");
        }
        for (name, reason) in &self.failures {
            let _ = writeln!(text, "\nfailed: {name}: {reason}");
        }
        text
    }
}

/// The times of parts, by what takes about as long.
#[derive(Default)]
struct Times {
    /// The kind of part, the seconds of those that are done, and how many are not.
    alike: BTreeMap<String, (&'static str, Vec<f64>, usize)>,
}

impl Times {
    fn add(&mut self, alike: String, kind: &'static str, seconds: Option<f64>, state: &State) {
        let (_, done, open) = self.alike.entry(alike).or_insert((kind, Vec::new(), 0));
        done.extend(seconds);
        if matches!(state, State::Left | State::Running) {
            *open += 1;
        }
    }

    /// Seconds for what is open: those of what is alike, or else of the kind.
    fn left(&self) -> Option<f64> {
        let mean = |seconds: &[f64]| seconds.iter().sum::<f64>() / seconds.len() as f64;
        let mut left = 0.0;
        for (kind, done, open) in self.alike.values().filter(|(.., open)| *open > 0) {
            let of_kind: Vec<f64> = self
                .alike
                .values()
                .filter(|(other, ..)| other == kind)
                .flat_map(|(_, done, _)| done)
                .copied()
                .collect();
            let known = if done.is_empty() { &of_kind } else { done };
            if known.is_empty() {
                return None;
            }
            left += mean(known) * *open as f64;
        }
        Some(left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_takes_as_long_as_what_is_alike() {
        let mut times = Times::default();
        times.add("a".to_owned(), "cell", Some(10.0), &State::Done);
        times.add("a".to_owned(), "cell", None, &State::Left);
        times.add("b".to_owned(), "cell", Some(30.0), &State::Done);
        times.add("c".to_owned(), "cell", None, &State::Left);
        assert_eq!(times.left(), Some(10.0 + 20.0));
        times.add("p".to_owned(), "pretraining", None, &State::Left);
        assert_eq!(times.left(), None, "no pre-training is done yet");
    }
}
