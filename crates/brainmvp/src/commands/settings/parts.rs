//! What can be configured, part by part, and the values that it has if nothing is said.

use brainmvp_nets::networks::{NetworkConfig, NetworkSection};
use brainmvp_objectives::pretraining::{MethodConfig, MethodName, MethodPreset};
use brainmvp_prep::{PrepConfig, PrepPreset, PrepSettings};
use brainmvp_study::config::StudyConfig;
use brainmvp_train::config::{
    FinetuneConfig, FinetunePreset, ModelConfig, ModelPreset, PretrainConfig, TaskKind,
};
use schemars::{JsonSchema, schema_for};
use serde::Serialize;
use serde_json::Value;

use super::keys::{Key, keys_of};

/// A part of the page.
pub(super) struct Part {
    /// Its name on the command line.
    pub(super) name: &'static str,
    pub(super) title: &'static str,
    /// What it is for, and where the values come from.
    pub(super) about: &'static str,
    pub(super) sections: fn() -> anyhow::Result<Vec<Section>>,
}

/// Keys that stand together, with their values.
pub(super) struct Section {
    /// As in a file: `[train]`; empty for keys outside all tables.
    pub(super) title: String,
    pub(super) about: String,
    pub(super) keys: Vec<Key>,
    /// The values if nothing is said, by their paths; a part without any has those of its types.
    pub(super) base: Value,
    /// Others, each with the word that brings it about.
    pub(super) variants: Vec<(String, Value)>,
}

/// All parts; a new one is an entry here.
pub(super) static PARTS: &[Part] = &[
    Part {
        name: "preprocess",
        title: "Preparing: `[preprocess]`",
        about: "Each key is also an option of `brainmvp preprocess`, which goes before the file (`--spacing` for `spacing_mm`). \
                What the choices are for: [preparing](preparing-heads.md).",
        sections: preprocess,
    },
    Part {
        name: "pretrain",
        title: "Pre-training: `[pretrain]`",
        about: "Defaults are those of the method `brainmvp`; after them, those of its presets `paper` and `released` and of other \
                methods, where they differ. What the choices are for: [pre-training](pre-training.md), [methods](methods.md).",
        sections: pretrain,
    },
    Part {
        name: "finetune",
        title: "Fine-tuning: `[finetune]`",
        about: "Defaults are those of a segmentation with `uniformer-small`; after them, those of the presets `paper` and \
                `released`, of the tasks `classify` and `regress`, and of other networks, where they differ. What the choices \
                are for: [fine-tuning](fine-tuning.md).",
        sections: finetune,
    },
    Part {
        name: "networks",
        title: "Networks: `[model]`",
        about: "The sizes of a network are in a section of its name, in `[pretrain]` and `[finetune]`. With pre-trained weights \
                they come from there. Defaults are those of the first preset named; after them, those of the others. The number \
                of input channels is no key: it follows from the method and the modalities.",
        sections: networks,
    },
    Part {
        name: "study",
        title: "Studies",
        about: "The keys of a study's file; [studies](studies.md) has examples.",
        sections: study,
    },
];

/// The keys of a type, by the table that they are in.
fn by_table<T: JsonSchema>(base: &Value, variants: &[(String, Value)]) -> Vec<Section> {
    let mut sections: Vec<Section> = Vec::new();
    for key in keys_of(schema_for!(T).as_value()) {
        let table = key.path.split_once('.').map_or("", |(table, _)| table);
        let title = match table.strip_suffix("[]") {
            _ if table.is_empty() => String::new(),
            Some(list) => format!("`[[{list}]]`"),
            None => format!("`[{table}]`"),
        };
        match sections.iter_mut().find(|section| section.title == title) {
            Some(section) => section.keys.push(key),
            None => sections.push(Section {
                title,
                about: String::new(),
                keys: vec![key],
                base: base.clone(),
                variants: variants.to_vec(),
            }),
        }
    }
    sections
}

fn values(config: impl Serialize) -> anyhow::Result<Value> {
    Ok(serde_json::to_value(config)?)
}

/// A word, and the values that it brings about.
fn variant(word: &str, config: impl Serialize) -> anyhow::Result<(String, Value)> {
    Ok((word.to_owned(), values(config)?))
}

fn preprocess() -> anyhow::Result<Vec<Section>> {
    let of = |preset| {
        let mut values = values(PrepConfig::preset(preset))?;
        values["preset"] = serde_json::to_value(preset)?;
        anyhow::Ok(values)
    };
    let released = ("released".to_owned(), of(PrepPreset::Released)?);
    Ok(by_table::<PrepSettings>(&of(PrepPreset::Paper)?, &[released]))
}

fn pretrain() -> anyhow::Result<Vec<Section>> {
    let of = |method, preset| PretrainConfig::of(None, method, preset);
    let ours = MethodName::default();
    let mut variants = vec![
        variant("paper", of(ours, MethodPreset::Paper))?,
        variant("released", of(ours, MethodPreset::Released))?,
    ];
    for method in MethodConfig::names().into_iter().filter(|name| *name != ours) {
        variants.push(variant(method.name(), of(method, MethodPreset::Default))?);
    }
    let base = values(of(ours, MethodPreset::Default))?;
    let mut sections = by_table::<PretrainConfig>(&base, &variants);
    sections.iter_mut().for_each(without_sizes);
    // A section of each method, in place of one key that is any of them.
    if let Some(place) =
        sections.iter().position(|section| section.keys.iter().any(|key| key.path == "method"))
    {
        sections.splice(place..=place, method_sections()?);
    }
    Ok(sections)
}

/// Of the table of the network, the name alone: sizes are a part of their own.
fn without_sizes(section: &mut Section) {
    section.keys.retain(|key| !key.path.starts_with("model.") || key.path == "model.preset");
}

/// The name of the method, and one section for each.
fn method_sections() -> anyhow::Result<Vec<Section>> {
    let schema = schema_for!(MethodConfig);
    let schemas = schema.get("oneOf").and_then(Value::as_array).into_iter().flatten();
    let names = MethodConfig::names().into_iter().map(|name| (name.name().to_owned(), String::new()));
    let mut sections = vec![Section {
        title: "`[method]`".to_owned(),
        about: "With any of them, `method.preset` is one of `default`, `paper` and `released`.".to_owned(),
        keys: vec![Key {
            path: "method.name".to_owned(),
            kind: "word".to_owned(),
            about: "The method, which decides what other keys there are in this section.".to_owned(),
            words: names.collect(),
            default: Some(serde_json::to_value(MethodName::default())?),
            is_required: false,
        }],
        base: Value::Null,
        variants: Vec::new(),
    }];
    for (own, name) in schemas.zip(MethodConfig::names()) {
        let mut own = own.clone();
        own["$defs"] = schema.get("$defs").cloned().unwrap_or_default();
        let mut keys = keys_of(&own);
        keys.retain(|key| key.path != "name");
        for key in &mut keys {
            key.path.insert_str(0, "method.");
        }
        let of = |preset| serde_json::json!({ "method": MethodConfig::of(name, preset) });
        let method = MethodConfig::of(name, MethodPreset::Default);
        let words = [("paper", MethodPreset::Paper), ("released", MethodPreset::Released)];
        sections.push(Section {
            title: format!("`[method]`: `{}`", name.name()),
            about: format!("{}: {}.", method.title(), method.about()),
            keys,
            base: of(MethodPreset::Default),
            variants: words.map(|(word, preset)| (word.to_owned(), of(preset))).to_vec(),
        });
    }
    Ok(sections)
}

fn finetune() -> anyhow::Result<Vec<Section>> {
    let ours = FinetunePreset::Default;
    let of = |preset, kind, model| FinetuneConfig::of(preset, kind, model);
    let segment = |preset| of(preset, TaskKind::default(), ModelConfig::default());
    let mut variants = vec![
        variant("paper", segment(FinetunePreset::Paper))?,
        variant("released", segment(FinetunePreset::Released))?,
    ];
    for kind in TaskKind::ALL.iter().skip(1) {
        variants.push(variant(kind.name(), of(ours, *kind, ModelConfig::default()))?);
    }
    let mut seen: Vec<ModelPreset> = vec![ModelPreset::default()];
    for (_, _, network) in NetworkConfig::presets() {
        let preset = network.published_preset();
        if !seen.contains(&preset) {
            seen.push(preset);
            let config = of(ours, TaskKind::default(), ModelConfig::of(preset));
            variants.push(variant(preset.name(), config)?);
        }
    }
    let mut sections = by_table::<FinetuneConfig>(&values(segment(ours))?, &variants);
    sections.iter_mut().for_each(without_sizes);
    Ok(sections)
}

fn networks() -> anyhow::Result<Vec<Section>> {
    let presets: Vec<_> =
        NetworkConfig::presets().into_iter().filter_map(|(name, ..)| ModelPreset::named(name)).collect();
    let all = by_table::<NetworkSection>(&Value::Null, &[]);
    let mut sections = Vec::new();
    for mut section in all.into_iter().filter(|section| !section.title.is_empty()) {
        let name = section.title.trim_matches(['`', '[', ']']).to_owned();
        let mut configs = Vec::new();
        for preset in &presets {
            let value = values(ModelConfig::of(*preset))?;
            if value.get(&name).is_some() {
                configs.push((preset.name().to_owned(), value));
            }
        }
        let names: Vec<String> = configs.iter().map(|(name, _)| format!("`{name}`")).collect();
        section.title = format!("`[model.{name}]`");
        section.about = format!("Presets: {}.", names.join(", "));
        if !configs.is_empty() {
            section.base = serde_json::json!({ "model": configs.remove(0).1 });
        }
        section.variants =
            configs.into_iter().map(|(word, value)| (word, serde_json::json!({ "model": value }))).collect();
        for key in &mut section.keys {
            key.path.insert_str(0, "model.");
        }
        sections.push(section);
    }
    Ok(sections)
}

#[expect(clippy::unnecessary_wraps, reason = "as the sections of other parts")]
fn study() -> anyhow::Result<Vec<Section>> {
    Ok(by_table::<StudyConfig>(&Value::Null, &[]))
}
