//! The input channels of a network for a case, including those for missing modalities.

use brainmvp_volume::Modality;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::FrozenTemplates;
use crate::patch::PatchSource;

/// What replaces a modality that a case lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Missing {
    /// The template of the modality at the same position, or 0 if there is none.
    #[default]
    Template,
    /// 0.
    Zero,
    /// Nothing: the network has no channel for a modality that any training case lacks, and does not accept cases that
    /// lack one of its channels.
    Drop,
}

/// The channels of a network.
#[derive(Debug, Clone)]
pub struct Inputs {
    /// The modality of each channel.
    pub channels: Vec<Modality>,
    /// What replaces a modality that a case lacks.
    pub missing: Missing,
    /// The templates of pre-training.
    pub templates: Option<FrozenTemplates>,
}

/// One channel of a box of a case.
#[derive(Debug, Clone, PartialEq)]
pub struct Channel {
    /// The image's voxels, or those of its substitute; x fastest.
    pub voxels: Vec<f32>,
    /// Whether the case has this modality.
    pub present: bool,
}

impl Inputs {
    /// One channel of the box of `size` voxels that starts at `start` (x, y, z; possibly outside, where it is 0).
    ///
    /// # Errors
    /// If the case cannot be read.
    pub fn channel<S: PatchSource>(
        &self,
        case: &S,
        number: usize,
        start: [isize; 3],
        size: [usize; 3],
    ) -> Result<Channel, S::Error> {
        let modality = self.channels[number];
        let present = case.modalities().contains(&modality);
        let voxels = if present {
            case.patch(modality, start, size)?
        } else {
            let template = match self.missing {
                Missing::Template => self.template(case, modality, start, size),
                Missing::Zero | Missing::Drop => None,
            };
            template.unwrap_or_else(|| vec![0.0; size.iter().product()])
        };
        Ok(Channel { voxels, present })
    }

    /// All channels of that box.
    ///
    /// # Errors
    /// If the case cannot be read.
    pub fn read<S: PatchSource>(
        &self,
        case: &S,
        start: [isize; 3],
        size: [usize; 3],
    ) -> Result<Vec<Channel>, S::Error> {
        (0..self.channels.len()).map(|number| self.channel(case, number, start, size)).collect()
    }

    /// The template of a modality under that box, if pre-training has learnt one and it has a position on the case.
    pub fn template<S: PatchSource>(
        &self,
        case: &S,
        modality: Modality,
        start: [isize; 3],
        size: [usize; 3],
    ) -> Option<Vec<f32>> {
        let templates = self.templates.as_ref()?;
        templates.crop(modality, case.placement()?, start, size)
    }

    /// Whether templates replace anything for a case with these modalities.
    pub fn fills(&self, modalities: &[Modality]) -> bool {
        let lacks = |channel: &Modality| !modalities.contains(channel);
        let has_template = |channel| self.templates.as_ref().is_some_and(|t| t.get(channel).is_some());
        self.missing == Missing::Template
            && self.channels.iter().filter(|channel| lacks(channel)).any(|channel| has_template(*channel))
    }
}

/// Interleaves volumes of one size, channels fastest.
pub fn interleave(channels: &[&[f32]]) -> Vec<f32> {
    let voxels = channels.first().map_or(0, |channel| channel.len());
    (0..voxels).flat_map(|voxel| channels.iter().map(move |channel| channel[voxel])).collect()
}
