//! The quality of learnt templates: how similar they are to the mean image of their modality, over training cases and
//! other cases; how similar they are to the templates of other runs; and whether a template is nearer to a single case
//! than to the mean.
//!
//! Everything is measured over the brain, which is where the mean image is above [`BRAIN`].

use std::io::Write as _;
use std::path::Path;

use brainmvp_metrics::images::{StructuralSimilarity, correlation};
use brainmvp_objectives::patch::PatchSource;
use brainmvp_objectives::templates::template_start;
use brainmvp_volume::picture::Picture;
use brainmvp_volume::{Affine, FileError, Modality, write_atomically};
use serde::Serialize;

use crate::batches::CaseSource;
use crate::placement::is_same_spacing;
use crate::templates::{RunTemplates, TemplateGrid};
use crate::{Error, Result};

/// Above this, a voxel of a mean image counts as brain.
pub const BRAIN: f32 = 0.05;

/// Intensities and normalised templates are in [0, 1].
const SIMILARITY: StructuralSimilarity = StructuralSimilarity { range: 1.0 };

/// What templates are compared with.
pub struct Beside<'a> {
    /// The cases that they were learnt from.
    pub cases: &'a [CaseSource],
    /// Cases that they were not learnt from; may be empty.
    pub held_out: &'a [CaseSource],
    /// Templates of other runs, for example with other seeds; may be empty.
    pub runs: &'a [RunTemplates],
}

/// The quality of one template.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TemplateQuality {
    /// The modality.
    pub modality: Modality,
    /// Compared with the mean image of the cases that it was learnt from.
    pub mean: Likeness,
    /// Compared with the mean image of other cases.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held_out: Option<Likeness>,
    /// The most similar single case, among those that it was learnt from.
    pub nearest: Nearest,
    /// The same among other cases.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nearest_held_out: Option<Nearest>,
    /// Correlation with the templates of the other runs, in their order; `None` for a run that has none of this modality.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub runs: Vec<Option<f64>>,
    /// Mean correlation over all pairs of runs, including this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agreement: Option<f64>,
}

impl TemplateQuality {
    /// Whether the template is nearer to a case that it was learnt from than to the mean of the others.
    pub fn is_near_a_case(&self) -> bool {
        self.nearest.others.is_none_or(|others| self.nearest.correlation > others)
    }

    /// Whether it is also nearer to that case than to any case held out, if there are any. A poor template can by chance
    /// be slightly more similar to some case than to the mean, but then this also happens with cases that it has not
    /// seen.
    pub fn shows_a_case(&self) -> bool {
        let unseen = self.nearest_held_out.as_ref();
        self.is_near_a_case() && unseen.is_none_or(|unseen| self.nearest.correlation > unseen.correlation)
    }
}

/// The similarity of a template to a mean image.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Likeness {
    /// Cases in the mean.
    pub cases: usize,
    /// Mean absolute difference of template and mean image.
    pub difference: f64,
    /// The same for a blank template, which training started from.
    pub blank_difference: f64,
    /// Pearson's correlation of template and mean image. Unlike the difference, it does not depend on the grey level,
    /// only on anatomy.
    pub correlation: f64,
    /// Structural similarity of template and mean image.
    pub ssim: f64,
}

/// The case that is most similar to a template.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Nearest {
    /// Its name.
    pub case: String,
    /// Correlation of the template with its image.
    pub correlation: f64,
    /// Correlation of the template with the mean image of all other cases; `None` if there are no others.
    pub others: Option<f64>,
    /// Mean correlation of the template with the images of single cases, this one included.
    pub typical: f64,
}

/// Compares every template of a run for whose modality there is a case. The picture has one row per template: three
/// planes of the mean image of `cases`, then of the template.
///
/// # Errors
/// If a case cannot be read or has another spacing, or the templates of another run have another size.
pub fn compare(templates: &RunTemplates, beside: &Beside<'_>) -> Result<(Vec<TemplateQuality>, Picture)> {
    let shape = templates.grid.shape;
    if let Some(other) = beside.runs.iter().find(|other| other.grid.shape != shape) {
        let reason = format!(
            "the templates of two runs cannot be compared: {shape:?} and {:?} voxels",
            other.grid.shape
        );
        return Err(Error::Config(reason));
    }
    if templates.is_placed {
        refuse_other_spacings(&templates.grid, beside.cases.iter().chain(beside.held_out))?;
    }
    let (mut qualities, mut rows) = (Vec::new(), Vec::new());
    for (&modality, template) in &templates.volumes {
        let Some(images) = Images::of(beside.cases, modality, shape)? else { continue };
        let held_out = Images::of(beside.held_out, modality, shape)?;
        let brain = &images.brain;
        let others = beside.runs.iter().map(|run| run.volumes.get(&modality).map(Vec::as_slice));
        let others: Vec<Option<&[f32]>> = others.collect();
        let planes = |volume: &[f32]| Picture::three_planes(volume, shape, (0.0, 1.0));
        rows.push((modality.name(), [planes(&images.mean), planes(template)]));
        qualities.push(TemplateQuality {
            modality,
            mean: images.likeness(template),
            held_out: held_out.as_ref().map(|images| images.likeness(template)),
            nearest: images.nearest(template, brain)?,
            nearest_held_out: held_out.as_ref().map(|images| images.nearest(template, brain)).transpose()?,
            runs: others.iter().map(|other| other.map(|other| correlation(template, other, brain))).collect(),
            agreement: agreement(template, &others, brain),
        });
    }
    let rows: Vec<(&str, &[Picture])> = rows.iter().map(|(name, row)| (*name, row.as_slice())).collect();
    Ok((qualities, Picture::montage(&rows)))
}

/// Templates and images are compared voxel by voxel.
fn refuse_other_spacings<'a>(
    grid: &TemplateGrid,
    mut cases: impl Iterator<Item = &'a CaseSource>,
) -> Result<()> {
    let ours = Affine::from_rows(grid.affine).spacing_mm();
    let differs = |case: &&CaseSource| !is_same_spacing(ours, case.grid().affine.spacing_mm());
    let Some(case) = cases.find(differs) else { return Ok(()) };
    let told = |[x, y, z]: [f64; 3]| format!("{x:.2} x {y:.2} x {z:.2} mm");
    Err(Error::Config(format!(
        "the templates have voxels of {}, case '{}' of {}: compare them with cases prepared at their spacing",
        told(ours),
        case.id(),
        told(case.grid().affine.spacing_mm())
    )))
}

/// Mean correlation over all pairs among a template and those of other runs.
fn agreement(template: &[f32], others: &[Option<&[f32]>], brain: &[bool]) -> Option<f64> {
    let all: Vec<&[f32]> = std::iter::once(template).chain(others.iter().flatten().copied()).collect();
    let pairs = all.iter().enumerate().flat_map(|(place, a)| all[..place].iter().map(move |b| (a, b)));
    let correlations: Vec<f64> = pairs.map(|(a, b)| correlation(a, b, brain)).collect();
    (!correlations.is_empty()).then(|| correlations.iter().sum::<f64>() / correlations.len() as f64)
}

/// The images of one modality on the templates' grid, read one by one, and their mean.
struct Images<'a> {
    cases: Vec<&'a CaseSource>,
    modality: Modality,
    shape: [usize; 3],
    mean: Vec<f32>,
    brain: Vec<bool>,
}

impl<'a> Images<'a> {
    /// Those of the cases that have the modality; `None` if no case has.
    fn of(cases: &'a [CaseSource], modality: Modality, shape: [usize; 3]) -> Result<Option<Self>> {
        let having = cases.iter().filter(|case| case.modalities().contains(&modality));
        let cases: Vec<&CaseSource> = having.collect();
        if cases.is_empty() {
            return Ok(None);
        }
        let mut images = Self { cases, modality, shape, mean: Vec::new(), brain: Vec::new() };
        let mut sum = vec![0.0; shape.iter().product()];
        for case in &images.cases {
            sum.iter_mut().zip(images.read(case)?).for_each(|(sum, value)| *sum += value);
        }
        let count = images.cases.len() as f32;
        images.mean = sum.into_iter().map(|sum: f32| sum / count).collect();
        images.brain = images.mean.iter().map(|mean| *mean > BRAIN).collect();
        Ok(Some(images))
    }

    /// The image of a case.
    fn read(&self, case: &CaseSource) -> Result<Vec<f32>> {
        let start = template_start(case, [0; 3], self.shape).map(|place| -place);
        case.patch(self.modality, start, self.shape)
    }

    fn likeness(&self, template: &[f32]) -> Likeness {
        let brain = || {
            let pairs = self.mean.iter().zip(template).zip(&self.brain).filter(|(_, inside)| **inside);
            pairs.map(|((mean, template), _)| (f64::from(*mean), f64::from(*template)))
        };
        let voxels = brain().count().max(1) as f64;
        Likeness {
            cases: self.cases.len(),
            difference: brain().map(|(mean, template)| (mean - template).abs()).sum::<f64>() / voxels,
            blank_difference: brain().map(|(mean, _)| mean.abs()).sum::<f64>() / voxels,
            correlation: correlation(&self.mean, template, &self.brain),
            ssim: SIMILARITY.mean(&self.mean, template, self.shape, &self.brain).unwrap_or(0.0),
        }
    }

    /// The case whose image is most similar to the template, over the same brain for all that are compared.
    fn nearest(&self, template: &[f32], brain: &[bool]) -> Result<Nearest> {
        let mut likenesses = Vec::new();
        for &case in &self.cases {
            likenesses.push((correlation(template, &self.read(case)?, brain), case));
        }
        let sum: f64 = likenesses.iter().map(|(likeness, _)| likeness).sum();
        let nearest = likenesses.into_iter().max_by(|(a, _), (b, _)| a.total_cmp(b));
        #[expect(clippy::expect_used, reason = "images without a case are never made")]
        let (likeness, case) = nearest.expect("there is a case");
        let count = self.cases.len();
        let others = if count > 1 {
            let without = |(mean, image): (&f32, f32)| (mean * count as f32 - image) / (count - 1) as f32;
            let others: Vec<f32> = self.mean.iter().zip(self.read(case)?).map(without).collect();
            Some(correlation(template, &others, brain))
        } else {
            None
        };
        let typical = sum / count as f64;
        Ok(Nearest { case: case.id().to_owned(), correlation: likeness, others, typical })
    }
}

/// What is written next to the templates.
#[derive(Serialize)]
struct Written<'a> {
    version: u32,
    brain_above: f32,
    ssim: Window,
    templates: &'a [TemplateQuality],
}

/// How the structural similarity is computed.
#[derive(Serialize)]
struct Window {
    weights: &'static str,
    sigma_voxels: f64,
    size_voxels: usize,
    k1: f64,
    k2: f64,
    range: f64,
}

/// Writes the qualities as JSON, atomically.
///
/// # Errors
/// If the file cannot be written.
pub fn write_qualities(path: &Path, qualities: &[TemplateQuality]) -> Result<()> {
    let written = Written {
        version: 1,
        brain_above: BRAIN,
        ssim: Window {
            weights: "gaussian",
            sigma_voxels: StructuralSimilarity::SIGMA,
            size_voxels: StructuralSimilarity::WINDOW,
            k1: StructuralSimilarity::K1,
            k2: StructuralSimilarity::K2,
            range: SIMILARITY.range,
        },
        templates: qualities,
    };
    let failed = |e: serde_json::Error| FileError::new(path, e);
    let mut text = serde_json::to_string_pretty(&written).map_err(failed)?;
    text.push('\n');
    write_atomically(path, |file| file.write_all(text.as_bytes())).map_err(Error::from)
}
