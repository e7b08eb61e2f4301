//! Pixels and files compressed in every way, and damaged ones.

#![allow(clippy::unwrap_used)]

mod handmade;

use std::path::Path;

use brainmvp_dicom::{Scan, Series, holds_dicom, scan};
use brainmvp_golden::test_data;
use dicom_core::{DataElement, PrimitiveValue, VR};
use dicom_dictionary_std::{tags, uids};
use handmade::{SHAPE, Slices, fragments, stored, text};
use proptest::prelude::*;
use tempfile::tempdir;

fn only_series(folder: &Path) -> Series {
    let Scan { mut series, refused, .. } = scan(folder).unwrap();
    assert_eq!((series.len(), refused.len()), (1, 0), "{refused:?}");
    series.remove(0)
}

#[test]
fn rle_frames_are_unpacked() {
    let slices = Slices { syntax: uids::RLE_LOSSLESS, ..Slices::default() };
    let folder = tempdir().unwrap();
    for z in 0..5 {
        let values =
            (0..SHAPE[1]).flat_map(|row| (0..SHAPE[0]).map(move |column| stored(z, row, column) as u16));
        let values: Vec<u16> = values.collect();
        let literal = |shift: u32| {
            let bytes = values.iter().map(|value| (value >> shift) as u8);
            std::iter::once(values.len() as u8 - 1).chain(bytes).collect::<Vec<u8>>()
        };
        let (high, low) = (literal(8), literal(0));
        let mut header = [0_u32; 16];
        header[..3].copy_from_slice(&[2, 64, 64 + high.len() as u32]);
        let frame = header.iter().flat_map(|word| word.to_le_bytes()).chain(high).chain(low).collect();
        slices.write(folder.path(), z, vec![fragments(vec![frame])]);
    }
    let series = only_series(folder.path());
    let volume = series.volumes().unwrap().remove(0).read().unwrap();
    assert_eq!(volume.at([5, 0, 4]), f32::from(stored(4, 3, 5)));
}

#[test]
fn lossless_jpeg_is_unpacked() {
    let slices = Slices { syntax: uids::JPEG_LOSSLESS_SV1, ..Slices::default() };
    let folder = tempdir().unwrap();
    // Slice 3, compressed by another program.
    let packed = include_bytes!("data/lossless.jpg");
    slices.write(folder.path(), 3, vec![fragments(vec![packed.to_vec()])]);
    let volume = only_series(folder.path()).volumes().unwrap().remove(0).read().unwrap();
    for (row, column) in [(0, 0), (1, 4), (3, 5)] {
        assert_eq!(volume.at([column, SHAPE[1] - 1 - row, 0]), f32::from(stored(3, row, column)));
    }
    // An image with another size does not belong to the series.
    slices.write(
        folder.path(),
        3,
        vec![
            fragments(vec![packed.to_vec()]),
            text(tags::IMAGE_COMMENTS, VR::LT, "x"),
            DataElement::new(tags::ROWS, VR::US, PrimitiveValue::from(5_u16)),
        ],
    );
    let series = only_series(folder.path());
    let message = series.volumes().unwrap()[0].read().unwrap_err().to_string();
    assert!(message.contains("6 x 4 pixels, where 6 x 5 are expected"), "{message}");
}

#[test]
fn jpeg_2000_is_unpacked() {
    let folder = tempdir().unwrap();
    // Slice 3, signed, compressed by another program.
    let packed = include_bytes!("data/lossless.j2k").to_vec();
    for (series, syntax) in [("1.2.3.1", uids::JPEG2000_LOSSLESS), ("1.2.3.2", uids::JPEG2000)] {
        let slices = Slices { series, syntax, ..Slices::default() };
        slices.write(folder.path(), 3, vec![fragments(vec![packed.clone()])]);
    }
    for series in scan(folder.path()).unwrap().series {
        let volume = series.volumes().unwrap().remove(0).read().unwrap();
        for (row, column) in [(0, 0), (1, 4), (3, 5)] {
            assert_eq!(volume.at([column, SHAPE[1] - 1 - row, 0]), f32::from(stored(3, row, column)));
        }
    }
    let message = |packed: Vec<u8>, rows: u16| {
        let folder = tempdir().unwrap();
        let slices = Slices { syntax: uids::JPEG2000, ..Slices::default() };
        let rows = DataElement::new(tags::ROWS, VR::US, PrimitiveValue::from(rows));
        slices.write(folder.path(), 3, vec![fragments(vec![packed]), rows]);
        only_series(folder.path()).volumes().unwrap()[0].read().unwrap_err().to_string()
    };
    assert!(message(packed.clone(), 5).contains("6 x 4 pixels, where 6 x 5 are expected"));
    for cut in [3, 41, 60, 110, packed.len() - 8] {
        let message = message(packed[..cut].to_vec(), 4);
        assert!(message.contains("JPEG 2000: "), "{cut}: {message}");
    }
}

#[test]
fn gzipped_files_are_unpacked() {
    use std::io::Write as _;
    let folder = tempdir().unwrap();
    (0..5).for_each(|z| drop(Slices::default().write(folder.path(), z, Vec::new())));
    let plain = only_series(folder.path()).volumes().unwrap().remove(0).read().unwrap();
    let packed = tempdir().unwrap();
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        let path = entry.unwrap().path();
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&std::fs::read(&path).unwrap()).unwrap();
        let name = format!("{}.dcm.gz", path.file_name().unwrap().to_string_lossy());
        std::fs::write(packed.path().join(name), gzip.finish().unwrap()).unwrap();
    }
    assert!(holds_dicom(packed.path()));
    let unpacked = only_series(packed.path()).volumes().unwrap().remove(0).read().unwrap();
    assert_eq!(unpacked, plain);
    // Damaged ones are named, and a gzipped file of another kind is no DICOM file.
    let cut = std::fs::read_dir(packed.path()).unwrap().next().unwrap().unwrap().path();
    let bytes = std::fs::read(&cut).unwrap();
    std::fs::write(&cut, &bytes[..bytes.len() - 40]).unwrap();
    std::fs::write(packed.path().join("volume.nii.gz"), [0x1f, 0x8b, 8, 0]).unwrap();
    let found = scan(packed.path()).unwrap();
    assert!(found.refused[0].to_string().contains(cut.file_name().unwrap().to_str().unwrap()));
}

#[test]
fn deflated_files_are_unpacked() {
    let folder = tempdir().unwrap();
    for z in 0..5 {
        std::fs::write(folder.path().join(z.to_string()), deflated(z)).unwrap();
    }
    let volume = only_series(folder.path()).volumes().unwrap().remove(0).read().unwrap();
    for (z, row, column) in [(0, 0, 0), (2, 1, 4), (4, 3, 5)] {
        assert_eq!(volume.at([column, SHAPE[1] - 1 - row, z]), f32::from(stored(z, row, column)));
    }
    let cut = folder.path().join("2");
    let bytes = std::fs::read(&cut).unwrap();
    std::fs::write(&cut, &bytes[..bytes.len() - 60]).unwrap();
    let message = scan(folder.path()).unwrap().refused[0].to_string();
    assert!(message.contains("truncated or corrupt: its deflated content"), "{message}");
}

/// Slice `z` with its data set deflated.
fn deflated(z: usize) -> Vec<u8> {
    use std::io::Write as _;
    let folder = tempdir().unwrap();
    let plain = std::fs::read(Slices::default().write(folder.path(), z, Vec::new())).unwrap();
    let length = u32::from_le_bytes(plain[140..144].try_into().unwrap());
    let (head, body) = plain.split_at(144 + length as usize);
    // The id is three bytes longer, one of which takes the place of the padding.
    let mut bytes = head.to_vec();
    let place = bytes.windows(20).position(|window| window == b"1.2.840.10008.1.2.1\0").unwrap();
    bytes.splice(place..place + 20, *b"1.2.840.10008.1.2.1.99");
    bytes[place - 2] = 22;
    bytes[140..144].copy_from_slice(&(length + 2).to_le_bytes());
    let mut packer = flate2::write::DeflateEncoder::new(bytes, flate2::Compression::default());
    packer.write_all(body).unwrap();
    packer.finish().unwrap()
}

/// Everything that can be done with a file, whatever is in it.
fn everything(folder: &Path) {
    for series in scan(folder).unwrap().series {
        for volume in series.volumes().into_iter().flatten() {
            drop(volume.read());
            volume.sidecar();
        }
    }
}

fn originals() -> Vec<Vec<u8>> {
    let folder = tempdir().unwrap();
    let implicit = Slices { syntax: uids::IMPLICIT_VR_LITTLE_ENDIAN, ..Slices::default() };
    let mut header = [0_u32; 16];
    header[..3].copy_from_slice(&[2, 64, 66]);
    let frame: Vec<u8> = header.iter().flat_map(|word| word.to_le_bytes()).chain([233, 1, 233, 2]).collect();
    let rle = Slices { syntax: uids::RLE_LOSSLESS, ..Slices::default() };
    let jpeg = Slices { syntax: uids::JPEG_LOSSLESS_SV1, ..Slices::default() };
    let j2k = Slices { syntax: uids::JPEG2000, ..Slices::default() };
    let paths = [
        implicit.write(folder.path(), 0, Vec::new()),
        Slices::default().write(folder.path(), 1, Vec::new()),
        rle.write(folder.path(), 2, vec![fragments(vec![frame])]),
        jpeg.write(folder.path(), 3, vec![fragments(vec![include_bytes!("data/lossless.jpg").to_vec()])]),
        j2k.write(folder.path(), 4, vec![fragments(vec![include_bytes!("data/lossless.j2k").to_vec()])]),
    ];
    let mut files: Vec<Vec<u8>> = paths.iter().map(|path| std::fs::read(path).unwrap()).collect();
    files.push(deflated(5));
    files.extend(
        real_files().iter().map(|path| std::fs::read(path).unwrap()).filter(|bytes| bytes.len() < 100_000),
    );
    files
}

/// Small real files, if they are available.
fn real_files() -> Vec<std::path::PathBuf> {
    let entries = test_data("dicom/pydicom").map(std::fs::read_dir).into_iter().flatten().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn damaged_files_never_panic(file in any::<prop::sample::Index>(), cut in 0.0_f64..1.5,
                                 flips in prop::collection::vec((any::<prop::sample::Index>(), 0..8_u8), 0..12)) {
        static ORIGINALS: std::sync::LazyLock<Vec<Vec<u8>>> = std::sync::LazyLock::new(originals);
        let mut bytes = ORIGINALS[file.index(ORIGINALS.len())].clone();
        for (at, bit) in flips {
            // Headers matter more than pixels.
            let length = bytes.len().min(3000);
            bytes[at.index(length)] ^= 1 << bit;
        }
        bytes.truncate((bytes.len() as f64 * cut.min(1.0)) as usize);
        let folder = tempdir().unwrap();
        std::fs::write(folder.path().join("a"), bytes).unwrap();
        everything(folder.path());
    }
}
