//! Damaged files of volumes: an error or another volume, within a second and little memory.

#![allow(clippy::unwrap_used, reason = "a failing test may panic")]

mod handmade;

use std::io::Write as _;
use std::path::Path;

use brainmvp_fuzz::{Memory, Place, Seed, fuzz};
use brainmvp_volume::nifti::{self, Datatype, WriteOptions};
use brainmvp_volume::{Affine, Grid, Volume, file};
use flate2::{Compression, write::GzEncoder};
use handmade::Handmade;

#[global_allocator]
static MEMORY: brainmvp_fuzz::Counting = brainmvp_fuzz::Counting;

/// The file, four bytes for each voxel of one, and two for its label.
const PLAIN: Memory = Memory { fixed: 64 << 10, for_each_byte: 8 };

/// A header may claim as much as deflate can hold, 1032 times the file; that is asked for once, and given back if it is not there.
const PACKED: Memory = Memory { fixed: 256 << 10, for_each_byte: 1100 };

fn packed(bytes: Vec<u8>) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(&bytes).unwrap();
    encoder.finish().unwrap()
}

/// Header, voxels and labels, as all commands read them.
fn read(path: &Path) -> Result<(), String> {
    let header = file::read_header(path).map_err(|e| e.to_string())?;
    let other = file::voxel_file(path);
    let volume = file::read(path).map_err(|e| e.to_string())?;
    assert_eq!(volume.shape(), header.grid.shape);
    assert!(other.is_ok(), "{other:?}");
    drop(file::as_labels(&volume, path));
    Ok(())
}

fn volume() -> Volume {
    let grid = Grid::new([5, 4, 3], Affine::from_spacing([1.0, 2.0, 3.0], [-4.0, 5.5, 6.0]));
    Volume::new(grid, (0..grid.len()).map(|i| i as f32).collect())
}

/// The numbers of a header of version 1: sizes, type, place of the voxels, scaling, placement.
fn numbers() -> Vec<(usize, usize)> {
    let dims = (0..8).map(|i| (40 + 2 * i, 2));
    let floats = (0..8).map(|i| (76 + 4 * i, 4)).chain([108, 112, 116].map(|at| (at, 4)));
    let places = (256..328).step_by(4).map(|at| (at, 4));
    dims.chain([(0, 4), (70, 2), (72, 2), (123, 1), (252, 2), (254, 2)]).chain(floats).chain(places).collect()
}

fn nifti_files() -> Vec<Vec<u8>> {
    [Datatype::U8, Datatype::I16, Datatype::F32, Datatype::F64]
        .map(|datatype| nifti::encode(&volume(), datatype, "seed"))
        .into()
}

#[test]
fn nifti_plain() {
    let place = Place::new("a.nii");
    let mut seeds: Vec<Seed> =
        nifti_files().into_iter().map(|bytes| Seed::new(bytes).with_numbers(numbers())).collect();
    let mut second = Handmade::new(2, true, &[3.0, 5.0, 4.0, 3.0], 4).bytes;
    second.extend((0..120_u8).collect::<Vec<_>>());
    let dims = (0..8).map(|i| (16 + 8 * i, 8));
    let others = [(12, 2), (168, 8), (176, 8), (184, 8), (344, 4), (348, 4)];
    seeds.push(Seed::new(second).with_numbers(dims.chain(others)));
    fuzz("NIfTI (.nii)", &seeds, PLAIN, |bytes| read(place.holding(bytes)));
}

#[test]
fn nifti_packed() {
    let place = Place::new("a.nii.gz");
    let inside =
        nifti_files().into_iter().map(|bytes| Seed::new(bytes).with_numbers(numbers()).packed_by(packed));
    let outside = nifti_files().into_iter().map(|bytes| Seed::new(packed(bytes)));
    let seeds: Vec<Seed> = inside.chain(outside).collect();
    fuzz("NIfTI (.nii.gz)", &seeds, PACKED, |bytes| read(place.holding(bytes)));
}

/// The header is damaged, or the gzipped voxels.
#[test]
fn nifti_pairs() {
    for (name, damaged) in [("a.hdr", "a.hdr"), ("b.hdr", "b.img.gz")] {
        let place = Place::new(damaged);
        let header = place.folder().join(name);
        let written = place.folder().join(if name == damaged { "a.hdr" } else { "b.hdr.gz" });
        nifti::write(
            &written,
            &volume(),
            WriteOptions { datatype: Datatype::I16, ..WriteOptions::default() },
        )
        .unwrap();
        if name != damaged {
            let packed = std::fs::read(&written).unwrap();
            let mut bytes = Vec::new();
            std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&packed[..]), &mut bytes).unwrap();
            std::fs::write(&header, bytes).unwrap();
            std::fs::remove_file(written).unwrap();
        }
        let seed = std::fs::read(place.folder().join(damaged)).unwrap();
        let seed = if name == damaged { Seed::new(seed).with_numbers(numbers()) } else { Seed::new(seed) };
        let reader = format!("NIfTI pair ({})", &damaged[1..]);
        fuzz(&reader, &[seed], PACKED, |bytes| {
            place.holding(bytes);
            read(&header)
        });
    }
}

fn mgh(kind: i32, size: usize, placed: bool) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend([1, 5, 4, 3, 1, kind, 0].into_iter().flat_map(i32::to_be_bytes));
    bytes.extend(i16::from(placed).to_be_bytes());
    let place = [1.0, 2.0, 3.0, -1.0, 0.0, 0.0, 0.0, 0.0, -1.0, 0.0, 1.0, 0.0, 4.0, 5.0, 6.0];
    bytes.extend(place.into_iter().flat_map(f32::to_be_bytes));
    bytes.resize(284, 0);
    bytes.extend((0..60 * size).map(|i| i as u8));
    bytes
}

#[test]
fn mgh_plain_and_packed() {
    let files = || {
        [(0, 1, true), (1, 4, true), (3, 4, true), (4, 2, false)]
            .map(|(kind, size, placed)| mgh(kind, size, placed))
    };
    let numbers = || (0..7).map(|i| (4 * i, 4)).chain([(28, 2)]).chain((0..15).map(|i| (30 + 4 * i, 4)));
    let place = Place::new("a.mgh");
    let seeds = files().map(|bytes| Seed::new(bytes).with_numbers(numbers()));
    fuzz("MGH (.mgh)", &seeds, PLAIN, |bytes| read(place.holding(bytes)));
    let place = Place::new("a.mgz");
    let inside = files().map(|bytes| Seed::new(bytes).with_numbers(numbers()).packed_by(packed));
    let outside = files().map(|bytes| Seed::new(packed(bytes)));
    let seeds: Vec<Seed> = inside.into_iter().chain(outside).collect();
    fuzz("MGH (.mgz)", &seeds, PACKED, |bytes| read(place.holding(bytes)));
}

fn nrrd_header(encoding: &str, more: &str) -> String {
    format!(
        "NRRD0004\n# a comment\ntype: short\ndimension: 3\nspace: left-posterior-superior\nsizes: 5 4 3\n\
         space directions: (0.5,0,0) (0,0.25,0) (0, 0, 3)\nkinds: domain domain domain\nendian: little\n\
         encoding: {encoding}\nspace origin: (10,-20,30)\n{more}\n"
    )
}

fn nrrd_voxels() -> Vec<u8> {
    (0..120).collect()
}

/// The voxels are packed behind the header: it is damaged, and then a valid gzip stream follows; or all is damaged.
#[test]
fn nrrd() {
    let place = Place::new("a.nrrd");
    let raw = [nrrd_header("raw", "a key:=its: value\n").as_bytes(), &nrrd_voxels()].concat();
    fuzz("NRRD (.nrrd, raw)", &[Seed::new(raw)], PLAIN, |bytes| read(place.holding(bytes)));
    let behind = |mut header: Vec<u8>| {
        header.extend(packed(nrrd_voxels()));
        header
    };
    let header = || nrrd_header("gzip", "space units: \"mm\" \"mm\" \"mm\"\n").into_bytes();
    let seeds = [Seed::new(header()).packed_by(behind), Seed::new(behind(header()))];
    fuzz("NRRD (.nrrd, gzip)", &seeds, PACKED, |bytes| read(place.holding(bytes)));
}

#[test]
fn nrrd_beside_its_voxels() {
    let place = Place::new("a.nhdr");
    std::fs::write(place.folder().join("a.raw"), nrrd_voxels()).unwrap();
    std::fs::write(place.folder().join("a.raw.gz"), packed(nrrd_voxels())).unwrap();
    let seeds = [
        ("raw", "data file: a.raw\nbyte skip: 0\n"),
        ("raw", "byte skip: -1\ndata file: a.raw\n"),
        ("gzip", "data file: a.raw.gz\n"),
    ];
    let seeds = seeds.map(|(encoding, more)| Seed::new(nrrd_header(encoding, more)));
    fuzz("NRRD (.nhdr)", &seeds, PACKED, |bytes| read(place.holding(bytes)));
}
