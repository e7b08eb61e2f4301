//! Where the cases of a run are.

use brainmvp_volume::{Affine, Grid};

/// The registered volumes of the cases of a run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Frame {
    /// The grid that most of them have.
    pub reference: Grid,
    /// The largest size along each axis (x, y, z).
    pub largest: [usize; 3],
}

impl Frame {
    /// The grid for something that is learnt over all cases, centre on centre: of `size` voxels, or as large as the largest
    /// volume along each axis, so that every patch is inside.
    pub fn grid(&self, size: Option<[usize; 3]>) -> Grid {
        let (size, shape) = (size.unwrap_or(self.largest), self.reference.shape);
        let first =
            std::array::from_fn(|axis| -((size[axis] as isize - shape[axis] as isize).div_euclid(2) as f64));
        let origin = self.reference.affine.to_world(first);
        let mut rows = self.reference.affine.rows();
        for (row, origin) in rows.iter_mut().zip(origin) {
            row[3] = origin;
        }
        Grid::new(size, Affine::from_rows(rows))
    }
}
