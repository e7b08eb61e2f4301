use brainmvp_kernels::ops;
use brainmvp_ranks::Ranks;
use burn::tensor::{Device, Tensor, TensorData};
use proptest::prelude::*;

use crate::{assert_agree, assert_close, floats, values};

const EPSILON: f32 = 1e-5;

/// Normalised over one axis of `[rows, channels]`.
fn plain<const AXIS: usize>(x: Tensor<2>, scale: Tensor<1>, shift: Tensor<1>) -> Tensor<2> {
    let centred = x.clone() - x.mean_dim(AXIS);
    let variance = (centred.clone() * centred.clone()).mean_dim(AXIS);
    centred / (variance + EPSILON).sqrt() * scale.unsqueeze() + shift.unsqueeze()
}

type Norm = fn(Tensor<2>, Tensor<1>, Tensor<1>) -> Tensor<2>;

const PAIRS: [(Norm, Norm); 3] = [
    (|x, scale, shift| ops::layer_norm(x, scale, shift, EPSILON), plain::<1>),
    (|x, scale, shift| ops::batch_norm_train(x, scale, shift, EPSILON, &Ranks::alone()).output, plain::<0>),
    (ops::channel_affine, |x, scale, shift| x * scale.unsqueeze() + shift.unsqueeze()),
];

fn check(rows: usize, channels: usize) {
    for (ours, theirs) in PAIRS {
        let run = |norm: Norm| {
            move |leaves: &[Tensor<1>]| {
                let [x, scale, shift] = [0, 1, 2].map(|i| leaves[i].clone());
                norm(x.reshape([rows, channels]), scale, shift).flatten(0, 1)
            }
        };
        assert_agree(&[rows * channels, channels, channels], run(ours), run(theirs));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn matches_burn(rows in 8usize..90, channels in 8usize..150) {
        check(rows, channels);
    }
}

/// Several chunks of rows.
#[test]
fn matches_burn_where_work_is_split() {
    check(2111, 37);
    check(1100, 100);
}

/// Moments that a sum of squares in single precision would lose.
#[test]
fn batch_moments_far_from_zero() {
    let (rows, channels) = (5000, 21);
    let device = Device::flex();
    let x: Vec<f32> = values(rows * channels, 1).iter().map(|x| x * 0.01 + 100.0).collect();
    let (mut mean, mut variance) = (vec![0.0; channels], vec![0.0; channels]);
    for channel in 0..channels {
        let column = || x[channel..].iter().step_by(channels).map(|&x| f64::from(x));
        let exact = column().sum::<f64>() / rows as f64;
        mean[channel] = exact as f32;
        variance[channel] = (column().map(|x| (x - exact).powi(2)).sum::<f64>() / rows as f64) as f32;
    }
    let x = Tensor::<2>::from_data(TensorData::new(x, [rows, channels]), &device);
    let parameter = || Tensor::<1>::ones([channels], &device);
    let normed = ops::batch_norm_train(x, parameter(), parameter(), EPSILON, &Ranks::alone());
    assert_close(&floats(normed.mean), &mean, "mean");
    let largest = variance.iter().fold(0.0f32, |a, &b| a.max(b));
    for (got, expected) in floats(normed.variance).iter().zip(&variance) {
        assert!((got - expected).abs() < 2e-3 * largest, "{got}, not {expected}");
    }
}
