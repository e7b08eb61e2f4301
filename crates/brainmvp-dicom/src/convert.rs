//! Writes series to a BIDS folder: subjects and sessions by number, images by modality.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use brainmvp_cohort::bids::{BidsFolder, BidsName, DatasetType, Eraser, Erasure, Participant};
use brainmvp_cohort::identity::{self, Finding, Source};
use brainmvp_volume::nifti::{self, Datatype, WriteOptions};
use brainmvp_volume::{Modality, Role, Volume};
use serde_json::json;

use crate::{Result, Scan, Series, SeriesVolume, SubjectKey};

/// The user's rules for series; the first one that matches applies.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SeriesRules(Vec<SeriesRule>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct SeriesRule {
    which: Which,
    /// `None` to leave the series out.
    modality: Option<Modality>,
    text: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Which {
    Number(i64),
    /// A description in lower case, with `*` for anything.
    Description(String),
}

impl SeriesRules {
    /// Adds `WHICH=MODALITY`: a series number or a description (`*` matches anything, upper and lower case are the
    /// same), and a modality or `ignore`.
    ///
    /// # Errors
    /// What is wrong with the text.
    pub fn add(&mut self, text: &str) -> std::result::Result<(), String> {
        let (which, modality) = text
            .rsplit_once('=')
            .ok_or_else(|| format!("'{text}': write SERIES=MODALITY, e.g. '*space*=flair'"))?;
        let modality = match modality.trim() {
            "ignore" => None,
            name => Some(name.parse::<Modality>().map_err(|reason| format!("{reason}, or ignore"))?),
        };
        let which = which.trim();
        let which = which.parse().map_or_else(|_| Which::Description(which.to_lowercase()), Which::Number);
        self.0.push(SeriesRule { which, modality, text: text.to_owned() });
        Ok(())
    }

    fn apply(&self, series: &Series, finding: Finding) -> Finding {
        let description = series.description().unwrap_or_default().to_lowercase();
        let fits = |rule: &&SeriesRule| match &rule.which {
            Which::Number(number) => series.number == Some(*number),
            Which::Description(pattern) => matches(pattern, &description),
        };
        match self.0.iter().find(fits) {
            Some(rule) => {
                let role = rule.modality.map_or(Role::Ignored, Role::Image);
                Finding::stated(Source::User, rule.text.as_str(), role)
            }
            None => finding,
        }
    }
}

/// Whether a text matches a pattern in which `*` stands for anything.
fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = text.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
    for part in middle {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

/// How a scan is converted.
#[derive(Default)]
pub struct ConvertOptions<'a> {
    /// The user's rules for series.
    pub rules: SeriesRules,
    /// Also write the names of series (`SeriesDescription`, `ProtocolName`): free text, which may name people.
    pub descriptions: bool,
    /// What is erased of the images of a session.
    pub eraser: Option<&'a Eraser<'a>>,
}

/// A volume of a series and the outcome of its conversion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// `sub-001 ses-01`.
    pub session: String,
    /// `series 3 (AX T1), echo 30 ms`.
    pub series: String,
    /// What it is, and why; `None` if the whole series was refused.
    pub finding: Option<Finding>,
    /// Where it was written; `None` if it was not.
    pub file: Option<PathBuf>,
    /// Why it could not be written although it should have been.
    pub failed: Option<String>,
    /// Why nothing of it was erased.
    pub untouched: Option<&'static str>,
}

/// Writes every volume with a modality below `out` as raw BIDS: `sub-001/ses-01/anat/sub-001_ses-01_T1w.nii.gz`
/// with a JSON. Subjects and sessions are numbers, which `key` assigns. Of several volumes of one modality in one
/// session the best (as acquired, thinnest slices) is `run-1`. `told` is called for each volume.
///
/// # Errors
/// Where `out` cannot be written. A volume that cannot be read or placed is reported to `told` with the reason.
pub fn convert(
    scan: &Scan,
    out: &Path,
    options: &ConvertOptions<'_>,
    key: &mut SubjectKey,
    told: &mut dyn FnMut(Told),
) -> Result<()> {
    let mut folder = BidsFolder::create(out, "converted from DICOM", DatasetType::Raw)?;
    let mut sessions: BTreeMap<(usize, usize), Vec<&Series>> = BTreeMap::new();
    for series in &scan.series {
        sessions.entry(key.number(&series.patient, &series.study)).or_default().push(series);
    }
    for ((subject, session), series) in sessions {
        let (subject, session) = (format!("{subject:03}"), format!("{session:02}"));
        let name = format!("sub-{subject} ses-{session}");
        let wanted = sort_out(&name, series, &options.rules, told);
        let named = named(wanted, &subject, &session);
        let written = write_session(&name, named, &folder, options, told)?;
        if written {
            folder.note(&subject, Participant::default());
        }
    }
    Ok(folder.finish()?)
}

/// A volume that may be written, with its series and what it is.
type Wanted<'a> = (&'a Series, SeriesVolume<'a>, Finding);

/// A volume that is to be written.
struct Named<'a> {
    series: &'a Series,
    volume: SeriesVolume<'a>,
    finding: Finding,
    modality: Modality,
    name: BidsName,
}

/// The volumes of a session with the names of their files, the best of each modality first.
fn named<'a>(wanted: BTreeMap<Modality, Vec<Wanted<'a>>>, subject: &str, session: &str) -> Vec<Named<'a>> {
    let mut all = Vec::new();
    for (modality, mut volumes) in wanted {
        volumes.sort_by_key(|(series, volume, _)| {
            let [x, y, z] = volume.grid.affine.spacing_mm();
            (volume.is_derived(), (x.max(y).max(z) * 100.0) as i64, series.number)
        });
        let several = volumes.len() > 1;
        all.extend(volumes.into_iter().enumerate().map(|(i, (series, volume, finding))| {
            let name = BidsName {
                subject: subject.to_owned(),
                session: Some(session.to_owned()),
                run: several.then_some(i + 1),
                space: None,
                description: None,
                role: Role::Image(modality),
            };
            Named { series, volume, finding, modality, name }
        }));
    }
    all
}

/// Writes the volumes of a session, and tells of each; whether there is one. Only to erase parts of them, they are read at the same time.
fn write_session(
    session: &str,
    named: Vec<Named<'_>>,
    folder: &BidsFolder,
    options: &ConvertOptions<'_>,
    told: &mut dyn FnMut(Told),
) -> Result<bool> {
    let mut written = false;
    let mut tell = |named: &Named<'_>, file: Option<PathBuf>, failed, untouched| {
        written |= file.is_some();
        told(Told {
            session: session.to_owned(),
            series: title(named.series, &named.volume.part),
            finding: Some(named.finding.clone()),
            file,
            failed,
            untouched,
        });
    };
    let mut waiting = Vec::new();
    for named in named {
        match named.volume.read() {
            Ok(voxels) if options.eraser.is_some() => waiting.push((named, voxels)),
            Ok(voxels) => tell(&named, Some(write(&named, &voxels, folder, options)?), None, None),
            Err(error @ (crate::Error::Malformed { .. } | crate::Error::Unsupported { .. })) => {
                tell(&named, None, Some(error.to_string()), None);
            }
            Err(error) => return Err(error),
        }
    }
    let Some(eraser) = options.eraser.filter(|_| !waiting.is_empty()) else { return Ok(written) };
    let (waiting, images): (Vec<_>, Vec<_>) = waiting
        .into_iter()
        .map(|(named, voxels)| {
            let modality = named.modality;
            (named, (modality, voxels))
        })
        .unzip();
    match eraser(&images) {
        Ok(erasures) => {
            for ((named, (_, mut voxels)), erasure) in waiting.iter().zip(images).zip(erasures) {
                let untouched = match erasure {
                    Erasure::Voxels(erased) => {
                        erased.apply(&mut voxels);
                        None
                    }
                    Erasure::Nothing(reason) => Some(reason),
                };
                tell(named, Some(write(named, &voxels, folder, options)?), None, untouched);
            }
        }
        Err(reason) => waiting.iter().for_each(|named| tell(named, None, Some(reason.clone()), None)),
    }
    Ok(written)
}

/// The volumes of a session by modality. Those that are none, or that cannot be used, are told.
fn sort_out<'a>(
    session: &str,
    series: Vec<&'a Series>,
    rules: &SeriesRules,
    told: &mut dyn FnMut(Told),
) -> BTreeMap<Modality, Vec<Wanted<'a>>> {
    let mut say = |series: &Series, part: &str, finding, failed: Option<String>| {
        let session = session.to_owned();
        told(Told { session, series: title(series, part), finding, file: None, failed, untouched: None });
    };
    let mut found: Vec<Wanted<'a>> = Vec::new();
    for series in series {
        match series.volumes() {
            Err(error) => say(series, "", None, Some(error.to_string())),
            Ok(volumes) => found.extend(volumes.into_iter().map(|volume| {
                let finding = rules.apply(series, volume.finding.clone());
                (series, volume, finding)
            })),
        }
    }
    identity::settle(&mut found.iter_mut().map(|(.., finding)| finding).collect::<Vec<_>>());
    let mut wanted: BTreeMap<Modality, Vec<Wanted<'a>>> = BTreeMap::new();
    for (series, volume, finding) in found {
        match finding.modality() {
            Some(modality) => wanted.entry(modality).or_default().push((series, volume, finding)),
            None => say(series, &volume.part, Some(finding), None),
        }
    }
    wanted
}

/// The evidence without the words of descriptions, which may name people: of those only what they say.
fn public_reason(finding: &Finding) -> String {
    let free = |source| {
        use Source::{Attribute, Description, Protocol, User};
        matches!(source, Description | Protocol | User | Attribute("ContrastBolusAgent"))
    };
    let told = finding.evidence.iter().map(|evidence| {
        let (source, says) = (evidence.source, &evidence.says);
        if free(source) { format!("{says} {source}") } else { evidence.to_string() }
    });
    told.collect::<Vec<_>>().join("; ")
}

fn write(
    named: &Named<'_>,
    voxels: &Volume,
    folder: &BidsFolder,
    options: &ConvertOptions<'_>,
) -> Result<PathBuf> {
    let path = folder.place(&named.name, ".nii.gz")?;
    let stored = WriteOptions { datatype: datatype_for(voxels), ..WriteOptions::default() };
    nifti::write(&path, voxels, stored).map_err(brainmvp_cohort::Error::Volume)?;
    let mut sidecar = named.volume.sidecar();
    sidecar.insert("ModalityReason".to_owned(), json!(public_reason(&named.finding)));
    if options.descriptions {
        let text = named.series.description().unwrap_or_default();
        sidecar.insert("SeriesDescription".to_owned(), json!(text));
    }
    folder.write_sidecar(&named.name, &sidecar)?;
    Ok(path)
}

/// Whole numbers are stored as integers, as in the scanner; others as single-precision floats.
fn datatype_for(volume: &Volume<f32>) -> Datatype {
    let fits =
        |value: &f32| value.fract() == 0.0 && (f32::from(i16::MIN)..=f32::from(i16::MAX)).contains(value);
    if volume.voxels().iter().all(fits) { Datatype::I16 } else { Datatype::F32 }
}

fn title(series: &Series, part: &str) -> String {
    let number = series.number.map_or("series".to_owned(), |number| format!("series {number}"));
    let description = series.description().map_or(String::new(), |text| format!(" ({text})"));
    let part = if part.is_empty() { String::new() } else { format!(", {part}") };
    format!("{number}{description}{part}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stand_for_anything() {
        for (pattern, text, expected) in [
            ("*flair*", "ax t2 flair", true),
            ("ax*", "ax t1", true),
            ("ax t1", "ax t1", true),
            ("ax", "ax t1", false),
            ("*t1*post*", "sag t1 post", true),
            ("*t1*post*", "sag post t1", false),
            ("*1", "t1", true),
            ("a*a", "a", false),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn rules_are_read() {
        let mut rules = SeriesRules::default();
        for good in ["7=t1c", "*space*=FLAIR", "scout=ignore"] {
            rules.add(good).unwrap();
        }
        assert_eq!(rules.0[0].which, Which::Number(7));
        assert_eq!(rules.0[2].modality, None);
        assert!(rules.add("x").is_err() && rules.add("x=t9").unwrap_err().contains("ignore"));
    }
}
