//! What a forward pass is for.

use brainmvp_ranks::Ranks;
use rand::Rng;

/// A forward pass in training or in evaluation: whether norms use the statistics of the batch, whether coarse outputs are
/// computed, where random numbers come from, and who else has a part of the batch.
///
/// It is independent of gradients: a teacher is trained without any, and a gradient in evaluation is possible.
pub struct Pass<'a> {
    /// Batch norms use the statistics of the batch and update the running ones; decoders with deep supervision compute
    /// their coarse outputs.
    pub training: bool,
    /// The source of what is random in a network, such as stochastic depth; `None` if nothing is to be random.
    pub rng: Option<&'a mut dyn Rng>,
    /// The processes that have the other parts of the batch. All of them take the same passes, and have the same random
    /// numbers.
    pub ranks: Ranks,
    /// Those over whose samples batch norms compute their statistics: all of them, or this process alone.
    pub norms: Ranks,
    /// The samples of this process; needed if it is not alone.
    pub samples: usize,
}

impl<'a> Pass<'a> {
    /// Training, with randomness, by one process.
    pub fn training(rng: &'a mut dyn Rng) -> Self {
        Self { training: true, rng: Some(rng), ..Pass::evaluation() }
    }

    /// Training, with randomness, on a process's share of a batch. Norms are those of the whole batch.
    pub fn of_share(rng: &'a mut dyn Rng, ranks: &Ranks, samples: usize) -> Self {
        Self { training: true, rng: Some(rng), ranks: ranks.clone(), norms: ranks.clone(), samples }
    }

    /// Draws something for each row of a batch, and returns what is for the rows of this process. Without a source of
    /// random numbers, there is nothing.
    ///
    /// The rows are those of each sample once, or several times, all samples after all samples. They are drawn for the whole
    /// batch in its order, so that each sample has the same, however many processes share it.
    pub fn draw<T>(&mut self, rows: usize, mut draw: impl FnMut(&mut dyn Rng) -> T) -> Option<Vec<T>> {
        let (count, rank) = (self.ranks.count(), self.ranks.rank());
        let rng = self.rng.as_mut()?;
        let all = (0..count * rows).map(|_| draw(&mut **rng));
        if count == 1 {
            return Some(all.collect());
        }
        let share = self.samples.clamp(1, rows.max(1));
        let is_own = |place: usize| place % (count * share) / share == rank;
        Some(all.enumerate().filter(|(place, _)| is_own(*place)).map(|(_, drawn)| drawn).collect())
    }
}

impl Pass<'static> {
    /// Evaluation: nothing is random, and nothing is changed.
    pub fn evaluation() -> Self {
        Self { training: false, rng: None, ranks: Ranks::alone(), norms: Ranks::alone(), samples: 0 }
    }

    /// Training without randomness.
    pub fn still() -> Self {
        Self { training: true, ..Self::evaluation() }
    }
}

#[cfg(test)]
mod tests {
    use rand::RngExt as _;
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::SeedableRng;

    use super::*;

    #[test]
    fn a_sample_has_the_same_whoever_has_it() {
        let drawn = |ranks: &Ranks, samples: usize| -> Vec<u32> {
            let rng = &mut ChaCha8Rng::seed_from_u64(1);
            Pass::of_share(rng, ranks, samples).draw(2 * samples, |rng| rng.random()).unwrap()
        };
        // Two views of four samples: 0 to 3, then 4 to 7.
        let alone = drawn(&Ranks::alone(), 4);
        let [first, second] = brainmvp_ranks::threads(2).try_into().unwrap();
        let own = |rows: [usize; 4]| rows.map(|row| alone[row]).to_vec();
        assert_eq!(drawn(&first, 2), own([0, 1, 4, 5]));
        assert_eq!(drawn(&second, 2), own([2, 3, 6, 7]));
    }
}
