//! Every method in a form that takes seconds.

use brainmvp_nets::networks::NetworkConfig;
use brainmvp_objectives::pretraining::{MethodConfig, MethodPreset};

/// A method, and the settings of a run of it.
pub(crate) struct Small {
    pub(crate) name: &'static str,
    pub(crate) patch: usize,
    pub(crate) settings: Vec<String>,
}

/// All of the list.
pub(crate) fn methods() -> Vec<Small> {
    MethodConfig::names()
        .into_iter()
        .map(|name| of(&MethodConfig::of(name, MethodPreset::default())))
        .collect()
}

fn of(method: &MethodConfig) -> Small {
    let (name, title) = (method.name().name(), method.network().network().title());
    let tiny = |(preset, _, network): &(&'static str, &str, NetworkConfig)| {
        preset.contains("tiny") && network.title() == title
    };
    let (preset, _, network) = NetworkConfig::presets().into_iter().find(tiny).unwrap();
    let fits = |patch: &usize| method.problem(&network, [*patch; 3]).is_none();
    let patch = [32, 64].into_iter().find(fits).unwrap();
    let mut settings =
        vec![format!("method.name={name}"), format!("model.preset={preset}"), format!("patch.size={patch}")];
    let quick: &[&str] = match name {
        "moco-v3" => &["method.hidden=64"],
        "voco" => &["method.grid=[2, 1, 1]", "method.crops=1", "method.projector=16"],
        "transvw" => {
            &["method.classes=2", "method.instances=2", "method.cube=12", "method.discovery.features=image"]
        }
        _ => &[],
    };
    settings.extend(quick.iter().map(ToString::to_string));
    Small { name, patch, settings }
}
