//! Measurements as a table and as JSON.

use brainmvp_nets::networks::PresetName;
use serde_json::{Map, Value, json};

use crate::child::{Failure, Sample};
use crate::machine::{Machine, rounded};
use crate::work::Work;

/// One program doing one work.
pub struct Row {
    /// Its name in JSON, if it is a peer.
    pub peer: Option<&'static str>,
    /// The network, if the work has one.
    pub model: Option<PresetName>,
    /// Its name, version and setting in words.
    pub program: String,
    /// Its precision.
    pub precision: &'static str,
    /// The measurements, or why there are none.
    pub outcome: Result<Measured, Failure>,
}

/// The summary of the repetitions.
pub struct Measured {
    median: f64,
    fastest: f64,
    slowest: f64,
    /// In units of 10^9 bytes.
    memory_gb: Option<f64>,
    /// Parameters of the network, if the work has one.
    pub parameters: Option<u64>,
    /// The share of voxels equal to those of our own result.
    pub voxels_alike: Option<f64>,
}

impl Measured {
    /// That of a process.
    pub fn of(sample: &Sample) -> Self {
        let mut seconds = sample.seconds.clone();
        seconds.sort_by(f64::total_cmp);
        let at = |place: usize| seconds.get(place).copied().unwrap_or(f64::NAN);
        let (count, last) = (seconds.len(), seconds.len().saturating_sub(1));
        Self {
            median: f64::midpoint(at(last / 2), at(count / 2)),
            fastest: at(0),
            slowest: at(last),
            memory_gb: sample.peak_memory_bytes.map(|bytes| bytes as f64 / 1e9),
            parameters: sample.parameters,
            voxels_alike: sample.voxels_alike,
        }
    }

    /// Time and memory as multiples of another program's.
    fn over(&self, other: &Self) -> (f64, Option<f64>) {
        let memory = self.memory_gb.zip(other.memory_gb).map(|(mine, its)| mine / its);
        (self.median / other.median, memory)
    }
}

/// Each row is given as a multiple of ours of the same network in the same precision, or of our first of it if there is
/// none.
fn ours<'a>(rows: &'a [Row], of: &Row) -> Option<(&'static str, &'a Measured)> {
    let mut measured = rows.iter().filter(|row| row.peer.is_none() && row.model == of.model);
    let mut found = measured.clone().filter(|row| row.precision == of.precision);
    let row = found.next().or_else(|| measured.next())?;
    row.outcome.as_ref().ok().map(|outcome| (row.precision, outcome))
}

/// The lines of a table, cell by cell, and what is to be said below it.
pub fn table(work: &Work, rows: &[Row]) -> (Vec<Vec<String>>, String) {
    let unit = format!("s/{}", work.unit);
    let title = ["", "precision", &unit, "range", "peak memory", "time / ours", "memory / ours"];
    let lines = rows.iter().map(|row| (network(row), cells(row, ours(rows, row).map(|(_, ours)| ours))));
    let title = (["network", "parameters"].map(str::to_owned), title.map(str::to_owned));
    let has_networks = rows.iter().any(|row| row.model.is_some());
    let lines: Vec<Vec<String>> = std::iter::once(title)
        .chain(lines)
        .map(|(network, cells)| {
            let network = network.into_iter().filter(|_| has_networks);
            network.chain(cells).collect()
        })
        .collect();
    let alike = rows.iter().filter_map(|row| {
        let part = row.outcome.as_ref().ok()?.voxels_alike? * 100.0;
        Some(format!("\n{part:.3} % of the voxels of {} agree with ours within 0.001", row.program))
    });
    (lines, alike.collect())
}

/// The network of a row, and its parameters.
fn network(row: &Row) -> [String; 2] {
    let parameters = row.outcome.as_ref().ok().and_then(|measured| measured.parameters);
    [
        row.model.map_or_else(String::new, |model| model.name().to_owned()),
        parameters.map_or_else(String::new, |count| count.to_string()),
    ]
}

fn cells(row: &Row, ours: Option<&Measured>) -> [String; 7] {
    let (program, precision) = (row.program.clone(), row.precision.to_owned());
    let none = String::new;
    match &row.outcome {
        Err(failure) => {
            let what = if matches!(failure, Failure::Skipped(_)) { "skipped" } else { "failed" };
            [program, precision, what.to_owned(), none(), none(), none(), none()]
        }
        Ok(measured) => {
            let (time, memory) = ours.map(|ours| measured.over(ours)).unzip();
            let times = |ratio: Option<f64>| ratio.map_or_else(none, |ratio| format!("{ratio:.2}"));
            [
                program,
                precision,
                seconds(measured.median),
                format!("{} to {}", seconds(measured.fastest), seconds(measured.slowest)),
                measured.memory_gb.map_or_else(none, |gb| format!("{gb:.2} GB")),
                times(time),
                times(memory.flatten()),
            ]
        }
    }
}

/// Rounded to a thousandth of a second, or to a ten-thousandth for short times.
fn seconds(value: f64) -> String {
    if value < 0.1 { format!("{value:.4}") } else { format!("{value:.3}") }
}

/// The measurements of a work: those of its network, or if there are several, under their names.
pub fn json(work: &Work, machine: &Machine, rows: &[Row]) -> Value {
    let networks: Vec<&[Row]> = rows.chunk_by(|one, next| one.model == next.model).collect();
    if let [one] = networks[..] {
        return json_of_one(work, machine, one);
    }
    let named = |rows: &&[Row]| {
        let model = rows.first().and_then(|row| row.model)?;
        Some((model.name().to_owned(), json_of_one(work, machine, rows)))
    };
    networks.iter().filter_map(named).collect::<Map<_, _>>().into()
}

/// Our first precision at the top level, the next under its name, the others under `peers`.
fn json_of_one(work: &Work, machine: &Machine, rows: &[Row]) -> Value {
    let mut found = Map::new();
    let mut peers = Map::new();
    for row in rows {
        match row.peer {
            Some(key) => drop(peers.insert(key.to_owned(), peer(work, row, rows))),
            None if found.is_empty() => {
                found = machine.facts(row.precision);
                found.extend(row.model.map(|model| ("model".to_owned(), model.name().into())));
                found.extend(numbers(work, &row.outcome));
            }
            None => drop(found.insert(row.precision.to_owned(), numbers(work, &row.outcome).into())),
        }
    }
    if !peers.is_empty() {
        found.insert("peers".to_owned(), peers.into());
    }
    found.into()
}

fn peer(work: &Work, row: &Row, rows: &[Row]) -> Value {
    let mut found = Map::from_iter([
        ("program".to_owned(), row.program.clone().into()),
        ("precision".to_owned(), row.precision.into()),
    ]);
    found.extend(numbers(work, &row.outcome));
    if let (Ok(measured), Some((precision, ours))) = (&row.outcome, ours(rows, row)) {
        let (time, memory) = measured.over(ours);
        found.insert("ratio_to_our".to_owned(), precision.into());
        found.insert("time_ratio".to_owned(), rounded(time).into());
        found.insert("memory_ratio".to_owned(), memory.map(rounded).into());
        if let Some(part) = measured.voxels_alike {
            found.insert("voxels_alike".to_owned(), part.into());
        }
    }
    found.into()
}

fn numbers(work: &Work, outcome: &Result<Measured, Failure>) -> Map<String, Value> {
    let key = |what: &str| format!("{what}_per_{}", work.unit);
    match outcome {
        Err(Failure::Skipped(reason)) => Map::from_iter([("skipped".to_owned(), json!(reason))]),
        Err(failure) => Map::from_iter([("error".to_owned(), json!(failure.to_string()))]),
        Ok(measured) => Map::from_iter([
            (key("seconds"), rounded(measured.median).into()),
            (format!("fastest_{}", key("seconds")), rounded(measured.fastest).into()),
            (format!("slowest_{}", key("seconds")), rounded(measured.slowest).into()),
            ("peak_memory_gb".to_owned(), measured.memory_gb.map(rounded).into()),
        ])
        .into_iter()
        .chain(measured.parameters.map(|count| ("parameters".to_owned(), count.into())))
        .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(peer: Option<&'static str>, precision: &'static str, seconds: &[f64], bytes: Option<u64>) -> Row {
        let sample = Sample { seconds: seconds.to_vec(), peak_memory_bytes: bytes, ..Sample::default() };
        Row { peer, model: None, program: "it".to_owned(), precision, outcome: Ok(Measured::of(&sample)) }
    }

    fn work() -> &'static Work {
        &crate::work::WORKS[0]
    }

    fn text(rows: &[Row]) -> String {
        table(work(), rows).0.concat().join("|")
    }

    #[test]
    fn medians_and_ratios() {
        let unmeasured = |key, failure| Row { outcome: Err(failure), ..row(Some(key), "bf16", &[], None) };
        let rows = [
            row(None, "fp32", &[3.0, 1.0, 2.0], Some(2_000_000_000)),
            row(None, "bf16", &[1.0], Some(1_000_000_000)),
            row(Some("pytorch_fp32"), "fp32", &[10.0, 6.0], Some(5_000_000_000)),
            row(Some("pytorch_bf16"), "bf16", &[6.0], Some(4_000_000_000)),
            unmeasured("pytorch_other", Failure::Run("no room".to_owned())),
            unmeasured("pytorch_slow", Failure::Skipped("no instructions")),
        ];
        let found = json(work(), &Machine::measured(), &rows);
        assert_eq!((&found["seconds_per_step"], &found["peak_memory_gb"]), (&json!(2.0), &json!(2.0)));
        assert_eq!((&found["precision"], &found["bf16"]["seconds_per_step"]), (&json!("fp32"), &json!(1.0)));
        let peers = &found["peers"];
        assert_eq!(peers["pytorch_fp32"]["seconds_per_step"], 8.0);
        assert_eq!(
            (&peers["pytorch_fp32"]["time_ratio"], &peers["pytorch_bf16"]["time_ratio"]),
            (&json!(4.0), &json!(6.0))
        );
        assert_eq!(
            (&peers["pytorch_fp32"]["memory_ratio"], &peers["pytorch_bf16"]["memory_ratio"]),
            (&json!(2.5), &json!(4.0))
        );
        assert_eq!(peers["pytorch_other"]["error"], "no room");
        assert_eq!(peers["pytorch_slow"]["skipped"], "no instructions");
        let table = text(&rows);
        for cell in ["4.00", "failed", "skipped", "6.000 to 10.000"] {
            assert!(table.contains(cell), "{table}");
        }
        // On a processor without bf16, the bf16 peer is given as a multiple of our fp32.
        let [fp32, _, _, bf16, ..] = rows;
        let found = json(work(), &Machine::measured(), &[fp32, bf16]);
        assert_eq!(found["peers"]["pytorch_bf16"]["time_ratio"], 3.0);
        assert_eq!(found["peers"]["pytorch_bf16"]["ratio_to_our"], "fp32");
    }

    #[test]
    fn each_network_is_compared_with_itself() {
        let of = |name: &str, peer, seconds: f64, parameters| {
            let sample = Sample { seconds: vec![seconds], parameters, ..Sample::default() };
            let model = PresetName::named(name);
            Row { model, outcome: Ok(Measured::of(&sample)), ..row(peer, "fp32", &[], None) }
        };
        let rows = [
            of("unetr", None, 1.0, Some(12_345)),
            of("unetr", Some("pytorch_fp32"), 2.0, None),
            of("swin-unetr", None, 2.0, None),
            of("swin-unetr", Some("pytorch_fp32"), 6.0, None),
        ];
        let found = json(work(), &Machine::measured(), &rows);
        assert_eq!(found["unetr"]["peers"]["pytorch_fp32"]["time_ratio"], 2.0);
        assert_eq!(found["swin-unetr"]["peers"]["pytorch_fp32"]["time_ratio"], 3.0);
        assert_eq!(
            (&found["unetr"]["parameters"], &found["unetr"]["model"]),
            (&json!(12_345), &json!("unetr"))
        );
        let alone = json(work(), &Machine::measured(), &rows[2..]);
        assert_eq!((&alone["model"], &alone["seconds_per_step"]), (&json!("swin-unetr"), &json!(2.0)));
        let table = text(&rows);
        for cell in ["network", "parameters", "12345", "swin-unetr", "3.00"] {
            assert!(table.contains(cell), "{table}");
        }
    }

    #[test]
    fn memory_may_be_unknown() {
        let found = json(work(), &Machine::measured(), &[row(None, "fp32", &[1.0], None)]);
        assert_eq!((&found["seconds_per_step"], &found["peak_memory_gb"]), (&json!(1.0), &Value::Null));
        assert!(found.get("peers").is_none());
    }
}
