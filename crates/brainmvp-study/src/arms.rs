//! The arms of a study: what begins a network, and how it is fine-tuned.

use std::path::PathBuf;

use brainmvp_nets::networks::{NetworkConfig, PresetName};
use brainmvp_objectives::pretraining::{MethodConfig, MethodName, MethodPreset};
use toml::Table;

use crate::config::{ArmConfig, Scale, StudyConfig, StudyKind};
use crate::systems::System;
use crate::{Error, Result};

/// What the weights of an arm are before fine-tuning.
#[derive(Debug, Clone, PartialEq)]
pub enum Beginning {
    /// Random.
    Random,
    /// Those that a method learns, with these settings of its own.
    Method(MethodName, Table),
    /// Those of a file or run.
    Weights(PathBuf),
}

/// An arm.
#[derive(Debug, Clone, PartialEq)]
pub struct Arm {
    /// Its name in files.
    pub name: String,
    /// Its name in tables.
    pub title: String,
    /// Its network; `None` for that of given weights.
    pub network: Option<PresetName>,
    /// What it begins with.
    pub beginning: Beginning,
    /// Settings of its fine-tuning.
    pub finetune: Table,
    /// What it has, in a study of parts.
    pub parts: Vec<(&'static str, bool)>,
}

impl Arm {
    /// The network's name in tables.
    pub fn network_title(&self) -> String {
        self.network.map_or_else(|| "-".to_owned(), |preset| preset.network().title().to_owned())
    }

    /// The arms of a study.
    ///
    /// # Errors
    /// If a system or the reference is unknown, or a network has no preset of the size asked for.
    pub fn of(config: &StudyConfig) -> Result<Vec<Self>> {
        let arms = if config.arms.is_empty() {
            match config.kind {
                StudyKind::Comparison | StudyKind::Labels => systems(config)?,
                StudyKind::Ablation => ablation(config.scale)?,
                StudyKind::Subsets => subsets(config.scale)?,
            }
        } else {
            config.arms.iter().map(|arm| given(arm, config.scale)).collect::<Result<_>>()?
        };
        let known = |name: &String| arms.iter().any(|arm| arm.name == *name);
        match &config.reference {
            Some(name) if !known(name) => Err(Error::Config(format!(
                "reference: no arm is called '{name}'; there are {}",
                names(&arms)
            ))),
            _ => Ok(arms),
        }
    }
}

fn names(arms: &[Arm]) -> String {
    arms.iter().map(|arm| arm.name.as_str()).collect::<Vec<_>>().join(", ")
}

/// A network in the size of the study.
fn scaled(network: PresetName, scale: Scale) -> Result<PresetName> {
    if scale == Scale::Published {
        return Ok(network);
    }
    let title = network.network().title();
    let tiny = NetworkConfig::presets()
        .into_iter()
        .find_map(|(name, _, other)| (other.title() == title && name.contains("tiny")).then_some(name));
    tiny.and_then(PresetName::named)
        .ok_or_else(|| Error::Config(format!("scale = \"tiny\": there is no small {title}")))
}

/// The systems of the tables, or those chosen among them.
fn systems(config: &StudyConfig) -> Result<Vec<Arm>> {
    let all = System::all();
    let chosen = if config.systems.is_empty() {
        all
    } else {
        let find = |name: &String| {
            all.iter().find(|system| system.name == *name).cloned().ok_or_else(|| {
                Error::Config(format!("systems: '{name}' is none; `brainmvp list systems` has them"))
            })
        };
        config.systems.iter().map(find).collect::<Result<_>>()?
    };
    let arm = |system: &System| {
        Ok(Arm {
            name: system.name.clone(),
            title: system.title(),
            network: Some(scaled(system.network, config.scale)?),
            beginning: system.method.map_or(Beginning::Random, |name| Beginning::Method(name, Table::new())),
            finetune: Table::new(),
            parts: Vec::new(),
        })
    };
    chosen.iter().map(arm).collect()
}

/// The parts of BrainMVP, one after the other, and the mixing of fine-tuning on and off separately (Table IV changes both at
/// once). Without templates there is nothing to mix with.
fn ablation(scale: Scale) -> Result<Vec<Arm>> {
    let network = scaled(PresetName::default(), scale)?;
    let parts: [(&str, &str, &[&str]); 4] = [
        ("none", "From scratch", &[]),
        ("cmr", "CMR", &["cross"]),
        ("cmr+md", "CMR + MD", &["cross", "distill"]),
        ("cmr+md+mcl", "CMR + MD + MCL", &["cross", "distill", "contrast"]),
    ];
    let mut arms = Vec::new();
    for (name, title, tasks) in parts {
        let learns = |task: &str| tasks.contains(&task);
        for mixing in [false, true] {
            if mixing && !learns("distill") {
                continue;
            }
            let method = table(&format!("method.tasks = {tasks:?}"))?;
            let with = if mixing { "templates" } else { "none" };
            arms.push(Arm {
                name: if mixing { format!("{name}+mixing") } else { name.to_owned() },
                title: if mixing { format!("{title}, mixing") } else { title.to_owned() },
                network: Some(network),
                beginning: match tasks {
                    [] => Beginning::Random,
                    _ => Beginning::Method(MethodName::default(), method),
                },
                finetune: table(&format!("mixing.with = '{with}'"))?,
                parts: vec![
                    ("CMR", learns("cross")),
                    ("MD", learns("distill")),
                    ("MCL", learns("contrast")),
                    ("Mixing", mixing),
                ],
            });
        }
    }
    Ok(arms)
}

/// BrainMVP, with different things in the place of modalities in the copies of fine-tuning, and of missing ones.
fn subsets(scale: Scale) -> Result<Vec<Arm>> {
    let network = scaled(PresetName::default(), scale)?;
    let ways = [
        ("templates", "Mixing with templates"),
        ("mean", "Mixing with mean images"),
        ("zero", "Mixing with 0"),
        ("none", "No mixing"),
    ];
    let arm = |(with, title): (&str, &str)| {
        Ok(Arm {
            name: format!("mixing-{with}"),
            title: title.to_owned(),
            network: Some(network),
            beginning: Beginning::Method(MethodName::default(), Table::new()),
            finetune: table(&format!("mixing.with = '{with}'"))?,
            parts: Vec::new(),
        })
    };
    ways.into_iter().map(arm).collect()
}

/// An arm of the file.
fn given(arm: &ArmConfig, scale: Scale) -> Result<Arm> {
    let of_method = arm.method.map(|name| MethodConfig::of(name, MethodPreset::default()).network());
    let network = match (arm.network, of_method) {
        // A network that is named is meant.
        (Some(named), _) => Some(named),
        (None, Some(published)) => Some(scaled(published, scale)?),
        (None, None) => None,
    };
    let beginning = match (arm.method, &arm.weights) {
        (Some(name), _) => Beginning::Method(name, arm.pretrain.clone()),
        (None, Some(path)) => Beginning::Weights(path.clone()),
        (None, None) => Beginning::Random,
    };
    Ok(Arm {
        name: arm.name.clone(),
        title: arm.title.clone().unwrap_or_else(|| arm.name.clone()),
        network,
        beginning,
        finetune: arm.finetune.clone(),
        parts: Vec::new(),
    })
}

/// A table that this program writes itself.
fn table(text: &str) -> Result<Table> {
    text.parse().map_err(|e: toml::de::Error| Error::Config(e.to_string()))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::tests::SMALL;

    fn arms(text: &str) -> Result<Vec<Arm>> {
        Arm::of(&StudyConfig::parse(text, Path::new("."))?)
    }

    #[test]
    fn every_kind_has_its_arms() {
        let of = |kind: &str| arms(&SMALL.replace("comparison", kind)).unwrap();
        assert_eq!(of("comparison").len(), System::all().len());
        assert_eq!(of("labels"), of("comparison"));
        let parts = of("ablation");
        let names: Vec<&str> = parts.iter().map(|arm| arm.name.as_str()).collect();
        assert_eq!(names, ["none", "cmr", "cmr+md", "cmr+md+mixing", "cmr+md+mcl", "cmr+md+mcl+mixing"]);
        assert_eq!(parts[0].beginning, Beginning::Random);
        assert_eq!(of("subsets").len(), 4);
    }

    #[test]
    fn arms_are_chosen_scaled_and_given() {
        let chosen = format!("systems = ['scratch-unetr', 'mae3d-unetr']\nscale = 'tiny'\n{SMALL}");
        let networks: Vec<_> = arms(&chosen).unwrap().iter().map(|arm| arm.network.unwrap().name()).collect();
        assert_eq!(networks, ["unetr-tiny", "unetr-tiny"]);
        let message = |text: String| arms(&text).unwrap_err().to_string();
        assert!(message(format!("systems = ['magic']\n{SMALL}")).contains("list systems"));
        assert!(message(format!("reference = 'magic'\n{SMALL}")).contains("no arm"));
        let given = arms(&format!("{SMALL}[[arms]]\nname = 'a'\nmethod = 'mae3d'\n")).unwrap();
        assert_eq!(given[0].network.unwrap().name(), "unetr");
    }
}
