//! Brains found in whole heads: phantoms, and real heads if their files are available.
//!
//! The files are those of [`test_data`].

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::OnceLock;

use brainmvp_golden::test_data;
use brainmvp_phantom::{Head, PhantomCase, PhantomConfig, draw_subject};
use brainmvp_prep::brain::{BrainPrior, find_brain, is_stripped};
use brainmvp_prep::{CaseVolumes, Pipeline, PrepConfig, SkullStrip};
use brainmvp_volume::Modality::{Adc, T1, T2};
use brainmvp_volume::{Affine, Grid, LabelMap, Volume, nifti};

fn dice(a: &LabelMap, b: &LabelMap) -> f64 {
    let count = |inside: &dyn Fn(u16, u16) -> bool| {
        a.voxels().iter().zip(b.voxels()).filter(|(a, b)| inside(**a, **b)).count() as f64
    };
    2.0 * count(&|a, b| a > 0 && b > 0) / (count(&|a, _| a > 0) + count(&|_, b| b > 0))
}

fn heads() -> PhantomConfig {
    let modalities = vec![T1, T2];
    PhantomConfig { size: 64, head: Head::Whole, modalities, missing_rate: 0.0, ..PhantomConfig::default() }
}

fn rendered() -> &'static PhantomCase {
    static CASE: OnceLock<PhantomCase> = OnceLock::new();
    CASE.get_or_init(|| draw_subject(&heads(), 1).render())
}

#[test]
fn phantoms_of_either_contrast() {
    let case = rendered();
    for (modality, image) in &case.images {
        assert!(!is_stripped(image), "{modality}");
        let found = find_brain(&[image], &BrainPrior::built_in()).unwrap();
        let dice = dice(&found.mask, &case.brain_mask);
        println!("{modality}: Dice {dice:.3}, {:.0} ml", found.volume_ml);
        // There is much fluid and a dark skull around a small brain: the border is between them.
        assert!(dice > 0.86, "{modality}: Dice {dice}");
    }
}

#[test]
fn a_users_prior_takes_the_place_of_the_built_in_one() {
    let case = rendered();
    let prior = BrainPrior::of_mask(&case.brain_mask).unwrap();
    let found = find_brain(&[&case.images[&T1]], &prior).unwrap();
    assert!(dice(&found.mask, &case.brain_mask) > 0.86);
    assert!(BrainPrior::of_mask(&case.brain_mask.map(|_| 0)).is_none());
    assert!(BrainPrior::of_mask(&case.brain_mask.map(|_| 1)).is_none());
}

#[test]
fn the_step_does_what_it_is_told() {
    let rendered = rendered();
    let case = |mask: Option<LabelMap>| CaseVolumes::new(rendered.images.clone(), None, mask);
    let run = |mut case: CaseVolumes, skull_strip| {
        let steps = ["skull_strip", "brain_mask"].map(str::to_owned).to_vec();
        let pipeline = Pipeline::new(&PrepConfig { steps, skull_strip, ..PrepConfig::default() }).unwrap();
        pipeline.run(&mut case).map(|records| (case, records[0].did.clone()))
    };
    let (found, did) = run(case(None), SkullStrip::Auto).unwrap();
    assert_eq!((did["mask"].as_str(), did["from"].as_array().unwrap().len()), (Some("found"), 2));
    assert!((1200.0..2100.0).contains(&did["volume_ml"].as_f64().unwrap()), "{did}");
    assert_eq!(found.images[&T1].voxels()[0], 0.0);
    // Stripped images stay as they are, and so does everything with 'none'.
    assert_eq!(run(found, SkullStrip::Auto).unwrap().1["mask"], "given");
    let (left, _) = run(case(None), SkullStrip::None).unwrap();
    assert!(left.images == rendered.images);
    let (_, did) = run(case(Some(rendered.brain_mask.clone())), SkullStrip::Mask).unwrap();
    assert_eq!((did["mask"].as_str(), did["plausible"].as_bool()), (Some("given"), Some(true)));
    let error = run(case(None), SkullStrip::Mask).unwrap_err().to_string();
    assert!(error.contains("no brain mask"), "{error}");
    // A nearly empty mask is kept, with a warning.
    let mut little = rendered.brain_mask.clone();
    let last = little.voxels().iter().rposition(|v| *v > 0).unwrap();
    little.voxels_mut()[..last].fill(0);
    let (_, did) = run(case(Some(little)), SkullStrip::Auto).unwrap();
    assert!(did["warning"].as_str().unwrap().contains("ml"), "{did}");
    let mut stripped = case(None);
    for image in stripped.images.values_mut() {
        image
            .voxels_mut()
            .iter_mut()
            .zip(rendered.brain_mask.voxels())
            .for_each(|(v, m)| *v *= f32::from(*m));
    }
    // A map whose background the scanner set to 0 says nothing about the other images.
    let map = stripped.images[&T1].clone();
    let mut heads = case(None);
    heads.images.insert(Adc, map);
    let (found, did) = run(heads, SkullStrip::Auto).unwrap();
    assert_eq!((did["mask"].as_str(), did["from"].as_array().unwrap().len()), (Some("found"), 2));
    assert_eq!(found.images[&T1].voxels()[0], 0.0);
    // A stripped image provides the mask for one that is not.
    let mut mixed = stripped.clone();
    mixed.images.insert(T2, rendered.images[&T2].clone());
    let (mixed, did) = run(mixed, SkullStrip::Auto).unwrap();
    assert_eq!(
        (did["mask"].as_str(), did["from"].as_array().unwrap().len()),
        (Some("of stripped images"), 1)
    );
    assert!(dice(mixed.brain_mask.as_ref().unwrap(), &rendered.brain_mask) > 0.98);
    assert_eq!(mixed.images[&T2].voxels()[0], 0.0);
    let mut lesion = stripped.clone();
    lesion.images.insert(T2, rendered.images[&T2].clone());
    let cut = lesion.images.get_mut(&T1).unwrap().voxels_mut();
    let many = cut.len() * 9 / 20;
    cut[..many].fill(0.0);
    cut[many + many / 20..].fill(0.0);
    let (_, did) = run(lesion, SkullStrip::Auto).unwrap();
    assert!(did["warning"].as_str().unwrap().contains("skull is left on t2"), "{did}");
    assert_eq!(run(stripped, SkullStrip::Auto).unwrap().1["mask"], "none needed");
}

/// The image with voxels that are `factor` times as long.
fn sized(image: Volume, factor: f64) -> Volume {
    let mut rows = image.grid().affine.rows();
    rows.iter_mut().flat_map(|row| &mut row[..3]).for_each(|value| *value *= factor);
    Volume::new(Grid::new(image.shape(), Affine::from_rows(rows)), image.into_voxels())
}

#[test]
fn heads_of_any_size() {
    let case = rendered();
    for factor in [0.75, 1.3] {
        let found = find_brain(&[&sized(case.images[&T1].clone(), factor)], &BrainPrior::built_in()).unwrap();
        let dice = dice(&found.mask, &case.brain_mask);
        println!("{factor}: Dice {dice:.3}, {:.0} ml", found.volume_ml);
        assert!(dice > 0.92, "voxels {factor} times as long: Dice {dice}");
    }
}

#[test]
fn a_brain_of_no_size_ends_the_case() {
    let mut rendered = draw_subject(&PhantomConfig { size: 48, ..heads() }, 0).render();
    // The same head with an eighth of its volume, because the header of a file is wrong.
    let images: BTreeMap<_, _> = std::mem::take(&mut rendered.images)
        .into_iter()
        .map(|(modality, image)| (modality, sized(image, 0.5)))
        .collect();
    let run = |images: &BTreeMap<_, _>, any_brain_size: Option<&str>| {
        let steps = vec!["skull_strip".to_owned()];
        let any_brain_size = any_brain_size.map(str::to_owned);
        let pipeline = Pipeline::new(&PrepConfig { steps, any_brain_size, ..PrepConfig::default() })?;
        pipeline.run(&mut CaseVolumes::new(images.clone(), None, None))
    };
    let error = run(&images, None).unwrap_err().to_string();
    assert!(error.contains("skull_strip") && (error.contains("ml") || error.contains("head")), "{error}");
    // The same head with twice its volume: with a reason, its size is a warning.
    let large: BTreeMap<_, _> = images.into_iter().map(|(m, image)| (m, sized(image, 2.0 * 1.3))).collect();
    let error = run(&large, None).unwrap_err().to_string();
    assert!(error.contains("any_brain_size"), "{error}");
    let did = &run(&large, Some("voxel sizes are nominal")).unwrap()[0].did;
    assert_eq!(did["mask"], "found");
    let warning = did["warning"].as_str().unwrap();
    assert!(warning.contains("ml") && warning.ends_with("accepted: voxel sizes are nominal"), "{warning}");
    assert!(run(&large, Some(" ")).unwrap_err().to_string().contains("say why"));
}

#[test]
fn real_heads() {
    let prior = BrainPrior::built_in();
    let patient = ["t1", "t1c", "t2", "flair"].map(|series| {
        let file = |folder: &str| format!("tcga-fg-6692/{folder}/{series}.nii.gz");
        (file("raw"), file("native-masks"), 0.95)
    });
    // Its mask goes further out, into the fluid.
    let average = ("templates/MNI152_T1_2mm.nii.gz", "templates/MNI152_T1_2mm_Brain_Mask.nii.gz", 0.885);
    let average = (average.0.to_owned(), average.1.to_owned(), average.2);
    for (head, mask, least) in patient.into_iter().chain([average]) {
        let [Some(image), Some(mask)] = [head.as_str(), &mask].map(test_data) else { continue };
        let image = nifti::read(&image).unwrap();
        let started = std::time::Instant::now();
        let found = find_brain(&[&image], &prior).unwrap();
        let seconds = started.elapsed().as_secs_f64();
        let dice = dice(&found.mask, &nifti::read_labels(&mask).unwrap());
        println!("{head}: Dice {dice:.4}, {:.0} ml, {seconds:.1} s", found.volume_ml);
        assert!(dice > least, "{head}: Dice {dice}");
    }
}
