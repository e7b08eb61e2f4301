//! What is measured: one list of the work that this program and others do.

use std::path::{Path, PathBuf};

use brainmvp_nets::networks::{NetworkConfig, PresetName};

use crate::child::Sample;
use crate::peer::{MONAI, PYTORCH, Program};
use crate::{Result, networks, preprocess, step};

/// Work that is done by our program and by its peers, each time in a process of its own.
pub struct Work {
    /// The word on the command line for it.
    pub what: &'static str,
    /// Which of several it is, if the word stands for several.
    pub part: Option<&'static str>,
    /// Its name in words.
    pub title: &'static str,
    /// What one repetition does.
    pub unit: &'static str,
    /// Its input.
    pub input: fn(&Shape) -> String,
    /// Makes the file that it reads, if it reads one.
    pub write: Option<fn(&Shape, &Path) -> Result<()>>,
    /// Does the work in this process, with files in a folder.
    pub measure: fn(&Shape, &Path) -> Result<Sample>,
    /// Default number of repetitions, for us and for peers.
    pub repetitions: [usize; 2],
    /// Whether it has matrix products, whose precision can be chosen.
    pub products: bool,
    /// The peer that does the same.
    pub peer: &'static Program,
}

/// All work; more is a line here, and a function of the same name in the script of the peer.
pub static WORKS: &[Work] = &[
    Work {
        what: "step",
        title: "pre-training step",
        input: |Shape { size, batch, .. }| format!("cases {batch}, two {size}^3 views each"),
        measure: step::measure,
        ..NETWORK
    },
    Work {
        what: "finetune",
        title: "fine-tuning step",
        input: |Shape { size, batch, .. }| {
            format!("cases {batch}, two {size}^3 copies of four modalities each")
        },
        measure: networks::finetune,
        ..NETWORK
    },
    Work {
        what: "inference",
        title: "inference",
        unit: "window",
        input: |Shape { size, batch, .. }| format!("windows of {size}^3, four modalities, {batch} at once"),
        measure: networks::inference,
        ..NETWORK
    },
    Work {
        part: Some("clinical"),
        title: "preprocessing, clinical series",
        write: Some(preprocess::write_clinical),
        ..PREPARATION
    },
    Work {
        part: Some("registered"),
        title: "preprocessing, registered series",
        write: Some(preprocess::write_registered),
        ..PREPARATION
    },
    Work { part: Some(GIVEN), title: "preprocessing, given file", ..PREPARATION },
];

/// Common to the work of networks.
const NETWORK: Work = Work {
    what: "",
    part: None,
    title: "",
    unit: "step",
    input: |_| String::new(),
    write: None,
    measure: step::measure,
    repetitions: [5, 2],
    products: true,
    peer: &PYTORCH,
};

/// Common to the work of preparing volumes.
pub const PREPARATION: Work = Work {
    what: "preprocess",
    unit: "volume",
    input: preprocess::described,
    measure: preprocess::measure,
    repetitions: [20, 5],
    products: false,
    peer: &MONAI,
    ..NETWORK
};

/// The part that works on the user's file.
pub const GIVEN: &str = "given";

/// The amount of work.
#[derive(Debug, Clone)]
pub struct Shape {
    /// The network, if the work has one.
    pub model: Option<PresetName>,
    /// Voxels along an axis of a patch.
    pub size: usize,
    /// Cases of a batch.
    pub batch: usize,
    /// Number of repetitions.
    pub repetitions: usize,
    /// The file that is prepared.
    pub file: Option<PathBuf>,
}

impl Shape {
    /// The network, for one modality.
    pub(crate) fn network(&self) -> NetworkConfig {
        self.model.unwrap_or_default().network()
    }
}
