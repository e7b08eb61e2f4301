//! The page: tables of keys.

use std::fmt::Write as _;

use serde_json::Value;

use super::keys::Key;
use super::parts::{PARTS, Part, Section};

const INTRODUCTION: &str = "\
# Configuration

Every key of the configurations, with its type, its default and what it is. This page is printed by the program
(`brainmvp settings`), so it is that of your version if you ask your program.

- A configuration is a TOML file: `--config FILE`. A single key is set by `--set train.epochs=20`, which goes before the file.
  `brainmvp list` has the names of networks, methods and metrics.
- What is left out has the value of a preset (`preset = \"paper\"`, or `--set preset=paper`; in pre-training `method.preset`). Where
  presets, methods, tasks or networks differ, the column *default* has their values after the common one.
  [Differences](differences.md) compares the presets.
- A file may hold several stages, each in a table of its name: `[preprocess]`, `[pretrain.train]`, `[finetune.task]`. Each command
  reads its own. A file without these tables is the configuration of one stage.
- A run keeps its whole configuration in `RUN/config.toml`, every key with its value. That file can be given to `--config`.
- Unknown keys and impossible values are errors, before anything is computed. Sizes are in voxels along x, y and z, shares and
  chances from 0 to 1. Equations and tables are those of the [BrainMVP paper](https://arxiv.org/abs/2410.10604).
";

/// All parts.
pub(super) fn whole() -> anyhow::Result<String> {
    let mut page = INTRODUCTION.to_owned();
    for one in PARTS {
        page.push('\n');
        page += &part(one)?;
    }
    Ok(page)
}

/// One part.
pub(super) fn part(part: &Part) -> anyhow::Result<String> {
    let mut page = format!("## {}\n\n{}\n", part.title, part.about);
    for section in (part.sections)()? {
        if !section.title.is_empty() {
            write!(page, "\n### {}\n", section.title)?;
        }
        if !section.about.is_empty() {
            write!(page, "\n{}\n", section.about)?;
        }
        if section.keys.is_empty() {
            page += "\nThis has no keys.\n";
            continue;
        }
        page += "\n| key, type | default | what it is |\n|---|---|---|\n";
        for key in &section.keys {
            let cells = [format!("`{}`<br>{}", key.path, key.kind), default(&section, key), about(key)];
            writeln!(page, "| {} |", cells.map(|cell| cell.replace('|', "\\|")).join(" | "))?;
        }
    }
    Ok(page)
}

/// What it is, and its words with their meaning.
fn about(key: &Key) -> String {
    let (plain, explained): (Vec<_>, Vec<_>) = key.words.iter().partition(|(_, meaning)| meaning.is_empty());
    let plain = plain.iter().map(|(word, _)| format!("`{word}`")).collect::<Vec<_>>().join(", ");
    let explained = explained.iter().map(|(word, meaning)| format!("`{word}`: {meaning}"));
    let lines = std::iter::once(plain).filter(|line| !line.is_empty()).chain(explained);
    lines.fold(key.about.clone(), |text, line| format!("{text}<br>{line}"))
}

/// The value if nothing is said, and those of presets and other choices where they differ.
fn default(section: &Section, key: &Key) -> String {
    if section.base.is_null() {
        return match &key.default {
            Some(value) => shown(value),
            None if key.is_required => "must be given".to_owned(),
            None => "-".to_owned(),
        };
    }
    let base = at(&section.base, &key.path);
    let none = if key.is_required { "must be given" } else { "-" };
    let text = |value: Option<&Value>| value.map_or_else(|| none.to_owned(), shown);
    let mut others: Vec<(String, Vec<String>)> = Vec::new();
    for (word, values) in &section.variants {
        let value = at(values, &key.path);
        // The word for it is no news of the key that it is said with.
        if value.is_none() || value == base || value.and_then(Value::as_str) == Some(word) {
            continue;
        }
        let (value, word) = (text(value), format!("`{word}`"));
        match others.iter_mut().find(|(known, _)| *known == value) {
            Some((_, words)) => words.push(word),
            None => others.push((value, vec![word])),
        }
    }
    let others = others.into_iter().map(|(value, words)| format!("<br>{}: {value}", words.join(", ")));
    text(base) + &others.collect::<String>()
}

fn at<'a>(values: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(values, |value, name| value.get(name)).filter(|value| !value.is_null())
}

/// A value as in a file.
fn shown(value: &Value) -> String {
    format!("`{}`", written(value))
}

fn written(value: &Value) -> String {
    match value {
        Value::Number(number) => number.as_f64().filter(|_| number.is_f64()).map_or_else(
            || number.to_string(),
            // Many numbers are of single precision: 0.1 and not 0.10000000149011612.
            |x| if f64::from(x as f32) == x { format!("{:?}", x as f32) } else { format!("{x:?}") },
        ),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(written).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Object(fields) => {
            let fields: Vec<String> =
                fields.iter().map(|(name, value)| format!("{name} = {}", written(value))).collect();
            if fields.is_empty() { "{}".to_owned() } else { format!("{{ {} }}", fields.join(", ")) }
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_says_what_it_is() {
        let mut paths = Vec::new();
        for part in PARTS {
            for section in (part.sections)().unwrap() {
                for key in section.keys {
                    assert!(!key.about.is_empty() && !key.kind.is_empty(), "{key:?}");
                    assert!(!key.about.contains("::"), "not for readers of the source alone: {key:?}");
                    paths.push(format!("{}.{}", part.name, key.path));
                }
            }
        }
        for expected in [
            "preprocess.spacing_mm",
            "pretrain.method.mask.rate",
            "finetune.task.regions",
            "pretrain.method.name",
            "finetune.task.regions[].labels",
            "networks.model.unetr.depth",
            "study.compute.pretrain_voxels",
            "study.phantoms.lesions.glioma",
        ] {
            assert!(paths.iter().any(|path| path == expected), "{expected} is missing");
        }
    }

    #[test]
    fn values_are_written_as_in_a_file() {
        let value = serde_json::json!([0.1_f32, 0.1_f64, 1e-5_f32, 3, true, "a", [], {"b": 1.5}]);
        assert_eq!(written(&value), "[0.1, 0.1, 1e-5, 3, true, \"a\", [], { b = 1.5 }]");
    }
}
