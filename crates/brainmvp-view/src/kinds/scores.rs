//! Scores of cases, as `evaluate` writes them.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use super::read_json;
use crate::Result;
use crate::shown::{Collection, Score};

#[derive(Deserialize)]
struct Evaluated {
    scores: Vec<Row>,
    #[serde(default)]
    quarantined: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Row {
    case: String,
    region: String,
    values: BTreeMap<String, Option<f64>>,
}

/// Whether a file has scores by case and region.
pub(super) fn is_one(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending == "json") && read_json::<Evaluated>(path).is_ok()
}

/// Opens scores of what is called `of`.
pub(super) fn open(path: &Path, of: &str, into: &mut Collection) -> Result<()> {
    let evaluated: Evaluated = read_json(path)?;
    into.witnesses.push(path.to_owned());
    for row in evaluated.scores {
        let scores = row.values.into_iter().map(|(metric, value)| Score {
            of: of.to_owned(),
            region: row.region.clone(),
            metric,
            value,
        });
        into.case(&row.case).scores.extend(scores);
    }
    for (case, reason) in evaluated.quarantined {
        into.case(&case).quarantined.insert(reason);
    }
    Ok(())
}
