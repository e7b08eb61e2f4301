//! The contents of one file, and what is wrong with the file by itself.

use std::collections::BTreeSet;
use std::path::Path;

use brainmvp_volume::file::FileHeader;
use brainmvp_volume::{Affine, Grid, Role, Volume, file, nan_to_background, orientation};

use super::{CheckOptions, Kind, Problem, geometry};
use crate::Case;

/// How far a label may be from a whole number: enough for rounding in a scaling (as in [`file::read_labels`]).
const LABEL_TOLERANCE: f32 = 1e-3;

/// How far two axes may be from a right angle, as the cosine of their angle.
const SHEAR_TOLERANCE: f64 = 1e-3;

/// Sform and qform are the same if no corner of the volume is further apart than this part of the smallest voxel size:
/// single precision and quaternions round.
const FORMS_TOLERANCE_VOXELS: f64 = 0.1;

/// Directions that differ by more than this many degrees are turned against each other.
const TURNED_DEGREES: f64 = 0.5;

/// No head needs a larger field of view; with voxels of 1 mm it would have 250 million.
const LARGEST_LITRES: f64 = 250.0;

/// Everything that is kept about the file of a case.
#[derive(Debug)]
pub struct Facts {
    pub(super) grid: Grid,
    /// BLAKE3 of shape and voxels after scaling: the same for a copy that is stored or compressed differently.
    pub(super) digest: [u8; 32],
    /// The distinct values of a label map or mask, if they are all whole numbers from 0 to 65535.
    pub(super) labels: Option<BTreeSet<u16>>,
    /// World coordinates of the corners of the box around all voxels that are not 0; none if all voxels are 0.
    pub(super) content_mm: Option<[[f64; 3]; 2]>,
    is_placed: bool,
    /// The affine of the qform beside the sform that was taken.
    passed_over: Option<Affine>,
    not_finite: usize,
    /// Voxels that were NaN around what an image shows, and have a value now.
    nan_around: usize,
    range: [f32; 2],
    /// Whether there are exactly two finite values.
    is_binary: bool,
}

impl Facts {
    /// Reads the file of a case that has this role. Where NaN is the background of an image, the volume has a value for it
    /// ([`nan_to_background`]).
    ///
    /// # Errors
    /// Where the file cannot be read or is no volume.
    pub fn read(role: Role, path: &Path) -> brainmvp_volume::Result<(Self, Volume)> {
        let header = file::read_header(path)?;
        let mut volume = file::read(path)?;
        let nan_around = if matches!(role, Role::Image(_)) { nan_to_background(&mut volume) } else { 0 };
        Ok((Self::of(role, &header, &volume, nan_around), volume))
    }

    fn of(role: Role, header: &FileHeader, volume: &Volume, nan_around: usize) -> Self {
        let finite = || volume.voxels().iter().copied().filter(|value| value.is_finite());
        let range =
            finite().fold([f32::INFINITY, f32::NEG_INFINITY], |[low, high], v| [low.min(v), high.max(v)]);
        let is_image = matches!(role, Role::Image(_));
        Self {
            grid: *volume.grid(),
            digest: digest(volume),
            labels: if is_image { None } else { labels(volume) },
            content_mm: if is_image { None } else { content_mm(volume) },
            is_placed: header.is_placed,
            passed_over: header.nifti.as_ref().and_then(|header| header.passed_over),
            not_finite: volume.voxels().len() - finite().count(),
            nan_around,
            range,
            is_binary: range[0] < range[1] && finite().all(|value| range.contains(&value)),
        }
    }

    /// The values of a label map besides background; none if it is not one.
    pub fn label_values(&self) -> BTreeSet<u16> {
        self.labels.iter().flatten().copied().filter(|value| *value != 0).collect()
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
        if self.nan_around > 0 {
            let message =
                format!("{} voxels around what it shows are NaN: taken as its background", self.nan_around);
            found.push((Kind::NanAround, message));
        }
        match role {
            Role::Image(_) if self.is_constant() => {
                found.push((Kind::Constant, format!("all voxels are {}", self.range[0])));
            }
            Role::Image(_) if self.is_binary => {
                let [low, high] = self.range;
                let message = format!("only the two values {low} and {high}: a mask, not an image");
                found.push((Kind::Binary, message));
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
        let litres = self.grid.len() as f64 * self.grid.voxel_mm3() / 1e6;
        if litres > LARGEST_LITRES {
            let [x, y, z]: [f64; 3] = std::array::from_fn(|axis| shape[axis] as f64 * spacing[axis]);
            let message =
                format!("covers {x:.0} x {y:.0} x {z:.0} mm, more than any head: the voxel size is wrong");
            found.push((Kind::FieldOfView, message));
        }
        found.extend(self.forms_problem());
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

    /// What is said of a sform and a qform that disagree.
    fn forms_problem(&self) -> Option<(Kind, String)> {
        let qform = Grid::new(self.grid.shape, self.passed_over?);
        let (ours, theirs) = (self.grid.affine.spacing_mm(), qform.affine.spacing_mm());
        let smallest = ours.into_iter().fold(f64::INFINITY, f64::min);
        let apart = geometry::furthest_corner_mm(&self.grid, &qform);
        if apart <= FORMS_TOLERANCE_VOXELS * smallest {
            return None;
        }
        let (a, b) = (self.grid.affine.linear(), qform.affine.linear());
        let cosine = |axis: usize| a.column(axis).dot(&b.column(axis)) / (ours[axis] * theirs[axis]);
        // The trace of a rotation is 1 + 2 cos of its angle.
        let trace: f64 = (0..3).map(cosine).sum();
        let turned = ((trace - 1.0) / 2.0).clamp(-1.0, 1.0).acos().to_degrees();
        let sizes = |[x, y, z]: [f64; 3]| format!("{x:.3} x {y:.3} x {z:.3} mm");
        let (kind, how) = if a.determinant() * b.determinant() < 0.0 {
            (
                Kind::FormsMirrored,
                "are mirror images of each other: left and right may be exchanged".to_owned(),
            )
        } else if (0..3).any(|axis| (theirs[axis] / ours[axis] - 1.0).abs() > 0.01) {
            let [qform, sform] = [theirs, ours].map(sizes);
            (
                Kind::FormsDiffer,
                format!("disagree: voxels have {qform} in the qform, but {sform} in the sform"),
            )
        } else if turned > TURNED_DEGREES {
            (
                Kind::FormsDiffer,
                format!(
                    "disagree: they are turned against each other by {turned:.1} degrees, up to {apart:.1} mm"
                ),
            )
        } else {
            (Kind::FormsDiffer, format!("disagree: the volume is {apart:.1} mm further away in the qform"))
        };
        let taken = "the sform is taken, as the standard says, but other programs may take the qform";
        Some((kind, format!("sform and qform {how}; {taken}")))
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
        last = Some(*value);
    }
    Some(values)
}

fn content_mm(volume: &Volume) -> Option<[[f64; 3]; 2]> {
    let (mut low, mut high) = ([usize::MAX; 3], [0; 3]);
    let row_length = volume.shape()[0].max(1);
    for (row, voxels) in volume.voxels().chunks(row_length).enumerate() {
        let content = |value: &f32| *value != 0.0;
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
    (low[0] != usize::MAX).then(|| geometry::bounds_mm(volume.grid(), low, high))
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
    fn labels_are_whole_numbers() {
        assert_eq!(labels(&volume(vec![0.0, 1.0, 4.0002, 1.0])), Some([0, 1, 4].into()));
        for bad in [0.5, -1.0, 70000.0, f32::NAN] {
            assert_eq!(labels(&volume(vec![0.0, 1.0, bad, 1.0])), None, "{bad}");
        }
        assert_eq!(labels(&volume((0..400).map(|v| v as f32).collect())).map(|l| l.len()), Some(400));
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
