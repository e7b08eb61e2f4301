//! A list of segmentation metrics, and metrics of classifications and regressions.
//!
//! To add a segmentation metric: a [`SegmentationMetric`] in one of the files here, and its line in the list below.

pub mod classification;
mod lesions;
mod overlap;
pub mod regression;
mod surface;
mod volume;

use std::fmt;
use std::ops::Deref;
use std::sync::OnceLock;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub(crate) use self::surface::percentile;
use crate::lesions::Lesions;
use crate::{MaskPair, Score, SegmentationConfig};

/// All segmentation metrics, in the order of tables.
static METRICS: [&SegmentationMetric; 18] = [
    &overlap::DICE,
    &surface::HD95,
    &surface::HD,
    &surface::ASSD,
    &surface::NSD,
    &overlap::SENSITIVITY,
    &overlap::PRECISION,
    &volume::VOLUME,
    &volume::TRUTH_VOLUME,
    &volume::VOLUME_DIFFERENCE,
    &lesions::DICE,
    &lesions::HD95,
    &lesions::F1,
    &lesions::SENSITIVITY,
    &lesions::PRECISION,
    &lesions::FOUND,
    &lesions::MISSED,
    &lesions::FALSE,
];

/// The definition of a metric.
#[derive(Debug)]
pub struct SegmentationMetric {
    /// Its name in files and configurations.
    pub name: &'static str,
    /// Its name in tables.
    pub title: &'static str,
    /// The unit of its values.
    pub unit: Unit,
    /// Which values are better.
    pub better: Better,
    /// Whether exchanging prediction and truth makes no difference.
    pub symmetric: bool,
    /// Its values where a mask is empty.
    pub when_empty: WhenEmpty,
    /// Its value by definition; where a mask is empty it may be NaN or infinite, as MONAI's are.
    pub(crate) formula: fn(&Measured<'_>) -> f64,
}

/// A pair of masks with the settings to score it by. What several metrics need is computed once.
#[derive(Debug)]
pub(crate) struct Measured<'a> {
    pair: &'a MaskPair,
    config: &'a SegmentationConfig,
    lesions: OnceLock<Lesions<'a>>,
}

/// The unit of a metric's values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// A share, 0 to 1.
    Share,
    /// Millimetres.
    Millimetre,
    /// Cubic millimetres; tables show millilitres.
    CubicMillimetre,
    /// A number of things.
    Count,
}

/// Which values are better.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Better {
    /// The higher ones.
    Higher,
    /// The lower ones.
    Lower,
    /// Values near 0, of either sign.
    NearZero,
    /// None: the values only describe.
    Neither,
}

/// A metric's values where a mask is empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenEmpty {
    /// Best 1, worst 0.
    Share,
    /// Best 0 mm, worst a penalty in mm.
    Distance,
    /// As the formula gives them, which says itself what an absent or missed structure is worth. Only leaving out is left
    /// to the rule for empty masks.
    OwnRule,
    /// As the formula gives them.
    Defined,
}

/// A metric of the list, written by its name in files.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(inline, extend("enum" = Metric::all().collect::<Vec<_>>()))]
pub struct Metric(usize);

impl Metric {
    /// All of them, in the order of tables.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..METRICS.len()).map(Self)
    }

    /// Its name and unit, as the heading of a column: `HD95 [mm]`.
    pub fn heading(self) -> String {
        match self.unit.shown().0 {
            "" => self.title.to_owned(),
            unit => format!("{} [{unit}]", self.title),
        }
    }

    /// A value in the unit used in tables, rounded; `-` if it was left out.
    pub fn shown(self, score: Score) -> String {
        let digits = if self.unit == Unit::Share { 4 } else { 2 };
        match score.value() {
            Some(value) => format!("{:.digits$}", Score::new(value / self.unit.shown().1)),
            None => "-".to_owned(),
        }
    }

    /// The metric with this name, such as `hd95_mm`.
    pub fn named(name: &str) -> Option<Self> {
        Self::all().find(|metric| metric.name == name)
    }
}

impl<'a> Measured<'a> {
    pub(crate) fn new(pair: &'a MaskPair, config: &'a SegmentationConfig) -> Self {
        Self { pair, config, lesions: OnceLock::new() }
    }

    /// The lesions by the rule of the settings.
    fn lesions(&self) -> &Lesions<'a> {
        self.lesions.get_or_init(|| self.config.lesions.find(self.pair))
    }
}

impl Deref for Measured<'_> {
    type Target = MaskPair;

    fn deref(&self) -> &MaskPair {
        self.pair
    }
}

impl Deref for Metric {
    type Target = SegmentationMetric;

    fn deref(&self) -> &SegmentationMetric {
        METRICS[self.0]
    }
}

impl fmt::Debug for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl TryFrom<String> for Metric {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        let known: Vec<_> = Self::all().map(|metric| metric.name).collect();
        Self::named(&name).ok_or_else(|| format!("unknown metric '{name}' (known: {})", known.join(" ")))
    }
}

impl From<Metric> for String {
    fn from(metric: Metric) -> Self {
        metric.name.to_owned()
    }
}

impl Unit {
    /// The unit used in tables, and how many of this one it contains.
    pub fn shown(self) -> (&'static str, f64) {
        match self {
            Self::Share | Self::Count => ("", 1.0),
            Self::Millimetre => ("mm", 1.0),
            Self::CubicMillimetre => ("ml", 1000.0),
        }
    }
}

impl Better {
    /// A number that is higher the better `value` is; `None` if values only describe.
    pub fn merit(self, value: f64) -> Option<f64> {
        match self {
            Self::Higher => Some(value),
            Self::Lower => Some(-value),
            Self::NearZero => Some(-value.abs()),
            Self::Neither => None,
        }
    }
}

#[cfg(test)]
mod tests;
