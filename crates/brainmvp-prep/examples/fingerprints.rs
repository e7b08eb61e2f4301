//! How alike fingerprints of the same image are, and those of different patients: the figures of `docs/leakage.md`.
//!
//! `cargo run --release --example fingerprints -- CACHE [CACHE...]`
//!
//! The first cache is compared with itself (different subjects), with copies of its images that were turned, shifted, put
//! on another grid, scaled and stored mirrored (the same image), and with each further cache: cases of one id are the same
//! images, prepared in another way or from other files; all others are different.

#![allow(clippy::print_stdout)]

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use brainmvp_prep::cache::Cache;
use brainmvp_prep::fingerprint::{Fingerprint, Library};
use brainmvp_volume::resample::{Interpolation, onto_grid};
use brainmvp_volume::{Affine, Grid, Modality, Volume};
use rayon::prelude::*;

/// Pairs of different patients that are compared, at most.
const MOST_PAIRS: usize = 4000;

type Prints = BTreeMap<(Modality, String), Fingerprint>;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let caches: Vec<String> = std::env::args().skip(1).collect();
    let Some((first, others)) = caches.split_first() else {
        return Err("name one or more caches".into());
    };
    let reference = fingerprints(first, |image| image)?;
    let turned = fingerprints(first, |image| moved(&image))?;
    same("same, turned, shifted, another grid, gamma", &reference, &turned);
    same("same, mirrored in its file", &reference, &fingerprints(first, |image| mirrored(&image))?);
    different("different patients", &reference, &reference);
    for other in others {
        let prints = fingerprints(other, |image| image)?;
        same(&format!("same, {other}"), &reference, &prints);
        different(&format!("different, {other}"), &reference, &prints);
    }
    search(&reference);
    Ok(())
}

fn fingerprints(
    folder: &str,
    change: impl Fn(Volume) -> Volume,
) -> Result<Prints, Box<dyn std::error::Error>> {
    let cache = Cache::open(Path::new(folder))?;
    let (mut prints, mut seconds, mut bytes) = (Prints::new(), 0.0, 0);
    for entry in cache.cases() {
        let case = cache.open_case(entry)?;
        for modality in case.modalities() {
            let mut voxels = vec![0.0; case.shape().iter().product()];
            case.read_patch(modality, [0; 3], case.shape(), &mut voxels)?;
            let image = change(Volume::new(case.grid().into(), voxels));
            let started = Instant::now();
            let print = Fingerprint::of(&image);
            seconds += started.elapsed().as_secs_f64();
            match print {
                Some(print) => {
                    bytes += String::from(print.clone()).len();
                    prints.insert((modality, entry.case.id.to_string()), print);
                }
                None => println!("no fingerprint: {} {modality}", entry.case.id),
            }
        }
    }
    let count = prints.len().max(1);
    let each = (1000.0 * seconds / count as f64, bytes / count);
    println!("{folder}: {count} images, {:.0} ms and {} bytes each", each.0, each.1);
    Ok(prints)
}

/// Turned by 6, -5 and 7 degrees, shifted, on a grid of 2 x 2 x 3 mm, darker and of another gamma.
fn moved(image: &Volume) -> Volume {
    let turn = nalgebra::Rotation3::from_euler_angles(0.105, -0.087, 0.122).into_inner();
    let shift = [4.0, 5.0, -6.0];
    let rows = std::array::from_fn(|r| [turn[(r, 0)], turn[(r, 1)], turn[(r, 2)], shift[r]]);
    let grid = Grid::new(image.shape(), Affine::from_rows(rows).after(&image.grid().affine));
    let image = Volume::new(grid, image.voxels().iter().map(|v| (0.6 * v).powf(0.7)).collect());
    let last = image.shape().map(|n| (n - 1) as f64);
    let middle = grid.affine.to_world(last.map(|last| last / 2.0));
    let size = (0..3).map(|axis| last[axis] * grid.affine.spacing_mm()[axis]).fold(0.0, f64::max);
    let spacing = [2.0, 2.0, 3.0];
    let shape = spacing.map(|spacing| (1.2 * size / spacing).ceil() as usize);
    let origin = std::array::from_fn(|axis| middle[axis] - 0.6 * size);
    onto_grid(&image, &Grid::new(shape, Affine::from_spacing(spacing, origin)), Interpolation::Trilinear, 0.0)
}

/// The axes in another order, one of them reversed, and the affine silent about it.
fn mirrored(image: &Volume) -> Volume {
    let [nx, ny, nz] = image.shape();
    let [sx, sy, sz] = image.grid().affine.spacing_mm();
    let grid = Grid::new([ny, nx, nz], Affine::from_spacing([sy, sx, sz], [0.0; 3]));
    let voxel = |at| {
        let [y, x, z] = grid.voxel(at);
        image.at([nx - 1 - x, y, z])
    };
    Volume::new(grid, (0..grid.len()).map(voxel).collect())
}

fn same(what: &str, a: &Prints, b: &Prints) {
    let pairs: Vec<_> = a.iter().filter_map(|(key, a)| Some((key.0, a, b.get(key)?))).collect();
    tell(what, &pairs);
}

fn different(what: &str, a: &Prints, b: &Prints) {
    let of = |key: &(Modality, String)| {
        let key = key.clone();
        b.iter().filter(move |(other, _)| other.0 == key.0 && other.1 != key.1)
    };
    let pairs: Vec<_> = a.iter().flat_map(|(key, a)| of(key).map(move |(_, b)| (key.0, a, b))).collect();
    let step = pairs.len().div_ceil(MOST_PAIRS).max(1);
    tell(what, &pairs.into_iter().step_by(step).collect::<Vec<_>>());
}

/// The distribution of the similarities, by modality.
fn tell(what: &str, pairs: &[(Modality, &Fingerprint, &Fingerprint)]) {
    let started = Instant::now();
    let found: Vec<_> = pairs.par_iter().map(|(modality, a, b)| (*modality, a.similarity(b))).collect();
    let each = 1000.0 * started.elapsed().as_secs_f64() / pairs.len().max(1) as f64;
    println!("{what}: {} pairs, {each:.1} ms each", pairs.len());
    let mut by_modality: BTreeMap<Modality, Vec<f64>> = BTreeMap::new();
    for (modality, value) in found {
        by_modality.entry(modality).or_default().push(value);
    }
    for (modality, mut values) in by_modality {
        values.sort_by(f64::total_cmp);
        let at = |share: f64| values[((values.len() - 1) as f64 * share).round() as usize];
        let shown = [0.0, 0.01, 0.5, 0.99, 1.0].map(|share| format!("{:.3}", at(share))).join(" ");
        let over = values.iter().filter(|value| **value >= Fingerprint::SAME_IMAGE).count();
        println!(
            "  {modality:6} n {:5}  min 1% 50% 99% max  {shown}  taken to be the same {over}",
            values.len()
        );
    }
}

/// What it takes to look for each image among all.
fn search(prints: &Prints) {
    let mut libraries: BTreeMap<Modality, Library> = BTreeMap::new();
    for ((modality, _), print) in prints {
        libraries.entry(*modality).or_default().add(print);
    }
    let started = Instant::now();
    let mut found = 0;
    for ((modality, case), print) in prints {
        let names: Vec<&String> = prints.keys().filter(|key| key.0 == *modality).map(|key| &key.1).collect();
        for other in libraries[modality].find(print) {
            found += 1;
            if names[other.entry] != case {
                println!(
                    "  {modality} of {case} is also that of {}: {:.3}",
                    names[other.entry], other.similarity
                );
            }
        }
    }
    let compared: usize = prints.keys().map(|key| prints.iter().filter(|(k, _)| k.0 == key.0).count()).sum();
    let each = 1e6 * started.elapsed().as_secs_f64() / compared as f64;
    println!("search of {} images: {found} found, {each:.0} microseconds for each comparison", prints.len());
}
