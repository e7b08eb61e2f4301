//! A folder of predictions.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{read_json, scores, title_of};
use crate::Result;
use crate::items::{Inside, Item, Items};
use crate::shown::{Collection, Group, Role, Shown, Stage};

const FILE_NAME: &str = "predictions.json";

#[derive(Deserialize)]
struct Record {
    #[serde(default)]
    settings: Settings,
    #[serde(default)]
    cases: BTreeMap<String, Predicted>,
    #[serde(default)]
    quarantined: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
struct Settings {
    #[serde(default)]
    model: PathBuf,
    #[serde(default)]
    step: u64,
}

#[derive(Deserialize)]
struct Predicted {
    #[serde(default)]
    label_map: Option<PathBuf>,
    #[serde(default)]
    probabilities: BTreeMap<String, PathBuf>,
}

pub(super) fn open(path: &Path, into: &mut Collection, items: &Items) -> Result<()> {
    let file = path.join(FILE_NAME);
    let record: Record = read_json(&file)?;
    into.witnesses.push(file);
    for (id, predicted) in record.cases {
        let inside = |name: &PathBuf| Inside::new(path, name).map(Item::Inside);
        let label = predicted.label_map.as_ref().and_then(inside);
        let label = label.map(|item| Shown::new("prediction", Role::Label, item, items));
        let probabilities = predicted.probabilities.iter().filter_map(|(region, name)| {
            Some(Shown::new(format!("probability of {region}"), Role::Probability, inside(name)?, items))
        });
        let volumes: Vec<Shown> = label.into_iter().chain(probabilities).collect();
        let case = into.case(&id);
        if !volumes.is_empty() {
            let by = format!("by {}, step {}", record.settings.model.display(), record.settings.step);
            case.groups.push(Group {
                title: title_of(path),
                stage: Stage::Prediction,
                volumes,
                steps: vec![by],
            });
        }
    }
    for (id, reason) in record.quarantined {
        into.case(&id).quarantined.insert(reason);
    }
    let evaluated = path.join("metrics.json");
    if scores::is_one(&evaluated) { scores::open(&evaluated, &title_of(path), into) } else { Ok(()) }
}
