//! One parameter in our form and in that of the published state dicts.

use super::{Entry, Head};
use crate::networks::NetworkConfig;

/// For each axis of a tensor in a published state dict, our axis; `None` for an axis of size one that does not exist here.
pub type Axes = Vec<Option<usize>>;

/// The axes of PyTorch: kernels there are `[out, in, kx, ky, kz]`. Here they are in (z, y, x), with channels last.
pub fn published_axes(entry: Entry<'_>) -> Axes {
    match (entry.layer(), entry.name()) {
        ("DepthwiseConv3d", "weight") => vec![Some(3), None, Some(2), Some(1), Some(0)],
        ("Conv3d" | "Downsample", "weight") => vec![Some(4), Some(3), Some(2), Some(1), Some(0)],
        ("Upsample", "weight") => vec![Some(0), Some(4), Some(3), Some(2), Some(1)],
        ("Pointwise", "weight") => vec![Some(1), Some(0), None, None, None],
        ("Linear", "weight") => vec![Some(1), Some(0)],
        _ => (0..entry.shape.len()).map(Some).collect(),
    }
}

/// The published form of one parameter or buffer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upstream {
    /// Its key in the state dict of the network with its head.
    pub key: String,
    /// Its shape there.
    pub shape: Vec<usize>,
    axes: Axes,
}

impl Upstream {
    /// The published form of an entry of `network` with this head.
    pub fn of(network: &NetworkConfig, head: Head, entry: Entry<'_>) -> Self {
        let axes = network.axes(entry);
        let shape = axes.iter().map(|axis| axis.map_or(1, |axis| entry.shape[axis])).collect();
        Self { key: network.key(head, entry), shape, axes }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::networks::UniFormerConfig;

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
        let network = NetworkConfig::UniFormer(UniFormerConfig::tiny());
        let upstream = Upstream::of(&network, Head::None, entry);
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
