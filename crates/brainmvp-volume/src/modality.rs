//! The eight MRI modalities, and what a file can be in a case.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// An MRI modality (BrainMVP's eight), in the order of the templates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
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

    /// The one of some modalities that most lesions are seen best in: FLAIR, T2, T1 with contrast agent, or else the first.
    pub fn best_for_lesions(of: impl Iterator<Item = Self> + Clone) -> Option<Self> {
        let best =
            [Self::Flair, Self::T2, Self::T1c].into_iter().find(|best| of.clone().any(|one| one == *best));
        best.or_else(|| of.clone().next())
    }

    /// All non-empty subsets of some modalities, the smallest first, each in the order given.
    pub fn subsets(of: &[Self]) -> Vec<Vec<Self>> {
        let chosen = |set: usize| of.iter().enumerate().filter(move |(bit, _)| set >> bit & 1 == 1);
        let all = 1..1_usize << of.len();
        let mut subsets: Vec<Vec<Self>> = all.map(|set| chosen(set).map(|(_, one)| *one).collect()).collect();
        subsets.sort_by_key(Vec::len);
        subsets
    }

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

    /// Reads a canonical name, in upper or lower case; for other words see the crate brainmvp-cohort, `identity`.
    fn from_str(name: &str) -> std::result::Result<Self, String> {
        let lower = name.to_ascii_lowercase();
        Self::ALL
            .into_iter()
            .find(|m| m.name() == lower)
            .ok_or_else(|| format!("unknown modality '{name}' (known: flair t1 t1c t2 mra pd dwi adc)"))
    }
}

/// The role of a file in its case, given by a word of its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// An image of this modality.
    Image(Modality),
    /// A label map (segmentation).
    Label,
    /// A brain mask.
    BrainMask,
    /// Known but not used here (SWI, ASL, DTI maps...).
    Ignored,
}

impl Role {
    /// One word: `t1`, `label`, `brain_mask`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Image(modality) => modality.name(),
            Self::Label => "label",
            Self::BrainMask => "brain_mask",
            Self::Ignored => "ignored",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_subset_is_there_once() {
        use Modality::{Flair, T1, T2};
        assert_eq!(Modality::subsets(&[T1]), [[T1]]);
        let subsets = Modality::subsets(&[T2, Flair, T1]);
        assert_eq!(subsets.len(), 7);
        assert_eq!((&subsets[0][..], &subsets[6][..]), (&[T2][..], &[T2, Flair, T1][..]));
        assert!(subsets.contains(&vec![T2, T1]) && Modality::subsets(&[]).is_empty());
    }

    #[test]
    fn names_are_read_back_in_any_case_and_indices_follow_the_list() {
        for (index, modality) in Modality::ALL.into_iter().enumerate() {
            assert_eq!(modality.index(), index);
            assert_eq!(modality.to_string().parse(), Ok(modality));
            assert_eq!(modality.name().to_uppercase().parse(), Ok(modality));
        }
        assert!("t1w".parse::<Modality>().unwrap_err().contains("t1w"));
    }
}
