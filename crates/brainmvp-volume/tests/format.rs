//! The format's rules, one by one, on files made by hand.

#![allow(clippy::unwrap_used, reason = "a failing test may panic")]

mod handmade;

use std::io::Write;
use std::path::{Path, PathBuf};

use brainmvp_volume::nifti::{self, Placement, SpatialUnits};
use brainmvp_volume::{Affine, Volume};
use flate2::{Compression, write::GzEncoder};
use handmade::*;
use tempfile::TempDir;

const UINT8: i16 = 2;
const INT16: i16 = 4;

fn put(folder: &TempDir, name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    path
}

fn read_bytes(bytes: &[u8]) -> brainmvp_volume::Result<Volume> {
    let folder = tempfile::tempdir().unwrap();
    nifti::read(&put(&folder, "a.nii", bytes))
}

fn refusal(bytes: &[u8]) -> String {
    read_bytes(bytes).unwrap_err().to_string()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// 2 x 3 x 1 voxels of 0 to 5.
fn six(version: u8, big_endian: bool) -> Handmade {
    let mut made = Handmade::new(version, big_endian, &[3.0, 2.0, 3.0, 1.0], UINT8);
    made.bytes.extend(0..6);
    made
}

#[test]
fn every_type_in_both_versions_and_byte_orders() {
    macro_rules! check {
        ($($code:literal $type:ty),*) => {$(
            for (version, big_endian) in [(1, false), (1, true), (2, false), (2, true)] {
                let mut made = Handmade::new(version, big_endian, &[3.0, 3.0, 1.0, 1.0], $code);
                let values: [$type; 3] = [<$type>::MIN, 100 as $type, <$type>::MAX];
                for value in values {
                    made.bytes.extend(if big_endian { value.to_be_bytes() } else { value.to_le_bytes() });
                }
                let volume = read_bytes(&made.bytes).unwrap();
                assert_eq!(volume.voxels(), values.map(|v| v as f32), "{} version {version}", stringify!($type));
                made.set(SCL_SLOPE, &[0.5]).set(SCL_INTER, &[-2.0]);
                let scaled = values.map(|v| (v as f64 * 0.5 - 2.0) as f32);
                assert_eq!(read_bytes(&made.bytes).unwrap().voxels(), scaled);
            }
        )*};
    }
    check!(2 u8, 256 i8, 4 i16, 512 u16, 8 i32, 768 u32, 1024 i64, 1280 u64, 16 f32, 64 f64);
}

#[test]
fn a_slope_of_zero_or_not_a_number_is_none() {
    for slope in [0.0, f64::NAN, f64::INFINITY] {
        let mut made = six(1, true);
        made.set(SCL_SLOPE, &[slope]).set(SCL_INTER, &[7.0]);
        assert_eq!(
            read_bytes(&made.bytes).unwrap().voxels(),
            [0.0, 1.0, 2.0, 3.0, 4.0, 5.0],
            "slope {slope}"
        );
    }
    let mut made = six(2, false);
    made.set(SCL_SLOPE, &[2.0]).set(SCL_INTER, &[f64::NAN]);
    assert!(refusal(&made.bytes).contains("scl_inter"));
}

#[test]
fn sform_before_qform_before_spacing() {
    for version in [1, 2] {
        let affine = |made: &Handmade| read_bytes(&made.bytes).unwrap().grid().affine;
        let mut made = six(version, version == 1);
        made.set(PIXDIM, &[-1.0, 2.0, 3.0, 4.0]);
        assert_eq!(affine(&made), Affine::from_spacing([2.0, 3.0, 4.0], [0.0; 3]));

        // A quarter turn around z takes x to y; the third axis is mirrored by qfac = -1.
        let half = 0.5_f64.sqrt();
        made.set(QFORM_CODE, &[1.0]).set(QUATERN_B, &[0.0, 0.0, half]).set(QOFFSET_X, &[10.0, 20.0, 30.0]);
        let turned =
            Affine::from_rows([[0.0, -3.0, 0.0, 10.0], [2.0, 0.0, 0.0, 20.0], [0.0, 0.0, -4.0, 30.0]]);
        assert!(affine(&made).close_to(&turned, 1e-6), "{:?}", affine(&made).rows());

        let rows = [[1.0, 0.5, 0.0, -1.0], [0.0, 1.5, 0.0, -2.0], [0.0, 0.25, 2.0, -3.0]];
        made.set(SFORM_CODE, &[4.0]).set(SROW_X, rows.as_flattened());
        assert_eq!(affine(&made), Affine::from_rows(rows));

        // A degenerate sform is ignored.
        made.set(SROW_X, &[0.0; 12]);
        assert!(affine(&made).close_to(&turned, 1e-6));
        made.set(QUATERN_B, &[f64::NAN, 0.0, 0.0]);
        assert_eq!(affine(&made), Affine::from_spacing([2.0, 3.0, 4.0], [0.0; 3]));
        made.set(PIXDIM, &[1.0, 0.0, f64::NAN, -4.0]);
        assert_eq!(affine(&made), Affine::from_spacing([1.0, 1.0, 4.0], [0.0; 3]));
    }
}

#[test]
fn a_quaternion_that_is_too_long_is_a_half_turn() {
    let mut made = six(1, false);
    made.set(QFORM_CODE, &[1.0]).set(QUATERN_B, &[0.0, 0.0, 1.001]);
    let affine = read_bytes(&made.bytes).unwrap().grid().affine;
    let half_turn = Affine::from_rows([[-1.0, 0.0, 0.0, 0.0], [0.0, -1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]]);
    assert!(affine.close_to(&half_turn, 1e-12));
}

#[test]
fn units_become_millimetres() {
    let folder = tempfile::tempdir().unwrap();
    let cases = [
        (0.0, SpatialUnits::Unknown, 1.0),
        (1.0, SpatialUnits::Metre, 1000.0),
        (2.0, SpatialUnits::Millimetre, 1.0),
        (3.0, SpatialUnits::Micrometre, 0.001),
        // The unit of time is in the higher bits.
        (2.0 + 8.0, SpatialUnits::Millimetre, 1.0),
    ];
    for (code, units, mm) in cases {
        let mut made = six(2, true);
        made.set(XYZT_UNITS, &[code]);
        made.set(SFORM_CODE, &[1.0])
            .set(SROW_X, &[1.0, 0.0, 0.0, 5.0, 0.0, 1.0, 0.0, 6.0, 0.0, 0.0, 1.0, 7.0]);
        let header = nifti::read_header(&put(&folder, "a.nii", &made.bytes)).unwrap();
        assert_eq!((header.units, header.placement), (units, Placement::Sform));
        assert!(
            header.grid.affine.close_to(&Affine::from_spacing([mm; 3], [5.0 * mm, 6.0 * mm, 7.0 * mm]), 1e-9)
        );
    }
}

#[test]
fn extensions_are_skipped() {
    let mut made = six(1, false);
    let voxels = made.bytes.split_off(352);
    made.bytes[348] = 1;
    made.bytes.extend([32, 0, 0, 0, 6, 0, 0, 0]);
    made.bytes.extend([b'x'; 24]);
    made.bytes.extend(voxels);
    made.set(VOX_OFFSET, &[384.0]);
    assert_eq!(read_bytes(&made.bytes).unwrap().voxels(), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
}

#[test]
fn trailing_dimensions_of_one_are_dropped() {
    for dim in [&[2.0, 2.0, 3.0][..], &[4.0, 2.0, 3.0, 1.0, 1.0], &[7.0, 2.0, 3.0, 1.0, 1.0, 1.0, 1.0, 1.0]] {
        let mut made = six(1, false);
        made.set(DIM, &[0.0; 8]).set(DIM, dim);
        assert_eq!(read_bytes(&made.bytes).unwrap().shape(), [2, 3, 1], "{dim:?}");
    }
    let mut made = six(1, false);
    made.set(DIM, &[5.0, 2.0, 1.0, 1.0, 1.0, 3.0]);
    assert!(refusal(&made.bytes).contains("5-D with 3 volumes"));
}

#[test]
fn impossible_sizes_are_refused() {
    for dim in [[0.0, 2.0, 3.0, 1.0], [8.0, 2.0, 3.0, 1.0], [3.0, 0.0, 3.0, 1.0], [3.0, 2.0, -3.0, 1.0]] {
        let mut made = six(2, false);
        made.set(DIM, &dim);
        assert!(refusal(&made.bytes).contains("dim["), "{dim:?}");
    }
    for length in [32767.0, 1e6, 9e18] {
        let mut made = six(2, false);
        made.set(DIM, &[3.0, length, length, length]);
        assert!(refusal(&made.bytes).contains("voxels"));
    }
    let mut made = six(1, false);
    made.set(DIM, &[3.0, 700.0, 700.0, 700.0]);
    assert!(refusal(&made.bytes).contains("truncated"), "a short file allocates nothing");
    for offset in [-1.0, 12.0, f64::NAN, 1e30] {
        let mut made = six(1, false);
        made.set(VOX_OFFSET, &[offset]);
        let message = refusal(&made.bytes);
        assert!(
            message.contains("vox_offset") || message.contains("truncated") || message.contains("size"),
            "{message}"
        );
    }
}

#[test]
fn other_kinds_are_refused_by_name() {
    let names = [
        (1, "binary"),
        (32, "complex"),
        (128, "RGB"),
        (1536, "float128"),
        (1792, "complex"),
        (2304, "RGBA"),
        (0, "unknown"),
    ];
    for (code, name) in names {
        let mut made = six(1, false);
        made.set(DATATYPE, &[f64::from(code)]);
        assert!(refusal(&made.bytes).contains(name), "{code}");
    }
    let mut analyze = six(1, true);
    analyze.bytes[344..348].fill(0);
    assert!(refusal(&analyze.bytes).contains("ANALYZE"));
    assert!(refusal(b"").contains("empty"));
    assert!(refusal(b"P5 12 12 255 ").contains("not a NIfTI file"));
    assert!(refusal(&six(1, false).bytes[..200]).contains("truncated"));
    let error = nifti::read(Path::new("/no/such/file.nii")).unwrap_err().to_string();
    assert!(error.contains("/no/such/file.nii"));
    assert!(nifti::read(&std::env::temp_dir()).unwrap_err().to_string().contains("not a regular file"));
}

#[test]
fn content_decides_about_compression() {
    let folder = tempfile::tempdir().unwrap();
    let made = six(1, false).bytes;
    let expected = read_bytes(&made).unwrap();
    for (name, bytes) in
        [("a.nii", gzip(&made)), ("b.nii.gz", made.clone()), ("c.nii.gz", gzip(&made)), ("d", made.clone())]
    {
        assert_eq!(nifti::read(&put(&folder, name, &bytes)).unwrap(), expected, "{name}");
    }
}

#[test]
fn gzip_in_several_members() {
    let made = six(2, true).bytes;
    let expected = read_bytes(&made).unwrap();
    for cut in [1, 100, 540, 544, 546, made.len() - 1, made.len()] {
        let mut packed = gzip(&made[..cut]);
        packed.extend(gzip(&made[cut..]));
        assert_eq!(read_bytes(&packed).unwrap(), expected, "cut at {cut}");
    }
    let mut longer = made.clone();
    longer.extend([9; 1000]);
    assert_eq!(read_bytes(&gzip(&longer)).unwrap(), expected, "bytes after the voxels");
}

#[test]
fn broken_gzip_is_an_error() {
    let mut made = Handmade::new(1, false, &[3.0, 40.0, 40.0, 40.0], INT16);
    made.bytes.extend((0..128_000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8));
    let packed = gzip(&made.bytes);
    assert!(read_bytes(&packed).is_ok());
    for cut in [3, 12, 20, 300, packed.len() / 2, packed.len() - 5, packed.len() - 1] {
        let message = refusal(&packed[..cut]);
        assert!(message.contains("truncated"), "cut at {cut}: {message}");
    }
    let mut wrong_sum = packed.clone();
    let checksum = packed.len() - 8;
    wrong_sum[checksum] ^= 1;
    assert!(refusal(&wrong_sum).contains("corrupt"), "{}", refusal(&wrong_sum));
}

#[test]
fn a_gzip_bomb_takes_no_memory() {
    // 300 MB of zeros in 300 kB, under a header that declares 27 bytes.
    let mut made = Handmade::new(1, false, &[3.0, 3.0, 3.0, 3.0], UINT8);
    made.bytes.resize(300 << 20, 0);
    let packed = gzip(&made.bytes);
    assert!(refusal(&packed).contains("after its voxels"));
    // And the reverse: a small file whose header declares 512 MB.
    let declared = Handmade::new(1, false, &[3.0, 800.0, 800.0, 800.0], UINT8);
    assert!(refusal(&gzip(&declared.bytes)).contains("truncated"));
}

#[test]
fn pairs_by_either_name_and_any_compression() {
    let folder = tempfile::tempdir().unwrap();
    let single = six(1, true);
    let expected = read_bytes(&single.bytes).unwrap();
    let mut header = single.clone();
    header.bytes.truncate(348);
    header.bytes[344..348].copy_from_slice(b"ni1\0");
    header.set(VOX_OFFSET, &[16.0]);
    let image = [&[0; 16][..], &single.bytes[352..]].concat();
    for (stem, packed_header, packed_image) in
        [("a", false, false), ("b", true, true), ("c.1", true, false), ("d 2", false, true)]
    {
        let write = |part: &str, bytes: &[u8], packed: bool| {
            let (name, bytes) = if packed {
                (format!("{stem}.{part}.gz"), gzip(bytes))
            } else {
                (format!("{stem}.{part}"), bytes.to_vec())
            };
            put(&folder, &name, &bytes)
        };
        let paths = [write("hdr", &header.bytes, packed_header), write("img", &image, packed_image)];
        for path in paths {
            assert_eq!(nifti::read(&path).unwrap(), expected, "{}", path.display());
        }
    }
    let lonely = put(&folder, "lonely.img", &image);
    assert!(nifti::read(&lonely).unwrap_err().to_string().contains("lonely.hdr"));
    let misnamed = put(&folder, "pair.nii", &header.bytes);
    assert!(nifti::read(&misnamed).unwrap_err().to_string().contains(".hdr"));
}

#[test]
fn labels_must_be_whole_numbers_of_16_bits() {
    let folder = tempfile::tempdir().unwrap();
    let with = |value: f32| {
        let mut made = Handmade::new(1, false, &[3.0, 2.0, 1.0, 1.0], 16);
        made.bytes.extend([1.0_f32, value].iter().flat_map(|v| v.to_le_bytes()));
        nifti::read_labels(&put(&folder, "labels.nii", &made.bytes))
    };
    for (value, label) in [(0.0, 0), (3.0005, 3), (3.9995, 4), (-0.0005, 0), (65535.0, 65535)] {
        assert_eq!(with(value).unwrap().voxels(), [1, label]);
    }
    for value in [0.5, -1.0, 65536.0, f32::NAN, f32::INFINITY, 2.002] {
        let message = with(value).unwrap_err().to_string();
        assert!(message.contains("voxel (1, 0, 0)"), "{message}");
    }
}
