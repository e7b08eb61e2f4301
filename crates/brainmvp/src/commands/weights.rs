//! `brainmvp import` and `brainmvp export`

use std::path::{Path, PathBuf};

use brainmvp_nets::networks::NetworkConfig;
use brainmvp_nets::weights::Head;
use brainmvp_prep::Preparation;
use brainmvp_train::saved::{Format, SavedNetwork};
use brainmvp_train::source::{CheckpointChoice, Source};
use brainmvp_volume::Modality;
use clap::Args;

use super::{counted, table};
use crate::argument;
use crate::failure::{Advise as _, bad_input};
use crate::ui::Ui;

/// Read weights from a PyTorch checkpoint (.pt, .pth) and save them as a weights file
///
/// The network is recognised by the names and shapes of its tensors: one of `model.preset`, of any widths and depths,
/// with the decoder of pre-training, one for segmentation, a classifier, or none; with or without the prefixes that
/// wrappers add to names. Anything else in the checkpoint (optimiser, schedule) is ignored, and no code in it is run.
/// The weights file is a safetensors file with PyTorch's names and axes.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  brainmvp import released.pt --out weights.safetensors
  brainmvp templates weights.safetensors --out templates")]
pub(crate) struct Import {
    /// PyTorch checkpoint, or a safetensors file with the same names
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Weights file to write
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// Write the weights of a run for PyTorch, with the names, shapes and axes of the published networks
///
/// By default, this is the checkpoint with the best validation score, or the last one of a run without validation, such
/// as pre-training. In PyTorch: model.load_state_dict(torch.load("model.pt", weights_only=True), strict=True)
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  brainmvp export run --format pytorch --out model.pt
  brainmvp export run --format safetensors --out weights.safetensors
  brainmvp export run --checkpoint 1000 --format pytorch --out step-1000.pt
  brainmvp export weights.safetensors --format pytorch --out model.pt")]
pub(crate) struct Export {
    /// Folder of a run, a checkpoint in it, or a weights file
    #[arg(value_name = "RUN|WEIGHTS")]
    source: PathBuf,
    /// Checkpoint of the run: best, last, or the number of a step
    #[arg(long, value_name = "best|last|STEP")]
    checkpoint: Option<CheckpointChoice>,
    /// Format to write: pytorch, a state dict for torch.load; safetensors, a weights file
    #[arg(long, value_name = "FORMAT", value_parser = argument::choice(&FORMATS))]
    format: Format,
    /// File to write
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

static FORMATS: [(&str, Format); 2] = [("safetensors", Format::Safetensors), ("pytorch", Format::Pytorch)];

impl Import {
    pub(crate) fn run(self, ui: &Ui) -> anyhow::Result<()> {
        if self.file.is_dir() {
            return Err(bad_input(format!("{}: is a folder, not a PyTorch checkpoint", self.file.display())))
                .advise(|_| {
                    "to make a weights file of a run, use `brainmvp export RUN --format safetensors`"
                        .to_owned()
                });
        }
        refuse_same_file(&self.file, &self.out)?;
        let saved = open((&self.file).into())?;
        describe(&saved, ui)?;
        write(&saved, &self.out, Format::Safetensors, ui)
    }
}

impl Export {
    pub(crate) fn run(self, ui: &Ui) -> anyhow::Result<()> {
        refuse_same_file(&self.source, &self.out)?;
        let saved = open(Source { path: self.source, checkpoint: self.checkpoint })?;
        describe(&saved, ui)?;
        write(&saved, &self.out, self.format, ui)?;
        for file in saved.about.preparation.iter().flat_map(Preparation::files) {
            ui.note(format!(
                "note: new cases need the atlas {}, which is not part of these weights: keep {} and name it with \
                 --atlas",
                file.name(),
                saved.folder.join("files").display()
            ));
        }
        Ok(())
    }
}

fn open(source: Source) -> anyhow::Result<SavedNetwork> {
    SavedNetwork::open(source).advise(|_| {
        "supported are the folder of a run, a weights file, and a PyTorch checkpoint of a known network with its \
         state dict (torch.save(model.state_dict(), ...), or a dictionary that contains it)"
            .to_owned()
    })
}

fn refuse_same_file(source: &Path, out: &Path) -> anyhow::Result<()> {
    let same = |a: &Path, b: &Path| a.canonicalize().is_ok_and(|a| b.canonicalize().is_ok_and(|b| a == b));
    if same(source, out) {
        return Err(bad_input(format!("{}: is the input, so it cannot be --out too", out.display())));
    }
    argument::prepare_output_file(out)
}

/// Prints what was read.
fn describe(saved: &SavedNetwork, ui: &Ui) -> anyhow::Result<()> {
    let values: usize =
        saved.weights.values().map(|tensor| tensor.shape().to_vec().iter().product::<usize>()).sum();
    let mut rows = vec![
        ["read".to_owned(), saved.origin.clone()],
        ["network".to_owned(), network(&saved.about.network)],
        ["head".to_owned(), head(saved.about.head)],
        ["weights".to_owned(), format!("{} of {values} values", counted(saved.weights.len(), "tensor"))],
        ["templates".to_owned(), templates(saved)],
    ];
    if let Some(assumed) = &saved.assumed {
        rows.push(["assumed".to_owned(), format!("{assumed}: the file does not say")]);
    }
    rows.push(["missing".to_owned(), listed(saved.missing.iter())]);
    rows.push(["unused".to_owned(), listed(saved.unused.keys())]);
    ui.result(table::columns(&rows))
}

fn network(network: &NetworkConfig) -> String {
    let channels = counted(network.in_channels(), "input channel");
    format!("{}, {}, {channels}", network.title(), network.sizes())
}

fn head(head: Head) -> String {
    match head {
        Head::None => "none: only the encoder".to_owned(),
        Head::Reconstruction => "decoder of pre-training".to_owned(),
        Head::Segmentation { classes } => format!("segmentation, {}", counted(classes, "output channel")),
        Head::Classification { classes } => format!("classifier of {classes} classes"),
        Head::Regression => "regression, a number".to_owned(),
    }
}

fn templates(saved: &SavedNetwork) -> String {
    let Some(templates) = &saved.templates else { return "none".to_owned() };
    let is_learnt = |volume: &[f32]| volume.iter().any(|value| *value != volume[0]);
    let learnt = Modality::ALL.iter().zip(&templates.volumes).filter(|(_, volume)| is_learnt(volume));
    let names: Vec<&str> = learnt.map(|(modality, _)| modality.name()).collect();
    let [x, y, z] = templates.size;
    let place = if templates.affine.is_some() { "" } else { "; their position is not known" };
    let names = if names.is_empty() { "all blank".to_owned() } else { names.join(" ") };
    format!("{names} ({x} x {y} x {z} voxels{place})")
}

/// How many there are, and the first one.
fn listed<'a>(mut names: impl ExactSizeIterator<Item = &'a String>) -> String {
    let count = names.len();
    match names.next() {
        None => "none".to_owned(),
        Some(only) if count == 1 => format!("1 tensor: {only}"),
        Some(first) => format!("{count} tensors, such as {first}"),
    }
}

fn write(saved: &SavedNetwork, out: &Path, format: Format, ui: &Ui) -> anyhow::Result<()> {
    let filled = saved.write(out, format)?;
    if !filled.is_empty() {
        ui.note(format!(
            "note: the published network has {} more, which were not there; they are freshly initialised: {}",
            counted(filled.len(), "tensor"),
            listed(filled.iter())
        ));
    }
    ui.result(format!("{} written", out.display()))
}
