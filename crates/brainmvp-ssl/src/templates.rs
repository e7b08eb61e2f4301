//! One learnable volume per modality, in the space of the registered volumes.
//!
//! At every use a template is min-max normalised over its whole volume, `(T - min) / (max - min)`, with gradient
//! through it, and cropped at the place of the patch. Templates start at zero, where that formula has no meaning and
//! its gradient no bound: the first updates would be divided by a range of about one learning rate, and Adam's second
//! moment would then hold those voxels nearly still for thousands of steps. So the range that divides is never less
//! than [`TemplateConfig::range_floor`].

use brainmvp_kernels::ops::{CropOptions, normalized_crop};
use brainmvp_volume::Modality;
use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor, TensorData};
use serde::{Deserialize, Serialize};

use crate::patch::PatchSource;

/// Where templates come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TemplateSource {
    /// They are learnt with the network.
    #[default]
    Learnt,
    /// The mean image of each modality over the training cases, which no step changes: the control for learnt ones.
    Mean,
}

/// Size and normalisation of the templates.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TemplateConfig {
    /// Learnt, or mean images.
    pub source: TemplateSource,
    /// Voxels along x, y and z. Empty: the grid of the registered volumes of the data.
    pub size: Vec<usize>,
    /// A template whose values span less than this is divided by this instead of its range. Intensities lie in
    /// [0, 1], so with 1 a template is normalised once it spans more than the images do.
    pub range_floor: f32,
    /// Learning rate of the templates, as a multiple of the network's.
    pub learning_rate_factor: f64,
}

impl Default for TemplateConfig {
    fn default() -> Self {
        Self { source: TemplateSource::Learnt, size: Vec::new(), range_floor: 1.0, learning_rate_factor: 1.0 }
    }
}

/// The templates of all modalities.
#[derive(Module, Debug)]
pub struct Templates {
    /// `[Z, Y, X]` each, in the order of [`Modality::ALL`]. Kept apart, so that a step touches only those in use.
    pub volumes: Vec<Param<Tensor<3>>>,
    #[module(skip)]
    range_floor: f32,
}

impl Templates {
    /// Zero templates of `size` voxels (x, y, z).
    pub fn new([x, y, z]: [usize; 3], range_floor: f32, device: &Device) -> Self {
        let volumes =
            Modality::ALL.iter().map(|_| Param::from_tensor(Tensor::zeros([z, y, x], device))).collect();
        Self { volumes, range_floor }
    }

    /// These volumes (x fastest) in the place of learnt ones, and none that is learnt any more.
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
    /// it is 0), normalised, `[Z, Y, X]`.
    pub fn crop(&self, modality: Modality, start: [isize; 3], size: [usize; 3]) -> Tensor<3> {
        let template = self.volumes[modality.index()].val();
        let whole = self.size();
        let [xs, ys, zs]: [Overlap; 3] =
            std::array::from_fn(|axis| Overlap::new(start[axis], size[axis], whole[axis]));
        let along = [&zs, &ys, &xs];
        let options = CropOptions {
            start: along.map(|overlap| overlap.in_whole),
            size: along.map(|overlap| overlap.length),
            range_floor: self.range_floor,
        };
        let inside = normalized_crop(template, options);
        if [&xs, &ys, &zs].iter().all(|overlap| overlap.length == overlap.size) {
            return inside;
        }
        Tensor::zeros([size[2], size[1], size[0]], &inside.device())
            .slice_assign([zs.of_patch(), ys.of_patch(), xs.of_patch()], inside)
    }
}

/// Where a patch starts in the learnable template. The centres of the registered volume and of the template are one
/// point; a symmetric crop shares it, any other crop is followed by its offset. Spacing and space are not looked at: all
/// cases of a pre-training must have the same. Downstream, a [`Placement`](crate::Placement) says where templates lie.
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

    fn ramp(size: [usize; 3], floor: f32, device: &Device) -> Templates {
        let mut templates = Templates::new(size, floor, device);
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
        let templates = Templates::new([4, 4, 4], 1.0, &device);
        let crop = templates.crop(Modality::T2, [0; 3], [2, 2, 2]);
        let gradients = (crop - 0.5).powi_scalar(2).sum().backward();
        let gradient = templates.volumes[Modality::T2.index()].val().grad(&gradients).unwrap();
        let largest: f32 = gradient.abs().max().into_scalar();
        assert!((0.5..=10.0).contains(&largest), "{largest}");
    }

    /// A case of nothing but sizes.
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

        fn placement(&self) -> Option<crate::Placement> {
            None
        }

        fn modalities(&self) -> &[Modality] {
            &[]
        }

        fn patch(&self, _: Modality, _: [isize; 3], _: [usize; 3]) -> Result<Vec<f32>, ()> {
            Err(())
        }

        fn labels(&self, _: [isize; 3], _: [usize; 3]) -> Result<Option<Vec<u16>>, ()> {
            Ok(None)
        }

        fn class(&self) -> Option<&str> {
            None
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
