//! Other programs that do the same work.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;
use serde::Deserialize;

use super::child::{Failure, Sample, answer, with_arguments};
use super::{Shape, Work};
use crate::failure::{Advise as _, bad_input};

/// A Python program that does some of the work.
pub(super) struct Program {
    name: &'static str,
    /// The packages that it needs.
    packages: &'static str,
    script: &'static str,
    pub(super) settings: &'static [Setting],
}

/// A setting of a program.
pub(super) struct Setting {
    /// Its name in JSON.
    pub(super) key: &'static str,
    /// Its name in the script.
    name: &'static str,
    /// A description for the reader.
    what: &'static str,
    pub(super) precision: &'static str,
}

/// The networks. The plain setting first, then the best.
pub(super) static PYTORCH: Program = Program {
    name: "PyTorch",
    packages: "torch",
    script: include_str!("peer.py"),
    settings: &[
        Setting { key: "pytorch_fp32", name: "plain", what: ", plain", precision: "fp32" },
        Setting { key: "pytorch_fp32_best", name: "best", what: ", channels last, fused", precision: "fp32" },
        Setting { key: "pytorch_bf16", name: "bf16", what: ", channels last, fused", precision: "bf16" },
    ],
};

/// The preparation of volumes.
pub(super) static MONAI: Program = Program {
    name: "MONAI",
    packages: "torch monai nibabel",
    script: include_str!("peer_monai.py"),
    settings: &[Setting { key: "monai", name: "plain", what: "", precision: "fp32" }],
};

/// A Python with the packages that a program needs.
pub(super) struct Peer {
    pub(super) program: &'static Program,
    python: PathBuf,
    script: PathBuf,
    version: String,
    /// Whether this machine multiplies bfloat16 numbers.
    bf16: bool,
}

/// The script's report about itself.
#[derive(Deserialize)]
struct Versions {
    version: String,
}

impl Peer {
    /// Checks that a Python can do the work before any is done.
    ///
    /// # Errors
    /// Bad input if it cannot be started or lacks a package.
    pub(super) fn find(
        program: &'static Program,
        python: &Path,
        scratch: &Path,
        bf16: bool,
    ) -> anyhow::Result<Self> {
        let script = scratch.join(format!("peer_{}.py", program.name));
        std::fs::write(&script, program.script).with_context(|| script.display().to_string())?;
        let found = answer::<Versions>(Command::new(python).arg(&script).arg("--version"), scratch);
        let wrong = |reason: String| bad_input(format!("--peers {}: {reason}", python.display()));
        let packages = program.packages;
        match found {
            Ok(Versions { version }) => {
                Ok(Self { program, python: python.to_owned(), script, version, bf16 })
            }
            Err(failure @ Failure::Start(_)) => Err(wrong(failure.to_string()))
                .advise(|_| format!("give the path of a Python that has {packages}, e.g. venv/bin/python")),
            Err(failure) => Err(wrong(failure.to_string()))
                .advise(|_| format!("`{} -m pip install {packages}` installs them", python.display())),
        }
    }

    /// As shown in tables.
    pub(super) fn title(&self, setting: &Setting) -> String {
        let version = self.version.split('+').next().unwrap_or_default();
        format!("{} {version}{}", self.program.name, setting.what)
    }

    /// Does a piece of work; its result is compared with `ours` if the work has files. Without instructions for them
    /// PyTorch emulates bfloat16 numbers, which takes minutes per step and is no meaningful comparison.
    pub(super) fn measure(
        &self,
        work: &Work,
        setting: &Setting,
        shape: &Shape,
        ours: Option<&Path>,
        folder: &Path,
    ) -> Result<Sample, Failure> {
        if setting.precision == "bf16" && !self.bf16 {
            return Err(Failure::Skipped("this processor has no bfloat16 instructions (AVX-512 BF16)"));
        }
        let mut command = Command::new(&self.python);
        command.arg(&self.script).args(["--work", work.what, "--setting", setting.name]);
        command.env("OMP_NUM_THREADS", rayon::current_num_threads().to_string());
        if let Some(ours) = ours {
            command.arg("--ours").arg(ours);
        }
        answer(with_arguments(&mut command, shape), folder)
    }
}

#[cfg(test)]
mod tests {
    use super::super::WORKS;
    use super::*;

    #[test]
    fn bf16_is_measured_only_where_the_processor_has_it() {
        let folder = tempfile::tempdir().unwrap();
        let shape = Shape { size: 16, batch: 1, repetitions: 1, file: None };
        let measure = |bf16: bool, key: &str| {
            let script = folder.path().join("absent.py");
            let peer =
                Peer { program: &PYTORCH, python: "/absent".into(), script, version: String::new(), bf16 };
            let setting = PYTORCH.settings.iter().find(|setting| setting.key == key).unwrap();
            peer.measure(&WORKS[0], setting, &shape, None, folder.path()).unwrap_err()
        };
        let skipped = measure(false, "pytorch_bf16");
        assert!(matches!(skipped, Failure::Skipped(_)), "{skipped}");
        assert!(skipped.to_string().contains("no bfloat16 instructions"), "{skipped}");
        for (bf16, key) in [(true, "pytorch_bf16"), (false, "pytorch_fp32"), (false, "pytorch_fp32_best")] {
            let started = measure(bf16, key);
            assert!(matches!(started, Failure::Start(_)), "{key}: {started}");
        }
    }
}
