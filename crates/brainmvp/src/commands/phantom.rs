//! `brainmvp phantom`

use std::path::PathBuf;

use brainmvp_phantom::{Disease, DiseaseMix, Head, PhantomConfig, write_cohort};
use brainmvp_volume::Modality;
use clap::Args;
use clap::builder::RangedU64ValueParser;

use super::counted;
use crate::argument;
use crate::failure::Advise as _;
use crate::progress::Progress;
use crate::ui::Ui;

/// Generate a cohort of plausible brain MRI with lesions and labels
///
/// Every case has its own anatomy, disease and site; all are registered and on one grid. The same options give the same
/// voxels on every machine.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  brainmvp phantom --out phantom --cases 16 --seed 7
  brainmvp phantom --out gliomas --cases 40 --modalities flair,t1,t1c,t2 --missing-rate 0
  brainmvp phantom --out mixed --cases 40 --lesions mixed")]
pub(crate) struct Phantom {
    /// Folder to write to: a folder for each case, and cohort.json
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Number of cases
    #[arg(long, value_name = "N", default_value_t = PhantomConfig::default().cases,
        value_parser = RangedU64ValueParser::<usize>::new().range(1..=99_999))]
    cases: usize,
    /// Voxels along the longest side; the spacing is 192 mm (whole heads: 240 mm) divided by this
    #[arg(long, value_name = "N", default_value_t = PhantomConfig::default().size)]
    size: usize,
    /// Seed of all random choices
    #[arg(long, value_name = "N", default_value_t = PhantomConfig::default().seed)]
    seed: u64,
    /// Modalities to generate [default: all eight]
    #[arg(long, value_name = "MODALITY,...", value_delimiter = ',', value_parser = argument::modality)]
    modalities: Vec<Modality>,
    /// Probability that a modality of a case is missing
    #[arg(long, value_name = "CHANCE", default_value_t = PhantomConfig::default().missing_rate,
        value_parser = argument::share)]
    missing_rate: f64,
    /// Number of sites, which differ in scanner and protocol
    #[arg(long, value_name = "N", default_value_t = PhantomConfig::default().sites)]
    sites: usize,
    /// Diseases with their weights, e.g. stroke, or healthy=1,glioma=3; mixed is some of each, with a data set and a label
    /// scheme of its own for each disease [known: healthy glioma metastases stroke schwannoma] [default: glioma]
    #[arg(long, value_name = "DISEASE[=WEIGHT],...", value_parser = disease_mix)]
    lesions: Option<DiseaseMix>,
    /// Share of high-grade gliomas among the gliomas
    #[arg(long, value_name = "SHARE", default_value_t = PhantomConfig::default().high_grade_share,
        value_parser = argument::share)]
    high_grade_share: f64,
    /// Stripped brains or whole heads
    #[arg(long, default_value = "stripped",
        value_parser = argument::choice(&[("stripped", Head::Stripped), ("whole", Head::Whole)]))]
    head: Head,
}

impl Phantom {
    pub(crate) fn run(self, ui: &Ui) -> anyhow::Result<()> {
        let out = self.out.clone();
        let config = self.config();
        config.check()?;
        argument::refuse_file_as_folder(&out)?;
        let progress = Progress::new(ui, "phantom", "cases", config.cases);
        let cohort = write_cohort(&config, &out, &|done| progress.advance(done))
            .advise(|_| format!("make room in {}, or choose another folder with --out", out.display()))?;
        progress.finish();
        let [x, y, z] = config.grid().shape;
        ui.result(format!(
            "{} of {x} x {y} x {z} voxels written to {}",
            counted(cohort.cases.len(), "case"),
            out.display()
        ))?;
        ui.note(format!("next: brainmvp preprocess {} --out CACHE", out.join("cohort.json").display()));
        Ok(())
    }

    fn config(self) -> PhantomConfig {
        let default = PhantomConfig::default();
        PhantomConfig {
            cases: self.cases,
            size: self.size,
            seed: self.seed,
            modalities: if self.modalities.is_empty() { default.modalities } else { self.modalities },
            missing_rate: self.missing_rate,
            sites: self.sites,
            lesions: self.lesions.unwrap_or(default.lesions),
            high_grade_share: self.high_grade_share,
            head: self.head,
            ..default
        }
    }
}

/// The word for [`DiseaseMix::MIXED`].
const MIXED: &str = "mixed";

/// `mixed`, `glioma`, or `healthy=1,glioma=3`; diseases that are not named do not occur.
fn disease_mix(text: &str) -> Result<DiseaseMix, String> {
    if text == MIXED {
        return Ok(DiseaseMix::MIXED);
    }
    let mut mix = DiseaseMix::NONE;
    for item in text.split(',') {
        let (name, weight) = item.split_once('=').unwrap_or((item, "1"));
        let disease =
            Disease::ALL.into_iter().find(|disease| disease.name() == name.trim()).ok_or_else(|| {
                format!("unknown disease '{name}' (known: {})", Disease::ALL.map(Disease::name).join(" "))
            })?;
        let weight: f64 =
            weight.trim().parse().ok().filter(|w: &f64| *w >= 0.0 && w.is_finite()).ok_or_else(|| {
                format!("the weight '{weight}' of {} is not a number of at least 0", disease.name())
            })?;
        *match disease {
            Disease::Healthy => &mut mix.healthy,
            Disease::Glioma => &mut mix.glioma,
            Disease::Metastases => &mut mix.metastases,
            Disease::Stroke => &mut mix.stroke,
            Disease::Schwannoma => &mut mix.schwannoma,
        } = weight;
    }
    Ok(mix)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn diseases_by_weight() {
        assert_eq!(disease_mix("stroke"), Ok(DiseaseMix::only(Disease::Stroke)));
        let mix = disease_mix("healthy=1, glioma=3").unwrap();
        assert_eq!((mix.healthy, mix.glioma, mix.stroke), (1.0, 3.0, 0.0));
        assert_eq!(disease_mix("mixed"), Ok(DiseaseMix::MIXED));
        for bad in ["", "flu", "glioma=-1", "glioma=much", "glioma=inf"] {
            assert!(disease_mix(bad).is_err(), "{bad}");
        }
    }
}
