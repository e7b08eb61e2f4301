//! Damaged DICOM files: refused by name or read, within a second and little memory.

#![allow(clippy::unwrap_used, reason = "a failing test may panic")]

mod handmade;

use std::io::Write as _;
use std::path::Path;

use brainmvp_dicom::{ConvertOptions, SubjectKey, convert, scan};
use brainmvp_fuzz::{Memory, Place, Seed, fuzz};
use dicom_dictionary_std::uids;
use handmade::{SHAPE, Slices, fragments, stored};

#[global_allocator]
static MEMORY: brainmvp_fuzz::Counting = brainmvp_fuzz::Counting;

/// The parser keeps a few hundred bytes for each element of eight; the pixels of a slice become four bytes each.
const PLAIN: Memory = Memory { fixed: 1 << 20, for_each_byte: 64 };

/// What deflate can make of a file, 1032 times as much, is unpacked, and then parsed. Run lengths and blocks of JPEG become up to
/// 512 pixels a byte.
const PACKED: Memory = Memory { fixed: 4 << 20, for_each_byte: 4 * 1100 };

/// An image of 2^20 pixels may be nothing but its header.
const JPEG_2000: Memory = Memory { fixed: 64 << 20, for_each_byte: 1 << 16 };

/// So many slices of a series, and another one, which is damaged.
fn place(slices: &Slices, others: usize, pixels: Option<&[u8]>) -> (Place, Vec<u8>) {
    let place = Place::new("slice");
    let packed = |_: usize| pixels.map(|frame| fragments(vec![frame.to_vec()])).into_iter().collect();
    for z in 0..others {
        slices.write(place.folder(), z, packed(z));
    }
    let last = slices.write(place.folder(), 3, packed(3));
    let bytes = std::fs::read(&last).unwrap();
    std::fs::remove_file(last).unwrap();
    (place, bytes)
}

/// Every volume that can be placed, with what is said of it. The damaged file may be refused; the seed is not.
fn read(folder: &Path) -> Result<(), String> {
    let scan = scan(folder).map_err(|error| error.to_string())?;
    for series in &scan.series {
        let Ok(volumes) = series.volumes().map_err(|error| error.to_string()) else { continue };
        for volume in volumes {
            volume.read().map_err(|error| error.to_string())?;
            drop((volume.sidecar(), volume.is_derived()));
        }
    }
    scan.refused.first().map_or(Ok(()), |error| Err(error.to_string()))
}

/// The frame of slice 3, packed by run lengths.
fn rle() -> Vec<u8> {
    let values = (0..SHAPE[1]).flat_map(|row| (0..SHAPE[0]).map(move |column| stored(3, row, column) as u16));
    let values: Vec<u16> = values.collect();
    let literal = |shift: u32| {
        let bytes = values.iter().map(|value| (value >> shift) as u8);
        std::iter::once(values.len() as u8 - 1).chain(bytes).collect::<Vec<u8>>()
    };
    let (high, low) = (literal(8), literal(0));
    let mut header = [0_u32; 16];
    header[..3].copy_from_slice(&[2, 64, 64 + high.len() as u32]);
    header.iter().flat_map(|word| word.to_le_bytes()).chain(high).chain(low).collect()
}

#[test]
fn slices_of_every_encoding() {
    #[allow(deprecated, reason = "archives have it")]
    let big_endian = uids::EXPLICIT_VR_BIG_ENDIAN;
    let encodings = [
        ("explicit", uids::EXPLICIT_VR_LITTLE_ENDIAN, None, PLAIN),
        ("implicit", uids::IMPLICIT_VR_LITTLE_ENDIAN, None, PLAIN),
        ("big-endian", big_endian, None, PLAIN),
        ("RLE", uids::RLE_LOSSLESS, Some(rle()), PACKED),
        ("JPEG", uids::JPEG_LOSSLESS_SV1, Some(include_bytes!("data/lossless.jpg").to_vec()), PACKED),
        ("JPEG 2000", uids::JPEG2000_LOSSLESS, Some(include_bytes!("data/lossless.j2k").to_vec()), JPEG_2000),
    ];
    for (name, syntax, pixels, memory) in encodings {
        let (place, bytes) = place(&Slices { syntax, ..Slices::default() }, 0, pixels.as_deref());
        fuzz(&format!("DICOM ({name})"), &[Seed::new(bytes)], memory, |bytes| {
            place.holding(bytes);
            read(place.folder())
        });
    }
}

#[test]
fn packed_files() {
    let (place, bytes) = place(&Slices::default(), 0, None);
    let gzip = |bytes: Vec<u8>| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(&bytes).unwrap();
        encoder.finish().unwrap()
    };
    let seeds = [Seed::new(bytes.clone()).packed_by(gzip), Seed::new(gzip(bytes.clone()))];
    fuzz("DICOM (gzip)", &seeds, PACKED, |bytes| {
        place.holding(bytes);
        read(place.folder())
    });
    let (head, body) = deflatable(&bytes);
    let deflate = move |body: Vec<u8>| {
        let mut encoder = flate2::write::DeflateEncoder::new(head.clone(), flate2::Compression::fast());
        encoder.write_all(&body).unwrap();
        encoder.finish().unwrap()
    };
    let seeds = [Seed::new(deflate(body.clone())), Seed::new(body).packed_by(deflate)];
    fuzz("DICOM (deflated)", &seeds, PACKED, |bytes| {
        place.holding(bytes);
        read(place.folder())
    });
}

/// A plain file as the head of a deflated one, and its data set.
fn deflatable(plain: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let length = u32::from_le_bytes(plain[140..144].try_into().unwrap());
    let (head, body) = plain.split_at(144 + length as usize);
    let mut head = head.to_vec();
    let id = head.windows(20).position(|window| window == b"1.2.840.10008.1.2.1\0").unwrap();
    head.splice(id..id + 20, *b"1.2.840.10008.1.2.1.99");
    head[id - 2] = 22;
    head[140..144].copy_from_slice(&(length + 2).to_le_bytes());
    (head, body.to_vec())
}

/// An element after the pixels, which nothing needs, claims a gigabyte; an image of 8192 x 8192 has the pixels of a small one.
#[test]
fn what_a_header_claims_is_not_asked_for() {
    let (place, bytes) = place(&Slices::default(), 3, None);
    let claim = [&bytes[..], b"IJKLOB\0\0\0\0\0\x40more"].concat();
    let rows = bytes.windows(10).position(|window| window == b"\x28\0\x10\0US\x02\0\x04\0").unwrap();
    let mut large = bytes.clone();
    for at in [rows, rows + 10] {
        large[at + 8..at + 10].copy_from_slice(&8192_u16.to_le_bytes());
    }
    // A series of its own.
    let series = large.windows(8).rposition(|window| window == b"1.2.3.1\0").unwrap();
    large[series..series + 7].copy_from_slice(b"1.2.3.9");
    for (file, is_read) in [(claim, true), (large, false)] {
        place.holding(&file);
        let memory = brainmvp_fuzz::memory_of(|| assert_eq!(read(place.folder()).is_ok(), is_read));
        assert!(memory < 4 << 20, "{memory} bytes");
    }
}

/// Twenty-two bytes of numbers of four: the parser would read five of them, and the last two bytes as the next element, whose length
/// is then anything.
#[test]
fn numbers_end_where_their_element_does() {
    let slices = Slices { syntax: uids::IMPLICIT_VR_LITTLE_ENDIAN, ..Slices::default() };
    let (place, mut bytes) = place(&slices, 0, None);
    let image_type = bytes.windows(8).position(|window| window == b"\x08\0\x08\0\x16\0\0\0").unwrap();
    bytes[image_type + 2] = 0;
    place.holding(&bytes);
    let memory = brainmvp_fuzz::memory_of(|| {
        let message = read(place.folder()).unwrap_err();
        assert!(
            message.contains("(0008,0000) at byte 312 has 22 bytes, but its numbers have 4"),
            "{message}"
        );
    });
    assert!(memory < 1 << 20, "{memory} bytes");
}

/// The parser goes by the length that the file's header says it has. If that is too small, the rest of it is read as images would be.
#[test]
fn the_header_is_as_long_as_it_says() {
    let slices = Slices { syntax: uids::IMPLICIT_VR_LITTLE_ENDIAN, ..Slices::default() };
    let (place, mut bytes) = place(&slices, 0, None);
    bytes[140] = 0x50;
    place.holding(&bytes);
    let memory = brainmvp_fuzz::memory_of(|| {
        let message = read(place.folder()).unwrap_err();
        assert!(message.contains("its header ends at byte 312, but not by its own length"), "{message}");
    });
    assert!(memory < 1 << 20, "{memory} bytes");
}

/// To the parser, white space of any kind may end the id of the transfer syntax: this one is that of implicit types.
#[test]
fn white_space_ends_the_transfer_syntax() {
    let (place, mut bytes) = place(&Slices::default(), 0, None);
    let explicit = bytes.windows(20).position(|window| window == b"1.2.840.10008.1.2.1\0").unwrap();
    for white in [b"\x0c\x0c\x0c", b"\t\n\xa0", b"\x85\x0b\0"] {
        bytes[explicit + 17..explicit + 20].copy_from_slice(white);
        place.holding(&bytes);
        let memory = brainmvp_fuzz::memory_of(|| {
            let message = read(place.folder()).unwrap_err();
            assert!(message.contains("(0008,0008)"), "{message}");
        });
        assert!(memory < 1 << 20, "{memory} bytes");
    }
}

/// As `convert` writes them: BIDS beside a key.
#[test]
fn conversion() {
    let (place, bytes) = place(&Slices::default(), 3, None);
    let out = Place::new("out");
    let to = out.folder().join("bids");
    fuzz("DICOM (conversion)", &[Seed::new(bytes)], PLAIN, |bytes| {
        place.holding(bytes);
        let scan = scan(place.folder()).map_err(|error| error.to_string())?;
        let mut failed = Ok(());
        let written =
            convert(&scan, &to, &ConvertOptions::default(), &mut SubjectKey::default(), &mut |told| {
                if let Some(reason) = told.failed {
                    failed = Err(reason);
                }
            });
        std::fs::remove_dir_all(&to).unwrap();
        written.map_err(|error| error.to_string()).and(failed)
    });
}

#[test]
fn keys_of_subjects() {
    let key = "subject\tsession\tPatientID\tStudyInstanceUID\n1\t1\tP-77\t1.2.9\n1\t2\tP-77\t1.2.10\n2\t1\tP 8\t1.2.11\n";
    let place = Place::new("key.tsv");
    let text = Memory { fixed: 64 << 10, for_each_byte: 64 };
    fuzz("key of convert (.tsv)", &[Seed::new(key)], text, |bytes| {
        let mut key = SubjectKey::load(place.holding(bytes)).map_err(|error| error.to_string())?;
        key.number("another", "1.2.12");
        Ok(())
    });
    let last = format!("subject\tsession\tPatientID\tStudyInstanceUID\n{}\t1\tP\t1.2\n", usize::MAX);
    let message = SubjectKey::load(place.holding(last.as_bytes())).unwrap_err().to_string();
    assert!(message.contains("no number up to"), "{message}");
}
