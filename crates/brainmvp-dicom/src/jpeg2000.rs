//! Pixels compressed as JPEG 2000 (ISO/IEC 15444-1), in one codestream per frame (DICOM PS3.5, A.4.4).

use hayro_jpeg2000::{ComponentData, DecodeSettings, DecoderContext, Image};

/// A codestream begins with these markers; the byte at [`SSIZ`] has the precision of its first component, and its sign.
const START: [u8; 4] = [0xFF, 0x4F, 0xFF, 0x51];
const CSIZ: usize = 40;
const SSIZ: usize = 42;

/// An image without any content may take a few bytes whatever its size. One that is larger than those of scanners
/// must have some.
const ALWAYS_PIXELS: usize = 1 << 20;
const PIXELS_OF_A_BYTE: usize = 2048;

/// The values of an image of one component, row after row from the top.
///
/// # Errors
/// Where the codestream is damaged, cut off, or of another size.
pub(crate) fn unpack(bytes: &[u8], columns: usize, rows: usize) -> Result<Vec<i32>, String> {
    let refuse = |error: hayro_jpeg2000::DecodeError| format!("JPEG 2000: {error}");
    if !bytes.starts_with(&START) {
        return Err("JPEG 2000: no codestream".to_owned());
    }
    let Some(&[high, low, ssiz]) = bytes.get(CSIZ..=SSIZ) else {
        return Err("JPEG 2000: the codestream is cut off".to_owned());
    };
    let components = u16::from_be_bytes([high, low]);
    if components != 1 {
        return Err(format!("JPEG 2000: {components} components, where grey values are expected"));
    }
    let settings = DecodeSettings { strict: true, ..DecodeSettings::default() };
    let image = Image::new(bytes, &settings).map_err(refuse)?;
    // Before any memory is allocated for it.
    let (width, height) = (image.width() as usize, image.height() as usize);
    if (width, height) != (columns, rows) {
        return Err(format!("JPEG 2000: {width} x {height} pixels, where {columns} x {rows} are expected"));
    }
    if columns * rows > ALWAYS_PIXELS.max(bytes.len().saturating_mul(PIXELS_OF_A_BYTE)) {
        return Err("JPEG 2000: the codestream is too short for the image".to_owned());
    }
    let mut context = DecoderContext::default();
    let decoded = image.decode(&mut context).map_err(refuse)?;
    let samples = decoded.components().first().map(ComponentData::samples).unwrap_or_default();
    if samples.len() != columns * rows {
        return Err("JPEG 2000: the image is cut off".to_owned());
    }
    // The decoder treats every component as unsigned and adds half the range. Lossy compression may overshoot the
    // range, which must be clipped (ISO/IEC 15444-1, annex G.1.2); the decoder leaves that to us.
    let half = f64::from(ssiz & 0x7F).exp2();
    let added = if ssiz & 0x80 == 0 { 0.0 } else { half };
    let value = |sample: &f32| (f64::from(*sample).round().clamp(0.0, 2.0 * half - 1.0) - added) as i32;
    Ok(samples.iter().map(value).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A white disc (4095, 12 bits) on black, compressed with loss by another program: it overshoots both ends of the
    /// range.
    #[test]
    fn what_rings_beyond_the_range_is_cut_off() {
        let (columns, rows) = (40, 48);
        let values = unpack(include_bytes!("../tests/data/lossy.j2k"), columns, rows).unwrap();
        for (place, value) in values.into_iter().enumerate() {
            let (x, y) = ((place % columns) as i32 - 20, (place / columns) as i32 - 24);
            let expected = if x * x + y * y < 14 * 14 { 4095 } else { 0 };
            assert!((0..=4095).contains(&value) && (value - expected).abs() <= 200, "{x} {y}: {value}");
        }
    }
}
