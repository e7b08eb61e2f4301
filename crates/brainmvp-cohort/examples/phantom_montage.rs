//! Draws one phantom as a picture: a column a modality (MRA as a maximum projection), a row a plane.
//!
//! ```text
//! cargo run --release -p brainmvp-cohort --example phantom_montage -- montage.png size=192 disease=glioma case=3
//! ```

use std::error::Error;
use std::fs::File;
use std::io::BufWriter;

use brainmvp_cohort::phantom::{Disease, DiseaseMix, Head, PhantomCase, PhantomConfig, draw_subject};
use brainmvp_volume::{Modality, Volume};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let out =
        arguments.next().ok_or("usage: phantom_montage OUT.png [size=|seed=|case=|disease=|head=]...")?;
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
    write_png(&out, &montage(&draw_subject(&config, case).render()).enlarged(zoom))?;
    Ok(())
}

/// Grey values in rows.
struct Picture {
    width: usize,
    height: usize,
    grey: Vec<u8>,
}

impl Picture {
    fn black(width: usize, height: usize) -> Self {
        Self { width, height, grey: vec![0; width * height] }
    }

    /// Every pixel as a square of `zoom` pixels.
    fn enlarged(&self, zoom: usize) -> Self {
        let mut large = Self::black(self.width * zoom, self.height * zoom);
        for (place, grey) in large.grey.iter_mut().enumerate() {
            let (row, column) = (place / large.width / zoom, place % large.width / zoom);
            *grey = self.grey[row * self.width + column];
        }
        large
    }

    fn paste(&mut self, other: &Self, left: usize, top: usize) {
        for row in 0..other.height {
            let target = (top + row) * self.width + left;
            self.grey[target..target + other.width]
                .copy_from_slice(&other.grey[row * other.width..][..other.width]);
        }
    }
}

fn montage(case: &PhantomCase) -> Picture {
    let focus = focus(case);
    let columns: Vec<[Picture; 3]> = case
        .images
        .iter()
        .map(|(modality, image)| {
            let white = percentile(image, if *modality == Modality::Mra { 0.9995 } else { 0.99 });
            [2, 1, 0].map(|axis| plane(image, axis, focus[axis], white, *modality == Modality::Mra))
        })
        .collect();
    let width = columns.iter().map(|column| column.iter().map(|p| p.width).max().unwrap_or(0)).sum();
    let heights: Vec<usize> =
        (0..3).map(|row| columns.iter().map(|c| c[row].height).max().unwrap_or(0)).collect();
    let mut picture = Picture::black(width, heights.iter().sum());
    let mut left = 0;
    for column in &columns {
        let mut top = 0;
        for (plane, height) in column.iter().zip(&heights) {
            picture.paste(plane, left, top);
            top += height;
        }
        left += column.iter().map(|p| p.width).max().unwrap_or(0);
    }
    picture
}

/// The middle of the lesion in the axial slice that holds most of it, or a little above the middle of the grid.
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

/// A plane across `axis`, up or front at the top, the patient's left on the right.
fn plane(image: &Volume<f32>, axis: usize, at: usize, white: f32, projection: bool) -> Picture {
    let shape = image.shape();
    let (across, up) = [(1, 2), (0, 2), (0, 1)][axis];
    let mut picture = Picture::black(shape[across], shape[up]);
    for row in 0..picture.height {
        for column in 0..picture.width {
            let mut voxel = [at; 3];
            voxel[across] = shape[across] - 1 - column;
            voxel[up] = shape[up] - 1 - row;
            let value = if projection {
                (0..shape[axis])
                    .map(|depth| {
                        voxel[axis] = depth;
                        image.at(voxel)
                    })
                    .fold(0.0, f32::max)
            } else {
                image.at(voxel)
            };
            picture.grey[row * picture.width + column] = (255.0 * (value / white).clamp(0.0, 1.0)) as u8;
        }
    }
    picture
}

fn write_png(path: &str, picture: &Picture) -> Result<(), Box<dyn Error>> {
    let file = BufWriter::new(File::create(path)?);
    let mut encoder = png::Encoder::new(file, picture.width as u32, picture.height as u32);
    encoder.set_color(png::ColorType::Grayscale);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.write_header()?.write_image_data(&picture.grey)?;
    Ok(())
}
