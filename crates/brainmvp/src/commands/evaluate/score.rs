//! Scores cases in parallel, each from its two files.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use brainmvp_metrics::{Emptiness, RegionScores, Score, SegmentationConfig};
use brainmvp_prep::MemoryGate;
use brainmvp_volume::{LabelMap, file};

use super::truth::{Target, Truth};

/// Bytes per voxel of a file being processed: as stored, as read, and as labels and masks.
const BYTES_PER_VOXEL: u64 = 16;

/// A case to be scored.
pub(super) struct Pair<'a> {
    pub(super) truth: &'a Truth,
    pub(super) target: &'a Target,
    /// If `None`, it is scored as an empty prediction, in the regions that the truth has.
    pub(super) prediction: Option<PathBuf>,
}

impl Pair<'_> {
    /// The scores of all regions, or why there are none: without the paths of the files, which may name people.
    pub(super) fn score(&self, config: &SegmentationConfig) -> Result<Vec<RegionScores>, String> {
        let files = [Some((&self.truth.file, "truth")), self.prediction.as_ref().map(|p| (p, "prediction"))];
        self.scores(config).map_err(|reason| {
            let named = |reason: String, (path, name): (&PathBuf, _)| {
                reason.replace(&path.display().to_string(), name)
            };
            files.into_iter().flatten().fold(reason, named)
        })
    }

    fn scores(&self, config: &SegmentationConfig) -> Result<Vec<RegionScores>, String> {
        let target = self.target;
        let truth = read(&self.truth.file, &target.truth_values)?;
        let Some(path) = &self.prediction else {
            let nothing = LabelMap::filled(*truth.grid(), 0);
            let scores = config.evaluate_as(&nothing, &truth, &target.regions, &target.ignored);
            return scores.map(without_credit).map_err(|error| error.to_string());
        };
        let prediction = read(path, &target.predicted_values)?;
        let scores = config.evaluate_as(&prediction, &truth, &target.regions, &target.ignored);
        scores.map_err(|error| format!("{}: {error}", path.display()))
    }

    /// The memory needed to score it.
    pub(super) fn bytes(&self) -> u64 {
        bytes_of(&self.truth.file) + self.prediction.as_deref().map_or(0, bytes_of)
    }
}

/// Reads a label map, which may only have `known` values besides 0.
fn read(path: &Path, known: &BTreeSet<u16>) -> Result<LabelMap, String> {
    let labels = file::read_labels(path).map_err(|error| error.to_string())?;
    let odd: Vec<_> = values_of(&labels).difference(known).map(u16::to_string).collect();
    if odd.is_empty() {
        return Ok(labels);
    }
    let known: Vec<_> = known.iter().map(u16::to_string).collect();
    Err(format!(
        "{}: label values {} are not among the declared {}",
        path.display(),
        odd.join(", "),
        known.join(", ")
    ))
}

/// Without a prediction, an absent structure must not count as correctly predicted: such regions are excluded.
fn without_credit(mut scores: Vec<RegionScores>) -> Vec<RegionScores> {
    for region in scores.iter_mut().filter(|region| region.empty == Emptiness::Both) {
        region.values.values_mut().for_each(|value| *value = Score::EXCLUDED);
    }
    scores
}

/// The values that occur, without the background.
pub(super) fn values_of(labels: &LabelMap) -> BTreeSet<u16> {
    let mut found = BTreeSet::new();
    // Neighbours mostly have the same value.
    let mut last = 0;
    for value in labels.voxels() {
        if *value != last {
            last = *value;
            found.insert(last);
        }
    }
    found.remove(&0);
    found
}

/// The memory for processing a label map; 0 for a file that cannot be read, which fails early.
pub(super) fn bytes_of(path: &Path) -> u64 {
    file::read_header(path).map_or(0, |header| header.grid.len() as u64 * BYTES_PER_VOXEL)
}

/// Does `work` for all items, as many at a time as the memory and the threads allow. The results are in the order of
/// the items.
pub(super) fn side_by_side<T: Sync, R: Send>(
    items: &[T],
    memory_bytes: u64,
    bytes: impl Fn(&T) -> u64 + Sync,
    work: impl Fn(&T) -> R + Sync,
) -> Vec<R> {
    let (gate, next, results) = (MemoryGate::new(memory_bytes), AtomicUsize::new(0), Mutex::new(Vec::new()));
    let run = || {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(number) else { break };
            let _permit = gate.acquire(bytes(item));
            let result = rayon::scope(|_| work(item));
            results.lock().unwrap_or_else(PoisonError::into_inner).push((number, result));
        }
    };
    // Separate threads wait for memory: a thread that waits inside the pool could be waiting for work that it has
    // started itself.
    std::thread::scope(|scope| (0..rayon::current_num_threads()).for_each(|_| drop(scope.spawn(run))));
    let mut results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    results.sort_unstable_by_key(|(number, _)| *number);
    results.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_keep_the_order_of_the_cases() {
        let items: Vec<u64> = (0..100).collect();
        let squares = side_by_side(&items, 7, |item| *item, |item| item * item);
        assert_eq!(squares, items.iter().map(|item| item * item).collect::<Vec<_>>());
    }
}
