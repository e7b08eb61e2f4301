//! Scores the network on the validation cases.

use std::sync::atomic::{AtomicBool, Ordering};

use brainmvp_infer::Error as Inference;
use brainmvp_ssl::patch::PatchSource as _;
use burn::module::Module as _;

use super::tasks::{Applied, Task};
use crate::batches::CaseSource;
use crate::trainer::Judge;
use crate::{Error, Result};

/// Scores the predictions of a task, each held against the truth of its case.
pub(super) struct TaskJudge<'a, T: Task> {
    pub(super) task: &'a T,
    pub(super) keys: &'a T::Keys,
    pub(super) cases: &'a [CaseSource],
    pub(super) how: Applied<'a>,
}

impl<T: Task> Judge<T::Objective> for TaskJudge<'_, T> {
    fn judge(&self, objective: &T::Objective, stop: &AtomicBool) -> Result<Option<Vec<(String, f64)>>> {
        let network = T::trained(objective).valid();
        let mut judged = Vec::with_capacity(self.cases.len());
        let mut go_on = |_| if stop.load(Ordering::Relaxed) { Err(Inference::Stopped) } else { Ok(()) };
        for case in self.cases {
            let said = match T::predict(&network, self.keys, &self.how, case, &mut go_on) {
                Err(Inference::Stopped) => return Ok(None),
                other => other.map_err(|source| Error::Judge { case: case.id().to_owned(), source })?,
            };
            judged.push(self.task.judge(self.keys, case, said)?);
        }
        self.task.scores(self.keys, &judged).map(Some)
    }
}
