//! Other programs that do the same work.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::AtomicBool;

use brainmvp_volume::AtPath as _;
use serde::Deserialize;

use crate::Error;
use crate::child::{Failure, Sample, answer, with_arguments};
use crate::work::{Shape, Work};

/// A Python program that does some of the work.
pub struct Program {
    name: &'static str,
    /// The packages that it needs.
    packages: &'static str,
    /// The file that is run, and the modules that it needs: names and contents.
    scripts: &'static [(&'static str, &'static str)],
    /// The settings that it is measured in.
    pub settings: &'static [Setting],
}

/// A setting of a program.
pub struct Setting {
    /// Its name in JSON.
    pub key: &'static str,
    /// Its name in the script.
    name: &'static str,
    /// A description for the reader.
    what: &'static str,
    /// Its precision.
    pub precision: &'static str,
}

/// The networks. The plain setting first, then the best.
pub static PYTORCH: Program = Program {
    name: "PyTorch",
    packages: "torch",
    scripts: &[
        ("peer.py", include_str!("peer.py")),
        ("peer_layers.py", include_str!("peer_layers.py")),
        ("peer_networks.py", include_str!("peer_networks.py")),
        ("peer_swin.py", include_str!("peer_swin.py")),
    ],
    settings: &[
        Setting { key: "pytorch_fp32", name: "plain", what: ", plain", precision: "fp32" },
        Setting { key: "pytorch_fp32_best", name: "best", what: ", channels last, fused", precision: "fp32" },
        Setting { key: "pytorch_bf16", name: "bf16", what: ", channels last, fused", precision: "bf16" },
    ],
};

/// The preparation of volumes.
pub static MONAI: Program = Program {
    name: "MONAI",
    packages: "torch monai nibabel",
    scripts: &[("peer_monai.py", include_str!("peer_monai.py"))],
    settings: &[Setting { key: "monai", name: "plain", what: "", precision: "fp32" }],
};

/// A Python with the packages that a program needs.
pub struct Peer {
    /// The program.
    pub program: &'static Program,
    python: PathBuf,
    script: PathBuf,
    versions: Versions,
    /// Whether this machine multiplies bfloat16 numbers.
    bf16: bool,
}

/// The script's report about itself.
#[derive(Default, Deserialize)]
struct Versions {
    version: String,
    /// The networks that it has for each work. A work that is not named needs none.
    #[serde(default)]
    models: BTreeMap<String, Vec<String>>,
}

impl Peer {
    /// Checks that a Python can do the work before any is done.
    ///
    /// # Errors
    /// If it cannot be started or lacks a package.
    pub fn find(
        program: &'static Program,
        python: &Path,
        scratch: &Path,
        bf16: bool,
        stop: &AtomicBool,
    ) -> Result<Self, Error> {
        for (name, script) in program.scripts {
            let path = scratch.join(name);
            std::fs::write(&path, script).at(&path)?;
        }
        let script = scratch.join(program.scripts[0].0);
        let found = answer::<Versions>(Command::new(python).arg(&script).arg("--version"), scratch, stop);
        let packages = program.packages;
        match found {
            Ok(versions) => Ok(Self { program, python: python.to_owned(), script, versions, bf16 }),
            Err(failure @ Failure::Start(_)) => {
                let advice = format!("give the path of a Python that has {packages}, e.g. venv/bin/python");
                Err(Error::of_peer(python, failure, advice))
            }
            Err(failure) => {
                let advice = format!("`{} -m pip install {packages}` installs them", python.display());
                Err(Error::of_peer(python, failure, advice))
            }
        }
    }

    /// As shown in tables.
    pub fn title(&self, setting: &Setting) -> String {
        let version = self.versions.version.split('+').next().unwrap_or_default();
        format!("{} {version}{}", self.program.name, setting.what)
    }

    /// Does a piece of work; its result is compared with `ours` if the work has files. Without instructions for them
    /// PyTorch emulates bfloat16 numbers, which takes minutes per step and is no meaningful comparison.
    pub(crate) fn measure(
        &self,
        work: &Work,
        setting: &Setting,
        shape: &Shape,
        ours: Option<&Path>,
        (folder, stop): (&Path, &AtomicBool),
    ) -> Result<Sample, Failure> {
        if setting.precision == "bf16" && !self.bf16 {
            return Err(Failure::Skipped("this processor has no bfloat16 instructions (AVX-512 BF16)"));
        }
        if let (Some(model), Some(known)) = (shape.model, self.versions.models.get(work.what))
            && !known.iter().any(|known| known == model.name())
        {
            return Err(Failure::Skipped("there is no such network in our scripts for it"));
        }
        let mut command = Command::new(&self.python);
        // Compiled modules would be left in the folder.
        command.env("PYTHONDONTWRITEBYTECODE", "1");
        command.arg(&self.script).args(["--work", work.what, "--setting", setting.name]);
        command.env("OMP_NUM_THREADS", rayon::current_num_threads().to_string());
        if let Some(ours) = ours {
            command.arg("--ours").arg(ours);
        }
        answer(with_arguments(&mut command, shape), folder, stop)
    }
}

#[cfg(test)]
mod tests {
    use brainmvp_nets::networks::PresetName;

    use super::*;
    use crate::work::WORKS;

    const SHAPE: Shape = Shape { model: None, size: 16, batch: 1, repetitions: 1, file: None };

    #[test]
    fn networks_that_it_does_not_have_are_skipped() {
        let models = BTreeMap::from([("step".to_owned(), vec!["unet3d".to_owned()])]);
        let versions = Versions { models, ..Versions::default() };
        let (python, script) = ("/absent".into(), "absent.py".into());
        let peer = Peer { program: &PYTORCH, python, script, versions, bf16: false };
        let folder = tempfile::tempdir().unwrap();
        let measure = |what: &str, model: &str| {
            let work = WORKS.iter().find(|work| work.what == what).unwrap();
            let shape = Shape { model: Some(PresetName::known(model)), ..SHAPE };
            peer.measure(work, &PYTORCH.settings[0], &shape, None, (folder.path(), &AtomicBool::new(false)))
                .unwrap_err()
        };
        assert!(matches!(measure("step", "unetr"), Failure::Skipped(_)));
        for (what, model) in [("step", "unet3d"), ("finetune", "unetr")] {
            assert!(matches!(measure(what, model), Failure::Start(_)), "{what} {model}");
        }
    }

    #[test]
    fn bf16_is_measured_only_where_the_processor_has_it() {
        let folder = tempfile::tempdir().unwrap();
        let shape = Shape { model: Some(PresetName::known("unetr")), ..SHAPE };
        let measure = |bf16: bool, key: &str| {
            let script = folder.path().join("absent.py");
            let peer = Peer {
                program: &PYTORCH,
                python: "/absent".into(),
                script,
                versions: Versions::default(),
                bf16,
            };
            let setting = PYTORCH.settings.iter().find(|setting| setting.key == key).unwrap();
            peer.measure(&WORKS[0], setting, &shape, None, (folder.path(), &AtomicBool::new(false)))
                .unwrap_err()
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
