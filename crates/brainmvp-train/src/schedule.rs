//! The learning rate over the steps of a run.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Linear warm-up, then half a cosine down to zero.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ScheduleConfig {
    /// The highest learning rate. It falls to 0 at the end of the schedule, by half a cosine.
    pub learning_rate: f64,
    /// Steps in which it rises linearly before; 0 for none.
    pub warmup_steps: u64,
}

impl Default for ScheduleConfig {
    fn default() -> Self {
        Self { learning_rate: 3e-4, warmup_steps: 0 }
    }
}

impl ScheduleConfig {
    /// The learning rate of `step` (from 0) in a run of `total` steps.
    pub fn at(&self, step: u64, total: u64) -> f64 {
        if step < self.warmup_steps {
            return self.learning_rate * (step + 1) as f64 / (self.warmup_steps + 1) as f64;
        }
        let length = total.saturating_sub(self.warmup_steps).max(1) as f64;
        let progress = ((step - self.warmup_steps) as f64 / length).min(1.0);
        self.learning_rate * 0.5 * (1.0 + (std::f64::consts::PI * progress).cos())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rises_then_falls_to_zero() {
        let schedule = ScheduleConfig { learning_rate: 1.0, warmup_steps: 4 };
        let rates: Vec<f64> = (0..=20).map(|step| schedule.at(step, 20)).collect();
        assert!(rates[..5].windows(2).all(|pair| pair[0] < pair[1]));
        assert!(rates[4..].windows(2).all(|pair| pair[0] > pair[1]));
        assert_eq!(rates[4], 1.0);
        assert!(rates[20].abs() < 1e-12);
    }
}
