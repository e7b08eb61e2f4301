//! What masks do, voxel by voxel: for tests to compare with.

use super::Mask;
use super::tests::all_voxels;

/// Whether each voxel is in the set.
pub(crate) fn flags(mask: &Mask) -> Vec<bool> {
    all_voxels(mask.shape()).map(|voxel| mask.contains(voxel)).collect()
}

/// Grown once by the neighbours by face and edge.
pub(crate) fn dilated(shape: [usize; 3], voxels: &[bool]) -> Vec<bool> {
    let mut grown = voxels.to_vec();
    for voxel in all_voxels(shape).filter(|voxel| voxels[at(shape, *voxel)]) {
        near(shape, voxel, 2).for_each(|near| grown[at(shape, near)] = true);
    }
    grown
}

/// The number of the component of each voxel, from 1; 0 outside. Neighbours share a face, an edge or a corner.
pub(crate) fn labelled(shape: [usize; 3], voxels: &[bool]) -> Vec<usize> {
    let mut labels = vec![0; voxels.len()];
    let mut count = 0;
    for seed in all_voxels(shape) {
        let is_new =
            |voxel: [usize; 3], labels: &[usize]| voxels[at(shape, voxel)] && labels[at(shape, voxel)] == 0;
        if !is_new(seed, &labels) {
            continue;
        }
        count += 1;
        labels[at(shape, seed)] = count;
        let mut waiting = vec![seed];
        while let Some(voxel) = waiting.pop() {
            for near in near(shape, voxel, 3) {
                if is_new(near, &labels) {
                    labels[at(shape, near)] = count;
                    waiting.push(near);
                }
            }
        }
    }
    labels
}

fn at([nx, ny, _]: [usize; 3], [x, y, z]: [usize; 3]) -> usize {
    (z * ny + y) * nx + x
}

/// A voxel and its neighbours on the grid that are a step away along `axes` axes at most.
fn near(shape: [usize; 3], voxel: [usize; 3], axes: usize) -> impl Iterator<Item = [usize; 3]> {
    let steps = all_voxels([3; 3]).filter(move |step| step.iter().filter(|i| **i != 1).count() <= axes);
    let near = steps.map(move |step| [0, 1, 2].map(|axis| (voxel[axis] + step[axis]).wrapping_sub(1)));
    near.filter(move |near| (0..3).all(|axis| near[axis] < shape[axis]))
}
