//! Cases with the outlines of their label and of what was predicted.

use brainmvp_volume::orientation::to_ras;
use brainmvp_volume::picture::{LABEL_COLOUR, PREDICTION_COLOUR, Picture, Plane, Slice, fullest_axial_slice};
use brainmvp_volume::{LabelMap, Modality, Volume};

use crate::items::Item;
use crate::shown::{Case, Role, Stage};
use crate::{Result, voxels};

/// The share of an image's bright voxels that may be shown white.
const WHITE_SHARE: f64 = 0.005;

/// A case that is shown: a title, its name and what is written below.
pub(super) struct Chosen<'a> {
    pub(super) title: &'static str,
    pub(super) id: &'a str,
    pub(super) case: &'a Case,
    pub(super) score: String,
}

/// A row for each case: the image, the image with its label, the image with the prediction titled `prediction`. Cases without an
/// image, a label and a prediction are left out; `None` if that is all of them.
///
/// # Errors
/// If a volume cannot be read.
pub(super) fn draw(chosen: &[Chosen<'_>], prediction: &str) -> Result<Option<Vec<u8>>> {
    let mut rows = Vec::new();
    for chosen in chosen {
        rows.extend(row(chosen, prediction)?);
    }
    if rows.is_empty() {
        return Ok(None);
    }
    let heads = [
        Picture::black(1, 1),
        Picture::text("image"),
        Picture::coloured_text("expert", LABEL_COLOUR),
        Picture::coloured_text("prediction", PREDICTION_COLOUR),
    ];
    let mut table: Vec<Vec<&Picture>> = vec![heads.iter().collect()];
    table.extend(rows.iter().map(|row| row.iter().collect()));
    Ok(Some(Picture::table(&table).png()))
}

fn row(chosen: &Chosen<'_>, prediction: &str) -> Result<Option<[Picture; 4]>> {
    let Some((image, truth, predicted)) = items(chosen.case, prediction) else { return Ok(None) };
    let image = voxels::image(image)?;
    let (truth, predicted) = (to_ras(voxels::labels(truth)?), to_ras(voxels::labels(predicted)?));
    let shown = if truth.voxels().iter().any(|value| *value > 0) { &truth } else { &predicted };
    let Some(slice) = Slice::through(image.grid(), Plane::Axial, centre_mm(shown), 0.0) else {
        return Ok(None);
    };
    let plain = slice.picture(&image, window(&image));
    let outlined = |labels: &LabelMap, colour| {
        let mut picture = plain.clone();
        slice.outline(&mut picture, labels, colour);
        picture
    };
    let words = [chosen.title, chosen.id, &chosen.score].map(Picture::text);
    let words = Picture::table(&words.iter().map(|text| vec![text]).collect::<Vec<_>>());
    let (truth, predicted) = (outlined(&truth, LABEL_COLOUR), outlined(&predicted, PREDICTION_COLOUR));
    Ok(Some([words, plain, truth, predicted]))
}

/// The image that lesions are seen best in, the label and the prediction.
fn items<'a>(case: &'a Case, prediction: &str) -> Option<(&'a Item, &'a Item, &'a Item)> {
    let of = |stage| case.groups.iter().filter(move |group| group.stage == stage);
    let original = || of(Stage::Original).flat_map(|group| &group.volumes);
    let modality = |name: &str| name.parse::<Modality>().ok();
    let images = || original().filter(|volume| volume.role == Role::Image);
    let best = Modality::best_for_lesions(images().filter_map(|volume| modality(&volume.name)));
    let image = images().find(|volume| best.is_some() && modality(&volume.name) == best)?;
    let label = original().find(|volume| volume.role == Role::Label)?;
    let predicted = of(Stage::Prediction).find(|group| group.title == prediction)?;
    let predicted = predicted.volumes.iter().find(|volume| volume.role == Role::Label)?;
    Some((&image.item, &label.item, &predicted.item))
}

/// The middle of the labelled voxels in the axial slice that has most of them, in mm.
fn centre_mm(labels: &LabelMap) -> [f64; 3] {
    let shape = labels.shape();
    let slice = fullest_axial_slice(labels.voxels(), shape);
    let area = shape[0] * shape[1];
    let inside = labels.voxels().get(slice * area..(slice + 1) * area).unwrap_or_default();
    let labelled = inside.iter().enumerate().filter(|(_, value)| **value > 0).map(|(place, _)| place);
    let (sum, count) = labelled.fold(([0.0, 0.0], 0.0), |([x, y], count), place| {
        ([x + (place % shape[0]) as f64, y + (place / shape[0]) as f64], count + 1.0)
    });
    let middle =
        if count > 0.0 { sum.map(|sum| sum / count) } else { [shape[0], shape[1]].map(|n| n as f64 / 2.0) };
    labels.grid().affine.to_world([middle[0], middle[1], slice as f64])
}

/// From the lowest value to that which few of those above it exceed.
fn window(image: &Volume) -> (f32, f32) {
    let low = image.voxels().iter().copied().filter(|value| value.is_finite()).fold(f32::INFINITY, f32::min);
    let mut above: Vec<f32> =
        image.voxels().iter().copied().filter(|value| value.is_finite() && *value > low).collect();
    if above.is_empty() {
        return (low.min(0.0), low.max(0.0) + 1.0);
    }
    let place = ((above.len() - 1) as f64 * (1.0 - WHITE_SHARE)) as usize;
    let (_, high, _) = above.select_nth_unstable_by(place, f32::total_cmp);
    (low, *high)
}
