//! The meaning of label values: declared for a data set, never guessed from the files.

mod known;
mod own;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

pub use self::known::{KnownScheme, SCHEMES};
use self::own::Written;
pub use self::own::{IGNORE, OwnScheme};

/// The declared meaning of a data set's label values: the name of a scheme of [`SCHEMES`], or a scheme of the data set's
/// own. In JSON the former is a string (`"brats_2023"`), the latter an object of values (`{"1": "stroke"}`), or of values
/// and regions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub enum LabelScheme {
    /// A named scheme.
    Known(&'static KnownScheme),
    /// Values, regions and ignored values.
    Own(OwnScheme),
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

    /// The values of structures that a file may hold besides 0, in ascending order; ignored values are not among them.
    pub fn values(&self) -> BTreeMap<u16, &str> {
        match self {
            Self::Known(scheme) => scheme.values.iter().copied().collect(),
            Self::Own(scheme) => {
                scheme.values().iter().map(|(value, name)| (*value, name.as_str())).collect()
            }
        }
    }

    /// The regions to score, by name: those of the scheme or, where it has none, the values, grouped by structure.
    pub fn regions(&self) -> Vec<(&str, BTreeSet<u16>)> {
        match self {
            Self::Known(scheme) => scheme
                .regions
                .iter()
                .map(|(name, values)| (*name, values.iter().copied().collect()))
                .collect(),
            Self::Own(scheme) => scheme.regions(),
        }
    }

    /// The values of voxels whose label is not known: they count neither in a loss nor in a metric.
    pub fn ignored(&self) -> BTreeSet<u16> {
        match self {
            Self::Known(scheme) => scheme.ignored.iter().copied().collect(),
            Self::Own(scheme) => scheme.ignored().clone(),
        }
    }

    /// Whether a file may hold `value`; 0 (background) and ignored values are allowed too.
    pub fn allows(&self, value: u16) -> bool {
        value == 0 || self.values().contains_key(&value) || self.ignored().contains(&value)
    }
}

impl fmt::Display for LabelScheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known(scheme) => f.write_str(scheme.name),
            Self::Own(scheme) => scheme.fmt(f),
        }
    }
}

impl FromStr for LabelScheme {
    type Err = String;

    /// Parses what a user types: a name of [`SCHEMES`], or values as `1=core,2=oedema,9=ignore` or `1,2,3`, and regions
    /// as `WT=1+2`.
    fn from_str(text: &str) -> Result<Self, String> {
        match SCHEMES.iter().find(|scheme| scheme.name.eq_ignore_ascii_case(text.trim())) {
            Some(scheme) => Ok(Self::Known(scheme)),
            None => text.parse().map(Self::Own),
        }
    }
}

impl TryFrom<Written> for LabelScheme {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        match written {
            Written::Name(name) => SCHEMES
                .iter()
                .find(|s| s.name == name)
                .map(Self::Known)
                .ok_or_else(|| format!("unknown label scheme '{name}' (known: {})", known_names())),
            own => OwnScheme::try_from(own).map(Self::Own),
        }
    }
}

impl From<LabelScheme> for Written {
    fn from(scheme: LabelScheme) -> Self {
        match scheme {
            LabelScheme::Known(scheme) => Self::Name(scheme.name.to_owned()),
            LabelScheme::Own(scheme) => scheme.into(),
        }
    }
}

/// The names of all schemes, for a message.
fn known_names() -> String {
    SCHEMES.iter().map(|scheme| scheme.name).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_use_declared_values() {
        for scheme in SCHEMES {
            let values: BTreeSet<u16> = scheme.values.iter().map(|(value, _)| *value).collect();
            for (region, of_region) in scheme.regions {
                assert!(of_region.iter().all(|value| values.contains(value)), "{} {region}", scheme.name);
            }
            assert!(scheme.ignored.iter().all(|value| !values.contains(value)), "{}", scheme.name);
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
    fn ignored_values_are_allowed_but_no_structure() {
        let typed: LabelScheme = "1=core,9=ignore".parse().unwrap();
        let known: LabelScheme = "wmh_2017".parse().unwrap();
        for (scheme, ignored) in [(typed, 9), (known, 2)] {
            assert!(scheme.allows(ignored) && !scheme.allows(5), "{scheme}");
            assert_eq!(scheme.ignored(), BTreeSet::from([ignored]));
            assert_eq!(scheme.values().into_keys().collect::<Vec<_>>(), [1]);
            assert!(scheme.regions().iter().all(|(_, values)| !values.contains(&ignored)), "{scheme}");
        }
    }

    #[test]
    fn typed_and_written() {
        let known: LabelScheme = "brats_legacy".parse().unwrap();
        assert!(known.allows(0) && known.allows(4) && !known.allows(3));
        let typed: LabelScheme = "1=stroke, 2".parse().unwrap();
        assert_eq!(typed.values(), BTreeMap::from([(1, "stroke"), (2, "label 2")]));
        let nested: LabelScheme = "1=core,2=oedema,whole tumour=1+2,TC=1,3=ignore".parse().unwrap();
        let regions = [("whole tumour", BTreeSet::from([1, 2])), ("TC", BTreeSet::from([1]))];
        assert_eq!(nested.regions(), regions);
        for scheme in [known, typed, nested] {
            let text = serde_json::to_string(&scheme).unwrap();
            assert_eq!(serde_json::from_str::<LabelScheme>(&text).unwrap(), scheme, "{text}");
            assert_eq!(scheme.to_string().parse::<LabelScheme>().unwrap(), scheme);
        }
        assert!("brats_2032".parse::<LabelScheme>().unwrap_err().contains("brats_2023"));
        for wrong in ["1,1", "WT=1+x", "WT=", "=1", "1=a,WT=1,WT=1", "9=ignore,WT=9", "1=ignore", "WT=0"] {
            assert!(wrong.parse::<LabelScheme>().is_err(), "{wrong}");
        }
        for wrong in ["\"nope\"", "{\"x\": \"core\"}", "{\"values\": {}, \"region\": []}"] {
            assert!(serde_json::from_str::<LabelScheme>(wrong).is_err(), "{wrong}");
        }
    }
}
