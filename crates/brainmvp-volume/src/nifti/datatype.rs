//! The voxel types, and voxels to and from bytes.

use rayon::prelude::*;

/// Voxels are converted in chunks of this many, several chunks at a time.
const PIECE: usize = 1 << 16;

/// A real-valued voxel type of the standard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Datatype {
    /// Unsigned 8-bit integer.
    U8,
    /// Signed 8-bit integer.
    I8,
    /// Unsigned 16-bit integer.
    U16,
    /// Signed 16-bit integer.
    I16,
    /// Unsigned 32-bit integer.
    U32,
    /// Signed 32-bit integer.
    I32,
    /// Unsigned 64-bit integer.
    U64,
    /// Signed 64-bit integer.
    I64,
    /// 32-bit float.
    #[default]
    F32,
    /// 64-bit float.
    F64,
}

/// Runs an expression with `$T` standing for the Rust type of a [`Datatype`].
macro_rules! with_type {
    ($datatype:expr, $T:ident => $body:expr) => {
        with_type!(@ $datatype, $T => $body,
            U8 u8, I8 i8, U16 u16, I16 i16, U32 u32, I32 i32, U64 u64, I64 i64, F32 f32, F64 f64)
    };
    (@ $datatype:expr, $T:ident => $body:expr, $($variant:ident $type:ty),*) => {
        match $datatype {
            $(Datatype::$variant => {
                type $T = $type;
                $body
            })*
        }
    };
}

#[allow(clippy::unnecessary_cast, reason = "of the types that T stands for, one is already the target")]
impl Datatype {
    /// Every type that is read and written.
    pub const ALL: [Self; 10] = [
        Self::U8,
        Self::I8,
        Self::U16,
        Self::I16,
        Self::U32,
        Self::I32,
        Self::U64,
        Self::I64,
        Self::F32,
        Self::F64,
    ];

    /// The type of a `datatype` code, or, for an unsupported code, the name of what it stands for.
    pub(super) fn from_code(code: i64) -> std::result::Result<Self, &'static str> {
        if let Some(datatype) = Self::ALL.into_iter().find(|datatype| datatype.code() == code) {
            return Ok(datatype);
        }
        Err(match code {
            1 => "1-bit binary voxels",
            32 => "complex64 voxels (two 32-bit floats)",
            128 => "RGB voxels (24-bit colour)",
            1536 => "float128 voxels",
            1792 => "complex128 voxels (two 64-bit floats)",
            2048 => "complex256 voxels (two 128-bit floats)",
            2304 => "RGBA voxels (32-bit colour)",
            _ => "voxels of an unknown type",
        })
    }

    /// The `datatype` code of the standard.
    pub(super) fn code(self) -> i64 {
        match self {
            Self::U8 => 2,
            Self::I16 => 4,
            Self::I32 => 8,
            Self::F32 => 16,
            Self::F64 => 64,
            Self::I8 => 256,
            Self::U16 => 512,
            Self::U32 => 768,
            Self::I64 => 1024,
            Self::U64 => 1280,
        }
    }

    /// Bytes of one voxel.
    pub fn size(self) -> usize {
        with_type!(self, T => size_of::<T>())
    }

    /// Smallest and largest value of an integer type, `None` for floats.
    pub(super) fn integer_range(self) -> Option<(f64, f64)> {
        match self {
            Self::F32 | Self::F64 => None,
            _ => Some(with_type!(self, T => (T::MIN as f64, T::MAX as f64))),
        }
    }

    /// Bytes to voxels, `value * slope + inter` (computed in f64) where a scaling is given.
    pub(crate) fn decode(self, bytes: &[u8], big_endian: bool, scaling: Option<(f64, f64)>) -> Vec<f32> {
        with_type!(self, T => {
            const SIZE: usize = size_of::<T>();
            match (big_endian, scaling) {
                (false, None) => pieces::<SIZE>(bytes, |raw| T::from_le_bytes(raw) as f32),
                (true, None) => pieces::<SIZE>(bytes, |raw| T::from_be_bytes(raw) as f32),
                (false, Some((slope, inter))) => {
                    pieces::<SIZE>(bytes, |raw| (T::from_le_bytes(raw) as f64 * slope + inter) as f32)
                }
                (true, Some((slope, inter))) => {
                    pieces::<SIZE>(bytes, |raw| (T::from_be_bytes(raw) as f64 * slope + inter) as f32)
                }
            }
        })
    }

    /// Voxels to little-endian bytes appended to `bytes`; integer types round and saturate.
    pub(super) fn encode(self, voxels: impl ExactSizeIterator<Item = f64>, bytes: &mut Vec<u8>) {
        bytes.reserve(voxels.len() * self.size());
        with_type!(self, T => {
            if self.integer_range().is_some() {
                voxels.for_each(|value| bytes.extend_from_slice(&(value.round_ties_even() as T).to_le_bytes()));
            } else {
                voxels.for_each(|value| bytes.extend_from_slice(&(value as T).to_le_bytes()));
            }
        });
    }
}

/// Converts every `SIZE` bytes to a voxel, in parallel.
fn pieces<const SIZE: usize>(bytes: &[u8], voxel: impl Fn([u8; SIZE]) -> f32 + Sync) -> Vec<f32> {
    let (raw, _) = bytes.as_chunks::<SIZE>();
    let mut voxels = vec![0.0; raw.len()];
    voxels.par_chunks_mut(PIECE).zip(raw.par_chunks(PIECE)).for_each(|(voxels, raw)| {
        for (to, from) in voxels.iter_mut().zip(raw) {
            *to = voxel(*from);
        }
    });
    voxels
}
