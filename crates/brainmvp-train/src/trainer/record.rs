//! What a run leaves of itself on the way, besides checkpoints: metrics, scores, pictures.

use brainmvp_volume::Modality;
use burn::tensor::Tensor;

use crate::Result;
use crate::batches::CaseSource;
use crate::log::metrics::{LineWriter, StepMetrics, ValidationMetrics};
use crate::log::pictures;
use crate::log::tensorboard::EventWriter;
use crate::run::RunFolder;

use super::learnt::LearntImages;

/// The files of a run that grow while it goes on.
pub(super) struct Record {
    metrics: LineWriter<StepMetrics>,
    validations: LineWriter<ValidationMetrics>,
    events: EventWriter,
    learnt: LearntImages,
}

impl Record {
    /// That of a run that has come to a step, and was validated at one.
    pub(super) fn open(folder: &RunFolder, step: u64, validated: u64) -> Result<Self> {
        Ok(Self {
            metrics: LineWriter::open(&folder.metrics(), Some(step))?,
            validations: LineWriter::open(&folder.validations(), Some(validated))?,
            events: EventWriter::create(folder.path(), step + 1)?,
            learnt: LearntImages::default(),
        })
    }

    /// A step.
    pub(super) fn step(&mut self, metrics: &StepMetrics) -> Result<()> {
        self.metrics.write(metrics)?;
        let step = metrics.step;
        self.events.scalar(step, "loss", metrics.loss)?;
        for (name, value) in &metrics.losses {
            self.events.scalar(step, name, *value)?;
        }
        self.events.scalar(step, "lr", metrics.lr)?;
        self.events.scalar(step, "samples_per_s", metrics.samples_per_s)?;
        self.events.scalar(step, "wait_share", metrics.wait_share)?;
        for (what, count) in &metrics.counts {
            self.events.scalar(step, what, *count as f64)?;
        }
        Ok(self.events.flush()?)
    }

    /// A validation.
    pub(super) fn validation(&mut self, metrics: &ValidationMetrics) -> Result<()> {
        for (name, score) in &metrics.scores {
            self.events.scalar(metrics.step, &format!("validation {name}"), *score)?;
        }
        self.events.flush()?;
        Ok(self.validations.write(metrics)?)
    }

    /// Pictures of volumes.
    pub(super) fn volumes(&mut self, step: u64, volumes: &[(&'static str, Tensor<3>)]) -> Result<()> {
        for (name, volume) in volumes {
            self.events.image(step, name, &pictures::planes(volume)?)?;
        }
        Ok(())
    }

    /// A picture of the images that are learnt themselves.
    pub(super) fn learnt(
        &mut self,
        step: u64,
        images: &[(Modality, Tensor<3>)],
        cases: &[CaseSource],
    ) -> Result<()> {
        let picture = self.learnt.draw(images, cases)?;
        Ok(self.events.image(step, "templates", &picture)?)
    }
}
