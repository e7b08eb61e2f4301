//! Crops the volumes to the foreground.

use brainmvp_volume::{Affine, Grid, Volume};
use rayon::prelude::*;
use serde_json::{Value, json};

use super::Step;
use crate::{CaseVolumes, CropKind, Error, PrepConfig, Result};

/// Crops all volumes to one box around the foreground: the voxels above 0 in any image.
pub(super) struct Crop;

/// A box of voxels, `[x, y, z]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VoxelBox {
    /// The first voxel.
    pub offset: [usize; 3],
    /// Voxels along x, y and z.
    pub size: [usize; 3],
}

impl Step for Crop {
    fn name(&self) -> &'static str {
        "crop"
    }

    fn apply(&self, case: &mut CaseVolumes, config: &PrepConfig) -> Result<Value> {
        let grid = case.common_grid(self.name())?;
        let boxes: Vec<_> = case.images.par_iter().map(|(_, image)| VoxelBox::of_foreground(image)).collect();
        let tight = boxes.into_iter().flatten().reduce(VoxelBox::union);
        let tight = tight.ok_or_else(|| Error::step(self.name(), "no voxel is above 0 in any image"))?;
        let kept = match config.crop {
            CropKind::None => return Ok(Value::Null),
            CropKind::BoundingBox => tight,
            CropKind::Symmetric => tight.symmetric_in(grid.shape),
        };
        case.uncropped = Some(grid);
        case.crop_offset = kept.offset;
        case.label = case.label.take().map(|label| kept.cut(label));
        case.brain_mask = case.brain_mask.take().map(|mask| kept.cut(mask));
        case.map_images(|_, image| Ok((kept.cut(image), Value::Null)))?;
        Ok(json!({ "offset": kept.offset, "shape": kept.size, "from": grid.shape, "foreground": {
            "offset": tight.offset, "shape": tight.size,
        } }))
    }
}

impl VoxelBox {
    /// The smallest box that contains all voxels above 0, or `None` if there are none.
    pub fn of_foreground(image: &Volume) -> Option<Self> {
        let [nx, ny, _] = image.shape();
        let slabs = image.voxels().par_chunks((nx * ny).max(1)).enumerate();
        let boxes = slabs.filter_map(|(z, slab)| {
            // The first and last foreground voxels so far, along x and along y.
            let (mut x, mut y) = ((nx, 0), (ny, 0));
            for (row_y, row) in slab.chunks_exact(nx).enumerate() {
                // Counting is vectorised and searching is not, and most rows are all air or all tissue.
                if row.iter().filter(|v| **v > 0.0).count() == 0 {
                    continue;
                }
                y = (y.0.min(row_y), row_y);
                x.0 = row[..x.0].iter().position(|v| *v > 0.0).unwrap_or(x.0);
                x.1 = x.1 + row[x.1..].iter().rposition(|v| *v > 0.0).unwrap_or(0);
            }
            (x.0 < nx).then(|| Self { offset: [x.0, y.0, z], size: [x.1 - x.0 + 1, y.1 - y.0 + 1, 1] })
        });
        boxes.reduce_with(Self::union)
    }

    /// The smallest box that contains both.
    pub fn union(self, other: Self) -> Self {
        let end =
            |axis: usize| (self.offset[axis] + self.size[axis]).max(other.offset[axis] + other.size[axis]);
        let offset: [usize; 3] = std::array::from_fn(|axis| self.offset[axis].min(other.offset[axis]));
        Self { offset, size: std::array::from_fn(|axis| end(axis) - offset[axis]) }
    }

    /// The smallest box that contains this one and has the same centre as the volume: along each axis the smaller of
    /// the two margins is removed at both ends.
    pub fn symmetric_in(self, shape: [usize; 3]) -> Self {
        let margin = |axis: usize| self.offset[axis].min(shape[axis] - self.offset[axis] - self.size[axis]);
        let offset = std::array::from_fn(margin);
        Self { offset, size: std::array::from_fn(|axis| shape[axis] - 2 * offset[axis]) }
    }

    /// The voxels of the box, at their positions in the world.
    fn cut<T: Copy + Default + Send + Sync>(self, volume: Volume<T>) -> Volume<T> {
        let grid = *volume.grid();
        if self.size == grid.shape {
            return volume;
        }
        let mut rows = grid.affine.rows();
        let origin = grid.affine.to_world(self.offset.map(|o| o as f64));
        rows.iter_mut().zip(origin).for_each(|(row, place)| row[3] = place);
        let [nx, ny, _] = self.size;
        let mut voxels = vec![T::default(); self.size.iter().product()];
        voxels.par_chunks_mut(nx * ny).enumerate().for_each(|(z, slab)| {
            for (y, row) in slab.chunks_exact_mut(nx).enumerate() {
                let start = grid.offset([self.offset[0], self.offset[1] + y, self.offset[2] + z]);
                row.copy_from_slice(&volume.voxels()[start..start + nx]);
            }
        });
        Volume::new(Grid::new(self.size, Affine::from_rows(rows)), voxels)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A volume with the given voxels at 1 and one below 0.
    fn volume(shape: [usize; 3], foreground: &[[usize; 3]]) -> Volume {
        let grid = Grid::new(shape, Affine::from_spacing([1.0, 2.0, 3.0], [-5.0, 6.0, 7.0]));
        let mut voxels = vec![0.0; grid.len()];
        voxels[0] = -3.0;
        for voxel in foreground {
            voxels[grid.offset(*voxel)] = 1.0;
        }
        Volume::new(grid, voxels)
    }

    fn case() -> impl Strategy<Value = ([usize; 3], Vec<[usize; 3]>)> {
        let voxels = prop::collection::vec(prop::array::uniform3(0.0..1.0), 1..6);
        (prop::array::uniform3(1_usize..12), voxels).prop_map(|(shape, voxels)| {
            let place = |v: [f64; 3]| std::array::from_fn(|axis| (v[axis] * shape[axis] as f64) as usize);
            (shape, voxels.into_iter().map(place).collect())
        })
    }

    #[test]
    fn nothing_above_zero_has_no_box() {
        assert_eq!(VoxelBox::of_foreground(&volume([3, 4, 5], &[])), None);
    }

    proptest! {
        #[test]
        fn the_bounding_box_is_tight((shape, foreground) in case()) {
            let found = VoxelBox::of_foreground(&volume(shape, &foreground)).unwrap();
            for axis in 0..3 {
                let along = foreground.iter().map(|voxel| voxel[axis]);
                let (low, high) = (along.clone().min().unwrap(), along.max().unwrap());
                prop_assert_eq!((found.offset[axis], found.size[axis]), (low, high - low + 1));
            }
        }

        #[test]
        fn the_symmetric_box_keeps_the_centre_and_the_foreground((shape, foreground) in case()) {
            let tight = VoxelBox::of_foreground(&volume(shape, &foreground)).unwrap();
            let kept = tight.symmetric_in(shape);
            prop_assert_eq!(kept.union(tight), kept);
            for axis in 0..3 {
                // The centre stays where it is: the same amount is removed at both ends, which keeps the alignment with
                // the templates.
                prop_assert_eq!(2 * kept.offset[axis] + kept.size[axis], shape[axis]);
                prop_assert_eq!(kept.offset[axis], (shape[axis] - kept.size[axis]) / 2);
                let touches = kept.offset[axis] == tight.offset[axis]
                    || kept.offset[axis] + kept.size[axis] == tight.offset[axis] + tight.size[axis];
                prop_assert!(touches, "no larger than needed");
            }
        }

        #[test]
        fn a_cut_keeps_every_voxel_in_its_place((shape, foreground) in case()) {
            let whole = volume(shape, &foreground);
            let kept = VoxelBox::of_foreground(&whole).unwrap();
            let cut = kept.cut(whole.clone());
            for offset in 0..cut.grid().len() {
                let voxel = cut.grid().voxel(offset);
                let before: [usize; 3] = std::array::from_fn(|axis| voxel[axis] + kept.offset[axis]);
                prop_assert_eq!(cut.at(voxel), whole.at(before));
                let place = |grid: &Grid, v: [usize; 3]| grid.affine.to_world(v.map(|i| i as f64));
                prop_assert_eq!(place(cut.grid(), voxel), place(whole.grid(), before));
            }
        }
    }
}
