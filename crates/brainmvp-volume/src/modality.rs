//! The eight MRI modalities and the words that files use for them.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An MRI modality (BrainMVP's eight), in the order of the templates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Modality {
    /// Fluid-attenuated inversion recovery (T2-FLAIR).
    Flair,
    /// T1-weighted, native.
    T1,
    /// T1-weighted with contrast agent (T1CE).
    T1c,
    /// T2-weighted.
    T2,
    /// Magnetic resonance angiography (time of flight).
    Mra,
    /// Proton density.
    Pd,
    /// Diffusion-weighted (trace).
    Dwi,
    /// Apparent diffusion coefficient.
    Adc,
}

impl Modality {
    /// All modalities, in the order of the templates.
    pub const ALL: [Self; 8] =
        [Self::Flair, Self::T1, Self::T1c, Self::T2, Self::Mra, Self::Pd, Self::Dwi, Self::Adc];

    /// The canonical lower-case name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Flair => "flair",
            Self::T1 => "t1",
            Self::T1c => "t1c",
            Self::T2 => "t2",
            Self::Mra => "mra",
            Self::Pd => "pd",
            Self::Dwi => "dwi",
            Self::Adc => "adc",
        }
    }

    /// Place in [`Modality::ALL`], which is the place of its template.
    pub fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for Modality {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Modality {
    type Err = String;

    /// Reads a canonical name, in any case; aliases are the business of [`Aliases`].
    fn from_str(name: &str) -> std::result::Result<Self, String> {
        let lower = name.to_ascii_lowercase();
        Self::ALL.into_iter().find(|m| m.name() == lower).ok_or_else(|| {
            format!("unknown modality '{name}' (known: flair t1 t1c t2 mra pd dwi adc)")
        })
    }
}

/// What a file is in its case, told by a word of its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// An image of this modality.
    Image(Modality),
    /// A label map (segmentation).
    Label,
    /// A brain mask.
    BrainMask,
    /// Known, and not used here (SWI, ASL, DTI maps...).
    Ignored,
}

/// The case-insensitive table from the words in file names to [`Role`]s.
#[derive(Debug, Clone)]
pub struct Aliases {
    words: BTreeMap<String, Role>,
}
