//! What holds for windows of any size over volumes of any size.

#![allow(clippy::unwrap_used)]

use brainmvp_infer::{Blending, Channels, Error, SlidingWindow};
use burn::tensor::{Device, Tensor};
use proptest::prelude::*;

fn windows() -> impl Strategy<Value = SlidingWindow> {
    let blending = prop_oneof![Just(Blending::Constant), Just(Blending::Gaussian)];
    (prop::array::uniform3(1_usize..9), 0.0..0.95, blending, 1_usize..6, any::<bool>()).prop_map(
        |(size, overlap, blending, batch, skip_empty)| SlidingWindow {
            size,
            overlap,
            blending,
            batch,
            skip_empty,
        },
    )
}

/// Two channels: the numbers of the voxels, none of them 0, and zeros but for a few.
fn volume(shape: [usize; 3]) -> [Vec<f32>; 2] {
    let count = shape.iter().product::<usize>();
    let numbers = (0..count).map(|i| i as f32 / count as f32 + 0.1);
    [numbers.collect(), (0..count).map(|i| if i % 7 == 3 { 1.0 } else { 0.0 }).collect()]
}

fn close(a: &[f32], b: &[f32]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-5)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn the_input_comes_back_from_a_predictor_that_does_nothing(
        windows in windows(), shape in prop::array::uniform3(1_usize..14),
    ) {
        let [a, b] = volume(shape);
        let channels = Channels::new(shape, vec![&a, &b]).unwrap();
        let mut seen = 0;
        let blended = windows.run(&channels, 2, &Device::flex(), |window| {
            seen += window.dims()[0];
            assert!(window.dims()[0] <= windows.batch);
            Ok(window)
        }).unwrap();
        prop_assert!(close(&blended.classes[0], &a) && close(&blended.classes[1], &b));
        prop_assert_eq!(seen, windows.count(shape));
    }

    #[test]
    fn a_constant_stays_one(windows in windows(), shape in prop::array::uniform3(1_usize..14)) {
        let [a, _] = volume(shape);
        let channels = Channels::new(shape, vec![&a]).unwrap();
        let blended = windows.run(&channels, 1, &Device::flex(), |window| Ok(window * 0.0 + 0.25)).unwrap();
        prop_assert!(close(&blended.classes[0], &vec![0.25; a.len()]));
    }

    #[test]
    fn the_batch_changes_nothing(windows in windows(), shape in prop::array::uniform3(1_usize..14)) {
        let [a, b] = volume(shape);
        let channels = Channels::new(shape, vec![&a, &b]).unwrap();
        // Depends on the place in the window.
        let predict = |window: Tensor<5>| Ok(window.clone().cumsum(3) * window.flip([1]));
        let one = SlidingWindow { batch: 1, ..windows.clone() };
        let device = Device::flex();
        prop_assert_eq!(
            windows.run(&channels, 2, &device, predict).unwrap(),
            one.run(&channels, 2, &device, predict).unwrap()
        );
    }

    #[test]
    fn planes_come_in_order_and_each_once(windows in windows(), shape in prop::array::uniform3(1_usize..14)) {
        let [_, b] = volume(shape);
        let channels = Channels::new(shape, vec![&b]).unwrap();
        let (mut next, mut values) = (0, Vec::new());
        windows.run_slabs(&channels, 1, &Device::flex(), Ok, |slab| {
            assert_eq!((slab.planes.start, slab.shape, slab.classes), (next, shape, 1));
            assert!(slab.planes.len() <= windows.size[2]);
            next = slab.planes.end;
            values.extend(slab.values);
            Ok(())
        }).unwrap();
        prop_assert_eq!(next, shape[2]);
        prop_assert!(close(&values, &b));
    }

    #[test]
    fn windows_left_out_change_nothing_where_something_is(
        windows in windows(), shape in prop::array::uniform3(1_usize..20), only in 0.0..1.0,
    ) {
        let count = shape.iter().product::<usize>();
        let mut voxels = vec![0.0; count];
        voxels[(only * count as f64) as usize] = 1.0;
        let channels = Channels::new(shape, vec![&voxels]).unwrap();
        let predict = |window: Tensor<5>| Ok(window.cumsum(3).cumsum(2).cumsum(1) + 0.5);
        let [all, some] = [false, true].map(|skip_empty| {
            let windows = SlidingWindow { skip_empty, ..windows.clone() };
            windows.run(&channels, 1, &Device::flex(), predict).unwrap()
        });
        for (voxel, (all, some)) in voxels.iter().zip(all.classes[0].iter().zip(&some.classes[0])) {
            prop_assert!(*voxel == 0.0 || all == some);
        }
    }
}

#[test]
fn what_cannot_be_done_is_said() {
    let voxels = vec![1.0; 5 * 6 * 7];
    let channels = Channels::new([5, 6, 7], vec![&voxels]).unwrap();
    let device = Device::flex();
    let windows = SlidingWindow { size: [4; 3], ..SlidingWindow::default() };
    let nan = windows.run(&channels, 1, &device, |window| Ok(window / 0.0 - f32::INFINITY));
    assert!(matches!(nan, Err(Error::NotFinite { window: [0, 0, 0] })), "{nan:?}");
    let wrong = windows.run(&channels, 2, &device, Ok).unwrap_err();
    assert!(wrong.to_string().contains("[1, 4, 4, 4, 1], expected [1, 4, 4, 4, 2]"), "{wrong}");
    assert!(matches!(windows.run(&channels, 0, &device, Ok), Err(Error::Shape { .. })));
    let failed = windows.run(&channels, 1, &device, |_| Err(Error::Stopped));
    assert!(matches!(failed, Err(Error::Stopped)));
    let refused = |windows: SlidingWindow, field: &str| {
        assert!(windows.validate(2).unwrap_err().to_string().starts_with(field), "{field}");
    };
    assert!(windows.validate(2).is_ok());
    refused(SlidingWindow { size: [4, 0, 4], ..windows.clone() }, "size");
    refused(SlidingWindow { size: [4, 4, 5], ..windows.clone() }, "size");
    refused(SlidingWindow { overlap: 1.0, ..windows.clone() }, "overlap");
    refused(SlidingWindow { overlap: f64::NAN, ..windows.clone() }, "overlap");
    refused(SlidingWindow { batch: 0, ..windows }, "batch");
}
