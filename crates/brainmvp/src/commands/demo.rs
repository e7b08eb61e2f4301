//! `brainmvp demo`

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use brainmvp_cohort::{Cohort, Split};
use brainmvp_phantom::{DiseaseMix, PhantomConfig, write_cohort};
use brainmvp_view::run_summary::RunSummary;
use brainmvp_volume::{nifti, write_atomically};
use clap::builder::RangedU64ValueParser;
use clap::{Args, Parser as _};

use super::counted;
use crate::argument;
use crate::cli::Cli;
use crate::failure::{Advise as _, bad_input};
use crate::progress::Progress;
use crate::ui::Ui;

/// The settings of pre-training.
const RECIPE: &str = include_str!("../../demo.toml");

/// Fine-tuning steps, if pre-training takes as many.
const FINETUNE_STEPS: u64 = 140;
/// The settings of fine-tuning. The phantoms' diseases have different lesions, so all of them are one region.
const FINETUNE: [&str; 6] = [
    "task.regions=[{ name = \"lesion\", labels = [1, 2, 3] }]",
    "patch.size=48",
    "train.batch_size=2",
    "optimizer.schedule.learning_rate=3e-3",
    "data.validation_share=0",
    "checkpoint.every_steps=70",
];
/// The share of the training cases whose labels are used.
const FEW_LABELS: &str = "0.5";
const METRICS: &str = "dice,hd95_mm,sensitivity,precision,volume_mm3,truth_volume_mm3";

/// Run everything without any data: phantoms, preprocessing, pre-training, fine-tuning with few labels, prediction, a report
///
/// Everything is written below one folder. After making the phantoms, the demo runs commands that it prints. A quarter of the phantoms
/// with lesions is kept for the test, and the network is small. With the same folder, the demo continues where it stopped.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  brainmvp demo
  brainmvp demo --out /tmp/demo --cases 4 --size 48 --steps 20")]
pub(crate) struct Demo {
    /// Folder to write to
    #[arg(long, value_name = "DIR", default_value = "demo")]
    out: PathBuf,
    /// Number of phantoms
    #[arg(long, value_name = "N", default_value_t = 16,
        value_parser = RangedU64ValueParser::<usize>::new().range(1..=9999))]
    cases: usize,
    /// Number of voxels along a phantom's longest side
    #[arg(long, value_name = "N", default_value_t = 96)]
    size: usize,
    /// Number of pre-training steps
    #[arg(long, value_name = "N", default_value_t = 1400, value_parser = RangedU64ValueParser::<u64>::new().range(1..))]
    steps: u64,
}

impl Demo {
    pub(crate) fn run(self, ui: &Ui) -> anyhow::Result<()> {
        argument::refuse_file_as_folder(&self.out)?;
        let (cohort, spacing_mm) = self.phantoms(ui)?;
        self.pretrain(&cohort, spacing_mm, ui)?;
        if cohort.cases.iter().any(|case| case.split == Some(Split::Test)) {
            self.downstream(ui)?;
        } else {
            ui.note("note: no phantom with a lesion is kept for testing, so that nothing is fine-tuned");
        }
        let (all, page) = (self.out.display().to_string(), self.at("report.html"));
        execute(&["report", &all, "--out", &page], ui)?;
        ui.note(format!("next: open {page}, or look at everything with `brainmvp view {all} --open`"));
        Ok(())
    }

    /// The path of something that the demo makes.
    fn at(&self, name: &str) -> String {
        self.out.join(name).display().to_string()
    }

    /// Prepares the phantoms on their own grid (resampling them to 1 mm would only make the demo slower), pre-trains on them, and
    /// writes the templates.
    fn pretrain(&self, cohort: &Cohort, spacing_mm: [f64; 3], ui: &Ui) -> anyhow::Result<()> {
        let (phantoms, cache, run) = (self.at("phantoms/cohort.json"), self.at("cache"), self.at("run"));
        let (recipe, templates) = (self.at("demo.toml"), self.at("templates"));
        let spacing = spacing_mm.map(|mm| mm.to_string()).join(",");
        execute(&["preprocess", &phantoms, "--out", &cache, "--spacing", &spacing], ui)?;
        write_atomically(Path::new(&recipe), |file| file.write_all(RECIPE.as_bytes()))?;
        let epochs = self.epochs(cohort);
        let length = [
            format!("train.max_steps={}", self.steps),
            format!("train.epochs={epochs}"),
            // At three fifths of the run, as in the paper.
            format!("method.contrast_from_epoch={}", epochs * 3 / 5),
        ];
        let mut pretrain = vec!["pretrain", "--data", &cache, "--out", &run, "--config", &recipe];
        pretrain.extend(length.iter().flat_map(|setting| ["--set", setting.as_str()]));
        pretrain.push("--resume");
        let before = RunSummary::read(Path::new(&run)).step;
        execute(&pretrain, ui)?;
        if RunSummary::read(Path::new(&run)).step != before {
            self.discard(&["segmenter", "predictions"])?;
        }
        execute(&["templates", &run, "--out", &templates, "--data", &cache], ui)
    }

    /// Removes what was made from an earlier state of the pre-training run.
    fn discard(&self, names: &[&str]) -> anyhow::Result<()> {
        let folders = names.iter().map(|name| self.out.join(name)).filter(|folder| folder.is_dir());
        for folder in folders {
            std::fs::remove_dir_all(&folder).with_context(|| folder.display().to_string())?;
        }
        Ok(())
    }

    /// Fine-tunes with few labels, and predicts and scores cases that the network has not seen.
    fn downstream(&self, ui: &Ui) -> anyhow::Result<()> {
        let (phantoms, cache, run) = (self.at("phantoms/cohort.json"), self.at("cache"), self.at("run"));
        let (segmenter, predictions) = (self.at("segmenter"), self.at("predictions"));
        let scores = self.at("predictions/metrics.json");
        let steps = format!("train.steps={}", self.steps.min(FINETUNE_STEPS));
        let mut finetune = vec!["finetune", "segment", "--data", &cache, "--init", &run, "--out", &segmenter];
        finetune.extend(["--labels-fraction", FEW_LABELS]);
        let settings = FINETUNE.iter().copied().chain([steps.as_str()]);
        finetune.extend(settings.flat_map(|setting| ["--set", setting]));
        finetune.push("--resume");
        execute(&finetune, ui)?;
        let of_test = ["--split", "test"];
        let predict =
            ["predict", "--model", &segmenter, "--in", &phantoms, "--out", &predictions, "--resume"];
        execute(&[&predict[..], &of_test].concat(), ui)?;
        let evaluate = ["evaluate", "--pred", &predictions, "--truth", &phantoms, "--out", &scores];
        execute(&[&evaluate[..], &of_test, &["--metrics", METRICS]].concat(), ui)
    }

    /// The epochs of the schedule: as many as the steps need. A run of fewer steps can be continued with more.
    fn epochs(&self, cohort: &Cohort) -> u64 {
        const LEAST: u64 = 210;
        const BATCH_SIZE: u64 = 2;
        let cases = cohort.cases.iter().filter(|case| case.split != Some(Split::Test)).count();
        (self.steps.saturating_mul(BATCH_SIZE)).div_ceil(cases.max(1) as u64).max(LEAST)
    }

    /// The phantom cohort, made if it does not exist, and the spacing of its grid.
    fn phantoms(&self, ui: &Ui) -> anyhow::Result<(Cohort, [f64; 3])> {
        let config = PhantomConfig {
            cases: self.cases,
            size: self.size,
            missing_rate: 0.2,
            lesions: DiseaseMix::MIXED,
            ..PhantomConfig::default()
        };
        config.check()?;
        let folder = self.out.join("phantoms");
        let file = folder.join("cohort.json");
        let cohort = if file.is_file() {
            Cohort::load(&file)?
        } else {
            let progress = Progress::new(ui, "phantoms", "cases", config.cases);
            let mut cohort = write_cohort(&config, &folder, &|done| progress.advance(done))?;
            progress.finish();
            keep_for_test(&mut cohort);
            cohort.save(&file)?;
            cohort
        };
        let shape = config.grid().shape;
        for path in cohort.cases.first().into_iter().flat_map(|case| case.images.values()) {
            if nifti::read_header(path)?.shape() != shape {
                let reason = format!("{}: contains phantoms of another size", folder.display());
                return Err(bad_input(reason)).advise(|_| "choose another folder with --out".to_owned());
            }
        }
        if cohort.cases.len() != self.cases {
            let found = counted(cohort.cases.len(), "phantom");
            return Err(bad_input(format!(
                "{}: contains {found}, not {}; choose another folder with --out",
                folder.display(),
                self.cases
            )));
        }
        Ok((cohort, config.grid().affine.spacing_mm()))
    }
}

/// Runs a command as if it had been typed, after printing it.
fn execute(words: &[&str], ui: &Ui) -> anyhow::Result<()> {
    let shown = words
        .iter()
        .map(|word| if word.contains([' ', '[']) { format!("'{word}'") } else { (*word).to_owned() });
    ui.note(format!("\n$ brainmvp {}", shown.collect::<Vec<_>>().join(" ")));
    Cli::try_parse_from(std::iter::once(&"brainmvp").chain(words))?.command.run(ui)
}

/// Keeps every fourth case with a lesion for the test, or the last if there are fewer than four.
fn keep_for_test(cohort: &mut Cohort) {
    let mut labelled: Vec<_> = cohort.cases.iter_mut().filter(|case| case.label.is_some()).collect();
    let count = labelled.len();
    for (number, case) in labelled.iter_mut().enumerate() {
        let is_last = number + 1 == count;
        if number % 4 == 3 || (count < 4 && count > 1 && is_last) {
            case.split = Some(Split::Test);
        }
    }
}
