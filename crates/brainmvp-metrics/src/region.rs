//! A region to score: one structure, or several together.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// A named union of label values, such as the whole tumour (WT) of the values 1, 2 and 4.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "Written", into = "Written")]
pub struct Region {
    name: String,
    labels: BTreeSet<u16>,
}

/// A region as read from a file; it is validated on reading.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Written {
    /// Its name in tables.
    name: String,
    /// The label values that make it up, not 0.
    labels: BTreeSet<u16>,
}

impl Region {
    /// The region `name`: the voxels with any of `labels`.
    ///
    /// # Errors
    /// [`Error::Region`] if there is no label, or where 0 is among them: 0 is background.
    pub fn new(name: impl Into<String>, labels: impl IntoIterator<Item = u16>) -> Result<Self> {
        let region = Self { name: name.into(), labels: labels.into_iter().collect() };
        let refuse = |reason| Err(Error::Region { name: region.name.clone(), reason });
        if region.labels.is_empty() {
            return refuse("give it at least one label value");
        }
        if region.labels.contains(&0) {
            return refuse("0 is background and belongs to no region");
        }
        Ok(region)
    }

    /// Its name in tables.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its label values.
    pub fn labels(&self) -> &BTreeSet<u16> {
        &self.labels
    }
}

impl TryFrom<Written> for Region {
    type Error = Error;

    fn try_from(written: Written) -> Result<Self> {
        Self::new(written.name, written.labels)
    }
}

impl From<Region> for Written {
    fn from(Region { name, labels }: Region) -> Self {
        Self { name, labels }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn background_and_nothing_are_no_regions() {
        assert!(Region::new("WT", [1, 2, 4]).is_ok());
        assert!(Region::new("WT", []).is_err());
        assert!(Region::new("WT", [0, 1]).unwrap_err().to_string().contains("background"));
        assert!(serde_json::from_str::<Region>(r#"{"name": "WT", "labels": [0]}"#).is_err());
    }
}
