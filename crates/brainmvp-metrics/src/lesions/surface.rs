//! HD95 as the program of the BraTS challenges has it.
//!
//! A surface is the corners at which voxels inside and outside meet. Each stands for the piece of surface that marching
//! cubes has there, and the percentile is over the area of these pieces. The metric `hd95_mm` is MONAI's instead, whose
//! surface is of voxels that count alike.

use crate::MaskPair;
use crate::mask::{Mask, distances};

/// The share of the surface that is within HD95.
const SHARE: f64 = 0.95;

/// The larger of the two directions' HD95, mm; infinite if a mask is empty.
pub(super) fn hd95_mm(pair: &MaskPair) -> f64 {
    let [prediction, truth] = pair.masks();
    let areas = Areas::of(pair.axes().spacing_mm());
    let (corners, others) = rayon::join(|| prediction.corners(), || truth.corners());
    let direction = |mask: &Mask, from: &Mask, to: &Mask| {
        let areas = from.voxels().into_iter().map(|corner| areas.of_corner(mask.around_corner(corner)));
        within(distances(from, to, pair.axes()).into_iter().zip(areas).collect())
    };
    let (to_truth, to_prediction) =
        rayon::join(|| direction(prediction, &corners, &others), || direction(truth, &others, &corners));
    to_truth.max(to_prediction)
}

/// The distance within which 95 % of the area is; infinite if there is none.
fn within(mut pieces: Vec<(f64, f64)>) -> f64 {
    pieces.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
    let total: f64 = pieces.iter().map(|(_, area)| area).sum();
    let mut so_far = 0.0;
    let reached = pieces.iter().find(|(_, area)| {
        so_far += area;
        so_far / total >= SHARE
    });
    reached.or(pieces.last()).map_or(f64::INFINITY, |(distance, _)| *distance)
}

/// The areas of the pieces of surface at a corner, mm^2, by which of the eight voxels around it are inside.
struct Areas([f64; 256]);

impl Areas {
    fn of(spacing_mm: [f64; 3]) -> Self {
        let [x, y, z] = spacing_mm;
        let faces = [y * z, x * z, x * y];
        Self(std::array::from_fn(|code| area(code as u8, faces)))
    }

    fn of_corner(&self, around: u8) -> f64 {
        self.0[usize::from(around)]
    }
}

/// The area of the surface around the voxels of `code`, by [`Mask::around_corner`]; `faces` are the areas of a voxel's
/// sides across x, y and z. It runs through the middles of the edges between voxels inside and outside.
fn area(code: u8, faces: [f64; 3]) -> f64 {
    // Inside and outside are alike: the fewer voxels are enclosed. Each group of face-neighbours is enclosed on its own.
    let mut left = if code.count_ones() > 4 { !code } else { code };
    let mut sum = 0.0;
    while left != 0 {
        let mut group = left & left.wrapping_neg();
        while let wider @ 1.. = left & !group & (0..3).fold(0, |all, axis| all | beside(group, axis)) {
            group |= wider;
        }
        left &= !group;
        sum += area_of_group(group, faces);
    }
    sum
}

/// The neighbours of voxels along an axis, among the eight around a corner.
fn beside(voxels: u8, axis: usize) -> u8 {
    let (low, step) = [(0x55, 1), (0x33, 2), (0x0f, 4)][axis];
    (voxels & low) << step | voxels >> step & low
}

/// The area around one to four voxels that are connected by faces.
fn area_of_group(group: u8, faces: [f64; 3]) -> f64 {
    let norm = |sides: [f64; 3]| sides.iter().map(|side| side * side).sum::<f64>().sqrt();
    // Of what lies at the same angle to all axes, and of what is parallel to one.
    let across = norm(faces);
    let along = |axis: usize| {
        let mut sides = faces;
        sides[axis] = 0.0;
        norm(sides)
    };
    let neighbours = [0, 1, 2].map(|axis| beside(group, axis) & group);
    let joined = |axis: &usize| neighbours[*axis] != 0;
    let of_axes = |area: &dyn Fn(usize) -> f64, is_joined: bool| -> f64 {
        (0..3).filter(|axis| joined(axis) == is_joined).map(area).sum()
    };
    let [x, y, z] = neighbours;
    match group.count_ones() {
        1 => across / 8.0,
        2 => of_axes(&along, true) / 2.0,
        3 => of_axes(&|axis| faces[axis], false) / 2.0 + across * 3.0 / 8.0,
        // A side of the cube.
        _ if !(0..3).all(|axis| joined(&axis)) => of_axes(&|axis| faces[axis], false),
        // A voxel and its three neighbours.
        _ if x & y & z != 0 => across * 3.0 / 4.0,
        // A chain, which turns twice. The axes of its first and last step are those of voxels with one neighbour.
        _ => {
            let ends = (x ^ y ^ z) & !(x & y & z);
            let of_ends = (0..3).filter(|axis| neighbours[*axis] & ends != 0).map(along);
            across / 2.0 + of_ends.sum::<f64>() / 4.0
        }
    }
}

#[cfg(test)]
mod tests {
    use std::f64::consts::SQRT_2;

    use brainmvp_volume::Affine;

    use super::*;

    #[test]
    fn areas_are_those_of_marching_cubes() {
        let root3 = 3.0_f64.sqrt();
        for (code, expected) in [
            (0b0000_0000, 0.0),
            (0b1111_1111, 0.0),
            // A triangle, and the same of the seven others.
            (0b0000_0001, root3 / 8.0),
            (0b1111_1110, root3 / 8.0),
            // Two side by side: a rectangle. Two across a face: two triangles.
            (0b0000_0011, SQRT_2 / 2.0),
            (0b0000_1001, root3 / 4.0),
            // A side; a corner with its three neighbours: a regular hexagon with sides of sqrt(1 / 2).
            (0b0000_1111, 1.0),
            (0b0001_0111, 0.75 * root3),
            // Three of a side, and a chain.
            (0b0000_0111, 0.5 + root3 * 3.0 / 8.0),
            (0b1000_1011, root3 / 2.0 + SQRT_2 / 2.0),
        ] {
            let found = area(code, [1.0; 3]);
            assert!((found - expected).abs() < 1e-12, "{code:08b}: {found}, {expected}");
        }
        // A side across z, and two voxels along x.
        assert!((area(0b0000_1111, [2.0, 3.0, 5.0]) - 5.0).abs() < 1e-12);
        assert!((area(0b0000_0011, [2.0, 3.0, 5.0]) - 34.0_f64.sqrt() / 2.0).abs() < 1e-12);
    }

    #[test]
    fn the_area_of_a_code_does_not_depend_on_how_it_is_turned() {
        // Exchanging x and y exchanges bits 1 and 2, and bits 5 and 6; mirroring along x exchanges neighbours along x.
        let turned = |code: u8| code & 0b1001_1001 | (code & 0b0010_0010) << 1 | (code & 0b0100_0100) >> 1;
        let mirrored = |code: u8| beside(code, 0);
        for code in 0..=u8::MAX {
            let expected = area(code, [2.0, 3.0, 5.0]);
            let same = [area(turned(code), [3.0, 2.0, 5.0]), area(mirrored(code), [2.0, 3.0, 5.0])];
            assert!(same.iter().all(|area| (area - expected).abs() < 1e-12), "{code:08b}");
        }
    }

    #[test]
    fn a_thin_spike_does_not_count() {
        let flags = |inside: &dyn Fn(usize, usize, usize) -> bool| {
            let voxels: Vec<bool> = (0..20 * 20 * 30).map(|i| inside(i % 20, i / 20 % 20, i / 400)).collect();
            Mask::new([20, 20, 30], &voxels)
        };
        let is_cube = |x: usize, y: usize, z: usize| [x, y, z].iter().all(|i| (2..18).contains(i));
        let spike = |x: usize, y: usize, z: usize| is_cube(x, y, z) || ((x, y) == (9, 9) && z < 24 && z > 2);
        let affine = Affine::from_spacing([1.0; 3], [0.0; 3]);
        let pair = MaskPair::new(flags(&spike), flags(&is_cube), &affine).unwrap();
        assert_eq!(hd95_mm(&pair), 0.0);
        assert_eq!(pair.surface_distances().to_truth.last(), Some(&6.0));
        let empty = MaskPair::new(flags(&is_cube), flags(&|_, _, _| false), &affine).unwrap();
        assert_eq!(hd95_mm(&empty), f64::INFINITY);
    }
}
