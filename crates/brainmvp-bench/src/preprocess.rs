//! Preparing one volume, from its file to voxels in [0, 1].

use std::collections::BTreeMap;
use std::hint::black_box;
use std::path::Path;
use std::time::Instant;

use brainmvp_phantom::{Head, PhantomConfig, draw_subject};
use brainmvp_prep::{CaseVolumes, CropKind, Pipeline, PrepConfig, SkullStrip};
use brainmvp_volume::nifti::{self, Datatype, WriteOptions};
use brainmvp_volume::{Affine, Grid, Modality, Volume};

use crate::child::Sample;
use crate::memory::Memory;
use crate::work::Shape;
use crate::{Error, Result};

/// A stand-in for the modality of a file; no step depends on it.
const MODALITY: Modality = Modality::T1;

/// The voxels of the volumes correspond to patches with this many along an axis.
const PATCH: usize = 96;

/// The grid of a series: voxels, their size in mm, and how far it is turned about x, in degrees.
struct Series {
    head: Head,
    voxels: [usize; 3],
    spacing_mm: [f64; 3],
    turned_degrees: f64,
}

/// As acquired: a whole head, thick oblique slices.
const CLINICAL: Series =
    Series { head: Head::Whole, voxels: [256, 224, 26], spacing_mm: [0.9, 0.9, 5.5], turned_degrees: 5.0 };

/// Registered: only a brain.
const REGISTERED: Series =
    Series { head: Head::Stripped, voxels: [240, 240, 155], spacing_mm: [1.0; 3], turned_degrees: 0.0 };

/// A description of the input.
pub(crate) fn described(shape: &Shape) -> String {
    let read = |file: &Path| nifti::read_header(file).ok().map(|header| header.grid);
    match shape.file.as_deref().and_then(read) {
        None => "one volume".to_owned(),
        Some(grid) => {
            let ([x, y, z], [dx, dy, dz]) = (grid.shape, grid.affine.spacing_mm());
            format!(
                "one volume, {x} x {y} x {z} voxels of {dx:.2} x {dy:.2} x {dz:.2} mm, .nii.gz to [0, 1] at 1 mm"
            )
        }
    }
}

/// Writes a clinical series.
pub(crate) fn write_clinical(shape: &Shape, file: &Path) -> Result<()> {
    CLINICAL.write(shape, file)
}

/// Writes a registered series.
pub(crate) fn write_registered(shape: &Shape, file: &Path) -> Result<()> {
    REGISTERED.write(shape, file)
}

impl Series {
    /// Writes a phantom, as 16-bit numbers, gzipped.
    fn write(&self, shape: &Shape, file: &Path) -> Result<()> {
        let config =
            PhantomConfig { head: self.head, modalities: vec![MODALITY], ..PhantomConfig::default() };
        let view = config.grid();
        let centre_mm = view.affine.to_world(view.shape.map(|n| (n as f64 - 1.0) / 2.0));
        let mut subject = draw_subject(&config, 0);
        subject.grid = self.grid(shape.size, centre_mm);
        let image = subject
            .render()
            .images
            .remove(&MODALITY)
            .ok_or(Error::Missing { what: "image of the phantom" })?;
        let options = WriteOptions { datatype: Datatype::I16, ..WriteOptions::default() };
        Ok(nifti::write(file, &image, options)?)
    }

    /// The grid around a point, with fewer and larger voxels for smaller patches; its axes are LPS.
    fn grid(&self, size: usize, centre_mm: [f64; 3]) -> Grid {
        let voxels = self.voxels.map(|n| (n * size / PATCH).max(2));
        let [dx, dy, dz] = self.spacing_mm.map(|mm| mm * PATCH as f64 / size as f64);
        let (sin, cos) = self.turned_degrees.to_radians().sin_cos();
        let rows = [[-dx, 0.0, 0.0], [0.0, -dy * cos, -dz * sin], [0.0, -dy * sin, dz * cos]];
        let middle = voxels.map(|n| (n as f64 - 1.0) / 2.0);
        let placed = |axis: usize| {
            let [x, y, z] = rows[axis];
            [x, y, z, centre_mm[axis] - x * middle[0] - y * middle[1] - z * middle[2]]
        };
        Grid::new(voxels, Affine::from_rows(std::array::from_fn(placed)))
    }
}

/// Prepares a file repeatedly; the first time is a warm-up. The result is written next to it, to be compared.
pub(crate) fn measure(shape: &Shape, folder: &Path) -> Result<Sample> {
    let file = shape.file.as_deref().ok_or(Error::Missing { what: "file to prepare" })?;
    let pipeline = Pipeline::new(&config())?;
    let mut seconds = Vec::new();
    for _ in 0..=shape.repetitions {
        let begun = Instant::now();
        black_box(prepare(file, &pipeline)?);
        seconds.push(begun.elapsed().as_secs_f64());
    }
    let peak_memory_bytes = Memory::peak_of_this_process();
    nifti::write(&folder.join(PREPARED), &prepare(file, &pipeline)?, WriteOptions::default())?;
    Ok(Sample { seconds: seconds.split_off(1), peak_memory_bytes, ..Sample::default() })
}

/// The name of the result.
pub(crate) const PREPARED: &str = "prepared.nii";

/// The steps of the reference program, in its order.
fn config() -> PrepConfig {
    let steps = ["reorient", "common_grid", "resample", "normalize", "crop"];
    PrepConfig {
        steps: steps.map(str::to_owned).to_vec(),
        skull_strip: SkullStrip::None,
        crop: CropKind::BoundingBox,
        ..PrepConfig::default()
    }
}

fn prepare(file: &Path, pipeline: &Pipeline) -> Result<Volume> {
    let images = BTreeMap::from([(MODALITY, nifti::read(file)?)]);
    let mut case = CaseVolumes::new(images, None, None);
    pipeline.run(&mut case)?;
    case.images.remove(&MODALITY).ok_or(Error::Missing { what: "volume after the preparation" })
}
