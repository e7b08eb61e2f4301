//! Cases that the network has seen in training: scores without them, next to those of all.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use brainmvp_metrics::statistics::BootstrapConfig;
use brainmvp_metrics::{Scores, SeenBefore};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng as _;

use super::some;
use crate::commands::counted;
use crate::commands::predict::{SeenCases, Told};
use crate::ui::Ui;

/// The cases that the network has seen according to a folder of predictions; `None` if it does not say.
pub(super) fn of_predictions(pred: &Path, ui: &Ui) -> anyhow::Result<Option<SeenCases>> {
    let Some(told) = Told::of(pred)? else { return Ok(None) };
    let seen = told.into_seen();
    if seen.is_none() {
        let pred = pred.display();
        ui.note(format!("note: {pred} does not say which cases the network has seen in training"));
    }
    Ok(seen)
}

/// The cases that were scored and seen, each with a description of what it was seen as.
pub(super) fn among<'a>(
    scored: impl IntoIterator<Item = &'a str>,
    seen: &SeenCases,
) -> BTreeMap<String, Vec<String>> {
    let scored: BTreeSet<&str> = scored.into_iter().collect();
    let words = seen.iter().filter(|(case, _)| scored.contains(case.as_str()));
    words.map(|(case, as_what)| (case.clone(), as_what.iter().map(ToString::to_string).collect())).collect()
}

/// Scores without the cases that were seen.
pub(super) fn without(scores: &Scores, seen: &SeenCases, seed: u64) -> anyhow::Result<SeenBefore> {
    let cases = among(scores.rows().iter().map(|row| row.case.as_str()), seen);
    let others = scores.without(cases.keys());
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let without = (!cases.is_empty() && !others.rows().is_empty())
        .then(|| others.summary(&BootstrapConfig::default(), &mut rng))
        .transpose()?;
    Ok(SeenBefore { cases, without })
}

/// Prints which cases were seen, above the table of the others.
pub(super) fn tell(cases: &BTreeMap<String, Vec<String>>, others: bool, ui: &Ui) -> anyhow::Result<()> {
    if cases.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = cases.keys().map(String::as_str).collect();
    let found =
        format!("{} that the network has seen in training: {}", counted(cases.len(), "case"), some(&names));
    if others {
        ui.result(format!("\nWithout {found}"))
    } else {
        ui.result(format!("\nThere are only {found}"))
    }
}
