//! Templates that are no longer learnt: plain volumes, normalised once.

use std::collections::BTreeMap;
use std::sync::Arc;

use brainmvp_volume::{Affine, Grid, Modality};

use crate::templates::Overlap;

/// The templates of a pre-training, as they are used downstream. A clone shares the voxels.
#[derive(Debug, Clone, PartialEq)]
pub struct FrozenTemplates {
    size: [usize; 3],
    affine: Option<Affine>,
    volumes: BTreeMap<Modality, Arc<[f32]>>,
}

impl FrozenTemplates {
    /// Normalises learnt volumes as [`Templates::crop`](crate::templates::Templates::crop) does at every use. A volume
    /// of one value was never learnt and is left out; so is one that is not of `size` (x, y, z) voxels.
    pub fn new(
        size: [usize; 3],
        affine: Option<Affine>,
        range_floor: f32,
        volumes: impl IntoIterator<Item = (Modality, Vec<f32>)>,
    ) -> Self {
        let count: usize = size.iter().product();
        let volumes = volumes.into_iter().filter(|(_, volume)| volume.len() == count);
        let learnt = |(modality, volume)| Some((modality, normalised(volume, range_floor)?.into()));
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

    /// Where they lie, if that is known: of templates out of a PyTorch checkpoint it is not.
    pub fn grid(&self) -> Option<Grid> {
        self.affine.map(|affine| Grid::new(self.size, affine))
    }

    /// The modalities that have a template.
    pub fn modalities(&self) -> impl Iterator<Item = Modality> {
        self.volumes.keys().copied()
    }

    /// A template's voxels, x fastest.
    pub fn get(&self, modality: Modality) -> Option<&[f32]> {
        self.volumes.get(&modality).map(|volume| &**volume)
    }

    /// The part of a template under a patch of `size` voxels that starts at `start` (x, y, z; possibly outside, where
    /// it is 0), x fastest. See [`template_start`](crate::templates::template_start).
    pub fn crop(&self, modality: Modality, start: [isize; 3], size: [usize; 3]) -> Option<Vec<f32>> {
        let template = self.get(modality)?;
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
        Some(patch)
    }
}

/// `None` where all values are the same.
fn normalised(mut values: Vec<f32>, range_floor: f32) -> Option<Vec<f32>> {
    let extremes = |(low, high): (f32, f32), &value: &f32| (low.min(value), high.max(value));
    let (low, high) = values.iter().fold((f32::INFINITY, f32::NEG_INFINITY), extremes);
    if low >= high {
        return None;
    }
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
            let mut templates = Templates::new(size, 1, 1.0, &device);
            let data = TensorData::new(values.clone(), [size[2], size[1], size[0]]);
            templates.volumes[Modality::Dwi.index()] = Param::from_tensor(Tensor::from_data(data, &device));
            let expected: Vec<f32> =
                templates.crop(Modality::Dwi, start, patch).into_data().try_to_vec().unwrap();
            let frozen = FrozenTemplates::new(size, None, 1.0, [(Modality::Dwi, values)]);
            let ours = frozen.crop(Modality::Dwi, start, patch).unwrap();
            prop_assert!(ours.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-6));
        }
    }

    #[test]
    fn what_was_never_learnt_is_absent() {
        let frozen = FrozenTemplates::new(
            [2, 1, 1],
            None,
            1.0,
            [(Modality::T1, vec![0.5, 0.5]), (Modality::T2, vec![0.0, 2.0])],
        );
        assert_eq!(frozen.modalities().collect::<Vec<_>>(), [Modality::T2]);
        assert_eq!(frozen.get(Modality::T2), Some(&[0.0, 1.0][..]));
        assert_eq!(frozen.crop(Modality::T1, [0; 3], [1; 3]), None);
    }
}
