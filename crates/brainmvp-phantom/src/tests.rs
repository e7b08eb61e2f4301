//! What a phantom cohort must keep to, seen from outside and against the tissues that it was made from.

use std::collections::BTreeMap;

use brainmvp_volume::Modality;

use super::subject::Subject;
use super::tissue::Tissue;
use super::*;

fn config(disease: Disease) -> PhantomConfig {
    PhantomConfig {
        size: 64,
        seed: 11,
        missing_rate: 0.0,
        lesions: DiseaseMix::only(disease),
        ..PhantomConfig::default()
    }
}

fn fingerprint(case: &PhantomCase) -> String {
    let mut hasher = blake3::Hasher::new();
    for image in case.images.values() {
        for value in image.voxels() {
            hasher.update(&value.to_le_bytes());
        }
    }
    for labels in [&case.label, &case.brain_mask] {
        for value in labels.voxels() {
            hasher.update(&value.to_le_bytes());
        }
    }
    hasher.finalize().to_hex()[..16].to_owned()
}

/// Mean of an image over the voxels that are nearly all of one tissue.
fn mean(subject: &Subject, case: &PhantomCase, modality: Modality, tissue: Tissue) -> f64 {
    let image = &case.images[&modality];
    let values: Vec<f64> = subject
        .voxels_of(tissue, 0.85)
        .into_iter()
        .filter(|offset| case.brain_mask.voxels()[*offset] == 1)
        .map(|offset| f64::from(image.voxels()[offset]))
        .collect();
    assert!(values.len() > 20, "only {} voxels of {tissue:?}", values.len());
    values.iter().sum::<f64>() / values.len() as f64
}

#[test]
fn one_seed_gives_one_case_everywhere() {
    let mut config = config(Disease::Glioma);
    config.size = 40;
    let case = draw_subject(&config, 3).render();
    assert_eq!(fingerprint(&case), "5df5f443fc7bb30b", "the phantom changed: is that meant?");
}

#[test]
fn threads_change_nothing() {
    let mut config = config(Disease::Metastases);
    config.size = 40;
    let with = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| fingerprint(&draw_subject(&config, 0).render()))
    };
    assert_eq!(with(1), with(5));
}

#[test]
fn tissues_have_the_contrast_of_their_sequence() {
    let config = config(Disease::Healthy);
    for index in 0..3 {
        let subject = draw_subject(&config, index);
        let case = subject.render();
        let of = |modality| {
            [Tissue::Fluid, Tissue::Cortex, Tissue::White].map(|t| mean(&subject, &case, modality, t))
        };
        let [fluid, grey, white] = of(Modality::T1);
        assert!(white > grey && grey > fluid, "T1: {fluid} {grey} {white}");
        let [fluid, grey, white] = of(Modality::T2);
        assert!(fluid > 1.5 * grey && grey > white, "T2: {fluid} {grey} {white}");
        let [fluid, grey, white] = of(Modality::Flair);
        assert!(grey > white && fluid < 0.5 * white, "FLAIR: {fluid} {grey} {white}");
        let [fluid, grey, white] = of(Modality::Pd);
        assert!(grey > white && fluid < 1.6 * white, "PD: {fluid} {grey} {white}");
        let [fluid, grey, white] = of(Modality::Dwi);
        assert!(grey > white && fluid < white, "DWI: {fluid} {grey} {white}");
        let [fluid, grey, white] = of(Modality::Adc);
        assert!(fluid > 2.0 * grey && (600.0..900.0).contains(&white), "ADC: {fluid} {grey} {white}");
    }
}

#[test]
fn stroke_restricts_diffusion_and_closes_the_artery() {
    let subject = draw_subject(&config(Disease::Stroke), 1);
    let case = subject.render();
    let of = |modality, tissue| mean(&subject, &case, modality, tissue);
    assert!(of(Modality::Adc, Tissue::InfarctWhite) < 0.75 * of(Modality::Adc, Tissue::White));
    assert!(of(Modality::Dwi, Tissue::InfarctWhite) > 1.3 * of(Modality::Dwi, Tissue::White));
    assert_eq!(case.data_set, "phantom-stroke");
}

#[test]
fn grade_shows_in_the_enhancement() {
    let share = |high_grade_share| {
        let config = PhantomConfig { high_grade_share, ..config(Disease::Glioma) };
        let mut counts = [0_usize; 4];
        for index in 0..3 {
            let subject = draw_subject(&config, index);
            let case = subject.render();
            let expected = if high_grade_share > 0.5 { "high" } else { "low" };
            assert_eq!(case.class.as_deref(), Some(expected));
            case.label.voxels().iter().for_each(|label| counts[*label as usize] += 1);
        }
        assert!(counts[1] > 0 && counts[2] > 0, "{counts:?}");
        counts[3] as f64 / (counts[1] + counts[3]) as f64
    };
    assert_eq!(share(0.0), 0.0);
    assert!(share(1.0) > 0.3);
}

#[test]
fn labels_are_declared_and_images_vary() {
    for disease in Disease::ALL {
        let case = draw_subject(&config(disease), 2).render();
        let scheme = disease.label_scheme();
        let mut found = BTreeMap::new();
        case.label.voxels().iter().for_each(|label| *found.entry(*label).or_insert(0) += 1);
        for label in found.keys() {
            assert!(*label == 0 || scheme.as_ref().is_some_and(|s| s.allows(*label)), "{disease:?} {label}");
        }
        assert_eq!(found.len() > 1, disease != Disease::Healthy, "{disease:?}: {found:?}");
        for (modality, image) in &case.images {
            let inside: Vec<f32> = image.voxels().iter().copied().filter(|v| *v > 0.0).collect();
            let (low, high) = inside.iter().fold((f32::MAX, 0.0_f32), |(l, h), v| (l.min(*v), h.max(*v)));
            assert!(inside.len() > 10_000 && high > 1.2 * low, "{modality}: {low} to {high}");
            for (value, mask) in image.voxels().iter().zip(case.brain_mask.voxels()) {
                assert!(*mask == 1 || *value == 0.0, "{modality}: {value} outside the brain");
            }
        }
    }
}

#[test]
fn whole_heads_hold_the_stripped_brain() {
    let whole = PhantomConfig { head: Head::Whole, ..config(Disease::Healthy) };
    let case = draw_subject(&whole, 0).render();
    let bright = |inside: u16| {
        let pairs = case.images[&Modality::T1].voxels().iter().zip(case.brain_mask.voxels());
        pairs.filter(|(value, mask)| **mask == inside && **value > 100.0).count()
    };
    assert!(bright(1) > 10_000 && bright(0) > 10_000, "{} {}", bright(1), bright(0));
}

#[test]
fn modalities_are_missing_at_the_given_rate() {
    let mut config = PhantomConfig { missing_rate: 0.4, size: 16, ..PhantomConfig::default() };
    let kept = |config: &PhantomConfig| {
        let counts: Vec<usize> =
            (0..200).map(|index| super::subject::drawn_modalities(config, index).len()).collect();
        assert!(counts.iter().all(|count| *count > 0));
        counts.iter().sum::<usize>() as f64 / (200.0 * 8.0)
    };
    // One always stays: 1/8 + 7/8 of the rest.
    let share = kept(&config);
    assert!((share - 0.65).abs() < 0.04, "{share}");
    config.missing_rate = 1.0;
    assert!((kept(&config) - 0.125).abs() < 1e-9);
}

#[test]
fn written_cohort_reads_back() {
    let folder = tempfile::tempdir().unwrap();
    let config = PhantomConfig { cases: 3, size: 24, missing_rate: 0.5, ..PhantomConfig::default() };
    let told = std::sync::atomic::AtomicUsize::new(0);
    let cohort = write_cohort(&config, folder.path(), &|done| {
        told.fetch_max(done, std::sync::atomic::Ordering::Relaxed);
    })
    .unwrap();
    assert_eq!(told.into_inner(), 3);
    let read = brainmvp_cohort::Cohort::load(&folder.path().join("cohort.json")).unwrap();
    assert_eq!(read.cases.len(), 3);
    assert_eq!(read.data_sets, cohort.data_sets);
    for (index, case) in read.cases.iter().enumerate() {
        let rendered = draw_subject(&config, index).render();
        for (modality, path) in &case.images {
            let image = brainmvp_volume::nifti::read(path).unwrap();
            assert_eq!(image.voxels(), rendered.images[modality].voxels());
            assert!(image.grid().same_place(rendered.label.grid(), 1e-3));
        }
    }
}

#[test]
fn impossible_configurations_are_refused() {
    let refused = |change: fn(&mut PhantomConfig)| {
        let mut config = PhantomConfig::default();
        change(&mut config);
        config.check().unwrap_err().to_string()
    };
    assert!(refused(|c| c.size = 4).contains("size is 4"));
    assert!(refused(|c| c.missing_rate = f64::NAN).contains("missing_rate"));
    assert!(refused(|c| c.sites = 0).contains("site"));
    assert!(refused(|c| c.lesions.glioma = f64::INFINITY).contains("lesions"));
    assert!(PhantomConfig::default().check().is_ok());
}
