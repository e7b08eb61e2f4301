//! The order of cases.

use rand::RngExt;
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

/// An endless sequence of cases: epoch after epoch, each case once an epoch, the cases of every data set spread evenly
/// over it, so that the cases of one batch come from different data sets where there are several.
///
/// It has no state: the case at a position is a function of the seed and the position.
#[derive(Debug, Clone)]
pub struct Sampler {
    seed: u64,
    /// Case indices, grouped by data set.
    groups: Vec<Vec<usize>>,
    cases: usize,
}

impl Sampler {
    /// A sampler over cases with these data sets.
    pub fn new<'a>(data_sets: impl IntoIterator<Item = &'a str>, seed: u64) -> Self {
        let mut groups = std::collections::BTreeMap::<&str, Vec<usize>>::new();
        let mut cases = 0;
        for data_set in data_sets {
            groups.entry(data_set).or_default().push(cases);
            cases += 1;
        }
        Self { seed, groups: groups.into_values().collect(), cases }
    }

    /// Number of cases, the length of an epoch.
    pub fn cases(&self) -> usize {
        self.cases
    }

    /// The order of an epoch.
    pub fn epoch(&self, epoch: u64) -> Vec<usize> {
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        rng.set_stream(epoch);
        let mut placed: Vec<(f64, usize)> = Vec::with_capacity(self.cases);
        for group in &self.groups {
            let mut group = group.clone();
            group.shuffle(&mut rng);
            let count = group.len() as f64;
            placed.extend(group.into_iter().enumerate().map(|(i, case)| {
                let jitter: f64 = rng.random();
                ((i as f64 + jitter) / count, case)
            }));
        }
        placed.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        placed.into_iter().map(|(_, case)| case).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_has_every_case_once_and_its_own_order() {
        let sampler = Sampler::new(["a", "b", "a", "c", "a", "b"], 7);
        for epoch in 0..3 {
            let mut order = sampler.epoch(epoch);
            assert_eq!(order, sampler.epoch(epoch));
            order.sort_unstable();
            assert_eq!(order, [0, 1, 2, 3, 4, 5]);
        }
        let orders: std::collections::BTreeSet<_> = (0..10).map(|epoch| sampler.epoch(epoch)).collect();
        assert!(orders.len() > 5);
    }

    #[test]
    fn batches_mix_data_sets() {
        let sets: Vec<&str> = (0..60).map(|i| if i < 30 { "a" } else { "b" }).collect();
        let sampler = Sampler::new(sets.iter().copied(), 1);
        let order = sampler.epoch(0);
        let mixed =
            order.chunks(4).filter(|b| b.iter().any(|&c| c < 30) && b.iter().any(|&c| c >= 30)).count();
        assert_eq!(mixed, 15, "every batch of four");
    }
}
