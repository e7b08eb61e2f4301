//! The meaning of label values: declared for a data set, never guessed from the files.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A label scheme with a name, from [`SCHEMES`].
#[derive(Debug, PartialEq, Eq)]
pub struct KnownScheme {
    /// The name to declare it by.
    pub name: &'static str,
    /// The label values and their structures; 0 is always background.
    pub values: &'static [(u16, &'static str)],
    /// Nested regions that are scored, each a union of values.
    pub regions: &'static [(&'static str, &'static [u16])],
    /// The data sets that use it.
    pub used_by: &'static str,
}

/// All named schemes. The BraTS family has used the same values for different structures over the years.
pub static SCHEMES: &[KnownScheme] = &[
    KnownScheme {
        name: "binary",
        values: &[(1, "foreground")],
        regions: &[("foreground", &[1])],
        used_by: "ISLES22, VSSeg, any single structure",
    },
    KnownScheme {
        name: "brats_2012_16",
        values: &[(1, "necrosis"), (2, "oedema"), (3, "non-enhancing tumour"), (4, "enhancing tumour")],
        regions: &[("ET", &[4]), ("TC", &[1, 3, 4]), ("WT", &[1, 2, 3, 4])],
        used_by: "BraTS 2012-2016",
    },
    KnownScheme {
        name: "brats_legacy",
        values: &[(1, "necrotic core"), (2, "oedema"), (4, "enhancing tumour")],
        regions: &[("ET", &[4]), ("TC", &[1, 4]), ("WT", &[1, 2, 4])],
        used_by: "BraTS 2017-2021, UPENN-GBM, UCSF-PDGM",
    },
    KnownScheme {
        name: "brats_2023",
        values: &[(1, "necrotic core"), (2, "oedema"), (3, "enhancing tumour")],
        regions: &[("ET", &[3]), ("TC", &[1, 3]), ("WT", &[1, 2, 3])],
        used_by: "BraTS 2023 GLI, SSA, MEN, MET, PED",
    },
    KnownScheme {
        name: "brats_gli_2024",
        values: &[(1, "necrotic core"), (2, "oedema"), (3, "enhancing tumour"), (4, "resection cavity")],
        regions: &[("ET", &[3]), ("TC", &[1, 3]), ("WT", &[1, 2, 3]), ("RC", &[4])],
        used_by: "BraTS 2024 GLI (after treatment)",
    },
    KnownScheme {
        name: "brats_ped_2024",
        values: &[(1, "enhancing tumour"), (2, "non-enhancing tumour"), (3, "cyst"), (4, "oedema")],
        regions: &[("ET", &[1]), ("TC", &[1, 2, 3]), ("WT", &[1, 2, 3, 4])],
        used_by: "BraTS-PEDs 2024 and the TCIA release",
    },
    KnownScheme {
        name: "msd_task01",
        values: &[(1, "oedema"), (2, "non-enhancing tumour"), (3, "enhancing tumour")],
        regions: &[("ET", &[3]), ("TC", &[2, 3]), ("WT", &[1, 2, 3])],
        used_by: "Medical Segmentation Decathlon Task01",
    },
    KnownScheme {
        name: "mrbrains13",
        values: &[
            (1, "cortical grey matter"),
            (2, "basal ganglia"),
            (3, "white matter"),
            (4, "white matter lesions"),
            (5, "extracerebral fluid"),
            (6, "ventricles"),
            (7, "cerebellum"),
            (8, "brainstem"),
        ],
        regions: &[("CSF", &[5, 6]), ("GM", &[1, 2]), ("WM", &[3, 4])],
        used_by: "MRBrainS13, LabelsForTraining",
    },
    KnownScheme {
        name: "mrbrains13_merged",
        values: &[(1, "cerebrospinal fluid"), (2, "grey matter"), (3, "white matter")],
        regions: &[("CSF", &[1]), ("GM", &[2]), ("WM", &[3])],
        used_by: "MRBrainS13, LabelsForTesting",
    },
    KnownScheme {
        name: "nnunet_brats",
        values: &[(1, "oedema"), (2, "necrotic core"), (3, "enhancing tumour")],
        regions: &[("ET", &[3]), ("TC", &[2, 3]), ("WT", &[1, 2, 3])],
        used_by: "BraTS 2018 and 2021 as nnU-Net converts them",
    },
];

/// The declared meaning of a data set's label values: the name of a scheme of [`SCHEMES`], or values with
/// their structures. In JSON the former is a string (`"brats_2023"`), the latter an object (`{"1": "stroke"}`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub enum LabelScheme {
    /// A named scheme.
    Known(&'static KnownScheme),
    /// Values and their structures, without the background 0.
    Values(BTreeMap<u16, String>),
}

impl LabelScheme {
    /// The scheme of [`SCHEMES`] that a table of this program names.
    ///
    /// # Panics
    /// If there is none of that name: the table is wrong then.
    #[expect(clippy::expect_used, reason = "the names in our own tables are tested")]
    pub(crate) fn known(name: &str) -> Self {
        Self::Known(SCHEMES.iter().find(|scheme| scheme.name == name).expect("a name of SCHEMES"))
    }

    /// The values a file may hold besides 0, with their structures, in ascending order.
    pub fn values(&self) -> BTreeMap<u16, &str> {
        match self {
            Self::Known(scheme) => scheme.values.iter().copied().collect(),
            Self::Values(values) => values.iter().map(|(value, name)| (*value, name.as_str())).collect(),
        }
    }

    /// The regions to score, by name: those of a named scheme, otherwise the values, grouped by structure.
    pub fn regions(&self) -> Vec<(&str, BTreeSet<u16>)> {
        match self {
            Self::Known(scheme) => scheme
                .regions
                .iter()
                .map(|(name, values)| (*name, values.iter().copied().collect()))
                .collect(),
            Self::Values(values) => {
                let mut regions: Vec<(&str, BTreeSet<u16>)> = Vec::new();
                for (value, name) in values.iter().filter(|(value, _)| **value != 0) {
                    match regions.iter_mut().find(|(known, _)| known == name) {
                        Some((_, region)) => drop(region.insert(*value)),
                        None => regions.push((name, BTreeSet::from([*value]))),
                    }
                }
                regions
            }
        }
    }

    /// Whether a file may hold `value`; 0 (background) is always allowed.
    pub fn allows(&self, value: u16) -> bool {
        value == 0
            || match self {
                Self::Known(scheme) => scheme.values.iter().any(|(v, _)| *v == value),
                Self::Values(values) => values.contains_key(&value),
            }
    }
}

impl fmt::Display for LabelScheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known(scheme) => f.write_str(scheme.name),
            Self::Values(values) => {
                for (i, (value, name)) in values.iter().enumerate() {
                    write!(f, "{}{value}={name}", if i == 0 { "" } else { "," })?;
                }
                Ok(())
            }
        }
    }
}

impl FromStr for LabelScheme {
    type Err = String;

    /// Parses what a user types: a name of [`SCHEMES`], or values as `1=core,2=oedema` or `1,2,3`.
    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(scheme) = SCHEMES.iter().find(|s| s.name.eq_ignore_ascii_case(text.trim())) {
            return Ok(Self::Known(scheme));
        }
        let mut values = BTreeMap::new();
        for item in text.split(',') {
            let (value, name) = item.split_once('=').unwrap_or((item, ""));
            let value: u16 = value.trim().parse().map_err(|_| {
                let known: Vec<_> = SCHEMES.iter().map(|s| s.name).collect();
                format!(
                    "unknown label scheme '{text}' (known: {}; or values: 1=core,2=oedema)",
                    known.join(" ")
                )
            })?;
            let name = if name.trim().is_empty() { format!("label {value}") } else { name.trim().to_owned() };
            if value != 0 && values.insert(value, name).is_some() {
                return Err(format!("label scheme '{text}' gives the value {value} twice"));
            }
        }
        Ok(Self::Values(values))
    }
}

/// The two ways to write a scheme in JSON.
#[derive(Serialize, Deserialize)]
#[serde(
    untagged,
    expecting = "a label scheme is a name (\"brats_2023\") or values (an object {\"1\": \"core\"})"
)]
enum Written {
    Name(String),
    Values(BTreeMap<String, String>),
}

impl TryFrom<Written> for LabelScheme {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        match written {
            Written::Values(values) => {
                let value = |text: String, name| match text.parse() {
                    Ok(value) => Ok((value, name)),
                    Err(_) => Err(format!("label value '{text}' is not a whole number from 0 to 65535")),
                };
                Ok(Self::Values(
                    values.into_iter().map(|(text, name)| value(text, name)).collect::<Result<_, _>>()?,
                ))
            }
            Written::Name(name) => {
                SCHEMES.iter().find(|s| s.name == name).map(Self::Known).ok_or_else(|| {
                    let known: Vec<_> = SCHEMES.iter().map(|s| s.name).collect();
                    format!("unknown label scheme '{name}' (known: {})", known.join(" "))
                })
            }
        }
    }
}

impl From<LabelScheme> for Written {
    fn from(scheme: LabelScheme) -> Self {
        match scheme {
            LabelScheme::Known(scheme) => Self::Name(scheme.name.to_owned()),
            LabelScheme::Values(values) => {
                Self::Values(values.into_iter().map(|(value, name)| (value.to_string(), name)).collect())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_use_declared_values() {
        for scheme in SCHEMES {
            for (region, values) in scheme.regions {
                assert!(
                    values.iter().all(|v| LabelScheme::Known(scheme).allows(*v)),
                    "{} {region}",
                    scheme.name
                );
            }
        }
    }

    #[test]
    fn structures_of_one_name_are_one_region() {
        let typed: LabelScheme = "1=core,2=oedema,3=core".parse().unwrap();
        assert_eq!(typed.regions(), [("core", BTreeSet::from([1, 3])), ("oedema", BTreeSet::from([2]))]);
        let known: LabelScheme = "brats_2023".parse().unwrap();
        assert_eq!(known.regions()[1], ("TC", BTreeSet::from([1, 3])));
    }

    #[test]
    fn typed_and_written() {
        let known: LabelScheme = "brats_legacy".parse().unwrap();
        assert!(known.allows(0) && known.allows(4) && !known.allows(3));
        let typed: LabelScheme = "1=stroke, 2".parse().unwrap();
        assert_eq!(typed.values(), BTreeMap::from([(1, "stroke"), (2, "label 2")]));
        for scheme in [known, typed] {
            let text = serde_json::to_string(&scheme).unwrap();
            assert_eq!(serde_json::from_str::<LabelScheme>(&text).unwrap(), scheme, "{text}");
            assert_eq!(scheme.to_string().parse::<LabelScheme>().unwrap(), scheme);
        }
        assert!("brats_2032".parse::<LabelScheme>().unwrap_err().contains("brats_2023"));
        assert!("1,1".parse::<LabelScheme>().is_err());
        assert!(
            serde_json::from_str::<LabelScheme>("\"nope\"")
                .unwrap_err()
                .to_string()
                .contains("unknown label scheme")
        );
    }
}
