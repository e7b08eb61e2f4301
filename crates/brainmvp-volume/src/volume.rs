//! Voxels on a grid.

use crate::Grid;

/// Voxels on a [`Grid`], `x` fastest in memory. `f32` for images, `u16` for [`LabelMap`]s.
#[derive(Debug, Clone, PartialEq)]
pub struct Volume<T = f32> {
    grid: Grid,
    voxels: Vec<T>,
}

/// A volume of label values; 0 is background.
pub type LabelMap = Volume<u16>;

impl<T: Copy> Volume<T> {
    /// A volume of the given voxels, `x` fastest.
    ///
    /// # Panics
    /// If the number of voxels is not that of the grid: a bug in the program, never the fault of a file.
    pub fn new(grid: Grid, voxels: Vec<T>) -> Self {
        assert_eq!(grid.len(), voxels.len(), "voxels do not fill the grid {:?}", grid.shape);
        Self { grid, voxels }
    }

    /// A volume whose voxels are all `value`.
    pub fn filled(grid: Grid, value: T) -> Self {
        Self { voxels: vec![value; grid.len()], grid }
    }

    /// Size and place.
    #[inline]
    pub fn grid(&self) -> &Grid {
        &self.grid
    }

    /// Voxels along x, y and z.
    #[inline]
    pub fn shape(&self) -> [usize; 3] {
        self.grid.shape
    }

    /// All voxels, `x` fastest.
    #[inline]
    pub fn voxels(&self) -> &[T] {
        &self.voxels
    }

    /// All voxels, `x` fastest, mutable.
    pub fn voxels_mut(&mut self) -> &mut [T] {
        &mut self.voxels
    }

    /// The voxels alone.
    pub fn into_voxels(self) -> Vec<T> {
        self.voxels
    }

    /// The voxel at `[x, y, z]`.
    #[inline]
    pub fn at(&self, voxel: [usize; 3]) -> T {
        self.voxels[self.grid.offset(voxel)]
    }

    /// The same grid with every voxel mapped.
    pub fn map<U: Copy>(&self, f: impl FnMut(T) -> U) -> Volume<U> {
        Volume::new(self.grid, self.voxels.iter().copied().map(f).collect())
    }
}
