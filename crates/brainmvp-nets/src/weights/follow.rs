//! A teacher: a module that follows another of the same kind.

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::Tensor;

use super::named::{Named, Place, handles};

/// Moves every parameter and buffer of `teacher` towards that of `student`: `momentum t + (1 - momentum) s`. The teacher has
/// no gradients afterwards, whatever it had before.
///
/// A momentum of 0 copies the student. That is how a teacher is made: a clone would share the student's buffers and the
/// identities of its parameters, so a teacher is built as a module of its own, and then follows.
///
/// # Panics
/// If the two do not have the same parameters and buffers.
pub fn follow<M: Module>(teacher: M, student: &M, momentum: f64) -> M {
    let mut rest = handles(student).into_iter();
    let follower = teacher.map(&mut Follow { place: Place::default(), student: &mut rest, momentum });
    assert!(rest.next().is_none(), "the student has more parameters than its teacher");
    follower
}

struct Follow<'a> {
    place: Place,
    /// What the student has, in the order of its fields.
    student: &'a mut dyn Iterator<Item = Named>,
    momentum: f64,
}

impl ModuleMapper for Follow<'_> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.place.enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, container: &str) {
        self.place.exit(container);
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let path = self.place.path();
        let found = self.student.next().filter(|found| found.path == path);
        let Some(Named { values, .. }) = found.filter(|found| found.shape == param.val().dims()) else {
            panic!("the student has no {path} as its teacher has");
        };
        param.map(|old| {
            let new = values.reshape(old.dims());
            (old.detach() * self.momentum + new * (1.0 - self.momentum)).set_require_grad(false)
        })
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, Distribution};
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::SeedableRng;

    use super::*;
    use crate::Init;
    use crate::layers::{BatchNorm, Linear, Pass};
    use crate::weights::{visit, visit_gradients};

    #[derive(Module, Debug)]
    struct Small {
        linear: Linear,
        norm: BatchNorm,
    }

    impl Small {
        fn new(seed: u64, device: &Device) -> Self {
            let init = &mut Init { device, rng: &mut ChaCha8Rng::seed_from_u64(seed) };
            Self { linear: Linear::new(3, 2, init), norm: BatchNorm::new(2, init) }
        }

        fn forward(&self, x: Tensor<2>) -> Tensor<2> {
            self.norm.forward(self.linear.forward(x), &Pass::still())
        }
    }

    fn values(module: &Small) -> Vec<f32> {
        let mut all = Vec::new();
        visit(module, |_, data| all.extend_from_slice(data.as_slice().unwrap()));
        all
    }

    #[test]
    fn parameters_and_buffers_follow() {
        let device = Device::flex().autodiff();
        let (student, teacher) = (Small::new(1, &device), Small::new(2, &device));
        let x = Tensor::random([4, 3], Distribution::Normal(0.5, 2.0), &device);
        student.forward(x.clone());
        let (s, t) = (values(&student), values(&teacher));
        let teacher = follow(teacher, &student, 0.9);
        assert_eq!(values(&student), s);
        assert_eq!(s.len(), 3 * 2 + 5 * 2);
        for ((moved, old), new) in values(&teacher).into_iter().zip(t).zip(&s) {
            assert!((moved - (0.9 * old + 0.1 * new)).abs() < 1e-6, "{moved} from {old} to {new}");
        }
        // A copy has its own buffers: another pass of the student does not change it.
        let copy = follow(teacher, &student, 0.0);
        assert_eq!(values(&copy), s);
        student.forward(x * 3.0);
        assert_eq!(values(&copy), s);
    }

    #[test]
    fn a_teacher_has_no_gradients() {
        let device = Device::flex().autodiff();
        let student = Small::new(1, &device);
        let teacher = follow(Small::new(2, &device), &student, 0.5);
        let x = Tensor::random([4, 3], Distribution::Normal(0.0, 1.0), &device);
        let product = student.forward(x.clone()) * teacher.forward(x);
        let gradients = product.powi_scalar(2).sum().backward();
        let count = |module: &Small| {
            let mut found = 0;
            visit_gradients(module, &gradients, |_, _| found += 1);
            found
        };
        assert_eq!([count(&student), count(&teacher)], [4, 0]);
    }
}
