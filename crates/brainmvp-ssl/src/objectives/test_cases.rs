//! Cases for the tests of methods.

use std::convert::Infallible;

use brainmvp_volume::Modality;

use crate::Placement;
use crate::patch::PatchSource;

/// A case whose voxels are a function of their place in the registered volume, without end.
pub(super) struct Case {
    pub(super) person: &'static str,
    /// Voxels of the registered volume along each axis.
    pub(super) registered: [usize; 3],
    pub(super) crop: [usize; 3],
    pub(super) shape: [usize; 3],
    pub(super) modalities: Vec<Modality>,
    pub(super) value: Box<dyn Fn([isize; 3]) -> f32>,
}

impl PatchSource for Case {
    type Error = Infallible;

    fn id(&self) -> &str {
        self.person
    }

    fn data_set(&self) -> &'static str {
        "set"
    }

    fn person(&self) -> &str {
        self.person
    }

    fn shape(&self) -> [usize; 3] {
        self.shape
    }

    fn registered_shape(&self) -> [usize; 3] {
        self.registered
    }

    fn crop_offset(&self) -> [usize; 3] {
        self.crop
    }

    fn placement(&self) -> Option<Placement> {
        None
    }

    fn modalities(&self) -> &[Modality] {
        &self.modalities
    }

    fn patch(&self, _: Modality, start: [isize; 3], size: [usize; 3]) -> Result<Vec<f32>, Infallible> {
        let at = |i: usize| [i % size[0], i / size[0] % size[1], i / (size[0] * size[1])];
        let registered = |i: usize| -> [isize; 3] {
            std::array::from_fn(|axis| start[axis] + (at(i)[axis] + self.crop[axis]) as isize)
        };
        Ok((0..size.iter().product()).map(|i| (self.value)(registered(i))).collect())
    }

    fn labels(&self, _: [isize; 3], _: [usize; 3]) -> Result<Option<Vec<u16>>, Infallible> {
        Ok(None)
    }

    fn number(&self, _: &str) -> Option<f64> {
        None
    }

    fn class(&self) -> Option<&str> {
        None
    }
}
