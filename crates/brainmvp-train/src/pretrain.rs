//! A pre-training run from a configuration and a cache.

use std::cell::Cell;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use brainmvp_cohort::Split;
use brainmvp_nets::Init;
use brainmvp_nets::weights::Head;
use brainmvp_objectives::patch::PatchSource;
use brainmvp_objectives::pretraining::{ForMethod, Kept, Learnt, Method, Pretraining as _, Setup, Waiting};
use brainmvp_prep::cache::Manifest;
use brainmvp_ranks::Ranks;
use burn::tensor::Device;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::about::{About, Kind, TemplatesAbout};
use crate::batches::{CaseSource, Identities, open_cases};
use crate::config::{OtherSpaces, PretrainConfig};
use crate::placement::TemplateFrame;
use crate::purpose::{Purpose, ToTrain};
use crate::run::{Existing, RunFolder, RunRequest};
use crate::seen::{Seen, Stage, overlap_line};
use crate::templates::{cases_elsewhere, frame};
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
    // Resolve the configuration before the folder is touched, so that a mistake leaves nothing behind.
    let stored = request.stored_config()?;
    let config = resolve(request, stored.as_ref())?;
    let cases = of_one_space(cases, config.data.other_spaces, observer)?;
    let (cases, persons) =
        with_persons(cases, &config, stored.is_some().then_some(request.out.as_path()), observer)?;
    if let Some(notice) = config.method.notice() {
        observer.note(notice);
    }
    let device = device::device(&request.device)?.autodiff();
    device::set_precision(config.train.precision, &request.device)?;
    let folder = purpose.folder(request)?;
    if request.existing == Existing::Resume && folder.checkpoints()?.is_empty() {
        observer.note("nothing to resume: starting from the beginning");
    }
    let mut preparation = Manifest::load(&request.data)?.preparation;
    let mut seen = Seen::nothing();
    seen.add(Stage::Pretraining, &cases);
    if request.ranks.is_first() {
        folder.store_config(&config)?;
        if !persons.is_empty() {
            persons.write(&folder.identities())?;
        }
        preparation = preparation.store(folder.path())?;
        seen.save(folder.path())?;
    }
    if let Some(line) = overlap_line("test", &test_cases, &seen.index()) {
        observer.warn(&format!("{line}. Scores on them are too optimistic; leave one of each pair out"));
    }

    warn_of_other_places(&cases, observer);
    let about = About {
        kind: Kind::Unknown,
        network: config.method.input(&config.model.network),
        head: Head::None,
        preparation: Some(preparation),
        templates: None,
        data: Some(fingerprint(&cases, &persons)),
        parent: None,
    };
    let ranks = request.ranks.clone();
    let start =
        Start { config: &config, cases, about, folder: &folder, device, stop, observer, ranks, purpose };
    config.method.with(start)
}

/// A run that is about to start.
struct Start<'a, P> {
    config: &'a PretrainConfig,
    cases: Vec<CaseSource>,
    /// What does not depend on the method.
    about: About,
    folder: &'a RunFolder,
    /// With autodiff.
    device: Device,
    stop: &'a AtomicBool,
    observer: &'a dyn Observer,
    ranks: Ranks,
    purpose: P,
}

impl<P: Purpose> ForMethod for Start<'_, P> {
    type Output = Result<P::Outcome>;

    fn with<M: Method>(self, method: &M) -> Result<P::Outcome> {
        let Self { config, cases, about, folder, device, stop, observer, ranks, purpose } = self;
        let mut rng = ChaCha8Rng::seed_from_u64(config.train.seed ^ FIRST_WEIGHTS);
        let waiting = Preparing { stop, observer, is_answered: Cell::new(false) };
        let setup = Setup {
            network: &about.network,
            patch: config.patch.size,
            frame: &frame(&cases),
            cases: &cases,
            is_new: purpose.learns_first() && folder.checkpoints()?.is_empty(),
            waiting: &waiting,
        };
        let objective = method.build(&setup, &mut Init { device: &device, rng: &mut rng })?;
        if waiting.is_answered.get() {
            return purpose.stopped();
        }
        let Kept { head, parts: kept, by_modality } = M::Objective::kept();
        let templates = objective.templates().map(|Learnt { size, affine, range_floor }| TemplatesAbout {
            size,
            affine: Some(affine.rows()),
            range_floor,
            frame: TemplateFrame::of(&cases),
        });
        let kind =
            Kind::PreTraining { method: config.method.name(), patch: config.patch.size, kept, by_modality };
        let trainer = Trainer {
            train: &config.train,
            optimizer: &config.optimizer,
            checkpoint: &config.checkpoint,
            log: &config.log,
            about: About { kind, head, templates, ..about },
            cases: Arc::new(cases),
            folder,
            device,
            stop,
            observer,
            ranks,
        };
        purpose.carry_out(&trainer, objective, None)
    }
}

/// Waits for the first step.
struct Preparing<'a> {
    stop: &'a AtomicBool,
    observer: &'a dyn Observer,
    /// Whether the method was told to stop.
    is_answered: Cell<bool>,
}

impl Waiting for Preparing<'_> {
    fn note(&self, text: &str) {
        self.observer.note(text);
    }

    fn is_stopped(&self) -> bool {
        let stopped = self.stop.load(Ordering::Relaxed);
        self.is_answered.set(self.is_answered.get() || stopped);
        stopped
    }
}

/// The network must not see the cases that it will be tested on, not even without labels.
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

/// The cases with the known persons, and the used rows of the table that names them. A run that is continued has its own
/// copy of it, wherever the table is now.
fn with_persons(
    cases: Vec<CaseSource>,
    config: &PretrainConfig,
    continued: Option<&Path>,
    observer: &dyn Observer,
) -> Result<(Vec<CaseSource>, Identities)> {
    let Some(path) = &config.data.identities else { return Ok((cases, Identities::default())) };
    let (table, path) = match continued.map(RunFolder::open).transpose()? {
        None => (Identities::read(path)?, path.clone()),
        Some(run) => (Identities::read(&run.identities())?, run.identities()),
    };
    let (cases, used, unused) = table.apply(cases);
    if used.is_empty() {
        let reason = "no row matches a subject of these cases: data_set and subject must be as in the cohort";
        return Err(Error::table(&path, reason));
    }
    if !unused.is_empty() {
        let shown = unused.iter().take(3).map(|row| format!("'{row}'")).collect::<Vec<_>>().join(", ");
        let more = if unused.len() > 3 { ", ..." } else { "" };
        let count = unused.len();
        observer.warn(&format!("{}: no case matches these rows ({count}): {shown}{more}", path.display()));
    }
    Ok((cases, used))
}

/// The configuration asked for, over that of the run if it is continued.
fn resolve(request: &RunRequest, stored: Option<&PretrainConfig>) -> Result<PretrainConfig> {
    let config = PretrainConfig::resolve(&request.text(stored)?, &request.settings)?;
    stored.map_or(Ok(()), |stored| request.refuse_change(&config, stored))?;
    Ok(config)
}

/// The cases with the space and spacing of most cases; the others are treated by the rule.
fn of_one_space(
    cases: Vec<CaseSource>,
    rule: OtherSpaces,
    observer: &dyn Observer,
) -> Result<Vec<CaseSource>> {
    let others = TemplateFrame::cases_of_other_spaces(&cases);
    if others.is_empty() || rule == OtherSpaces::Accept {
        return Ok(cases);
    }
    let (count, total) = (others.len(), cases.len());
    if rule == OtherSpaces::LeaveOut {
        for (case, reason) in &others {
            observer.warn(&format!("case '{}' is left out: {reason}", cases[*case].id()));
        }
        let is_other = |place: usize| others.iter().any(|(other, _)| *other == place);
        let kept = cases.into_iter().enumerate().filter(|(place, _)| !is_other(*place));
        return Ok(kept.map(|(_, case)| case).collect());
    }
    let named = others.iter().take(NAMED).map(|(case, why)| format!("'{}' ({why})", cases[*case].id()));
    let named = named.collect::<Vec<_>>().join(", ");
    let more = if count > NAMED { ", ..." } else { "" };
    Err(Error::Config(format!(
        "{count} of {total} cases have another space or spacing than most, and templates are placed on all cases voxel \
         by voxel: {named}{more}. Register them to one atlas (`brainmvp preprocess --register rigid --atlas FILE`), or \
         set data.other_spaces to \"leave_out\" or \"accept\""
    )))
}

/// The number of cases that are named if a run does not begin.
const NAMED: usize = 10;

/// Warns of cases whose registered volumes are not in the same place as those of most cases: templates are placed on them
/// centre on centre.
fn warn_of_other_places(cases: &[CaseSource], observer: &dyn Observer) {
    let others = cases_elsewhere(cases);
    if !others.is_empty() {
        let shown = others.iter().take(3).copied().collect::<Vec<_>>().join(", ");
        let more = if others.len() > 3 { ", ..." } else { "" };
        observer.warn(&format!(
            "{} of {} cases are not on the grid of most cases ({shown}{more}); the templates are placed on them centre \
             on centre, which is only right if they are registered to one atlas",
            others.len(),
            cases.len()
        ));
    }
}

/// Separates the random initial weights from other random numbers with the run's seed.
const FIRST_WEIGHTS: u64 = 0x3C6E_F372_FE94_F82B;

/// Changes when the cases, their content, what the cohort says of them or the known persons change.
fn fingerprint(cases: &[CaseSource], persons: &Identities) -> String {
    let mut hasher = blake3::Hasher::new();
    for case in cases {
        case.hash_into(&mut hasher);
        if !persons.is_empty() {
            hasher.update(case.person().as_bytes()).update(b"\n");
        }
    }
    hasher.finalize().to_hex()[..16].to_owned()
}
