//! What a run is set up for: to be trained, or to be measured.

use brainmvp_ssl::objectives::Objective;

use crate::Result;
use crate::batches::CaseSource;
use crate::run::{RunFolder, RunRequest};
use crate::trainer::{Ended, Trainer, Validation};

/// What becomes of a run that has been set up. A method sets up the same run for each purpose.
pub(crate) trait Purpose {
    /// What comes of it.
    type Outcome;

    /// The folder that the run writes to.
    fn folder(&self, request: &RunRequest) -> Result<RunFolder>;

    /// What comes of it where it is stopped before the first step.
    ///
    /// # Errors
    /// If that is nothing.
    fn stopped(&self) -> Result<Self::Outcome>;

    /// The validation cases that are judged, of all there are.
    fn judged<'a>(&mut self, cases: &'a [CaseSource]) -> &'a [CaseSource] {
        cases
    }

    /// Does it.
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
        RunFolder::create(&request.out, request.existing)
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
