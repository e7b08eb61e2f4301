//! The course of a run: the numbers that its view shows.

use std::collections::VecDeque;
use std::path::Path;
use std::time::{Duration, Instant};

use brainmvp_train::log::metrics::{StepMetrics, ValidationMetrics, read_lines};
use brainmvp_view::text::{duration, number};

use crate::progress::Rate;

/// The steps over which the loss is averaged.
const RECENT: usize = 50;

/// The numbers of a run so far.
pub(super) struct Course {
    pub(super) what: &'static str,
    pub(super) step: u64,
    /// The step at which it ends.
    pub(super) last: u64,
    pub(super) loss: f64,
    recent: VecDeque<f64>,
    pub(super) curve: Curve,
    pub(super) learning_rate: f64,
    started: Instant,
    /// From the first step of this process on.
    rate: Option<Rate>,
    /// Steps in a second, over the last minute.
    pub(super) speed: Option<f64>,
    /// The last validation.
    pub(super) validation: Option<ValidationMetrics>,
    /// The best one.
    pub(super) best: Option<ValidationMetrics>,
}

impl Course {
    /// A run of which this process has done nothing yet, and earlier ones `before` steps.
    pub(super) fn new(what: &'static str, before: u64, last: u64) -> Self {
        Self {
            what,
            step: before,
            last,
            loss: f64::NAN,
            recent: VecDeque::with_capacity(RECENT + 1),
            curve: Curve::default(),
            learning_rate: f64::NAN,
            started: Instant::now(),
            rate: None,
            speed: None,
            validation: None,
            best: None,
        }
    }

    /// Reads what earlier processes have recorded. A record that cannot be read is left out: it only shows.
    pub(super) fn recall(&mut self, folder: &Path) {
        if self.step == 0 {
            return;
        }
        let steps = read_lines::<StepMetrics>(&folder.join("metrics.jsonl")).unwrap_or_default();
        let validations = read_lines::<ValidationMetrics>(&folder.join("validation.jsonl"));
        let before = self.step;
        steps.iter().filter(|metrics| metrics.step <= before).for_each(|metrics| self.add(metrics.loss));
        validations.unwrap_or_default().iter().for_each(|validation| self.validated(validation));
    }

    fn add(&mut self, loss: f64) {
        self.loss = loss;
        self.recent.push_back(loss);
        if self.recent.len() > RECENT {
            self.recent.pop_front();
        }
        self.curve.add(loss);
    }

    /// Takes in a step.
    pub(super) fn step(&mut self, metrics: &StepMetrics) {
        self.step = metrics.step;
        self.learning_rate = metrics.lr;
        self.add(metrics.loss);
        let now = Instant::now();
        if self.rate.is_none() {
            // It is seen when it is done.
            let taken = Duration::try_from_secs_f64(metrics.seconds).unwrap_or_default();
            self.started = now.checked_sub(taken).unwrap_or(now);
        }
        let rate = self.rate.get_or_insert_with(|| Rate::new(self.started, metrics.step - 1));
        rate.note(now, metrics.step);
        self.speed = rate.per_second();
    }

    /// Takes in a validation.
    pub(super) fn validated(&mut self, metrics: &ValidationMetrics) {
        if metrics.best {
            self.best = Some(metrics.clone());
        }
        self.validation = Some(metrics.clone());
    }

    /// The mean loss of the last steps, and their number.
    pub(super) fn recent_loss(&self) -> (f64, usize) {
        let count = self.recent.len();
        (self.recent.iter().sum::<f64>() / count as f64, count)
    }

    /// One line about all of it, for when nothing is drawn any more.
    pub(super) fn summary(&self) -> String {
        let Self { what, step, last, loss, .. } = self;
        let seconds = self.started.elapsed().as_secs_f64();
        let best = self.best.as_ref().and_then(|best| Some((best.scores.first()?, best.step)));
        let best = best.map_or(String::new(), |((name, score), step)| {
            format!(", best {name} {} at step {step}", number(*score))
        });
        format!("{what} {step}/{last} steps in {}; loss {}{best}", duration(seconds), number(*loss))
    }
}

/// Scores as `dice 0.8123`.
pub(super) fn scores(scores: &[(String, f64)]) -> Vec<String> {
    scores.iter().map(|(name, score)| format!("{name} {}", number(*score))).collect()
}

/// The loss over all steps, in parts of equal length, whose number is bounded.
#[derive(Debug, Default)]
pub(super) struct Curve {
    /// Sum and number of each part.
    parts: Vec<(f64, u32)>,
    /// Steps of a part are 2 to the power of this.
    doublings: u32,
}

impl Curve {
    const MOST_PARTS: usize = 512;

    fn add(&mut self, loss: f64) {
        if !loss.is_finite() {
            return;
        }
        let full = 1 << self.doublings;
        match self.parts.last_mut() {
            Some((sum, count)) if *count < full => (*sum, *count) = (*sum + loss, *count + 1),
            _ => self.parts.push((loss, 1)),
        }
        if self.parts.len() > Self::MOST_PARTS {
            self.parts = self.parts.chunks(2).map(joined).collect();
            self.doublings += 1;
        }
    }

    /// The means of at most `count` stretches of equal length.
    pub(super) fn means(&self, count: usize) -> Vec<f64> {
        let (total, count) = (self.parts.len(), count.min(self.parts.len()));
        let stretch = |place: usize| &self.parts[place * total / count..(place + 1) * total / count];
        (0..count).map(stretch).map(joined).map(|(sum, count)| sum / f64::from(count)).collect()
    }
}

fn joined(parts: &[(f64, u32)]) -> (f64, u32) {
    parts.iter().fold((0.0, 0), |(sum, count), part| (sum + part.0, count + part.1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_keeps_the_whole_run_in_few_parts() {
        let mut curve = Curve::default();
        assert!(curve.means(10).is_empty());
        (0..3).for_each(|step| curve.add(f64::from(step)));
        curve.add(f64::NAN);
        assert_eq!(curve.means(10), [0.0, 1.0, 2.0]);
        (3..100_000).for_each(|step| curve.add(f64::from(step)));
        assert!(curve.parts.len() <= Curve::MOST_PARTS);
        let means = curve.means(10);
        for (place, mean) in means.iter().enumerate() {
            let middle = 10_000.0 * (place as f64 + 0.5);
            assert!((mean - middle).abs() < 500.0, "{means:?}");
        }
    }
}
