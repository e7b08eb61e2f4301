//! Recognises the network of a state dict by its names and shapes.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::networks::{KNOWN, NetworkConfig};
use crate::{Error, Result};

/// The head on an encoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Head {
    /// Nothing.
    None,
    /// The decoder of pre-training.
    Reconstruction,
    /// A decoder that segments.
    Segmentation {
        /// Its output channels.
        classes: usize,
    },
    /// A classifier.
    Classification {
        /// Its outputs.
        classes: usize,
    },
    /// A linear layer with one output, a number: a classifier of one class, by its names and shapes.
    Regression,
}

/// A state dict's network, and how its names differ from the published ones.
#[derive(Debug, Clone, PartialEq)]
pub struct Layout {
    /// The network. What cannot be seen in the shapes is assumed.
    pub network: NetworkConfig,
    /// The head on its encoder.
    pub head: Head,
    /// The prefix of all names of the network: `state_dict.module.`.
    root: String,
}

/// How a network is recognised. There is one for each of the list of networks.
pub(crate) struct Known {
    pub(crate) title: &'static str,
    /// See [`Network::OPENING`](crate::networks::Network::OPENING).
    pub(crate) opening: &'static str,
    /// See [`Network::PREFIXES`](crate::networks::Network::PREFIXES).
    pub(crate) prefixes: &'static [&'static str],
    /// See [`Network::COPIED_UNDER`](crate::networks::Network::COPIED_UNDER).
    pub(crate) copied_under: &'static [&'static str],
    /// The sizes and the head.
    pub(crate) recognise: fn(&Parts<'_>) -> Result<(NetworkConfig, Head)>,
}

impl Known {
    /// What stands before the first layer, if this is its name.
    fn before<'a>(&self, name: &'a str) -> Option<&'a str> {
        let before = name.strip_suffix(self.opening)?;
        let is_copy = self.copied_under.iter().any(|copy| before.ends_with(copy));
        let is_part = before.is_empty() || before.ends_with('.');
        (is_part && !is_copy).then_some(before)
    }
}

impl Layout {
    /// Finds the network among tensors of these names and shapes. There may be others too, such as an optimiser's.
    ///
    /// # Errors
    /// If there is none, there are several, or the shapes are not those of a network of this program.
    pub fn recognise(shapes: &BTreeMap<String, Vec<usize>>) -> Result<Self> {
        let (known, before) = first_layer(shapes)?;
        let prefix = known.prefixes.iter().find(|prefix| before.ends_with(**prefix)).copied().unwrap_or("");
        let root = &before[..before.len() - prefix.len()];
        let (network, head) = (known.recognise)(&Parts { shapes, root, prefix })?;
        if let Some(problem) = network.problem() {
            return Err(Error::Numbers(problem));
        }
        // The network will be allocated, so a small file must not be able to cause a large allocation.
        let count = |shape: &Vec<usize>| shape.iter().fold(1_u64, |count, n| count.saturating_mul(*n as u64));
        let elements = shapes.values().map(count).fold(0, u64::saturating_add);
        if network.parameters_at_least() > elements {
            return Err(Error::Numbers("most of its tensors are missing".into()));
        }
        Ok(Self { network, head, root: root.to_owned() })
    }

    /// The published name of a tensor that belongs to the network; `None` for others, and for those from which nothing can
    /// be learnt.
    pub fn published(&self, name: &str) -> Option<String> {
        self.network.canonical(self.head, name.strip_prefix(self.root.as_str())?)
    }

    /// Takes from `told` and `head` what cannot be seen in names and shapes.
    ///
    /// # Errors
    /// If they are of another network.
    pub fn told(&mut self, told: &NetworkConfig, head: Head) -> Result<()> {
        if self.network.with_unseen(told, self.head) != *told {
            return Err(Error::Numbers(format!(
                "it is described as {told:?}, but its tensors are those of {:?}",
                self.network
            )));
        }
        if let Some(problem) = told.problem() {
            return Err(Error::Numbers(problem));
        }
        let alike = [Head::Reconstruction, Head::Segmentation { classes: 1 }];
        let is_alike = told.has_one_decoder() && alike.contains(&head) && alike.contains(&self.head);
        if head != self.head && !is_alike {
            let reason =
                format!("its head is described as {head:?}, but its tensors are those of {:?}", self.head);
            return Err(Error::Numbers(reason));
        }
        (self.network, self.head) = (told.clone(), head);
        Ok(())
    }
}

/// The network whose first layer is among the tensors, and what stands before its name.
fn first_layer(shapes: &BTreeMap<String, Vec<usize>>) -> Result<(&'static Known, &str)> {
    let of = |name| KNOWN.iter().find_map(|known| Some((known, known.before(name)?)));
    let found: Vec<(&str, (&'static Known, &str))> =
        shapes.keys().filter_map(|name| Some((name.as_str(), of(name)?))).collect();
    match found.as_slice() {
        [] => {
            let example = shapes.keys().next().map_or(String::new(), |name| format!(" (such as '{name}')"));
            let known = KNOWN.iter().map(|known| format!("{} ({})", known.opening, known.title)).collect();
            Err(Error::UnknownNetwork { tensors: shapes.len(), example, known })
        }
        [(_, one)] => Ok(*one),
        several => {
            // A checkpoint may contain averaged weights in addition to the trained ones.
            let mut chosen = several.iter().filter(|(name, _)| name.starts_with("state_dict."));
            match (chosen.next(), chosen.next()) {
                (Some((_, one)), None) => Ok(*one),
                _ => Err(Error::SeveralNetworks {
                    prefixes: several.iter().map(|(name, _)| (*name).to_owned()).collect(),
                }),
            }
        }
    }
}

/// The tensors of one network.
pub struct Parts<'a> {
    shapes: &'a BTreeMap<String, Vec<usize>>,
    root: &'a str,
    /// What stands before the names of the encoder.
    pub prefix: &'a str,
}

impl Parts<'_> {
    /// The shape of a tensor, if it exists and has this many axes.
    pub fn shape<const D: usize>(&self, name: &str) -> Option<[usize; D]> {
        self.any_shape(name).ok()?.try_into().ok()
    }

    /// The shape of a tensor.
    ///
    /// # Errors
    /// If it does not exist.
    pub fn any_shape(&self, name: &str) -> Result<&[usize]> {
        let shape = self.shapes.get(&format!("{}{name}", self.root)).map(Vec::as_slice);
        shape.ok_or_else(|| Error::Missing { first: name.to_owned(), count: 1 })
    }

    /// The shape of a tensor with this many axes.
    ///
    /// # Errors
    /// If it does not exist, or has another number of axes.
    pub fn needed<const D: usize>(&self, name: &str) -> Result<[usize; D]> {
        self.shape(name).ok_or_else(|| Error::Missing { first: name.to_owned(), count: 1 })
    }

    /// What is found under each of some names.
    ///
    /// # Errors
    /// The first error.
    pub fn each<T: Copy + Default, const N: usize>(
        &self,
        names: [impl AsRef<str>; N],
        find: impl Fn(&Self, &str) -> Result<T>,
    ) -> Result<[T; N]> {
        let mut all = [T::default(); N];
        for (place, name) in all.iter_mut().zip(names) {
            *place = find(self, name.as_ref())?;
        }
        Ok(all)
    }

    /// How many different parts the names have between `prefix` and the next dot: the number of blocks.
    pub fn count(&self, prefix: &str) -> usize {
        let prefix = format!("{}{prefix}", self.root);
        let names =
            self.shapes.keys().filter_map(|name| name.strip_prefix(prefix.as_str())?.split('.').next());
        names.collect::<BTreeSet<_>>().len()
    }

    /// The head of a network whose decoders are MONAI's.
    pub fn head_of_monai(&self) -> Head {
        if self.any_shape("out_1.conv.conv.weight").is_ok() {
            return Head::Reconstruction;
        }
        let out = self.shape::<5>("out.conv.conv.weight");
        out.map_or_else(|| self.classifier(), |[classes, ..]| Head::Segmentation { classes })
    }

    /// The layer on the mean of the deepest features, if there is one.
    pub fn classifier(&self) -> Head {
        match self.shape::<2>("head.weight") {
            None => Head::None,
            Some([1, _]) => Head::Regression,
            Some([classes, _]) => Head::Classification { classes },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::networks::UniFormerConfig;

    fn uniformer(prefix: &str, decoder: &str) -> BTreeMap<String, Vec<usize>> {
        let mut shapes = BTreeMap::new();
        let widths = [1, 8, 16, 24, 32];
        for stage in 1..=4 {
            let (before, width) = (widths[stage - 1], widths[stage]);
            shapes.insert(format!("{prefix}patch_embed{stage}.proj.weight"), vec![width, before, 2, 2, 2]);
            for block in 0..2 {
                let mut hidden = vec![2 * width, width];
                hidden.extend(if stage < 3 { vec![1; 3] } else { vec![] });
                shapes.insert(format!("{prefix}blocks{stage}.{block}.mlp.fc1.weight"), hidden.clone());
                shapes.insert(format!("{prefix}blocks{stage}.{block}.other"), vec![6, width, width]);
            }
        }
        shapes.insert(decoder.to_owned(), vec![3, 8, 1, 1, 1]);
        shapes
    }

    #[test]
    fn the_network_is_read_off() {
        let expected = UniFormerConfig {
            in_channels: 1,
            widths: [8, 16, 24, 32],
            depths: [2; 4],
            head_width: 8,
            mlp_ratio: [2; 4],
            drop_path: 0.0,
        };
        let segmentation = Head::Segmentation { classes: 3 };
        for (prefix, decoder, head, published) in [
            (
                "state_dict.module.encoder.uniformer.",
                "state_dict.module.decoder.out_1.conv.conv.weight",
                Head::Reconstruction,
                "encoder.uniformer.",
            ),
            ("module.encoder.", "module.decoder.out.conv.conv.weight", segmentation, "encoder."),
            ("encoder.", "decoder.out.conv.conv.weight", segmentation, "encoder."),
            ("uniformer.", "other", Head::None, "encoder.uniformer."),
            ("", "other", Head::None, "encoder.uniformer."),
        ] {
            let shapes = uniformer(prefix, decoder);
            let layout = Layout::recognise(&shapes).unwrap();
            assert_eq!((&layout.network, layout.head), (&NetworkConfig::UniFormer(expected.clone()), head));
            let name = layout.published(&format!("{prefix}norm.weight")).unwrap();
            assert_eq!(name, format!("{published}norm.weight"));
        }
    }

    #[test]
    fn what_is_told_must_fit_what_is_there() {
        let mut layout = Layout::recognise(&uniformer("", "other")).unwrap();
        let NetworkConfig::UniFormer(found) = layout.network.clone() else { panic!("{layout:?}") };
        let told = NetworkConfig::UniFormer(UniFormerConfig { head_width: 4, ..found.clone() });
        layout.told(&told, Head::None).unwrap();
        assert_eq!(layout.network, told);
        let other = NetworkConfig::UniFormer(UniFormerConfig { depths: [1; 4], ..found });
        assert!(layout.told(&other, Head::None).is_err());
        assert!(layout.told(&told, Head::Segmentation { classes: 1_000_000_000 }).is_err());
    }

    #[test]
    fn what_makes_no_network_is_refused() {
        let message =
            |shapes: &BTreeMap<String, Vec<usize>>| Layout::recognise(shapes).unwrap_err().to_string();
        assert!(message(&[("fc.weight".to_owned(), vec![2])].into()).contains("'fc.weight'"));
        let mut shapes = uniformer("", "other");
        shapes.remove("patch_embed3.proj.weight");
        assert!(message(&shapes).contains("patch_embed3.proj.weight"));
        shapes.insert("patch_embed3.proj.weight".to_owned(), vec![8192, 1, 1, 1, 1]);
        assert!(message(&shapes).contains("most of its tensors are missing"), "{}", message(&shapes));
        shapes.insert("ema.patch_embed1.proj.weight".to_owned(), vec![1; 5]);
        assert!(message(&shapes).contains("several"));
    }
}
