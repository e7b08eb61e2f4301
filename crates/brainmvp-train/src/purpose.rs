//! What a run is set up for: training, or measuring how long training will take.

use brainmvp_objectives::Objective;

use crate::Result;
use crate::batches::CaseSource;
use crate::run::{RunFolder, RunRequest};
use crate::trainer::{Ended, Trainer, Validation};

/// What is done with a run after it has been set up. A method sets up a run in the same way for each purpose.
pub(crate) trait Purpose {
    /// What comes of it.
    type Outcome;

    /// The folder that the run writes to.
    fn folder(&self, request: &RunRequest) -> Result<RunFolder>;

    /// The result if it is stopped before the first step.
    ///
    /// # Errors
    /// If there is no result in this case.
    fn stopped(&self) -> Result<Self::Outcome>;

    /// The validation cases to use, out of all of them.
    fn judged<'a>(&mut self, cases: &'a [CaseSource]) -> &'a [CaseSource] {
        cases
    }

    /// Whether a method first learns what it needs of the cases, which may take long.
    fn learns_first(&self) -> bool {
        true
    }

    /// Performs the purpose.
    fn carry_out<O: Objective + 'static>(
        &self,
        trainer: &Trainer<'_>,
        objective: O,
        validation: Option<&Validation<'_, O>>,
    ) -> Result<Self::Outcome>;
}

/// Trains until the end.
pub(crate) struct ToTrain;

impl Purpose for ToTrain {
    type Outcome = Ended;

    fn folder(&self, request: &RunRequest) -> Result<RunFolder> {
        RunFolder::shared(request)
    }

    fn stopped(&self) -> Result<Ended> {
        Ok(Ended::Stopped)
    }

    fn carry_out<O: Objective + 'static>(
        &self,
        trainer: &Trainer<'_>,
        objective: O,
        validation: Option<&Validation<'_, O>>,
    ) -> Result<Ended> {
        trainer.run(objective, validation)
    }
}
