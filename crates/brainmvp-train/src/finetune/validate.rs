//! Scores the network on the validation cases.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use brainmvp_infer::Error as Inference;
use brainmvp_objectives::patch::PatchSource as _;
use brainmvp_ranks::Ranks;
use brainmvp_volume::FileError;
use burn::module::Module as _;

use super::tasks::{Applied, Task};
use crate::batches::CaseSource;
use crate::trainer::{Judge, Observer};
use crate::{Error, Result};

/// Scores the predictions of a task, each held against the truth of its case.
pub(super) struct TaskJudge<'a, T: Task> {
    pub(super) task: &'a T,
    pub(super) keys: &'a T::Keys,
    pub(super) cases: &'a [CaseSource],
    pub(super) how: Applied<'a>,
    /// Those that share the cases.
    pub(super) ranks: &'a Ranks,
    pub(super) observer: &'a dyn Observer,
}

/// The judgements of one rank, with the places of their cases; `None` if it was told to stop.
type Share<J> = Option<Vec<(usize, J)>>;

impl<T: Task> Judge<T::Objective> for TaskJudge<'_, T> {
    fn judge(&self, objective: &T::Objective, stop: &AtomicBool) -> Result<Option<Vec<(String, f64)>>> {
        let own = self.judge_own(objective, stop)?;
        let shares = if self.ranks.is_alone() { vec![own] } else { self.gather(own)? };
        let Some(judged) = shares.into_iter().collect::<Option<Vec<_>>>() else { return Ok(None) };
        let mut judged = judged.concat();
        if judged.is_empty() && !self.cases.is_empty() {
            return Err(Error::Config("no validation case can be read any more".to_owned()));
        }
        judged.sort_by_key(|(place, _)| *place);
        let judged: Vec<T::Judgement> = judged.into_iter().map(|(_, judgement)| judgement).collect();
        self.task.scores(self.keys, &judged).map(Some)
    }
}

impl<T: Task> TaskJudge<'_, T> {
    /// The cases of this rank.
    fn judge_own(&self, objective: &T::Objective, stop: &AtomicBool) -> Result<Share<T::Judgement>> {
        let network = T::trained(objective).valid();
        let mut judged = Vec::new();
        let mut go_on = |_| if stop.load(Ordering::Relaxed) { Err(Inference::Stopped) } else { Ok(()) };
        let own = self.cases.iter().enumerate().skip(self.ranks.rank()).step_by(self.ranks.count());
        for (place, case) in own {
            let said = match T::predict(&network, self.keys, &self.how, case, &mut go_on) {
                Err(Inference::Stopped) => return Ok(None),
                other => other.map_err(|source| Error::Judge { case: case.id().to_owned(), source }),
            };
            match said.and_then(|said| self.task.judge(self.keys, case, said)) {
                Ok(judgement) => judged.push((place, judgement)),
                Err(error) if is_unread(&error) => {
                    let case = case.id();
                    self.observer
                        .warn(&format!("validation case '{case}' is left out of the score: {error}"));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Some(judged))
    }

    /// Those of all ranks.
    fn gather(&self, own: Share<T::Judgement>) -> Result<Vec<Share<T::Judgement>>> {
        let wrong = |error: serde_json::Error| {
            Error::from(FileError::new(Path::new("judgements of a process"), error))
        };
        let text = serde_json::to_vec(&own).map_err(wrong)?;
        self.ranks.gather(&text).iter().map(|text| serde_json::from_slice(text).map_err(wrong)).collect()
    }
}

/// Whether the voxels of the case could not be read.
fn is_unread(error: &Error) -> bool {
    matches!(error, Error::Judge { source: Inference::Source(_), .. }) || error.is_of_lost_case()
}
