//! The tables of docs/differences.md against what the presets set.

#![allow(clippy::unwrap_used)] // that is how a test fails

use std::collections::{BTreeMap, BTreeSet};

use brainmvp_objectives::pretraining::{MethodName, MethodPreset};
use brainmvp_prep::{PrepConfig, PrepPreset};
use brainmvp_train::config::PretrainConfig;
use toml::{Table, Value};

const PAGE: &str = include_str!("../../../docs/differences.md");

/// A row of a table: what paper, released program and our default have, and the key.
struct Row {
    values: [Value; 3],
    key: String,
}

/// The rows below a heading, up to the next heading of any level.
fn rows(heading: &str) -> Vec<Row> {
    let section = PAGE.split(&format!("\n## {heading}\n")).nth(1).unwrap();
    let section = section.split("\n#").next().unwrap();
    let lines = section.lines().filter(|line| line.starts_with("| ") && line.contains('`'));
    lines
        .map(|line| {
            let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
            let code = |cell: &str| cell.trim_matches('`').to_owned();
            let [_, paper, released, ours, key] = cells.as_slice() else { panic!("{line}") };
            Row { values: [paper, released, ours].map(|cell| value(&code(cell))), key: code(key) }
        })
        .collect()
}

/// A cell as a value: TOML, or else a word.
fn value(cell: &str) -> Value {
    let parsed = format!("value = {cell}").parse::<Table>();
    parsed.map_or_else(|_| Value::String(cell.to_owned()), |mut table| table.remove("value").unwrap())
}

/// The values of a configuration by dotted key.
fn flat(config: &impl serde::Serialize) -> BTreeMap<String, Value> {
    fn walk(prefix: &str, table: Table, into: &mut BTreeMap<String, Value>) {
        for (key, value) in table {
            let key = if prefix.is_empty() { key } else { format!("{prefix}.{key}") };
            match value {
                Value::Table(table) => walk(&key, table, into),
                value => drop(into.insert(key, value)),
            }
        }
    }
    let mut all = BTreeMap::new();
    walk("", Table::try_from(config).unwrap(), &mut all);
    all
}

/// Whether two values are the same but for the precision of fp32.
fn same(a: &Value, b: &Value) -> bool {
    let number = |value: &Value| value.as_float().or(value.as_integer().map(|n| n as f64));
    match (a, b) {
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        _ => match (number(a), number(b)) {
            (Some(a), Some(b)) => (a - b).abs() <= 1e-6 * b.abs(),
            _ => a == b,
        },
    }
}

/// Holds a table to the presets `[paper, released, default]`.
fn hold(heading: &str, presets: &[BTreeMap<String, Value>; 3], besides: &[&str]) {
    let rows = rows(heading);
    assert!(rows.len() >= 3, "{heading} has hardly any rows");
    for row in &rows {
        for (preset, told) in presets.iter().zip(&row.values) {
            let set =
                preset.get(&row.key).unwrap_or_else(|| panic!("{heading}: there is no key {}", row.key));
            assert!(same(told, set), "{heading}: {} is told to be {told}, and is {set}", row.key);
        }
    }
    let told: BTreeSet<&str> =
        rows.iter().map(|row| row.key.as_str()).chain(besides.iter().copied()).collect();
    for (key, ours) in &presets[2] {
        let differs = presets.iter().any(|preset| preset.get(key).is_none_or(|value| !same(value, ours)));
        assert!(!differs || told.contains(key.as_str()), "{heading}: {key} differs and is not listed");
    }
}

#[test]
fn the_table_of_pre_training_is_what_the_presets_set() {
    let presets = [MethodPreset::Paper, MethodPreset::Released, MethodPreset::Default];
    let presets = presets.map(|preset| flat(&PretrainConfig::of(None, MethodName::default(), preset)));
    hold("Pre-training", &presets, &["method.preset"]);
}

#[test]
fn the_table_of_preparation_is_what_the_presets_set() {
    let presets = [PrepConfig::preset(PrepPreset::Paper), PrepConfig::preset(PrepPreset::Released)];
    let [paper, released] = presets.map(|preset| flat(&preset));
    hold("Preparation", &[paper, released, flat(&PrepConfig::default())], &[]);
}

#[test]
fn a_preset_gives_way_to_single_keys() {
    let text = "[method]\npreset = 'paper'\n[method.mask]\nkind = 'random'\n[train]\naccumulate = 1\n";
    let config = flat(&PretrainConfig::resolve(text, &[]).unwrap());
    assert_eq!(config["method.mask.kind"], Value::String("random".to_owned()));
    assert_eq!(config["train.accumulate"], Value::Integer(1));
    assert_eq!(config["method.reconstruction"], Value::String("unsquared".to_owned()));
}
