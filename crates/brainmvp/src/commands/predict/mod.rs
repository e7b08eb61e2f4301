//! `brainmvp predict`

mod record;

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Context as _;
use brainmvp_cohort::{Case, Split};
use brainmvp_objectives::downstream::Missing;
use brainmvp_train::finetune::{CasePrediction, CasePredictor, Output, Predictor, TaskConfig};
use brainmvp_train::new_case::CaseError;
use brainmvp_train::seen::{Seen, SeenIndex};
use clap::Args;

use self::record::{Predicted, Record, Settings};
pub(super) use self::record::{SeenCases, Told};
use super::counted;
use super::inference::{Inputs, Options, go_on, pipeline, reason, tell_laid};
use crate::argument;
use crate::failure::{Advise as _, bad_input, without_error_numbers};
use crate::progress::Progress;
use crate::ui::Ui;

/// Apply a fine-tuned network to new cases: a label map, a class or a number for each
///
/// Cases are prepared like the training cases of the run, and may lack modalities. A label map is written as
/// DIR/CASE.nii.gz in the space of the case's own images, with their size, affine and codes (if they differ, with those
/// of the image that preprocessing uses as the reference). Classes and numbers are written to DIR/predictions.csv.
/// DIR/predictions.json records the inputs and settings. A case that cannot be predicted is named and left out.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  brainmvp predict --model segmenter --in cohort.json --out predictions
  brainmvp predict --model segmenter --in p1_t1.nii.gz p1_t1c.nii.gz p1_flair.nii.gz --out predictions --probabilities
  brainmvp predict --model segmenter --in t1=scan7.nii.gz --out predictions --mirror --overlap 0.75
  brainmvp predict --model segmenter --checkpoint last --in cohort.json --out predictions-last
  brainmvp predict --model classifier --in cohort.json --out classes --resume
  brainmvp predict --model regressor --in cohort.json --out numbers

Exit codes: 0 every case is predicted, 1 failed or interrupted (--resume continues), 2 some cases could not be predicted (the others were),
or bad input.")]
pub(crate) struct Predict {
    /// Folder of a fine-tuning run, or a file of its weights
    #[arg(long, value_name = "RUN|FILE")]
    model: PathBuf,
    /// Cohort file, a folder of cases, or the images of one case: FILE, whose name contains its modality, or MODALITY=FILE
    #[arg(long = "in", value_name = "COHORT|DIR|FILE", required = true, num_args = 1..)]
    inputs: Vec<PathBuf>,
    /// Only the cases of one split of the cohort: training, validation or test
    #[arg(long, value_name = "SPLIT")]
    split: Option<Split>,
    /// Folder to write to
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Also write the probabilities of each region, as DIR/probabilities/CASE_REGION.nii.gz
    #[arg(long)]
    probabilities: bool,
    /// Substitute for a modality that a case lacks: its template, or 0 [default: as in the run]
    #[arg(long, value_parser = argument::choice(&[("template", Missing::Template), ("zero", Missing::Zero)]))]
    missing: Option<Missing>,
    #[command(flatten)]
    options: Options,
    /// Keep existing predictions with the same model, settings and files
    #[arg(long)]
    resume: bool,
}

impl Predict {
    pub(crate) fn run(self, ui: &Ui) -> anyhow::Result<()> {
        argument::refuse_file_as_folder(&self.out)?;
        let inputs = Inputs::read(&self.inputs, self.split, ui)?;
        let predictor = self.options.open(&self.model, self.missing, ui)?;
        let task = &predictor.model.config.task;
        if let Some(reason) = task.kind.no_maps().filter(|_| self.probabilities) {
            return Err(bad_input(format!("--probabilities: {reason}")));
        }
        let notes = task.notes()?;
        let pipeline = pipeline(&predictor.model.preparation, ui)?;
        std::fs::create_dir_all(&self.out).with_context(|| self.out.display().to_string())?;
        let mut record = Record::begin(&self.out, task.kind, self.settings(&predictor), self.resume)?;
        record.notes.extend(notes);
        for unusable in &inputs.unusable {
            record.quarantined.insert(unusable.case.clone(), unusable.reason.clone());
        }
        let seen = Seen::of_model(&self.model)?;
        if seen.is_none() {
            let model = self.model.display();
            record
                .notes
                .push(format!("{model} does not say what it was trained on, so overlaps cannot be found"));
        }
        record.notes.iter().for_each(|note| ui.note(format!("note: {note}")));
        let work = Work {
            out: &self.out,
            maps: self.probabilities,
            task,
            cases: CasePredictor::new(&predictor, &pipeline),
            seen: seen.as_ref().map(Seen::index),
        };
        let kept = work.all(&inputs.cases, &mut record, ui)?;
        self.tell(&record, task, kept, ui)
    }

    fn settings(&self, predictor: &Predictor) -> Settings {
        let model = &predictor.model;
        Settings {
            model: self.model.clone(),
            step: model.step,
            modalities: model.inputs.channels.clone(),
            missing: model.inputs.missing,
            task: model.config.task.settings(),
            windows: predictor.windows.clone(),
            mirror: predictor.mirror.clone(),
            precision: self.options.precision().clone(),
            probabilities: self.probabilities,
        }
    }

    /// Prints the outcome, names each case that failed, and decides whether that is a success.
    fn tell(&self, record: &Record, task: &TaskConfig, kept: usize, ui: &Ui) -> anyhow::Result<()> {
        for (case, reason) in &record.quarantined {
            let reason = without_error_numbers(reason);
            ui.alert(format!("warning: case '{case}' is left out: {reason}"));
        }
        tell_seen(record, ui);
        let (done, failed) = (record.cases.len(), record.quarantined.len());
        let out = self.out.display();
        if task.kind.columns(&record.settings.task).is_none() {
            ui.result(format!("{out}: {} predicted, {kept} kept, {failed} left out", done - kept))?;
        } else {
            for (case, predicted) in &record.cases {
                ui.result(format!("{case}: {}", task.kind.shown(&record.settings.task, &predicted.written)))?;
            }
            ui.result(format!("{out}/predictions.csv: {done} predicted, {failed} left out"))?;
        }
        if failed == 0 {
            return Ok(());
        }
        let all = counted(done + failed, "case");
        Err(bad_input(format!("{failed} of {all} could not be predicted")))
            .advise(|_| format!("fix the files named above; {out}/predictions.json has the reasons too"))
    }
}

/// Names the cases that the network has seen.
fn tell_seen(record: &Record, ui: &Ui) {
    let mut count = 0;
    for (case, predicted) in &record.cases {
        let sightings = predicted.seen.as_deref().unwrap_or_default();
        if let Some(first) = sightings.first() {
            count += 1;
            ui.alert(format!("warning: case '{case}' was seen before, as {first}"));
        }
    }
    if count > 0 {
        let all = counted(record.cases.len(), "case");
        ui.alert(format!(
            "warning: the network has seen {count} of {all}: scores on them are too optimistic"
        ));
    }
}

/// The work on every case.
struct Work<'a> {
    out: &'a Path,
    /// Whether maps of probabilities are written.
    maps: bool,
    task: &'a TaskConfig,
    cases: CasePredictor<'a>,
    /// What the network was trained on, if that is known.
    seen: Option<SeenIndex<'a>>,
}

impl Work<'_> {
    /// Predicts all cases without a prediction, one after the other, each with all threads. Returns how many already had
    /// one.
    fn all(&self, cases: &[Case], record: &mut Record, ui: &Ui) -> anyhow::Result<usize> {
        let progress = Progress::new(ui, "predict", "cases", cases.len());
        let mut kept = 0;
        record.cases.retain(|name, _| cases.iter().any(|case| case.id.as_str() == name));
        for (number, case) in cases.iter().enumerate() {
            let name = case.id.as_str();
            if record.has(self.out, case) {
                kept += 1;
            } else {
                record.cases.remove(name);
                match self.one(case, &progress, ui) {
                    Ok(predicted) => drop(record.cases.insert(name.to_owned(), predicted)),
                    Err(error) => match reason(error) {
                        Ok(reason) => drop(record.quarantined.insert(name.to_owned(), reason)),
                        Err(error) => {
                            record.save(self.out)?;
                            return Err(error)
                                .advise(|_| "continue with the same command and --resume".to_owned());
                        }
                    },
                }
                record.save(self.out)?;
            }
            progress.advance(number + 1);
        }
        record.save(self.out)?;
        if let Some(columns) = self.task.kind.columns(&record.settings.task) {
            record.save_csv(self.out, self.task.kind, columns)?;
        }
        progress.finish();
        Ok(kept)
    }

    fn one(&self, case: &Case, progress: &Progress, ui: &Ui) -> Result<Predicted, CaseError> {
        let started = Instant::now();
        let found = self.cases.predict(case, |done, total| {
            progress.message(format!("{}: window {}/{total}", case.id, done + 1));
            go_on()
        })?;
        let CasePrediction { case: prepared, missing, templates, prediction } = found;
        if let Some(laid) = &templates {
            tell_laid(laid, case.id.as_str(), ui);
        }
        let output = Output { id: &case.id, case: &prepared, folder: self.out, maps: self.maps };
        Ok(Predicted {
            inputs: record::hashes(case)?,
            missing,
            templates: templates.map(|laid| laid.to_string()),
            written: prediction.write(self.task, &output)?,
            seen: self.seen.as_ref().map(|seen| seen.find_case(&prepared.source)),
            seconds: started.elapsed().as_secs_f64(),
        })
    }
}
