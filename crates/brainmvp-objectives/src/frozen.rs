//! Templates that are no longer learnt: plain volumes, normalised once.

use std::collections::BTreeMap;
use std::sync::Arc;

use brainmvp_volume::resample::{Interpolation, onto_grid};
use brainmvp_volume::{Affine, Grid, Modality, Volume};

use crate::Placement;
use crate::templates::Overlap;

/// The templates of a pre-training run, as used downstream. A clone shares the voxels.
#[derive(Debug, Clone, PartialEq)]
pub struct FrozenTemplates {
    size: [usize; 3],
    affine: Option<Affine>,
    /// Each on a grid whose world is its voxels.
    volumes: BTreeMap<Modality, Arc<Volume>>,
}

impl FrozenTemplates {
    /// Normalises learnt volumes as [`Templates::crop`](crate::templates::Templates::crop) does at every use: not at all
    /// without a range floor. A volume of one value was never learnt and is left out; so is one that is not of `size`
    /// (x, y, z) voxels.
    pub fn new(
        size: [usize; 3],
        affine: Option<Affine>,
        range_floor: Option<f32>,
        volumes: impl IntoIterator<Item = (Modality, Vec<f32>)>,
    ) -> Self {
        let count: usize = size.iter().product();
        let volumes = volumes.into_iter().filter(|(_, volume)| volume.len() == count);
        let voxels = Grid::new(size, Affine::from_spacing([1.0; 3], [0.0; 3]));
        let learnt = |(modality, volume)| {
            Some((modality, Arc::new(Volume::new(voxels, normalised(volume, range_floor)?))))
        };
        Self { size, affine, volumes: volumes.filter_map(learnt).collect() }
    }

    /// Those of some modalities.
    pub fn only(&self, modalities: &[Modality]) -> Self {
        let volumes = self.volumes.iter().filter(|(modality, _)| modalities.contains(modality));
        Self { volumes: volumes.map(|(modality, volume)| (*modality, volume.clone())).collect(), ..*self }
    }

    /// Voxels along x, y and z.
    pub fn size(&self) -> [usize; 3] {
        self.size
    }

    /// Their position, if it is known: for templates from a PyTorch checkpoint it is not.
    pub fn grid(&self) -> Option<Grid> {
        self.affine.map(|affine| Grid::new(self.size, affine))
    }

    /// The modalities that have a template.
    pub fn modalities(&self) -> impl Iterator<Item = Modality> {
        self.volumes.keys().copied()
    }

    /// A template's voxels, x fastest.
    pub fn get(&self, modality: Modality) -> Option<&[f32]> {
        self.volumes.get(&modality).map(|volume| volume.voxels())
    }

    /// The part of a template under a patch of `size` voxels that starts at the voxel `start` of a case (x, y, z), x
    /// fastest. `placement` takes voxels of the case to those of the template; outside the template there is 0.
    pub fn crop(
        &self,
        modality: Modality,
        placement: Placement,
        start: [isize; 3],
        size: [usize; 3],
    ) -> Option<Vec<f32>> {
        let template = self.volumes.get(&modality)?;
        Some(match placement.of_patch(start) {
            Placement::Shift(start) => self.copied(template.voxels(), start, size),
            Placement::Affine(map) => {
                onto_grid(template, &Grid::new(size, map), Interpolation::Trilinear, 0.0).into_voxels()
            }
        })
    }

    /// A box of `size` voxels that starts at the voxel `start` of a template, possibly outside.
    fn copied(&self, template: &[f32], start: [isize; 3], size: [usize; 3]) -> Vec<f32> {
        let [xs, ys, zs]: [Overlap; 3] =
            std::array::from_fn(|axis| Overlap::new(start[axis], size[axis], self.size[axis]));
        let mut patch = vec![0.0; size.iter().product()];
        for (z, from_z) in zs.of_patch().zip(zs.of_whole()) {
            for (y, from_y) in ys.of_patch().zip(ys.of_whole()) {
                let (row, from_row) =
                    ((z * size[1] + y) * size[0], (from_z * self.size[1] + from_y) * self.size[0]);
                let from = from_row + xs.of_whole().start..from_row + xs.of_whole().end;
                patch[row + xs.of_patch().start..row + xs.of_patch().end].copy_from_slice(&template[from]);
            }
        }
        patch
    }

    /// The modalities that have a template, the best-formed first: by the contrast between boxes of 4 voxels along each
    /// axis. Anatomy outlasts the averaging over a box, noise does not.
    pub fn best_formed(&self) -> Vec<Modality> {
        let contrasts = self.volumes.iter().map(|(modality, template)| (contrast(template), *modality));
        let mut contrasts: Vec<(f64, Modality)> = contrasts.collect();
        contrasts.sort_by(|a, b| b.0.total_cmp(&a.0));
        contrasts.into_iter().map(|(_, modality)| modality).collect()
    }
}

/// Voxels along each axis of the boxes whose means [`FrozenTemplates::best_formed`] compares.
const CONTRAST_VOXELS: usize = 4;

/// The standard deviation of the means of boxes side by side.
fn contrast(volume: &Volume) -> f64 {
    let boxes = volume.shape().map(|n| n.div_ceil(CONTRAST_VOXELS));
    let mut sums = vec![(0.0_f64, 0_u32); boxes.iter().product()];
    for (offset, value) in volume.voxels().iter().enumerate() {
        let [x, y, z] = volume.grid().voxel(offset).map(|voxel| voxel / CONTRAST_VOXELS);
        let (sum, count) = &mut sums[(z * boxes[1] + y) * boxes[0] + x];
        (*sum, *count) = (*sum + f64::from(*value), *count + 1);
    }
    let means: Vec<f64> = sums.into_iter().map(|(sum, count)| sum / f64::from(count)).collect();
    let mean = means.iter().sum::<f64>() / means.len() as f64;
    (means.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / means.len() as f64).sqrt()
}

/// `None` if all values are the same.
fn normalised(mut values: Vec<f32>, range_floor: Option<f32>) -> Option<Vec<f32>> {
    let extremes = |(low, high): (f32, f32), &value: &f32| (low.min(value), high.max(value));
    let (low, high) = values.iter().fold((f32::INFINITY, f32::NEG_INFINITY), extremes);
    if low >= high {
        return None;
    }
    let Some(range_floor) = range_floor else { return Some(values) };
    let range = (high - low).max(range_floor);
    for value in &mut values {
        *value = (*value - low) / range;
    }
    Some(values)
}

#[cfg(test)]
mod tests {
    use burn::module::Param;
    use burn::tensor::{Device, Tensor, TensorData};
    use proptest::prelude::*;

    use super::*;
    use crate::templates::Templates;

    proptest! {
        #[test]
        fn frozen_and_learnable_templates_give_the_same(
            size in prop::array::uniform3(2usize..7), patch in prop::array::uniform3(1usize..9),
            start in prop::array::uniform3(-9isize..9), scale in prop::sample::select(vec![0.01f32, 3.0]),
        ) {
            let device = Device::flex();
            let values: Vec<f32> = (0..size.iter().product()).map(|i: usize| scale * (i as f32).sin()).collect();
            let mut templates = Templates::new(Grid::new(size, Affine::from_spacing([1.0; 3], [0.0; 3])), 1, Some(1.0), &device);
            let data = TensorData::new(values.clone(), [size[2], size[1], size[0]]);
            templates.volumes[Modality::Dwi.index()] = Param::from_tensor(Tensor::from_data(data, &device));
            let expected: Vec<f32> =
                templates.crop(Modality::Dwi, start, patch).into_data().try_to_vec().unwrap();
            let frozen = FrozenTemplates::new(size, None, Some(1.0), [(Modality::Dwi, values)]);
            let ours = frozen.crop(Modality::Dwi, Placement::Shift([0; 3]), start, patch).unwrap();
            prop_assert!(ours.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-6));
        }
    }

    proptest! {
        /// The copying path: values come over as they are, to the bit.
        #[test]
        fn a_shifted_crop_is_a_copy(
            size in prop::array::uniform3(2_usize..7), patch in prop::array::uniform3(1_usize..9),
            start in prop::array::uniform3(-5_isize..9), shift in prop::array::uniform3(-5_isize..6),
        ) {
            let values: Vec<f32> = (0..size.iter().product()).map(|i: usize| (i as f32).sin()).collect();
            let frozen = FrozenTemplates::new(size, None, Some(1e-6), [(Modality::T1, values)]);
            let template = frozen.get(Modality::T1).unwrap();
            let crop = frozen.crop(Modality::T1, Placement::Shift(shift), start, patch).unwrap();
            for (offset, value) in crop.into_iter().enumerate() {
                let voxel = [offset % patch[0], offset / patch[0] % patch[1], offset / (patch[0] * patch[1])];
                let at: [isize; 3] = std::array::from_fn(|i| start[i] + shift[i] + voxel[i] as isize);
                let inside = (0..3).all(|i| (0..size[i] as isize).contains(&at[i]));
                let [x, y, z] = at.map(|i| i as usize);
                let expected = if inside { template[(z * size[1] + y) * size[0] + x] } else { 0.0 };
                prop_assert_eq!(value.to_bits(), expected.to_bits());
            }
        }

        /// A smooth function of the place in the world, sampled on the grid of the templates, is the same function on the
        /// grid of a case: of any spacing, turned and shifted.
        #[test]
        fn a_crop_lies_where_the_world_says(
            template_mm in prop::array::uniform3(1.0..4.0_f64), case_mm in prop::array::uniform3(0.8..6.0_f64),
            origin in prop::array::uniform3(-30.0..30.0_f64), degrees in prop::array::uniform3(-40.0..40.0_f64),
            start in prop::array::uniform3(-6_isize..6),
        ) {
            const WAVES_MM: [f64; 3] = [70.0, 90.0, 80.0];
            let wave = |place: [f64; 3]| -> f64 {
                (0..3).map(|axis| (place[axis] * std::f64::consts::TAU / WAVES_MM[axis]).sin()).sum()
            };
            let place = |grid: &Grid, voxel: [f64; 3]| grid.affine.to_world(voxel);
            let size = [36, 30, 33];
            let grid = Grid::new(size, Affine::from_spacing(template_mm, [-50.0, -45.0, -40.0]));
            let values: Vec<f32> =
                (0..grid.len()).map(|i| wave(place(&grid, grid.voxel(i).map(|v| v as f64))) as f32).collect();
            let low = values.iter().copied().fold(f32::INFINITY, f32::min);
            let range = values.iter().copied().fold(f32::NEG_INFINITY, f32::max) - low;
            let frozen = FrozenTemplates::new(size, Some(grid.affine), Some(1e-6), [(Modality::T1, values)]);
            let turned = turned(degrees, case_mm, origin);
            let case = Grid::new([12, 10, 11], turned);
            let placement = Placement::between(&case, &grid).unwrap();
            let crop = frozen.crop(Modality::T1, placement, start, case.shape).unwrap();
            // Between two samples a wave is off by an eighth of its curvature at most.
            let curved = |axis: usize| (std::f64::consts::TAU / WAVES_MM[axis] * template_mm[axis]).powi(2);
            let bound = (0..3).map(curved).sum::<f64>() / 8.0 / f64::from(range) + 1e-4;
            let to_template = grid.affine.inverse().unwrap();
            for (offset, value) in crop.into_iter().enumerate() {
                let voxel: [f64; 3] = std::array::from_fn(|i| case.voxel(offset)[i] as f64 + start[i] as f64);
                let world = place(&case, voxel);
                let at = to_template.to_world(world);
                if (0..3).all(|axis| at[axis] >= 0.0 && at[axis] <= (size[axis] - 1) as f64) {
                    let expected = (wave(world) - f64::from(low)) / f64::from(range);
                    prop_assert!((f64::from(value) - expected).abs() < bound, "{value} {expected} {bound}");
                } else if (0..3).any(|axis| at[axis] < -0.51 || at[axis] > size[axis] as f64 - 0.49) {
                    prop_assert_eq!(value, 0.0);
                }
            }
        }
    }

    /// An affine of turned axes.
    fn turned(degrees: [f64; 3], spacing_mm: [f64; 3], origin_mm: [f64; 3]) -> Affine {
        let turn = |axis: usize| {
            let (sin, cos) = degrees[axis].to_radians().sin_cos();
            let (p, q) = ((axis + 1) % 3, (axis + 2) % 3);
            let mut rows = [[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]];
            (rows[p][p], rows[q][q], rows[p][q], rows[q][p]) = (cos, cos, -sin, sin);
            Affine::from_rows(rows)
        };
        let shifted =
            Affine::from_spacing([1.0; 3], origin_mm).after(&turn(0)).after(&turn(1)).after(&turn(2));
        shifted.after(&Affine::from_spacing(spacing_mm, [0.0; 3]))
    }

    #[test]
    fn anatomy_is_better_formed_than_noise() {
        let grid = Grid::new([24; 3], Affine::from_spacing([1.0; 3], [0.0; 3]));
        let noise =
            |i: usize| ((i as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) as f32 / (1 << 24) as f32;
        let ball = |i: usize| {
            let mm = grid.voxel(i).map(|v| (v as f32 - 11.5).powi(2)).iter().sum::<f32>().sqrt();
            f32::from(u8::from(mm < 8.0)) * 0.6
        };
        let volume = |value: &dyn Fn(usize) -> f32| (0..grid.len()).map(value).collect::<Vec<_>>();
        let frozen = FrozenTemplates::new(
            grid.shape,
            None,
            Some(1.0),
            [
                (Modality::Flair, volume(&noise)),
                (Modality::T1, volume(&|i| ball(i) + 0.4 * noise(i))),
                (Modality::T2, volume(&|i| 0.1 * ball(i) + 0.9 * noise(i))),
            ],
        );
        assert_eq!(frozen.best_formed(), [Modality::T1, Modality::T2, Modality::Flair]);
    }

    #[test]
    fn what_was_never_learnt_is_absent() {
        let frozen = FrozenTemplates::new(
            [2, 1, 1],
            None,
            Some(1.0),
            [(Modality::T1, vec![0.5, 0.5]), (Modality::T2, vec![0.0, 2.0])],
        );
        assert_eq!(frozen.modalities().collect::<Vec<_>>(), [Modality::T2]);
        assert_eq!(frozen.get(Modality::T2), Some(&[0.0, 1.0][..]));
        assert_eq!(frozen.crop(Modality::T1, Placement::Shift([0; 3]), [0; 3], [1; 3]), None);
    }
}
