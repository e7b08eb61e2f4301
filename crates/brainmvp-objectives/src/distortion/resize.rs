//! A patch in another number of voxels.

/// Linear interpolation to another size; the patch as a whole stays where it is.
pub fn resize(voxels: &[f32], from: [usize; 3], to: [usize; 3]) -> Vec<f32> {
    let mut sizes = from;
    let mut values = voxels.to_vec();
    for axis in 0..3 {
        values = along(&values, sizes, axis, to[axis]);
        sizes[axis] = to[axis];
    }
    values
}

/// Linear interpolation along one axis. Beyond the outermost voxels it is constant.
fn along(values: &[f32], size: [usize; 3], axis: usize, to: usize) -> Vec<f32> {
    let from = size[axis];
    if from == to || from == 0 {
        return values.to_vec();
    }
    let step: usize = size[..axis].iter().product();
    let outer: usize = size[axis + 1..].iter().product();
    let mut out = Vec::with_capacity(step * to * outer);
    for lines in values.chunks_exact(step * from) {
        for place in 0..to {
            let at = (place as f64 + 0.5) * from as f64 / to as f64 - 0.5;
            let at = at.clamp(0.0, (from - 1) as f64);
            let low = at as usize;
            let share = (at - low as f64) as f32;
            let [low, high] = [low, (low + 1).min(from - 1)].map(|i| &lines[i * step..][..step]);
            out.extend(low.iter().zip(high).map(|(low, high)| low + share * (high - low)));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_linear_image_stays_linear() {
        let size = [8, 6, 4];
        let ramp = |size: [usize; 3]| -> Vec<f32> {
            let at = |i: usize, n: usize, of: usize| (i as f32 + 0.5) * of as f32 / n as f32;
            let value = |i: usize| {
                let [x, y, z] = [i % size[0], i / size[0] % size[1], i / (size[0] * size[1])];
                at(x, size[0], 8) - 2.0 * at(y, size[1], 6) + 3.0 * at(z, size[2], 4)
            };
            (0..size.iter().product()).map(value).collect()
        };
        // To half the size every place lies between two voxels.
        let got = resize(&ramp(size), size, [4, 3, 2]);
        assert!(got.iter().zip(ramp([4, 3, 2])).all(|(a, b)| (a - b).abs() < 1e-5));
        assert_eq!(resize(&ramp(size), size, size), ramp(size));
        let large = resize(&ramp(size), size, [16, 6, 12]);
        assert_eq!(large.len(), 16 * 6 * 12);
        // But for the border.
        let expected = ramp([16, 6, 12]);
        for z in 2..10 {
            for x in 1..15 {
                let i = (z * 6 + 2) * 16 + x;
                assert!((large[i] - expected[i]).abs() < 1e-5);
            }
        }
    }
}
