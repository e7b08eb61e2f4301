//! Damaged studies and results: an error or other content, within a second and little memory.

#![allow(clippy::unwrap_used, reason = "a failing test may panic")]

use std::path::Path;

use brainmvp_fuzz::{Memory, Place, Seed, fuzz};
use brainmvp_study::Scored;
use brainmvp_study::outcome::{
    Classified, ClassifyOutcome, Outcome, RegressOutcome, Regressed, SegmentOutcome,
};
use brainmvp_study::run::CellResult;
use brainmvp_study::status::Status;
use brainmvp_study::studies::{Studies, StudyFile};

#[global_allocator]
static MEMORY: brainmvp_fuzz::Counting = brainmvp_fuzz::Counting;

/// A value of JSON or TOML takes many times the two bytes that it may have in the file.
const TEXT: Memory = Memory { fixed: 1 << 20, for_each_byte: 400 };

fn recipe(name: &str) -> Seed {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs").join(name);
    Seed::new(std::fs::read(path).unwrap())
}

#[test]
fn studies() {
    let seeds = [recipe("study-smoke.toml"), recipe("study-lgg.toml"), recipe("study-lgg-sizing.toml")];
    fuzz("settings of study (TOML)", &seeds, TEXT, |bytes| {
        let text = std::str::from_utf8(bytes).map_err(|error| error.to_string())?;
        let read = StudyFile::parse(text, Path::new("/studies")).map_err(|error| error.to_string())?;
        drop(read);
        Ok(())
    });
}

const SMALL: &str = "kind = 'comparison'\nscale = 'tiny'\n[phantoms]\ncases = 4\n[compute]\npretrain_voxels = 8000\n\
                     finetune_steps = 2\n[tasks.segmentation]\ntask.kind = 'segment'\n";

fn outcomes() -> [Outcome; 3] {
    let rows = serde_json::json!([
        {"case": "a", "region": "WT", "empty": "neither", "values": {"dice": 0.5, "hd95_mm": "NaN"}},
        {"case": "a", "region": "ET", "empty": "both", "values": {"dice": null, "hd95_mm": 2.5}},
        {"case": "b", "region": "WT", "empty": "neither", "values": {"dice": 0.75, "hd95_mm": 1}}
    ]);
    let classified =
        |case: &str, class| Classified { case: case.to_owned(), probabilities: vec![0.25, 0.75], class };
    let regressed = |case: &str, truth| Regressed { case: case.to_owned(), predicted: 0.5, truth };
    [
        Outcome::Segment(SegmentOutcome { rows: serde_json::from_value(rows).unwrap() }),
        Outcome::Classify(ClassifyOutcome {
            classes: ["x", "y"].map(str::to_owned).into(),
            cases: vec![classified("a", 0), classified("b", 1)],
        }),
        Outcome::Regress(RegressOutcome {
            target: "age".to_owned(),
            cases: vec![regressed("a", 0.25), regressed("b", 2.0)],
        }),
    ]
}

/// The result of a cell is read, and every number of the tables is made of it.
#[test]
fn results_of_cells() {
    let work = Place::new("work");
    let file = StudyFile::parse(SMALL, Path::new("/studies")).unwrap();
    let all = Studies::new(file, &work.folder().join("work")).unwrap().all;
    let study = &all[0];
    let folder = study.folder().join(study.name_of(&study.plan.cells[0]));
    std::fs::create_dir_all(&folder).unwrap();
    let seeds = outcomes().map(|outcome| {
        let result = CellResult {
            identity: "0a".to_owned(),
            pretraining: None,
            finetune_steps: 2,
            seconds: 1.5,
            scored: vec![Scored { modalities: None, fill: None, outcome }],
        };
        Seed::new(serde_json::to_vec_pretty(&result).unwrap())
    });
    fuzz("results of a study (result.json)", &seeds, TEXT, |bytes| {
        std::fs::write(folder.join("result.json"), bytes).unwrap();
        let cells = study.progress().map_err(|error| error.to_string())?;
        Status::of(study, &cells).map_err(|error| error.to_string())?;
        for Scored { outcome, .. } in
            cells.iter().filter_map(|cell| cell.result.as_ref()).flat_map(|result| &result.scored)
        {
            numbers_of(outcome);
            for other in outcomes() {
                numbers_of(&outcome.clone().and(other));
            }
            numbers_of(&outcome.clone().and(outcome.clone()));
        }
        Ok(())
    });
}

/// Classes that there are not, or probabilities of others.
#[test]
fn results_that_contradict_themselves() {
    for (class, probabilities) in [(2, "0.25, 0.75"), (0, "1"), (1, "0, 0, 1")] {
        let text = format!(
            r#"{{"outcome": {{"task": "classify", "classes": ["x", "y"], "cases": [{{"case": "a", "probabilities": [{probabilities}], "class": {class}}}]}}}}"#
        );
        let message = serde_json::from_str::<Scored>(&text).unwrap_err().to_string();
        assert!(message.contains("case 'a' has not one of 2 classes"), "{message}");
    }
}

fn numbers_of(outcome: &Outcome) {
    for measure in outcome.measures() {
        drop((outcome.value(&measure), outcome.by_case(&measure)));
    }
    drop((outcome.cases(), outcome.rows()));
}
