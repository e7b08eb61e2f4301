//! Networks by name, as a configuration names them.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::NetworkConfig;

/// The name of a network of certain sizes: one of [`NetworkConfig::presets`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PresetName(pub(super) &'static str);

impl PresetName {
    /// The preset of this name, if there is one.
    pub fn named(name: &str) -> Option<Self> {
        let mut presets = NetworkConfig::presets().into_iter();
        presets.find(|(known, ..)| *known == name).map(|(known, ..)| Self(known))
    }

    /// A preset that this program names itself.
    ///
    /// # Panics
    /// If there is none of this name.
    pub fn known(name: &str) -> Self {
        Self::named(name).unwrap_or_else(|| panic!("no network is called '{name}'"))
    }

    /// The network.
    #[expect(clippy::expect_used, reason = "the name was found in the list")]
    pub fn network(self) -> NetworkConfig {
        let mut presets = NetworkConfig::presets().into_iter();
        presets.find(|(known, ..)| *known == self.0).map(|(.., network)| network).expect("a name of the list")
    }

    /// The name.
    pub fn name(self) -> &'static str {
        self.0
    }
}

/// UniFormer-S, as in the paper.
impl Default for PresetName {
    fn default() -> Self {
        Self("uniformer-small")
    }
}

impl Serialize for PresetName {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0)
    }
}

impl JsonSchema for PresetName {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "PresetName".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let names: Vec<&str> = NetworkConfig::presets().into_iter().map(|(name, ..)| name).collect();
        json_schema!({ "type": "string", "enum": names })
    }
}

impl<'de> Deserialize<'de> for PresetName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        Self::named(&name).ok_or_else(|| {
            let known: Vec<&str> = NetworkConfig::presets().into_iter().map(|(known, ..)| known).collect();
            D::Error::custom(format!(
                "model.preset: no network is called '{name}'; known are {}",
                known.join(", ")
            ))
        })
    }
}
