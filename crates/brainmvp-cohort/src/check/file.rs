//! The contents of one file.

use std::collections::BTreeSet;
use std::path::Path;

use brainmvp_volume::{Grid, Role, Volume, file, orientation};

use super::{CheckOptions, Kind, Problem};
use crate::Case;

/// An image with more distinct values than this is not a label map.
const MOST_LABELS: usize = 256;

/// How far a label may be from a whole number: enough for rounding in a scaling (as in [`file::read_labels`]).
const LABEL_TOLERANCE: f32 = 1e-3;

/// How far two axes may be from a right angle, as the cosine of their angle.
const SHEAR_TOLERANCE: f64 = 1e-3;

/// Everything that is kept about a file.
pub(super) struct Facts {
    pub(super) grid: Grid,
    /// BLAKE3 of shape and voxels after scaling: the same for a copy that is stored or compressed differently.
    pub(super) digest: [u8; 32],
    /// The distinct values, if they are few and all whole numbers from 0 to 65535.
    pub(super) labels: Option<BTreeSet<u16>>,
    /// World coordinates of the corners of the box around all voxels that are not 0; none if all voxels are 0.
    pub(super) content_mm: Option<[[f64; 3]; 2]>,
    is_placed: bool,
    not_finite: usize,
    range: [f32; 2],
}

impl Facts {
    /// Reads a file.
    pub(super) fn read(path: &Path) -> brainmvp_volume::Result<(Self, Volume)> {
        let is_placed = file::read_header(path)?.is_placed;
        let volume = file::read(path)?;
        let finite = || volume.voxels().iter().copied().filter(|value| value.is_finite());
        let range =
            finite().fold([f32::INFINITY, f32::NEG_INFINITY], |[low, high], v| [low.min(v), high.max(v)]);
        let facts = Self {
            grid: *volume.grid(),
            digest: digest(&volume),
            labels: labels(&volume),
            content_mm: content_mm(&volume),
            is_placed,
            not_finite: volume.voxels().len() - finite().count(),
            range,
        };
        Ok((facts, volume))
    }

    /// Whether all finite voxels are equal, or none is finite.
    pub(super) fn is_constant(&self) -> bool {
        self.range[0] >= self.range[1]
    }

    /// What is wrong with the file by itself.
    pub(super) fn problems(
        &self,
        case: &Case,
        role: Role,
        path: &Path,
        options: &CheckOptions,
    ) -> Vec<Problem> {
        let mut found = self.grid_problems(options);
        if self.not_finite > 0 {
            let total = self.grid.len();
            found.push((
                Kind::NotFinite,
                format!("{} of {total} voxels are NaN or infinite", self.not_finite),
            ));
        }
        match role {
            Role::Image(_) if self.is_constant() => {
                found.push((Kind::Constant, format!("all voxels are {}", self.range[0])));
            }
            Role::Image(_) if self.labels.as_ref().is_some_and(|values| values.len() == 2) => {
                found.push((Kind::Binary, "only two values: a mask, not an image".to_owned()));
            }
            Role::Label if self.labels.is_none() && self.not_finite == 0 => {
                let message = format!(
                    "not whole label numbers from 0 to 65535 (values {} to {})",
                    self.range[0], self.range[1]
                );
                found.push((Kind::LabelNotIntegral, message));
            }
            Role::BrainMask => found.extend(self.mask_problem()),
            _ => {}
        }
        found.into_iter().map(|(kind, message)| Problem::new(case, Some(path), kind, message)).collect()
    }

    fn grid_problems(&self, options: &CheckOptions) -> Vec<(Kind, String)> {
        let mut found = Vec::new();
        let (shape, spacing) = (self.grid.shape, self.grid.affine.spacing_mm());
        if shape.iter().any(|axis| *axis < 2) {
            found.push((
                Kind::Flat,
                format!("a volume of {} x {} x {} voxels is flat", shape[0], shape[1], shape[2]),
            ));
        }
        let [smallest, largest] = options.spacing_mm;
        if spacing.iter().any(|mm| !(smallest..=largest).contains(mm)) {
            let [x, y, z] = spacing;
            let message =
                format!("voxels of {x:.4} x {y:.4} x {z:.4} mm (plausible: {smallest} to {largest})");
            found.push((Kind::Spacing, message));
        }
        let linear = self.grid.affine.linear();
        let cosine = |a: usize, b: usize| linear.column(a).dot(&linear.column(b)) / (spacing[a] * spacing[b]);
        let worst = [(0, 1), (0, 2), (1, 2)].into_iter().map(|(a, b)| cosine(a, b).abs()).fold(0.0, f64::max);
        if worst > SHEAR_TOLERANCE {
            let degrees = worst.min(1.0).asin().to_degrees();
            found.push((Kind::Shear, format!("axes are {degrees:.2} degrees off a right angle")));
        }
        if !self.is_placed {
            let axes = orientation::code(&self.grid.affine);
            let message = format!("the file does not say where its axes point: taken as {axes}");
            found.push((Kind::NoOrientation, message));
        }
        found
    }

    fn mask_problem(&self) -> Option<(Kind, String)> {
        let values = self.labels.iter().flatten().filter(|value| **value != 0).count();
        match (values, &self.labels) {
            (_, None) => {
                Some((Kind::MaskNotBinary, "the brain mask has values that are not whole numbers".to_owned()))
            }
            (0, _) => Some((Kind::MaskEmpty, "the brain mask is empty".to_owned())),
            (1, _) => None,
            _ => Some((Kind::MaskNotBinary, format!("the brain mask has {values} values besides 0"))),
        }
    }
}

fn digest(volume: &Volume<f32>) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    for axis in volume.shape() {
        hasher.update(&(axis as u64).to_le_bytes());
    }
    let mut bytes = Vec::with_capacity(4 << 14);
    for voxels in volume.voxels().chunks(1 << 14) {
        bytes.clear();
        bytes.extend(voxels.iter().flat_map(|voxel| voxel.to_le_bytes()));
        hasher.update(&bytes);
    }
    *hasher.finalize().as_bytes()
}

fn labels(volume: &Volume<f32>) -> Option<BTreeSet<u16>> {
    let mut values = BTreeSet::new();
    let mut last = None;
    for value in volume.voxels() {
        // Runs of one value are the usual case.
        if last == Some(*value) {
            continue;
        }
        let label = value.round();
        let is_label =
            (value - label).abs() <= LABEL_TOLERANCE && (0.0..=f32::from(u16::MAX)).contains(&label);
        values.insert(is_label.then_some(label as u16)?);
        if values.len() > MOST_LABELS {
            return None;
        }
        last = Some(*value);
    }
    Some(values)
}

pub(super) fn content_mm<T: Copy + Default + PartialEq>(volume: &Volume<T>) -> Option<[[f64; 3]; 2]> {
    let (mut low, mut high) = ([usize::MAX; 3], [0; 3]);
    let row_length = volume.shape()[0].max(1);
    for (row, voxels) in volume.voxels().chunks(row_length).enumerate() {
        let content = |value: &T| *value != T::default();
        let (Some(first), Some(last)) = (voxels.iter().position(content), voxels.iter().rposition(content))
        else {
            continue;
        };
        let [_, y, z] = volume.grid().voxel(row * row_length);
        for (axis, [from, to]) in [[first, last], [y, y], [z, z]].into_iter().enumerate() {
            low[axis] = low[axis].min(from);
            high[axis] = high[axis].max(to);
        }
    }
    (low[0] != usize::MAX).then(|| super::geometry::bounds_mm(volume.grid(), low, high))
}

#[cfg(test)]
mod tests {
    use brainmvp_volume::Affine;

    use super::*;

    fn volume(voxels: Vec<f32>) -> Volume<f32> {
        let grid = Grid::new([2, 2, voxels.len() / 4], Affine::from_spacing([2.0; 3], [10.0, 0.0, 0.0]));
        Volume::new(grid, voxels)
    }

    #[test]
    fn labels_are_few_whole_numbers() {
        assert_eq!(labels(&volume(vec![0.0, 1.0, 4.0002, 1.0])), Some([0, 1, 4].into()));
        for bad in [0.5, -1.0, 70000.0, f32::NAN] {
            assert_eq!(labels(&volume(vec![0.0, 1.0, bad, 1.0])), None, "{bad}");
        }
        assert_eq!(labels(&volume((0..400).map(|v| v as f32).collect())), None);
    }

    #[test]
    fn content_is_bounded_in_the_world() {
        let mut voxels = vec![0.0; 12];
        assert_eq!(content_mm(&volume(voxels.clone())), None);
        voxels[5] = 1.0; // voxel (1, 0, 1)
        voxels[11] = 1.0; // voxel (1, 1, 2)
        assert_eq!(content_mm(&volume(voxels)), Some([[12.0, 0.0, 2.0], [12.0, 2.0, 4.0]]));
    }
}
