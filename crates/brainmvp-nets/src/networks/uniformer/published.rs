//! The published state dicts of UniFormer.
//!
//! Upstream, UniFormer and the projection of its input work on the axes (z, x, y), and their kernels are
//! `[out, in, kz, kx, ky]`; those of the decoders are `[.., kx, ky, kz]`. In pre-training the encoder is inside another
//! module, and a decoder's convolutions are inside one or two.

use burn::module::Module;
use burn::tensor::{Device, TensorData};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng as _;

use super::UniFormerConfig;
use crate::heads::{SkipDecoder, wrapped};
use crate::networks::{Network, NetworkConfig};
use crate::weights::{Axes, Entry, Extra, Head, Parts, Upstream, published_axes, visit};
use crate::{Init, Result};

/// The prefixes of the names of the encoder, in the order in which they are tried.
pub(super) const PREFIXES: &[&str] = &["encoder.uniformer.", "uniformer.", "encoder."];

/// The published width of an attention head.
const HEAD_WIDTH: usize = 64;

pub(super) fn recognise(parts: &Parts<'_>) -> Result<(UniFormerConfig, Head)> {
    let names = |name: &str| {
        [1, 2, 3, 4].map(|stage| format!("{}{name}", parts.prefix).replace('#', &stage.to_string()))
    };
    let [[w1, in_channels, ..], [w2, ..], [w3, ..], [w4, ..]] =
        parts.each(names("patch_embed#.proj.weight"), Parts::needed::<5>)?;
    let mlp_ratio = parts.each(names("blocks#.0.mlp.fc1.weight"), |parts, name| {
        let shape = parts.any_shape(name)?;
        Ok(match shape {
            [hidden, width, ..] => hidden / (*width).max(1),
            _ => 0,
        })
    })?;
    let config = UniFormerConfig {
        in_channels,
        widths: [w1, w2, w3, w4],
        depths: names("blocks#.").map(|prefix| parts.count(&prefix)),
        head_width: assumed_head_width(w3, w4),
        mlp_ratio,
        drop_path: 0.0,
    };
    let head = if parts.shape::<5>("decoder.out_1.conv.conv.weight").is_some() {
        Head::Reconstruction
    } else if let Some([classes, ..]) = parts.shape::<5>("decoder.out.conv.conv.weight") {
        Head::Segmentation { classes }
    } else {
        parts.classifier()
    };
    Ok((config, head))
}

/// As published, or the widest that divides the widths of both attention stages.
fn assumed_head_width(w3: usize, w4: usize) -> usize {
    let (mut a, mut b) = (w3, w4);
    while b > 0 {
        (a, b) = (b, a % b);
    }
    if a.is_multiple_of(HEAD_WIDTH) { HEAD_WIDTH.min(a) } else { a }
}

/// What stands before the encoder's names depends on the program that wrote them.
pub(super) fn canonical(head: Head, name: &str) -> String {
    let inner = PREFIXES.iter().find_map(|prefix| name.strip_prefix(prefix)).unwrap_or(name);
    if ["patch_embed", "blocks", "norm."].iter().any(|part| inner.starts_with(part)) {
        format!("{}{inner}", before_encoder(head))
    } else {
        name.to_owned()
    }
}

fn before_encoder(head: Head) -> &'static str {
    if matches!(head, Head::Segmentation { .. }) { "encoder." } else { "encoder.uniformer." }
}

pub(super) fn key(head: Head, entry: Entry<'_>) -> String {
    let path = entry.path;
    if let Some(rest) = path.strip_prefix("encoder.") {
        return format!("{}{rest}", before_encoder(head));
    }
    if let Some(rest) = path.strip_prefix("decoder.ms_out.") {
        return format!("ms_out.{rest}");
    }
    if path.starts_with("decoder.") { wrapped(path) } else { path.to_owned() }
}

pub(super) fn axes(entry: Entry<'_>) -> Axes {
    match (entry.layer(), entry.name()) {
        ("DepthwiseConv3d", "weight") => vec![Some(3), None, Some(0), Some(2), Some(1)],
        ("Downsample", "weight") => vec![Some(4), Some(3), Some(0), Some(2), Some(1)],
        ("Conv3d", "weight") if entry.within("InputProjection") => {
            vec![Some(4), Some(3), Some(0), Some(2), Some(1)]
        }
        _ => published_axes(entry),
    }
}

/// The published decoder of pre-training is that of segmentation, whose blocks for skip connections are idle.
#[expect(clippy::expect_used, reason = "parameters are fp32")]
pub(super) fn idle(config: &UniFormerConfig, head: Head) -> Vec<(String, Extra)> {
    if head != Head::Reconstruction {
        return Vec::new();
    }
    let (device, mut rng) = (Device::flex(), ChaCha8Rng::seed_from_u64(0));
    let decoder = config.segmentation(1, &mut Init { device: &device, rng: &mut rng });
    let network = NetworkConfig::UniFormer(config.clone());
    let mut idle = Vec::new();
    visit(&IdleDecoder { decoder }, |entry, values| {
        if entry.path.contains(".conv_block.") || entry.path.starts_with("decoder.proj1.") {
            let upstream = Upstream::of(&network, head, entry);
            let values = values.as_slice::<f32>().expect("new parameters are fp32");
            let theirs = upstream.to_upstream(values, entry.shape);
            idle.push((upstream.key, Extra::Idle(TensorData::new(theirs, upstream.shape))));
        }
    });
    idle
}

/// Gives the decoder's parameters their path.
#[derive(Module, Debug)]
struct IdleDecoder {
    decoder: SkipDecoder,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_published_state_dicts() {
        let segmentation = Head::Segmentation { classes: 3 };
        for (head, path, expected) in [
            (
                Head::Reconstruction,
                "encoder.blocks3.0.attn.qkv.weight",
                "encoder.uniformer.blocks3.0.attn.qkv.weight",
            ),
            (
                Head::Reconstruction,
                "decoder.decoder5.transp_conv.weight",
                "decoder.decoder5.transp_conv.conv.weight",
            ),
            (Head::Reconstruction, "decoder.out_1.bias", "decoder.out_1.conv.conv.bias"),
            (Head::None, "blocks1.0.norm1.weight", "blocks1.0.norm1.weight"),
            (segmentation, "encoder.patch_embed1.proj.bias", "encoder.patch_embed1.proj.bias"),
            (segmentation, "decoder.proj1.proj.weight", "decoder.proj1.proj.weight"),
            (
                segmentation,
                "decoder.decoder2.conv_block.conv3.weight",
                "decoder.decoder2.conv_block.conv3.conv.weight",
            ),
            (segmentation, "decoder.out.weight", "decoder.out.conv.conv.weight"),
            (segmentation, "decoder.ms_out.1.weight", "ms_out.1.weight"),
        ] {
            assert_eq!(key(head, Entry { path, modules: &[], shape: &[1] }), expected);
        }
    }

    #[test]
    fn heads_are_as_published_where_that_fits() {
        let rows = [((320, 512), 64), ((24, 32), 8), ((48, 64), 16), ((128, 256), 64)];
        for ((w3, w4), expected) in rows {
            assert_eq!(assumed_head_width(w3, w4), expected);
        }
    }
}
