//! The recipes of the repository: that they are what the paper's tasks need, and that commands take them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use brainmvp_cohort::{LabelScheme, PublicDataSet, Purpose, public_data_set};
use brainmvp_metrics::Region;
use brainmvp_prep::{PrepConfig, PrepSettings};
use brainmvp_train::config::{
    FinetuneConfig, FinetunePreset, ModelConfig, ModelPreset, PretrainConfig, RunConfig as _, Stage, TaskKind,
};

use crate::program::Place;

/// Each recipe of a task, and the name of its data set.
const TASKS: [(&str, &str); 10] = [
    ("brats-ped", "brats2023-ped"),
    ("brats-met", "brats2023-met"),
    ("isles22", "isles22"),
    ("mrbrains13", "mrbrains13"),
    ("upenn-gbm", "upenn-gbm"),
    ("vsseg", "vsseg"),
    ("brats2018", "brats2018"),
    ("adni", "adni"),
    ("adhd200", "adhd200"),
    ("abide", "abide1"),
];

fn configs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs")
}

fn read(name: &str) -> String {
    std::fs::read_to_string(configs().join(name)).unwrap()
}

fn preparation(recipe: &str) -> PrepConfig {
    let settings: PrepSettings = toml::from_str(&Stage::Preprocess.of(recipe).unwrap()).unwrap();
    settings.config().unwrap()
}

#[test]
fn every_task_of_the_paper_has_one() {
    for (name, data_set) in TASKS {
        let recipe = read(&format!("finetune-{name}.toml"));
        let set = public_data_set(data_set).unwrap();
        let prepared = preparation(&recipe);
        assert_eq!(prepared.spacing_mm, [set.spacing_mm; 3], "{name}");
        assert_eq!(prepared.percentiles, [5.0, 95.0], "{name}");
        let text = Stage::Finetune.of(&recipe).unwrap();
        let config = FinetuneConfig::parse(&text).unwrap();
        assert_eq!(config.preset, FinetunePreset::Paper, "{name}");
        // It starts from what was pre-trained as the paper prepares its cases.
        let differences = PrepConfig::default().differences(&prepared).into_iter();
        let aspects: BTreeSet<_> = differences.map(|difference| difference.aspect).collect();
        assert_eq!(
            config.init.accept_differences.iter().copied().collect::<BTreeSet<_>>(),
            aspects,
            "{name}"
        );
        agrees(&config, set);
        let decay = |network: ModelPreset| {
            let network = ModelConfig::of(network).network;
            FinetuneConfig::resolve(&text, &[], Some(&network)).unwrap().optimizer.weight_decay
        };
        assert_eq!(
            ["uniformer-small", "unet3d"].map(|name| decay(ModelPreset::named(name).unwrap())),
            [1e-4, 1e-5],
            "{name}"
        );
    }
    let written = std::fs::read_dir(configs()).unwrap().map(|entry| entry.unwrap().file_name());
    let tasks = written.filter(|name| name.to_string_lossy().starts_with("finetune-"));
    assert_eq!(tasks.count(), TASKS.len());
}

/// Modalities, regions and classes are those of the data set.
fn agrees(config: &FinetuneConfig, set: &PublicDataSet) {
    let task = &config.task;
    let modalities: BTreeSet<_> = task.modalities.iter().collect();
    assert_eq!(modalities, set.modalities.iter().collect(), "{}", set.name);
    match set.purpose {
        Purpose::Segmentation => {
            assert_eq!((task.kind, config.train.epochs), (TaskKind::Segment, 500), "{}", set.name);
            let scheme: LabelScheme = set.label_scheme.unwrap().parse().unwrap();
            let regions: Vec<_> =
                task.segment.regions.iter().map(|r| (r.name(), r.labels().clone())).collect();
            assert_eq!(regions, scheme.regions(), "{}", set.name);
        }
        Purpose::Classification => {
            let batch = config.train.batch_size * config.train.accumulate;
            assert_eq!(
                (task.kind, config.train.epochs, batch),
                (TaskKind::Classify, 200, 64),
                "{}",
                set.name
            );
            let mut known: BTreeSet<&str> = set.classes.iter().map(|(_, class)| *class).collect();
            // The paper tells MCI from NC.
            known.remove("AD");
            assert_eq!(task.classify.classes.iter().map(String::as_str).collect::<BTreeSet<_>>(), known);
        }
        Purpose::Pretraining => panic!("{} is for pre-training", set.name),
    }
}

#[test]
fn the_table_of_differences_has_keys_of_preprocess() {
    let page = std::fs::read_to_string(configs().join("../docs/differences.md")).unwrap();
    let table = page.split("| Default of `preprocess` |").nth(1).unwrap();
    let rows: Vec<&str> = table.lines().skip(2).take_while(|line| line.starts_with('|')).collect();
    assert!(!rows.is_empty());
    for row in rows {
        let code: Vec<&str> = row.split('`').skip(1).step_by(2).collect();
        let [paper, _, ours, key] = code[..] else { panic!("{row}") };
        let with = |value: &str| {
            let settings: PrepSettings = toml::from_str(&format!("{key} = {value}")).unwrap();
            settings.config().unwrap()
        };
        assert_eq!(with(ours), PrepConfig::default(), "{row}");
        assert_eq!(with(paper) == PrepConfig::default(), paper == ours, "{row}");
    }
}

#[test]
fn one_recipe_takes_cases_from_files_to_labels() {
    let recipe = read("both-stages.toml");
    assert_eq!(preparation(&recipe), PrepConfig::default(), "as the pre-training of the paper");
    PretrainConfig::parse(&Stage::Pretrain.of(&recipe).unwrap()).unwrap();
    let place = Place::new();
    place.write("recipe.toml", &recipe);
    let phantom =
        ["phantom", "--out", "phantom", "--cases", "4", "--size", "32", "--lesions", "glioma", "--quiet"];
    place.run(&phantom).succeeds();
    let small = ["model.preset=tiny", "patch.size=16", "train.batch_size=2", "train.max_steps=1"];
    let train = |command: &[&str], out: &str| {
        let mut typed = [command, &["--data", "cache", "--out", out, "--config", "recipe.toml"]].concat();
        for setting in small {
            typed.extend(["--set", setting]);
        }
        place.run(&typed)
    };
    let preprocess = ["preprocess", "phantom/cohort.json", "--out", "cache", "--config", "recipe.toml"];
    // An option goes over the recipe.
    place.run(&[&preprocess[..], &["--spacing", "6", "--quiet"]].concat()).succeeds();
    let manifest = place.json("cache/manifest.json");
    assert_eq!(manifest["preparation"]["config"]["spacing_mm"], serde_json::json!([6.0, 6.0, 6.0]));
    assert_eq!(manifest["preparation"]["config"]["percentiles"], serde_json::json!([1.0, 99.0]));
    train(&["pretrain"], "run").succeeds();
    train(&["finetune", "segment", "--init", "run"], "segmenter").succeeds();
    let stored = std::fs::read_to_string(place.path("segmenter/config.toml")).unwrap();
    assert!(stored.contains("preset = \"paper\"") && stored.contains("labelled_share = 0.0"), "{stored}");
    let predict = ["predict", "--model", "segmenter", "--in", "phantom/cohort.json", "--out", "predictions"];
    place.run(&predict).succeeds();
}

#[test]
fn what_is_no_recipe_for_a_command_is_said() {
    let place = Place::with_phantom(1);
    let preprocess = |recipe: &str| {
        place.write("recipe.toml", recipe);
        place.run(&["preprocess", "phantom/cohort.json", "--out", "cache", "--config", "recipe.toml"])
    };
    preprocess("[finetune]\n").fails(2, &["recipe.toml", "[finetune], but no [preprocess]"]);
    preprocess("[preprocess]\nspacing = 2\n").fails(2, &["recipe.toml", "spacing"]);
    preprocess("spacing_mm = 2\n[finetune]\n").fails(2, &["'spacing_mm' is outside the tables [finetune]"]);
    preprocess("[preprocess]\npercentiles = [95, 5]\n").fails(2, &["percentiles"]);
    // A file of this stage alone.
    preprocess("spacing_mm = 6\n").succeeds();
    place.write("recipe.toml", &read("finetune-adni.toml"));
    let typed = ["finetune", "segment", "--data", "cache", "--init", "none", "--out", "run"];
    place
        .run(&[&typed[..], &["--config", "recipe.toml"]].concat())
        .fails(2, &["task.kind is classify, not segment"]);
    place
        .run(&["pretrain", "--data", "cache", "--out", "run", "--config", "recipe.toml"])
        .fails(2, &["recipe.toml", "but no [pretrain]"]);
}

#[test]
fn regions_have_a_way_on_where_data_sets_differ() {
    let place = Place::new();
    let phantom = ["phantom", "--out", "phantom", "--cases", "12", "--size", "32", "--lesions", "mixed"];
    place.run(&[&phantom[..], &["--quiet"]].concat()).succeeds();
    let preprocess = ["preprocess", "phantom/cohort.json", "--out", "cache", "--spacing", "6", "--quiet"];
    place.run(&preprocess).succeeds();
    let mut typed =
        vec!["finetune", "segment", "--data", "cache", "--init", "none", "--out", "run", "--quiet"];
    for setting in ["model.preset=tiny", "patch.size=16", "train.max_steps=1"] {
        typed.extend(["--set", setting]);
    }
    let refused = place.run(&typed).fails(2, &["have different regions", "--set 'task.regions=["]);
    // The option of the message, as it is typed.
    let option = refused.stderr.split("--set '").nth(1).unwrap().split('\'').next().unwrap();
    let regions = option.strip_prefix("task.regions=").unwrap();
    let parsed: toml::Table = format!("regions = {regions}").parse().unwrap();
    let parsed: Vec<Region> = parsed["regions"].clone().try_into().unwrap();
    assert_eq!((parsed.len(), parsed[0].name()), (1, "foreground"));
    typed.extend(["--set", option]);
    place.run(&typed).succeeds();
    // What was trained is what is scored, whatever the data sets call it.
    let predict = ["predict", "--model", "run", "--in", "phantom/cohort.json", "--out", "pred", "--quiet"];
    place.run(&predict).succeeds();
    let evaluate = ["evaluate", "--pred", "pred", "--truth", "phantom/cohort.json", "--metrics", "dice"];
    place.run(&[&evaluate[..], &["--out", "scores.json"]].concat()).succeeds().prints(&["foreground"]);
}
