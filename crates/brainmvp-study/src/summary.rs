//! From the results of cells to what is said of arms: means, intervals, tests and ranks.

use brainmvp_metrics::Score;
use brainmvp_metrics::statistics::{
    BootstrapConfig, Interval, ZeroRule, bootstrap_runs, holm, ranks as ranks_of, standard_deviation,
    wilcoxon,
};
use brainmvp_volume::Modality;
use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

use crate::Result;
use crate::config::StudyConfig;
use crate::folder::State;
use crate::outcome::{ALL_REGIONS, Measure, Outcome, mean};
use crate::plan::{Cell, Plan};
use crate::run::CellResult;
use crate::score::Fill;

/// A cell with what came of it so far.
pub struct Progressed<'a> {
    /// The cell.
    pub cell: &'a Cell,
    /// How far it is.
    pub state: State,
    /// Its result, if it is done.
    pub result: Option<CellResult>,
}

/// All arms under the same conditions: one task, one share of labels, one choice of what the network is given.
#[derive(Debug, Clone)]
pub struct Block {
    /// The task.
    pub task: String,
    /// The share of labels.
    pub fraction: f64,
    /// The modalities that the network was given, and what replaced the others; `None` for all that a case has.
    pub given: Option<(Vec<Modality>, Fill)>,
    /// What is measured.
    pub measures: Vec<Measure>,
    /// The arms, in their order.
    pub arms: Vec<ArmSummary>,
}

/// An arm under these conditions.
#[derive(Debug, Clone)]
pub struct ArmSummary {
    /// The number of the arm.
    pub arm: usize,
    /// Seeds with a result, without one because something failed, and not finished yet.
    pub seeds: Seeds,
    /// The number of test cases.
    pub cases: usize,
    /// One for each measure; none without a result.
    pub values: Vec<Summary>,
    /// The mean rank among the arms, over cases, regions and metrics; 1 is best.
    pub rank: Option<f64>,
}

/// What became of the seeds of an arm.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Seeds {
    /// With a result.
    pub done: usize,
    /// A cell failed.
    pub failed: usize,
    /// Not finished.
    pub left: usize,
}

/// A measure of an arm.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Summary {
    /// The mean over seeds.
    pub mean: Score,
    /// The standard deviation over seeds (n - 1); left out for a single seed.
    pub deviation: Score,
    /// The ends of the 95 % interval over seeds and cases.
    pub low: Score,
    /// The upper end.
    pub high: Score,
    /// How much larger it is than that of the reference, over the seeds and cases that both have; left out for the reference.
    pub difference: Difference,
    /// The p-value against the reference, corrected for the number of arms (paired Wilcoxon test over cases, Holm); left out
    /// for the reference.
    pub p_value: Score,
}

/// A measure of an arm minus that of the reference.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Difference {
    /// The mean over seeds.
    pub mean: Score,
    /// The ends of the 95 % interval over seeds and cases, which are drawn together for both arms.
    pub low: Score,
    /// The upper end.
    pub high: Score,
}

impl Difference {
    const NONE: Self = Self { mean: Score::EXCLUDED, low: Score::EXCLUDED, high: Score::EXCLUDED };
}

/// The outcomes of an arm, one for each seed that is done.
struct ArmOutcomes {
    arm: usize,
    seeds: Seeds,
    /// The seeds that are done.
    done: Vec<u64>,
    /// The outcome of each.
    outcomes: Vec<Outcome>,
}

/// Summarises what there is.
///
/// # Errors
/// If scores cannot be compared.
pub fn summarise(config: &StudyConfig, plan: &Plan, cells: &[Progressed<'_>]) -> Result<Vec<Block>> {
    let reference = plan.reference(config);
    let mut blocks = Vec::new();
    for task in config.tasks.keys() {
        for &fraction in &config.fractions {
            let of_block: Vec<&Progressed<'_>> =
                cells.iter().filter(|c| c.cell.task == *task && c.cell.fraction == fraction).collect();
            for given in given_in(&of_block) {
                let arms: Vec<ArmOutcomes> = (0..plan.arms.len())
                    .map(|arm| arm_outcomes(config, arm, &of_block, given.as_ref()))
                    .collect();
                let Some(first) = arms.iter().find_map(|arm| arm.outcomes.first()) else { continue };
                let measures = first.measures();
                let arms = summaries(&arms, &measures, reference)?;
                blocks.push(Block { task: task.clone(), fraction, given, measures, arms });
            }
        }
    }
    Ok(blocks)
}

/// What networks were given in these cells, in the order of the first that has it.
fn given_in(cells: &[&Progressed<'_>]) -> Vec<Option<(Vec<Modality>, Fill)>> {
    let mut all = Vec::new();
    for scored in cells.iter().filter_map(|cell| cell.result.as_ref()).flat_map(|result| &result.scored) {
        let given = scored.modalities.clone().zip(scored.fill);
        if !all.contains(&given) {
            all.push(given);
        }
    }
    all
}

/// The outcomes of an arm, each with the cases of all folds.
fn arm_outcomes(
    config: &StudyConfig,
    arm: usize,
    cells: &[&Progressed<'_>],
    given: Option<&(Vec<Modality>, Fill)>,
) -> ArmOutcomes {
    let mut found = ArmOutcomes { arm, seeds: Seeds::default(), done: Vec::new(), outcomes: Vec::new() };
    for &seed in &config.seeds {
        let folds = cells.iter().filter(|c| c.cell.arm == arm && c.cell.seed == seed);
        let (mut joined, mut failed, mut left) = (None::<Outcome>, false, false);
        for fold in folds {
            match (&fold.state, &fold.result) {
                (State::Failed(_), _) => failed = true,
                (State::Done, Some(result)) => {
                    let scored = result.scored.iter().find(|scored| {
                        scored.modalities.as_ref().zip(scored.fill.as_ref()) == given.map(|(m, f)| (m, f))
                    });
                    let outcome = scored.map(|scored| scored.outcome.clone());
                    joined = match (joined, outcome) {
                        (Some(joined), Some(outcome)) => Some(joined.and(outcome)),
                        (joined, outcome) => joined.or(outcome),
                    };
                }
                _ => left = true,
            }
        }
        match (failed, left, joined) {
            (true, ..) => found.seeds.failed += 1,
            (_, true, _) => found.seeds.left += 1,
            (_, _, Some(outcome)) => {
                found.seeds.done += 1;
                found.done.push(seed);
                found.outcomes.push(outcome);
            }
            // It is done, but was not given this: there were no templates to fill with.
            (_, _, None) => {}
        }
    }
    found
}

fn summaries(arms: &[ArmOutcomes], measures: &[Measure], reference: usize) -> Result<Vec<ArmSummary>> {
    let mut of_arms: Vec<ArmSummary> = Vec::new();
    for arm in arms {
        let values: Result<Vec<Summary>> = if arm.outcomes.is_empty() {
            Ok(Vec::new())
        } else {
            measures.iter().map(|measure| summary(&arm.outcomes, measure)).collect()
        };
        let cases = arm.outcomes.first().map_or(0, |outcome| outcome.cases().len());
        of_arms.push(ArmSummary { arm: arm.arm, seeds: arm.seeds, cases, values: values?, rank: None });
    }
    let other = arms.iter().find(|other| other.arm == reference);
    for (arm, of_arm) in arms.iter().zip(&mut of_arms).filter(|(arm, _)| arm.arm != reference) {
        for (summary, measure) in of_arm.values.iter_mut().zip(measures) {
            summary.difference =
                other.map_or(Ok(Difference::NONE), |other| difference(arm, other, measure))?;
        }
    }
    for (number, measure) in measures.iter().enumerate() {
        let tested = |arm: &ArmOutcomes| match arms.iter().find(|other| other.arm == reference) {
            Some(other) if other.arm != arm.arm => p_value(arm, other, measure),
            _ => f64::NAN,
        };
        let corrected = holm(&arms.iter().map(tested).collect::<Vec<_>>());
        for (arm, p) in of_arms.iter_mut().zip(corrected) {
            if let Some(summary) = arm.values.get_mut(number) {
                summary.p_value = if p.is_nan() { Score::EXCLUDED } else { Score::new(p) };
            }
        }
    }
    for (arm, rank) in of_arms.iter_mut().zip(ranks(arms, measures)) {
        arm.rank = rank;
    }
    Ok(of_arms)
}

/// A measure over the seeds of an arm.
fn summary(outcomes: &[Outcome], measure: &Measure) -> Result<Summary> {
    let values = outcomes.iter().map(|outcome| outcome.value(measure));
    let values: Vec<f64> = values.filter(|value| !value.is_nan()).collect();
    let average = mean(values.iter().copied());
    let deviation = match values.len() {
        0 | 1 => Score::EXCLUDED,
        _ => Score::new(standard_deviation(&values)),
    };
    let names = outcomes[0].cases();
    let alike: Vec<&Outcome> = outcomes.iter().filter(|outcome| outcome.cases() == names).collect();
    let statistics: Vec<_> = alike.iter().map(|outcome| outcome.statistic(measure)).collect();
    let statistic = |runs: &[usize], cases: &[usize]| mean(runs.iter().map(|run| statistics[*run](cases)));
    let interval = interval(alike.len(), names.len(), statistic)?;
    Ok(Summary {
        mean: Score::new(average),
        deviation,
        low: interval.low,
        high: interval.high,
        difference: Difference::NONE,
        p_value: Score::EXCLUDED,
    })
}

/// A measure of an arm minus that of the reference, by the seeds that both have and on whose cases both were scored.
fn difference(arm: &ArmOutcomes, other: &ArmOutcomes, measure: &Measure) -> Result<Difference> {
    let pair = |(seed, outcome)| {
        let place = other.done.iter().position(|known| known == seed)?;
        Some((outcome, &other.outcomes[place]))
    };
    let pairs: Vec<(&Outcome, &Outcome)> = arm.done.iter().zip(&arm.outcomes).filter_map(pair).collect();
    let Some(names) = pairs.first().map(|(ours, _)| ours.cases()) else { return Ok(Difference::NONE) };
    let alike = pairs.iter().filter(|(ours, theirs)| ours.cases() == names && theirs.cases() == names);
    let statistics: Vec<_> =
        alike.map(|(ours, theirs)| (ours.statistic(measure), theirs.statistic(measure))).collect();
    if statistics.is_empty() {
        return Ok(Difference::NONE);
    }
    let statistic = |runs: &[usize], cases: &[usize]| {
        mean(runs.iter().map(|run| statistics[*run].0(cases) - statistics[*run].1(cases)))
    };
    let (runs, cases): (Vec<usize>, Vec<usize>) =
        ((0..statistics.len()).collect(), (0..names.len()).collect());
    let interval = interval(runs.len(), cases.len(), statistic)?;
    let average = statistic(&runs, &cases);
    let average = if average.is_nan() { Score::EXCLUDED } else { Score::new(average) };
    Ok(Difference { mean: average, low: interval.low, high: interval.high })
}

/// The 95 % interval of a statistic of runs and cases.
fn interval(runs: usize, cases: usize, statistic: impl Fn(&[usize], &[usize]) -> f64) -> Result<Interval> {
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let config = BootstrapConfig { resamples: RESAMPLES, ..BootstrapConfig::default() };
    Ok(bootstrap_runs(runs, cases, &config, &mut rng, statistic)?)
}

/// Enough for ends of intervals to two digits, and quick enough for a table after each cell.
const RESAMPLES: usize = 2000;

/// What each case contributes on average over the seeds, by name.
fn by_case(arm: &ArmOutcomes, measure: &Measure) -> Vec<(String, f64)> {
    let Some(first) = arm.outcomes.first() else { return Vec::new() };
    let of_seeds: Vec<(Vec<&str>, Vec<f64>)> =
        arm.outcomes.iter().map(|outcome| (outcome.cases(), outcome.by_case(measure))).collect();
    let average = |name: &&str| {
        let of_case = of_seeds.iter().filter_map(|(names, values)| {
            names.iter().position(|known| known == name).map(|place| values[place])
        });
        ((*name).to_owned(), mean(of_case))
    };
    first.cases().iter().map(average).collect()
}

/// The paired test of two arms; NaN if it cannot be made.
fn p_value(arm: &ArmOutcomes, other: &ArmOutcomes, measure: &Measure) -> f64 {
    let theirs = by_case(other, measure);
    let pair = |(name, value): (String, f64)| {
        let (_, other) = theirs.iter().find(|(known, _)| *known == name)?;
        (value.is_finite() && other.is_finite()).then_some((value, *other))
    };
    let (ours, theirs): (Vec<f64>, Vec<f64>) = by_case(arm, measure).into_iter().filter_map(pair).unzip();
    if ours.is_empty() {
        return f64::NAN;
    }
    let tested = wilcoxon(&ours, &theirs, ZeroRule::default());
    tested.ok().and_then(|tested| tested.p_value.value()).unwrap_or(f64::NAN)
}

/// The mean rank of each arm that has a result, over cases, regions and metrics.
fn ranks(arms: &[ArmOutcomes], measures: &[Measure]) -> Vec<Option<f64>> {
    let done: Vec<&ArmOutcomes> = arms.iter().filter(|arm| !arm.outcomes.is_empty()).collect();
    let single = measures.iter().all(|measure| measure.region != ALL_REGIONS);
    let mut sums = vec![0.0; done.len()];
    let mut count = 0_usize;
    for measure in measures.iter().filter(|measure| single || measure.region != ALL_REGIONS) {
        let Some(outcome) = done.first().and_then(|arm| arm.outcomes.first()) else { break };
        // Cases of a classification or regression contribute one number, whatever is measured.
        if measure.region.is_empty() && !measure.is_main {
            continue;
        }
        let better = outcome.better_case(measure);
        let of_arms: Vec<Vec<(String, f64)>> = done.iter().map(|arm| by_case(arm, measure)).collect();
        for (name, _) in &of_arms[0] {
            let value = |cases: &Vec<(String, f64)>| {
                let found = cases.iter().find(|(known, _)| known == name);
                let merit = found.and_then(|(_, value)| better.merit(*value)).filter(|merit| !merit.is_nan());
                merit.map_or(f64::INFINITY, |merit| -merit)
            };
            let lowest_first: Vec<f64> = of_arms.iter().map(value).collect();
            sums.iter_mut().zip(ranks_of(&lowest_first)).for_each(|(sum, rank)| *sum += rank);
            count += 1;
        }
    }
    let rank_of = |arm: &ArmOutcomes| {
        let place = done.iter().position(|other| other.arm == arm.arm)?;
        (count > 0 && done.len() > 1).then(|| sums[place] / count as f64)
    };
    arms.iter().map(rank_of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::tests::segmentation;

    fn arm(arm: usize, outcomes: Vec<Outcome>) -> ArmOutcomes {
        let seeds = Seeds { done: outcomes.len(), ..Seeds::default() };
        ArmOutcomes { arm, seeds, done: (0..outcomes.len() as u64).collect(), outcomes }
    }

    /// Ten cases with about this Dice score in both regions.
    fn about(dice: f64, seed: u32) -> Outcome {
        let case = |i: u32| {
            let noise = f64::from((i * 7 + seed * 3) % 10) / 100.0;
            [dice + noise, dice - noise]
        };
        segmentation(&(0..10).map(case).collect::<Vec<_>>())
    }

    #[test]
    fn better_arms_rank_first_and_are_told_from_the_reference() {
        let arms = [
            arm(0, vec![about(0.5, 1), about(0.5, 2)]),
            arm(1, vec![about(0.8, 3), about(0.8, 4)]),
            arm(2, Vec::new()),
        ];
        let measures = arms[0].outcomes[0].measures();
        let found = summaries(&arms, &measures, 0).unwrap();
        assert_eq!((found[0].rank, found[1].rank, found[2].rank), (Some(2.0), Some(1.0), None));
        assert!(found[2].values.is_empty());
        let [ours, reference] = [&found[1].values[1], &found[0].values[1]];
        assert_eq!(reference.p_value, Score::EXCLUDED);
        assert!(ours.p_value.value().unwrap() < 0.01);
        let mean = ours.mean.value().unwrap();
        assert!((mean - 0.845).abs() < 1e-9);
        let (low, high) = (ours.low.value().unwrap(), ours.high.value().unwrap());
        assert!(low < mean && mean < high && high - low < 0.1);
        let Difference { mean, low, high } = ours.difference;
        let [mean, low, high] = [mean, low, high].map(|score| score.value().unwrap());
        assert!((mean - 0.3).abs() < 1e-9 && low > 0.25 && high < 0.35, "{mean} ({low} to {high})");
        assert_eq!(reference.difference, Difference::NONE);
        assert!(ours.deviation.value().unwrap() < 1e-9, "the means of both seeds are equal");
        assert_eq!(summary(&[about(0.5, 1)], &measures[0]).unwrap().deviation, Score::EXCLUDED);
    }

    #[test]
    fn a_case_without_a_value_is_in_no_pair() {
        let measures = about(0.5, 1).measures();
        let lacking = segmentation(&[[f64::NAN, f64::NAN], [0.5, 0.5]]);
        let arms = [arm(0, vec![lacking]), arm(1, vec![about(0.8, 3)])];
        let p = p_value(&arms[1], &arms[0], &measures[0]);
        assert_eq!(p, 1.0, "one pair says nothing");
    }
}
