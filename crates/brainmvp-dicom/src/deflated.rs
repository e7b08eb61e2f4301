//! Files whose whole data set is deflated (DICOM PS3.5, A.5), unpacked before they are parsed.

use std::io::{self, Read, Seek, SeekFrom};

use dicom_dictionary_std::uids::DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN;

use crate::structure::PREAMBLE;

/// The transfer syntax of the unpacked data set, padded to the length of the other id.
const UNPACKED: &[u8; 22] = b"1.2.840.10008.1.2.1\0\0\0";

/// The file's own header: group length, then elements of a few hundred bytes.
const GROUP_LENGTH: [u8; 8] = [0x02, 0, 0, 0, b'U', b'L', 4, 0];
const LONGEST_HEADER: u32 = 1 << 16;

/// More than any deflated file of one image has. Several are unpacked at a time, whatever sizes they claim.
const LARGEST_BYTES: u64 = 1 << 28;

/// The whole file as it would be without deflating; `None` if it is not deflated. The reader may be at any position.
///
/// # Errors
/// Where the stream is damaged or cut off.
pub(crate) fn unpack(reader: &mut (impl Read + Seek)) -> io::Result<Option<Vec<u8>>> {
    reader.seek(SeekFrom::Start(0))?;
    let head_bytes = PREAMBLE + GROUP_LENGTH.len() as u64 + 4;
    let mut bytes = Vec::new();
    reader.by_ref().take(head_bytes).read_to_end(&mut bytes)?;
    let Some(group) = bytes.get(PREAMBLE as usize..) else { return Ok(None) };
    let Some(&[a, b, c, d]) = group.strip_prefix(&GROUP_LENGTH) else { return Ok(None) };
    let length = u32::from_le_bytes([a, b, c, d]);
    if length > LONGEST_HEADER {
        return Ok(None);
    }
    reader.by_ref().take(length.into()).read_to_end(&mut bytes)?;
    let id = DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN.as_bytes();
    let Some(place) = bytes.windows(id.len()).rposition(|window| window == id) else { return Ok(None) };
    bytes[place..place + id.len()].copy_from_slice(UNPACKED);
    let mut stream = flate2::read::DeflateDecoder::new(reader).take(LARGEST_BYTES);
    stream.read_to_end(&mut bytes)?;
    if stream.limit() == 0 {
        return Err(io::Error::other(format!("deflated, and more than {} MB unpacked", LARGEST_BYTES >> 20)));
    }
    Ok(Some(bytes))
}
