//! What a network is, what it has learnt from and how it is used, as every file that holds one says it: checkpoints,
//! weights files and PyTorch files. Nothing of this is guessed from names of tensors or of folders, but in files of other
//! programs, which say nothing.

use brainmvp_infer::SlidingWindow;
use brainmvp_nets::networks::NetworkConfig;
use brainmvp_nets::weights::Head;
use brainmvp_prep::Preparation;
use brainmvp_volume::Affine;
use serde::{Deserialize, Serialize};

use crate::checkpoint::State;
use crate::config::{
    FinetuneConfig, FrozenTemplatesConfig, ModelConfig, TaskConfig, TaskPatchConfig, patch_problem,
};
use crate::placement::TemplateFrame;
use crate::preparation::Prepared;

/// A network's description.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct About {
    /// What it was trained for.
    pub kind: Kind,
    /// Which network.
    pub network: NetworkConfig,
    /// What is on its encoder.
    pub head: Head,
    /// How the cases were prepared that it was trained on; new ones must be prepared alike.
    pub preparation: Option<Preparation>,
    /// The templates that belong to it. Those of a pre-training are in the same file, those of a fine-tuning in
    /// `templates.safetensors` of its run.
    pub templates: Option<TemplatesAbout>,
    /// Changes when the cases that it was trained on or their content change.
    pub data: Option<String>,
    /// What it started from; random weights where there is none.
    pub parent: Option<Parent>,
}

/// What a network was trained for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// To be fine-tuned.
    PreTraining {
        /// How.
        method: Method,
        /// Voxels along x, y and z that it saw at once.
        patch: [usize; 3],
    },
    /// For a task.
    FineTuning(Box<Downstream>),
    /// The file does not say: another program wrote it.
    Unknown,
}

/// Methods of pre-training.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// [`brainmvp_ssl::objectives::BrainMvp`].
    BrainMvp,
}

/// What a fine-tuned network is for, and how it is applied.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Downstream {
    /// Its channels and outputs.
    pub task: TaskConfig,
    /// What it sees at once.
    pub patch: TaskPatchConfig,
    /// How it goes over a whole case.
    pub inference: SlidingWindow,
    /// Where its templates lie.
    pub templates: FrozenTemplatesConfig,
}

/// Where templates lie, and how they are normalised.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TemplatesAbout {
    /// Voxels along x, y and z.
    pub size: [usize; 3],
    /// First three rows of the affine to RAS+ mm, if it is known.
    pub affine: Option<[[f64; 4]; 3]>,
    /// A range below this is not divided by. See [`brainmvp_ssl::templates::TemplateConfig::range_floor`].
    pub range_floor: f32,
    /// Where they were learnt, if that is known.
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
    /// File and step, as they were called then.
    pub origin: String,
    /// Steps that it was trained for, if that is known.
    pub step: Option<u64>,
    /// [`About::data`] of it.
    pub data: Option<String>,
}

impl About {
    /// What is known of a network in a file that does not say anything about it.
    pub fn unknown(network: NetworkConfig, head: Head) -> Self {
        let (preparation, templates, data, parent) = (None, None, None, None);
        Self { kind: Kind::Unknown, network, head, preparation, templates, data, parent }
    }

    /// What cannot be right, if anything: files may say what they like.
    pub(crate) fn problem(&self) -> Option<String> {
        match &self.kind {
            Kind::Unknown => self.network.problem(),
            Kind::PreTraining { patch, .. } => {
                self.network.problem().or_else(|| patch_problem(*patch, self.network.stride()))
            }
            Kind::FineTuning(downstream) => downstream.problem(&self.network),
        }
    }

    /// How the cases were prepared that it was trained on, if it is known.
    pub(crate) fn prepared(&self) -> Option<Prepared<'_>> {
        let frame = self.templates.as_ref().and_then(|templates| templates.frame.as_ref());
        Some(Prepared { config: &self.preparation.as_ref()?.config, frame })
    }

    /// Whether both were trained on the same cases, prepared alike.
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
    /// A network alone.
    Weights(Box<Weights>),
}

/// What the file of a network alone says.
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

/// Whatever another version holds.
#[derive(Deserialize)]
struct Anything {}

impl Description {
    /// Reads the text of a file; what is wrong with it, and what to do.
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
