//! NIfTI bytes made by hand, with the offsets of `nifti1.h` and `nifti2.h` written out independently.

#![allow(dead_code, reason = "each test file uses some of the fields")]

/// A header under construction.
#[derive(Clone)]
pub(crate) struct Handmade {
    pub(crate) version: u8,
    pub(crate) big_endian: bool,
    pub(crate) bytes: Vec<u8>,
}

/// Offsets in NIfTI-1 and NIfTI-2, and the widths of the numbers there.
type Place = [(usize, char); 2];

pub(crate) const DIM: Place = [(40, 's'), (16, 'q')];
pub(crate) const DATATYPE: Place = [(70, 's'), (12, 's')];
pub(crate) const PIXDIM: Place = [(76, 'f'), (104, 'd')];
pub(crate) const VOX_OFFSET: Place = [(108, 'f'), (168, 'q')];
pub(crate) const SCL_SLOPE: Place = [(112, 'f'), (176, 'd')];
pub(crate) const SCL_INTER: Place = [(116, 'f'), (184, 'd')];
pub(crate) const XYZT_UNITS: Place = [(123, 'b'), (500, 'i')];
pub(crate) const QFORM_CODE: Place = [(252, 's'), (344, 'i')];
pub(crate) const SFORM_CODE: Place = [(254, 's'), (348, 'i')];
pub(crate) const QUATERN_B: Place = [(256, 'f'), (352, 'd')];
pub(crate) const QOFFSET_X: Place = [(268, 'f'), (376, 'd')];
pub(crate) const SROW_X: Place = [(280, 'f'), (400, 'd')];

impl Handmade {
    /// A header of a single file with the given `dim` and `datatype`; the voxels are to be appended.
    pub(crate) fn new(version: u8, big_endian: bool, dim: &[f64], datatype: i16) -> Self {
        let size = if version == 1 { 348 } else { 540 };
        let mut made = Self { version, big_endian, bytes: vec![0; size + 4] };
        made.put(0, 'i', size as f64);
        let magic: (usize, &[u8]) = if version == 1 { (344, b"n+1\0") } else { (4, b"n+2\0\r\n\x1a\n") };
        made.bytes[magic.0..magic.0 + magic.1.len()].copy_from_slice(magic.1);
        made.set(DIM, dim).set(DATATYPE, &[f64::from(datatype)]).set(VOX_OFFSET, &[(size + 4) as f64]);
        made.set(PIXDIM, &[1.0; 8]);
        made
    }

    pub(crate) fn set(&mut self, place: Place, values: &[f64]) -> &mut Self {
        let (mut offset, kind) = place[usize::from(self.version - 1)];
        for value in values {
            offset += self.put(offset, kind, *value);
        }
        self
    }

    fn put(&mut self, offset: usize, kind: char, value: f64) -> usize {
        let mut raw = match kind {
            'b' => vec![value as u8],
            's' => (value as i16).to_be_bytes().to_vec(),
            'i' => (value as i32).to_be_bytes().to_vec(),
            'q' => (value as i64).to_be_bytes().to_vec(),
            'f' => (value as f32).to_be_bytes().to_vec(),
            'd' => value.to_be_bytes().to_vec(),
            _ => unreachable!(),
        };
        if !self.big_endian {
            raw.reverse();
        }
        self.bytes[offset..offset + raw.len()].copy_from_slice(&raw);
        raw.len()
    }
}
