//! A piece of work in one program after the other.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use brainmvp_kernels::Precision;
use brainmvp_volume::AtPath as _;

use crate::child::{Failure, Sample, measure_ours};
use crate::peer::Peer;
use crate::report::{Measured, Row};
use crate::work::{Shape, Work};
use crate::{Result, preprocess};

/// A precision of our own program, and its name.
pub type Named = (&'static str, Precision);

/// Hears how the measurements go.
pub trait Watcher {
    /// Something begins, or is left out.
    fn note(&self, text: &str);
    /// Something could not be measured.
    fn warn(&self, text: &str);
}

/// What all measurements have in common.
pub struct Measuring<'a> {
    /// A folder for their files.
    pub scratch: &'a Path,
    /// Our own precisions, in the order of measuring.
    pub precisions: &'a [Named],
    /// Becomes true if the rest is not to be measured.
    pub stop: &'a AtomicBool,
    /// Hears what is measured.
    pub watcher: &'a dyn Watcher,
}

impl Measuring<'_> {
    /// Measures one work: ours first, then every setting of the peer, with so many repetitions. A failure is a row, and the
    /// others are measured.
    ///
    /// # Errors
    /// If the folder cannot be written.
    pub fn rows(&self, work: &Work, ours: &Shape, peer: Option<(&Peer, usize)>) -> Result<Vec<Row>> {
        let mut rows = Rows { measuring: self, work, ours, parameters: None, done: Vec::new() };
        for (name, _) in self.precisions.iter().filter(|(_, p)| work.products || *p == Precision::Fp32) {
            rows.add(None, "brainmvp".to_owned(), name, |folder| {
                measure_ours(work, name, ours, folder, self.stop)
            })?;
        }
        let Some((peer, repetitions)) = peer else { return Ok(rows.done) };
        let theirs = Shape { repetitions, ..ours.clone() };
        let prepared = self.scratch.join(preprocess::PREPARED);
        let compared = ours.file.is_some().then_some(prepared.as_path());
        for setting in peer.program.settings {
            rows.add(Some(setting.key), peer.title(setting), setting.precision, |folder| {
                peer.measure(work, setting, &theirs, compared, (folder, self.stop))
            })?;
        }
        Ok(rows.done)
    }
}

/// The rows of one work so far.
struct Rows<'a> {
    measuring: &'a Measuring<'a>,
    work: &'a Work,
    ours: &'a Shape,
    /// Those of the first network that was measured.
    parameters: Option<u64>,
    done: Vec<Row>,
}

impl Rows<'_> {
    /// Measures one program, unless all is to end.
    fn add(
        &mut self,
        key: Option<&'static str>,
        program: String,
        precision: &'static str,
        measure: impl FnOnce(&Path) -> std::result::Result<Sample, Failure>,
    ) -> Result<()> {
        let Measuring { scratch, stop, watcher, .. } = self.measuring;
        if stop.load(Ordering::Relaxed) {
            return Ok(());
        }
        let model = self.ours.model.map_or_else(String::new, |model| format!("{}, ", model.name()));
        let what = format!("{model}{program}, {precision}");
        watcher.note(&format!("measuring {}: {what}", self.work.title));
        let folder = scratch.join(self.work.what);
        std::fs::create_dir_all(&folder).at(&folder)?;
        let outcome = measure(&folder).and_then(|sample| {
            self.parameters = self.parameters.or(sample.parameters);
            same_network(&sample, self.parameters)?;
            Ok(Measured::of(&sample))
        });
        match &outcome {
            Ok(_) => {}
            Err(skipped @ Failure::Skipped(_)) => watcher.note(&format!("{what}: {skipped}")),
            Err(failure) => watcher.warn(&format!("{what}: {failure}")),
        }
        if key.is_none() {
            // There is none if the work has no files.
            drop(std::fs::rename(folder.join(preprocess::PREPARED), scratch.join(preprocess::PREPARED)));
        }
        // A work may leave large files.
        drop(std::fs::remove_dir_all(&folder));
        self.done.push(Row { peer: key, model: self.ours.model, program, precision, outcome });
        Ok(())
    }
}

/// Whether the network of a sample has this many parameters, as far as both are known.
fn same_network(sample: &Sample, parameters: Option<u64>) -> std::result::Result<(), Failure> {
    match sample.parameters.zip(parameters) {
        Some((found, ours)) if found != ours => {
            Err(Failure::Run(format!("its network has {found} parameters, ours {ours}")))
        }
        _ => Ok(()),
    }
}
