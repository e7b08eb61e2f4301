//! `brainmvp datasets`

use brainmvp_cohort::{Geometry, PUBLIC_DATA_SETS, PublicDataSet, Purpose, public_data_set};
use clap::Args;

use super::table;
use crate::failure::bad_input;
use crate::ui::Ui;

/// List the data sets of the paper: contents, source, terms of use, citation
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  brainmvp datasets
  brainmvp datasets isles22

Nothing is downloaded. `brainmvp index DIR` reads the folder of each as downloaded.")]
pub(crate) struct Datasets {
    /// Show everything known about one data set
    #[arg(value_name = "NAME")]
    name: Option<String>,
}

impl Datasets {
    pub(crate) fn run(self, ui: &Ui) -> anyhow::Result<()> {
        let Some(name) = self.name else { return ui.result(overview()) };
        let found = public_data_set(&name.to_lowercase()).ok_or_else(|| {
            let known: Vec<_> = PUBLIC_DATA_SETS.iter().map(|set| set.name).collect();
            bad_input(format!("unknown data set '{name}' (known: {})", known.join(" ")))
        })?;
        ui.result(details(found))
    }
}

fn overview() -> String {
    let purposes = [
        (Purpose::Pretraining, "Pre-training"),
        (Purpose::Segmentation, "Segmentation"),
        (Purpose::Classification, "Classification"),
    ];
    let part = |(purpose, title): (Purpose, &str)| {
        let sets = PUBLIC_DATA_SETS.iter().filter(|set| set.purpose == purpose);
        let rows: Vec<_> = sets
            .map(|set| {
                [
                    set.name.to_owned(),
                    format!("{:>4} cases", set.cases),
                    modalities(set),
                    set.terms.to_owned(),
                ]
            })
            .collect();
        format!("{title}\n{}", table::columns(&rows))
    };
    let parts = purposes.map(part).join("\n\n");
    format!(
        "{parts}

`brainmvp datasets NAME` shows where to get one, what to cite and what to watch out for"
    )
}

fn modalities(set: &PublicDataSet) -> String {
    set.modalities.iter().map(|modality| modality.name()).collect::<Vec<_>>().join(" ")
}

fn details(set: &PublicDataSet) -> String {
    let geometry = match set.geometry {
        Geometry::Registered => "all images of a case on one grid",
        Geometry::Partial => "some images of a case on one grid",
        Geometry::Native => "as acquired",
    };
    let skull = if set.stripped { "skull-stripped" } else { "with skull" };
    let mut classes: Vec<&str> = set.classes.iter().map(|(_, class)| *class).collect();
    classes.sort_unstable();
    classes.dedup();
    let layout = if set.files.is_empty() { "brats" } else { "public" };
    let rows = [
        ("name", set.name.to_owned()),
        ("cases", format!("{} in the paper; {}", set.cases, set.split)),
        ("modalities", modalities(set)),
        ("labels", set.label_scheme.unwrap_or("none").to_owned()),
        ("classes", if classes.is_empty() { "none".to_owned() } else { classes.join(", ") }),
        ("images", format!("{geometry}, {skull}; the paper uses voxels of {} mm", set.spacing_mm)),
        ("layout", layout.to_owned()),
        ("archive", set.archive.to_owned()),
        ("terms", set.terms.to_owned()),
        ("cite", set.citation.to_owned()),
        ("note", set.note.to_owned()),
    ];
    format!("{}\n{}", set.title, table::columns(&rows.map(|(what, text)| [what.to_owned(), text])))
}
