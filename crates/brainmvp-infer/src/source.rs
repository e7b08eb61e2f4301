//! The sources of windows.

use crate::{Error, Result};

/// Channels on one grid that are read box by box, so that they need not be in memory as a whole.
pub trait WindowSource {
    /// Voxels along x, y and z.
    fn shape(&self) -> [usize; 3];

    /// The number of channels.
    fn channels(&self) -> usize;

    /// The voxels of a box of `size` voxels that starts at `start` (possibly outside), x fastest; 0 if there is no
    /// volume.
    ///
    /// # Errors
    /// [`Error::Source`] if they cannot be read.
    fn read(&self, channel: usize, start: [isize; 3], size: [usize; 3]) -> Result<Vec<f32>>;
}

/// Channels in memory.
#[derive(Debug, Clone)]
pub struct Channels<'a> {
    shape: [usize; 3],
    channels: Vec<&'a [f32]>,
}

impl<'a> Channels<'a> {
    /// Channels of `shape` voxels (x, y, z), each with x fastest.
    ///
    /// # Errors
    /// [`Error::Shape`] if there is no channel, no voxel, or a channel with another number of voxels.
    pub fn new(shape: [usize; 3], channels: Vec<&'a [f32]>) -> Result<Self> {
        let count = shape.iter().product::<usize>();
        match channels.iter().find(|voxels| voxels.len() != count) {
            None if count > 0 && !channels.is_empty() => Ok(Self { shape, channels }),
            odd => Err(Error::Shape {
                what: "a channel",
                got: vec![odd.map_or(0, |voxels| voxels.len())],
                expected: vec![count.max(1)],
            }),
        }
    }
}

impl WindowSource for Channels<'_> {
    fn shape(&self) -> [usize; 3] {
        self.shape
    }

    fn channels(&self) -> usize {
        self.channels.len()
    }

    fn read(&self, channel: usize, start: [isize; 3], size: [usize; 3]) -> Result<Vec<f32>> {
        let mut window = vec![0.0; size.iter().product()];
        let [nx, ny, nz] = self.shape;
        // Along x, the part of a row that is in the volume.
        let first = start[0].clamp(0, nx as isize);
        let last = (start[0] + size[0] as isize).clamp(first, nx as isize);
        let (inside, to) = ((last - first) as usize, (first - start[0]) as usize);
        if inside == 0 {
            return Ok(window);
        }
        for (row, voxels) in window.chunks_exact_mut(size[0]).enumerate() {
            let (y, z) = (start[1] + (row % size[1]) as isize, start[2] + (row / size[1]) as isize);
            if (0..ny as isize).contains(&y) && (0..nz as isize).contains(&z) {
                let from = (z as usize * ny + y as usize) * nx + first as usize;
                voxels[to..to + inside].copy_from_slice(&self.channels[channel][from..from + inside]);
            }
        }
        Ok(window)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_box_is_the_volume_with_zeros_around(
            shape in prop::array::uniform3(1_usize..6),
            start in prop::array::uniform3(-7_isize..8),
            size in prop::array::uniform3(1_usize..8),
        ) {
            let voxels: Vec<f32> = (1..=shape.iter().product::<usize>()).map(|i| i as f32).collect();
            let zeros = vec![0.0; voxels.len()];
            let channels = Channels::new(shape, vec![&zeros, &voxels]).unwrap();
            let window = channels.read(1, start, size).unwrap();
            for (offset, value) in window.into_iter().enumerate() {
                let voxel = [offset % size[0], offset / size[0] % size[1], offset / (size[0] * size[1])];
                let at: [isize; 3] = std::array::from_fn(|axis| start[axis] + voxel[axis] as isize);
                let inside = (0..3).all(|axis| (0..shape[axis] as isize).contains(&at[axis]));
                let [x, y, z] = at.map(|i| i as usize);
                let expected = if inside { voxels[(z * shape[1] + y) * shape[0] + x] } else { 0.0 };
                prop_assert_eq!(value, expected);
            }
        }
    }

    #[test]
    fn channels_of_another_size_are_refused() {
        assert!(Channels::new([2, 2, 2], vec![&[0.0; 8], &[0.0; 7]]).is_err());
        assert!(Channels::new([2, 2, 2], Vec::new()).is_err());
        assert!(Channels::new([0, 2, 2], vec![&[]]).is_err());
    }
}
