//! The order of cases.

use std::collections::BTreeMap;

use brainmvp_objectives::DrawBy;
use brainmvp_objectives::patch::PatchSource;
use brainmvp_volume::Modality;
use rand::RngExt;
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

/// Keeps the order of modalities apart from that of cases, which has the run's seed too.
const ROUNDS: u64 = 0x71C3_9D4E_0B8A_62F5;

/// An endless sequence of cases, without state: what is at a position is a function of the seed and the position.
///
/// By case, each comes once an epoch. By modality, each modality is the target once a round, in random order, and the cases
/// that have it come in turn, each once before any comes again. Either way the cases of every data set are spread evenly, so
/// that the cases of one batch come from different data sets where there are several.
#[derive(Debug, Clone)]
pub struct Sampler {
    seed: u64,
    turns: Vec<Turns>,
}

/// Cases that come in turn.
#[derive(Debug, Clone)]
struct Turns {
    /// What they are drawn for; `None` if that is left to the objective.
    target: Option<Modality>,
    /// Case indices, grouped by data set.
    groups: Vec<Vec<usize>>,
    cases: usize,
}

/// What is at a position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pick {
    /// Index of the case.
    pub case: usize,
    /// The modality that it is drawn for; `None` if that is left to the objective.
    pub target: Option<Modality>,
}

impl Sampler {
    /// A sampler over these cases.
    pub fn new<S: PatchSource>(cases: &[S], by: DrawBy, seed: u64) -> Self {
        let turns = match by {
            DrawBy::Case => vec![Turns::new(None, cases.iter().map(S::data_set).enumerate())],
            DrawBy::Modality => {
                let having = |modality| {
                    let cases = cases.iter().enumerate();
                    let cases = cases.filter(move |(_, case)| case.modalities().contains(&modality));
                    Turns::new(Some(modality), cases.map(|(index, case)| (index, case.data_set())))
                };
                Modality::ALL.into_iter().map(having).filter(|turns| turns.cases > 0).collect()
            }
        };
        Self { seed, turns }
    }

    /// The sequence.
    pub fn order(&self) -> Order<'_> {
        Order { sampler: self, passes: vec![(u64::MAX, Vec::new()); self.turns.len()] }
    }

    /// Which turns come in which order in a round.
    fn round(&self, round: u64) -> Vec<usize> {
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed ^ ROUNDS);
        rng.set_stream(round);
        let mut order: Vec<usize> = (0..self.turns.len()).collect();
        order.shuffle(&mut rng);
        order
    }

    /// The order in which the cases of a turn come the `pass`-th time.
    fn pass(&self, turn: usize, pass: u64) -> Vec<usize> {
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        rng.set_stream(pass * self.turns.len() as u64 + turn as u64);
        self.turns[turn].spread(&mut rng)
    }
}

impl Turns {
    /// Those of these cases and their data sets.
    fn new<'a>(target: Option<Modality>, cases: impl Iterator<Item = (usize, &'a str)>) -> Self {
        let mut groups = BTreeMap::<&str, Vec<usize>>::new();
        for (case, data_set) in cases {
            groups.entry(data_set).or_default().push(case);
        }
        let groups: Vec<Vec<usize>> = groups.into_values().collect();
        let cases = groups.iter().map(Vec::len).sum();
        Self { target, groups, cases }
    }

    /// Every case once, those of each data set in random order and evenly spread.
    fn spread(&self, rng: &mut ChaCha8Rng) -> Vec<usize> {
        let mut placed: Vec<(f64, usize)> = Vec::with_capacity(self.cases);
        for group in &self.groups {
            let mut group = group.clone();
            group.shuffle(rng);
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

/// A [`Sampler`]'s sequence, with the parts of it that were looked at last.
pub struct Order<'a> {
    sampler: &'a Sampler,
    /// For each turn, the number of a pass and its order.
    passes: Vec<(u64, Vec<usize>)>,
}

impl Order<'_> {
    /// What is at a position.
    pub fn at(&mut self, position: u64) -> Pick {
        let sampler = self.sampler;
        let turns = sampler.turns.len() as u64;
        // A turn comes once a round, so the number of the round says how often it has come.
        let round = position / turns;
        let turn = sampler.round(round)[(position % turns) as usize];
        let &Turns { target, cases, .. } = &sampler.turns[turn];
        let (pass, place) = (round / cases as u64, (round % cases as u64) as usize);
        let known = &mut self.passes[turn];
        if known.0 != pass {
            *known = (pass, sampler.pass(turn, pass));
        }
        Pick { case: known.1[place], target }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::convert::Infallible;

    use super::*;

    /// A case of a data set with some modalities.
    struct Case(&'static str, &'static [Modality]);

    impl PatchSource for Case {
        type Error = Infallible;

        fn id(&self) -> &'static str {
            ""
        }

        fn data_set(&self) -> &'static str {
            self.0
        }

        fn person(&self) -> &'static str {
            ""
        }

        fn shape(&self) -> [usize; 3] {
            [1; 3]
        }

        fn modalities(&self) -> &[Modality] {
            self.1
        }

        fn patch(&self, _: Modality, _: [isize; 3], size: [usize; 3]) -> Result<Vec<f32>, Infallible> {
            Ok(vec![0.0; size.iter().product()])
        }
    }

    fn picks(sampler: &Sampler, positions: std::ops::Range<u64>) -> Vec<Pick> {
        let mut order = sampler.order();
        positions.map(|position| order.at(position)).collect()
    }

    fn indices(picks: &[Pick]) -> Vec<usize> {
        picks.iter().map(|pick| pick.case).collect()
    }

    #[test]
    fn an_epoch_has_every_case_once_and_its_own_order() {
        let cases = ["a", "b", "a", "c", "a", "b"].map(|set| Case(set, &[Modality::T1]));
        let sampler = Sampler::new(&cases, DrawBy::Case, 7);
        let epochs: Vec<Vec<usize>> =
            (0..10).map(|epoch| indices(&picks(&sampler, epoch * 6..epoch * 6 + 6))).collect();
        for epoch in &epochs {
            assert_eq!(epoch.iter().copied().collect::<BTreeSet<_>>(), (0..6).collect());
        }
        assert!(epochs.iter().collect::<BTreeSet<_>>().len() > 5);
    }

    #[test]
    fn batches_mix_data_sets() {
        let cases: Vec<Case> =
            (0..60).map(|i| Case(if i < 30 { "a" } else { "b" }, &[Modality::T1])).collect();
        for by in [DrawBy::Case, DrawBy::Modality] {
            let order = indices(&picks(&Sampler::new(&cases, by, 1), 0..60));
            let mixed =
                order.chunks(4).filter(|b| b.iter().any(|&c| c < 30) && b.iter().any(|&c| c >= 30)).count();
            assert_eq!(mixed, 15, "every batch of four");
        }
    }

    /// Ten cases with T1, five of which have T2 too, and one with MRA alone.
    fn unbalanced() -> Vec<Case> {
        let mut cases: Vec<Case> = (0..5).map(|_| Case("a", &[Modality::T1])).collect();
        cases.extend((0..5).map(|_| Case("b", &[Modality::T1, Modality::T2])));
        cases.push(Case("c", &[Modality::Mra]));
        cases
    }

    #[test]
    fn by_modality_each_is_the_target_equally_often_and_its_cases_take_turns() {
        let cases = unbalanced();
        let sampler = Sampler::new(&cases, DrawBy::Modality, 3);
        let picks = picks(&sampler, 0..300);
        let mut seen = BTreeMap::<Modality, BTreeMap<usize, usize>>::new();
        for pick in &picks {
            let target = pick.target.unwrap();
            assert!(cases[pick.case].1.contains(&target));
            *seen.entry(target).or_default().entry(pick.case).or_default() += 1;
        }
        for (modality, turns) in [(Modality::T1, 10), (Modality::T2, 5), (Modality::Mra, 1)] {
            assert_eq!(seen[&modality].len(), turns);
            assert!(seen[&modality].values().all(|count| *count == 100 / turns), "{seen:?}");
        }
        for round in picks.chunks(3) {
            assert_eq!(round.iter().map(|pick| pick.target).collect::<BTreeSet<_>>().len(), 3);
        }
    }

    #[test]
    fn a_position_is_what_it_is_wherever_one_starts() {
        let cases = unbalanced();
        for by in [DrawBy::Case, DrawBy::Modality] {
            let sampler = Sampler::new(&cases, by, 11);
            let whole = picks(&sampler, 0..200);
            for start in [0, 1, 7, 63, 150] {
                assert_eq!(picks(&sampler, start..200), whole[start as usize..]);
            }
            assert_ne!(whole, picks(&Sampler::new(&cases, by, 12), 0..200));
        }
    }
}
