//! `brainmvp split`

use std::path::PathBuf;

use brainmvp_cohort::check::Report;
use brainmvp_cohort::{Split as Part, SplitOptions};
use clap::Args;

use super::{counted, load_cohort};
use crate::argument;
use crate::failure::bad_input;
use crate::ui::Ui;

/// Divide the cases of a cohort into training, validation and test
///
/// All cases of a subject stay together, and every class of every site of a data set is divided separately. A case that already
/// has a split keeps it. With the same seed, a subject keeps its rank in the random order whatever other cases there
/// are. Neither pre-training nor fine-tuning uses test cases.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  brainmvp split cohort.json --test 0.2 --out cohort.json
  brainmvp split cohort.json --test 0.2 --validation 0.1 --seed 7 --out divided.json
  brainmvp check cohort.json --json report.json && brainmvp split cohort.json --test 0.2 --check report.json --out cohort.json")]
pub(crate) struct Split {
    /// Cohort file
    cohort: PathBuf,
    /// Share of the subjects for testing, 0 to 1
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, value_parser = argument::share)]
    test: f64,
    /// Share of the subjects for validation, 0 to 1
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, value_parser = argument::share)]
    validation: f64,
    /// Seed of the random division
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Report of `check --json`: subjects that show the same head there count as one, whatever their names
    #[arg(long, value_name = "FILE")]
    check: Option<PathBuf>,
    /// Cohort file to write; may be the same file
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

impl Split {
    pub(crate) fn run(self, ui: &Ui) -> anyhow::Result<()> {
        if self.test == 0.0 && self.validation == 0.0 {
            return Err(bad_input("give a share for --test, --validation or both"));
        }
        let mut cohort = load_cohort(&self.cohort)?;
        argument::prepare_output_file(&self.out)?;
        let report = self.check.as_deref().map(Report::load).transpose()?;
        let same_heads = report.map(|report| report.same_heads).unwrap_or_default();
        if !same_heads.is_empty() {
            ui.note(format!(
                "{} of cases with the same head are kept together",
                counted(same_heads.len(), "pair")
            ));
        }
        let Self { seed, validation, test, .. } = self;
        cohort.split(&SplitOptions { seed, validation, test, same_heads })?;
        cohort.save(&self.out)?;
        for (part, name) in
            [(Part::Training, "training"), (Part::Validation, "validation"), (Part::Test, "test")]
        {
            let count = cohort.cases.iter().filter(|case| case.split == Some(part)).count();
            ui.result(format!("{name:10} {}", counted(count, "case")))?;
        }
        Ok(())
    }
}
