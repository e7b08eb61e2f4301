//! The one training loop.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use brainmvp_kernels::Precision;
use brainmvp_nets::weights;
use brainmvp_ssl::objectives::{Evaluation, Objective};
use burn::optim::{GradientsAccumulator, GradientsParams};
use burn::tensor::{Device, Tensor};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::batches::{CaseSource, Loader, LoaderConfig};
use crate::checkpoint::{self, Checkpoint, CheckpointConfig, State};
use crate::log::metrics::{MetricsWriter, StepMetrics};
use crate::log::picture::Picture;
use crate::log::tensorboard::EventWriter;
use crate::optimizer::{NamedAdamW, OptimizerConfig, gradient_norm};
use crate::run::RunFolder;
use crate::{Error, Result};

/// Keeps the generators of different purposes apart: each is seeded by the run's seed and a constant of its own.
const NETWORK_NOISE: u64 = 0x0D12_0995_2B1A_77E3;

/// How long, and with which batches.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainConfig {
    /// Seed of everything random.
    pub seed: u64,
    /// Times that every case is seen. The schedule runs over all of them.
    pub epochs: u64,
    /// Stop after this many steps; 0 to run all epochs. The schedule does not change: a run that stopped can be
    /// continued with more.
    pub max_steps: u64,
    /// Cases of a batch.
    pub batch_size: usize,
    /// Batches of a step, whose gradients are averaged.
    pub accumulate: usize,
    /// Threads that draw batches ahead.
    pub workers: usize,
    /// What matrix products multiply on the CPU; sums and everything else are fp32.
    pub precision: Precision,
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            seed: 0,
            epochs: 1500,
            max_steps: 0,
            batch_size: 3,
            accumulate: 1,
            workers: 2,
            precision: Precision::Fp32,
        }
    }
}

/// What is shown while training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    /// Steps between pictures in the TensorBoard log; 0 for none.
    pub pictures_every_steps: u64,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { pictures_every_steps: 100 }
    }
}

impl TrainConfig {
    /// Steps over which the schedule runs.
    pub fn total_steps(&self, cases: usize) -> u64 {
        self.epochs.saturating_mul(cases as u64).div_ceil((self.batch_size * self.accumulate) as u64).max(1)
    }

    /// Steps after which the run ends.
    pub fn last_step(&self, cases: usize) -> u64 {
        let total = self.total_steps(cases);
        if self.max_steps == 0 { total } else { total.min(self.max_steps) }
    }

    /// The epoch, from 0, of a step.
    fn epoch(&self, step: u64, cases: usize) -> u64 {
        step * (self.batch_size * self.accumulate) as u64 / (cases as u64).max(1)
    }
}

/// Whoever watches a run.
pub trait Observer {
    /// A step is done; the run ends at `last`.
    fn step(&self, metrics: &StepMetrics, last: u64);
    /// Something worth a line.
    fn note(&self, text: &str);
    /// Something that may not be missed.
    fn warn(&self, text: &str);
}

/// What a run is made of, beside the objective.
pub struct Trainer<'a> {
    /// How long, and with which batches.
    pub train: &'a TrainConfig,
    /// How parameters are moved.
    pub optimizer: &'a OptimizerConfig,
    /// Learning rate of templates as a multiple of the network's.
    pub template_factor: f64,
    /// What is kept.
    pub checkpoint: &'a CheckpointConfig,
    /// What is shown.
    pub log: &'a LogConfig,
    /// The cases.
    pub cases: Arc<Vec<CaseSource>>,
    /// Where everything goes.
    pub folder: &'a RunFolder,
    /// With autodiff.
    pub device: Device,
    /// Set from outside to stop after the current step.
    pub stop: &'a AtomicBool,
    /// Whoever watches.
    pub observer: &'a dyn Observer,
    /// Stored in every checkpoint: what the method needs to be used later.
    pub facts: serde_json::Value,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// All steps are done.
    Finished,
    /// It was stopped; its state is saved.
    Stopped,
}

/// A run in progress.
struct Run<'a, O> {
    trainer: &'a Trainer<'a>,
    objective: O,
    optimizer: NamedAdamW,
    state: State,
    metrics: MetricsWriter,
    events: EventWriter,
    /// Cases of the last step, to be named if its update turns out to be bad.
    cases: Vec<String>,
}

impl Trainer<'_> {
    /// Trains until the last step, or until told to stop. Continues from the newest checkpoint of the folder if there
    /// is one; the folder's user has decided that before.
    ///
    /// # Errors
    /// If a case, the folder or a checkpoint fails, or the loss is not finite.
    pub fn run<O: Objective + 'static>(&self, objective: O) -> Result<Ended> {
        let mut run = self.start(objective)?;
        let last = self.train.last_step(self.cases.len());
        let per_step = self.train.accumulate as u64;
        let config = LoaderConfig {
            batch_size: self.train.batch_size,
            workers: self.train.workers,
            seed: self.train.seed,
            batches: run.state.step * per_step..last * per_step,
        };
        let mut loader = Loader::start::<O>(&run.objective.plan(), &self.cases, &config);
        while run.state.step < last {
            if self.stop.load(Ordering::Relaxed) {
                run.save_at(Occasion::Interruption)?;
                return Ok(Ended::Stopped);
            }
            run = run.step(&mut loader, last)?;
            if run.state.step.is_multiple_of(self.checkpoint.every_steps) {
                run.save_at(Occasion::Regular)?;
            } else if run.state.step == last {
                run.save_at(Occasion::Interruption)?;
            }
        }
        Ok(Ended::Finished)
    }

    /// The run as its newest checkpoint left it, or a new one.
    fn start<O: Objective + 'static>(&self, mut objective: O) -> Result<Run<'_, O>> {
        let mut optimizer = NamedAdamW::new(self.optimizer, self.template_factor);
        let mut state = State::new(self.train.total_steps(self.cases.len()), self.facts.clone());
        if let Some(step) = self.folder.checkpoints()?.pop() {
            let path = self.folder.checkpoint(step);
            let mut checkpoint = Checkpoint::open(&path)?;
            let before = checkpoint.state();
            if before.total_steps != state.total_steps || before.facts != state.facts {
                let reason = "the prepared cases have changed since this run began; start a new run";
                return Err(Error::checkpoint(&path, reason));
            }
            state = before.clone();
            objective = checkpoint.load_model(objective)?;
            checkpoint.load_moments(&mut optimizer, &self.device.clone().without_autodiff())?;
            self.observer.note(&format!("continuing after step {step}"));
        }
        Ok(Run {
            trainer: self,
            objective,
            optimizer,
            metrics: MetricsWriter::open(&self.folder.metrics(), Some(state.step))?,
            events: EventWriter::create(self.folder.path(), state.step + 1)?,
            state,
            cases: Vec::new(),
        })
    }
}

impl<O: Objective + 'static> Run<'_, O> {
    /// One step: some batches, one update, one line of metrics.
    fn step(mut self, loader: &mut Loader<O::Sample>, last: u64) -> Result<Self> {
        let trainer = self.trainer;
        let start = Instant::now();
        let step = self.state.step;
        let epoch = trainer.train.epoch(step, trainer.cases.len());
        let mut rng = ChaCha8Rng::seed_from_u64(trainer.train.seed ^ NETWORK_NOISE);
        rng.set_stream(step);
        let mut accumulator = GradientsAccumulator::new();
        let mut losses: Vec<(&'static str, f64)> = Vec::new();
        let mut quality = 0.0;
        self.cases.clear();
        for number in 0..trainer.train.accumulate {
            let batch = loader.next_batch()?;
            self.cases.extend(batch.cases);
            let evaluation = self.objective.forward(&batch.samples, epoch as usize, &mut rng);
            add_losses(&mut losses, &evaluation);
            quality += f64::from(evaluation.quality.into_scalar::<f32>());
            self.check(losses[0].1.is_finite(), "loss")?;
            let gradients = evaluation.total.backward();
            accumulator.accumulate(&self.objective, GradientsParams::from_grads(gradients, &self.objective));
            if number == 0 {
                self.show(&evaluation.pictures)?;
            }
        }
        let gradients = accumulator.grads();
        let mut scale = 1.0 / trainer.train.accumulate as f64;
        let norm = gradient_norm(&self.objective, &gradients) * scale;
        self.check(norm.is_finite(), "gradient")?;
        let clip = trainer.optimizer.clip_norm;
        if clip > 0.0 {
            scale *= (clip / norm.max(f64::MIN_POSITIVE)).min(1.0);
        }
        let rate = trainer.optimizer.schedule.at(step, self.state.total_steps);
        self.objective = self.optimizer.step(self.objective, gradients, rate, scale);
        let seconds = start.elapsed().as_secs_f64();
        for (_, loss) in &mut losses {
            *loss /= trainer.train.accumulate as f64;
        }
        self.state.step += 1;
        self.state.loss_sum += quality / trainer.train.accumulate as f64;
        self.state.loss_count += 1;
        self.record(
            StepMetrics {
                step: self.state.step,
                epoch,
                loss: losses[0].1,
                losses: losses[1..].iter().map(|(name, value)| ((*name).to_owned(), *value)).collect(),
                lr: rate,
                seconds,
                samples_per_s: self.cases.len() as f64 / seconds,
                wait_share: loader.take_waited().as_secs_f64() / seconds,
            },
            last,
        )?;
        Ok(self)
    }

    fn check(&self, finite: bool, what: &'static str) -> Result<()> {
        if finite {
            return Ok(());
        }
        let kept = match self.trainer.folder.checkpoints()?.pop() {
            Some(step) => self.trainer.folder.checkpoint(step).display().to_string(),
            None => "the start: no checkpoint was written yet".to_owned(),
        };
        let step = if what == "weights" { self.state.step } else { self.state.step + 1 };
        Err(Error::NotFinite { step, what, cases: self.cases.join(", "), kept })
    }

    fn record(&mut self, metrics: StepMetrics, last: u64) -> Result<()> {
        self.metrics.write(&metrics)?;
        let step = metrics.step;
        self.events.scalar(step, "loss", metrics.loss)?;
        for (name, value) in &metrics.losses {
            self.events.scalar(step, name, *value)?;
        }
        self.events.scalar(step, "lr", metrics.lr)?;
        self.events.scalar(step, "samples_per_s", metrics.samples_per_s)?;
        self.events.scalar(step, "wait_share", metrics.wait_share)?;
        self.events.flush()?;
        self.trainer.observer.step(&metrics, last);
        Ok(())
    }

    /// Pictures of the volumes that an evaluation left, at intervals.
    fn show(&mut self, volumes: &[(&'static str, Tensor<3>)]) -> Result<()> {
        let every = self.trainer.log.pictures_every_steps;
        if every == 0 || !self.state.step.is_multiple_of(every) {
            return Ok(());
        }
        for (name, volume) in volumes {
            let [z, y, x] = volume.dims();
            let voxels = volume.to_data().try_to_vec::<f32>().map_err(|e| Error::Config(format!("{e:?}")))?;
            let picture = Picture::three_planes(&voxels, [x, y, z], (0.0, 1.0));
            self.events.image(self.state.step + 1, name, &picture)?;
        }
        Ok(())
    }

    /// Writes a checkpoint at its time. Every so many steps the mean loss since the last time is looked at, and the
    /// weights are written once more if it is the lowest so far.
    fn save_at(&mut self, occasion: Occasion) -> Result<()> {
        let folder = self.trainer.folder;
        self.check(self.is_finite(), "weights")?;
        if occasion == Occasion::Regular {
            let mean = self.state.loss_sum / self.state.loss_count as f64;
            (self.state.loss_sum, self.state.loss_count) = (0.0, 0);
            if self.state.best_loss.is_none_or(|best| mean < best) {
                self.state.best_loss = Some(mean);
                checkpoint::save(&folder.best(), &self.objective, None, &self.state)?;
            }
        }
        checkpoint::save(
            &folder.checkpoint(self.state.step),
            &self.objective,
            Some(&self.optimizer),
            &self.state,
        )?;
        if self.state.step >= self.trainer.train.last_step(self.trainer.cases.len())
            && !folder.best().exists()
        {
            // A run shorter than the interval has no best but its last.
            checkpoint::save(&folder.best(), &self.objective, None, &self.state)?;
        }
        folder.prune(self.trainer.checkpoint.keep_last)
    }

    /// Whether all weights, buffers and templates are numbers.
    fn is_finite(&self) -> bool {
        let mut handles = weights::handles(&self.objective).into_iter();
        handles.all(|named| (named.values * 0.0).sum().into_scalar::<f32>() == 0.0)
    }
}

/// Why a checkpoint is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Occasion {
    /// The number of steps says so.
    Regular,
    /// The run is stopped, at any step.
    Interruption,
}

/// Adds an evaluation's losses to the sums so far, the total first.
fn add_losses(sums: &mut Vec<(&'static str, f64)>, evaluation: &Evaluation) {
    let total = [("loss", &evaluation.total)];
    let parts = evaluation.parts.iter().map(|(name, loss)| (*name, loss));
    for (place, (name, loss)) in total.into_iter().chain(parts).enumerate() {
        let value = f64::from(loss.clone().into_scalar::<f32>());
        match sums.get_mut(place) {
            Some(sum) => sum.1 += value,
            None => sums.push((name, value)),
        }
    }
}
