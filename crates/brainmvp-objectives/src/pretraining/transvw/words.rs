//! The classes that were found, as buffers of the module: a run that is continued has them in its checkpoint.

use burn::module::{Module, RunningState};
use burn::tensor::{Device, Tensor, TensorData};

use super::discovery::Dictionary;

/// What stands where nothing was found.
const NONE: f32 = -1.0;

/// The places of the classes, and their cases. A place that was not found has no case.
#[derive(Module, Debug)]
pub struct Words {
    /// Where the cube of each class starts, in the grid of the registered volumes: x, y and z, `[classes, 3]`.
    pub places: RunningState<Tensor<2>>,
    /// The numbers of its cases, the one that it was found in first, `[classes, instances]`.
    pub instances: RunningState<Tensor<2>>,
}

impl Words {
    /// Without any.
    pub(super) fn new(classes: usize, instances: usize, device: &Device) -> Self {
        let none = |width| RunningState::new(Tensor::full([classes, width], NONE, device));
        Self { places: none(3), instances: none(instances) }
    }

    /// Takes over what was found.
    pub(super) fn set(&self, found: &Dictionary) {
        let places = found.places.iter().map(|place| place.to_vec());
        fill(&self.places, places);
        fill(&self.instances, found.instances.iter().cloned());
    }

    /// What was found.
    pub(super) fn get(&self) -> Dictionary {
        let rows = |state: &RunningState<Tensor<2>>| -> Vec<Vec<usize>> {
            let width = state.value().dims()[1];
            let values: Vec<f32> = state.value_sync().into_data().iter::<f32>().collect();
            let row = |row: &[f32]| {
                row.iter().filter(|value| **value >= 0.0).map(|value| *value as usize).collect()
            };
            values.chunks_exact(width.max(1)).map(row).collect()
        };
        let found = rows(&self.places).into_iter().zip(rows(&self.instances));
        let (places, instances) =
            found.filter_map(|(place, cases)| Some((<[usize; 3]>::try_from(place).ok()?, cases))).unzip();
        Dictionary { places, instances }
    }
}

/// Writes rows from the first on. Whole numbers below 2^24 are exact in fp32.
fn fill(state: &RunningState<Tensor<2>>, rows: impl Iterator<Item = Vec<usize>>) {
    let shape = state.value().dims();
    let mut values = vec![NONE; shape[0] * shape[1]];
    for (to, from) in values.chunks_exact_mut(shape[1].max(1)).zip(rows) {
        to.iter_mut().zip(from).for_each(|(to, from)| *to = from as f32);
    }
    state.update(Tensor::from_data(TensorData::new(values, shape), &state.value().device()));
    // Applied at once, so that visitors (checkpoints) see it.
    state.value_sync();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_found_is_kept() {
        let words = Words::new(4, 3, &Device::flex());
        assert_eq!(words.get(), Dictionary::default());
        let found = Dictionary {
            places: vec![[0, 7, 200], [1, 2, 3]],
            instances: vec![vec![5, 0, 100_000], vec![2, 5, 1]],
        };
        words.set(&found);
        assert_eq!(words.get(), found);
    }
}
