//! `brainmvp atlas`

use std::path::PathBuf;

use brainmvp_registration::atlas::{AtlasOptions, average};
use brainmvp_volume::nifti::{self, Datatype, WriteOptions};
use brainmvp_volume::resample::{Interpolation, to_spacing};
use brainmvp_volume::{Modality, Volume, file, orientation};
use clap::Args;
use clap::builder::RangedU64ValueParser;

use super::{counted, load_cohort};
use crate::argument;
use crate::failure::{Advise as _, bad_input};
use crate::progress::Progress;
use crate::ui::Ui;

/// Average the images of a cohort into an atlas for registration
///
/// Each round registers all images to the current mean and averages them again, so that the mean becomes sharper and
/// takes the average shape of the heads. For the templates that a pre-training run learns, see `brainmvp templates`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  brainmvp atlas cohort.json --modality t1 --out atlas_t1.nii.gz
  brainmvp atlas cohort.json --modality flair --like mni152_t1.nii.gz --out atlas_flair.nii.gz")]
pub(crate) struct Atlas {
    /// Cohort file
    #[arg(value_name = "COHORT")]
    cohort: PathBuf,
    /// Modality of the images to average
    #[arg(long, value_parser = argument::modality)]
    modality: Modality,
    /// Image to write
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Image that determines the space and grid of the atlas [default: that of the first case]
    #[arg(long, value_name = "FILE")]
    like: Option<PathBuf>,
    /// Voxel size in mm, one for all axes or x,y,z [default: that of --like, or 1]
    #[arg(long, value_name = "MM", value_parser = argument::spacing_mm)]
    spacing: Option<[f64; 3]>,
    /// Number of rounds of registration and averaging
    #[arg(long, value_name = "N", default_value_t = AtlasOptions::default().rounds,
        value_parser = RangedU64ValueParser::<usize>::new().range(1..=20))]
    rounds: usize,
    /// Seed for the random points used in registration
    #[arg(long, value_name = "N", default_value_t = AtlasOptions::default().seed)]
    seed: u64,
}

impl Atlas {
    pub(crate) fn run(self, ui: &Ui) -> anyhow::Result<()> {
        let cohort = load_cohort(&self.cohort)?;
        argument::prepare_output_file(&self.out)?;
        let with = cohort.cases.iter().filter_map(|case| Some((&case.id, case.images.get(&self.modality)?)));
        let images: Vec<_> = with.collect();
        let Some((_, first)) = images.first() else {
            return Err(bad_input(format!("no case of the cohort has {}", self.modality)))
                .advise(|_| "choose another --modality".to_owned());
        };
        let start = orientation::to_ras(file::read(self.like.as_ref().unwrap_or(first))?);
        let spacing = self.spacing.or(self.like.is_none().then_some([1.0; 3]));
        let start = spacing.map_or(start.clone(), |mm| to_spacing(&start, mm, Interpolation::Trilinear));
        let options = AtlasOptions { rounds: self.rounds, seed: self.seed };
        let progress = Progress::new(ui, "atlas", "registrations", images.len() * self.rounds);
        let read =
            |index: usize| -> brainmvp_registration::Result<Volume> { Ok(file::read(images[index].1)?) };
        let atlas = average(&start, images.len(), &read, &options, &|done| progress.advance(done))
            .advise(|_| "give an image with --like that all of them resemble".to_owned())?;
        progress.finish();
        for (index, reason) in &atlas.left_out {
            ui.alert(format!("warning: case '{}' is left out: {reason}", images[*index].0));
        }
        let description = format!("brainmvp atlas: {} of {}", self.modality, counted(atlas.images, "case"));
        nifti::write(
            &self.out,
            &atlas.mean,
            WriteOptions { datatype: Datatype::F32, description, ..WriteOptions::default() },
        )?;
        ui.result(format!(
            "{}: the mean {} of {}, {} left out",
            self.out.display(),
            self.modality,
            counted(atlas.images, "case"),
            atlas.left_out.len()
        ))?;
        ui.note(format!("next: brainmvp preprocess COHORT --out CACHE --atlas {}", self.out.display()));
        Ok(())
    }
}
