//! From summaries to the tables of each kind of study.

use brainmvp_metrics::Score;
use brainmvp_volume::Modality;

use super::table::{Entry, Mark, Table};
use crate::config::{StudyConfig, StudyKind};
use crate::outcome::Measure;
use crate::plan::Plan;
use crate::score::Fill;
use crate::summary::{ArmSummary, Block, Difference, Seeds, Summary};

/// The tables of a study.
pub(super) fn tables(config: &StudyConfig, plan: &Plan, blocks: &[Block]) -> Vec<Table> {
    let mut tables: Vec<Table> = Vec::new();
    let whole = |block: &&Block| block.given.is_none();
    for task in config.tasks.keys() {
        let of_task: Vec<&Block> = blocks.iter().filter(|block| block.task == *task).collect();
        for block in of_task.iter().copied().filter(whole) {
            tables.push(comparison(config, plan, block));
        }
        let whole: Vec<&Block> = of_task.iter().copied().filter(whole).collect();
        if config.fractions.len() > 1 && !whole.is_empty() {
            tables.push(by_fraction(config, plan, task, &whole));
        }
        if config.kind == StudyKind::Subsets {
            for &fraction in &config.fractions {
                let of_fraction: Vec<&Block> =
                    of_task.iter().copied().filter(|block| block.fraction == fraction).collect();
                tables.extend(by_subset(config, plan, &of_fraction));
            }
        }
    }
    tables
}

/// A row an arm, a column a measure (Tables II to VI).
fn comparison(config: &StudyConfig, plan: &Plan, block: &Block) -> Table {
    let parts: Vec<&str> =
        plan.arms.first().map_or(Vec::new(), |arm| arm.parts.iter().map(|(name, _)| *name).collect());
    let mut head = vec!["Method".to_owned(), "Network".to_owned()];
    head.extend(parts.iter().map(|part| (*part).to_owned()));
    let words = head.len();
    head.extend(block.measures.iter().map(|measure| measure.heading.clone()));
    head.extend(["95 %", "Difference (95 %)", "p", "Rank", "Seeds"].map(str::to_owned));
    let main = block.measures.iter().position(|measure| measure.is_main).unwrap_or(0);
    let row = |of: &ArmSummary| {
        let arm = &plan.arms[of.arm];
        let mut row: Vec<Entry> = vec![arm.title.as_str().into(), arm.network_title().into()];
        row.extend(arm.parts.iter().map(|(_, has)| Entry::from(if *has { "✓" } else { "" })));
        for (number, measure) in block.measures.iter().enumerate() {
            row.push(Entry {
                text: shown(of, number, measure),
                mark: mark(&block.arms, of, number, measure),
            });
        }
        let of_main = of.values.get(main).zip(block.measures.get(main));
        row.push(
            of_main
                .map_or("–".to_owned(), |(summary, measure)| ends(summary.low, summary.high, measure))
                .into(),
        );
        row.push(
            of_main.map_or("–".to_owned(), |(summary, measure)| against(&summary.difference, measure)).into(),
        );
        let p = of.values.get(main).and_then(|summary| summary.p_value.value());
        row.push(
            p.map_or("–".to_owned(), |p| if p < 5e-4 { "<0.001".to_owned() } else { format!("{p:.3}") })
                .into(),
        );
        row.push(of.rank.map_or("–".to_owned(), |rank| format!("{rank:.2}")).into());
        row.push(format!("{} of {}", of.seeds.done, config.seeds.len()).into());
        row
    };
    let reference = &plan.arms[plan.reference(config)];
    let cases = block.arms.iter().map(|arm| arm.cases).max().unwrap_or(0);
    Table {
        name: format!("{}-labels-{}", block.task, block.fraction),
        caption: format!(
            "{}: {} test cases, {} of the labels. Mean and standard deviation over seeds. 95 %: interval of {} over seeds \
             and cases; difference: from {}. p: paired Wilcoxon test of {} against {}, corrected by Holm's method. Rank: \
             mean over cases, regions and metrics.",
            titled(config, &block.task),
            cases,
            percent(block.fraction),
            block.measures.get(main).map_or("", |measure| measure.heading.as_str()),
            reference.name,
            block.measures.get(main).map_or("", |measure| measure.of_case.as_str()),
            reference.name,
        ),
        words,
        head,
        rows: block.arms.iter().map(row).collect(),
    }
}

/// A row an arm, a column a share of labels: the main measure (Fig. 3 as a table).
fn by_fraction(config: &StudyConfig, plan: &Plan, task: &str, blocks: &[&Block]) -> Table {
    let mut head = vec!["Method".to_owned(), "Network".to_owned()];
    head.extend(blocks.iter().map(|block| percent(block.fraction)));
    let row = |number: usize| {
        let arm = &plan.arms[number];
        let mut row: Vec<Entry> = vec![arm.title.as_str().into(), arm.network_title().into()];
        row.extend(blocks.iter().map(|block| main_entry(block, number)));
        row
    };
    Table {
        name: format!("{task}-by-labels"),
        caption: format!(
            "{}: {} by share of the labels, with 95 % intervals over seeds and cases.",
            titled(config, task),
            blocks.first().and_then(|block| main_of(block)).map_or("", |measure| &measure.heading)
        ),
        words: 2,
        head,
        rows: (0..plan.arms.len()).map(row).collect(),
    }
}

/// A row a subset of the modalities, a column an arm and what replaced the others: the main measure.
fn by_subset(config: &StudyConfig, plan: &Plan, blocks: &[&Block]) -> Option<Table> {
    let given: Vec<(&[Modality], Fill, &Block)> = blocks
        .iter()
        .filter_map(|block| block.given.as_ref().map(|(modalities, fill)| (&modalities[..], *fill, *block)))
        .collect();
    let (first, ..) = given.first()?;
    let all = given.iter().map(|(modalities, ..)| *modalities).max_by_key(|set| set.len()).unwrap_or(first);
    let subsets = Modality::subsets(all);
    let known = |subset: &&Vec<Modality>| given.iter().any(|(modalities, ..)| modalities == subset);
    let has = |arm: usize, fill: Fill| {
        given.iter().any(|(_, found, block)| {
            *found == fill && block.arms.iter().any(|a| a.arm == arm && a.seeds.done > 0)
        })
    };
    let columns: Vec<(usize, Fill)> = (0..plan.arms.len())
        .flat_map(|arm| Fill::ALL.map(|fill| (arm, fill)))
        .filter(|(arm, fill)| has(*arm, *fill))
        .collect();
    let mut head: Vec<String> = all.iter().map(ToString::to_string).collect();
    head.extend(
        columns.iter().map(|(arm, fill)| format!("{}, filled with {}", plan.arms[*arm].title, fill.name())),
    );
    let row = |subset: &Vec<Modality>| {
        let dots = all.iter().map(|m| Entry::from(if subset.contains(m) { "●" } else { "○" }));
        let mut row: Vec<Entry> = dots.collect();
        let values: Vec<Entry> = columns
            .iter()
            .map(|(arm, fill)| {
                let block = given.iter().find(|(set, found, _)| *set == subset && found == fill);
                block.map_or_else(Entry::default, |(_, _, block)| Entry::from(main_text(block, *arm)))
            })
            .collect();
        row.extend(values);
        row
    };
    let block = blocks.first()?;
    Some(Table {
        name: format!("{}-labels-{}-subsets", block.task, block.fraction),
        caption: format!(
            "{}: {} with each subset of the modalities, {} of the labels, with 95 % intervals over seeds and cases.",
            titled(config, &block.task),
            main_of(block).map_or("", |measure| measure.heading.as_str()),
            percent(block.fraction),
        ),
        words: all.len(),
        rows: subsets.iter().filter(known).map(row).collect(),
        head,
    })
}

pub(super) fn titled(config: &StudyConfig, task: &str) -> String {
    if config.title.is_empty() { task.to_owned() } else { format!("{}, {task}", config.title) }
}

pub(super) fn percent(share: f64) -> String {
    format!("{} %", (share * 1e4).round() / 100.0)
}

pub(super) fn main_of(block: &Block) -> Option<&Measure> {
    block.measures.iter().find(|measure| measure.is_main)
}

fn main_text(block: &Block, arm: usize) -> String {
    let number = block.measures.iter().position(|measure| measure.is_main).unwrap_or(0);
    let found = block.arms.iter().find(|found| found.arm == arm);
    let Some((arm, measure)) = found.zip(block.measures.get(number)) else { return String::new() };
    let text = match arm.values.get(number) {
        Some(summary) if summary.low.value().is_some() => {
            format!("{} ({})", rounded(summary, measure), ends(summary.low, summary.high, measure))
        }
        _ => shown(arm, number, measure),
    };
    let Seeds { done, failed, left } = arm.seeds;
    // What is missing is told where no column has the number of seeds.
    if done > 0 && failed + left > 0 { format!("{text} ({done} of {})", done + failed + left) } else { text }
}

fn main_entry(block: &Block, arm: usize) -> Entry {
    let number = block.measures.iter().position(|measure| measure.is_main).unwrap_or(0);
    let of = block.arms.iter().find(|found| found.arm == arm);
    let mark =
        of.zip(block.measures.get(number)).map_or(Mark::None, |(of, m)| mark(&block.arms, of, number, m));
    Entry { text: main_text(block, arm), mark }
}

/// Mean and standard deviation, or why there is none.
fn shown(of: &ArmSummary, number: usize, measure: &Measure) -> String {
    let Some(summary) = of.values.get(number) else {
        return if of.seeds.failed > 0 { "failed".to_owned() } else { "–".to_owned() };
    };
    let mean = rounded(summary, measure);
    match summary.deviation.value() {
        Some(deviation) => format!("{mean} ± {}", measure.shown(deviation)),
        None => mean,
    }
}

/// The ends of an interval.
fn ends(low: Score, high: Score, measure: &Measure) -> String {
    let ends = low.value().zip(high.value());
    ends.map_or("–".to_owned(), |(low, high)| format!("{} to {}", measure.shown(low), measure.shown(high)))
}

/// How much larger than that of the reference.
fn against(difference: &Difference, measure: &Measure) -> String {
    difference.mean.value().map_or("–".to_owned(), |mean| {
        let sign = if mean > 0.0 { "+" } else { "" };
        format!("{sign}{} ({})", measure.shown(mean), ends(difference.low, difference.high, measure))
    })
}

fn rounded(summary: &Summary, measure: &Measure) -> String {
    summary.mean.value().map_or_else(|| "–".to_owned(), |mean| measure.shown(mean))
}

/// Whether an arm is the best or second best, as far as the digits of the table tell.
fn mark(arms: &[ArmSummary], of: &ArmSummary, number: usize, measure: &Measure) -> Mark {
    let value = |arm: &ArmSummary| {
        let mean = arm.values.get(number).map(|summary| summary.mean).and_then(Score::value)?;
        let shown: f64 = measure.shown(mean).parse().ok()?;
        measure.better.merit(shown).filter(|merit| !merit.is_nan())
    };
    let Some(own) = value(of) else { return Mark::None };
    let others: Vec<f64> = arms.iter().filter_map(value).collect();
    if others.len() < 2 {
        return Mark::None;
    }
    match others.iter().filter(|other| **other > own).count() {
        0 => Mark::Best,
        1 => Mark::Second,
        _ => Mark::None,
    }
}
