//! Label schemes that a data set declares itself.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::known_names;

/// The name that marks a value as ignored, as in nnU-Net.
pub const IGNORE: &str = "ignore";

/// Label values with their structures, regions, and ignored values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnScheme {
    values: BTreeMap<u16, String>,
    regions: Vec<(String, BTreeSet<u16>)>,
    ignored: BTreeSet<u16>,
}

impl OwnScheme {
    /// A scheme of values with their structures, and of regions, which are unions of values. Values that only regions name
    /// get a name; values named [`IGNORE`] are ignored. The background, 0, is not among the values.
    ///
    /// # Errors
    /// Where there is no structure, a region is empty, has the value 0 or an ignored one, or two have one name.
    pub fn new(named: BTreeMap<u16, String>, regions: Vec<(String, BTreeSet<u16>)>) -> Result<Self, String> {
        let (ignored, mut values): (BTreeMap<_, _>, BTreeMap<_, _>) = named
            .into_iter()
            .filter(|(value, _)| *value != 0)
            .partition(|(_, name)| name.eq_ignore_ascii_case(IGNORE));
        let ignored: BTreeSet<u16> = ignored.into_keys().collect();
        for (at, (name, of_region)) in regions.iter().enumerate() {
            if name.is_empty() || of_region.is_empty() || of_region.contains(&0) {
                return Err(format!("region '{name}' needs a name and values from 1 to 65535"));
            }
            if regions[..at].iter().any(|(other, _)| other == name) {
                return Err(format!("region '{name}' is given twice"));
            }
            if let Some(value) = of_region.intersection(&ignored).next() {
                return Err(format!("region '{name}' has the value {value}, which is ignored"));
            }
            for value in of_region {
                values.entry(*value).or_insert_with(|| unnamed(*value));
            }
        }
        if values.is_empty() {
            return Err("there is no value besides the background and ignored ones".to_owned());
        }
        Ok(Self { values, regions, ignored })
    }

    /// The structures by their values.
    pub fn values(&self) -> &BTreeMap<u16, String> {
        &self.values
    }

    /// The values of voxels whose label is not known.
    pub fn ignored(&self) -> &BTreeSet<u16> {
        &self.ignored
    }

    /// The declared regions or, if there are none, the values grouped by name.
    pub(super) fn regions(&self) -> Vec<(&str, BTreeSet<u16>)> {
        let mut regions: Vec<(&str, BTreeSet<u16>)> =
            self.regions.iter().map(|(name, values)| (name.as_str(), values.clone())).collect();
        if !regions.is_empty() {
            return regions;
        }
        for (value, name) in &self.values {
            match regions.iter_mut().find(|(known, _)| known == name) {
                Some((_, region)) => drop(region.insert(*value)),
                None => regions.push((name, BTreeSet::from([*value]))),
            }
        }
        regions
    }

    /// All values with their names, ignored ones too.
    fn named(&self) -> BTreeMap<u16, &str> {
        let ignored = self.ignored.iter().map(|value| (*value, IGNORE));
        self.values.iter().map(|(value, name)| (*value, name.as_str())).chain(ignored).collect()
    }
}

fn unnamed(value: u16) -> String {
    format!("label {value}")
}

impl fmt::Display for OwnScheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let values = self.named().into_iter().map(|(value, name)| format!("{value}={name}"));
        let regions = self.regions.iter().map(|(name, values)| {
            let values: Vec<String> = values.iter().map(u16::to_string).collect();
            format!("{name}={}", values.join("+"))
        });
        f.write_str(&values.chain(regions).collect::<Vec<_>>().join(","))
    }
}

impl FromStr for OwnScheme {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refuse = || {
            format!(
                "unknown label scheme '{text}' (known: {}; or values and regions: 1=core,2=oedema,9=ignore,WT=1+2)",
                known_names()
            )
        };
        let (mut values, mut regions) = (BTreeMap::new(), Vec::new());
        for item in text.split(',') {
            let (left, right) = item.split_once('=').unwrap_or((item, ""));
            let (left, right) = (left.trim(), right.trim());
            if let Ok(value) = left.parse::<u16>() {
                let name = if right.is_empty() { unnamed(value) } else { right.to_owned() };
                if values.insert(value, name).is_some() {
                    return Err(format!("label scheme '{text}' gives the value {value} twice"));
                }
            } else {
                let of_region = right.split('+').map(|value| value.trim().parse());
                let of_region = of_region.collect::<Result<_, _>>().map_err(|_| refuse())?;
                regions.push((left.to_owned(), of_region));
            }
        }
        Self::new(values, regions).map_err(|reason| format!("label scheme '{text}': {reason}"))
    }
}

/// The ways to write a scheme in JSON.
#[derive(Serialize, Deserialize)]
#[serde(
    untagged,
    expecting = "a label scheme is a name (\"brats_2023\"), values (an object {\"1\": \"core\"}), or values and regions \
                 ({\"values\": {\"1\": \"core\"}, \"regions\": [{\"name\": \"TC\", \"labels\": [1]}]})"
)]
pub(super) enum Written {
    Name(String),
    Regions(WithRegions),
    Values(BTreeMap<String, String>),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WithRegions {
    values: BTreeMap<String, String>,
    regions: Vec<WrittenRegion>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenRegion {
    name: String,
    labels: BTreeSet<u16>,
}

impl TryFrom<Written> for OwnScheme {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        let (values, regions) = match written {
            Written::Name(name) => return name.parse(),
            Written::Values(values) => (values, Vec::new()),
            Written::Regions(WithRegions { values, regions }) => (values, regions),
        };
        let value = |(text, name): (String, String)| match text.parse() {
            Ok(value) => Ok((value, name)),
            Err(_) => Err(format!("label value '{text}' is not a whole number from 0 to 65535")),
        };
        let values = values.into_iter().map(value).collect::<Result<_, _>>()?;
        Self::new(values, regions.into_iter().map(|region| (region.name, region.labels)).collect())
    }
}

impl From<OwnScheme> for Written {
    fn from(scheme: OwnScheme) -> Self {
        let named = scheme.named().into_iter();
        let values = named.map(|(value, name)| (value.to_string(), name.to_owned())).collect();
        if scheme.regions.is_empty() {
            return Self::Values(values);
        }
        let regions = scheme.regions.into_iter().map(|(name, labels)| WrittenRegion { name, labels });
        Self::Regions(WithRegions { values, regions: regions.collect() })
    }
}
