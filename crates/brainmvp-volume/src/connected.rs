//! What is connected to what on a grid, through the faces of voxels.

/// The offsets of the voxels, at most six, that share a face with the voxel at `offset`. `shape` is `[x, y, z]`, x fastest.
pub fn face_neighbours(offset: usize, shape: [usize; 3]) -> impl Iterator<Item = usize> {
    let place = place(offset, shape);
    let strides = [1, shape[0], shape[0] * shape[1]];
    (0..3).flat_map(move |axis| {
        let below = (place[axis] > 0).then(|| offset - strides[axis]);
        let above = (place[axis] + 1 < shape[axis]).then(|| offset + strides[axis]);
        below.into_iter().chain(above)
    })
}

/// The voxels for which `open` holds and that are connected to a face of the volume through such voxels, x fastest.
pub fn open_to_the_outside(shape: [usize; 3], open: impl Fn(usize) -> bool) -> Vec<bool> {
    let mut reached = vec![false; shape.iter().product()];
    let mut stack = Vec::new();
    for voxel in 0..reached.len() {
        if is_on_a_face(voxel, shape) && open(voxel) && !reached[voxel] {
            reached[voxel] = true;
            stack.push(voxel);
        }
        while let Some(voxel) = stack.pop() {
            for neighbour in face_neighbours(voxel, shape) {
                if open(neighbour) && !reached[neighbour] {
                    reached[neighbour] = true;
                    stack.push(neighbour);
                }
            }
        }
    }
    reached
}

/// Whether the voxel at `offset` is one of the outermost along any axis.
pub fn is_on_a_face(offset: usize, shape: [usize; 3]) -> bool {
    let place = place(offset, shape);
    (0..3).any(|axis| place[axis] == 0 || place[axis] + 1 == shape[axis])
}

fn place(offset: usize, [nx, ny, _]: [usize; 3]) -> [usize; 3] {
    [offset % nx, offset / nx % ny, offset / (nx * ny)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hole_is_not_open_and_a_dent_is() {
        let shape = [5, 5, 5];
        let at = |voxel: [usize; 3]| (voxel[2] * 5 + voxel[1]) * 5 + voxel[0];
        let (hole, dent) = (at([2, 2, 2]), at([1, 2, 2]));
        let is_wall = |v: usize| place(v, shape).iter().all(|i| (1..4).contains(i));
        let open = open_to_the_outside(shape, |v| !is_wall(v) || v == hole);
        assert_eq!(open.iter().filter(|v| **v).count(), 125 - 27);
        let open = open_to_the_outside(shape, |v| !is_wall(v) || v == hole || v == dent);
        assert!(open[hole] && open[dent]);
        assert_eq!(face_neighbours(0, shape).collect::<Vec<_>>(), [1, 5, 25]);
        assert_eq!(face_neighbours(hole, shape).count(), 6);
        assert!(is_on_a_face(at([4, 2, 2]), shape) && !is_on_a_face(hole, shape));
    }
}
