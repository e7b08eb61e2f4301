//! Recognises the network of a state dict by its names and shapes.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::networks::{NetworkConfig, Unet3dConfig, UniFormerConfig};
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
    /// The network. The width of an attention head cannot be seen in the shapes and is assumed.
    pub network: NetworkConfig,
    /// The head on its encoder.
    pub head: Head,
    /// The prefix of all names of the network: `state_dict.module.`.
    root: String,
    /// The prefix of the encoder's names after that: `encoder.uniformer.`.
    encoder: String,
}

/// The first layers of a UniFormer and of a UNET3D.
const UNIFORMER: &str = "patch_embed1.proj.weight";
const UNET3D: &str = "conv1a.weight";

/// The prefixes of the names of a UniFormer's encoder, in the order in which they are tried.
const ENCODERS: [&str; 3] = ["encoder.uniformer.", "uniformer.", "encoder."];

/// The published width of an attention head.
const HEAD_WIDTH: usize = 64;

impl Layout {
    /// Finds the network among tensors of these names and shapes. There may be others too, such as an optimiser's.
    ///
    /// # Errors
    /// If there is none, there are several, or the shapes are not those of a network of this program.
    #[expect(clippy::expect_used, reason = "`first_layer` returns a name with one of the two endings")]
    pub fn recognise(shapes: &BTreeMap<String, Vec<usize>>) -> Result<Self> {
        let first = first_layer(shapes)?;
        let (before, is_uniformer) = match first.strip_suffix(UNIFORMER) {
            Some(before) => (before, true),
            None => (first.strip_suffix(UNET3D).expect("the first layer of a UNET3D"), false),
        };
        let encoder = ENCODERS.into_iter().find(|encoder| is_uniformer && before.ends_with(encoder));
        let encoder = encoder.unwrap_or_default();
        let root = &before[..before.len() - encoder.len()];
        let parts = Parts { shapes, root, encoder };
        let (network, head) = if is_uniformer {
            (NetworkConfig::UniFormer(parts.uniformer()?), parts.uniformer_head())
        } else {
            (NetworkConfig::Unet3d(parts.unet3d()?), parts.unet3d_head()?)
        };
        if let Some(problem) = network.problem() {
            return Err(Error::Numbers(problem));
        }
        // The network will be allocated, so a small file must not be able to cause a large allocation.
        let count = |shape: &Vec<usize>| shape.iter().fold(1_u64, |count, n| count.saturating_mul(*n as u64));
        let elements = shapes.values().map(count).fold(0, u64::saturating_add);
        if network.parameters_at_least() > elements {
            return Err(Error::Numbers("most of its tensors are missing".into()));
        }
        Ok(Self { network, head, root: root.to_owned(), encoder: encoder.to_owned() })
    }

    /// The published name of a tensor that belongs to the network; `None` for others.
    pub fn published(&self, name: &str) -> Option<String> {
        let rest = name.strip_prefix(self.root.as_str())?;
        let inner = rest.strip_prefix(self.encoder.as_str()).filter(|inner| {
            matches!(self.network, NetworkConfig::UniFormer(_))
                && ["patch_embed", "blocks", "norm."].iter().any(|part| inner.starts_with(part))
        });
        Some(match inner {
            Some(inner) if matches!(self.head, Head::Segmentation { .. }) => format!("encoder.{inner}"),
            Some(inner) => format!("encoder.uniformer.{inner}"),
            None => rest.to_owned(),
        })
    }

    /// Takes from `told` and `head` what cannot be seen in names and shapes.
    ///
    /// # Errors
    /// If they are of another network.
    pub fn told(&mut self, told: &NetworkConfig, head: Head) -> Result<()> {
        let mut shown = told.clone();
        if let (NetworkConfig::UniFormer(shown), NetworkConfig::UniFormer(found)) =
            (&mut shown, &self.network)
        {
            (shown.head_width, shown.drop_path) = (found.head_width, found.drop_path);
        }
        if shown != self.network {
            return Err(Error::Numbers(format!(
                "it is described as {told:?}, but its tensors are those of {:?}",
                self.network
            )));
        }
        if let Some(problem) = told.problem() {
            return Err(Error::Numbers(problem));
        }
        // These two have the same names and shapes in a UNET3D.
        let alike = [Head::Reconstruction, Head::Segmentation { classes: 1 }];
        if head != self.head && !(alike.contains(&head) && alike.contains(&self.head)) {
            let reason =
                format!("its head is described as {head:?}, but its tensors are those of {:?}", self.head);
            return Err(Error::Numbers(reason));
        }
        (self.network, self.head) = (told.clone(), head);
        Ok(())
    }
}

/// The name of the first layer of the network among the tensors.
fn first_layer(shapes: &BTreeMap<String, Vec<usize>>) -> Result<&str> {
    let is_layer = |name: &str, layer: &str| {
        name.strip_suffix(layer).is_some_and(|before| before.is_empty() || before.ends_with('.'))
    };
    let found: Vec<&str> = shapes
        .keys()
        .map(String::as_str)
        .filter(|name| is_layer(name, UNIFORMER) || is_layer(name, UNET3D))
        .collect();
    match found.as_slice() {
        [] => {
            let example = shapes.keys().next().map_or(String::new(), |name| format!(" (such as '{name}')"));
            Err(Error::UnknownNetwork { tensors: shapes.len(), example })
        }
        [one] => Ok(one),
        several => {
            // A checkpoint may contain averaged weights in addition to the trained ones.
            let mut chosen = several.iter().filter(|name| name.starts_with("state_dict."));
            match (chosen.next(), chosen.next()) {
                (Some(one), None) => Ok(one),
                _ => Err(Error::SeveralNetworks {
                    prefixes: several.iter().map(|name| (*name).to_owned()).collect(),
                }),
            }
        }
    }
}

/// The tensors of one network.
struct Parts<'a> {
    shapes: &'a BTreeMap<String, Vec<usize>>,
    root: &'a str,
    encoder: &'a str,
}

impl Parts<'_> {
    /// The shape of a tensor, if it exists and has this many axes.
    fn shape<const D: usize>(&self, name: &str) -> Option<[usize; D]> {
        self.shapes.get(&format!("{}{name}", self.root))?.as_slice().try_into().ok()
    }

    fn needed<const D: usize>(&self, name: &str) -> Result<[usize; D]> {
        let missing = || Error::Missing { first: name.to_owned(), count: 1 };
        self.shape(name).ok_or_else(missing)
    }

    fn uniformer(&self) -> Result<UniFormerConfig> {
        let encoder = self.encoder;
        let starts =
            [1, 2, 3, 4].map(|stage| self.needed::<5>(&format!("{encoder}patch_embed{stage}.proj.weight")));
        let [[w1, in_channels, ..], [w2, ..], [w3, ..], [w4, ..]] = each(starts)?;
        let depths = [1, 2, 3, 4].map(|stage| self.blocks(&format!("{}{encoder}blocks{stage}.", self.root)));
        let hidden = |stage: usize| {
            let layer = format!("{}{encoder}blocks{stage}.0.mlp.fc1.weight", self.root);
            match self.shapes.get(&layer).map(Vec::as_slice) {
                Some([hidden, width, ..]) => Ok(hidden / (*width).max(1)),
                _ => Err(Error::Missing { first: layer, count: 1 }),
            }
        };
        let mlp_ratio = each([1, 2, 3, 4].map(hidden))?;
        Ok(UniFormerConfig {
            in_channels,
            widths: [w1, w2, w3, w4],
            depths,
            head_width: assumed_head_width(w3, w4),
            mlp_ratio,
            drop_path: 0.0,
        })
    }

    /// The number of blocks whose names begin with `prefix` and a number.
    fn blocks(&self, prefix: &str) -> usize {
        let names = self.shapes.keys().filter_map(|name| name.strip_prefix(prefix)?.split('.').next());
        names.collect::<BTreeSet<_>>().len()
    }

    fn uniformer_head(&self) -> Head {
        if self.shape::<5>("decoder.out_1.conv.conv.weight").is_some() {
            Head::Reconstruction
        } else if let Some([classes, ..]) = self.shape::<5>("decoder.out.conv.conv.weight") {
            Head::Segmentation { classes }
        } else {
            self.classifier()
        }
    }

    fn unet3d(&self) -> Result<Unet3dConfig> {
        let starts =
            ["conv1a.weight", "ds1.weight", "ds2.weight", "ds3.weight"].map(|name| self.needed::<5>(name));
        let [[w1, in_channels, ..], [w2, ..], [w3, ..], [w4, ..]] = each(starts)?;
        Ok(Unet3dConfig { in_channels, widths: [w1, w2, w3, w4] })
    }

    /// The decoders of pre-training and of segmentation differ only in their use; pre-training has one channel in and
    /// out.
    fn unet3d_head(&self) -> Result<Head> {
        let [_, in_channels, ..] = self.needed::<5>(UNET3D)?;
        Ok(match self.shape::<5>("up1conv.weight") {
            Some([1, ..]) if in_channels == 1 => Head::Reconstruction,
            Some([classes, ..]) => Head::Segmentation { classes },
            None => self.classifier(),
        })
    }

    fn classifier(&self) -> Head {
        match self.shape::<2>("head.weight") {
            None => Head::None,
            Some([1, _]) => Head::Regression,
            Some([classes, _]) => Head::Classification { classes },
        }
    }
}

fn each<T: Copy + Default>(results: [Result<T>; 4]) -> Result<[T; 4]> {
    let mut all = [T::default(); 4];
    for (place, result) in all.iter_mut().zip(results) {
        *place = result?;
    }
    Ok(all)
}

/// As published, or the widest that divides the widths of both attention stages.
fn assumed_head_width(w3: usize, w4: usize) -> usize {
    let (mut a, mut b) = (w3, w4);
    while b > 0 {
        (a, b) = (b, a % b);
    }
    if a.is_multiple_of(HEAD_WIDTH) { HEAD_WIDTH.min(a) } else { a }
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn heads_are_as_published_where_that_fits() {
        let rows = [((320, 512), 64), ((24, 32), 8), ((48, 64), 16), ((128, 256), 64)];
        for ((w3, w4), expected) in rows {
            assert_eq!(assumed_head_width(w3, w4), expected);
        }
    }
}
