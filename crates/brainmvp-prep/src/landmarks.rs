//! A common scale of grey values for all images of a modality, learnt from a cohort.
//!
//! Source: Nyúl, Udupa and Zhang, New variants of a method of MRI scale standardization, IEEE Transactions on Medical
//! Imaging 19, 2000 (their method L4 with deciles); the landmarks as in Shah et al., Evaluating intensity normalization on MRIs of human
//! brain with multiple sclerosis, Medical Image Analysis 15, 2011.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;

use brainmvp_volume::{AtPath as _, Modality};
use serde::{Deserialize, Serialize};

use crate::cache::{Cache, PreparedCase};
use crate::{Error, Result, percentiles};

/// How many landmarks an image has.
const COUNT: usize = 11;

/// The percentiles of the brain that are mapped to the same values in every image.
pub const LANDMARK_PERCENTILES: [f64; COUNT] =
    [1.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0, 90.0, 99.0];

/// The values of the outermost landmarks. Voxels brighter than nearly all of a brain (contrast agent, oedema) keep
/// their differences, up to 1.
pub const STANDARD_RANGE: [f64; 2] = [0.1, 0.8];

/// A scale learnt from fewer images than this would be specific to those patients.
const FEWEST_IMAGES: usize = 5;

/// The standard scale of each modality: the values that the landmarks of an image are mapped to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "LandmarksFile", into = "LandmarksFile")]
pub struct Landmarks(BTreeMap<Modality, Standard>);

/// The standard scale of a modality.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Standard {
    /// How many images it was learnt from.
    pub images: usize,
    /// The values of the [`LANDMARK_PERCENTILES`]; never decreasing.
    pub landmarks: [f64; COUNT],
}

/// The file's contents, with its format and version.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct LandmarksFile {
    format: String,
    version: u32,
    percentiles: [f64; COUNT],
    modalities: BTreeMap<Modality, Standard>,
}

const FORMAT: &str = "brainmvp-landmarks";
const VERSION: u32 = 1;

/// What was learnt, and what was left out.
#[derive(Debug, Clone)]
pub struct Learnt {
    /// The standard scales.
    pub landmarks: Landmarks,
    /// Modalities with too few images for a scale, and their number.
    pub too_few: BTreeMap<Modality, usize>,
    /// Images that could not be used, and why.
    pub left_out: Vec<String>,
}

impl Landmarks {
    /// Learns the scales from the prepared cases that are not test cases, one at a time.
    ///
    /// Each image's landmarks are scaled linearly so that the outermost are at [`STANDARD_RANGE`]; their means are the
    /// standard. Since that undoes any earlier linear scaling, the cases may have been scaled before, as long as no
    /// more than 1 % of the brain was clipped: with z-scores, not with percentiles of the volume.
    ///
    /// # Errors
    /// [`Error::Config`] if no modality has enough images.
    pub fn learn(cache: &Cache, progress: &dyn Fn(usize)) -> Result<Learnt> {
        let mut sums: BTreeMap<Modality, Standard> = BTreeMap::new();
        let mut left_out = Vec::new();
        for (done, entry) in cache.cases().iter().enumerate() {
            if entry.case.split != Some(brainmvp_cohort::Split::Test) {
                let id = &entry.case.id;
                match cache.open_case(entry) {
                    Ok(case) => {
                        for modality in case.modalities() {
                            match standardised(&case, modality) {
                                Ok(found) => sums.entry(modality).or_default().add(&found),
                                Err(reason) => left_out.push(format!("{id}: {modality}: {reason}")),
                            }
                        }
                    }
                    Err(error) => left_out.push(format!("{id}: {error}")),
                }
            }
            progress(done + 1);
        }
        let (enough, few): (BTreeMap<_, _>, BTreeMap<_, _>) =
            sums.into_iter().partition(|(_, sum)| sum.images >= FEWEST_IMAGES);
        if enough.is_empty() {
            let first = left_out.first().map_or(String::new(), |reason| format!("; {reason}"));
            return Err(Error::config(format!(
                "landmarks: no modality has {FEWEST_IMAGES} images outside the test cases{first}"
            )));
        }
        let landmarks = enough.into_iter().map(|(modality, sum)| (modality, sum.mean())).collect();
        let too_few = few.into_iter().map(|(modality, sum)| (modality, sum.images)).collect();
        Ok(Learnt { landmarks: Self(landmarks), too_few, left_out })
    }

    /// Reads a file that [`Landmarks::save`] wrote.
    ///
    /// # Errors
    /// [`Error::File`] if it cannot be read, [`Error::Config`] if it is not a file of landmarks.
    pub fn load(path: &Path) -> Result<Self> {
        let text = std::fs::read(path).at(path)?;
        serde_json::from_slice(&text)
            .map_err(|e| Error::config(format!("{}: not a file of landmarks: {e}", path.display())))
    }

    /// Writes the landmarks as JSON, completely or not at all.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn save(&self, path: &Path) -> Result<()> {
        let mut text = serde_json::to_vec_pretty(self).map_err(|e| Error::config(e.to_string()))?;
        text.push(b'\n');
        Ok(brainmvp_volume::write_atomically(path, |file| file.write_all(&text))?)
    }

    /// The standard scale of a modality, if it was learnt.
    pub fn of(&self, modality: Modality) -> Option<&Standard> {
        self.0.get(&modality)
    }

    /// All standard scales.
    pub fn iter(&self) -> impl Iterator<Item = (Modality, &Standard)> {
        self.0.iter().map(|(modality, standard)| (*modality, standard))
    }
}

impl Default for Standard {
    fn default() -> Self {
        Self { images: 0, landmarks: [0.0; COUNT] }
    }
}

impl Standard {
    fn add(&mut self, landmarks: &[f64; COUNT]) {
        self.images += 1;
        self.landmarks.iter_mut().zip(landmarks).for_each(|(sum, value)| *sum += value);
    }

    fn mean(mut self) -> Self {
        self.landmarks.iter_mut().for_each(|sum| *sum /= self.images as f64);
        self
    }

    /// The scale from an image with the given landmarks to the standard: linear between neighbours, and continued
    /// linearly beyond the outermost.
    pub(crate) fn scale_from(&self, own: &[f64; COUNT]) -> StandardScale {
        // A landmark that equals the previous one is left out: there is no line between them.
        let mut points: Vec<(f64, f64)> = Vec::new();
        for (from, to) in own.iter().copied().zip(self.landmarks) {
            match points.last_mut() {
                Some(last) if from <= last.0 => last.1 = to,
                _ => points.push((from, to)),
            }
        }
        StandardScale { points }
    }
}

/// An increasing, piecewise linear function.
pub(crate) struct StandardScale {
    /// At least one.
    points: Vec<(f64, f64)>,
}

impl StandardScale {
    pub(crate) fn apply(&self, value: f64) -> f64 {
        let last = self.points.len().saturating_sub(2);
        let piece = self.points.partition_point(|(from, _)| *from <= value).saturating_sub(1).min(last);
        match self.points[piece..] {
            [(a, to_a), (b, to_b), ..] => to_a + (value - a) / (b - a) * (to_b - to_a),
            [(_, to)] => to,
            [] => unreachable!("a scale has a point for every landmark that differs"),
        }
    }
}

/// The landmarks of some values.
///
/// # Errors
/// As a sentence, if they have no percentiles or no range.
pub(crate) fn landmarks_of(values: &[f32]) -> std::result::Result<[f64; COUNT], String> {
    let found = percentiles(values, LANDMARK_PERCENTILES).map_err(|e| e.to_string())?.map(f64::from);
    let [low, high] = [found[0], found[COUNT - 1]];
    if high > low {
        Ok(found)
    } else {
        Err(format!("percentiles 1 and 99 of the brain are {low} and {high}: no range to scale"))
    }
}

/// The landmarks of a prepared image, scaled so that the outermost are at [`STANDARD_RANGE`].
fn standardised(case: &PreparedCase, modality: Modality) -> std::result::Result<[f64; COUNT], String> {
    let shape = case.shape();
    let mut values = vec![0.0; shape.iter().product()];
    case.read_patch(modality, [0; 3], shape, &mut values).map_err(|e| e.to_string())?;
    // Outside the brain, and where the original image does not reach, a prepared image is 0.
    values.retain(|value| *value != 0.0);
    let own = landmarks_of(&values)?;
    let (low, high) = (own[0], own[COUNT - 1]);
    if high >= 1.0 {
        return Err(
            "more than 1 % of its brain is clipped to white; prepare the cases with intensity = zscore first"
                .to_owned(),
        );
    }
    let [from, to] = STANDARD_RANGE;
    Ok(own.map(|value| from + (value - low) / (high - low) * (to - from)))
}

impl From<Landmarks> for LandmarksFile {
    fn from(landmarks: Landmarks) -> Self {
        Self {
            format: FORMAT.to_owned(),
            version: VERSION,
            percentiles: LANDMARK_PERCENTILES,
            modalities: landmarks.0,
        }
    }
}

impl TryFrom<LandmarksFile> for Landmarks {
    type Error = String;

    fn try_from(file: LandmarksFile) -> std::result::Result<Self, String> {
        if file.format != FORMAT || file.version != VERSION {
            return Err(format!(
                "'{}' of version {}; expected '{FORMAT}' of version {VERSION}",
                file.format, file.version
            ));
        }
        if file.percentiles != LANDMARK_PERCENTILES {
            return Err(format!("percentiles {:?}; expected {LANDMARK_PERCENTILES:?}", file.percentiles));
        }
        for (modality, standard) in &file.modalities {
            let values = &standard.landmarks;
            let rises = values.is_sorted() && values[0] < values[COUNT - 1];
            if !rises || !(0.0..=1.0).contains(&values[0]) || !(0.0..=1.0).contains(&values[COUNT - 1]) {
                return Err(format!("{modality}: the landmarks {values:?} do not increase from 0 to 1"));
            }
        }
        Ok(Self(file.modalities))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rising(low: f64, high: f64) -> impl Strategy<Value = [f64; COUNT]> {
        prop::array::uniform11(0.0_f64..1.0).prop_filter_map("a range", move |mut values| {
            values.sort_by(f64::total_cmp);
            let range = values[COUNT - 1] - values[0];
            let scaled = values.map(|v| low + (v - values[0]) / range * (high - low));
            (range > 1e-3).then_some(scaled)
        })
    }

    proptest! {
        #[test]
        fn landmarks_come_to_the_standard_and_the_order_stays(
            own in rising(-50.0, 2000.0),
            landmarks in rising(0.1, 0.8),
            mut values in prop::collection::vec(-500.0_f64..4000.0, 2..50),
        ) {
            let scale = Standard { images: 9, landmarks }.scale_from(&own);
            for (from, to) in own.iter().zip(landmarks) {
                prop_assert!((scale.apply(*from) - to).abs() < 1e-9, "{from} to {} for {to}", scale.apply(*from));
            }
            values.sort_by(f64::total_cmp);
            let scaled: Vec<f64> = values.iter().map(|v| scale.apply(*v)).collect();
            prop_assert!(scaled.is_sorted(), "{values:?} {scaled:?}");
        }

        #[test]
        fn any_rising_line_of_the_scanner_is_undone(
            factor in 0.1_f32..50.0,
            offset in -100.0_f32..100.0,
            values in prop::collection::vec(1.0_f32..1000.0, 300..400),
        ) {
            let own = landmarks_of(&values).unwrap();
            let standard = Standard { images: 9, landmarks: LANDMARK_PERCENTILES.map(|p| 0.1 + 0.007 * p) };
            let changed: Vec<f32> = values.iter().map(|v| factor * v + offset).collect();
            let [a, b] = [standard.scale_from(&own), standard.scale_from(&landmarks_of(&changed).unwrap())];
            for (value, changed) in values.iter().zip(&changed) {
                prop_assert!((a.apply(f64::from(*value)) - b.apply(f64::from(*changed))).abs() < 1e-3);
            }
        }
    }

    #[test]
    fn equal_landmarks_are_one() {
        let mut own = LANDMARK_PERCENTILES;
        own[3..6].fill(30.0);
        let standard = Standard { images: 9, landmarks: LANDMARK_PERCENTILES.map(|p| p / 100.0) };
        let scale = standard.scale_from(&own);
        assert!((scale.apply(30.0) - 0.5).abs() < 1e-12 && (scale.apply(10.0) - 0.1).abs() < 1e-12);
        assert!(scale.apply(29.0) < scale.apply(30.0) && scale.apply(30.0) < scale.apply(31.0));
        assert!(landmarks_of(&[4.0; 30]).unwrap_err().contains("no range"));
        assert!(landmarks_of(&[]).is_err() && landmarks_of(&[f32::NAN, 1.0]).is_err());
    }

    #[test]
    fn a_file_reads_back_and_another_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("landmarks.json");
        let standard = Standard { images: 7, landmarks: LANDMARK_PERCENTILES.map(|p| p / 100.0) };
        let landmarks = Landmarks(BTreeMap::from([(Modality::T1, standard)]));
        landmarks.save(&path).unwrap();
        assert_eq!(Landmarks::load(&path).unwrap(), landmarks);
        let text = std::fs::read_to_string(&path).unwrap();
        for (from, to, word) in [
            ("\"version\": 1", "\"version\": 7", "version 7"),
            ("0.5,", "5e9,", "increase"),
            ("\"t1\"", "\"t9\"", "t9"),
            ("{", "", "not a file of landmarks"),
        ] {
            std::fs::write(&path, text.replacen(from, to, 1)).unwrap();
            let error = Landmarks::load(&path).unwrap_err().to_string();
            assert!(error.contains(word) && error.contains("landmarks.json"), "{error}");
        }
    }
}
