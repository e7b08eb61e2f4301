//! RLE Lossless (DICOM PS3.5, annex G): the bytes of the pixels, highest first, each form a run-length encoded segment.
//!
//! Our own decoder, because a damaged frame must be an error: that of the DICOM library indexes past its end.

/// Unpacks a frame of `pixels` values of `bytes` bytes each into little-endian order.
///
/// # Errors
/// Where the number of segments is not that of the bytes, or segments lie outside the frame or are too short.
pub(crate) fn unpack(frame: &[u8], pixels: usize, bytes: usize) -> Result<Vec<u8>, String> {
    let word = |index: usize| {
        let at = frame.get(4 * index..4 * index + 4)?;
        Some(u32::from_le_bytes(at.try_into().ok()?) as usize)
    };
    let segments = word(0).ok_or("the RLE header is cut off")?;
    if segments != bytes {
        return Err(format!("{segments} RLE segments, where {bytes} are expected"));
    }
    // A run of 128 takes two bytes, so there cannot be more pixels than that.
    if pixels > frame.len().saturating_mul(64) {
        return Err("the RLE segments are too short for the image".to_owned());
    }
    let mut unpacked = vec![0; pixels * bytes];
    for segment in 0..segments {
        let start = word(1 + segment).ok_or("the RLE header is cut off")?;
        let end = if segment + 1 < segments { word(2 + segment) } else { Some(frame.len()) };
        let packed =
            end.and_then(|end| frame.get(start..end)).ok_or("an RLE segment lies outside the frame")?;
        let place = bytes - 1 - segment;
        unpack_segment(packed, unpacked.iter_mut().skip(place).step_by(bytes))
            .ok_or("an RLE segment is cut off")?;
    }
    Ok(unpacked)
}

/// Fills `places` from runs; `None` if there are too few values. Excess values of the last run are padding.
fn unpack_segment<'a>(packed: &[u8], mut places: impl ExactSizeIterator<Item = &'a mut u8>) -> Option<()> {
    let mut rest = packed;
    while places.len() > 0 {
        let (&control, after) = rest.split_first()?;
        let control = control.cast_signed();
        if control >= 0 {
            let count = usize::from(control.unsigned_abs()) + 1;
            let wanted = count.min(places.len());
            let (values, after) = after.split_at_checked(count).or_else(|| after.split_at_checked(wanted))?;
            values.iter().zip(&mut places).for_each(|(value, place)| *place = *value);
            rest = after;
        } else if control != i8::MIN {
            let (&value, after) = after.split_first()?;
            let count = usize::from(control.unsigned_abs()) + 1;
            (&mut places).take(count).for_each(|place| *place = value);
            rest = after;
        } else {
            rest = after;
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Packs by literal runs and repeats as they come.
    pub(crate) fn pack(values: &[u8]) -> Vec<u8> {
        let mut packed = Vec::new();
        for same in values.chunk_by(|a, b| a == b) {
            for run in same.chunks(128) {
                match run.len() {
                    1 => packed.extend([0, run[0]]),
                    n => packed.extend([(1 - n as i16) as u8, run[0]]),
                }
            }
        }
        packed
    }

    fn frame(values: &[u16]) -> Vec<u8> {
        let [high, low] =
            [8, 0].map(|shift| pack(&values.iter().map(|v| (v >> shift) as u8).collect::<Vec<_>>()));
        let mut words = [0_u32; 16];
        words[..3].copy_from_slice(&[2, 64, 64 + high.len() as u32]);
        words.iter().flat_map(|word| word.to_le_bytes()).chain(high).chain(low).collect()
    }

    proptest! {
        #[test]
        fn what_is_packed_is_unpacked(values in prop::collection::vec(prop_oneof![Just(7_u16), any::<u16>()], 1..400)) {
            let expected: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
            prop_assert_eq!(unpack(&frame(&values), values.len(), 2), Ok(expected));
        }

        #[test]
        fn damage_never_panics(values in prop::collection::vec(any::<u16>(), 1..40), cut in any::<prop::sample::Index>(),
                               at in any::<prop::sample::Index>(), flip in any::<u8>(), pixels in 0_usize..1000) {
            let mut bytes = frame(&values);
            let at = at.index(bytes.len());
            bytes[at] ^= flip;
            bytes.truncate(cut.index(bytes.len() + 1));
            if let Ok(unpacked) = unpack(&bytes, pixels, 2) {
                prop_assert_eq!(unpacked.len(), 2 * pixels);
            }
        }
    }
}
