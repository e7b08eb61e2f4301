//! What a pre-training method is, for whoever sets up a run.

use std::fmt::Debug;

use brainmvp_nets::Init;
use brainmvp_nets::networks::{NetworkConfig, PresetName};
use brainmvp_nets::weights::Head;
use brainmvp_volume::Affine;
use schemars::JsonSchema;
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::MethodConfig;
use crate::patch::PatchSource;
use crate::{Frame, Objective};

/// The values of the settings that are not given. `docs/differences.md` lists them side by side, which a test checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum MethodPreset {
    /// The defaults of this program.
    #[default]
    Default,
    /// The paper's formulas, algorithm and numbers as printed.
    Paper,
    /// What the authors' released program does.
    Released,
}

/// The settings of a pre-training method, and how a run of it begins.
pub trait Method:
    Clone + Debug + PartialEq + Default + Serialize + DeserializeOwned + Send + Sync + 'static
{
    /// The name in print, with its authors.
    const TITLE: &'static str;
    /// What it does, in a sentence.
    const ABOUT: &'static str;
    /// What a user must know before a run begins, such as that others have rights in the method.
    const NOTICE: Option<&'static str> = None;
    /// What is trained.
    type Objective: Pretraining + 'static;

    /// The settings of a preset. A method without presets of its own has its defaults in all of them.
    fn of(_preset: MethodPreset) -> Self {
        Self::default()
    }

    /// The network that it is used with, if none is named.
    fn network() -> PresetName {
        PresetName::default()
    }

    /// Further networks that it is reported with in print.
    fn other_networks() -> Vec<PresetName> {
        Vec::new()
    }

    /// Voxels of a patch along x, y and z, if nothing else is said.
    fn patch() -> [usize; 3] {
        [96; 3]
    }

    /// The patches of each sample that the network is trained on in a step, by which the work of methods is compared.
    fn views(&self) -> usize {
        1
    }

    /// Whether templates are learnt with it, so that fine-tuning can mix with them.
    fn learns_templates(&self) -> bool {
        false
    }

    /// The settings for a run of `epochs`, as given for one of [`Training::epochs`]: what begins in the course of a run
    /// begins after the same share of it.
    #[must_use]
    fn for_epochs(&self, _epochs: u64) -> Self {
        self.clone()
    }

    /// How long and how fast it is trained, if nothing else is said.
    fn training(preset: MethodPreset) -> Training;

    /// The network as the method uses it: with as many input channels as it sees at once.
    fn input(&self, network: &NetworkConfig) -> NetworkConfig {
        network.clone()
    }

    /// What is wrong with the settings for this network and patches of `patch` voxels (x, y, z), if anything.
    fn problem(&self, network: &NetworkConfig, patch: [usize; 3]) -> Option<String>;

    /// What is trained, as new. The weights of a run that is continued are loaded into it afterwards.
    ///
    /// # Errors
    /// If a case cannot be read.
    fn build<S: PatchSource>(
        &self,
        setup: &Setup<'_, S>,
        init: &mut Init<'_>,
    ) -> Result<Self::Objective, S::Error>;
}

/// What a run begins with.
pub struct Setup<'a, S> {
    /// The network.
    pub network: &'a NetworkConfig,
    /// Voxels of a patch along x, y and z.
    pub patch: [usize; 3],
    /// Where the cases are.
    pub frame: &'a Frame,
    /// The cases.
    pub cases: &'a [S],
    /// Whether the run has not reached a checkpoint yet: if it has, everything that is learnt or computed from the cases
    /// comes from there.
    pub is_new: bool,
    /// Whoever waits for it.
    pub waiting: &'a dyn Waiting,
}

/// Whoever waits for a run to begin: most begin at once, but some methods learn something of the cases before.
pub trait Waiting {
    /// Something worth a line.
    fn note(&self, text: &str);

    /// Whether not to go on. What is built after the answer was yes is thrown away, so that it need not be complete.
    fn is_stopped(&self) -> bool;
}

/// Nobody.
impl Waiting for () {
    fn note(&self, _text: &str) {}

    fn is_stopped(&self) -> bool {
        false
    }
}

/// How long and how fast a method is trained.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Training {
    /// Passes over the cases.
    pub epochs: u64,
    /// Cases of a batch.
    pub batch_size: usize,
    /// Batches of a step.
    pub accumulate: usize,
    /// The highest learning rate.
    pub learning_rate: f64,
    /// Steps of warm-up.
    pub warmup_steps: u64,
    /// Weight decay.
    pub weight_decay: f32,
    /// Whether norms and biases decay too.
    pub decay_norms_and_biases: bool,
    /// L2 norm that gradients are scaled down to; 0 for none.
    pub clip_norm: f64,
}

/// As in the paper of BrainMVP.
impl Default for Training {
    fn default() -> Self {
        Self {
            epochs: 1500,
            batch_size: 3,
            accumulate: 1,
            learning_rate: 3e-4,
            warmup_steps: 0,
            weight_decay: 1e-5,
            decay_norms_and_biases: true,
            clip_norm: 0.0,
        }
    }
}

/// An objective of pre-training: what of it is used afterwards.
pub trait Pretraining: Objective {
    /// The parameters that are used afterwards.
    fn kept() -> Kept;

    /// The templates that were learnt with it.
    fn templates(&self) -> Option<Learnt> {
        None
    }
}

/// The parameters of a pre-training that are used afterwards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// What they are with the encoder.
    pub head: Head,
    /// Where they are.
    pub parts: Vec<KeptPart>,
    /// Whether each input channel is a modality, in the order of [`Modality::ALL`](brainmvp_volume::Modality::ALL);
    /// otherwise there is one, for any of them.
    pub by_modality: bool,
}

impl Kept {
    /// The encoder alone.
    pub fn encoder() -> Self {
        Self { head: Head::None, parts: vec![KeptPart::new("encoder.", "encoder.")], by_modality: false }
    }

    /// Encoder and decoder, which are `head`.
    pub fn with_decoder(head: Head) -> Self {
        let parts = ["encoder.", "decoder."].map(|part| KeptPart::new(part, part));
        Self { head, parts: parts.to_vec(), by_modality: false }
    }
}

/// Parameters whose names begin alike.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptPart {
    /// How they begin in the pre-training: `teacher.encoder.`.
    pub from: String,
    /// How they begin afterwards: `encoder.`.
    pub to: String,
}

impl KeptPart {
    /// Those that begin with `from`, which afterwards begin with `to`.
    pub fn new(from: &str, to: &str) -> Self {
        Self { from: from.to_owned(), to: to.to_owned() }
    }
}

/// Where learnt templates are, and how they are normalised. Their parameters begin with `templates.`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Learnt {
    /// Voxels along x, y and z.
    pub size: [usize; 3],
    /// To RAS+ mm.
    pub affine: Affine,
    /// The smallest range to divide by; `None` if they are used as they are.
    pub range_floor: Option<f32>,
}

/// Something that is done with a method, whichever it is.
pub trait ForMethod {
    /// What comes of it.
    type Output;

    /// Does it.
    fn with<M: Method>(self, method: &M) -> Self::Output;
}

/// The name of a method: one of [`MethodConfig::names`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, JsonSchema)]
#[schemars(inline, extend("enum" = MethodConfig::names()))]
pub struct MethodName(pub(super) &'static str);

impl MethodName {
    /// The method of this name, if there is one.
    pub fn named(name: &str) -> Option<Self> {
        MethodConfig::names().into_iter().find(|known| known.0 == name)
    }

    /// Whether there is a method of this name, but this build does not have it.
    pub fn is_left_out(name: &str) -> bool {
        Self::named(name).is_none() && MethodConfig::EVERY_NAME.contains(&name)
    }

    /// The name.
    pub fn name(self) -> &'static str {
        self.0
    }
}

impl Default for MethodName {
    fn default() -> Self {
        Self("brainmvp")
    }
}

impl Serialize for MethodName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0)
    }
}

impl<'de> Deserialize<'de> for MethodName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        Self::named(&name).ok_or_else(|| {
            let known: Vec<&str> = MethodConfig::names().into_iter().map(Self::name).collect();
            let what = if Self::is_left_out(&name) {
                format!("this program was built without '{name}' (the feature patented-methods)")
            } else {
                format!("no method is called '{name}'")
            };
            D::Error::custom(format!("method.name: {what}; known are {}", known.join(", ")))
        })
    }
}

#[cfg(test)]
mod tests {
    use serde::de::IntoDeserializer as _;
    use serde::de::value::{Error, StrDeserializer};

    use super::*;

    fn read(name: &str) -> Result<MethodName, String> {
        let text: StrDeserializer<'_, Error> = name.into_deserializer();
        MethodName::deserialize(text).map_err(|error| error.to_string())
    }

    #[test]
    fn a_method_that_this_build_lacks_is_told_from_one_that_does_not_exist() {
        let with_all = cfg!(feature = "patented-methods");
        for name in MethodConfig::EVERY_NAME {
            let is_patented = ["models-genesis", "transvw"].contains(name);
            assert_eq!(MethodName::is_left_out(name), is_patented && !with_all, "{name}");
            match read(name) {
                Ok(read) => assert_eq!(read.name(), *name),
                Err(error) => assert!(error.contains("built without"), "{error}"),
            }
        }
        assert!(!MethodName::is_left_out("mae4d"));
        assert!(read("mae4d").unwrap_err().contains("no method is called 'mae4d'"));
    }
}
