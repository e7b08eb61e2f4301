//! `brainmvp register`

use std::path::{Path, PathBuf};
use std::time::Instant;

use brainmvp_registration::{Motion, Options, Pyramid, Registration, itk, register};
use brainmvp_volume::nifti::{self, Datatype, WriteOptions};
use brainmvp_volume::resample::{Interpolation, onto_grid};
use brainmvp_volume::{Grid, Volume, file};
use clap::Args;

use crate::argument;
use crate::failure::{Advise as _, bad_input};
use crate::ui::Ui;

/// Register one image to another, and save the transform for ITK, ANTs and 3D Slicer
///
/// Contrasts, grids and orientations may differ, and the heads may be in different positions. A registration that
/// cannot be right is refused, and nothing is written.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  brainmvp register --fixed t1c.nii.gz --moving flair.nii.gz --out flair_to_t1c.txt
  brainmvp register --fixed mni.nii.gz --moving t1.nii.gz --affine --out to_mni.txt --apply t1_mni.nii.gz

The transform maps positions in the fixed image to positions in the moving image, which is the direction that ITK stores.")]
pub(crate) struct Register {
    /// Image to register to; it stays where it is
    #[arg(long, value_name = "FILE")]
    fixed: PathBuf,
    /// Image to be moved onto it
    #[arg(long, value_name = "FILE")]
    moving: PathBuf,
    /// Transform to write: an ITK text file, .txt or .tfm
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Also write the moving image, resampled once to the grid of the fixed one
    #[arg(long, value_name = "FILE")]
    apply: Option<PathBuf>,
    /// Also move this label map of the moving image, by the nearest voxel
    #[arg(long, value_name = "FILE", requires = "apply_labels")]
    labels: Option<PathBuf>,
    /// Where to write the moved label map
    #[arg(long, value_name = "FILE", requires = "labels")]
    apply_labels: Option<PathBuf>,
    /// Allow scaling and shearing: for two heads, or a head and an atlas
    #[arg(long)]
    affine: bool,
    /// Similarity below which the registration counts as failed: 0 is chance, 1 means that each image determines the
    /// other
    #[arg(long, value_name = "SHARE", default_value_t = Options::default().least_similarity,
        value_parser = argument::share)]
    least_similarity: f64,
    /// Seed for the random points that are compared
    #[arg(long, value_name = "N", default_value_t = Options::default().seed)]
    seed: u64,
}

impl Register {
    pub(crate) fn run(self, ui: &Ui) -> anyhow::Result<()> {
        for path in [Some(&self.out), self.apply.as_ref(), self.apply_labels.as_ref()].into_iter().flatten() {
            argument::prepare_output_file(path)?;
        }
        let (fixed, moving) = rayon::join(|| file::read(&self.fixed), || file::read(&self.moving));
        let (fixed, moving) = (fixed?, moving?);
        let labels = self.labels.as_deref().map(file::read_labels).transpose()?;
        if labels.as_ref().is_some_and(|labels| !labels.grid().same_place(moving.grid(), 0.1)) {
            return Err(bad_input("the label map does not have the grid of the moving image"));
        }
        let started = Instant::now();
        let motion = if self.affine { Motion::Affine } else { Motion::Rigid };
        let options = Options { motion, seed: self.seed, least_similarity: self.least_similarity };
        let found = register(&pyramid(&self.fixed, &fixed)?, &pyramid(&self.moving, &moving)?, &options)
            .advise(|_| {
                "look at both images; if they do show the same head, try exchanging --fixed and --moving"
                    .to_owned()
            })?;
        let seconds = started.elapsed().as_secs_f64();
        let grid = *fixed.grid();
        drop(fixed);
        self.apply_to(&found, moving, &grid)?;
        if let (Some(labels), Some(path)) = (labels, &self.apply_labels) {
            let moved =
                found.transform.move_volume(labels).ok_or_else(|| bad_input("the transform is singular"))?;
            nifti::write_labels(
                path,
                &onto_grid(&moved, &grid, Interpolation::Nearest, 0),
                "brainmvp register",
            )?;
        }
        itk::write(&self.out, &found.transform)?;
        ui.result(told(&self.out, &found, &grid, seconds))
    }

    fn apply_to(&self, found: &Registration, moving: Volume, grid: &Grid) -> anyhow::Result<()> {
        let Some(path) = &self.apply else { return Ok(()) };
        let moved =
            found.transform.move_volume(moving).ok_or_else(|| bad_input("the transform is singular"))?;
        let moved = onto_grid(&moved, grid, Interpolation::Trilinear, 0.0);
        let options = WriteOptions {
            datatype: Datatype::F32,
            description: "brainmvp register".to_owned(),
            ..WriteOptions::default()
        };
        Ok(nifti::write(path, &moved, options)?)
    }
}

/// Prepares an image; errors name its file.
fn pyramid(path: &Path, image: &Volume) -> anyhow::Result<Pyramid> {
    Pyramid::new(image).map_err(|error| bad_input(format!("{}: {error}", path.display())))
}

/// The registration in one line.
fn told(out: &Path, found: &Registration, grid: &Grid, seconds: f64) -> String {
    let middle = grid.affine.to_world(grid.shape.map(|length| (length as f64 - 1.0) / 2.0));
    let there = found.transform.apply(middle);
    let shift = (0..3).map(|axis| (there[axis] - middle[axis]).powi(2)).sum::<f64>().sqrt();
    let [largest, _, smallest] = found.transform.scales();
    let scales = if largest - smallest > 1e-6 || (largest - 1.0).abs() > 1e-6 {
        format!(", scales {smallest:.3} to {largest:.3}")
    } else {
        String::new()
    };
    format!(
        "{}: rotation {:.1} degrees, shift {shift:.1} mm{scales}; similarity {:.3}, overlap {:.0} %, {seconds:.2} s",
        out.display(),
        found.transform.rotation_deg(),
        found.similarity,
        100.0 * found.overlap,
    )
}
