//! `brainmvp predict`

mod record;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Context as _;
use brainmvp_cohort::{Case, Split};
use brainmvp_infer::{LabelDecision, NativeSpace};
use brainmvp_prep::Pipeline;
use brainmvp_ssl::downstream::Missing;
use brainmvp_ssl::patch::PatchSource as _;
use brainmvp_train::finetune::{Prediction, Predictor, TaskNetwork, label_decision};
use brainmvp_train::placement::Placer;
use brainmvp_train::seen::{Seen, SeenIndex};
use brainmvp_volume::nifti::{self, WriteOptions};
use brainmvp_volume::{LabelMap, Volume};
use clap::Args;

use self::record::{Predicted, Record, Settings};
pub(super) use self::record::{SeenCases, Told};
use super::counted;
use super::inference::{Failure, Inputs, Options, Prepared, go_on, lay_templates, missing, pipeline};
use crate::argument;
use crate::failure::{Advise as _, bad_input, without_error_numbers};
use crate::progress::Progress;
use crate::scratch::Scratch;
use crate::ui::Ui;

/// Segment or classify new cases with a fine-tuned network
///
/// Cases are prepared like the training cases of the run, and may lack modalities. A label map is written as
/// DIR/CASE.nii.gz in the space of the case's own images, with their size, affine and codes (if they differ, with those
/// of the image that preprocessing uses as the reference). Classifications are written to DIR/predictions.csv.
/// DIR/predictions.json records the inputs and settings. A case that cannot be predicted is named and left out.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  brainmvp predict --model segmenter --in cohort.json --out predictions
  brainmvp predict --model segmenter --in p1_t1.nii.gz p1_t1c.nii.gz p1_flair.nii.gz --out predictions --probabilities
  brainmvp predict --model segmenter --in t1=scan7.nii.gz --out predictions --mirror --overlap 0.75
  brainmvp predict --model segmenter --checkpoint last --in cohort.json --out predictions-last
  brainmvp predict --model classifier --in cohort.json --out classes --resume

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

/// The folder of probabilities within that of the predictions, so that they are not taken for label maps.
pub(super) const PROBABILITIES: &str = "probabilities";

impl Predict {
    pub(crate) fn run(self, ui: &Ui) -> anyhow::Result<()> {
        argument::refuse_file_as_folder(&self.out)?;
        let inputs = Inputs::read(&self.inputs, self.split, ui)?;
        let predictor = self.options.open(&self.model, self.missing, ui)?;
        let decision = match &predictor.model.network {
            TaskNetwork::Segmentation(_) => Some(decision(&predictor)?),
            TaskNetwork::Classification(_) if self.probabilities => {
                return Err(bad_input("--probabilities: a classification writes its probabilities anyway"));
            }
            TaskNetwork::Classification(_) => None,
        };
        let pipeline = pipeline(&predictor.model.preparation, ui)?;
        std::fs::create_dir_all(&self.out).with_context(|| self.out.display().to_string())?;
        let mut record = Record::begin(&self.out, self.settings(&predictor), self.resume)?;
        for group in decision.iter().flat_map(LabelDecision::indistinguishable) {
            let values: Vec<String> = group.iter().map(u16::to_string).collect();
            let (first, all) = (&values[0], values.join(", "));
            record.notes.push(format!(
                "the regions do not distinguish the label values {all}: {first} is written for all of them"
            ));
        }
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
        let scratch = Scratch::within(&self.out)?;
        let work = Work {
            out: &self.out,
            scratch: scratch.path(),
            probabilities: self.probabilities,
            predictor: &predictor,
            pipeline,
            placer: predictor.model.placer(None),
            decision,
            seen: seen.as_ref().map(Seen::index),
        };
        let kept = work.all(&inputs.cases, &mut record, ui)?;
        self.tell(&record, kept, ui)
    }

    fn settings(&self, predictor: &Predictor) -> Settings {
        let model = &predictor.model;
        Settings {
            model: self.model.clone(),
            step: model.step,
            modalities: model.inputs.channels.clone(),
            missing: model.inputs.missing,
            regions: model.config.task.regions.clone(),
            classes: model.config.task.classes.clone(),
            windows: predictor.windows.clone(),
            mirror: predictor.mirror.clone(),
            precision: self.options.precision().clone(),
            probabilities: self.probabilities,
        }
    }

    /// Prints the outcome, names each case that failed, and decides whether that is a success.
    fn tell(&self, record: &Record, kept: usize, ui: &Ui) -> anyhow::Result<()> {
        for (case, reason) in &record.quarantined {
            let reason = without_error_numbers(reason);
            ui.alert(format!("warning: case '{case}' is left out: {reason}"));
        }
        tell_seen(record, ui);
        let (done, failed) = (record.cases.len(), record.quarantined.len());
        let out = self.out.display();
        if record.settings.classes.is_empty() {
            ui.result(format!("{out}: {} predicted, {kept} kept, {failed} left out", done - kept))?;
        } else {
            for (case, predicted) in &record.cases {
                let class = predicted.likeliest(&record.settings.classes);
                ui.result(format!("{case}: {class} ({:.3})", predicted.classes[class]))?;
            }
            ui.result(format!("{out}/predictions.csv: {done} predicted, {failed} left out"))?;
        }
        if failed == 0 {
            return Ok(());
        }
        let all = counted(done + failed, "case");
        Err(bad_input(format!("{failed} of {all} could not be predicted")))
            .advise(|_| format!("fix the files named above; {out}/predictions.json names them too"))
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
    /// Folder for cases while they are predicted.
    scratch: &'a Path,
    probabilities: bool,
    predictor: &'a Predictor,
    pipeline: Pipeline,
    /// If there are templates.
    placer: Option<Placer<'a>>,
    /// Segmentation.
    decision: Option<LabelDecision>,
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
            if record.has(self.out, name, &case.images) {
                kept += 1;
            } else {
                record.cases.remove(name);
                match self.one(case, &progress, ui) {
                    Ok(predicted) => drop(record.cases.insert(name.to_owned(), predicted)),
                    Err(Failure::Case(reason)) => drop(record.quarantined.insert(name.to_owned(), reason)),
                    Err(Failure::Run(error)) => {
                        record.save(self.out)?;
                        return Err(error)
                            .advise(|_| "continue with the same command and --resume".to_owned());
                    }
                }
                record.save(self.out)?;
            }
            progress.advance(number + 1);
        }
        record.save(self.out)?;
        if self.decision.is_none() {
            record.save_csv(self.out)?;
        }
        progress.finish();
        Ok(kept)
    }

    fn one(&self, case: &Case, progress: &Progress, ui: &Ui) -> Result<Predicted, Failure> {
        let started = Instant::now();
        let missing = missing(case, self.predictor)?;
        let mut prepared = Prepared::new(case, &self.pipeline, self.scratch)?;
        let source = &mut prepared.source;
        let placer = self.placer.as_ref().filter(|_| self.predictor.model.inputs.fills(source.modalities()));
        let templates = placer.map(|placer| lay_templates(placer, source, ui)).transpose()?;
        let prediction = self.predictor.predict(&prepared.source, |done, total| {
            progress.message(format!("{}: window {}/{total}", case.id, done + 1));
            go_on()
        })?;
        let mut predicted = Predicted {
            inputs: case.images.clone(),
            missing,
            templates,
            label_map: None,
            probabilities: BTreeMap::new(),
            classes: BTreeMap::new(),
            seen: self.seen.as_ref().map(|seen| seen.find_case(&prepared.source)),
            seconds: 0.0,
        };
        match prediction {
            Prediction::Regions(regions) => {
                let written = self.write(case, &prepared, &prepared.volumes(regions), &mut predicted);
                written.map_err(Failure::Run)?;
            }
            Prediction::Classes(probabilities) => {
                let classes = self.predictor.model.config.task.classes.iter().cloned();
                predicted.classes = classes.zip(probabilities).collect();
            }
        }
        predicted.seconds = started.elapsed().as_secs_f64();
        Ok(predicted)
    }

    /// Writes the results of a segmentation for a case, the label map last: if it exists, so does everything else.
    fn write(
        &self,
        case: &Case,
        prepared: &Prepared,
        regions: &[Volume],
        predicted: &mut Predicted,
    ) -> anyhow::Result<()> {
        let Some(decision) = &self.decision else { return Ok(()) };
        let space = NativeSpace::new(regions, prepared.native)?;
        let (file_grid, geometry) = (prepared.header.grid, prepared.header.geometry());
        if self.probabilities {
            let folder = self.out.join(PROBABILITIES);
            std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
            for (number, region) in self.predictor.model.config.task.regions.iter().enumerate() {
                let name = format!("{}_{}.nii.gz", case.id, file_name(region.name()));
                let file = Path::new(PROBABILITIES).join(name);
                let options = WriteOptions {
                    description: format!("brainmvp: probability of {}", region.name()),
                    geometry: geometry.cloned(),
                    ..WriteOptions::default()
                };
                let probability = Volume::new(file_grid, space.probability(number).into_voxels());
                nifti::write(&self.out.join(&file), &probability, options)?;
                predicted.probabilities.insert(region.name().to_owned(), file);
            }
        }
        // Registration has moved the voxels for the prediction; in the file they keep their positions.
        let labels = LabelMap::new(file_grid, space.labels(decision)?.into_voxels());
        let file = PathBuf::from(format!("{}.nii.gz", case.id));
        nifti::write_labels_in(&self.out.join(&file), &labels, "brainmvp: predicted labels", geometry)?;
        predicted.label_map = Some(file);
        Ok(())
    }
}

/// How the regions of a segmentation become the label of a voxel.
pub(super) fn decision(predictor: &Predictor) -> anyhow::Result<LabelDecision> {
    Ok(label_decision(&predictor.model.config.task.regions)?)
}

/// A name made safe for use in a file name.
fn file_name(name: &str) -> String {
    let plain = |c: char| if c.is_alphanumeric() || matches!(c, '-' | '_' | '+') { c } else { '-' };
    name.chars().map(plain).collect()
}
