//! Decodes the pixels of a file.

use std::borrow::Cow;
use std::path::Path;

use dicom_core::value::Value;
use dicom_dictionary_std::{tags, uids};
use dicom_object::InMemDicomObject;

use crate::structure::EXPLICIT_BIG_ENDIAN;
use crate::{Error, Result, attributes, jpeg2000, rle};

/// How the pixels of a file are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PixelFormat {
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    /// Bytes per pixel: 1, 2 or 4.
    bytes: usize,
    /// The number of bits in use, and the highest of them.
    bits_stored: u32,
    high_bit: u32,
    signed: bool,
    packing: Packing,
}

/// How frames are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Packing {
    None,
    Rle,
    Jpeg,
    Jpeg2000,
}

/// Families of transfer syntaxes that messages call by name, by the beginning of their ids.
const NOT_READ: [(&str, &str); 5] = [
    ("1.2.840.10008.1.2.4.8", "JPEG-LS"),
    ("1.2.840.10008.1.2.4.9", "multi-component JPEG 2000"),
    ("1.2.840.10008.1.2.4.11", "JPEG XL"),
    ("1.2.840.10008.1.2.4.20", "high-throughput JPEG 2000"),
    ("1.2.840.10008.1.2.4.10", "video"),
];

/// No scanner makes larger images.
const LARGEST_SIDE: usize = 8192;

impl PixelFormat {
    /// The format; `None` if the file has no image, a reason if it is of an unsupported kind.
    pub(crate) fn of(
        root: &InMemDicomObject,
        transfer_syntax: &str,
    ) -> Option<std::result::Result<Self, String>> {
        let rows = attributes::count(root, tags::ROWS)?;
        let columns = attributes::count(root, tags::COLUMNS)?;
        Some(Self::with_shape(root, transfer_syntax, rows, columns))
    }

    fn with_shape(
        root: &InMemDicomObject,
        transfer_syntax: &str,
        rows: usize,
        columns: usize,
    ) -> std::result::Result<Self, String> {
        let count = |tag| attributes::count(root, tag);
        if !(1..=LARGEST_SIDE).contains(&rows) || !(1..=LARGEST_SIDE).contains(&columns) {
            return Err(format!("an image of {columns} x {rows} pixels"));
        }
        if let Some(samples @ 2..) = count(tags::SAMPLES_PER_PIXEL) {
            return Err(format!("a colour image ({samples} samples per pixel), such as a report or overlay"));
        }
        let allocated = count(tags::BITS_ALLOCATED).unwrap_or(0);
        let bytes = match allocated {
            8 | 16 | 32 => allocated / 8,
            other => return Err(format!("pixels of {other} bits; 8, 16 and 32 are supported")),
        };
        let bits_stored = attributes::stated_count(root, tags::BITS_STORED, "BitsStored")?;
        let bits_stored = bits_stored.unwrap_or(allocated);
        let high_bit = attributes::stated_count(root, tags::HIGH_BIT, "HighBit")?;
        let high_bit = high_bit.unwrap_or(bits_stored.saturating_sub(1));
        if bits_stored == 0 || high_bit >= allocated || high_bit + 1 < bits_stored {
            return Err(format!(
                "{bits_stored} bits up to bit {high_bit} of {allocated}, which is impossible"
            ));
        }
        Ok(Self {
            rows,
            columns,
            bytes,
            bits_stored: bits_stored as u32,
            high_bit: high_bit as u32,
            signed: count(tags::PIXEL_REPRESENTATION) == Some(1),
            packing: Packing::of(transfer_syntax.trim_end_matches(['\0', ' ']))?,
        })
    }

    fn pixels(&self) -> usize {
        self.rows * self.columns
    }

    /// The values of some frames, each row after row from the top, in the order asked for.
    ///
    /// # Errors
    /// Where the data is short or damaged.
    pub(crate) fn decode(
        &self,
        object: &InMemDicomObject,
        frame_count: usize,
        frames: &[usize],
        path: &Path,
    ) -> Result<Vec<Vec<f32>>> {
        let element = object.get(tags::PIXEL_DATA);
        let value = element.ok_or_else(|| Error::malformed(path, "the image has no pixels"))?.value();
        let packed = match (value, self.packing) {
            (Value::Primitive(bytes), Packing::None) => Packed::Whole(bytes.to_bytes()),
            (Value::PixelSequence(sequence), Packing::Rle | Packing::Jpeg | Packing::Jpeg2000) => {
                Packed::Frames(
                    split_fragments(sequence.fragments(), sequence.offset_table(), frame_count).ok_or_else(
                        || Error::malformed(path, "fragments of pixels cannot be assigned to frames"),
                    )?,
                )
            }
            _ => {
                return Err(Error::malformed(
                    path,
                    "the pixels are not stored as the transfer syntax requires",
                ));
            }
        };
        let decode = |frame: &usize| {
            self.frame(&packed, *frame).map_err(|reason| {
                Error::malformed(
                    path,
                    if frame_count > 1 { format!("frame {}: {reason}", frame + 1) } else { reason },
                )
            })
        };
        frames.iter().map(decode).collect()
    }

    fn frame(&self, packed: &Packed<'_>, frame: usize) -> std::result::Result<Vec<f32>, String> {
        let bytes: Cow<'_, [u8]> = match packed {
            Packed::Whole(bytes) => {
                let length = self.pixels() * self.bytes;
                let found = bytes.get(frame * length..(frame + 1) * length);
                found.ok_or_else(|| format!("truncated: {length} bytes of pixels are missing"))?.into()
            }
            Packed::Frames(frames) => {
                let bytes = frames.get(frame).ok_or("truncated: its pixels are missing")?;
                match self.packing {
                    Packing::Rle => rle::unpack(bytes, self.pixels(), self.bytes)?.into(),
                    Packing::Jpeg2000 => {
                        self.packed(jpeg2000::unpack(bytes, self.columns, self.rows)?.into_iter()).into()
                    }
                    _ => self.unpack_jpeg(bytes)?.into(),
                }
            }
        };
        Ok(bytes.chunks_exact(self.bytes).map(|pixel| self.value(pixel)).collect())
    }

    /// The value of the bits in use, with their sign.
    fn value(&self, pixel: &[u8]) -> f32 {
        let raw = pixel.iter().rev().fold(0_u32, |value, byte| value << 8 | u32::from(*byte));
        // The highest bit in use is moved to the top, so that shifting back extends the sign.
        let top = raw << (31 - self.high_bit);
        let unused = 32 - self.bits_stored;
        if self.signed { (top.cast_signed() >> unused) as f32 } else { (top >> unused) as f32 }
    }

    fn unpack_jpeg(&self, bytes: &[u8]) -> std::result::Result<Vec<u8>, String> {
        use jpeg_decoder::PixelFormat::{L8, L16};
        let refuse = |error: jpeg_decoder::Error| match error {
            jpeg_decoder::Error::Unsupported(feature) => {
                format!("unsupported kind of JPEG ({feature:?}); convert it with dcm2niix")
            }
            other => format!("JPEG: {}", other.to_string().trim_end_matches('.')),
        };
        // A block of 64 pixels takes a bit at least.
        if self.pixels() > bytes.len().saturating_mul(512) {
            return Err("JPEG: the data is too short for the image".to_owned());
        }
        let mut decoder = jpeg_decoder::Decoder::new(bytes);
        decoder.read_info().map_err(refuse)?;
        let info = decoder.info().ok_or("JPEG: no image")?;
        // Before any memory is allocated for it.
        if (usize::from(info.width), usize::from(info.height)) != (self.columns, self.rows) {
            let (width, height) = (info.width, info.height);
            return Err(format!(
                "JPEG: {width} x {height} pixels, where {} x {} are expected",
                self.columns, self.rows
            ));
        }
        let pixels = decoder.decode().map_err(refuse)?;
        let values: Vec<u32> = match info.pixel_format {
            L8 => pixels.iter().map(|byte| u32::from(*byte)).collect(),
            L16 => {
                pixels.chunks_exact(2).map(|two| u32::from(u16::from_ne_bytes([two[0], two[1]]))).collect()
            }
            other => return Err(format!("JPEG: {other:?}, where grey values are expected")),
        };
        if values.len() != self.pixels() {
            return Err("JPEG: the image is cut off".to_owned());
        }
        Ok(self.packed(values.into_iter().map(u32::cast_signed)))
    }

    /// Values as the bytes of uncompressed pixels.
    fn packed(&self, values: impl Iterator<Item = i32>) -> Vec<u8> {
        values.flat_map(|value| value.to_le_bytes().into_iter().take(self.bytes)).collect()
    }
}

impl Packing {
    fn of(transfer_syntax: &str) -> std::result::Result<Self, String> {
        match transfer_syntax {
            uids::IMPLICIT_VR_LITTLE_ENDIAN | uids::EXPLICIT_VR_LITTLE_ENDIAN | EXPLICIT_BIG_ENDIAN => {
                Ok(Self::None)
            }
            uids::RLE_LOSSLESS => Ok(Self::Rle),
            uids::JPEG_BASELINE8_BIT
            | uids::JPEG_EXTENDED12_BIT
            | uids::JPEG_LOSSLESS
            | uids::JPEG_LOSSLESS_SV1 => Ok(Self::Jpeg),
            uids::JPEG2000_LOSSLESS | uids::JPEG2000 => Ok(Self::Jpeg2000),
            other => {
                let family = NOT_READ.iter().find(|(start, _)| other.starts_with(start));
                let name = family.map_or(other, |(_, name)| name);
                Err(format!(
                    "pixels compressed as {name}; decompress them first (`gdcmconv --raw`), or use dcm2niix"
                ))
            }
        }
    }
}

/// The pixels as they are in the file.
enum Packed<'a> {
    Whole(Cow<'a, [u8]>),
    Frames(Vec<Cow<'a, [u8]>>),
}

/// The joined fragments of each frame, or `None` if they cannot be assigned to frames (PS3.5, annex A.4).
fn split_fragments<'a>(
    fragments: &'a [Vec<u8>],
    offsets: &[u32],
    frames: usize,
) -> Option<Vec<Cow<'a, [u8]>>> {
    if frames == 1 {
        return Some(vec![match fragments {
            [one] => one.into(),
            several => several.concat().into(),
        }]);
    }
    if fragments.len() == frames {
        return Some(fragments.iter().map(Into::into).collect());
    }
    if offsets.len() != frames {
        return None;
    }
    // Offsets count from the first fragment, each of which has a header of eight bytes.
    let mut starts = Vec::with_capacity(fragments.len());
    let mut at = 0_u64;
    for fragment in fragments {
        starts.push(at);
        at += 8 + fragment.len() as u64;
    }
    let first_of = |offset: &u32| starts.binary_search(&u64::from(*offset)).ok();
    let firsts: Vec<usize> = offsets.iter().map(first_of).collect::<Option<_>>()?;
    let ends = firsts.iter().skip(1).copied().chain([fragments.len()]);
    firsts.iter().zip(ends).map(|(first, end)| Some(fragments.get(*first..end)?.concat().into())).collect()
}
