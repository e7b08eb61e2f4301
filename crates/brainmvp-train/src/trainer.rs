//! The one training loop.

mod gradients;
mod learnt;
mod losses;
mod record;
mod settings;
mod statistics;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use brainmvp_kernels::in_pool;
use brainmvp_nets::layers::Pass;
use brainmvp_nets::weights;
use brainmvp_objectives::{Counts, Moment, Objective};
use brainmvp_ranks::Ranks;
use brainmvp_volume::FileError;
use burn::tensor::{Device, Tensor};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::about::About;
use crate::batches::{Batch, CaseSource, Loader, LoaderConfig};
use crate::checkpoint::{self, Checkpoint, CheckpointConfig, State};
use crate::log::metrics::{Lost, StepMetrics, ValidationMetrics};
use crate::optimizer::{NamedAdamW, OptimizerConfig, gradient_norm};
use crate::run::RunFolder;
use crate::status::Status;
use crate::{Error, Result};

use gradients::GradientSums;
use losses::Losses;
use record::Record;
pub use settings::{LogConfig, TrainConfig, ValidationConfig};

/// Separates the generators for different purposes: each is seeded with the run's seed and its own constant.
const NETWORK_NOISE: u64 = 0x0D12_0995_2B1A_77E3;

/// The observer of a run. By itself, it passes over all but warnings.
pub trait Observer {
    /// A step is done; the run ends at `last`.
    fn step(&self, _metrics: &StepMetrics, _last: u64) {}
    /// A validation is done; for runs with validation.
    fn validated(&self, _validation: &ValidationMetrics) {}
    /// Something worth a line.
    fn note(&self, _text: &str) {}
    /// Something that must not be missed.
    fn warn(&self, text: &str);
}

/// Scores the network on cases that it is not trained on.
pub trait Judge<O> {
    /// Scores by name, with the one by which runs are compared first; higher is better. `None` if stopped on the way.
    ///
    /// # Errors
    /// If a case cannot be read or the network's results are not finite.
    fn judge(&self, objective: &O, stop: &AtomicBool) -> Result<Option<Vec<(String, f64)>>>;
}

/// A [`Judge`], and when it is called.
pub struct Validation<'a, O> {
    /// When.
    pub config: &'a ValidationConfig,
    /// Who.
    pub judge: &'a dyn Judge<O>,
}

/// The parts of a run, apart from the objective.
pub struct Trainer<'a> {
    /// How long, and with which batches.
    pub train: &'a TrainConfig,
    /// The optimiser.
    pub optimizer: &'a OptimizerConfig,
    /// What is kept.
    pub checkpoint: &'a CheckpointConfig,
    /// What is shown.
    pub log: &'a LogConfig,
    /// The cases.
    pub cases: Arc<Vec<CaseSource>>,
    /// The run folder.
    pub folder: &'a RunFolder,
    /// With autodiff.
    pub device: Device,
    /// Set by the caller to stop after the current step.
    pub stop: &'a AtomicBool,
    /// Whoever watches.
    pub observer: &'a dyn Observer,
    /// Stored in every checkpoint: what is trained.
    pub about: About,
    /// Those that train the same network, each on its share of each batch. The first one writes the files.
    pub ranks: Ranks,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// All steps are done, or the scores of validation have stopped rising.
    Finished,
    /// It was stopped; its state is saved.
    Stopped,
}

/// What [`Trainer::rehearse`] found.
pub(crate) struct Rehearsal {
    /// The size of a checkpoint.
    pub(crate) checkpoint_bytes: u64,
    /// The size of the weights alone.
    pub(crate) weights_bytes: u64,
    /// What a validation takes.
    pub(crate) seconds_per_validation: Option<f64>,
}

/// A run in progress.
struct Run<'a, O> {
    trainer: &'a Trainer<'a>,
    objective: O,
    optimizer: NamedAdamW,
    gradients: GradientSums<O>,
    state: State,
    /// Of the rank that writes.
    record: Option<Record>,
    /// Whether any rank was told to stop.
    told_to_stop: bool,
    /// The cases of the last step, to be named if its update turns out to be bad.
    cases: Vec<String>,
    /// Those that could no longer be read, which have been named.
    lost: BTreeSet<String>,
}

impl Trainer<'_> {
    /// Trains until the last step, until told to stop, or until `validation` no longer improves. Continues from the
    /// newest checkpoint of the folder if there is one; the caller has decided before whether that is wanted.
    ///
    /// # Errors
    /// If a case, the folder or a checkpoint fails, or the loss is not finite.
    pub fn run<O: Objective + 'static>(
        &self,
        objective: O,
        validation: Option<&Validation<'_, O>>,
    ) -> Result<Ended> {
        self.train.refuse_uneven_shares(&self.ranks)?;
        let run = self.start(objective)?;
        let last = self.train.last_step(self.cases.len());
        let record = |status: Status| if self.ranks.is_first() { status.record(self.folder) } else { Ok(()) };
        record(Status::running(last))?;
        let ended = self.run_to(last, run, validation);
        let recorded = record(Status::of(&ended, last));
        // Why the run failed says more than why that cannot be recorded.
        ended.and_then(|ended| recorded.map(|()| ended))
    }

    /// Takes steps up to the last.
    fn run_to<O: Objective + 'static>(
        &self,
        last: u64,
        mut run: Run<'_, O>,
        validation: Option<&Validation<'_, O>>,
    ) -> Result<Ended> {
        let per_step = self.train.accumulate as u64;
        let mut loader = self.loader(&run.objective, run.state.step * per_step..last * per_step);
        loop {
            if let Some(validation) = validation.filter(|v| run.is_due(v.config, last)) {
                if !run.validate(validation)? {
                    run.save_at(Occasion::Interruption)?;
                    return Ok(Ended::Stopped);
                }
                if run.state.step == last || run.is_spent(validation.config) {
                    run.save_at(Occasion::Interruption)?;
                }
            }
            if run.state.step >= last || validation.is_some_and(|v| run.is_spent(v.config)) {
                run.note_counts();
                return Ok(Ended::Finished);
            }
            if run.told_to_stop || (self.ranks.is_alone() && self.stop.load(Ordering::Relaxed)) {
                run.save_at(Occasion::Interruption)?;
                return Ok(Ended::Stopped);
            }
            run = run.step(&mut loader, last)?;
            if run.state.step.is_multiple_of(self.checkpoint.every_steps) {
                let occasion = if validation.is_some() { Occasion::Interruption } else { Occasion::Regular };
                run.save_at(occasion)?;
            } else if run.state.step == last {
                run.save_at(Occasion::Interruption)?;
            }
        }
    }

    /// Takes steps until they are enough, and has one validation; of neither is anything kept but the log in the folder.
    pub(crate) fn rehearse<O: Objective + 'static>(
        &self,
        objective: O,
        validation: Option<&Validation<'_, O>>,
        enough: impl Fn(u64) -> bool,
    ) -> Result<Rehearsal> {
        let mut run = self.start(objective)?;
        let mut loader = self.loader(&run.objective, 0..u64::MAX);
        while !enough(run.state.step) && !self.stop.load(Ordering::Relaxed) {
            run = run.step(&mut loader, u64::MAX)?;
        }
        let begun = Instant::now();
        let judged = validation.map(|v| v.judge.judge(&run.objective, self.stop)).transpose()?.flatten();
        Ok(Rehearsal {
            checkpoint_bytes: checkpoint::size(&run.objective, Some(&run.optimizer), &run.state)?,
            weights_bytes: checkpoint::size(&run.objective, None, &run.state)?,
            seconds_per_validation: judged.map(|_| begun.elapsed().as_secs_f64()),
        })
    }

    /// Makes the batches of these numbers.
    fn loader<O: Objective + 'static>(&self, objective: &O, batches: Range<u64>) -> Loader<O::Sample> {
        let TrainConfig { batch_size, accumulate, workers, seed, .. } = *self.train;
        let config =
            LoaderConfig { batch_size, ranks: self.ranks.clone(), accumulate, workers, seed, batches };
        Loader::start::<O>(&objective.plan(), &self.cases, &config)
    }

    /// The newest checkpoint that is whole, and its step. Damaged ones are named, passed over and added to the list.
    fn newest_checkpoint(&self, damaged: &mut Vec<u64>) -> Result<Option<(u64, Checkpoint)>> {
        let mut first = None;
        for step in self.folder.checkpoints()?.into_iter().rev() {
            match Checkpoint::open(&self.folder.checkpoint(step)) {
                Ok(checkpoint) => return Ok(Some((step, checkpoint))),
                Err(error) => {
                    self.observer.warn(&format!("{error}; an earlier checkpoint is looked for"));
                    damaged.push(step);
                    first.get_or_insert(error);
                }
            }
        }
        first.map_or(Ok(None), Err)
    }

    /// The run as its newest checkpoint left it, or a new one.
    fn start<O: Objective + 'static>(&self, mut objective: O) -> Result<Run<'_, O>> {
        let mut optimizer = NamedAdamW::of(self.optimizer, &objective);
        let mut state = State::new(self.train.total_steps(self.cases.len()), self.about.clone());
        let mut damaged = Vec::new();
        if let Some((step, mut checkpoint)) = self.newest_checkpoint(&mut damaged)? {
            let path = checkpoint.path().to_owned();
            let before = checkpoint.state();
            if before.total_steps != state.total_steps || !before.about.has_same_data(&state.about) {
                return Err(Error::checkpoint(&path, changed(&before.about, &state.about)));
            }
            state = before.clone();
            objective = checkpoint.load_model(objective)?;
            checkpoint.load_moments(&mut optimizer, &self.device.clone().without_autodiff())?;
            self.observer.note(&format!("continuing after step {step}"));
        }
        // All ranks have read the checkpoint before the first one writes another.
        self.ranks.meet();
        let writes = self.ranks.is_first();
        if writes {
            damaged.into_iter().try_for_each(|step| self.folder.set_aside(step))?;
        }
        Ok(Run {
            trainer: self,
            gradients: GradientSums::new(&objective, &self.ranks, &self.device),
            objective,
            optimizer,
            record: writes.then(|| Record::open(self.folder, state.step, state.validated)).transpose()?,
            told_to_stop: any(self.stop.load(Ordering::Relaxed), &self.ranks),
            state,
            cases: Vec::new(),
            lost: BTreeSet::new(),
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
        let at = Moment { step, total_steps: self.state.total_steps, epoch: epoch as usize };
        let mut rng = ChaCha8Rng::seed_from_u64(trainer.train.seed ^ NETWORK_NOISE);
        rng.set_stream(step);
        let mut losses = Losses::default();
        self.cases.clear();
        let mut lost = Vec::new();
        let mut met = self.meet(loader)?.into_iter();
        for number in 1..=trainer.train.accumulate {
            let batch = met.next().map_or_else(|| loader.next_batch(), Ok)?;
            self.cases.extend(batch.cases);
            lost.extend(batch.lost);
            let prepared = self.gradients.prepared(&self.objective, number == trainer.train.accumulate);
            let (samples, ranks) = (&batch.samples, &trainer.ranks);
            let norms = if trainer.train.sync_batch_norm { ranks.clone() } else { Ranks::alone() };
            let work = || {
                let mut pass = Pass::of_share(&mut rng, ranks, samples.len());
                pass.norms = norms;
                let evaluation = prepared.forward(samples, at, &mut pass);
                let gradients = evaluation.total.backward();
                (evaluation, gradients)
            };
            // Ranks wait for each other, and some share a pool.
            let (evaluation, gradients) =
                if ranks.is_alone() { in_pool(&trainer.device, work) } else { work() };
            losses.add(&evaluation);
            if ranks.is_alone() {
                self.check(losses.total().is_finite(), "loss")?;
            }
            self.gradients.add(&self.objective, gradients);
            if number == 1 {
                self.show(&evaluation.pictures)?;
            }
        }
        let is_told = f64::from(u8::from(trainer.stop.load(Ordering::Relaxed)));
        let mut numbers = losses.with([is_told, lost.len() as f64]);
        let gradients = self.gradients.take(&self.objective, &mut numbers);
        let [told, lost_anywhere] = losses.set(numbers);
        self.told_to_stop = told > 0.0;
        if lost_anywhere > 0.0 {
            lost = self.name_lost(lost)?;
        }
        self.check(losses.total().is_finite(), "loss")?;
        let mut scale = 1.0 / trainer.train.accumulate as f64;
        let (norm, gradients) =
            in_pool(&trainer.device, || (gradient_norm(&self.objective, &gradients), gradients));
        let norm = norm * scale;
        self.check(norm.is_finite(), "gradient")?;
        let clip = trainer.optimizer.clip_norm;
        if clip > 0.0 {
            scale *= (clip / norm.max(f64::MIN_POSITIVE)).min(1.0);
        }
        let rate = trainer.optimizer.schedule.at(step, self.state.total_steps);
        let (objective, optimizer) = (self.objective, &mut self.optimizer);
        self.objective =
            in_pool(&trainer.device, || optimizer.step(objective, gradients, rate, scale).after_step(at));
        let seconds = start.elapsed().as_secs_f64();
        let (quality, losses) = losses.mean(trainer.train.accumulate);
        self.state.step += 1;
        self.state.loss_sum += quality;
        self.state.loss_count += 1;
        self.record(
            StepMetrics {
                step: self.state.step,
                epoch,
                loss: losses[0].1,
                losses: losses[1..].iter().map(|(name, value)| ((*name).to_owned(), *value)).collect(),
                lr: rate,
                seconds,
                samples_per_s: (trainer.ranks.count() * self.cases.len()) as f64 / seconds,
                wait_share: loader.take_waited().as_secs_f64() / seconds,
                counts: self.counts(),
                lost,
            },
            last,
        )?;
        Ok(self)
    }

    /// The batches of a step that must know each other before the first one is used; none if they need not.
    fn meet(&self, loader: &mut Loader<O::Sample>) -> Result<Vec<Batch<O::Sample>>> {
        let count = self.trainer.train.accumulate;
        let ranks = &self.trainer.ranks;
        if !O::WHOLE_STEPS || (count < 2 && ranks.is_alone()) {
            return Ok(Vec::new());
        }
        let mut batches = (0..count).map(|_| loader.next_batch()).collect::<Result<Vec<_>>>()?;
        let mut samples: Vec<&mut [O::Sample]> =
            batches.iter_mut().map(|batch| batch.samples.as_mut_slice()).collect();
        self.objective.meet(&mut samples, ranks);
        Ok(batches)
    }

    /// Whether this step should be validated and has not been.
    fn is_due(&self, config: &ValidationConfig, last: u64) -> bool {
        let (step, cases) = (self.state.step, self.trainer.cases.len());
        step > self.state.validated && config.is_due(self.trainer.train, step, cases, last)
    }

    /// Whether the score has not improved for as long as patience allows.
    fn is_spent(&self, config: &ValidationConfig) -> bool {
        config.patience > 0 && self.state.stale >= config.patience
    }

    /// Validates the network; its weights are written if it is the best so far. Returns false if stopped on the way.
    fn validate(&mut self, validation: &Validation<'_, O>) -> Result<bool> {
        let start = Instant::now();
        self.average_statistics();
        let Some(scores) = validation.judge.judge(&self.objective, self.trainer.stop)? else {
            return Ok(false);
        };
        let step = self.state.step;
        self.state.validated = step;
        let score = scores.first().map_or(f64::NAN, |(_, score)| *score);
        let best = self.state.best_score.is_none_or(|best| score > best);
        if best {
            (self.state.best_score, self.state.stale) = (Some(score).filter(|score| score.is_finite()), 0);
            self.save_best()?;
        } else {
            self.state.stale += 1;
        }
        let epoch = self.trainer.train.epoch(step, self.trainer.cases.len());
        let seconds = start.elapsed().as_secs_f64();
        let metrics = ValidationMetrics { step, epoch, best, scores, seconds };
        if let Some(record) = &mut self.record {
            record.validation(&metrics)?;
        }
        self.trainer.observer.validated(&metrics);
        if self.is_spent(validation.config) {
            let patience = validation.config.patience;
            self.trainer.observer.note(&format!("no better score for {patience} validations: the run ends"));
        }
        Ok(true)
    }

    /// Names the cases that could not be read, each once. Returns those of all ranks.
    fn name_lost(&mut self, own: Vec<Lost>) -> Result<Vec<Lost>> {
        let wrong =
            |error: serde_json::Error| Error::from(FileError::new(Path::new("cases of a process"), error));
        let own = serde_json::to_vec(&own).map_err(wrong)?;
        let all = self.trainer.ranks.gather(&own).into_iter();
        let all = all.map(|text| serde_json::from_slice::<Vec<Lost>>(&text).map_err(wrong));
        let all = all.collect::<Result<Vec<_>>>()?.concat();
        for Lost { case, reason } in &all {
            if self.lost.insert(case.clone()) {
                self.trainer.observer.warn(&format!(
                    "case '{case}' can no longer be read, and other cases take its place: {reason}"
                ));
            }
        }
        Ok(all)
    }

    /// What is counted, by name: `template updates t1c`.
    fn counts(&self) -> BTreeMap<String, usize> {
        let counts = self.objective.counts(&self.optimizer.updates()).into_iter();
        let named = counts.flat_map(|Counts { what, of }| {
            of.into_iter().map(move |(part, count)| (format!("{what} {part}"), count))
        });
        named.collect()
    }

    /// Says at the end what was counted: a template that was rarely moved has hardly formed.
    fn note_counts(&self) {
        if let Some(Counts { what, of }) = self.objective.counts(&self.optimizer.updates()) {
            let told: Vec<String> = of.iter().map(|(part, count)| format!("{part} {count}")).collect();
            self.trainer.observer.note(&format!("{what}: {}", told.join(", ")));
        }
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
        let cases = self.trainer.ranks.gather(self.cases.join(", ").as_bytes());
        let cases = cases.iter().map(|names| String::from_utf8_lossy(names)).collect::<Vec<_>>().join(", ");
        Err(Error::NotFinite { step, what, cases, kept })
    }

    fn record(&mut self, metrics: StepMetrics, last: u64) -> Result<()> {
        if let Some(record) = &mut self.record {
            record.step(&metrics)?;
        }
        self.trainer.observer.step(&metrics, last);
        Ok(())
    }

    /// Writes pictures of an evaluation's volumes, at intervals.
    fn show(&mut self, volumes: &[(&'static str, Tensor<3>)]) -> Result<()> {
        let every = self.trainer.log.pictures_every_steps;
        if every == 0 || !self.state.step.is_multiple_of(every) {
            return Ok(());
        }
        self.record.as_mut().map_or(Ok(()), |record| record.volumes(self.state.step + 1, volumes))
    }

    /// Writes a picture of the images that are learnt themselves, unless there are to be no pictures.
    fn show_learnt(&mut self) -> Result<()> {
        let images = self.objective.learnt_images();
        if self.trainer.log.pictures_every_steps == 0 || images.is_empty() {
            return Ok(());
        }
        let (step, cases) = (self.state.step, &self.trainer.cases);
        self.record.as_mut().map_or(Ok(()), |record| record.learnt(step, &images, cases))
    }

    /// Writes checkpoints when they are due. At regular intervals the mean loss since the last one is compared, and the
    /// weights are also written as the best if it is the lowest so far.
    fn save_at(&mut self, occasion: Occasion) -> Result<()> {
        let folder = self.trainer.folder;
        self.check(self.is_finite(), "weights")?;
        self.average_statistics();
        self.check_agreement()?;
        self.show_learnt()?;
        if occasion == Occasion::Regular {
            let mean = self.state.loss_sum / self.state.loss_count as f64;
            (self.state.loss_sum, self.state.loss_count) = (0.0, 0);
            if self.state.best_loss.is_none_or(|best| mean < best) {
                self.state.best_loss = Some(mean);
                self.save_best()?;
            }
        }
        if !self.trainer.ranks.is_first() {
            return Ok(());
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
            // A run shorter than the interval has only its last state as the best.
            self.save_best()?;
        }
        folder.prune(self.trainer.checkpoint.keep_last)
    }

    /// Writes the weights as the best so far.
    fn save_best(&self) -> Result<()> {
        if !self.trainer.ranks.is_first() {
            return Ok(());
        }
        checkpoint::save(&self.trainer.folder.best(), &self.objective, None, &self.state)
    }

    /// Gives all ranks the same running statistics, unless they have.
    fn average_statistics(&mut self) {
        let Trainer { ranks, train, .. } = self.trainer;
        if !ranks.is_alone() && !train.sync_batch_norm {
            self.objective = statistics::averaged(self.objective.clone(), ranks);
        }
    }

    /// Whether all ranks have the same weights, to the bit.
    fn check_agreement(&self) -> Result<()> {
        let ranks = &self.trainer.ranks;
        if ranks.is_alone() {
            return Ok(());
        }
        let mut hasher = blake3::Hasher::new();
        weights::visit(&self.objective, |_, data| {
            hasher.update(data.as_bytes());
        });
        let all = ranks.gather(hasher.finalize().as_bytes());
        if all.iter().all(|digest| *digest == all[0]) {
            return Ok(());
        }
        Err(Error::Disagreement { step: self.state.step })
    }

    /// Whether all weights, buffers and templates are finite.
    fn is_finite(&self) -> bool {
        let mut handles = weights::handles(&self.objective).into_iter();
        handles.all(|named| (named.values * 0.0).sum().into_scalar::<f32>() == 0.0)
    }
}

/// The error that a run cannot be continued with these cases, with the differences in their preparation.
fn changed(before: &About, now: &About) -> String {
    let differences = match (before.prepared(), now.prepared()) {
        (Some(before), Some(now)) => before.differences(&now),
        _ => Vec::new(),
    };
    let list = differences.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
    let list = if list.is_empty() { list } else { format!(" ({list})") };
    format!("the prepared cases have changed since this run began{list}; start a new run")
}

/// Why a checkpoint is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Occasion {
    /// The number of steps says so.
    Regular,
    /// The run is stopped, at any step.
    Interruption,
}

/// Whether something is true on any rank.
fn any(here: bool, ranks: &Ranks) -> bool {
    ranks.gather(&[u8::from(here)]).iter().any(|there| there == &[1])
}
