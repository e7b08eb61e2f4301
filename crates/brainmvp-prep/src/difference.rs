//! The differences between two preparations that matter to a network.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{Intensity, PrepConfig, SkullStrip};

/// Something that preparations can differ in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Aspect {
    /// The voxel size.
    Spacing,
    /// The space of the cases: that of an atlas, a standard space, or native.
    Space,
    /// Whether skulls are stripped.
    SkullStripping,
    /// Whether the shading of the coils is corrected.
    BiasField,
    /// The scale of the intensities.
    Intensity,
    /// The percentiles that become 0 and 1.
    Percentiles,
    /// The standard intensity scales.
    Landmarks,
}

impl Aspect {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Spacing,
        Self::Space,
        Self::SkullStripping,
        Self::BiasField,
        Self::Intensity,
        Self::Percentiles,
        Self::Landmarks,
    ];

    /// The name in configurations and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Spacing => "spacing",
            Self::Space => "space",
            Self::SkullStripping => "skull-stripping",
            Self::BiasField => "bias-field",
            Self::Intensity => "intensity",
            Self::Percentiles => "percentiles",
            Self::Landmarks => "landmarks",
        }
    }
}

impl fmt::Display for Aspect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Aspect {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|aspect| aspect.name() == text).ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            format!("'{text}' is not an aspect in which preparations can differ: use {names}")
        })
    }
}

/// A difference between two preparations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The aspect in which they differ.
    pub aspect: Aspect,
    /// The value of the one.
    pub ours: String,
    /// The value of the other.
    pub theirs: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} against {}", self.aspect, self.ours, self.theirs)
    }
}

impl PrepConfig {
    /// The differences between this configuration and another one, except [`Aspect::Space`], which also depends on the
    /// cases. Unused settings are ignored, such as percentiles if intensities are z-scores.
    pub fn differences(&self, other: &Self) -> Vec<Difference> {
        let aspects = Aspect::ALL.into_iter().filter_map(|aspect| {
            let (ours, theirs) = (self.told(aspect)?, other.told(aspect)?);
            (ours != theirs).then_some(Difference { aspect, ours, theirs })
        });
        aspects.collect()
    }

    /// The value of an aspect in this configuration; `None` if it does not matter.
    fn told(&self, aspect: Aspect) -> Option<String> {
        match aspect {
            Aspect::Spacing => Some(spacing(self.spacing_mm)),
            Aspect::Space => None,
            // A case's own mask and a brain found by the program count as the same.
            Aspect::SkullStripping => Some(on_off(self.skull_strip != SkullStrip::None)),
            Aspect::BiasField => Some(on_off(self.bias_field)),
            Aspect::Intensity => Some(
                match self.intensity {
                    Intensity::Percentile => "percentile",
                    Intensity::ZScore => "zscore",
                    Intensity::Nyul => "nyul",
                }
                .to_owned(),
            ),
            Aspect::Percentiles => {
                let [low, high] = self.percentiles;
                (self.intensity == Intensity::Percentile).then(|| format!("{low}-{high}"))
            }
            Aspect::Landmarks => {
                let landmarks = self.landmarks.as_ref().filter(|_| self.intensity == Intensity::Nyul)?;
                let hash = blake3::hash(json!(landmarks).to_string().as_bytes());
                Some(format!("{:.8}", hash.to_hex()))
            }
        }
    }
}

fn spacing(mm: [f64; 3]) -> String {
    match mm {
        [x, y, z] if x == y && y == z => format!("{x} mm"),
        [x, y, z] => format!("{x} x {y} x {z} mm"),
    }
}

fn on_off(on: bool) -> String {
    if on { "on" } else { "off" }.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(change: impl FnOnce(&mut PrepConfig)) -> Vec<String> {
        let mut other = PrepConfig::default();
        change(&mut other);
        PrepConfig::default().differences(&other).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn each_difference_is_told() {
        assert_eq!(told(|_| {}), [""; 0]);
        assert_eq!(told(|other| other.percentiles = [5.0, 95.0]), ["percentiles 1-99 against 5-95"]);
        assert_eq!(told(|other| other.spacing_mm = [1.5; 3]), ["spacing 1 mm against 1.5 mm"]);
        assert_eq!(told(|other| other.spacing_mm = [1.0, 1.0, 2.0]), ["spacing 1 mm against 1 x 1 x 2 mm"]);
        assert_eq!(told(|other| other.skull_strip = SkullStrip::None), ["skull-stripping on against off"]);
        assert_eq!(told(|other| other.skull_strip = SkullStrip::Mask), [""; 0]);
        assert_eq!(told(|other| other.bias_field = true), ["bias-field off against on"]);
        let both = told(|other| {
            other.intensity = Intensity::ZScore;
            other.percentiles = [0.0, 100.0];
        });
        assert_eq!(both, ["intensity percentile against zscore"]);
    }

    #[test]
    fn names_are_those_of_files() {
        for aspect in Aspect::ALL {
            assert_eq!(json!(aspect), json!(aspect.name()));
            assert_eq!(aspect.name().parse(), Ok(aspect));
        }
        assert!("size".parse::<Aspect>().unwrap_err().contains("spacing, space"));
    }
}
