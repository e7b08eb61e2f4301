//! The losses of a step.

use brainmvp_objectives::Evaluation;

/// The sums of what the batches of a step evaluate to: the quality, the total loss, its parts.
#[derive(Default)]
pub(super) struct Losses {
    names: Vec<&'static str>,
    values: Vec<f64>,
}

impl Losses {
    /// Adds those of a batch.
    pub(super) fn add(&mut self, evaluation: &Evaluation) {
        let first = [("quality", &evaluation.quality), ("loss", &evaluation.total)];
        let parts = evaluation.parts.iter().map(|(name, loss)| (*name, loss));
        for (place, (name, loss)) in first.into_iter().chain(parts).enumerate() {
            let value = f64::from(loss.clone().into_scalar::<f32>());
            if let Some(sum) = self.values.get_mut(place) {
                *sum += value;
            } else {
                self.names.push(name);
                self.values.push(value);
            }
        }
    }

    /// The sums and other numbers, to be exchanged with the other ranks.
    pub(super) fn with<const N: usize>(&self, others: [f64; N]) -> Vec<f64> {
        self.values.iter().copied().chain(others).collect()
    }

    /// Takes the sums back, and returns the other numbers.
    pub(super) fn set<const N: usize>(&mut self, mut numbers: Vec<f64>) -> [f64; N] {
        let others = numbers.split_off(self.values.len());
        self.values = numbers;
        std::array::from_fn(|place| others[place])
    }

    /// What is minimised.
    pub(super) fn total(&self) -> f64 {
        self.values[1]
    }

    /// The mean quality of so many batches, and the mean losses by name, the total first.
    pub(super) fn mean(self, batches: usize) -> (f64, Vec<(&'static str, f64)>) {
        let mut means = self.names.into_iter().zip(self.values.into_iter().map(|sum| sum / batches as f64));
        let quality = means.next().map_or(f64::NAN, |(_, mean)| mean);
        (quality, means.collect())
    }
}
