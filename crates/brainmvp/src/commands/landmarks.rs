//! `brainmvp landmarks`

use std::path::PathBuf;

use brainmvp_prep::cache::Cache;
use brainmvp_prep::{Landmarks as Standard, Learnt};
use clap::Args;

use super::counted;
use crate::argument;
use crate::failure::Advise as _;
use crate::progress::Progress;
use crate::ui::Ui;

/// Learn the standard scale of each modality from prepared cases, for `preprocess --intensity nyul`
///
/// The cases must have been prepared with --intensity zscore, and otherwise with the options that the scale will be
/// used with (atlas, skull stripping, spacing). Test cases are left out. Each modality needs at least five images.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  brainmvp preprocess cohort.json --out scores --intensity zscore
  brainmvp landmarks scores --out landmarks.json
  brainmvp preprocess cohort.json --out cache --intensity nyul --landmarks landmarks.json")]
pub(crate) struct Landmarks {
    /// Folder of prepared cases
    #[arg(value_name = "CACHE")]
    cache: PathBuf,
    /// File to write
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

impl Landmarks {
    pub(crate) fn run(self, ui: &Ui) -> anyhow::Result<()> {
        argument::prepare_output_file(&self.out)?;
        let cache = Cache::open(&self.cache)
            .advise(|_| "`brainmvp preprocess COHORT --out CACHE --intensity zscore` makes one".to_owned())?;
        let progress = Progress::new(ui, "landmarks", "cases", cache.cases().len());
        let Learnt { landmarks, too_few, left_out } =
            Standard::learn(&cache, &|done| progress.advance(done))?;
        progress.finish();
        for reason in left_out {
            ui.alert(format!("warning: left out: {reason}"));
        }
        for (modality, images) in too_few {
            ui.alert(format!("warning: no scale for {modality}: {} are too few", counted(images, "image")));
        }
        landmarks.save(&self.out)?;
        let learnt = landmarks.iter().map(|(modality, found)| format!("{modality} from {}", found.images));
        ui.result(format!("{}: {}", self.out.display(), learnt.collect::<Vec<_>>().join(", ")))
    }
}
