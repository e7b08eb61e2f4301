//! Worker threads that draw samples ahead of the compute.

use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use brainmvp_objectives::patch::PatchSource;
use brainmvp_objectives::{Objective, Scene};
use brainmvp_ranks::Ranks;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::CaseSource;
use super::sampler::{Order, Pick, Sampler};
use crate::log::metrics::Lost;
use crate::{Error, Result};

/// How many batches each worker may be ahead.
const AHEAD: usize = 2;

/// Separates the random numbers of samples from those of the order of cases, which uses the same seed.
const SAMPLE_DRAWS: u64 = 0x5EED_0F5A_3B1E_5000;

/// The batches that a [`Loader`] makes.
#[derive(Debug, Clone)]
pub struct LoaderConfig {
    /// Samples of a batch, of which each rank has as many.
    pub batch_size: usize,
    /// Those that share each batch.
    pub ranks: Ranks,
    /// Batches of a step.
    pub accumulate: usize,
    /// Threads.
    pub workers: usize,
    /// The seed of all random numbers.
    pub seed: u64,
    /// The numbers of the batches, from the start of the run.
    pub batches: Range<u64>,
}

/// Samples, and the cases that they come from.
pub struct Batch<S> {
    /// In the order of `cases`.
    pub samples: Vec<S>,
    /// Names.
    pub cases: Vec<String>,
    /// Cases that could not be read and were replaced by others.
    pub lost: Vec<Lost>,
}

/// Returns batches in order, of each the share of this rank. The contents of a batch depend only on the seed and its number,
/// not on the threads nor on the number of ranks.
pub struct Loader<S> {
    /// Worker `w` makes batches `w`, `w + workers`, ...
    workers: Vec<Receiver<Result<Batch<S>>>>,
    next: usize,
    waited: Duration,
}

impl<S: Send + 'static> Loader<S> {
    /// Starts the workers.
    pub fn start<O: Objective<Sample = S> + 'static>(
        plan: &O::Plan,
        cases: &Arc<Vec<CaseSource>>,
        config: &LoaderConfig,
    ) -> Self {
        let sampler = Sampler::new(cases, O::draw_by(plan), config.seed);
        let workers = (0..config.workers.max(1))
            .map(|worker| {
                let (sender, receiver) = sync_channel(AHEAD);
                let numbers = config.batches.clone().skip(worker).step_by(config.workers.max(1));
                let draws = Draws::<O> {
                    plan: plan.clone(),
                    cases: Arc::clone(cases),
                    sampler: sampler.clone(),
                    seed: config.seed,
                    batch_size: config.batch_size,
                    ranks: config.ranks.clone(),
                    accumulate: config.accumulate,
                };
                std::thread::spawn(move || draws.send(numbers, &sender));
                receiver
            })
            .collect();
        Self { workers, next: 0, waited: Duration::ZERO }
    }

    /// The next batch; blocks until it is ready.
    ///
    /// # Errors
    /// If no case can be read, or a worker died.
    pub fn next_batch(&mut self) -> Result<Batch<S>> {
        let start = Instant::now();
        let batch = self.workers[self.next].recv().map_err(|_| Error::Loader)?;
        self.waited += start.elapsed();
        self.next = (self.next + 1) % self.workers.len();
        batch
    }

    /// Time spent blocked in [`Loader::next_batch`] since the last call.
    pub fn take_waited(&mut self) -> Duration {
        std::mem::take(&mut self.waited)
    }
}

/// The work of one worker.
struct Draws<O: Objective> {
    plan: O::Plan,
    cases: Arc<Vec<CaseSource>>,
    sampler: Sampler,
    seed: u64,
    batch_size: usize,
    ranks: Ranks,
    accumulate: usize,
}

impl<O: Objective> Draws<O> {
    /// Sends batches until all are sent or nobody is listening.
    fn send(self, numbers: impl Iterator<Item = u64>, to: &SyncSender<Result<Batch<O::Sample>>>) {
        let mut order = self.sampler.order();
        for number in numbers {
            let batch = self.batch(number, &mut order);
            let failed = batch.is_err();
            if to.send(batch).is_err() || failed {
                return;
            }
        }
    }

    fn batch(&self, number: u64, order: &mut Order<'_>) -> Result<Batch<O::Sample>> {
        let share = self.batch_size / self.ranks.count();
        let own = self.ranks.rank() * share..(self.ranks.rank() + 1) * share;
        let drawn = if O::MIXES { 0..self.batch_size } else { own.clone() };
        let mean_weight = self.mean_weight(number, order);
        let mut batch = Batch { samples: Vec::new(), cases: Vec::new(), lost: Vec::new() };
        let first = number * self.batch_size as u64;
        for position in drawn.clone().map(|place| first + place as u64) {
            let (index, mut sample) = self.sample(position, order.at(position), &mut batch.lost)?;
            let case = &self.cases[index];
            O::set_share(&mut sample, O::weight(&self.plan, case) / mean_weight);
            batch.samples.push(sample);
            batch.cases.push(case.id().to_owned());
        }
        O::mix(&self.plan, &mut batch.samples);
        if drawn != own {
            batch.samples = batch.samples.drain(own.clone()).collect();
            batch.cases = batch.cases.drain(own).collect();
        }
        Ok(batch)
    }

    /// The sample at a position, and its case: the one that is picked or, if that can no longer be read, the next one that
    /// can and has the modality it is picked for.
    fn sample(&self, position: u64, pick: Pick, lost: &mut Vec<Lost>) -> Result<(usize, O::Sample)> {
        let Pick { case: picked, target } = pick;
        let mut failure = Error::Loader;
        for index in (picked..self.cases.len()).chain(0..picked) {
            let case = &self.cases[index];
            if target.is_some_and(|target| !case.modalities().contains(&target)) {
                continue;
            }
            let mut rng = ChaCha8Rng::seed_from_u64(self.seed ^ SAMPLE_DRAWS);
            rng.set_stream(position);
            match O::draw(&self.plan, Scene { cases: self.cases.as_slice(), index, target }, &mut rng) {
                Ok(sample) => return Ok((index, sample)),
                Err(error) if error.is_of_lost_case() => {
                    lost.push(Lost { case: case.id().to_owned(), reason: error.to_string() });
                    failure = error;
                }
                Err(error) => return Err(error),
            }
        }
        Err(failure)
    }

    /// Mean weight of all cases of the step that a batch is part of.
    fn mean_weight(&self, number: u64, order: &mut Order<'_>) -> f32 {
        let batches = self.accumulate.max(1) as u64;
        let cases = batches * self.batch_size as u64;
        let first = number / batches * cases;
        let weight = |position| O::weight(&self.plan, &self.cases[order.at(position).case]);
        let sum: f32 = (first..first + cases).map(weight).sum();
        (sum / cases as f32).max(f32::MIN_POSITIVE)
    }
}
