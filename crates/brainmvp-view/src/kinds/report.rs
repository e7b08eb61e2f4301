//! What a report on the quality of images marked, and its pictures.

use std::path::Path;

use serde::Deserialize;

use crate::items::{Inside, Item, Items};
use crate::shown::Collection;
use crate::{Error, Result};

const FILE_NAME: &str = "images.csv";

#[derive(Deserialize)]
struct Row {
    case: String,
    modality: String,
    status: String,
    reasons: String,
}

pub(super) fn open(path: &Path, into: &mut Collection, items: &Items) -> Result<()> {
    let file = path.join(FILE_NAME);
    let damaged = |error: csv::Error| Error::content(&file, error.to_string());
    let mut table = csv::Reader::from_path(&file).map_err(damaged)?;
    into.witnesses.push(file.clone());
    for row in table.deserialize() {
        let row: Row = row.map_err(damaged)?;
        let case = into.case(&row.case);
        if case.pictures.is_empty() {
            let picture = Inside::new(path, Path::new("cases").join(format!("{}.png", row.case)));
            case.pictures.extend(picture.map(|picture| items.address(Item::Inside(picture))));
        }
        if row.status == "left out" {
            let reason = row.reasons.strip_prefix("Left out: ").unwrap_or(&row.reasons);
            case.quarantined.insert(reason.to_owned());
        } else if !row.reasons.is_empty() {
            case.flags.insert(format!("{}: {}", row.modality, row.reasons));
        }
    }
    Ok(())
}
