//! The view of a run as lines that fit a terminal.

use super::course::{Course, scores};
use brainmvp_view::text::{duration, number, size};

use crate::progress::speed;
use brainmvp_bench::memory::Memory;

/// Columns of the bar, and of the curve: longer ones are no clearer.
const MOST_COLUMNS: usize = 60;
/// With fewer, a bar is left out, and a curve has a line of its own.
const LEAST_COLUMNS: usize = 10;

/// The lines, as many as fit; none is longer than the terminal is wide.
pub(super) fn lines(course: &Course, memory: Option<Memory>, rows: usize, columns: usize) -> Vec<String> {
    let mut lines = vec![bar(course, columns)];
    lines.extend(loss(course, columns));
    lines.extend(flow("", &pace(course, memory), columns));
    if let Some(validation) = &course.validation {
        let head = format!("validation at step {}: ", validation.step);
        lines.extend(flow(&head, &scores(&validation.scores), columns));
    }
    if let Some((best, first)) = course.best.as_ref().and_then(|best| Some((best, best.scores.first()?))) {
        let head = format!("best at step {}: ", best.step);
        lines.extend(flow(&head, &scores(std::slice::from_ref(first)), columns));
    }
    // What was printed before stays in sight.
    lines.truncate(rows.saturating_sub(1).max(1));
    lines.iter().map(|line| line.chars().take(columns).collect()).collect()
}

/// `pretrain 12/40 steps [=====>          ] 30 %`
fn bar(course: &Course, columns: usize) -> String {
    let Course { what, step, last, .. } = course;
    let (before, after) =
        (format!("{what} {step}/{last} steps"), format!(" {} %", step * 100 / last.max(&1)));
    let space = columns.saturating_sub(before.len() + after.len() + " []".len()).min(MOST_COLUMNS);
    if space < LEAST_COLUMNS {
        return before + &after;
    }
    let done = (space as u64 * step.min(last) / last.max(&1)) as usize;
    let head = if done < space { ">" } else { "" };
    format!("{before} [{:<space$}]{after}", "=".repeat(done) + head)
}

/// The last loss, its mean, and its curve.
fn loss(course: &Course, columns: usize) -> Vec<String> {
    let (mean, count) = course.recent_loss();
    let told =
        [format!("loss {}", number(course.loss)), format!("mean of the last {} {}", count, number(mean))];
    let mut lines = flow("", &told, columns);
    let used = lines.last().map_or(0, |line| line.chars().count() + 2);
    let beside = columns.saturating_sub(used);
    if beside >= LEAST_COLUMNS {
        let curve = sparkline(&course.curve.means(beside.min(MOST_COLUMNS)));
        if let Some(line) = lines.last_mut() {
            line.push_str("  ");
            line.push_str(&curve);
        }
    } else {
        lines.push(sparkline(&course.curve.means(columns.min(MOST_COLUMNS))));
    }
    lines
}

/// How fast it goes, for how long, and in how much memory.
fn pace(course: &Course, memory: Option<Memory>) -> Vec<String> {
    let mut told = Vec::new();
    if let Some(per_second) = course.speed {
        let left = course.last.saturating_sub(course.step) as f64 / per_second;
        told.extend([speed(per_second, "steps"), format!("{} left", duration(left))]);
    }
    told.push(format!("learning rate {:.2e}", course.learning_rate));
    if let Some(Memory { now_bytes, peak_bytes }) = memory {
        told.push(format!("memory {} (peak {})", size(now_bytes), size(peak_bytes)));
    }
    told
}

/// Parts after a head, with commas between them; what does not fit into a line goes on, indented, in the next.
fn flow(head: &str, parts: &[String], columns: usize) -> Vec<String> {
    let mut lines = vec![head.to_owned()];
    for (place, part) in parts.iter().enumerate() {
        let last = place + 1 == parts.len();
        let part = if last { part.clone() } else { format!("{part},") };
        let Some(line) = lines.last_mut() else { break };
        let is_open = line.is_empty() || line.ends_with(' ');
        let gap = if is_open { "" } else { " " };
        if line.chars().count() + gap.len() + part.chars().count() <= columns || line.trim().is_empty() {
            line.push_str(gap);
            line.push_str(&part);
        } else {
            lines.push(format!("  {part}"));
        }
    }
    lines
}

/// One block for each value, on a logarithmic scale if all are positive: a loss falls by less and less.
fn sparkline(values: &[f64]) -> String {
    const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let is_positive = values.iter().all(|value| *value > 0.0);
    let scaled: Vec<f64> = values.iter().map(|value| if is_positive { value.ln() } else { *value }).collect();
    let (low, high) =
        scaled.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(*v), high.max(*v)));
    let block = |value: &f64| {
        let share = if high > low { (value - low) / (high - low) } else { 0.0 };
        BLOCKS[((share * BLOCKS.len() as f64) as usize).min(BLOCKS.len() - 1)]
    };
    scaled.iter().map(block).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use brainmvp_train::log::metrics::{StepMetrics, ValidationMetrics};

    use super::*;

    const MEMORY: Memory = Memory { now_bytes: 1_200_000_000, peak_bytes: 3_400_000_000 };

    /// A run whose loss halves every 100 steps, after the step 300 of 1200, with a validation that was better before.
    fn course() -> Course {
        let mut course = Course::new("finetune", 0, 1200);
        for step in 1..=300_u64 {
            course.step(&StepMetrics {
                step,
                epoch: 0,
                loss: 0.5_f64.powf(step as f64 / 100.0),
                losses: Vec::new(),
                lr: 3e-4,
                seconds: 0.5,
                samples_per_s: 2.0,
                wait_share: 0.0,
                counts: BTreeMap::new(),
                lost: Vec::new(),
            });
        }
        course.speed = Some(2.0);
        for (step, best, dice) in [(100, true, 0.5), (200, true, 0.75), (300, false, 0.625)] {
            let scores = [("dice", dice), ("dice WT", 0.7), ("dice TC", 0.6)];
            let scores = scores.map(|(name, score)| (name.to_owned(), score)).to_vec();
            course.validated(&ValidationMetrics { step, epoch: 1, best, scores, seconds: 1.0 });
        }
        course
    }

    #[test]
    fn a_wide_terminal_shows_all_in_five_lines() {
        let drawn = lines(&course(), Some(MEMORY), 24, 100);
        assert_eq!(drawn.len(), 5, "{drawn:#?}");
        assert_eq!(drawn[0], format!("finetune 300/1200 steps [{:<60}] 25 %", "=".repeat(15) + ">"));
        let (told, curve) = drawn[1].split_once("  ").unwrap();
        assert_eq!(told, "loss 0.1250, mean of the last 50 0.1489");
        assert!(curve.starts_with('█') && curve.ends_with('▁') && curve.chars().count() >= 50, "{curve}");
        let falls = curve.chars().zip(curve.chars().skip(1)).all(|(before, after)| before >= after);
        assert!(falls, "{curve}");
        assert_eq!(
            drawn[2],
            "2.0 steps/s, 7 min 30 s left, learning rate 3.00e-4, memory 1.2 GB (peak 3.4 GB)"
        );
        assert_eq!(drawn[3], "validation at step 300: dice 0.6250, dice WT 0.7000, dice TC 0.6000");
        assert_eq!(drawn[4], "best at step 200: dice 0.7500");
    }

    #[test]
    fn nothing_is_lost_on_a_narrow_terminal_that_is_high_enough() {
        let (wide, narrow) =
            (lines(&course(), Some(MEMORY), 24, 200), lines(&course(), Some(MEMORY), 24, 40));
        let words = |lines: &[String]| -> Vec<String> {
            let is_drawn = |word: &&str| word.contains(['▁', '=', '[', ']']);
            let words = lines.iter().flat_map(|line| line.split_whitespace());
            words.filter(|word| !is_drawn(word)).map(str::to_owned).collect()
        };
        assert_eq!(words(&wide), words(&narrow), "{narrow:#?}");
        assert!(narrow.iter().any(|line| line.chars().all(|c| ('▁'..='█').contains(&c))), "{narrow:#?}");
    }

    #[test]
    fn lines_fit_terminals_of_any_size() {
        let new = Course::new("pretrain", 0, 0);
        for course in [course(), new] {
            for columns in 1..130 {
                for rows in [1, 2, 3, 6, 24] {
                    let drawn = lines(&course, Some(MEMORY), rows, columns);
                    assert!((1..=rows).contains(&drawn.len()), "{rows} x {columns}: {drawn:#?}");
                    let longest = drawn.iter().map(|line| line.chars().count()).max();
                    assert!(longest <= Some(columns), "{rows} x {columns}: {drawn:#?}");
                }
            }
        }
    }

    #[test]
    fn a_curve_of_equal_values_or_without_a_logarithm_is_drawn() {
        assert_eq!(sparkline(&[2.0, 2.0]), "▁▁");
        assert_eq!(sparkline(&[-1.0, 0.0, 1.0]), "▁▅█");
        assert_eq!(sparkline(&[]), "");
    }
}
