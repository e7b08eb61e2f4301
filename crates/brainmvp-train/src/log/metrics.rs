//! The record of a run: one JSON object per line; in `metrics.jsonl` one line per step, in `validation.jsonl` one per
//! validation.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

use brainmvp_volume::{AtPath as _, FileError, write_atomically};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};

use super::{Error, Result};

/// The numbers of one optimiser step, in the order of their keys in the file.
///
/// A number is written as the shortest text that represents only this number, so that identical runs, and only they,
/// leave identical text. Values that are not finite are written as `null` and read as NaN.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepMetrics {
    /// Optimiser steps taken, this one included.
    pub step: u64,
    /// Passes over the training cases, counted from 0.
    pub epoch: u64,
    /// The total loss, as minimised.
    #[serde(deserialize_with = "number_or_null")]
    pub loss: f64,
    /// The terms of the loss and their keys, which begin with `loss_`, such as `loss_cross`.
    #[serde(flatten, with = "terms")]
    pub losses: Vec<(String, f64)>,
    /// The learning rate of this step.
    #[serde(deserialize_with = "number_or_null")]
    pub lr: f64,
    /// Wall-clock time of the step in seconds.
    #[serde(deserialize_with = "number_or_null")]
    pub seconds: f64,
    /// Samples (patches of one case) that went through the network per second.
    #[serde(deserialize_with = "number_or_null")]
    pub samples_per_s: f64,
    /// The share of `seconds`, 0 to 1, spent waiting for data.
    #[serde(deserialize_with = "number_or_null")]
    pub wait_share: f64,
    /// What the method counts, by name: how many steps so far have moved each template.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub counts: BTreeMap<String, usize>,
    /// Cases that could no longer be read, and why. Others have taken their places in this step.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lost: Vec<Lost>,
}

/// A case that could not be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lost {
    /// Its name.
    pub case: String,
    /// What happened.
    pub reason: String,
}

/// The result of a validation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ValidationMetrics {
    /// Optimiser steps taken.
    pub step: u64,
    /// Passes over the training cases, counted from 0.
    pub epoch: u64,
    /// Whether no earlier validation had a higher score.
    pub best: bool,
    /// Scores by name, with the one by which runs are compared first; higher is better.
    #[serde(with = "scores")]
    pub scores: Vec<(String, f64)>,
    /// Wall-clock time of the validation in seconds.
    #[serde(deserialize_with = "number_or_null")]
    pub seconds: f64,
}

/// A line of a record.
pub trait Line: Serialize + DeserializeOwned {
    /// Optimiser steps taken when it was written.
    fn step(&self) -> u64;
}

impl Line for StepMetrics {
    fn step(&self) -> u64 {
        self.step
    }
}

impl Line for ValidationMetrics {
    fn step(&self) -> u64 {
        self.step
    }
}

/// Appends to a record.
#[derive(Debug)]
pub struct LineWriter<L> {
    path: PathBuf,
    file: File,
    line: PhantomData<L>,
}

impl<L: Line> LineWriter<L> {
    /// Opens the file for a run that continues after the step `resume_after_step`, or for a new run if `None`.
    ///
    /// A resumed run keeps the lines up to and including that step byte for byte and drops the later ones and an
    /// unfinished last line, atomically; a missing file counts as empty. A new run starts an
    /// empty file.
    ///
    /// # Errors
    /// If the file cannot be read or written, or if a finished line is not a line of metrics; the file is then unchanged.
    pub fn open(path: &Path, resume_after_step: Option<u64>) -> Result<Self> {
        let kept = match resume_after_step {
            Some(last_step) => lines_up_to::<L>(path, last_step)?,
            None => Vec::new(),
        };
        write_atomically(path, |file| file.write_all(&kept))?;
        let file = OpenOptions::new().append(true).open(path).at(path)?;
        Ok(Self { path: path.to_owned(), file, line: PhantomData })
    }

    /// Appends a line and passes it to the system at once, so that a killed process loses none.
    ///
    /// # Errors
    /// If the file cannot be written. It may then end in an unfinished line, which [`LineWriter::open`] and
    /// [`read_lines`] leave out.
    pub fn write(&mut self, metrics: &L) -> Result<()> {
        let mut line = serde_json::to_vec(metrics).map_err(|error| FileError::new(&self.path, error))?;
        line.push(b'\n');
        Ok(self.file.write_all(&line).at(&self.path)?)
    }
}

/// All finished lines of a `metrics.jsonl`, in the order of the file.
///
/// # Errors
/// As [`read_lines`].
pub fn read_metrics(path: &Path) -> Result<Vec<StepMetrics>> {
    read_lines(path)
}

/// All finished lines of a record, in the order of the file.
///
/// # Errors
/// If the file cannot be read, or if a line other than an unfinished last one is not of this kind.
pub fn read_lines<L: Line>(path: &Path) -> Result<Vec<L>> {
    let content = std::fs::read(path).at(path)?;
    Ok(parse(path, &content)?.into_iter().map(|(_, metrics)| metrics).collect())
}

/// The bytes of the finished lines of steps up to `last_step`.
fn lines_up_to<L: Line>(path: &Path, last_step: u64) -> Result<Vec<u8>> {
    let content = match std::fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        result => result.at(path)?,
    };
    let lines = parse::<L>(path, &content)?;
    let kept = lines.iter().filter(|(_, metrics)| metrics.step() <= last_step);
    Ok(kept.flat_map(|(line, _)| [*line, b"\n"]).flatten().copied().collect())
}

/// The finished lines, each with its contents.
///
/// A line is finished if it is complete JSON, with or without its line feed: no part of an object is an object.
fn parse<'a, L: Line>(path: &Path, content: &'a [u8]) -> Result<Vec<(&'a [u8], L)>> {
    let mut lines = Vec::new();
    for (index, line) in content.split_inclusive(|byte| *byte == b'\n').enumerate() {
        let text = line.strip_suffix(b"\n");
        match serde_json::from_slice(line) {
            Ok(metrics) => lines.push((text.unwrap_or(line), metrics)),
            Err(_) if text.is_none() => {}
            Err(reason) => {
                return Err(Error::Line { path: path.to_owned(), line: index + 1, reason });
            }
        }
    }
    Ok(lines)
}

/// JSON has no NaN: `null` stands for it.
fn number_or_null<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<f64, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or(f64::NAN))
}

/// Scores as one object.
mod scores {
    use serde::{Deserialize, Deserializer, Serializer};
    use serde_json::{Map, Value};

    pub(super) fn serialize<S: Serializer>(
        scores: &[(String, f64)],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_map(scores.iter().map(|(name, value)| (name, value)))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<(String, f64)>, D::Error> {
        let scores = Map::<String, Value>::deserialize(deserializer)?;
        Ok(scores.into_iter().map(|(name, value)| (name, value.as_f64().unwrap_or(f64::NAN))).collect())
    }
}

/// The terms of the loss as keys among the others, recognised by their prefix.
mod terms {
    use std::fmt;

    use serde::de::{IgnoredAny, MapAccess, Visitor};
    use serde::{Deserializer, Serializer};

    const PREFIX: &str = "loss_";

    pub(super) fn serialize<S: Serializer>(
        terms: &[(String, f64)],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_map(terms.iter().map(|(key, value)| (key, value)))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<(String, f64)>, D::Error> {
        deserializer.deserialize_map(Terms)
    }

    struct Terms;

    impl<'de> Visitor<'de> for Terms {
        type Value = Vec<(String, f64)>;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("an object of numbers")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut terms = Vec::new();
            while let Some(key) = map.next_key::<String>()? {
                if key.starts_with(PREFIX) {
                    terms.push((key, map.next_value::<Option<f64>>()?.unwrap_or(f64::NAN)));
                } else {
                    // A key of a later version.
                    map.next_value::<IgnoredAny>()?;
                }
            }
            Ok(terms)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(step: u64) -> StepMetrics {
        let terms = [("loss_cross", 0.25), ("loss_distill", 0.125), ("loss_contrast", 0.3)];
        StepMetrics {
            step,
            epoch: step / 10,
            loss: step as f64 / 10.0,
            losses: terms.map(|(name, value)| (name.to_owned(), value)).to_vec(),
            lr: 3e-4,
            seconds: 1.5,
            samples_per_s: 2.0,
            wait_share: 0.01,
            counts: BTreeMap::new(),
            lost: Vec::new(),
        }
    }

    /// A file with the steps 1 to `last`.
    fn record(path: &Path, last: u64) {
        let mut writer = LineWriter::open(path, None).unwrap();
        (1..=last).for_each(|index| writer.write(&step(index)).unwrap());
    }

    fn steps(path: &Path) -> Vec<u64> {
        read_metrics(path).unwrap().iter().map(|metrics| metrics.step).collect()
    }

    #[test]
    fn a_line_has_the_promised_keys_in_order() {
        let text = serde_json::to_string(&step(12)).unwrap();
        assert_eq!(
            text,
            "{\"step\":12,\"epoch\":1,\"loss\":1.2,\"loss_cross\":0.25,\"loss_distill\":0.125,\
             \"loss_contrast\":0.3,\"lr\":0.0003,\"seconds\":1.5,\"samples_per_s\":2.0,\"wait_share\":0.01}"
        );
        let moved = StepMetrics { counts: [("template updates t1c".to_owned(), 7)].into(), ..step(12) };
        let text = serde_json::to_string(&moved).unwrap();
        assert!(text.ends_with("\"wait_share\":0.01,\"counts\":{\"template updates t1c\":7}}"), "{text}");
        assert_eq!(serde_json::from_str::<StepMetrics>(&text).unwrap(), moved);
    }

    #[test]
    fn text_stands_for_one_number_only() {
        // Multiples of an odd number visit the bit patterns evenly: all exponents, subnormals, both signs.
        let patterns = (0..100_000_u64).map(|index| index.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        for value in patterns.map(f64::from_bits).filter(|value| value.is_finite()) {
            let text = serde_json::to_string(&StepMetrics { lr: value, ..step(1) }).unwrap();
            let (_, tail) = text.split_once("\"lr\":").unwrap();
            let (number, _) = tail.split_once(',').unwrap();
            assert_eq!(number.parse::<f64>().unwrap().to_bits(), value.to_bits(), "{number}");
            let read: StepMetrics = serde_json::from_str(&text).unwrap();
            // serde_json reads fast rather than right to the last bits.
            assert!(read.lr.to_bits().abs_diff(value.to_bits()) <= 4, "{number}");
        }
    }

    #[test]
    fn what_is_not_finite_is_null() {
        let mut bad = step(1);
        (bad.loss, bad.losses[1].1, bad.wait_share) = (f64::NAN, f64::INFINITY, f64::NEG_INFINITY);
        let text = serde_json::to_string(&bad).unwrap();
        assert!(text.contains("\"loss\":null,\"loss_cross\":0.25,\"loss_distill\":null,"), "{text}");
        let read: StepMetrics = serde_json::from_str(&text).unwrap();
        assert!(read.loss.is_nan() && read.losses[1].1.is_nan() && read.wait_share.is_nan());
    }

    #[test]
    fn resuming_anywhere_gives_the_bytes_of_one_run() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.jsonl");
        record(&path, 3);
        let whole = std::fs::read(&path).unwrap();
        for length in (0..=whole.len()).step_by(11) {
            std::fs::write(&path, &whole[..length]).unwrap();
            let finished = read_metrics(&path).unwrap().len() as u64;
            for last_step in 0..=finished {
                std::fs::write(&path, &whole[..length]).unwrap();
                let mut writer = LineWriter::open(&path, Some(last_step)).unwrap();
                (last_step + 1..=3).for_each(|index| writer.write(&step(index)).unwrap());
                assert!(std::fs::read(&path).unwrap() == whole, "cut at {length}, resumed at {last_step}");
            }
        }
    }

    #[test]
    fn a_new_run_starts_empty_and_a_missing_file_resumes_empty() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.jsonl");
        LineWriter::open(&path, Some(7)).unwrap().write(&step(8)).unwrap();
        assert_eq!(steps(&path), [8]);
        LineWriter::open(&path, None).unwrap().write(&step(1)).unwrap();
        assert_eq!(steps(&path), [1]);
    }

    #[test]
    fn a_bad_line_is_named_and_the_file_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.jsonl");
        record(&path, 3);
        let text = std::fs::read_to_string(&path).unwrap().replacen("\"step\":2", "\"step\":-", 1);
        std::fs::write(&path, &text).unwrap();
        for error in
            [read_metrics(&path).unwrap_err(), LineWriter::<StepMetrics>::open(&path, Some(3)).unwrap_err()]
        {
            assert!(error.to_string().contains("metrics.jsonl: line 2 "), "{error}");
        }
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
    }

    #[test]
    fn validations_keep_the_order_of_their_scores() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("validation.jsonl");
        let scores = [("dice", 0.5), ("dice WT", 0.75), ("dice ET", 0.25)];
        let scores = scores.map(|(name, value)| (name.to_owned(), value)).to_vec();
        let metrics = ValidationMetrics { step: 4, epoch: 1, best: true, scores, seconds: 2.0 };
        LineWriter::open(&path, None).unwrap().write(&metrics).unwrap();
        assert_eq!(read_lines::<ValidationMetrics>(&path).unwrap(), [metrics]);
    }

    #[test]
    fn a_torn_line_of_any_bytes_and_keys_of_later_versions_are_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.jsonl");
        let line = serde_json::to_string(&step(1)).unwrap().replace("\"lr\"", "\"note\":\"x\",\"lr\"");
        std::fs::write(&path, [line.as_bytes(), b"\n\0\0\xff\0"].concat()).unwrap();
        assert_eq!(read_metrics(&path).unwrap(), [step(1)]);
    }
}
