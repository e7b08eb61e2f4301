//! PyTorch, doing the same work.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;
use serde::Deserialize;

use super::child::{Failure, Sample, answer, arguments};
use super::{Shape, Work};
use crate::failure::{Advise as _, bad_input};

/// The networks in PyTorch, and how they are measured.
const SCRIPT: &str = include_str!("peer.py");

/// How PyTorch is used.
pub(super) struct Setting {
    /// Its name in JSON.
    pub(super) key: &'static str,
    /// Its name in the script.
    name: &'static str,
    /// What a reader should know of it.
    what: &'static str,
    pub(super) precision: &'static str,
}

/// The plain one first, then the best.
pub(super) static SETTINGS: &[Setting] = &[
    Setting { key: "pytorch_fp32", name: "plain", what: "plain", precision: "fp32" },
    Setting { key: "pytorch_fp32_best", name: "best", what: "channels last, fused", precision: "fp32" },
    Setting { key: "pytorch_bf16", name: "bf16", what: "channels last, fused", precision: "bf16" },
];

/// A Python that has PyTorch.
pub(super) struct Peer {
    python: PathBuf,
    script: PathBuf,
    version: String,
}

/// What the script says of itself.
#[derive(Deserialize)]
struct Versions {
    pytorch: String,
}

impl Peer {
    /// Makes sure that a Python can do the work before any is done.
    ///
    /// # Errors
    /// Bad input where it cannot be started or lacks a package.
    pub(super) fn find(python: &Path, scratch: &Path) -> anyhow::Result<Self> {
        let script = scratch.join("peer.py");
        std::fs::write(&script, SCRIPT).with_context(|| script.display().to_string())?;
        let found = answer::<Versions>(Command::new(python).arg(&script).arg("--version"), scratch);
        let wrong = |reason: String| bad_input(format!("--peers {}: {reason}", python.display()));
        match found {
            Ok(Versions { pytorch }) => Ok(Self { python: python.to_owned(), script, version: pytorch }),
            Err(failure @ Failure::Start(_)) => Err(wrong(failure.to_string()))
                .advise(|_| "give the path of a Python that has torch, e.g. venv/bin/python".to_owned()),
            Err(Failure::Run(reason)) => Err(wrong(reason))
                .advise(|_| format!("`{} -m pip install torch` installs what it takes", python.display())),
        }
    }

    /// As it stands in tables.
    pub(super) fn program(&self, setting: &Setting) -> String {
        let version = self.version.split('+').next().unwrap_or_default();
        format!("PyTorch {version}, {}", setting.what)
    }

    pub(super) fn measure(
        &self,
        work: &Work,
        setting: &Setting,
        shape: &Shape,
        folder: &Path,
    ) -> Result<Sample, Failure> {
        let mut command = Command::new(&self.python);
        command.arg(&self.script).args(["--work", work.name, "--setting", setting.name]);
        command.env("OMP_NUM_THREADS", rayon::current_num_threads().to_string());
        answer(command.args(arguments(shape)), folder)
    }
}
