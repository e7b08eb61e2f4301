//! What a network is, what it was trained on and how it is used. Every file with a network contains this description:
//! checkpoints, weights files and PyTorch files. Only for files of other programs, which do not contain it, is anything
//! inferred from the names of tensors.

use brainmvp_infer::SlidingWindow;
use brainmvp_nets::networks::NetworkConfig;
use brainmvp_nets::weights::Head;
use brainmvp_objectives::pretraining::{Kept, KeptPart, MethodName};
use brainmvp_prep::Preparation;
use brainmvp_volume::Affine;
use serde::{Deserialize, Serialize};

use crate::checkpoint::State;
use crate::config::{FinetuneConfig, FrozenTemplatesConfig, ModelConfig, TaskPatchConfig, patch_problem};
use crate::finetune::TaskConfig;
use crate::placement::TemplateFrame;
use crate::preparation::Prepared;

/// A network's description.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct About {
    /// What it was trained for.
    pub kind: Kind,
    /// The architecture.
    pub network: NetworkConfig,
    /// What follows the encoder.
    pub head: Head,
    /// How the cases that it was trained on were prepared; new ones must be prepared in the same way.
    pub preparation: Option<Preparation>,
    /// The templates that belong to it. Those of a pre-training run are in the same file, those of a fine-tuning run in
    /// its `templates.safetensors`.
    pub templates: Option<TemplatesAbout>,
    /// Changes when the cases that it was trained on or their content change.
    pub data: Option<String>,
    /// What it started from; `None` for random weights.
    pub parent: Option<Parent>,
}

/// What a network was trained for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Pre-training.
    PreTraining {
        /// How.
        method: MethodName,
        /// The size of its patches, in voxels along x, y and z.
        patch: [usize; 3],
        /// The parameters that are used afterwards, which are the encoder and [`About::head`].
        #[serde(default = "encoder_and_decoder")]
        kept: Vec<KeptPart>,
        /// Whether each input channel is a modality, in the order of [`Modality::ALL`](brainmvp_volume::Modality::ALL).
        #[serde(default)]
        by_modality: bool,
    },
    /// A task.
    FineTuning(Box<Downstream>),
    /// The file does not say: another program wrote it.
    Unknown,
}

/// What files say nothing of that were written when there was only one method.
fn encoder_and_decoder() -> Vec<KeptPart> {
    Kept::with_decoder(Head::Reconstruction).parts
}

/// What a fine-tuned network predicts, and how it is applied.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Downstream {
    /// Its channels and outputs.
    pub task: TaskConfig,
    /// The size of its input.
    pub patch: TaskPatchConfig,
    /// How it is applied to a whole case.
    pub inference: SlidingWindow,
    /// How its templates are placed on cases.
    pub templates: FrozenTemplatesConfig,
}

/// The position of templates, and how they are normalised.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TemplatesAbout {
    /// Voxels along x, y and z.
    pub size: [usize; 3],
    /// First three rows of the affine to RAS+ mm, if it is known.
    pub affine: Option<[[f64; 4]; 3]>,
    /// The smallest range to divide by; `None` if they are used as they are. See
    /// [`brainmvp_objectives::templates::TemplateConfig::range_floor`].
    pub range_floor: Option<f32>,
    /// The frame that they were learnt in, if it is known.
    pub frame: Option<TemplateFrame>,
}

impl Downstream {
    fn problem(&self, network: &NetworkConfig) -> Option<String> {
        let channels = self.task.modalities.len();
        if channels == 0 || channels != network.in_channels() {
            return Some(format!("{channels} modalities, but {} input channels", network.in_channels()));
        }
        let config = FinetuneConfig {
            task: self.task.clone(),
            patch: self.patch,
            inference: self.inference.clone(),
            model: ModelConfig::with(network, channels),
            ..FinetuneConfig::default()
        };
        config.check().err().map(|error| error.to_string())
    }
}

impl TemplatesAbout {
    /// The affine to RAS+ mm, if it is known.
    pub fn affine(&self) -> Option<Affine> {
        self.affine.map(Affine::from_rows)
    }
}

/// A network that another one started from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Parent {
    /// File and step at that time.
    pub origin: String,
    /// Steps that it was trained for, if that is known.
    pub step: Option<u64>,
    /// [`About::data`] of it.
    pub data: Option<String>,
}

impl About {
    /// What is known of a network from a file without a description.
    pub fn unknown(network: NetworkConfig, head: Head) -> Self {
        let (preparation, templates, data, parent) = (None, None, None, None);
        Self { kind: Kind::Unknown, network, head, preparation, templates, data, parent }
    }

    /// What is inconsistent, if anything: the content of a file cannot be trusted.
    pub(crate) fn problem(&self) -> Option<String> {
        match &self.kind {
            Kind::Unknown => self.network.problem(),
            Kind::PreTraining { patch, .. } => {
                self.network.problem().or_else(|| patch_problem(*patch, self.network.stride()))
            }
            Kind::FineTuning(downstream) => downstream.problem(&self.network),
        }
    }

    /// How the cases that it was trained on were prepared, if that is known.
    pub(crate) fn prepared(&self) -> Option<Prepared<'_>> {
        let frame = self.templates.as_ref().and_then(|templates| templates.frame.as_ref());
        Some(Prepared { config: &self.preparation.as_ref()?.config, frame })
    }

    /// Whether both were trained on the same cases, prepared in the same way.
    pub(crate) fn has_same_data(&self, other: &Self) -> bool {
        (&self.data, &self.preparation) == (&other.data, &other.preparation)
    }
}

/// The JSON text of a file that this program wrote.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Description {
    /// A checkpoint of a run.
    Checkpoint(Box<State>),
    /// Only a network.
    Weights(Box<Weights>),
}

/// The description in a file with only a network.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Weights {
    /// Steps that it was trained for, if that is known.
    pub(crate) step: Option<u64>,
    pub(crate) about: About,
}

/// The version of the format that this program writes and reads.
const VERSION: u32 = 2;

/// A description with the version of its format.
#[derive(Serialize, Deserialize)]
struct Versioned<T> {
    #[serde(default)]
    version: u32,
    #[serde(flatten)]
    rest: T,
}

/// The content of any other version.
#[derive(Deserialize)]
struct Anything {}

impl Description {
    /// Reads the text of a file. An error says what is wrong with it and what to do.
    pub(crate) fn parse(text: &str) -> std::result::Result<Self, String> {
        let failed = |e: serde_json::Error| format!("its description cannot be read: {e}");
        let Versioned::<Anything> { version, .. } = serde_json::from_str(text).map_err(failed)?;
        if version != VERSION {
            let (which, remedy) = if version < VERSION {
                ("an earlier", "train or export it again with this one")
            } else {
                ("a later", "use that one")
            };
            return Err(format!("was written by {which} version of brainmvp; {remedy}"));
        }
        serde_json::from_str(text).map(|Versioned::<Self> { rest, .. }| rest).map_err(failed)
    }

    /// The text for a file.
    pub(crate) fn to_text(&self) -> std::result::Result<String, String> {
        serde_json::to_string(&Versioned { version: VERSION, rest: self }).map_err(|e| e.to_string())
    }
}
