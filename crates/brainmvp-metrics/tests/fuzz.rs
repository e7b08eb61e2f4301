//! Damaged scores: an error or other scores, within a second and little memory.

#![allow(clippy::unwrap_used, reason = "a failing test may panic")]

use brainmvp_fuzz::{Memory, Place, Seed, fuzz};
use brainmvp_metrics::statistics::{BootstrapConfig, ZeroRule};
use brainmvp_metrics::{Comparison, Mask, MaskPair, Scores, SegmentationConfig};
use brainmvp_volume::Affine;
use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;

#[global_allocator]
static MEMORY: brainmvp_fuzz::Counting = brainmvp_fuzz::Counting;

/// A value of JSON takes many times the two bytes that it may have in the file.
const TEXT: Memory = Memory { fixed: 256 << 10, for_each_byte: 160 };

#[test]
fn scores_of_an_evaluation() {
    let config = SegmentationConfig::default();
    let mut scores = Scores::new(config);
    let affine = Affine::from_spacing([1.0; 3], [0.0; 3]);
    let mask = |count: usize| Mask::new([10, 1, 1], &std::array::from_fn::<_, 10, _>(|x| x < count));
    for (case, found, there) in [("a", 5, 5), ("b", 0, 5), ("c", 0, 0)] {
        let pair = MaskPair::new(mask(found), mask(there), &affine).unwrap();
        let rows = ["WT", "TC"].map(|region| scores.config().score_pair(region, &pair));
        scores.push(case, rows.into()).unwrap();
    }
    scores.note_missing("d");
    scores.quarantine("e", "unreadable");
    let place = Place::new("metrics.json");
    let path = place.folder().join("metrics.json");
    let bootstrap = BootstrapConfig::default();
    let summary = scores.summary(&bootstrap, &mut ChaCha8Rng::seed_from_u64(0)).unwrap();
    scores.save_json(&path, &summary, None).unwrap();
    let seed = Seed::new(std::fs::read(&path).unwrap());
    fuzz("scores of evaluate (metrics.json)", &[seed], TEXT, |bytes| {
        let read = Scores::load_json(place.holding(bytes)).map_err(|error| error.to_string())?;
        drop(Comparison::new(&scores, &read, ZeroRule::default()));
        Ok(())
    });
}
