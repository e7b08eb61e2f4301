//! MGH and NRRD files made byte by byte: what they contain, and what is refused.

#![allow(clippy::unwrap_used)]

use std::io::Write as _;
use std::path::{Path, PathBuf};

use brainmvp_volume::{Affine, Volume, file, orientation};
use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::*;

fn packed(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn stored(folder: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, bytes).unwrap();
    path
}

/// An MGH file: type, shape, and if placed voxel sizes, directions (of x, of y, of z) and centre.
fn mgh(kind: i32, shape: [i32; 3], placed: Option<[f32; 15]>, voxels: &[u8]) -> Vec<u8> {
    let mut bytes: Vec<u8> = Vec::new();
    for number in [1, shape[0], shape[1], shape[2], 1, kind, 0] {
        bytes.extend(number.to_be_bytes());
    }
    bytes.extend(i16::from(placed.is_some()).to_be_bytes());
    placed.unwrap_or_default().iter().for_each(|number| bytes.extend(number.to_be_bytes()));
    bytes.resize(284, 0);
    bytes.extend(voxels);
    bytes
}

/// The conformed space of FreeSurfer: coronal, LIA.
const CONFORMED: [f32; 15] = [1.0, 1.0, 1.0, -1.0, 0.0, 0.0, 0.0, 0.0, -1.0, 0.0, 1.0, 0.0, 5.5, -17.25, 9.0];

fn nrrd(fields: &[(&str, &str)], voxels: &[u8]) -> Vec<u8> {
    let lines: Vec<String> = fields.iter().map(|(name, value)| format!("{name}: {value}\n")).collect();
    let text = format!("NRRD0004\n# a comment\n{}a key:=its: value\n\n", lines.concat());
    [text.as_bytes(), voxels].concat()
}

const SLICER: [(&str, &str); 9] = [
    ("type", "short"),
    ("dimension", "3"),
    ("space", "left-posterior-superior"),
    ("sizes", "2 3 4"),
    ("space directions", "(0.5,0,0) (0,0.25,0) (0, 0, 3)"),
    ("kinds", "domain domain domain"),
    ("endian", "little"),
    ("encoding", "raw"),
    ("space origin", "(10,-20,30)"),
];

fn with(name: &str, value: &str) -> Vec<(&'static str, String)> {
    let name: &'static str = SLICER.iter().map(|(n, _)| *n).find(|n| *n == name).unwrap();
    SLICER.iter().map(|(n, v)| (*n, if *n == name { value.to_owned() } else { (*v).to_owned() })).collect()
}

fn nrrd_with(name: &str, value: &str, voxels: &[u8]) -> Vec<u8> {
    let fields = with(name, value);
    nrrd(&fields.iter().map(|(n, v)| (*n, v.as_str())).collect::<Vec<_>>(), voxels)
}

#[test]
fn the_conformed_space_of_freesurfer() {
    let folder = tempfile::tempdir().unwrap();
    let voxels: Vec<u8> = (0..24).collect();
    // What nibabel 5 gives as the affine of this file.
    let expected =
        Affine::from_rows([[-1.0, 0.0, 0.0, 6.5], [0.0, 0.0, 1.0, -19.25], [0.0, -1.0, 0.0, 10.5]]);
    let plain = mgh(0, [2, 3, 4], Some(CONFORMED), &voxels);
    for (name, bytes) in [("a.mgh", plain.clone()), ("a.mgz", packed(&plain)), ("a.nii", plain)] {
        let image = file::read(&stored(folder.path(), name, &bytes)).unwrap();
        assert_eq!(image.shape(), [2, 3, 4]);
        assert!(image.grid().affine.close_to(&expected, 1e-6), "{:?}", image.grid().affine.rows());
        assert_eq!(orientation::code(&image.grid().affine), "LIA");
        assert_eq!(image.at([1, 2, 3]), 23.0);
        assert_eq!(file::read_labels(&folder.path().join(name)).unwrap().at([0, 1, 0]), 2);
    }
    let unplaced = file::read(&stored(folder.path(), "b.mgh", &mgh(0, [2, 3, 4], None, &voxels))).unwrap();
    assert_eq!(orientation::code(&unplaced.grid().affine), "LIA");
    assert_eq!(unplaced.grid().affine.origin_mm(), [1.0, -2.0, 1.5]);
}

#[test]
fn every_type_of_mgh() {
    let folder = tempfile::tempdir().unwrap();
    let read = |kind: i32, voxels: &[u8]| {
        let path = stored(folder.path(), "a.mgh", &mgh(kind, [2, 1, 1], Some(CONFORMED), voxels));
        file::read(&path).map(Volume::into_voxels).map_err(|error| error.to_string())
    };
    let bytes = |numbers: [&[u8]; 2]| numbers.concat();
    assert_eq!(read(0, &[7, 255]).unwrap(), [7.0, 255.0]);
    assert_eq!(
        read(1, &bytes([&(-70_000_i32).to_be_bytes(), &9_i32.to_be_bytes()])).unwrap(),
        [-70_000.0, 9.0]
    );
    assert_eq!(read(3, &bytes([&1.5_f32.to_be_bytes(), &(-2.0_f32).to_be_bytes()])).unwrap(), [1.5, -2.0]);
    assert_eq!(read(4, &bytes([&(-300_i16).to_be_bytes(), &7_i16.to_be_bytes()])).unwrap(), [-300.0, 7.0]);
    assert_eq!(read(10, &bytes([&60_000_u16.to_be_bytes(), &7_u16.to_be_bytes()])).unwrap(), [60_000.0, 7.0]);
    assert!(read(5, &[0; 8]).unwrap_err().contains("type 5"));
}

#[test]
fn a_volume_of_slicer() {
    let folder = tempfile::tempdir().unwrap();
    let voxels: Vec<u8> = (0..24_i16).flat_map(|v| (v - 12).to_le_bytes()).collect();
    let big: Vec<u8> = (0..24_i16).flat_map(|v| (v - 12).to_be_bytes()).collect();
    for (name, bytes) in [
        ("raw.nrrd", nrrd(&SLICER, &voxels)),
        ("gzip.nrrd", nrrd_with("encoding", "gzip", &packed(&voxels))),
        ("big.nrrd", nrrd_with("endian", "big", &big)),
        ("whole.nrrd.gz", packed(&nrrd(&SLICER, &voxels))),
    ] {
        let path = stored(folder.path(), name, &bytes);
        let image = file::read(&path).unwrap();
        let expected =
            Affine::from_rows([[-0.5, 0.0, 0.0, -10.0], [0.0, -0.25, 0.0, 20.0], [0.0, 0.0, 3.0, 30.0]]);
        assert!(image.grid().affine.close_to(&expected, 0.0), "{name}");
        assert_eq!(
            (image.shape(), image.at([0, 0, 0]), image.at([1, 2, 3])),
            ([2, 3, 4], -12.0, 11.0),
            "{name}"
        );
        assert_eq!(file::read_header(&path).unwrap().voxel_bytes, 48);
    }
    let ras = file::read(&stored(folder.path(), "ras.nrrd", &nrrd_with("space", "RAS", &voxels))).unwrap();
    assert_eq!(ras.grid().affine.origin_mm(), [10.0, -20.0, 30.0]);
    // A fourth axis of one sample, as some programs write it.
    let fields: Vec<(&str, &str)> = SLICER
        .iter()
        .map(|(name, value)| match *name {
            "dimension" => (*name, "4"),
            "sizes" => (*name, "1 2 3 4"),
            "space directions" => (*name, "none (0.5,0,0) (0,0.25,0) (0,0,3)"),
            _ => (*name, *value),
        })
        .collect();
    assert_eq!(
        file::read(&stored(folder.path(), "4d.nrrd", &nrrd(&fields, &voxels))).unwrap().shape(),
        [2, 3, 4]
    );
}

#[test]
fn what_is_refused_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |name: &str, bytes: &[u8], word: &str| {
        let path = stored(folder.path(), name, bytes);
        let error = file::read(&path).unwrap_err().to_string();
        assert!(error.contains(word) && error.contains(name), "{error}");
    };
    let voxels = [0; 48];
    let whole = mgh(0, [2, 3, 4], Some(CONFORMED), &[0; 24]);
    refused("header.mgh", &whole[..60], "truncated within the header");
    refused("cut.mgh", &whole[..300], "truncated");
    let gz = packed(&whole);
    refused("cut.mgz", &gz[..gz.len() - 12], "truncated");
    refused("vast.mgz", &packed(&mgh(3, [i32::MAX; 3], Some(CONFORMED), &[])), "more than");
    refused("large.mgh", &mgh(3, [800, 800, 800], Some(CONFORMED), &[]), "truncated, or its header is wrong");
    refused("negative.mgh", &mgh(0, [-2, 3, 4], Some(CONFORMED), &[0; 24]), "positive");
    refused("flat.mgh", &mgh(0, [2, 3, 4], Some([0.0; 15]), &[0; 24]), "span no space");
    refused("nan.mgh", &mgh(0, [2, 3, 4], Some([f32::NAN; 15]), &[0; 24]), "span no space");
    let mut frames = whole;
    frames[19] = 9;
    refused("frames.mgh", &frames, "9 frames");

    refused("cut.nrrd", &nrrd(&SLICER, &voxels)[..200], "header does not end");
    refused("short.nrrd", &nrrd(&SLICER, &voxels[..40]), "truncated");
    refused("corrupt.nrrd", &nrrd_with("encoding", "gzip", &[7; 30]), "gzip");
    refused("lies.nrrd", &nrrd_with("sizes", "700 700 700", &packed(&voxels)), "declares");
    refused("vast.nrrd", &nrrd_with("sizes", "99999999999 3 4", &voxels), "more than");
    refused("zero.nrrd", &nrrd_with("sizes", "0 3 4", &voxels), "sizes '0 3 4'");
    refused("sizes.nrrd", &nrrd_with("sizes", "two 3 4", &voxels), "two 3 4");
    refused("four.nrrd", &nrrd_with("sizes", "2 x 3 4", &voxels), "'2 x 3 4' are not whole numbers");
    refused("hex.nrrd", &nrrd_with("encoding", "hex", &voxels), "'hex'");
    refused("block.nrrd", &nrrd_with("type", "block", &voxels), "'block'");
    refused("space.nrrd", &nrrd_with("space", "scanner-xyz", &voxels), "left and right");
    refused("flat.nrrd", &nrrd_with("space directions", "(1,0,0) (2,0,0) (0,0,1)", &voxels), "span no space");
    refused(
        "vectors.nrrd",
        &nrrd_with("space directions", "(1,0,0) (0,1,0) (0,0", &voxels),
        "not a list of vectors",
    );
    refused("origin.nrrd", &nrrd_with("space origin", "(1,2)", &voxels), "not a list of vectors");
    refused(
        "colours.nrrd",
        &nrrd_with("space directions", "none (1,0,0) (0,1,0)", &voxels),
        "2 axes in space",
    );
    let spaceless: Vec<_> = SLICER.into_iter().filter(|(name, _)| *name != "space").collect();
    refused("spaceless.nrrd", &nrrd(&spaceless, &voxels), "left and right");
    let skipped = [&SLICER[..], &[("byte skip", "-1")]].concat();
    refused("skipped.nrrd", &nrrd(&skipped, &voxels), "byte skip");
}

#[test]
fn voxels_in_another_file() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("data")).unwrap();
    let voxels: Vec<u8> = (0..24_i16).flat_map(|v| (v - 12).to_le_bytes()).collect();
    let inside = file::read(&stored(folder.path(), "inside.nrrd", &nrrd(&SLICER, &voxels))).unwrap();
    stored(folder.path(), "v.raw", &voxels);
    stored(folder.path(), "data/v.raw.gz", &packed(&voxels));
    stored(folder.path(), "late.raw", &[&[9; 7], &voxels[..]].concat());
    let header = |encoding: &str, more: &[(&str, &str)]| {
        let fields = with("encoding", encoding);
        let fields: Vec<_> =
            fields.iter().map(|(n, v)| (*n, v.as_str())).chain(more.iter().copied()).collect();
        nrrd(&fields, &[])
    };
    for (name, bytes, beside) in [
        ("raw.nhdr", header("raw", &[("data file", "v.raw")]), "v.raw"),
        ("gzip.nhdr", header("gzip", &[("datafile", "./data/v.raw.gz")]), "./data/v.raw.gz"),
        ("windows.nhdr", header("gzip", &[("data file", "data\\v.raw.gz")]), "data/v.raw.gz"),
        ("skip.nhdr", header("raw", &[("byte skip", "7"), ("data file", "late.raw")]), "late.raw"),
        ("last.nhdr", header("raw", &[("byte skip", "-1"), ("data file", "late.raw")]), "late.raw"),
    ] {
        // As written, and without the end of its last line.
        for bytes in [&bytes[..], bytes.trim_ascii_end()] {
            let path = stored(folder.path(), name, bytes);
            assert_eq!(file::read(&path).unwrap(), inside, "{name}");
            assert_eq!(file::voxel_file(&path).unwrap(), Some(folder.path().join(beside)), "{name}");
        }
    }
    for (files, word) in
        [("LIST", "several files (LIST)"), ("v%03d.raw 1 4 1", "several files"), ("no.raw", "no.raw")]
    {
        let path = stored(folder.path(), "a.nhdr", &header("raw", &[("data file", files)]));
        let message = file::read(&path).unwrap_err().to_string();
        assert!(message.contains(word), "{message}");
    }
    let short = stored(folder.path(), "short.nhdr", &header("raw", &[("data file", "short.raw")]));
    stored(folder.path(), "short.raw", &voxels[..40]);
    let message = file::read(&short).unwrap_err().to_string();
    assert!(message.contains("short.raw") && message.contains("truncated"), "{message}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Whatever is changed, the reader returns a volume or an error.
    #[test]
    fn damaged_files_never_panic(
        places in prop::collection::vec((0_usize..600, any::<u8>()), 1..6),
        cut in 0_usize..700,
        which in 0..3,
    ) {
        let folder = tempfile::tempdir().unwrap();
        let mut bytes = match which {
            0 => mgh(4, [2, 3, 4], Some(CONFORMED), &[1; 48]),
            1 => nrrd(&SLICER, &[1; 48]),
            _ => nrrd_with("encoding", "gzip", &packed(&[1; 48])),
        };
        for (place, byte) in places {
            if let Some(changed) = bytes.get_mut(place) {
                *changed = byte;
            }
        }
        bytes.truncate(cut.max(3));
        let path = stored(folder.path(), "a.mgh", &bytes);
        if let Ok(image) = file::read(&path) {
            prop_assert!(image.grid().affine.is_usable());
            prop_assert_eq!(image.grid().len(), image.voxels().len());
        }
        let _ = file::read_header(&path);
    }

    #[test]
    fn a_file_of_any_affine_says_where_its_voxels_are(
        spacing in prop::array::uniform3(0.3_f32..6.0),
        angle in -3.0_f32..3.0,
        centre in prop::array::uniform3(-80.0_f32..80.0),
        shape in prop::array::uniform3(1_i32..6),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let (sin, cos) = angle.sin_cos();
        let directions = [[cos, sin, 0.0], [-sin, cos, 0.0], [0.0, 0.0, 1.0]];
        let mut placed = [0.0; 15];
        placed[..3].copy_from_slice(&spacing);
        placed[3..12].copy_from_slice(directions.as_flattened());
        placed[12..].copy_from_slice(&centre);
        let voxels = vec![0; shape.iter().product::<i32>() as usize];
        let of_mgh = file::read(&stored(folder.path(), "a.mgh", &mgh(0, shape, Some(placed), &voxels))).unwrap();
        let middle = of_mgh.grid().affine.to_world(shape.map(|n| f64::from(n) / 2.0));
        let vector = |axis: usize| {
            let [a, b, c] = directions[axis].map(|d| f64::from(d) * f64::from(spacing[axis]));
            format!("({a},{b},{c})")
        };
        let [x, y, z] = of_mgh.grid().affine.origin_mm();
        let mut fields = with("space", "right-anterior-superior");
        for (name, value) in &mut fields {
            *value = match *name {
                "type" => "uint8".to_owned(),
                "sizes" => format!("{} {} {}", shape[0], shape[1], shape[2]),
                "space directions" => format!("{} {} {}", vector(0), vector(1), vector(2)),
                "space origin" => format!("({x},{y},{z})"),
                _ => continue,
            };
        }
        let fields: Vec<(&str, &str)> = fields.iter().map(|(n, v)| (*n, v.as_str())).collect();
        let of_nrrd = file::read(&stored(folder.path(), "a.nrrd", &nrrd(&fields, &voxels))).unwrap();
        for axis in 0..3 {
            prop_assert!((middle[axis] - f64::from(centre[axis])).abs() < 1e-4);
        }
        prop_assert!(of_mgh.grid().affine.close_to(&of_nrrd.grid().affine, 1e-9));
    }
}
