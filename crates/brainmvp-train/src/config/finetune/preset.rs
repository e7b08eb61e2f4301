//! Whose settings a fine-tuning run has.

use brainmvp_objectives::downstream::{AugmentationConfig, MixingConfig};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{FinetuneConfig, FrozenTemplatesConfig, TaskPatchConfig};
use crate::config::ModelConfig;
use crate::finetune::tasks::Defaults;
use crate::finetune::{TaskConfig, TaskKind};
use crate::optimizer::{OptimizerConfig, OptimizerKind};
use crate::placement::PlacementRule;
use crate::trainer::TrainConfig;

/// Whose settings: what a configuration leaves out has these values. `docs/differences.md` lists them side by side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum FinetunePreset {
    /// Ours: the paper's, but that a third of the patches of a segmentation is centred on a labelled voxel.
    #[default]
    Default,
    /// As the paper is printed.
    Paper,
    /// As the authors' released program does; it has no classification, which is the paper's here.
    Released,
}

impl FinetuneConfig {
    /// The settings of a preset for a task and a network.
    pub fn of(preset: FinetunePreset, kind: TaskKind, model: ModelConfig) -> Self {
        let released = preset == FinetunePreset::Released;
        let mut patch = TaskPatchConfig::of(kind);
        if preset != FinetunePreset::Default {
            patch.labelled_share = 0.0;
        }
        // The released program has one value for all networks.
        let weight_decay = if released { 1e-4 } else { model.network.weight_decay() };
        let Defaults { epochs, batch_size, accumulate, .. } = kind.defaults(released);
        let placement = if released { PlacementRule::Centre } else { PlacementRule::default() };
        let optimizer = if released { OptimizerKind::Adam } else { OptimizerKind::AdamW };
        Self {
            preset,
            task: TaskConfig { kind, ..TaskConfig::default() },
            model,
            mixing: if released { MixingConfig::released() } else { MixingConfig::default() },
            templates: FrozenTemplatesConfig { placement },
            patch,
            augmentation: AugmentationConfig { mirror_together: released, ..AugmentationConfig::default() },
            optimizer: OptimizerConfig { kind: optimizer, weight_decay, ..OptimizerConfig::default() },
            train: TrainConfig { epochs, batch_size, accumulate, ..TrainConfig::default() },
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use toml::{Table, Value};

    use super::*;
    use crate::config::RunConfig as _;

    /// The section of the page.
    fn differences() -> String {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/differences.md");
        let page = std::fs::read_to_string(path).unwrap();
        page.split("## Fine-tuning").nth(1).unwrap().split("\n## ").next().unwrap().to_owned()
    }

    /// The configuration of a preset, with settings.
    fn resolved(preset: &str, settings: &[&str]) -> Table {
        let preset = format!("preset={preset}");
        let settings = settings.iter().copied().chain([preset.as_str()]).map(str::to_owned);
        let config = FinetuneConfig::resolve("", &settings.collect::<Vec<_>>(), None).unwrap();
        config.to_toml().unwrap().parse().unwrap()
    }

    /// What stands in backticks.
    fn code(cell: &str) -> Vec<&str> {
        cell.split('`').skip(1).step_by(2).collect()
    }

    fn at<'a>(table: &'a Table, key: &str) -> Option<&'a Value> {
        let mut names = key.split('.');
        let first = table.get(names.next()?)?;
        names.try_fold(first, |value, name| value.as_table()?.get(name))
    }

    /// Equal, where a number of 32 bits is as near to what is written as it can be.
    fn same(found: &Value, written: &Value) -> bool {
        match (found.as_float(), written.as_float()) {
            (Some(found), Some(written)) => (found - written).abs() <= 1e-6 * written.abs(),
            _ => found == written,
        }
    }

    #[test]
    fn the_table_of_differences_is_what_presets_set() {
        let section = differences();
        let rows = section.lines().skip_while(|line| !line.starts_with("| What")).skip(2);
        let rows: Vec<Vec<&str>> = rows
            .take_while(|line| line.starts_with('|'))
            .map(|line| line.trim_matches('|').split('|').collect())
            .collect();
        assert!(rows.len() > 20);
        for row in &rows {
            let [what, paper, released, ours, key] = row[..] else { panic!("{row:?}") };
            let key = code(key)[0];
            for (preset, cell) in [("paper", paper), ("released", released), ("default", ours)] {
                let written: Table = format!("value = {}", code(cell)[0]).parse().unwrap();
                let config = resolved(preset, &code(what));
                let found = at(&config, key).unwrap_or_else(|| panic!("there is no key {key}"));
                assert!(same(found, &written["value"]), "{preset}: {key} is {found}, not {cell}");
            }
        }
    }

    #[test]
    fn what_the_presets_change_is_in_the_table() {
        let section = differences();
        let named = |key: &str| section.contains(&format!("`{key}`"));
        let segment = |preset| resolved(preset, &[]);
        let [ours, paper, released] = ["default", "paper", "released"].map(segment);
        let mut changed = Vec::new();
        for other in [&paper, &released] {
            differing("", &Value::Table(ours.clone()), &Value::Table(other.clone()), &mut changed);
        }
        changed.retain(|key| key != "preset");
        assert!(changed.len() >= 7, "{changed:?}");
        assert!(changed.iter().all(|key| named(key)), "{changed:?}");
    }

    /// Keys whose values differ.
    fn differing(place: &str, a: &Value, b: &Value, found: &mut Vec<String>) {
        match (a, b) {
            (Value::Table(a), Value::Table(b)) => {
                for (key, value) in a {
                    let place = if place.is_empty() { key.clone() } else { format!("{place}.{key}") };
                    differing(&place, value, &b[key], found);
                }
            }
            _ if a != b => found.push(place.to_owned()),
            _ => {}
        }
    }

    #[test]
    fn what_a_file_says_goes_over_the_preset() {
        let config = resolved("released", &["train.epochs=7", "mixing.agreement=features"]);
        assert_eq!(at(&config, "train.epochs"), Some(&Value::Integer(7)));
        assert_eq!(at(&config, "mixing.agreement"), Some(&Value::String("features".to_owned())));
        assert_eq!(at(&config, "mixing.supervision"), Some(&Value::String("pooled".to_owned())));
    }
}
