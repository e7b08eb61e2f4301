//! Where the fields of a header are, as data: one table per version, used for reading and writing.

/// How a number is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    U8,
    I16,
    I32,
    I64,
    F32,
    F64,
}

impl Kind {
    fn size(self) -> usize {
        match self {
            Self::U8 => 1,
            Self::I16 => 2,
            Self::I32 | Self::F32 => 4,
            Self::I64 | Self::F64 => 8,
        }
    }
}

/// A number, or the first of several, at a byte offset.
#[derive(Debug, Clone, Copy)]
pub(super) struct Field {
    offset: usize,
    kind: Kind,
}

const fn at(offset: usize, kind: Kind) -> Field {
    Field { offset, kind }
}

/// The fields that are read or written; names as in `nifti1.h`.
#[derive(Debug)]
pub(super) struct Layout {
    /// Size of the header in bytes, which is also its first field.
    pub(super) size: usize,
    /// Where the magic is, and its value in a single file and in a pair.
    pub(super) magic: usize,
    pub(super) magic_single: &'static [u8],
    pub(super) magic_pair: &'static [u8],
    pub(super) dim: Field,
    pub(super) datatype: Field,
    pub(super) bitpix: Field,
    pub(super) pixdim: Field,
    pub(super) vox_offset: Field,
    pub(super) scl_slope: Field,
    pub(super) scl_inter: Field,
    pub(super) xyzt_units: Field,
    /// Free text of 80 bytes.
    pub(super) descrip: usize,
    pub(super) qform_code: Field,
    pub(super) sform_code: Field,
    pub(super) quatern_b: Field,
    pub(super) qoffset_x: Field,
    pub(super) srow_x: Field,
}

pub(super) const SIZE_OF_HDR: Field = at(0, Kind::I32);

/// Length of the description field in bytes.
pub(super) const DESCRIP_LEN: usize = 80;

pub(super) const NIFTI_1: Layout = Layout {
    size: 348,
    magic: 344,
    magic_single: b"n+1\0",
    magic_pair: b"ni1\0",
    dim: at(40, Kind::I16),
    datatype: at(70, Kind::I16),
    bitpix: at(72, Kind::I16),
    pixdim: at(76, Kind::F32),
    vox_offset: at(108, Kind::F32),
    scl_slope: at(112, Kind::F32),
    scl_inter: at(116, Kind::F32),
    xyzt_units: at(123, Kind::U8),
    descrip: 148,
    qform_code: at(252, Kind::I16),
    sform_code: at(254, Kind::I16),
    quatern_b: at(256, Kind::F32),
    qoffset_x: at(268, Kind::F32),
    srow_x: at(280, Kind::F32),
};

pub(super) const NIFTI_2: Layout = Layout {
    size: 540,
    magic: 4,
    magic_single: b"n+2\0\r\n\x1a\n",
    magic_pair: b"ni2\0\r\n\x1a\n",
    dim: at(16, Kind::I64),
    datatype: at(12, Kind::I16),
    bitpix: at(14, Kind::I16),
    pixdim: at(104, Kind::F64),
    vox_offset: at(168, Kind::I64),
    scl_slope: at(176, Kind::F64),
    scl_inter: at(184, Kind::F64),
    xyzt_units: at(500, Kind::I32),
    descrip: 240,
    qform_code: at(344, Kind::I32),
    sform_code: at(348, Kind::I32),
    quatern_b: at(352, Kind::F64),
    qoffset_x: at(376, Kind::F64),
    srow_x: at(400, Kind::F64),
};

/// The bytes of a header, and their order.
pub(super) struct Fields<B> {
    pub(super) bytes: B,
    pub(super) big_endian: bool,
}

impl<B: AsRef<[u8]>> Fields<B> {
    /// The `index`th integer of a field; a float is truncated. Bytes past the end read as zero.
    pub(super) fn integer(&self, field: Field, index: usize) -> i64 {
        match field.kind {
            Kind::U8 => self.raw::<1>(field, index)[0].into(),
            Kind::I16 => i16::from_le_bytes(self.raw(field, index)).into(),
            Kind::I32 => i32::from_le_bytes(self.raw(field, index)).into(),
            Kind::I64 => i64::from_le_bytes(self.raw(field, index)),
            Kind::F32 | Kind::F64 => self.float(field, index) as i64,
        }
    }

    /// The `index`th number of a field.
    pub(super) fn float(&self, field: Field, index: usize) -> f64 {
        match field.kind {
            Kind::F32 => f32::from_le_bytes(self.raw(field, index)).into(),
            Kind::F64 => f64::from_le_bytes(self.raw(field, index)),
            _ => self.integer(field, index) as f64,
        }
    }

    /// Consecutive numbers of a field.
    pub(super) fn floats<const N: usize>(&self, field: Field, first: usize) -> [f64; N] {
        std::array::from_fn(|index| self.float(field, first + index))
    }

    /// The bytes of one number, the lowest first.
    fn raw<const N: usize>(&self, field: Field, index: usize) -> [u8; N] {
        debug_assert_eq!(N, field.kind.size());
        let start = field.offset + index * N;
        let mut raw = [0; N];
        if let Some(bytes) = self.bytes.as_ref().get(start..start + N) {
            raw.copy_from_slice(bytes);
        }
        if self.big_endian {
            raw.reverse();
        }
        raw
    }
}

impl Fields<Vec<u8>> {
    /// Stores numbers, little endian, starting at the `first`th of a field.
    pub(super) fn set(&mut self, field: Field, first: usize, values: &[f64]) {
        for (index, value) in values.iter().enumerate() {
            let bytes: &[u8] = match field.kind {
                Kind::U8 => &[*value as u8],
                Kind::I16 => &(*value as i16).to_le_bytes(),
                Kind::I32 => &(*value as i32).to_le_bytes(),
                Kind::I64 => &(*value as i64).to_le_bytes(),
                Kind::F32 => &(*value as f32).to_le_bytes(),
                Kind::F64 => &value.to_le_bytes(),
            };
            let start = field.offset + (first + index) * bytes.len();
            self.bytes[start..start + bytes.len()].copy_from_slice(bytes);
        }
    }
}
