//! The systems that the paper's tables compare: each a network that begins with random weights, or a method with a network.

use brainmvp_nets::networks::PresetName;
use brainmvp_objectives::pretraining::{MethodConfig, MethodName, MethodPreset};

/// The networks that the tables have a row of without pre-training (Table II).
const FROM_SCRATCH: [&str; 4] = ["unetr", "unet3d", "uniformer-small", "swin-unetr"];

/// A row of the tables.
#[derive(Debug, Clone, PartialEq)]
pub struct System {
    /// Its name in files: `brainmvp-uniformer-small`.
    pub name: String,
    /// The method, if it is pre-trained.
    pub method: Option<MethodName>,
    /// The network as published.
    pub network: PresetName,
}

impl System {
    /// All of them: networks from scratch, then the methods.
    pub fn all() -> Vec<Self> {
        let scratch = FROM_SCRATCH.map(|network| Self::new(None, PresetName::known(network)));
        let mut all = scratch.to_vec();
        for name in MethodConfig::names() {
            let method = MethodConfig::of(name, MethodPreset::default());
            let networks = [method.network()].into_iter().chain(method.other_networks());
            all.extend(networks.map(|network| Self::new(Some(name), network)));
        }
        all
    }

    fn new(method: Option<MethodName>, network: PresetName) -> Self {
        let first = method.map_or("scratch", MethodName::name);
        Self { name: format!("{first}-{}", network.name()), method, network }
    }

    /// Its name in tables, without the network.
    pub fn title(&self) -> String {
        let title = |name| MethodConfig::of(name, MethodPreset::default()).title().to_owned();
        self.method.map_or_else(|| "From scratch".to_owned(), title)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_method_is_there_with_its_networks() {
        let all = System::all();
        let names: BTreeSet<&str> = all.iter().map(|system| system.name.as_str()).collect();
        assert_eq!(names.len(), all.len(), "names are different");
        for name in MethodConfig::names() {
            assert!(all.iter().any(|system| system.method == Some(name)), "{}", name.name());
        }
        if cfg!(feature = "patented-methods") {
            assert_eq!(all.len(), 17, "the rows of Table II");
        }
        for name in ["scratch-unetr", "brainmvp-uniformer-small", "brainmvp-unet3d", "m3ae-unet3d"] {
            assert!(names.contains(name), "{name}");
        }
    }
}
