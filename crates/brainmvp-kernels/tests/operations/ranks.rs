//! What ranks compute together is what one computes of all samples.

use std::sync::{Arc, Mutex};

use brainmvp_kernels::ops;
use brainmvp_kernels::ops::ranks::{Depth, GradientHook, gather_rows, mean, sum, when_gradient};
use brainmvp_ranks::Ranks;
use burn::tensor::{Device, Distribution, Tensor};
use proptest::prelude::*;

/// The values of a tensor.
fn values<const D: usize>(x: Tensor<D>) -> Vec<f32> {
    x.into_data().try_into_vec().unwrap()
}

fn assert_close(found: &[f32], expected: &[f32], tolerance: f32) {
    assert_eq!(found.len(), expected.len());
    let largest = expected.iter().fold(1e-6f32, |largest, value| largest.max(value.abs()));
    for (found, expected) in found.iter().zip(expected) {
        assert!(
            (found - expected).abs() <= tolerance * largest,
            "{found}, not {expected}; largest {largest}"
        );
    }
}

/// Does the same on each of some ranks; what they return, in their order.
fn on_each<T: Send>(count: usize, work: impl Fn(&Ranks) -> T + Sync) -> Vec<T> {
    std::thread::scope(|scope| {
        let work = &work;
        let start = |ranks: Ranks| scope.spawn(move || work(&ranks));
        let threads: Vec<_> = brainmvp_ranks::threads(count).into_iter().map(start).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

/// The share of a rank, of rows that all have.
fn share(x: &Tensor<2>, ranks: &Ranks) -> Tensor<2> {
    let rows = x.dims()[0] / ranks.count();
    x.clone().detach().narrow(0, ranks.rank() * rows, rows).require_grad()
}

/// The gradient of a loss that every rank computes, of its share of `x`, divided by the number of ranks: as the mean over
/// ranks does. All shares, one after the other.
fn gradient(x: &Tensor<2>, count: usize, loss: impl Fn(Tensor<2>, &Ranks) -> Tensor<1> + Sync) -> Vec<f32> {
    let shares = on_each(count, |ranks| {
        let own = share(x, ranks);
        let gradients = loss(own.clone(), ranks).backward();
        values(own.grad(&gradients).unwrap() / count as f64)
    });
    shares.concat()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn losses_of_all_samples_have_their_gradients(ranks in 1usize..4, rows in 1usize..4, channels in 1usize..6, seed: u64) {
        let device = Device::flex().autodiff();
        device.seed(seed);
        let x = Tensor::<2>::random([ranks * rows, channels], Distribution::Normal(0.5, 1.0), &device);
        // None of them is a mean over rows.
        let of_sum = |x: Tensor<2>, ranks: &Ranks| sum(x.sum_dim(0), ranks).powi_scalar(3).sum();
        let of_mean = |x: Tensor<2>, ranks: &Ranks| mean(x.clone() * x, ranks).sum().powi_scalar(2);
        let of_rows = |x: Tensor<2>, ranks: &Ranks| {
            let all = gather_rows(x, ranks);
            all.clone().matmul(all.transpose()).tanh().sum()
        };
        type Loss<'a> = &'a (dyn Fn(Tensor<2>, &Ranks) -> Tensor<1> + Sync);
        for loss in [&of_sum as Loss<'_>, &of_rows] {
            assert_close(&gradient(&x, ranks, loss), &gradient(&x, 1, loss), 1e-4);
        }
        // The mean of shares is not that of rows: of one row each, it is.
        if rows == 1 {
            let whole = |x: Tensor<2>, _: &Ranks| (x.clone() * x).mean_dim(0).sum().powi_scalar(2);
            assert_close(&gradient(&x, ranks, of_mean), &gradient(&x, 1, whole), 1e-4);
        }
    }

    #[test]
    fn a_batch_norm_is_that_of_all_samples(ranks in 1usize..4, rows in 2usize..6, channels in 1usize..9, seed: u64) {
        let device = Device::flex().autodiff();
        device.seed(seed);
        let x = Tensor::<2>::random([ranks * rows, channels], Distribution::Normal(3.0, 2.0), &device);
        let [scale, shift] = [(); 2].map(|()| Tensor::<1>::random([channels], Distribution::Default, &device));
        let normed = |ranks: &Ranks| {
            let x = share(&x, ranks);
            let parameters = [scale.clone(), shift.clone()].map(|p| p.detach().require_grad());
            let [scale, shift] = parameters.clone();
            let normed = ops::batch_norm_train(x.clone(), scale, shift, 1e-5, ranks);
            let gradients = (normed.output.clone().powi_scalar(2) + normed.output.clone() * 0.3).tanh().sum().backward();
            let of_parameters = parameters.map(|p| values(p.grad(&gradients).unwrap())).concat();
            (values(normed.output), values(x.grad(&gradients).unwrap()), of_parameters, [normed.mean, normed.variance].map(values))
        };
        let shares = on_each(ranks, normed);
        let (output, input, parameters, moments) = normed(&Ranks::alone());
        assert_close(&shares.iter().flat_map(|s| s.0.clone()).collect::<Vec<_>>(), &output, 1e-4);
        assert_close(&shares.iter().flat_map(|s| s.1.clone()).collect::<Vec<_>>(), &input, 1e-3);
        let sums: Vec<f32> = (0..parameters.len()).map(|i| shares.iter().map(|s| s.2[i]).sum()).collect();
        assert_close(&sums, &parameters, 1e-3);
        for (found, expected) in shares.iter().flat_map(|s| s.3.iter().zip(&moments)) {
            assert_close(found, expected, 1e-4);
        }
    }
}

/// Parameters that are used one after the other: the hook of the last is called first, before the backward pass comes to the
/// others, and each with the whole gradient, also of a parameter that is used twice.
#[test]
fn hooks_are_called_during_the_backward_pass() {
    let device = Device::flex().autodiff();
    let called = Arc::new(Mutex::new(Vec::new()));
    let mut depth = Depth::new(&device);
    let parameters: Vec<Tensor<2>> =
        (1..=4).map(|i| (Tensor::eye(3, &device) * i as f32).require_grad()).collect();
    let mut x = Tensor::<2>::ones([2, 3], &device).require_grad();
    let input = x.clone();
    for (number, parameter) in parameters.iter().enumerate() {
        let called = Arc::clone(&called);
        let hook = GradientHook::new(move |gradient| called.lock().unwrap().push((number, gradient)));
        let hooked = when_gradient(parameter.clone(), &mut depth, hook);
        x = x.matmul(hooked.clone()).tanh().matmul(hooked);
    }
    let gradients = x.sum().backward();
    let called = called.lock().unwrap();
    assert_eq!(called.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [3, 2, 1, 0]);
    for (number, gradient) in called.iter() {
        assert_eq!(*gradient, values(parameters[*number].grad(&gradients).unwrap()));
    }
    assert!(input.grad(&gradients).is_some());
}
