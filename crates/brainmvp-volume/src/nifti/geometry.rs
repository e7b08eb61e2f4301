//! The placement fields of a header, kept as they are so that another file can repeat them.

use super::layout::{Fields, Layout};

/// The fields that place a file's voxels: codes, quaternion, matrix, voxel sizes and their unit, as its header has
/// them. A file written with them ([`super::WriteOptions::geometry`]) is placed exactly like that file, in any program.
#[derive(Debug, Clone, PartialEq)]
pub struct Geometry {
    version: u8,
    /// The spatial part of `xyzt_units`.
    units: i64,
    /// `qfac` and the voxel sizes.
    pixdim: [f64; 4],
    qform_code: i64,
    sform_code: i64,
    quatern_bcd: [f64; 3],
    qoffset_xyz: [f64; 3],
    /// `srow_x`, `srow_y`, `srow_z`.
    srows: [f64; 12],
}

impl Geometry {
    pub(super) fn of<B: AsRef<[u8]>>(fields: &Fields<B>, layout: &Layout, version: u8) -> Self {
        Self {
            version,
            units: fields.integer(layout.xyzt_units, 0) & 7,
            pixdim: fields.floats(layout.pixdim, 0),
            qform_code: fields.integer(layout.qform_code, 0),
            sform_code: fields.integer(layout.sform_code, 0),
            quatern_bcd: fields.floats(layout.quatern_b, 0),
            qoffset_xyz: fields.floats(layout.qoffset_x, 0),
            srows: fields.floats(layout.srow_x, 0),
        }
    }

    /// 1 or 2: NIfTI-1 or NIfTI-2, which decides the precision of the numbers.
    pub(super) fn version(&self) -> u8 {
        self.version
    }

    /// `qform_code` and `sform_code`.
    pub fn codes(&self) -> [i64; 2] {
        [self.qform_code, self.sform_code]
    }

    pub(super) fn put(&self, header: &mut Fields<Vec<u8>>, layout: &Layout) {
        header.set(layout.xyzt_units, 0, &[self.units as f64]);
        header.set(layout.pixdim, 0, &self.pixdim);
        header.set(layout.pixdim, 4, &[1.0; 4]);
        header.set(layout.qform_code, 0, &[self.qform_code as f64]);
        header.set(layout.sform_code, 0, &[self.sform_code as f64]);
        header.set(layout.quatern_b, 0, &self.quatern_bcd);
        header.set(layout.qoffset_x, 0, &self.qoffset_xyz);
        header.set(layout.srow_x, 0, &self.srows);
    }
}
