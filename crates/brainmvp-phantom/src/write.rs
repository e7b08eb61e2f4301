//! Writes phantoms to files.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use brainmvp_cohort::{Case, CaseId, Cohort, DataSet, Result};
use brainmvp_volume::AtPath as _;
use brainmvp_volume::nifti::{self, Datatype, WriteOptions};
use rayon::prelude::*;

use super::{Disease, PhantomConfig, Subject, draw_subject};

/// Memory (bytes) for all cases that are being made at the same time, unless a single one needs more.
const MEMORY_BYTES: usize = 2 << 30;

/// Bytes per voxel of a case that is being made: eight signals, eight images, label, mask and their copies.
const BYTES_PER_VOXEL: usize = 96;

/// Generates the cohort in the folder `out` (created if missing): `<case>/<case>_<modality>.nii.gz` (16-bit whole
/// numbers), `<case>/<case>_seg.nii.gz` if there is a lesion, `<case>/<case>_mask.nii.gz`, and `cohort.json`, which is
/// also returned: the grade of a glioma is its class, and the volumes of brain and lesion are numbers (`brain_ml`,
/// `lesion_ml`). `progress` is called with the number of finished cases.
///
/// The files contain the same voxels for any number of threads and on every machine.
///
/// # Errors
/// [`Error::Option`](brainmvp_cohort::Error::Option) for a configuration that [`PhantomConfig::check`] refuses; [`Error::File`](brainmvp_cohort::Error::File) and
/// [`Error::Volume`](brainmvp_cohort::Error::Volume) if a file cannot be written or the disk is full.
pub fn write_cohort(config: &PhantomConfig, out: &Path, progress: &(dyn Fn(usize) + Sync)) -> Result<Cohort> {
    config.check()?;
    std::fs::create_dir_all(out).at(out)?;
    let voxels = config.grid().len();
    let at_once = (MEMORY_BYTES / (voxels * BYTES_PER_VOXEL)).clamp(1, rayon::current_num_threads());
    let done = AtomicUsize::new(0);
    let mut cohort = Cohort { name: "phantom".to_owned(), ..Cohort::default() };
    for first in (0..config.cases).step_by(at_once) {
        let cases = (first..config.cases.min(first + at_once)).into_par_iter().map(|index| {
            let subject = draw_subject(config, index);
            let case = write_case(&subject, out)?;
            progress(done.fetch_add(1, Ordering::Relaxed) + 1);
            Ok((subject.disease, case))
        });
        for (disease, case) in cases.collect::<Result<Vec<(Disease, Case)>>>()? {
            let data_set = DataSet { label_scheme: disease.label_scheme() };
            cohort.data_sets.insert(case.data_set.clone(), data_set);
            cohort.cases.push(case);
        }
    }
    cohort.sort();
    cohort.save(&out.join("cohort.json"))?;
    Ok(cohort)
}

fn write_case(subject: &Subject, out: &Path) -> Result<Case> {
    let folder = out.join(&subject.id);
    std::fs::create_dir_all(&folder).at(&folder)?;
    let file = |name: &str| folder.join(format!("{}_{name}.nii.gz", subject.id));
    let rendered = subject.render();
    let mut case = Case::new(CaseId::new(&rendered.id)?, &rendered.id, rendered.data_set);
    case.site = Some(rendered.site);
    case.class = rendered.class;
    for (name, map) in [("brain_ml", &rendered.brain_mask), ("lesion_ml", &rendered.label)] {
        let voxels = map.voxels().iter().filter(|value| **value > 0).count();
        let spacing = map.grid().affine.spacing_mm();
        case.numbers.insert(name.to_owned(), voxels as f64 * spacing.iter().product::<f64>() / 1000.0);
    }
    for (modality, image) in &rendered.images {
        let path = file(modality.name());
        let options = WriteOptions {
            datatype: Datatype::I16,
            description: "brainmvp phantom".to_owned(),
            ..WriteOptions::default()
        };
        nifti::write(&path, image, options)?;
        case.images.insert(*modality, path);
    }
    if subject.disease != Disease::Healthy {
        let path = file("seg");
        nifti::write_labels(&path, &rendered.label, "brainmvp phantom label")?;
        case.label = Some(path);
    }
    let path = file("mask");
    nifti::write_labels(&path, &rendered.brain_mask, "brainmvp phantom brain mask")?;
    case.brain_mask = Some(path);
    Ok(case)
}
