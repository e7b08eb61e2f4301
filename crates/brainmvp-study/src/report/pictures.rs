//! The best, the median and the worst test case of a segmentation, with what each arm made of them.

use brainmvp_objectives::patch::PatchSource as _;
use brainmvp_train::batches::{CaseSource, open_cases};
use brainmvp_train::trainer::Observer;
use brainmvp_volume::picture::{
    Colour, LABEL_COLOUR, PREDICTION_COLOUR, Picture, Plane, fullest_axial_slice,
};
use brainmvp_volume::{AtPath as _, LabelMap, Modality};

use crate::Result;
use crate::outcome::Outcome;
use crate::plan::Cell;
use crate::run::Study;
use crate::summary::Progressed;

/// The longer side of a slice, in pixels.
const SIDE: usize = 190;
/// A test case that is shown.
struct Shown<'a> {
    title: &'static str,
    case: String,
    value: String,
    /// The cell of the reference arm that it was scored in.
    cell: &'a Cell,
}

/// Cases that cannot be read were named when they were scored.
struct Unheard;

impl Observer for Unheard {
    fn warn(&self, _text: &str) {}
}

/// Draws a picture for each task whose predictions were kept, with all labels and the first seed.
///
/// # Errors
/// If a case or prediction cannot be read, or a picture cannot be written.
pub(super) fn draw(study: &Study, cells: &[Progressed<'_>]) -> Result<()> {
    let Some(&seed) = study.config.seeds.first() else { return Ok(()) };
    let most = study.config.fractions.iter().copied().fold(0.0, f64::max);
    for task in study.config.tasks.keys() {
        let of_task: Vec<&Progressed<'_>> = cells
            .iter()
            .filter(|c| c.cell.task == *task && c.cell.fraction == most && c.cell.seed == seed)
            .collect();
        let shown = chosen(study, &of_task);
        let mut rows = Vec::new();
        for shown in &shown {
            rows.extend(row(study, shown, &of_task)?);
        }
        if rows.is_empty() {
            continue;
        }
        let mut heads = vec![Picture::black(1, 1), heading("image"), heading_in("expert", LABEL_COLOUR)];
        heads.extend(study.plan.arms.iter().map(|arm| heading_in(&arm.name, PREDICTION_COLOUR)));
        let mut table: Vec<Vec<&Picture>> = vec![heads.iter().collect()];
        table.extend(rows.iter().map(|row| row.iter().collect()));
        let path = study.folder().join("pictures").join(format!("{task}-labels-{most}.png"));
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).at(folder)?;
        }
        Picture::table(&table).write_png(&path)?;
    }
    Ok(())
}

/// The best, median and worst case of the reference arm, by the main measure.
fn chosen<'a>(study: &Study, cells: &[&'a Progressed<'_>]) -> Vec<Shown<'a>> {
    let reference = study.plan.reference(&study.config);
    let mut found: Vec<(f64, String, &Cell, String)> = Vec::new();
    for progressed in cells.iter().filter(|c| c.cell.arm == reference) {
        let Some(outcome) = progressed.result.as_ref().and_then(|result| result.scored.first()) else {
            continue;
        };
        let outcome = &outcome.outcome;
        let measures = outcome.measures();
        let Some(main) = measures.iter().find(|measure| measure.is_main) else { continue };
        if !matches!(outcome, Outcome::Segment(_)) {
            continue;
        }
        for (case, value) in outcome.cases().into_iter().zip(outcome.by_case(main)) {
            let merit = main.better.merit(value).filter(|merit| !merit.is_nan());
            let text = format!("{} {}", main.heading, main.shown(value));
            found.extend(merit.map(|merit| (merit, case.to_owned(), progressed.cell, text)));
        }
    }
    found.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    let places = [("best", 0), ("median", found.len() / 2), ("worst", found.len().saturating_sub(1))];
    let shown = |(title, place): (&'static str, usize)| {
        let (_, case, cell, value) = found.get(place)?;
        Some(Shown { title, case: case.clone(), value: value.clone(), cell })
    };
    let mut shown: Vec<Shown<'a>> = places.into_iter().filter_map(shown).collect();
    shown.dedup_by(|a, b| a.case == b.case);
    shown
}

/// A row of the picture: names, the image, the truth, and the prediction of each arm; none if no prediction was kept.
fn row(study: &Study, shown: &Shown<'_>, cells: &[&Progressed<'_>]) -> Result<Option<Vec<Picture>>> {
    let data = study.data_of(shown.cell)?;
    let cases = open_cases(&data, &Unheard)?;
    let Some(case) = cases.iter().find(|case| case.id() == shown.case) else { return Ok(None) };
    let truth = case.labels([0; 3], case.shape())?.unwrap_or_default();
    let (shape, plane) = (case.shape(), Plane::Axial);
    let slice = fullest_axial_slice(&truth, shape);
    let image = image(case)?;
    let plain = Picture::slice(&image, shape, plane, slice, (0.0, 1.0));
    let factor = (SIDE / plain.width().max(plain.height())).max(1);
    let outlined = |labels: &[u16], colour| {
        let mut picture = plain.clone();
        let inside = slice_of(labels, shape, slice);
        picture.outline(&inside, colour);
        picture.scaled(factor)
    };
    let mut any = false;
    let mut predictions = Vec::new();
    for arm in 0..study.plan.arms.len() {
        let cell = cells.iter().find(|c| c.cell.arm == arm && c.cell.fold == shown.cell.fold);
        let kept = cell.map(|c| study.predictions_of(c.cell).join(format!("{}.nii.gz", shown.case)));
        let labels: Option<LabelMap> = kept
            .filter(|path| path.is_file())
            .map(|path| brainmvp_volume::nifti::read_labels(&path))
            .transpose()?;
        let labels = labels.filter(|labels| labels.voxels().len() == truth.len());
        any |= labels.is_some();
        predictions.push(labels.map_or_else(
            || Picture::black(plain.width(), plain.height()).scaled(factor),
            |labels| outlined(labels.voxels(), PREDICTION_COLOUR),
        ));
    }
    let names = [shown.title, &shown.case, &shown.value].map(heading);
    let mut row = vec![
        Picture::table(&names.iter().map(|name| vec![name]).collect::<Vec<_>>()),
        plain.scaled(factor),
        outlined(&truth, LABEL_COLOUR),
    ];
    row.extend(predictions);
    Ok(any.then_some(row))
}

/// The image that a lesion is seen best in.
fn image(case: &CaseSource) -> Result<Vec<f32>> {
    let Some(modality) = Modality::best_for_lesions(case.modalities().iter().copied()) else {
        return Ok(Vec::new());
    };
    Ok(case.patch(modality, [0; 3], case.shape())?)
}

/// Where an axial slice is labelled, in the order of the pixels of its picture: from the far end of both axes.
fn slice_of(labels: &[u16], shape: [usize; 3], slice: usize) -> Vec<bool> {
    let area = shape[0] * shape[1];
    let pixels = labels.get(slice * area..(slice + 1) * area).unwrap_or_default();
    pixels.iter().rev().map(|label| *label > 0).collect()
}

fn heading(text: &str) -> Picture {
    heading_in(text, [255; 3])
}

fn heading_in(text: &str, colour: Colour) -> Picture {
    Picture::coloured_text(text, colour)
}
