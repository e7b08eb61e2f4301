//! A level of a pyramid brought to the grid of the next finer one, and its gradient: a pass over the volume each.

use super::buffer::build;
use crate::ops::expand::{coarser, neighbours};

/// Shares of the coarse voxel that covers a fine one, and of that on its other side.
const NEAR: f32 = 0.75;
const FAR: f32 = 0.25;

/// `fine`, `[D, H, W]` of these sizes, and the coarse volume interpolated to its grid.
pub(crate) fn forward(fine: &[f32], coarse: &[f32], [depth, height, width]: [usize; 3]) -> Vec<f32> {
    let [planes, rows, columns] = [depth, height, width].map(coarser);
    assert!(fine.len() == depth * height * width && coarse.len() == planes * rows * columns);
    let plane = height * width;
    // SAFETY: every row of the plane is written.
    let [sum] = unsafe {
        build(fine.len(), plane, |d, [to], count| {
            to.write_bytes(0, count);
            let to = std::slice::from_raw_parts_mut(to, count);
            let (near_d, far_d) = neighbours(d, planes);
            let mut blended = vec![0.0; columns + 2];
            for (h, to) in to.chunks_exact_mut(width).enumerate() {
                let (near_h, far_h) = neighbours(h, rows);
                let row = |d: usize, h: usize| &coarse[(d * rows + h) * columns..][..columns];
                let from = [row(near_d, near_h), row(near_d, far_h), row(far_d, near_h), row(far_d, far_h)];
                for (column, value) in blended[1..=columns].iter_mut().enumerate() {
                    let [a, b, c, d] = from.map(|row| row[column]);
                    *value = NEAR * (NEAR * a + FAR * b) + FAR * (NEAR * c + FAR * d);
                }
                // The edges again, on both sides.
                blended[0] = blended[1];
                blended[columns + 1] = blended[columns];
                let fine = &fine[d * plane + h * width..][..width];
                for ((to, fine), window) in to.chunks_mut(2).zip(fine.chunks(2)).zip(blended.windows(3)) {
                    let values = [NEAR * window[1] + FAR * window[0], NEAR * window[1] + FAR * window[2]];
                    for ((to, fine), value) in to.iter_mut().zip(fine).zip(values) {
                        *to = fine + value;
                    }
                }
            }
        })
    };
    sum
}

/// The gradient of [`forward`] for the coarse volume, given that for its output.
pub(crate) fn backward(gradient: &[f32], [depth, height, width]: [usize; 3]) -> Vec<f32> {
    let [planes, rows, columns] = [depth, height, width].map(coarser);
    assert_eq!(gradient.len(), depth * height * width);
    // SAFETY: every row of the plane is written.
    let [total] = unsafe {
        build(planes * rows * columns, rows * columns, |d, [to], count| {
            to.write_bytes(0, count);
            let to = std::slice::from_raw_parts_mut(to, count);
            let mut line = vec![0.0; width];
            for (h, to) in to.chunks_exact_mut(columns).enumerate() {
                line.fill(0.0);
                for (from_d, share_d) in shares(d, depth) {
                    for (from_h, share_h) in shares(h, height) {
                        let share = share_d * share_h;
                        let from = &gradient[(from_d * height + from_h) * width..][..width];
                        line.iter_mut().zip(from).for_each(|(sum, g)| *sum += share * g);
                    }
                }
                for (column, to) in to.iter_mut().enumerate() {
                    *to = shares(column, width).map(|(from, share)| share * line[from]).sum();
                }
            }
        })
    };
    total
}

/// The fine voxels, of `fine` along an axis, that have a share of a coarse one, and their shares.
fn shares(coarse: usize, fine: usize) -> impl Iterator<Item = (usize, f32)> {
    let first = (2 * coarse).saturating_sub(1);
    (first..(2 * coarse + 3).min(fine)).map(move |voxel| {
        let (near, far) = neighbours(voxel, coarser(fine));
        let share = |voxel: usize, share: f32| if voxel == coarse { share } else { 0.0 };
        (voxel, share(near, NEAR) + share(far, FAR))
    })
}
