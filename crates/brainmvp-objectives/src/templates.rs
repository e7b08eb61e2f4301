//! One learnable volume per modality, in the space of the registered volumes.
//!
//! At every use a template is min-max normalised over its whole volume, `(T - min) / (max - min)`, with gradient through
//! it, and cropped at the position of the patch. Templates start at zero, where that formula is meaningless and its
//! gradient unbounded: the first updates would be divided by a range of about one learning rate, and Adam's second moment
//! would then keep those voxels nearly unchanged for thousands of steps. So the divisor is never less than
//! [`TemplateConfig::range_floor`].

use std::collections::BTreeMap;

use brainmvp_kernels::ops::{CropOptions, coarser, expand_onto, normalized_crop};
use brainmvp_volume::{Affine, Grid, Modality};
use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor, TensorData};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Counts;
use crate::limits;
use crate::patch::PatchSource;
use crate::pretraining::Learnt;

/// Where templates come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum TemplateSource {
    /// They are learnt with the network.
    #[default]
    Learnt,
    /// The mean image of each modality over the training cases, which is never updated: the control for learnt ones.
    Mean,
}

/// What the parameters of a template are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Parametrisation {
    /// Its voxels, as in the paper. An adaptive optimiser moves all voxels by a similar amount, however noisy their
    /// gradients.
    #[default]
    Voxels,
    /// The levels of a pyramid, whose sum is the template. A voxel of a coarse level has the gradients of many voxels.
    Pyramid,
}

/// The pyramid of [`Parametrisation::Pyramid`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PyramidConfig {
    /// Levels of the pyramid, the voxels themselves included; each has half as many voxels along each axis as the
    /// finer one.
    pub levels: usize,
    /// Learning rate of a level, as a multiple of that of the next coarser one. The coarsest has that of the templates.
    pub learning_rate_falloff: f64,
}

impl Default for PyramidConfig {
    fn default() -> Self {
        Self { levels: 5, learning_rate_falloff: 0.5 }
    }
}

/// Size and normalisation of the templates.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TemplateConfig {
    /// Where templates come from.
    pub source: TemplateSource,
    /// Voxels of the templates along x, y and z; `[]` for those of the registered volumes.
    pub size: Vec<usize>,
    /// The numbers that are trained.
    pub parametrisation: Parametrisation,
    /// The pyramid, if the parameters are its levels.
    pub pyramid: PyramidConfig,
    /// The smallest range that a template is divided by when it is normalised; the formula as printed has 1e-9.
    /// Intensities are from 0 to 1, so with 1 a template is normalised only once its range exceeds that of the
    /// images.
    pub range_floor: f32,
    /// Learning rate of the templates, as a multiple of the network's.
    pub learning_rate_factor: f64,
}

impl Default for TemplateConfig {
    fn default() -> Self {
        Self {
            source: TemplateSource::default(),
            size: Vec::new(),
            parametrisation: Parametrisation::default(),
            pyramid: PyramidConfig::default(),
            range_floor: 1.0,
            learning_rate_factor: 1.0,
        }
    }
}

impl TemplateConfig {
    /// What is wrong with the numbers, if anything. `section` is where they are: `method.templates`.
    pub fn problem(&self, section: &str) -> Option<String> {
        let key = |name: &str| format!("{section}.{name}");
        if !self.size.is_empty() && (self.size.len() != 3 || self.size.contains(&0)) {
            return Some(format!(
                "{} must be [] (taken from the data) or three positive numbers [x, y, z]",
                key("size")
            ));
        }
        let largest = self.size.iter().max().copied().unwrap_or(0) as u64;
        limits::at_most(&[(&key("size"), largest, 1024)])
            .or_else(|| limits::counts(&[(&key("pyramid.levels"), self.pyramid.levels as u64, 8)]))
            .or_else(|| limits::positive(&[(&key("range_floor"), f64::from(self.range_floor))]))
            .or_else(|| {
                limits::not_negative(&[
                    (&key("learning_rate_factor"), self.learning_rate_factor),
                    (&key("pyramid.learning_rate_falloff"), self.pyramid.learning_rate_falloff),
                ])
            })
    }

    /// Levels of each template.
    pub fn levels(&self) -> usize {
        match self.parametrisation {
            Parametrisation::Voxels => 1,
            Parametrisation::Pyramid => self.pyramid.levels,
        }
    }

    /// Learning rates of all levels, the finest first, as multiples of the network's.
    pub fn learning_rates(&self) -> Vec<f64> {
        let finer = std::iter::successors(Some(self.learning_rate_factor), |rate| {
            Some(rate * self.pyramid.learning_rate_falloff)
        });
        let mut rates: Vec<f64> = finer.take(self.levels()).collect();
        rates.reverse();
        rates
    }
}

/// The templates of all modalities.
#[derive(Module, Debug)]
pub struct Templates {
    /// `[Z, Y, X]` each, in the order of [`Modality::ALL`]. Kept apart, so that a step touches only those in use.
    /// Templates that are pyramids have their finest level here.
    pub volumes: Vec<Param<Tensor<3>>>,
    /// Coarser levels of the pyramids, if they are such: the next finest first, each as `volumes`.
    pub coarser: Vec<Vec<Param<Tensor<3>>>>,
    #[module(skip)]
    affine: Affine,
    #[module(skip)]
    range_floor: Option<f32>,
}

impl Templates {
    /// Zero templates on `grid`, each the sum of this many levels; a single level is its voxels. Without a range floor they
    /// are used as they are.
    pub fn new(grid: Grid, levels: usize, range_floor: Option<f32>, device: &Device) -> Self {
        let [x, y, z] = grid.shape;
        let level = |size: [usize; 3]| -> Vec<Param<Tensor<3>>> {
            Modality::ALL.iter().map(|_| Param::from_tensor(Tensor::zeros(size, device))).collect()
        };
        let sizes = std::iter::successors(Some([z, y, x]), |size| Some(size.map(coarser)));
        let coarser = sizes.skip(1).take(levels.saturating_sub(1)).map(level).collect();
        Self { volumes: level([z, y, x]), coarser, affine: grid.affine, range_floor }
    }

    /// Where they are, and how they are normalised.
    pub fn learnt(&self) -> Learnt {
        Learnt { size: self.size(), affine: self.affine, range_floor: self.range_floor }
    }

    /// The level, the finest being 0, and the modality of a parameter by its path in this module.
    pub fn level_of(path: &str) -> Option<(usize, Modality)> {
        let (level, index) = match path.strip_prefix("coarser.") {
            Some(coarser) => {
                let (level, index) = coarser.split_once('.')?;
                (1 + level.parse::<usize>().ok()?, index)
            }
            None => (0, path.strip_prefix("volumes.")?),
        };
        Some((level, *Modality::ALL.get(index.parse::<usize>().ok()?)?))
    }

    /// How many steps have moved each template, of the updates of all parameters by name.
    pub fn updates(updates: &BTreeMap<String, usize>) -> BTreeMap<Modality, usize> {
        let of_template = |(name, count): (&String, &usize)| {
            let (level, modality) = Self::level_of(name.strip_prefix("templates.")?)?;
            (level == 0).then_some((modality, *count))
        };
        updates.iter().filter_map(of_template).collect()
    }

    /// The same, to be shown; `None` if no template was moved.
    pub fn counts(updates: &BTreeMap<String, usize>) -> Option<Counts> {
        let named = Self::updates(updates).into_iter().map(|(modality, count)| (modality.name(), count));
        let of: Vec<_> = named.collect();
        (!of.is_empty()).then_some(Counts { what: "template updates", of })
    }

    /// A whole template, `[Z, Y, X]`, not normalised.
    pub fn volume(&self, modality: Modality) -> Tensor<3> {
        let levels = std::iter::once(&self.volumes).chain(&self.coarser);
        sum_of_levels(levels.map(|level| level[modality.index()].val()).collect())
    }

    /// All of them by modality, as in [`Self::volume`], without gradients.
    pub fn images(&self) -> Vec<(Modality, Tensor<3>)> {
        Modality::ALL.into_iter().map(|modality| (modality, self.volume(modality).detach())).collect()
    }

    /// These volumes (x fastest) instead of learnt ones; they are not trained.
    ///
    /// # Panics
    /// If a volume does not have the size of the templates.
    pub fn fixed(mut self, volumes: impl IntoIterator<Item = (Modality, Vec<f32>)>) -> Self {
        let [x, y, z] = self.size();
        for (modality, values) in volumes {
            let place = &mut self.volumes[modality.index()];
            let values = Tensor::from_data(TensorData::new(values, [z, y, x]), &place.val().device());
            *place = Param::from_tensor(values);
        }
        self.no_grad()
    }

    /// Voxels along x, y and z.
    pub fn size(&self) -> [usize; 3] {
        let [z, y, x] = self.volumes[0].val().dims();
        [x, y, z]
    }

    /// The part of a template under a patch of `size` voxels that starts at `start` (x, y, z; possibly outside, where
    /// it is 0), `[Z, Y, X]`; normalised, if there is a range floor.
    pub fn crop(&self, modality: Modality, start: [isize; 3], size: [usize; 3]) -> Tensor<3> {
        let template = self.volume(modality);
        let whole = self.size();
        let [xs, ys, zs]: [Overlap; 3] =
            std::array::from_fn(|axis| Overlap::new(start[axis], size[axis], whole[axis]));
        let along = [&zs, &ys, &xs];
        let inside = match self.range_floor {
            Some(range_floor) => {
                let start = along.map(|overlap| overlap.in_whole);
                let size = along.map(|overlap| overlap.length);
                normalized_crop(template, CropOptions { start, size, range_floor })
            }
            None => template.slice(along.map(Overlap::of_whole)),
        };
        if [&xs, &ys, &zs].iter().all(|overlap| overlap.length == overlap.size) {
            return inside;
        }
        Tensor::zeros([size[2], size[1], size[0]], &inside.device())
            .slice_assign([zs.of_patch(), ys.of_patch(), xs.of_patch()], inside)
    }
}

/// The volume that the levels of a pyramid make, the finest first; at least one.
#[expect(clippy::expect_used, reason = "a pyramid without a level is a mistake of the caller")]
pub fn sum_of_levels(levels: Vec<Tensor<3>>) -> Tensor<3> {
    let sum = levels.into_iter().rev().reduce(|sum, finer| expand_onto(finer, sum));
    sum.expect("a pyramid has a level")
}

/// The mean over all cases that have a modality, on `grid`, centre on centre, x fastest; `None` if none has it.
///
/// # Errors
/// If a case cannot be read.
pub fn mean_image<S: PatchSource>(
    grid: &Grid,
    cases: &[S],
    modality: Modality,
) -> Result<Option<Vec<f32>>, S::Error> {
    let mut sum = vec![0.0; grid.len()];
    let mut count = 0;
    for case in cases.iter().filter(|case| case.modalities().contains(&modality)) {
        let start = template_start(case, [0; 3], grid.shape).map(|place| -place);
        let volume = case.patch(modality, start, grid.shape)?;
        sum.iter_mut().zip(volume).for_each(|(sum, value)| *sum += value);
        count += 1;
    }
    for value in &mut sum {
        *value /= count.max(1) as f32;
    }
    Ok((count > 0).then_some(sum))
}

/// Where a patch starts in the learnable template. The centres of the registered volume and of the template are one
/// point; a symmetric crop shares it, any other crop is followed by its offset. Spacing and space are not looked at: all
/// cases of a pre-training must have the same. Downstream, a [`Placement`](crate::Placement) gives the position of
/// templates.
pub fn template_start<S: PatchSource>(case: &S, patch: [isize; 3], template: [usize; 3]) -> [isize; 3] {
    let (registered, crop) = (case.registered_shape(), case.crop_offset());
    std::array::from_fn(|axis| {
        let margin = (template[axis] as isize - registered[axis] as isize).div_euclid(2);
        patch[axis] + crop[axis] as isize + margin
    })
}

/// The part that a patch and a whole volume share along one axis.
pub(crate) struct Overlap {
    size: usize,
    in_patch: usize,
    in_whole: usize,
    length: usize,
}

impl Overlap {
    pub(crate) fn new(start: isize, size: usize, whole: usize) -> Self {
        let first = start.clamp(0, whole as isize);
        let last = (start + size as isize).clamp(first, whole as isize);
        Self {
            size,
            in_patch: (first - start).clamp(0, size as isize) as usize,
            in_whole: first as usize,
            length: (last - first) as usize,
        }
    }

    pub(crate) fn of_whole(&self) -> std::ops::Range<usize> {
        self.in_whole..self.in_whole + self.length
    }

    pub(crate) fn of_patch(&self) -> std::ops::Range<usize> {
        self.in_patch..self.in_patch + self.length
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at_origin(size: [usize; 3]) -> Grid {
        Grid::new(size, Affine::from_spacing([1.0; 3], [0.0; 3]))
    }

    fn ramp(size: [usize; 3], floor: f32, device: &Device) -> Templates {
        let mut templates = Templates::new(at_origin(size), 1, Some(floor), device);
        let count: usize = size.iter().product();
        let values: Vec<f32> = (0..count).map(|i| i as f32).collect();
        let data = TensorData::new(values, [size[2], size[1], size[0]]);
        templates.volumes[Modality::T1.index()] = Param::from_tensor(Tensor::from_data(data, device));
        templates
    }

    proptest! {
        #[test]
        fn a_crop_is_the_normalised_template_at_that_place(
            size in prop::array::uniform3(2usize..7), patch in prop::array::uniform3(1usize..9),
            start in prop::array::uniform3(-4isize..7),
        ) {
            let device = Device::flex();
            let templates = ramp(size, 1e-9, &device);
            let crop: Vec<f32> = templates.crop(Modality::T1, start, patch).into_data().try_to_vec().unwrap();
            let last = (size.iter().product::<usize>() - 1) as f32;
            for (offset, value) in crop.into_iter().enumerate() {
                let voxel = [offset % patch[0], offset / patch[0] % patch[1], offset / (patch[0] * patch[1])];
                let at: [isize; 3] = std::array::from_fn(|axis| start[axis] + voxel[axis] as isize);
                let inside = (0..3).all(|axis| at[axis] >= 0 && at[axis] < size[axis] as isize);
                let expected = if inside {
                    ((at[2] * size[1] as isize + at[1]) * size[0] as isize + at[0]) as f32 / last
                } else {
                    0.0
                };
                prop_assert!((value - expected).abs() < 1e-6);
            }
        }
    }

    #[test]
    fn a_zero_template_has_a_gradient_of_the_images_scale() {
        let device = Device::flex().autodiff();
        let templates = Templates::new(at_origin([4, 4, 4]), 1, Some(1.0), &device);
        let crop = templates.crop(Modality::T2, [0; 3], [2, 2, 2]);
        let gradients = (crop - 0.5).powi_scalar(2).sum().backward();
        let gradient = templates.volumes[Modality::T2.index()].val().grad(&gradients).unwrap();
        let largest: f32 = gradient.abs().max().into_scalar();
        assert!((0.5..=10.0).contains(&largest), "{largest}");
    }

    #[test]
    fn a_pyramid_is_the_sum_of_its_levels() {
        let device = Device::flex();
        let mut templates = Templates::new(at_origin([5, 6, 3]), 3, Some(1.0), &device);
        assert_eq!(
            templates.coarser.iter().map(|level| level[0].val().dims()).collect::<Vec<_>>(),
            [[2, 3, 3], [1, 2, 2]]
        );
        let place = Modality::Pd.index();
        // What is the same everywhere on a coarse level is the same everywhere in the volume.
        for (level, value) in [(0, 0.25), (1, 0.5)] {
            let ones = templates.coarser[level][place].val().ones_like();
            templates.coarser[level][place] = Param::from_tensor(ones * value);
        }
        let ramp: Vec<f32> = (0..90).map(|i| i as f32).collect();
        let voxels = Tensor::from_data(TensorData::new(ramp.clone(), [3, 6, 5]), &device);
        templates.volumes[place] = Param::from_tensor(voxels);
        let volume: Vec<f32> = templates.volume(Modality::Pd).into_data().try_to_vec().unwrap();
        assert!(volume.iter().zip(&ramp).all(|(sum, voxel)| (sum - voxel - 0.75).abs() < 1e-4), "{volume:?}");
        let other: f32 = templates.volume(Modality::T1).abs().max().into_scalar();
        assert_eq!(other, 0.0);
    }

    #[test]
    fn every_level_of_a_pyramid_is_moved_by_what_lies_below_it() {
        let device = Device::flex().autodiff();
        let templates = Templates::new(at_origin([8, 8, 8]), 3, Some(1.0), &device);
        let crop = templates.crop(Modality::T2, [2, 2, 2], [4, 4, 4]);
        let gradients = crop.sum().backward();
        let sum = |level: &[Param<Tensor<3>>], modality: Modality| {
            level[modality.index()].val().grad(&gradients).map(|gradient| gradient.sum().into_scalar::<f32>())
        };
        for level in std::iter::once(&templates.volumes).chain(&templates.coarser) {
            // Each voxel of the crop adds 1, and the lowest voxel of the whole, of which all are less, takes it away again.
            assert!(sum(level, Modality::T2).unwrap().abs() < 1e-3);
            assert_eq!(sum(level, Modality::Flair), None);
        }
    }

    #[test]
    fn finer_levels_are_moved_more_slowly() {
        let pyramid = PyramidConfig { levels: 3, learning_rate_falloff: 0.5 };
        let config = TemplateConfig { pyramid, learning_rate_factor: 4.0, ..TemplateConfig::default() };
        assert_eq!(config.learning_rates(), [4.0]);
        let config = TemplateConfig { parametrisation: Parametrisation::Pyramid, ..config };
        assert_eq!(config.learning_rates(), [1.0, 2.0, 4.0]);
    }

    /// A case that only has sizes.
    struct Sizes {
        registered: [usize; 3],
        cropped: [usize; 3],
    }

    impl PatchSource for Sizes {
        type Error = ();

        fn id(&self) -> &'static str {
            ""
        }

        fn data_set(&self) -> &'static str {
            ""
        }

        fn person(&self) -> &'static str {
            ""
        }

        fn shape(&self) -> [usize; 3] {
            self.cropped
        }

        fn registered_shape(&self) -> [usize; 3] {
            self.registered
        }

        fn crop_offset(&self) -> [usize; 3] {
            std::array::from_fn(|axis| (self.registered[axis] - self.cropped[axis]) / 2)
        }

        fn modalities(&self) -> &[Modality] {
            &[]
        }

        fn patch(&self, _: Modality, _: [isize; 3], _: [usize; 3]) -> Result<Vec<f32>, ()> {
            Err(())
        }
    }

    proptest! {
        #[test]
        fn a_symmetric_crop_starts_as_the_method_says(
            cropped in 1usize..40, margin in 0usize..10, template in 1usize..60, patch in 0isize..10,
        ) {
            let case = Sizes { registered: [cropped + 2 * margin; 3], cropped: [cropped; 3] };
            let start = template_start(&case, [patch; 3], [template; 3]);
            let expected = patch + (template as isize - cropped as isize).div_euclid(2);
            prop_assert_eq!(start, [expected; 3]);
        }
    }
}
