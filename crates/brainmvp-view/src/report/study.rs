//! A study: how far it is, its tables, curves and pictures.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use super::document::{Picture, Section};
use crate::files;
use crate::kinds::title_of;
use crate::text;

#[derive(Deserialize)]
struct Study {
    title: String,
    kind: String,
    cells: Vec<Cell>,
}

#[derive(Deserialize)]
struct Cell {
    #[serde(rename = "cell")]
    name: String,
    state: String,
    reason: Option<String>,
    seconds: Option<f64>,
}

/// A study without parts, or a part of one.
pub(super) fn section(folder: &Path) -> Section {
    let mut section = Section::new(format!("Study: {}", title_of(folder)));
    let summary = folder.join("study.json");
    if summary.is_file() {
        if let Some(study) = section.read::<Study>(&summary) {
            told(&mut section, &study);
        }
    } else {
        section
            .text("It has no results yet: `brainmvp study --out STUDY --report` writes what is done so far.");
    }
    for path in files::with_ending(&folder.join("tables"), "csv") {
        let Some(rows) = files::table(&path) else { continue };
        // The first line of the table as Markdown says what it shows.
        let caption = std::fs::read_to_string(path.with_extension("md")).unwrap_or_default();
        let caption = caption.lines().next().unwrap_or_default().to_owned();
        section.table(caption, 2, rows);
    }
    for path in files::with_ending(&folder.join("curves"), "svg") {
        if let Ok(svg) = std::fs::read_to_string(&path) {
            let name = files::stem(&path);
            section.figure(
                &name,
                format!("{name}, by share of the labels, with 95 % intervals."),
                Picture::Svg(svg),
            );
        }
    }
    for path in files::with_ending(&folder.join("pictures"), "png") {
        if let Ok(png) = std::fs::read(&path) {
            let name = files::stem(&path);
            let caption =
                format!("{name}: the best, the median and the worst test case of the reference arm.");
            section.figure(&name, caption, Picture::Png(png));
        }
    }
    section
}

fn told(section: &mut Section, study: &Study) {
    let mut states: BTreeMap<&str, usize> = BTreeMap::new();
    for cell in &study.cells {
        *states.entry(&cell.state).or_default() += 1;
    }
    let states: Vec<String> = states.iter().map(|(state, count)| format!("{count} {state}")).collect();
    let seconds: f64 = study.cells.iter().filter_map(|cell| cell.seconds).sum();
    section.facts([
        ("title", study.title.clone()),
        ("kind", study.kind.clone()),
        ("cells", states.join(", ")),
        ("time of the cells", text::duration(seconds)),
    ]);
    let mut rows = vec![["cell", "failed because"].map(str::to_owned).to_vec()];
    let failed = study.cells.iter().filter(|cell| cell.state == "failed");
    rows.extend(failed.map(|cell| vec![cell.name.clone(), cell.reason.clone().unwrap_or_default()]));
    section.table("Cells that failed; tables are made from the others.", 2, rows);
}
