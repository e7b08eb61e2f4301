//! Measurements as a table and as JSON.

use serde_json::{Map, Value, json};

use super::child::Sample;
use super::machine::{Machine, rounded};
use super::{PRECISION, Work};
use crate::commands::table;

/// One program doing one work.
pub(super) struct Row {
    /// Its name in JSON.
    pub(super) key: &'static str,
    pub(super) program: String,
    pub(super) precision: &'static str,
    /// What was measured, or why nothing was.
    pub(super) outcome: Result<Measured, String>,
}

/// What the repetitions come to.
pub(super) struct Measured {
    median: f64,
    fastest: f64,
    slowest: f64,
    /// In units of 10^9 bytes.
    memory_gb: Option<f64>,
}

impl Measured {
    pub(super) fn of(sample: &Sample) -> Self {
        let mut seconds = sample.seconds.clone();
        seconds.sort_by(f64::total_cmp);
        let at = |place: usize| seconds.get(place).copied().unwrap_or(f64::NAN);
        let (count, last) = (seconds.len(), seconds.len().saturating_sub(1));
        Self {
            median: f64::midpoint(at(last / 2), at(count / 2)),
            fastest: at(0),
            slowest: at(last),
            memory_gb: sample.peak_memory_bytes.map(|bytes| bytes as f64 / 1e9),
        }
    }

    /// Time and memory as multiples of another's.
    fn over(&self, other: &Self) -> (f64, Option<f64>) {
        let memory = self.memory_gb.zip(other.memory_gb).map(|(mine, its)| mine / its);
        (self.median / other.median, memory)
    }
}

/// Ours is the first row; the others are told as multiples of it.
pub(super) fn table(work: &Work, rows: &[Row]) -> String {
    let unit = format!("s/{}", work.unit);
    let title = ["", "precision", &unit, "range", "peak memory", "time / ours", "memory / ours"];
    let ours = rows.first().and_then(|row| row.outcome.as_ref().ok());
    let lines = rows.iter().map(|row| cells(row, ours));
    let lines: Vec<_> = std::iter::once(title.map(str::to_owned)).chain(lines).collect();
    table::columns(&lines)
}

fn cells(row: &Row, ours: Option<&Measured>) -> [String; 7] {
    let (program, precision) = (row.program.clone(), row.precision.to_owned());
    let none = String::new;
    match &row.outcome {
        Err(_) => [program, precision, "failed".to_owned(), none(), none(), none(), none()],
        Ok(measured) => {
            let (time, memory) = ours.map(|ours| measured.over(ours)).unzip();
            let times = |ratio: Option<f64>| ratio.map_or_else(none, |ratio| format!("{ratio:.2}"));
            [
                program,
                precision,
                format!("{:.3}", measured.median),
                format!("{:.3} to {:.3}", measured.fastest, measured.slowest),
                measured.memory_gb.map_or_else(none, |gb| format!("{gb:.2} GB")),
                times(time),
                times(memory.flatten()),
            ]
        }
    }
}

/// Ours at the top, the others under `peers`, with how many times ours they take.
pub(super) fn json(work: &Work, machine: &Machine, rows: &[Row]) -> Value {
    let ours = rows.first().map(|row| &row.outcome);
    let mut found = machine.facts(PRECISION);
    found.extend(ours.map(|outcome| numbers(work, outcome)).unwrap_or_default());
    let peers: Map<String, Value> =
        rows.iter().skip(1).map(|row| (row.key.to_owned(), peer(work, row, ours))).collect();
    if !peers.is_empty() {
        found.insert("peers".to_owned(), peers.into());
    }
    found.into()
}

fn peer(work: &Work, row: &Row, ours: Option<&Result<Measured, String>>) -> Value {
    let mut found = Map::from_iter([
        ("program".to_owned(), row.program.clone().into()),
        ("precision".to_owned(), row.precision.into()),
    ]);
    found.extend(numbers(work, &row.outcome));
    if let (Ok(measured), Some(Ok(ours))) = (&row.outcome, ours) {
        let (time, memory) = measured.over(ours);
        found.insert("time_ratio".to_owned(), rounded(time).into());
        found.insert("memory_ratio".to_owned(), memory.map(rounded).into());
    }
    found.into()
}

fn numbers(work: &Work, outcome: &Result<Measured, String>) -> Map<String, Value> {
    let key = |what: &str| format!("{what}_per_{}", work.unit);
    match outcome {
        Err(reason) => Map::from_iter([("error".to_owned(), json!(reason))]),
        Ok(measured) => Map::from_iter([
            (key("seconds"), rounded(measured.median).into()),
            (format!("fastest_{}", key("seconds")), rounded(measured.fastest).into()),
            (format!("slowest_{}", key("seconds")), rounded(measured.slowest).into()),
            ("peak_memory_gb".to_owned(), measured.memory_gb.map(rounded).into()),
        ]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(key: &'static str, seconds: &[f64], bytes: Option<u64>) -> Row {
        let sample = Sample { seconds: seconds.to_vec(), peak_memory_bytes: bytes };
        Row { key, program: key.to_owned(), precision: "fp32", outcome: Ok(Measured::of(&sample)) }
    }

    fn work() -> &'static Work {
        &crate::commands::bench::WORKS[0]
    }

    #[test]
    fn medians_and_ratios() {
        let ours = row("brainmvp", &[3.0, 1.0, 2.0], Some(2_000_000_000));
        let peer = row("pytorch_fp32", &[10.0, 6.0], Some(5_000_000_000));
        let failed = Row { outcome: Err("no room".to_owned()), ..row("pytorch_bf16", &[], None) };
        let rows = [ours, peer, failed];
        let found = json(work(), &Machine::measured(), &rows);
        assert_eq!((&found["seconds_per_step"], &found["peak_memory_gb"]), (&json!(2.0), &json!(2.0)));
        let peers = &found["peers"];
        assert_eq!(peers["pytorch_fp32"]["seconds_per_step"], 8.0);
        assert_eq!(peers["pytorch_fp32"]["time_ratio"], 4.0);
        assert_eq!(peers["pytorch_fp32"]["memory_ratio"], 2.5);
        assert_eq!(peers["pytorch_bf16"]["error"], "no room");
        let table = table(work(), &rows);
        assert!(
            table.contains("4.00") && table.contains("failed") && table.contains("6.000 to 10.000"),
            "{table}"
        );
    }

    #[test]
    fn memory_may_be_unknown() {
        let found = json(work(), &Machine::measured(), &[row("brainmvp", &[1.0], None)]);
        assert_eq!((&found["seconds_per_step"], &found["peak_memory_gb"]), (&json!(1.0), &Value::Null));
        assert!(found.get("peers").is_none());
    }
}
