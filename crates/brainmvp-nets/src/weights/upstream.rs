//! The names and layouts of parameters in the published state dicts.
//!
//! Upstream, UniFormer and the projection of its input work on the axes (z, x, y), and their kernels are
//! `[out, in, kz, kx, ky]`; those of the decoders and of UNET3D are `[.., kx, ky, kz]`. Here kernels are in (z, y, x) with channels last.

use super::Entry;

/// The upstream form of one parameter or buffer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upstream {
    /// Its key in the state dict of the network that the parameter belongs to: that of pre-training, or of segmentation.
    pub key: String,
    /// Its shape there.
    pub shape: Vec<usize>,
    /// For each axis there, our axis; `None` for an axis of size one that does not exist here.
    axes: Vec<Option<usize>>,
}

impl Upstream {
    /// The upstream form of `entry`.
    pub fn of(entry: Entry<'_>) -> Self {
        let name = entry.path.rsplit('.').next().unwrap_or_default();
        let axes: Vec<Option<usize>> = match (entry.layer(), name) {
            ("DepthwiseConv3d", "weight") => vec![Some(3), None, Some(0), Some(2), Some(1)],
            ("Conv3d", "weight") if entry.within("InputProjection") => {
                vec![Some(4), Some(3), Some(0), Some(2), Some(1)]
            }
            ("Conv3d", "weight") => vec![Some(4), Some(3), Some(2), Some(1), Some(0)],
            ("Downsample", "weight") => vec![Some(4), Some(3), Some(0), Some(2), Some(1)],
            ("Upsample", "weight") => vec![Some(0), Some(4), Some(3), Some(2), Some(1)],
            ("Pointwise", "weight") => vec![Some(1), Some(0), None, None, None],
            ("Linear", "weight") => vec![Some(1), Some(0)],
            _ => (0..entry.shape.len()).map(Some).collect(),
        };
        let shape = axes.iter().map(|axis| axis.map_or(1, |axis| entry.shape[axis])).collect();
        Self { key: key(entry), shape, axes }
    }

    /// Converts values from upstream's order to ours. `shape` is our shape.
    pub fn to_ours(&self, values: &[f32], shape: &[usize]) -> Vec<f32> {
        let mut ours = vec![0.0; values.len()];
        self.for_each_pair(shape, |upstream, our| ours[our] = values[upstream]);
        ours
    }

    /// Converts values from our order to upstream's. `shape` is our shape.
    pub fn to_upstream(&self, values: &[f32], shape: &[usize]) -> Vec<f32> {
        let mut theirs = vec![0.0; values.len()];
        self.for_each_pair(shape, |upstream, our| theirs[upstream] = values[our]);
        theirs
    }

    /// Calls `f` with each element's offset upstream and here.
    fn for_each_pair(&self, shape: &[usize], mut f: impl FnMut(usize, usize)) {
        let mut strides = vec![1; shape.len()];
        for axis in (1..shape.len()).rev() {
            strides[axis - 1] = strides[axis] * shape[axis];
        }
        let steps: Vec<usize> = self.axes.iter().map(|axis| axis.map_or(0, |axis| strides[axis])).collect();
        let mut index = vec![0; self.shape.len()];
        for upstream in 0..self.shape.iter().product() {
            f(upstream, index.iter().zip(&steps).map(|(i, step)| i * step).sum());
            for axis in (0..index.len()).rev() {
                index[axis] += 1;
                if index[axis] < self.shape[axis] {
                    break;
                }
                index[axis] = 0;
            }
        }
    }
}

/// Converts templates from upstream's layout, `[S, X, Y, Z]`, to one volume each, x fastest. `size` is (x, y, z).
pub fn templates_to_ours(values: &[f32], size: [usize; 3]) -> Vec<Vec<f32>> {
    let voxels = size.iter().product::<usize>().max(1);
    values.chunks_exact(voxels).map(|volume| reversed(volume, size)).collect()
}

/// Converts volumes with x fastest to upstream's layout of templates, `[S, X, Y, Z]`. `size` is (x, y, z).
pub fn templates_to_upstream<'a>(
    volumes: impl Iterator<Item = &'a [f32]>,
    [x, y, z]: [usize; 3],
) -> Vec<f32> {
    volumes.flat_map(|volume| reversed(volume, [z, y, x])).collect()
}

/// A row-major volume of `shape` with its axes in the opposite order.
fn reversed(volume: &[f32], [first, second, third]: [usize; 3]) -> Vec<f32> {
    let mut reversed = Vec::with_capacity(volume.len());
    for c in 0..third {
        for b in 0..second {
            reversed.extend((0..first).map(|a| volume[(a * second + b) * third + c]));
        }
    }
    reversed
}

/// Upstream, UNET3D is not divided into encoder and decoder; the UniFormer of pre-training is inside another module;
/// and a decoder's convolutions are inside one or two.
fn key(entry: Entry<'_>) -> String {
    let path = entry.path;
    if entry.within("Unet3dEncoder") || entry.within("Unet3dDecoder") {
        let flat = path.strip_prefix("encoder.").or_else(|| path.strip_prefix("decoder."));
        return flat.unwrap_or(path).to_owned();
    }
    if let Some(rest) = path.strip_prefix("encoder.").filter(|_| !entry.within("SegmentationNetwork")) {
        return format!("encoder.uniformer.{rest}");
    }
    if let Some(rest) = path.strip_prefix("decoder.ms_out.") {
        return format!("ms_out.{rest}");
    }
    match path.rsplit_once('.') {
        Some((layer, name)) if path.starts_with("decoder.") => {
            let wrapped = match layer.rsplit('.').next() {
                Some("transp_conv" | "conv1" | "conv2" | "conv3") => ".conv",
                Some("out" | "out_1") => ".conv.conv",
                _ => "",
            };
            format!("{layer}{wrapped}.{name}")
        }
        _ => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_published_state_dicts() {
        let key_in = |module: &str, path| key(Entry { path, modules: &[module.to_owned()], shape: &[1] });
        for (module, path, expected) in [
            ("BrainMvp", "encoder.blocks3.0.attn.qkv.weight", "encoder.uniformer.blocks3.0.attn.qkv.weight"),
            ("BrainMvp", "decoder.decoder5.transp_conv.weight", "decoder.decoder5.transp_conv.conv.weight"),
            ("BrainMvp", "decoder.out_1.bias", "decoder.out_1.conv.conv.bias"),
            ("UniFormer", "blocks1.0.norm1.weight", "blocks1.0.norm1.weight"),
            ("SegmentationNetwork", "encoder.patch_embed1.proj.bias", "encoder.patch_embed1.proj.bias"),
            ("SegmentationNetwork", "decoder.proj1.proj.weight", "decoder.proj1.proj.weight"),
            (
                "SegmentationNetwork",
                "decoder.decoder2.conv_block.conv3.weight",
                "decoder.decoder2.conv_block.conv3.conv.weight",
            ),
            ("SegmentationNetwork", "decoder.out.weight", "decoder.out.conv.conv.weight"),
            ("SegmentationNetwork", "decoder.ms_out.1.weight", "ms_out.1.weight"),
            ("Unet3dEncoder", "encoder.conv4d.gn2.bias", "conv4d.gn2.bias"),
            ("Unet3dDecoder", "decoder.up4convb.conv1.weight", "up4convb.conv1.weight"),
        ] {
            assert_eq!(key_in(module, path), expected);
        }
    }

    #[test]
    fn templates_go_there_and_back() {
        let size = [2, 3, 4];
        let values: Vec<f32> = (0..48).map(|i| i as f32).collect();
        let ours = templates_to_ours(&values, size);
        // Theirs at s=1, x=1, y=2, z=3 is ours at z=3, y=2, x=1.
        assert_eq!(ours[1][(3 * 3 + 2) * 2 + 1], values[24 + (3 + 2) * 4 + 3]);
        assert_eq!(templates_to_upstream(ours.iter().map(Vec::as_slice), size), values);
    }

    #[test]
    fn axes_go_there_and_back() {
        let shape = [2, 2, 2, 3, 5];
        let entry =
            Entry { path: "patch_embed1.proj.weight", modules: &["Downsample".into()], shape: &shape };
        let upstream = Upstream::of(entry);
        assert_eq!(upstream.shape, [5, 3, 2, 2, 2]);
        let values: Vec<f32> = (0..120).map(|i| i as f32).collect();
        let theirs = upstream.to_upstream(&values, &shape);
        assert_eq!(upstream.to_ours(&theirs, &shape), values);
        // Ours at z=1, y=0, x=1, in=2, out=4 is theirs at out=4, in=2, z=1, x=1, y=0.
        let ours_at = ((2 * 2 + 1) * 3 + 2) * 5 + 4;
        let theirs_at = (((4 * 3 + 2) * 2 + 1) * 2 + 1) * 2;
        assert_eq!(theirs[theirs_at], values[ours_at]);
    }
}
