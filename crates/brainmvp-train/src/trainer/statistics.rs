//! Running statistics of batch norms whose ranks use those of their own shares.

use brainmvp_nets::weights::Place;
use brainmvp_ranks::Ranks;
use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{Tensor, TensorData};

/// The module with the running means and variances of all batch norms averaged over the ranks.
pub(super) fn averaged<M: Module>(module: M, ranks: &Ranks) -> M {
    module.map(&mut Average { ranks, place: Place::default() })
}

struct Average<'a> {
    ranks: &'a Ranks,
    place: Place,
}

impl ModuleMapper for Average<'_> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.place.enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, container: &str) {
        self.place.exit(container);
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let path = self.place.path();
        if !["running_mean", "running_var"].iter().any(|name| path.ends_with(name)) {
            return param;
        }
        param.map(|own| {
            let (shape, device) = (own.dims(), own.device());
            let Ok(mut values) = own.clone().into_data().try_into_vec::<f32>() else { return own };
            self.ranks.sum(&mut values);
            let count = self.ranks.count() as f32;
            for sum in &mut values {
                *sum /= count;
            }
            Tensor::from_data(TensorData::new(values, shape), &device)
        })
    }
}
