//! Draws a phantom: one column per modality (MRA as a maximum projection), one row per plane.
//!
//! ```text
//! cargo run --release -p brainmvp-phantom --example montage -- montage.png size=192 disease=glioma case=3
//! ```

use std::error::Error;
use std::path::Path;

use brainmvp_phantom::{Disease, DiseaseMix, Head, PhantomCase, PhantomConfig, draw_subject};
use brainmvp_volume::picture::{Picture, Plane};
use brainmvp_volume::{Grid, Modality, Volume};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let out = arguments.next().ok_or("usage: montage OUT.png [size=|seed=|case=|disease=|head=]...")?;
    let mut config = PhantomConfig { missing_rate: 0.0, ..PhantomConfig::default() };
    let (mut case, mut zoom) = (0, 1);
    for argument in arguments {
        let (key, value) = argument.split_once('=').ok_or("options are key=value")?;
        match key {
            "size" => config.size = value.parse()?,
            "seed" => config.seed = value.parse()?,
            "case" => case = value.parse()?,
            "sites" => config.sites = value.parse()?,
            "modalities" => {
                config.modalities = value.split(',').map(str::parse).collect::<Result<_, String>>()?;
            }
            "zoom" => zoom = value.parse()?,
            "high" => config.high_grade_share = value.parse()?,
            "head" => config.head = if value == "whole" { Head::Whole } else { Head::Stripped },
            "disease" => {
                let disease =
                    Disease::ALL.into_iter().find(|d| d.name() == value).ok_or("no such disease")?;
                config.lesions = DiseaseMix::only(disease);
            }
            _ => return Err(format!("unknown option '{key}'").into()),
        }
    }
    montage(&draw_subject(&config, case).render()).scaled(zoom).write_png(Path::new(&out))?;
    Ok(())
}

fn montage(case: &PhantomCase) -> Picture {
    let focus = focus(case);
    let rows: Vec<Vec<Picture>> = Plane::ALL
        .iter()
        .map(|plane| {
            let column = |(modality, image): (&Modality, &Volume<f32>)| {
                let is_projected = *modality == Modality::Mra;
                let white = percentile(image, if is_projected { 0.9995 } else { 0.99 });
                let [.., through] = plane.axes();
                let (shown, at) = if is_projected {
                    (projection(image, through), 0)
                } else {
                    (image.clone(), focus[through])
                };
                Picture::slice(shown.voxels(), shown.shape(), *plane, at, (0.0, white))
            };
            case.images.iter().map(column).collect()
        })
        .collect();
    Picture::table(&rows.iter().map(|row| row.iter().collect()).collect::<Vec<_>>())
}

/// The middle of the lesion in the axial slice that contains most of it, or a little above the middle of the grid.
fn focus(case: &PhantomCase) -> [usize; 3] {
    let [nx, ny, nz] = case.label.shape();
    let lesion = |z: usize| {
        let slice = &case.label.voxels()[z * nx * ny..][..nx * ny];
        slice
            .iter()
            .enumerate()
            .filter(|(_, label)| [1, 3].contains(*label))
            .map(|(place, _)| place)
            .collect()
    };
    let fullest: Vec<usize> = (0..nz).map(lesion).max_by_key(Vec::len).unwrap_or_default();
    let Some(z) = (0..nz).find(|z| lesion(*z) == fullest).filter(|_| !fullest.is_empty()) else {
        return [nx / 2, ny / 2, nz * 53 / 100];
    };
    let mean = |along: fn(usize, usize) -> usize| {
        fullest.iter().map(|place| along(*place, nx)).sum::<usize>() / fullest.len()
    };
    [mean(|place, nx| place % nx), mean(|place, nx| place / nx), z]
}

fn percentile(image: &Volume<f32>, share: f64) -> f32 {
    let mut values: Vec<f32> = image.voxels().iter().copied().filter(|v| *v > 0.0).collect();
    values.sort_by(f32::total_cmp);
    values.get((values.len() as f64 * share) as usize).copied().unwrap_or(1.0)
}

/// The brightest voxel along an axis, as a volume of one voxel along it.
fn projection(image: &Volume<f32>, axis: usize) -> Volume<f32> {
    let mut shape = image.shape();
    shape[axis] = 1;
    let mut flat = Volume::filled(Grid::new(shape, image.grid().affine), 0.0_f32);
    for (place, value) in image.voxels().iter().enumerate() {
        let mut voxel = image.grid().voxel(place);
        voxel[axis] = 0;
        let to = flat.grid().offset(voxel);
        let brightest = &mut flat.voxels_mut()[to];
        *brightest = brightest.max(*value);
    }
    flat
}
