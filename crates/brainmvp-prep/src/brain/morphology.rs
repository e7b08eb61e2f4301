//! Distances, components and holes of masks on a grid.

use brainmvp_volume::connected::{face_neighbours, open_to_the_outside};
use rayon::prelude::*;

/// The distance in mm from each voxel's centre to the nearest centre of a voxel outside the mask: 0 outside, infinite
/// if all voxels are inside. `shape` is `[x, y, z]`, `x` fastest.
///
/// Felzenszwalb and Huttenlocher, "Distance transforms of sampled functions" (2012): the lower envelope of parabolas,
/// one axis after the other, so exact.
pub(crate) fn depth_mm(inside: &[bool], shape: [usize; 3], spacing_mm: [f64; 3]) -> Vec<f32> {
    let mut squares: Vec<f32> = inside.iter().map(|v| if *v { f32::INFINITY } else { 0.0 }).collect();
    let [nx, ny, nz] = shape;
    let [x_mm, y_mm, z_mm] = spacing_mm.map(|mm| mm as f32);
    squares.par_chunks_mut((nx * ny).max(1)).for_each(|slab| {
        let mut envelope = Envelope::new(nx.max(ny));
        for row in slab.chunks_exact_mut(nx) {
            envelope.transform(row, 0, 1, nx, x_mm);
        }
        for x in 0..nx {
            envelope.transform(slab, x, nx, ny, y_mm);
        }
    });
    // Along z, one row of columns at a time, gathered so that threads do not share slabs.
    let columns: Vec<Vec<f32>> = (0..ny)
        .into_par_iter()
        .map(|y| {
            let mut envelope = Envelope::new(nz);
            let mut columns: Vec<f32> =
                (0..nz).flat_map(|z| squares[(z * ny + y) * nx..][..nx].iter().copied()).collect();
            for x in 0..nx {
                envelope.transform(&mut columns, x, nx, nz, z_mm);
            }
            columns
        })
        .collect();
    squares.par_chunks_mut((nx * ny).max(1)).enumerate().for_each(|(z, slab)| {
        for (row, columns) in slab.chunks_exact_mut(nx).zip(&columns) {
            row.iter_mut().zip(&columns[z * nx..]).for_each(|(to, square)| *to = square.sqrt());
        }
    });
    squares
}

/// The lower envelope of the parabolas of one line: those that are part of it, and from where on each is the lowest.
struct Envelope {
    values: Vec<f32>,
    apexes: Vec<(usize, f32)>,
}

impl Envelope {
    fn new(length: usize) -> Self {
        Self { values: Vec::with_capacity(length), apexes: Vec::with_capacity(length) }
    }

    /// Replaces the squares of a line by the smallest of square plus squared distance.
    fn transform(&mut self, voxels: &mut [f32], first: usize, stride: usize, length: usize, mm: f32) {
        self.values.clear();
        self.values.extend((0..length).map(|i| voxels[first + i * stride]));
        self.apexes.clear();
        let square_mm = mm * mm;
        for (place, value) in self.values.iter().enumerate().filter(|(_, v)| v.is_finite()) {
            let from = loop {
                let Some(&(apex, from)) = self.apexes.last() else { break f32::NEG_INFINITY };
                let (a, b) = (apex as f32, place as f32);
                let meet = ((value - self.values[apex]) / square_mm + b * b - a * a) / (2.0 * (b - a));
                if meet > from {
                    break meet;
                }
                self.apexes.pop();
            };
            self.apexes.push((place, from));
        }
        let mut lowest = 0;
        for place in 0..length {
            while self.apexes.get(lowest + 1).is_some_and(|(_, from)| *from < place as f32) {
                lowest += 1;
            }
            if let Some((apex, _)) = self.apexes.get(lowest) {
                let away = place as f32 - *apex as f32;
                voxels[first + place * stride] = self.values[*apex] + away * away * square_mm;
            }
        }
    }
}

/// The mask dilated by `radius_mm`.
pub(crate) fn dilate(inside: &[bool], shape: [usize; 3], spacing_mm: [f64; 3], radius_mm: f32) -> Vec<bool> {
    let outside: Vec<bool> = inside.iter().map(|v| !v).collect();
    depth_mm(&outside, shape, spacing_mm).into_par_iter().map(|depth| depth <= radius_mm).collect()
}

/// The face-connected component of the mask with the highest sum of `weight`.
pub(crate) fn heaviest_component(
    inside: &[bool],
    shape: [usize; 3],
    weight: impl Fn(usize) -> f32,
) -> Vec<bool> {
    let mut parts = vec![0_u32; inside.len()];
    let (mut best, mut part) = ((0, f32::NEG_INFINITY), 0);
    let mut stack = Vec::new();
    for seed in 0..inside.len() {
        if !inside[seed] || parts[seed] > 0 {
            continue;
        }
        part += 1;
        parts[seed] = part;
        stack.push(seed);
        let mut sum = 0.0;
        while let Some(voxel) = stack.pop() {
            sum += weight(voxel);
            for neighbour in face_neighbours(voxel, shape) {
                if inside[neighbour] && parts[neighbour] == 0 {
                    parts[neighbour] = part;
                    stack.push(neighbour);
                }
            }
        }
        if sum > best.1 {
            best = (part, sum);
        }
    }
    parts.into_iter().map(|p| p > 0 && p == best.0).collect()
}

/// Fills the holes of the mask: voxels that are not face-connected to the border of the volume.
pub(crate) fn fill_holes(inside: &mut [bool], shape: [usize; 3]) {
    let air = open_to_the_outside(shape, |voxel| !inside[voxel]);
    inside.iter_mut().zip(air).for_each(|(inside, air)| *inside |= !air);
}

/// Fills the holes of every slice across each axis: voxels that are not connected to the border of a slice within it. These are
/// also all holes of [`fill_holes`].
pub(crate) fn fill_holes_of_slices(inside: &mut [bool], shape: [usize; 3]) {
    let strides = [1, shape[0], shape[0] * shape[1]];
    let before = inside.to_vec();
    for (across, a, b) in [(0, 1, 2), (1, 0, 2), (2, 0, 1)] {
        let area = shape[a] * shape[b];
        for slice in 0..shape[across] {
            let voxel =
                |at: usize| slice * strides[across] + at % shape[a] * strides[a] + at / shape[a] * strides[b];
            // Between two full slices, the border is that of the slice.
            let is_open = |at: usize| (area..2 * area).contains(&at) && !before[voxel(at - area)];
            let air = open_to_the_outside([shape[a], shape[b], 3], is_open);
            (0..area).filter(|at| !air[at + area]).for_each(|at| inside[voxel(at)] = true);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn place(voxel: usize, [nx, ny, _]: [usize; 3]) -> [usize; 3] {
        [voxel % nx, voxel / nx % ny, voxel / (nx * ny)]
    }

    const SHAPE: [usize; 3] = [6, 5, 4];

    #[test]
    fn a_ring_in_a_slice_is_filled() {
        let shape = [5, 5, 3];
        // A tube along z, closed at the bottom only.
        let wall = |voxel: usize| {
            let [x, y, z] = place(voxel, shape);
            (1..4).contains(&x) && (1..4).contains(&y) && (z == 0 || [x, y] != [2, 2])
        };
        let mut tube: Vec<bool> = (0..75).map(wall).collect();
        let mut whole = tube.clone();
        fill_holes(&mut whole, shape);
        assert_eq!(whole, tube, "open at the top");
        fill_holes_of_slices(&mut tube, shape);
        let count = tube.iter().filter(|inside| **inside).count();
        assert_eq!(count, 27);
    }

    proptest! {
        #[test]
        fn distances_are_those_of_the_definition(inside in prop::collection::vec(any::<bool>(), 120)) {
            let spacing = [1.0, 0.7, 2.5];
            let found = depth_mm(&inside, SHAPE, spacing);
            for voxel in 0..120 {
                let at = |v: usize| place(v, SHAPE).map(|i| i as f64);
                let distance = |other: usize| {
                    (0..3).map(|i| ((at(voxel)[i] - at(other)[i]) * spacing[i]).powi(2)).sum::<f64>().sqrt()
                };
                let nearest = (0..120).filter(|v| !inside[*v]).map(distance).fold(f64::INFINITY, f64::min);
                let near = (f64::from(found[voxel]) - nearest).abs() < 1e-4;
                prop_assert!(near || found[voxel] == f32::INFINITY && nearest == f64::INFINITY);
            }
        }
    }

    #[test]
    fn the_heaviest_part_and_its_hole() {
        let mut ball: Vec<bool> =
            (0..125).map(|v| place(v, [5; 3]).iter().all(|i| (1..4).contains(i)) && v != 62).collect();
        ball[0] = true;
        let mut whole = heaviest_component(&ball, [5; 3], |_| 1.0);
        assert_eq!(whole.iter().filter(|v| **v).count(), 26);
        let corner = heaviest_component(&ball, [5; 3], |v| if v == 0 { 99.0 } else { 1.0 });
        assert_eq!(corner.iter().filter(|v| **v).count(), 1);
        fill_holes(&mut whole, [5; 3]);
        assert!(whole[62] && whole.iter().filter(|v| **v).count() == 27);
        assert_eq!(dilate(&[false, true, false, false], [4, 1, 1], [2.0; 3], 2.0), [true, true, true, false]);
    }
}
