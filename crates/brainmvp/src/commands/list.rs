//! `brainmvp list`

use brainmvp_cohort::SCHEMES;
use brainmvp_cohort::layouts::LAYOUTS;
use brainmvp_metrics::Metric;
use brainmvp_metrics::lesions::LESION_RULES;
use brainmvp_metrics::metrics::Better;
use brainmvp_nets::networks::NetworkConfig;
use brainmvp_objectives::pretraining::{MethodConfig, MethodName, MethodPreset};
use brainmvp_prep::steps::registry as steps;
use brainmvp_prep::{PrepConfig, PrepPreset};
use brainmvp_study::systems::System;
use brainmvp_volume::Modality;
use clap::Args;

use super::table;
use crate::ui::Ui;

/// List the available layouts, modalities, label schemes, preprocessing steps, networks, pre-training methods, systems,
/// metrics and rules for lesions
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  brainmvp list
  brainmvp list labels")]
pub(crate) struct List {
    /// What to list [default: everything]
    #[arg(value_name = "WHAT", value_parser = SECTIONS.iter().map(|section| section.name).collect::<Vec<_>>())]
    what: Option<String>,
}

/// One kind of things to list.
struct Section {
    name: &'static str,
    title: &'static str,
    rows: fn() -> String,
}

/// Everything that can be listed; a new kind is one line here.
static SECTIONS: &[Section] = &[
    Section { name: "layouts", title: "Layouts (index --layout)", rows: layout_rows },
    Section {
        name: "modalities",
        title: "Modalities, and words for them in file names",
        rows: modality_rows,
    },
    Section { name: "labels", title: "Label schemes (index and evaluate --label-scheme)", rows: label_rows },
    Section { name: "steps", title: "Preprocessing steps (preprocess --steps)", rows: step_rows },
    Section { name: "networks", title: "Networks (--set model.preset=NAME)", rows: network_rows },
    Section {
        name: "methods",
        title: "Pre-training methods (pretrain --set method.name=NAME)",
        rows: method_rows,
    },
    Section {
        name: "systems",
        title: "Systems that a study compares (study: systems = [\"NAME\", ...])",
        rows: system_rows,
    },
    Section { name: "metrics", title: "Segmentation metrics (evaluate --metrics)", rows: metric_rows },
    Section { name: "lesions", title: "Rules for lesions (evaluate --lesions)", rows: lesion_rows },
];

impl List {
    pub(crate) fn run(self, ui: &Ui) -> anyhow::Result<()> {
        let wanted = |section: &&Section| self.what.as_deref().is_none_or(|what| what == section.name);
        let sections = SECTIONS.iter().filter(wanted);
        let texts = sections.map(|section| format!("{}\n{}", section.title, (section.rows)()));
        ui.result(texts.collect::<Vec<_>>().join("\n\n"))
    }
}

fn layout_rows() -> String {
    let rows: Vec<_> =
        LAYOUTS.iter().map(|layout| [layout.name().to_owned(), layout.describe().to_owned()]).collect();
    table::columns(&rows)
}

/// Some of the words that stand for a modality, of those in use by public data sets.
fn common_words(modality: Modality) -> &'static [&'static str] {
    match modality {
        Modality::Flair => &["t2f", "t2_flair", "t2w_flair", "fla", "dark_fluid"],
        Modality::T1 => &["t1n", "t1w", "mprage", "spgr", "bravo", "anat"],
        Modality::T1c => &["t1ce", "t1gd", "t1post", "t1km", "t1_contrast", "ce_t1w"],
        Modality::T2 => &["t2w", "hrt2", "tse", "ciss", "fiesta"],
        Modality::Mra => &["tof", "angio", "tof_mra"],
        Modality::Pd => &["pdw", "proton_density"],
        Modality::Dwi => &["trace", "b1000", "dwi_trace"],
        Modality::Adc => &["adc_map", "dwi_adc", "apparent_diffusion"],
    }
}

fn modality_rows() -> String {
    let words = |modality| format!("{} ...", common_words(modality).join(" "));
    table::columns(&Modality::ALL.map(|modality| [modality.name().to_owned(), words(modality)]))
}

fn label_rows() -> String {
    let rows: Vec<_> = SCHEMES
        .iter()
        .map(|scheme| {
            let values = scheme.values.iter().map(|(value, name)| format!("{value} {name}"));
            let values = values.chain(scheme.ignored.iter().map(|value| format!("{value} ignored")));
            let values = values.collect::<Vec<_>>().join(", ");
            [scheme.name.to_owned(), format!("{values} ({})", scheme.used_by)]
        })
        .collect();
    table::columns(&rows)
}

fn step_rows() -> String {
    let preset = PrepConfig::preset(PrepPreset::Paper).steps;
    let place = |name: &str| preset.iter().position(|step| step == name);
    let rows: Vec<_> = steps()
        .iter()
        .map(|step| {
            let place =
                place(step.name()).map_or("on request".to_owned(), |i| format!("{} by default", i + 1));
            [step.name().to_owned(), place]
        })
        .collect();
    table::columns(&rows)
}

fn network_rows() -> String {
    let row = |(name, about, network): (&str, &str, NetworkConfig)| {
        [name.to_owned(), network.title().to_owned(), about.to_owned()]
    };
    table::columns(&NetworkConfig::presets().into_iter().map(row).collect::<Vec<_>>())
}

fn method_rows() -> String {
    let row = |name: MethodName| {
        let method = MethodConfig::of(name, MethodPreset::default());
        [name.name().to_owned(), method.title().to_owned(), method.about().to_owned()]
    };
    table::columns(&MethodConfig::names().into_iter().map(row).collect::<Vec<_>>())
}

fn system_rows() -> String {
    let row = |system: System| {
        let network = system.network.network();
        [system.name.clone(), system.title(), network.title().to_owned()]
    };
    table::columns(&System::all().into_iter().map(row).collect::<Vec<_>>())
}

fn metric_rows() -> String {
    let rows: Vec<_> = Metric::all()
        .map(|metric| {
            let better = match metric.better {
                Better::Higher => "higher is better",
                Better::Lower => "lower is better",
                Better::NearZero => "better near 0",
                Better::Neither => "descriptive only",
            };
            [metric.name.to_owned(), metric.heading(), better.to_owned()]
        })
        .collect();
    table::columns(&rows)
}

fn lesion_rows() -> String {
    let rows = LESION_RULES.iter().map(|named| {
        let rule = named.rule;
        let dilations = format!("dilations={}", rule.dilations);
        let ignored = format!("ignored_mm3={}", rule.ignored_mm3);
        let penalty = format!("penalty_mm={}", rule.penalty_mm);
        [named.name.to_owned(), dilations, ignored, penalty, named.about.to_owned()]
    });
    table::columns(&rows.collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use brainmvp_cohort::identity::{Aliases, of_word};

    use super::*;

    #[test]
    fn every_section_has_rows() {
        for section in SECTIONS {
            assert!((section.rows)().lines().count() > 1, "{}", section.name);
        }
    }

    #[test]
    fn the_words_stand_for_their_modality() {
        for modality in Modality::ALL {
            for word in common_words(modality) {
                assert_eq!(of_word(word, &Aliases::default()).modality(), Some(modality), "{word}");
            }
        }
    }
}
