//! Blended windows against MONAI's `sliding_window_inference`.

#![allow(clippy::unwrap_used)]

use brainmvp_golden::Golden;
use brainmvp_infer::{Blending, Channels, SlidingWindow};
use burn::tensor::module::conv3d;
use burn::tensor::ops::ConvOptions;
use burn::tensor::{Device, Tensor, TensorData};

/// The reference predictor: a 3^3 convolution to two classes, zeros around the window.
fn predict(window: Tensor<5>, weight: &Tensor<5>) -> Tensor<5> {
    let options = ConvOptions::new([1; 3], [1; 3], [1; 3], 1);
    conv3d(window.permute([0, 4, 1, 2, 3]), weight.clone(), None, options).permute([0, 2, 3, 4, 1])
}

#[test]
fn windows_are_placed_and_blended_as_by_monai() {
    let golden = Golden::open("sliding_window");
    let device = Device::flex();
    let floats = |values: &[f64]| values.iter().map(|v| *v as f32).collect::<Vec<f32>>();
    let (_, weight) = golden.tensor("w");
    let weight = Tensor::<5>::from_data(TensorData::new(floats(weight), [2, 1, 3, 3, 3]), &device);
    let (shape, volume) = golden.tensor("vol");
    // The reference's axes are D, H, W as they lie in memory.
    let [nz, ny, nx] = [shape[2], shape[3], shape[4]];
    let volume = floats(volume);
    let mut compared = 0;
    for name in ["constant_0.25", "constant_0.5", "gaussian_0.25", "gaussian_0.5", "small_volume"] {
        let (expected_shape, expected) = golden.tensor(name);
        let small = name == "small_volume";
        let (blending, overlap) = name.split_once('_').filter(|_| !small).unwrap_or(("gaussian", "0.5"));
        let blending = if blending == "constant" { Blending::Constant } else { Blending::Gaussian };
        let windows = SlidingWindow {
            size: [32; 3],
            overlap: overlap.parse().unwrap(),
            blending,
            batch: 3,
            ..SlidingWindow::default()
        };
        // The small volume is the first corner of the large one.
        let part =
            if small { [expected_shape[4], expected_shape[3], expected_shape[2]] } else { [nx, ny, nz] };
        let voxels: Vec<f32> = (0..part.iter().product::<usize>())
            .map(|i| volume[(i / (part[0] * part[1]) * ny + i / part[0] % part[1]) * nx + i % part[0]])
            .collect();
        let channels = Channels::new(part, vec![&voxels]).unwrap();
        let blended = windows.run(&channels, 2, &device, |window| Ok(predict(window, &weight))).unwrap();
        let step = if small { 1 } else { 2 };
        let mut expected = expected.iter();
        for class in &blended.classes {
            for z in (0..part[2]).step_by(step) {
                for y in (0..part[1]).step_by(step) {
                    for x in (0..part[0]).step_by(step) {
                        let (ours, theirs) =
                            (f64::from(class[(z * part[1] + y) * part[0] + x]), expected.next().unwrap());
                        assert!((ours - theirs).abs() < 1e-5, "{name} ({x}, {y}, {z}): {ours}, {theirs}");
                        compared += 1;
                    }
                }
            }
        }
        assert!(expected.next().is_none(), "{name}");
    }
    assert_eq!(compared, 4 * 2 * 35 * 31 * 42 + 2 * 20 * 40 * 25);
}
