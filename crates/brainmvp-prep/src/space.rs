//! Which space the images of a case are in.

use std::fmt;

use brainmvp_registration::StandardSpace;
use serde::{Deserialize, Serialize};

/// The space of a prepared case: what the coordinates (RAS+ mm) of its voxels mean.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Space {
    /// The space of an atlas, which the case was registered to or whose grid its files have.
    Atlas(AtlasSpace),
    /// A standard space that was recognised by the grid of the files.
    Standard(StandardSpace),
    /// The scanner's own space: the same coordinates are in a different part of the head for every case.
    #[default]
    Native,
}

/// The space of an atlas.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AtlasSpace {
    /// The name of the standard space, or of the file.
    pub name: String,
    /// BLAKE3 of the file, hex.
    pub hash: String,
    /// The standard space of the atlas, if its grid is known.
    pub standard: Option<StandardSpace>,
}

impl Space {
    /// The standard space that it is, if it is one.
    pub fn standard(&self) -> Option<StandardSpace> {
        match self {
            Self::Atlas(atlas) => atlas.standard,
            Self::Standard(space) => Some(*space),
            Self::Native => None,
        }
    }

    /// Whether the same coordinates are in the same part of the head in both. They are for one atlas or one standard
    /// space. For two native spaces it is not known, so this is false.
    pub fn is_shared_with(&self, other: &Self) -> bool {
        let one_atlas =
            matches!((self, other), (Self::Atlas(ours), Self::Atlas(theirs)) if ours.hash == theirs.hash);
        one_atlas || self.standard().is_some_and(|space| other.standard() == Some(space))
    }
}

impl fmt::Display for Space {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Atlas(atlas) => {
                write!(f, "the space of the atlas {} ({:.8})", atlas.name, atlas.hash)
            }
            Self::Standard(space) => f.write_str(space.name()),
            Self::Native => f.write_str("a native space"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn atlas(hash: &str, standard: Option<StandardSpace>) -> Space {
        Space::Atlas(AtlasSpace { name: "a".to_owned(), hash: hash.to_owned(), standard })
    }

    #[test]
    fn one_atlas_or_one_standard_space_is_shared() {
        let (sri, mni) = (StandardSpace::Sri24, StandardSpace::Mni152);
        for (a, b, shared) in [
            (atlas("1", None), atlas("1", None), true),
            (atlas("1", None), atlas("2", None), false),
            (atlas("1", Some(sri)), atlas("2", Some(sri)), true),
            (atlas("1", Some(sri)), Space::Standard(sri), true),
            (atlas("1", Some(sri)), Space::Standard(mni), false),
            (atlas("1", None), Space::Native, false),
            (Space::Standard(mni), Space::Standard(mni), true),
            (Space::Native, Space::Native, false),
        ] {
            assert_eq!((a.is_shared_with(&b), b.is_shared_with(&a)), (shared, shared), "{a} and {b}");
        }
    }

    #[test]
    fn what_is_stored_is_read_back() {
        for space in
            [atlas("1f", Some(StandardSpace::Sri24)), Space::Standard(StandardSpace::Mni152), Space::Native]
        {
            let text = serde_json::to_string(&space).unwrap();
            assert_eq!(serde_json::from_str::<Space>(&text).unwrap(), space, "{text}");
        }
    }
}
