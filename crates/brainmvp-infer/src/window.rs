//! Applies a network to a volume of any size, in overlapping windows.

use burn::tensor::{Device, Tensor, TensorData};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::blend::{Blender, Slab};
use crate::{Error, Result, WindowSource};

/// Windows on a regular grid, moved inwards at the end of each axis; their results are blended where they overlap.
///
/// Positions and weights are those of MONAI's `sliding_window_inference`. A volume smaller than a window is padded with
/// zeros on both sides. Windows are computed in the order of z, and finished planes are passed on, so that only as many
/// planes as a window is high are in memory, whatever the size of the volume.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SlidingWindow {
    /// Voxels of a window along x, y and z.
    #[schemars(skip)]
    pub size: [usize; 3],
    /// Overlap of neighbouring windows along each axis, as a share of a window, below 1.
    pub overlap: f64,
    /// Weights of the voxels of a window where windows overlap.
    pub blending: Blending,
    /// Windows that are computed at once. More take more memory.
    pub batch: usize,
    /// Whether windows in which every channel is 0 are skipped. Voxels where a channel is not 0 have the same result
    /// either way; a voxel that is in such windows only gets 0.
    pub skip_empty: bool,
}

/// The weights of a window's voxels.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Blending {
    /// All the same.
    Constant,
    /// Higher in the middle, by a Gaussian with an eighth of the window's size.
    #[default]
    Gaussian,
}

/// A blended volume: for each class its values, x fastest.
#[derive(Debug, Clone, PartialEq)]
pub struct Blended {
    /// Voxels along x, y and z.
    pub shape: [usize; 3],
    /// For each class as many values as there are voxels.
    pub classes: Vec<Vec<f32>>,
}

/// The standard deviation of the Gaussian, as a fraction of the window's size.
const SIGMA: f64 = 0.125;

/// The least weight in a Gaussian window.
const LEAST_IMPORTANCE: f32 = 1e-3;

impl Default for SlidingWindow {
    fn default() -> Self {
        Self { size: [96; 3], overlap: 0.5, blending: Blending::Gaussian, batch: 1, skip_empty: false }
    }
}

impl SlidingWindow {
    /// Refuses settings that are impossible. Sizes must be multiples of `stride`, as required by the network.
    ///
    /// # Errors
    /// [`Error::Config`] with the setting.
    pub fn validate(&self, stride: usize) -> Result<()> {
        let refuse = |field, value: String, expected: String| Err(Error::Config { field, value, expected });
        if self.size.iter().any(|size| *size == 0 || *size % stride.max(1) != 0) {
            return refuse("size", format!("{:?}", self.size), format!("positive multiples of {stride}"));
        }
        if !(0.0..1.0).contains(&self.overlap) {
            return refuse("overlap", self.overlap.to_string(), "from 0 to less than 1".to_owned());
        }
        if self.batch == 0 {
            return refuse("batch", "0".to_owned(), "at least 1".to_owned());
        }
        Ok(())
    }

    /// The number of windows for a volume of `shape` voxels.
    pub fn count(&self, shape: [usize; 3]) -> usize {
        (0..3).map(|axis| self.starts(shape[axis], axis).len()).product()
    }

    /// Applies `predict` to the whole volume and blends the results.
    ///
    /// # Shapes
    /// `predict` takes `[B, D, H, W, channels]` on `device`, with B of at most `batch`, to `[B, D, H, W, classes]`.
    ///
    /// # Errors
    /// As [`Self::run_slabs`].
    pub fn run(
        &self,
        source: &impl WindowSource,
        classes: usize,
        device: &Device,
        predict: impl FnMut(Tensor<5>) -> Result<Tensor<5>>,
    ) -> Result<Blended> {
        let shape = source.shape();
        let mut blended = Blended { shape, classes: vec![Vec::new(); classes] };
        blended.classes.iter_mut().for_each(|values| values.reserve_exact(shape.iter().product()));
        self.run_slabs(source, classes, device, predict, |slab| {
            for (class, values) in blended.classes.iter_mut().enumerate() {
                values.extend(slab.values.iter().skip(class).step_by(classes));
            }
            Ok(())
        })?;
        Ok(blended)
    }

    /// As [`Self::run`], but every plane along z is passed to `consume` as soon as it is finished, in ascending order,
    /// each once.
    ///
    /// # Errors
    /// [`Error::Config`] for impossible settings, [`Error::Shape`] if `predict` returns another shape,
    /// [`Error::NotFinite`] if it returns NaN or infinity; errors of `source`, `predict` and `consume`.
    pub fn run_slabs(
        &self,
        source: &impl WindowSource,
        classes: usize,
        device: &Device,
        mut predict: impl FnMut(Tensor<5>) -> Result<Tensor<5>>,
        mut consume: impl FnMut(Slab) -> Result<()>,
    ) -> Result<()> {
        if classes == 0 {
            return Err(Error::Shape { what: "the network's result", got: vec![0], expected: vec![1] });
        }
        let mut blender = Blender::new(source.shape(), self.size, classes, self.importance());
        let [x, y, z] = self.size;
        self.each_batch(source, device, |starts, windows| {
            let given = predict(windows)?;
            let (got, expected) = (given.dims(), [starts.len(), z, y, x, classes]);
            if got != expected {
                let (got, expected) = (got.to_vec(), expected.to_vec());
                return Err(Error::Shape { what: "the network's result", got, expected });
            }
            let given = values(given)?;
            for (start, window) in starts.iter().zip(given.chunks_exact(x * y * z * classes)) {
                if !window.iter().all(|value| value.is_finite()) {
                    return Err(Error::NotFinite { window: *start });
                }
                blender.add(*start, window, &mut consume)?;
            }
            Ok(())
        })?;
        blender.finish(&mut consume)
    }

    /// Reads all windows in the order of z, and passes them to `work` with the voxels at which they start.
    pub(crate) fn each_batch(
        &self,
        source: &impl WindowSource,
        device: &Device,
        mut work: impl FnMut(&[[isize; 3]], Tensor<5>) -> Result<()>,
    ) -> Result<()> {
        self.validate(1)?;
        let (shape, channels) = (source.shape(), source.channels());
        if shape.contains(&0) || channels == 0 {
            let got = vec![channels, shape[0], shape[1], shape[2]];
            return Err(Error::Shape { what: "a volume", got, expected: vec![1; 4] });
        }
        let mut batch = Batch { channels, size: self.size, starts: Vec::new(), values: Vec::new() };
        for start in self.windows(shape) {
            let window = (0..channels).map(|channel| source.read(channel, start, self.size));
            let window = window.collect::<Result<Vec<_>>>()?;
            if self.skip_empty && window.iter().flatten().all(|value| *value == 0.0) {
                continue;
            }
            batch.push(start, &window)?;
            if batch.starts.len() == self.batch {
                let (starts, windows) = batch.take(device);
                work(&starts, windows)?;
            }
        }
        if batch.starts.is_empty() {
            return Ok(());
        }
        let (starts, windows) = batch.take(device);
        work(&starts, windows)
    }

    /// First voxels of all windows, by z, then y, then x; below 0 where the volume is smaller than a window.
    fn windows(&self, shape: [usize; 3]) -> Vec<[isize; 3]> {
        let [xs, ys, zs]: [Vec<isize>; 3] = std::array::from_fn(|axis| self.starts(shape[axis], axis));
        let mut windows = Vec::with_capacity(xs.len() * ys.len() * zs.len());
        for z in &zs {
            for y in &ys {
                windows.extend(xs.iter().map(|x| [*x, *y, *z]));
            }
        }
        windows
    }

    fn starts(&self, length: usize, axis: usize) -> Vec<isize> {
        let size = self.size[axis];
        if length <= size {
            return vec![-(((size - length) / 2) as isize)];
        }
        let room = length - size;
        let step = ((size as f64 * (1.0 - self.overlap)) as usize).max(1);
        (0..=room.div_ceil(step)).map(|number| (number * step).min(room) as isize).collect()
    }

    /// The weight of each voxel of a window, x fastest.
    fn importance(&self) -> Vec<f32> {
        let [x, y, z] = self.size;
        if self.blending == Blending::Constant {
            return vec![1.0; x * y * z];
        }
        let [x, y, z] = [x, y, z].map(|size| {
            let (middle, sigma) = ((size as f64 - 1.0) / 2.0, size as f64 * SIGMA);
            let along = (0..size).map(|i| (-(i as f64 - middle).powi(2) / (2.0 * sigma * sigma)).exp());
            along.collect::<Vec<f64>>()
        });
        let mut importance = Vec::with_capacity(self.size.iter().product());
        for z in &z {
            for y in &y {
                importance.extend(x.iter().map(|x| ((x * y * z) as f32).max(LEAST_IMPORTANCE)));
            }
        }
        importance
    }
}

/// Windows that will be processed at once.
struct Batch {
    channels: usize,
    size: [usize; 3],
    starts: Vec<[isize; 3]>,
    /// `[B, D, H, W, C]`
    values: Vec<f32>,
}

impl Batch {
    /// Adds a window.
    fn push(&mut self, start: [isize; 3], window: &[Vec<f32>]) -> Result<()> {
        let voxels = self.size.iter().product::<usize>();
        if let Some(odd) = window.iter().find(|channel| channel.len() != voxels) {
            let (got, expected) = (vec![odd.len()], vec![voxels]);
            return Err(Error::Shape { what: "a channel of a window", got, expected });
        }
        let first = self.values.len();
        self.values.resize(first + voxels * self.channels, 0.0);
        for (number, channel) in window.iter().enumerate() {
            let places = self.values[first + number..].iter_mut().step_by(self.channels);
            places.zip(channel).for_each(|(place, value)| *place = *value);
        }
        self.starts.push(start);
        Ok(())
    }

    /// Takes all windows so far; the batch is empty afterwards.
    fn take(&mut self, device: &Device) -> (Vec<[isize; 3]>, Tensor<5>) {
        let (starts, [x, y, z]) = (std::mem::take(&mut self.starts), self.size);
        let shape = [starts.len(), z, y, x, self.channels];
        let windows = TensorData::new(std::mem::take(&mut self.values), shape);
        (starts, Tensor::from_data(windows, device))
    }
}

/// The numbers of a tensor.
pub(crate) fn values<const D: usize>(tensor: Tensor<D>) -> Result<Vec<f32>> {
    let values = tensor.into_data().convert::<f32>().try_into_vec::<f32>();
    values.map_err(|error| Error::Predict(format!("{error:?}").into()))
}
