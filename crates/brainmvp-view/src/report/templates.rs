//! Learnt templates.

use std::path::Path;

use serde::Deserialize;

use super::document::{Picture, Section};
use crate::kinds::{TEMPLATES_FILE, TEMPLATES_PICTURE, title_of};
use crate::text;

#[derive(Deserialize)]
struct Measured {
    templates: Vec<Template>,
}

#[derive(Deserialize)]
struct Template {
    modality: String,
    mean: Option<Mean>,
    nearest: Option<Nearest>,
}

/// How a template compares with the mean of all cases.
#[derive(Deserialize)]
struct Mean {
    cases: usize,
    correlation: Option<f64>,
    ssim: Option<f64>,
}

#[derive(Deserialize)]
struct Nearest {
    case: String,
    correlation: Option<f64>,
}

pub(super) fn section(folder: &Path) -> Section {
    let mut section = Section::new(format!("Templates: {}", title_of(folder)));
    if let Ok(png) = std::fs::read(folder.join(TEMPLATES_PICTURE)) {
        section.figure(
            "templates",
            "The mean image and the learnt template of each modality.",
            Picture::Png(png),
        );
    }
    let measured = section.read::<Measured>(&folder.join(TEMPLATES_FILE));
    let number = |value: Option<f64>| value.map_or("-".to_owned(), text::number);
    let head = [
        "modality",
        "nearest case",
        "its correlation",
        "cases",
        "correlation with the mean",
        "SSIM with the mean",
    ];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for template in measured.into_iter().flat_map(|measured| measured.templates) {
        let (mean, nearest) = (template.mean.as_ref(), template.nearest.as_ref());
        rows.push(vec![
            template.modality,
            nearest.map_or(String::new(), |nearest| nearest.case.clone()),
            number(nearest.and_then(|nearest| nearest.correlation)),
            mean.map_or("-".to_owned(), |mean| mean.cases.to_string()),
            number(mean.and_then(|mean| mean.correlation)),
            number(mean.and_then(|mean| mean.ssim)),
        ]);
    }
    section.table("How far the templates are means of the cases, and not copies of one.", 2, rows);
    section
}
