//! A pre-training run from its configuration and a cache.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use brainmvp_cohort::Split;
use brainmvp_nets::Init;
use brainmvp_ssl::objectives::BrainMvp;
use brainmvp_ssl::templates::Templates;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde_json::json;

use crate::batches::{CaseSource, open_cases};
use crate::config::PretrainConfig;
use crate::purpose::{Purpose, ToTrain};
use crate::run::{Existing, RunRequest};
use crate::seen::{Seen, Stage, overlap_line};
use crate::templates::TemplateGrid;
use crate::trainer::{Ended, Observer, Trainer};
use crate::{Error, Result, device};

/// Pre-trains, or continues to.
///
/// # Errors
/// If the configuration, the data, the run folder or the device is not usable, or training fails.
pub fn pretrain(request: &RunRequest, stop: &AtomicBool, observer: &dyn Observer) -> Result<Ended> {
    set_up(request, stop, observer, ToTrain)
}

/// Sets up a run for a purpose.
pub(crate) fn set_up<P: Purpose>(
    request: &RunRequest,
    stop: &AtomicBool,
    observer: &dyn Observer,
    purpose: P,
) -> Result<P::Outcome> {
    let (cases, test_cases) = without_test_cases(open_cases(&request.data, observer)?, observer)?;
    // Settle the configuration before the folder is touched, so that a mistake leaves nothing behind.
    let stored = request.stored_config()?;
    let config = resolve(request, stored.as_ref())?;
    let device = device::device(&request.device)?.autodiff();
    device::set_precision(config.train.precision, &request.device)?;
    let folder = purpose.folder(request)?;
    if request.existing == Existing::Resume && folder.checkpoints()?.is_empty() {
        observer.note("nothing to resume: starting anew");
    }
    folder.store_config(&config)?;
    let mut seen = Seen::nothing();
    seen.add(Stage::Pretraining, &cases);
    seen.save(folder.path())?;
    if let Some(line) = overlap_line("test", &test_cases, &seen.index()) {
        observer.warn(&format!("{line}. A test on them says too much; leave one of each pair out"));
    }

    let grid = TemplateGrid::of(&config.templates.size, &cases);
    warn_of_other_places(&cases, observer);
    let mut rng = ChaCha8Rng::seed_from_u64(config.train.seed ^ FIRST_WEIGHTS);
    let templates = Templates::new(grid.shape, config.templates.range_floor, &device);
    let mut init = Init { device: &device, rng: &mut rng };
    let objective =
        BrainMvp::new(&config.method, &config.model.network, templates, config.patch.size, &mut init);
    let facts = json!({
        "method": "brainmvp",
        "templates": grid,
        "range_floor": config.templates.range_floor,
        "data": fingerprint(&cases),
    });
    let trainer = Trainer {
        train: &config.train,
        optimizer: &config.optimizer,
        template_factor: config.templates.learning_rate_factor,
        checkpoint: &config.checkpoint,
        log: &config.log,
        cases: Arc::new(cases),
        folder: &folder,
        device,
        stop,
        observer,
        facts,
    };
    purpose.carry_out(&trainer, objective, None)
}

/// What a network is tested on later, it may not see now: not even without labels.
/// Returns the others, and the test cases.
fn without_test_cases(
    cases: Vec<CaseSource>,
    observer: &dyn Observer,
) -> Result<(Vec<CaseSource>, Vec<CaseSource>)> {
    let total = cases.len();
    let (tests, seen): (Vec<_>, Vec<_>) =
        cases.into_iter().partition(|case| case.facts().split == Some(Split::Test));
    match tests.len() {
        0 => {}
        left if left == total => return Err(Error::Config("all prepared cases are test cases".to_owned())),
        left => observer.note(&format!("{left} of {total} cases are test cases and left out")),
    }
    Ok((seen, tests))
}

/// The configuration asked for, over that of the run if it is continued.
fn resolve(request: &RunRequest, stored: Option<&PretrainConfig>) -> Result<PretrainConfig> {
    let config = PretrainConfig::resolve(&request.text(stored)?, &request.settings)?;
    stored.map_or(Ok(()), |stored| request.refuse_change(&config, stored))?;
    Ok(config)
}

/// Names the cases whose registered volumes do not lie where most do: templates are laid over them centre to centre.
fn warn_of_other_places(cases: &[CaseSource], observer: &dyn Observer) {
    let others = TemplateGrid::cases_elsewhere(cases);
    if !others.is_empty() {
        let shown = others.iter().take(3).copied().collect::<Vec<_>>().join(", ");
        let more = if others.len() > 3 { ", ..." } else { "" };
        observer.warn(&format!(
            "{} of {} cases do not lie on the grid of the most ({shown}{more}); the templates are laid over them centre \
             to centre, which is right only if they are registered to one template",
            others.len(),
            cases.len()
        ));
    }
}

/// Keeps the first weights apart from other things drawn by the run's seed.
const FIRST_WEIGHTS: u64 = 0x3C6E_F372_FE94_F82B;

/// Changes when the cases or their content change.
fn fingerprint(cases: &[CaseSource]) -> String {
    let mut hasher = blake3::Hasher::new();
    for case in cases {
        hasher.update(case.content_hash().as_bytes());
    }
    hasher.finalize().to_hex()[..16].to_owned()
}
