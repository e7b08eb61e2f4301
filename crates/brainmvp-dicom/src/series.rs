//! A series: its files, the volumes in it, and how they are separated.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use brainmvp_cohort::identity::Finding;
use brainmvp_volume::{Grid, Volume};

use crate::acquisition::Acquisition;
use crate::file::ImageFile;
use crate::frame::Frame;
use crate::geometry::{self, SAME_PLACE_MM};
use crate::{Error, Result, identity, sidecar};

/// The images of one series of one study.
#[derive(Debug)]
pub struct Series {
    /// The patient's id, to distinguish patients; never written to converted data.
    pub patient: String,
    /// The study's UID.
    pub study: String,
    /// The scanner's number for the series.
    pub number: Option<i64>,
    pub(crate) files: Vec<ImageFile>,
    /// How many files were duplicates, with the same instance UID as another.
    pub copies: usize,
}

/// One volume of a series, which may have several: echoes, b-values, time points.
#[derive(Debug)]
pub struct SeriesVolume<'a> {
    /// The grid of its voxels.
    pub grid: Grid,
    /// What it is, with the evidence.
    pub finding: Finding,
    /// What distinguishes it from the other volumes of its series, e.g. `echo 30 ms`; empty if there are none.
    pub part: String,
    /// Along z.
    slices: Vec<Slice<'a>>,
}

/// A frame of a file.
#[derive(Debug, Clone, Copy)]
struct Slice<'a> {
    file: &'a ImageFile,
    index: usize,
}

impl<'a> Slice<'a> {
    fn frame(&self) -> &'a Frame {
        &self.file.frames[self.index]
    }
}

impl Series {
    /// A series of one file or more.
    pub(crate) fn new(mut files: Vec<ImageFile>) -> Self {
        files.sort_by(|a, b| a.path.cmp(&b.path));
        let before = files.len();
        let mut seen = HashSet::new();
        files.retain(|file| file.instance.is_empty() || seen.insert(file.instance.clone()));
        let first = &files[0];
        Self {
            patient: first.patient.clone(),
            study: first.study.clone(),
            number: first.series_number,
            copies: before - files.len(),
            files,
        }
    }

    /// The first file, by which messages name the series.
    pub fn first_file(&self) -> &Path {
        &self.files[0].path
    }

    /// The name that the scanner's operators gave it: `SeriesDescription`, else `ProtocolName`. Free text.
    pub fn description(&self) -> Option<&str> {
        let acquisition = self.acquisition();
        acquisition.description.as_deref().or(acquisition.protocol.as_deref())
    }

    /// The number of slices in all volumes.
    pub fn slice_count(&self) -> usize {
        self.files.iter().map(|file| file.frames.len()).sum()
    }

    fn acquisition(&self) -> &Acquisition {
        &self.files[0].acquisition
    }

    /// The volumes of the series.
    ///
    /// # Errors
    /// [`Error::Unsupported`] with the reason where a volume cannot be placed exactly; then the whole series is refused.
    pub fn volumes(&self) -> Result<Vec<SeriesVolume<'_>>> {
        let refuse = |reason: String| {
            Error::unsupported(
                self.first_file(),
                format!("{reason}; if it is needed all the same, convert it with dcm2niix"),
            )
        };
        let frames = |file| (0..ImageFile::frame_count(file)).map(move |index| Slice { file, index });
        let slices: Vec<Slice<'_>> = self.files.iter().flat_map(frames).collect();
        self.check_formats().map_err(refuse)?;
        geometry::common_plane(&slices.iter().map(Slice::frame).collect::<Vec<_>>()).map_err(refuse)?;
        let mut parts = BTreeMap::from([(Vec::new(), slices)]);
        for key in ALWAYS {
            parts = split(parts, key);
        }
        let mut whole = Vec::new();
        for part in parts {
            separate(part, &ON_DEMAND, &mut whole).map_err(refuse)?;
        }
        // Only values that differ go into the label of a volume.
        let differs = |name: &str| {
            let mut values =
                whole.iter().map(|(key, _)| key.iter().find(|(n, _)| *n == name).map(|(_, v)| *v));
            let first = values.next();
            values.any(|value| Some(value) != first)
        };
        let names: Vec<String> = whole
            .iter()
            .map(|(key, _)| {
                let shown =
                    key.iter().filter(|(name, _)| differs(name)).map(|(name, value)| show(name, *value));
                shown.collect::<Vec<_>>().join(", ")
            })
            .collect();
        whole
            .into_iter()
            .zip(names)
            .map(|((_, slices), part)| SeriesVolume::of(slices, part).map_err(refuse))
            .collect()
    }

    fn check_formats(&self) -> std::result::Result<(), String> {
        let shape = |file: &ImageFile| [file.format.columns, file.format.rows];
        match self.files.split_first() {
            Some((first, others)) => match others.iter().find(|other| shape(other) != shape(first)) {
                Some(other) => {
                    Err(format!("slices of several sizes, {:?} and {:?}", shape(first), shape(other)))
                }
                None => Ok(()),
            },
            None => Err("there are no slices".to_owned()),
        }
    }
}

impl ImageFile {
    fn frame_count(&self) -> usize {
        self.frames.len()
    }
}

impl<'a> SeriesVolume<'a> {
    fn of(slices: Vec<Slice<'a>>, part: String) -> std::result::Result<Self, String> {
        let frames: Vec<&Frame> = slices.iter().map(Slice::frame).collect();
        let first = slices.first().ok_or("there are no slices")?;
        let format = &first.file.format;
        let (grid, order) = geometry::grid(&frames, format.columns, format.rows)
            .map_err(|reason| if part.is_empty() { reason } else { format!("{part}: {reason}") })?;
        let slices: Vec<Slice<'a>> = order.into_iter().map(|index| slices[index]).collect();
        let finding = identity::finding(&slices[0].file.acquisition, slices[0].frame(), slices.len());
        Ok(Self { grid, finding, part, slices })
    }

    /// Reads the voxels, scaled to their true values.
    ///
    /// # Errors
    /// Where a file can no longer be read, or its pixels are damaged.
    pub fn read(&self) -> Result<Volume<f32>> {
        let mut voxels = Vec::new();
        let [columns, rows, _] = self.grid.shape;
        let mut by_file: BTreeMap<&Path, Vec<usize>> = BTreeMap::new();
        for (z, slice) in self.slices.iter().enumerate() {
            by_file.entry(&slice.file.path).or_default().push(z);
        }
        for at in by_file.into_values() {
            let file = self.slices[at[0]].file;
            let wanted: Vec<usize> = at.iter().map(|z| self.slices[*z].index).collect();
            let object = file.open()?;
            let decoded = file.format.decode(&object, file.frames.len(), &wanted, &file.path)?;
            // Not before a slice has shown that there are pixels.
            voxels.resize(self.grid.len(), 0.0);
            for (z, values) in at.into_iter().zip(decoded) {
                let [slope, intercept] = self.slices[z].frame().rescale;
                let slice = &mut voxels[z * columns * rows..][..columns * rows];
                // Rows from the bottom up.
                for (to, from) in slice.chunks_exact_mut(columns).zip(values.chunks_exact(columns).rev()) {
                    for (to, from) in to.iter_mut().zip(from) {
                        *to = (slope * f64::from(*from) + intercept) as f32;
                    }
                }
            }
        }
        Ok(Volume::new(self.grid, voxels))
    }

    /// The acquisition parameters that may be passed on, under their BIDS names.
    pub fn sidecar(&self) -> serde_json::Map<String, serde_json::Value> {
        sidecar::of(&self.slices[0].file.acquisition, self.slices[0].frame())
    }

    /// Whether the images are reformatted or computed, rather than as acquired.
    pub fn is_derived(&self) -> bool {
        self.slices[0].frame().image_type.first().is_some_and(|word| word == "DERIVED")
    }
}

/// A property that separates slices: its name, and its value as a whole number, so that rounding does not matter.
struct Key {
    name: &'static str,
    value: fn(&Frame) -> Option<i64>,
}

/// The label of a volume, which also orders the volumes: names and values.
type Label = Vec<(&'static str, Option<i64>)>;

/// The properties whose values are never mixed in one volume.
const ALWAYS: [Key; 3] = [
    Key { name: "component", value: |frame| Some(frame.component as i64) },
    Key { name: "echo", value: |frame| frame.echo_time_ms.map(|ms| (ms * 100.0).round() as i64) },
    // Scanners record the b-value of each direction, which is within a few per cent of the nominal one.
    Key {
        name: "b",
        value: |frame| {
            frame.b_value.map(|b| if b < 100.0 { b.round() as i64 } else { (b / 50.0).round() as i64 * 50 })
        },
    },
];

/// The properties that may separate slices at the same place, tried in this order.
const ON_DEMAND: [Key; 6] = [
    Key { name: "direction", value: |frame| frame.direction.map(direction_key) },
    Key { name: "inversion", value: |frame| frame.inversion_time_ms.map(|ms| ms.round() as i64) },
    Key {
        name: "flip",
        value: |frame| frame.flip_angle_degrees.map(|degrees| (degrees * 10.0).round() as i64),
    },
    Key { name: "time", value: |frame| frame.temporal_position.map(|position| position as i64) },
    Key { name: "acquisition", value: |frame| frame.acquisition.map(|number| number as i64) },
    Key { name: "trigger", value: |frame| frame.trigger_time_ms.map(|ms| ms.round() as i64) },
];

fn direction_key(direction: [f64; 3]) -> i64 {
    direction.iter().fold(0, |key, x| key * 4001 + (x.clamp(-1.0, 1.0) * 2000.0).round() as i64 + 2000)
}

fn show(name: &str, value: Option<i64>) -> String {
    match (name, value) {
        (_, None) => format!("no {name}"),
        ("component", Some(value)) => ["magnitude", "phase", "real", "imaginary"][value as usize].to_owned(),
        ("echo", Some(value)) => format!("echo {} ms", value as f64 / 100.0),
        ("flip", Some(value)) => format!("flip {} degrees", value as f64 / 10.0),
        ("direction", Some(_)) => "one direction".to_owned(),
        (name, Some(value)) => format!("{name} {value}"),
    }
}

fn split<'a>(parts: BTreeMap<Label, Vec<Slice<'a>>>, key: Key) -> BTreeMap<Label, Vec<Slice<'a>>> {
    let mut found: BTreeMap<Label, Vec<Slice<'a>>> = BTreeMap::new();
    for (label, slices) in parts {
        for slice in slices {
            let mut label = label.clone();
            label.push((key.name, (key.value)(slice.frame())));
            found.entry(label).or_default().push(slice);
        }
    }
    found
}

/// Splits slices until no two are at the same place.
fn separate<'a>(
    (label, slices): (Label, Vec<Slice<'a>>),
    keys: &[Key],
    whole: &mut Vec<(Label, Vec<Slice<'a>>)>,
) -> std::result::Result<(), String> {
    let Some((one, other)) = overlap(&slices) else {
        whole.push((label, slices));
        return Ok(());
    };
    let Some((key, later)) = keys.split_first() else {
        let name = |slice: Slice<'_>| match slice.file.frames.len() {
            1 => slice.file.path.display().to_string(),
            _ => format!("frame {} of {}", slice.index + 1, slice.file.path.display()),
        };
        return Err(format!(
            "two slices at the same place and nothing to distinguish them: {} and {}",
            name(one),
            name(other)
        ));
    };
    let mut parts: BTreeMap<Option<i64>, Vec<Slice<'a>>> = BTreeMap::new();
    for slice in &slices {
        parts.entry((key.value)(slice.frame())).or_default().push(*slice);
    }
    let first = parts.values().next().map_or(0, Vec::len);
    if parts.len() == 1 || parts.values().any(|part| part.len() != first) {
        return separate((label, slices), later, whole);
    }
    for (value, part) in parts {
        let mut label = label.clone();
        label.push((key.name, value));
        separate((label, part), later, whole)?;
    }
    Ok(())
}

/// Two slices at the same place, if any.
#[expect(clippy::expect_used, reason = "slices without a place were refused before: `common_plane`")]
fn overlap<'a>(slices: &[Slice<'a>]) -> Option<(Slice<'a>, Slice<'a>)> {
    let mut sorted: Vec<(f64, Slice<'a>)> = slices
        .iter()
        .map(|slice| (geometry::depth_mm(slice.frame().plane.as_ref().expect("a slice has a place")), *slice))
        .collect();
    sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
    let two = sorted.windows(2).find(|two| two[1].0 - two[0].0 < SAME_PLACE_MM)?;
    Some((two[0].1, two[1].1))
}
