//! Scores as files: `metrics.json`, which can be read again, and a CSV for spreadsheets.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::Path;

use brainmvp_volume::{AtPath as _, write_atomically};
use serde::{Deserialize, Serialize};

use super::{CaseScores, Scores, SeenBefore, Summary};
use crate::{Error, Metric, Result, SegmentationConfig};

/// The version of the layout of `metrics.json`.
const VERSION: u32 = 1;

/// `metrics.json`. Numbers that JSON does not have are words, as in [`crate::Score`].
#[derive(Serialize)]
struct Written<'a> {
    version: u32,
    config: &'a SegmentationConfig,
    summary: &'a Summary,
    missing: &'a BTreeSet<String>,
    quarantined: &'a BTreeMap<String, String>,
    /// What the network had seen before, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    seen: Option<&'a SeenBefore>,
    scores: &'a [CaseScores],
}

/// The parts that are read. The summary follows from the scores.
#[derive(Deserialize)]
struct Read {
    version: u32,
    config: SegmentationConfig,
    missing: BTreeSet<String>,
    quarantined: BTreeMap<String, String>,
    scores: Vec<CaseScores>,
}

impl Scores {
    /// Writes configuration, summary, omissions and all scores as JSON, completely or not at all.
    ///
    /// # Errors
    /// Where the disk refuses or is full.
    pub fn save_json(&self, path: &Path, summary: &Summary, seen: Option<&SeenBefore>) -> Result<()> {
        let written = Written {
            version: VERSION,
            config: &self.config,
            summary,
            missing: &self.missing,
            quarantined: &self.quarantined,
            seen,
            scores: &self.rows,
        };
        let mut text = serde_json::to_string_pretty(&written).map_err(|e| Error::malformed(path, e))?;
        text.push('\n');
        Ok(write_atomically(path, |file| file.write_all(text.as_bytes()))?)
    }

    /// Writes one line for each case and region, completely or not at all: `case,region,empty`, then the metrics by name.
    /// Values are written as in JSON, without quotes; those left out are empty. Where it is known whether the network had
    /// seen a case before, the last column, `seen`, is yes or no.
    ///
    /// # Errors
    /// Where the disk refuses or is full.
    pub fn save_csv(&self, path: &Path, seen: Option<&SeenBefore>) -> Result<()> {
        let text = self.csv(seen).map_err(|e| Error::malformed(path, e))?;
        Ok(write_atomically(path, |file| file.write_all(&text))?)
    }

    fn csv(&self, seen: Option<&SeenBefore>) -> std::result::Result<Vec<u8>, Box<dyn std::error::Error>> {
        let mut writer = csv::Writer::from_writer(Vec::new());
        let metrics: &[Metric] = &self.config.metrics;
        let head = ["case", "region", "empty"].into_iter().chain(metrics.iter().map(|m| m.name));
        writer.write_record(head.chain(seen.map(|_| "seen")))?;
        for CaseScores { case, scores } in &self.rows {
            let value =
                |metric: &Metric| scores.values.get(metric).map_or_else(String::new, ToString::to_string);
            let mut record = vec![case.clone(), scores.region.clone(), scores.empty.name().to_owned()];
            record.extend(metrics.iter().map(value));
            record
                .extend(seen.map(|seen| if seen.cases.contains_key(case) { "yes" } else { "no" }.to_owned()));
            writer.write_record(record)?;
        }
        Ok(writer.into_inner()?)
    }

    /// Reads a file that [`Scores::save_json`] wrote.
    ///
    /// # Errors
    /// [`Error::File`] if it cannot be read, [`Error::Malformed`] if it does not contain scores of this version.
    pub fn load_json(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).at(path)?;
        let read: Read =
            serde_json::from_str(&text).map_err(|e| Error::malformed(path, format!("no scores: {e}")))?;
        if read.version != VERSION {
            let reason = format!("version {}, expected {VERSION}: evaluate again", read.version);
            return Err(Error::malformed(path, reason));
        }
        let mut scores =
            Self { missing: read.missing, quarantined: read.quarantined, ..Self::new(read.config) };
        for row in read.scores {
            scores.push(&row.case, vec![row.scores]).map_err(|e| Error::malformed(path, e))?;
        }
        Ok(scores)
    }
}
