//! Networks by name, as a configuration names them.

use schemars::JsonSchema;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::NetworkConfig;

/// The name of a network of certain sizes: one of [`NetworkConfig::presets`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, JsonSchema)]
#[schemars(inline, extend("enum" = PresetName::names()))]
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

    /// All names.
    fn names() -> Vec<&'static str> {
        NetworkConfig::presets().into_iter().map(|(name, ..)| name).collect()
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

impl<'de> Deserialize<'de> for PresetName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        Self::named(&name).ok_or_else(|| {
            D::Error::custom(format!(
                "model.preset: no network is called '{name}'; known are {}",
                Self::names().join(", ")
            ))
        })
    }
}
