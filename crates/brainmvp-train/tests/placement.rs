//! Where templates come to lie on cases of other spacings, other places and other spaces.

#![allow(clippy::unwrap_used, clippy::print_stdout)] // that is how a test fails and what it found

use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{LazyLock, Mutex};

use brainmvp_cohort::{Case, CaseId, Cohort, DataSet};
use brainmvp_objectives::patch::PatchSource as _;
use brainmvp_objectives::{FrozenTemplates, Placement};
use brainmvp_phantom::{PhantomConfig, draw_subject};
use brainmvp_prep::{PrepConfig, RunOptions, SkullStrip, Space, StoredType, preprocess};
use brainmvp_registration::Transform;
use brainmvp_train::Ranks;
use brainmvp_train::batches::{CaseSource, open_cases};
use brainmvp_train::placement::{How, Placed, PlacementRule, Placer, TemplateFrame, TemplateSet};
use brainmvp_train::pretrain::pretrain;
use brainmvp_train::pretrained::Pretrained;
use brainmvp_train::run::{Existing, RunRequest};
use brainmvp_train::trainer::{Ended, Observer};
use brainmvp_volume::Modality::T1;
use brainmvp_volume::nifti::{self, WriteOptions};
use brainmvp_volume::resample::{Interpolation, onto_grid};
use brainmvp_volume::{Affine, Grid, Volume};
use tempfile::TempDir;

/// The T1 of some subjects at 4 mm, all of one pose but each with a brain of its own shape.
static SUBJECTS: LazyLock<Vec<Volume>> = LazyLock::new(|| {
    let config = PhantomConfig {
        size: 48,
        modalities: vec![T1],
        missing_rate: 0.0,
        rotation_deg: 0.0,
        translation_mm: 0.0,
        ..PhantomConfig::default()
    };
    (0..4).map(|index| draw_subject(&config, index).render().images.remove(&T1).unwrap()).collect()
});

struct Silent;

impl Observer for Silent {
    fn warn(&self, text: &str) {
        panic!("{text}");
    }
}

/// A cache of one case with this image, at a spacing.
fn prepared(folder: &Path, image: &Volume, spacing_mm: f64) -> CaseSource {
    cache(folder, &[("one", image)], spacing_mm).remove(0)
}

/// A cache of a case for each image, `folder/cache`.
fn cache(folder: &Path, images: &[(&str, &Volume)], spacing_mm: f64) -> Vec<CaseSource> {
    std::fs::create_dir_all(folder).unwrap();
    let mut cohort = Cohort { name: "test".to_owned(), ..Cohort::default() };
    for (name, image) in images {
        let path = folder.join(format!("{name}_t1.nii.gz"));
        nifti::write(&path, image, WriteOptions::default()).unwrap();
        let mut case = Case::new(CaseId::new(*name).unwrap(), *name, "phantoms");
        case.images.insert(T1, path);
        cohort.cases.push(case);
    }
    cohort.data_sets.insert("phantoms".to_owned(), DataSet::default());
    let config = PrepConfig {
        spacing_mm: [spacing_mm; 3],
        skull_strip: SkullStrip::None,
        dtype: StoredType::F32,
        ..PrepConfig::default()
    };
    let stop = AtomicBool::new(false);
    let options = RunOptions { memory_bytes: 1 << 30, force: false, stop: &stop };
    preprocess(&cohort, &folder.join("cache"), &config, &options, &|_| {}).unwrap();
    open_cases(&folder.join("cache"), &Silent).unwrap()
}

/// Templates whose T1 is the mean of the registered volumes of some cases of one grid.
fn templates(cases: &[CaseSource]) -> TemplateSet {
    let registered = *cases[0].registered_grid();
    let mut mean = vec![0.0; registered.shape.iter().product()];
    for case in cases {
        let start = case.crop_offset().map(|offset| -(offset as isize));
        let whole = case.patch(T1, start, registered.shape).unwrap();
        mean.iter_mut().zip(whole).for_each(|(sum, value)| *sum += value / cases.len() as f32);
    }
    let grid = Grid::from(&registered);
    let frozen = FrozenTemplates::new(grid.shape, Some(grid.affine), Some(1e-6), [(T1, mean)]);
    TemplateSet { frozen, frame: Some(TemplateFrame { registered, space: Some(Space::Native) }) }
}

/// The image moved rigidly; no voxel changes.
fn moved(image: &Volume) -> (Volume, Transform) {
    let (sin, cos) = 14_f64.to_radians().sin_cos();
    let turn = Transform::from_rows([[cos, -sin, 0.0, 23.0], [sin, cos, 0.0, -11.0], [0.0, 0.0, 1.0, 9.0]]);
    let (sin, cos) = (-9_f64).to_radians().sin_cos();
    let nod = Transform::from_rows([[1.0, 0.0, 0.0, 0.0], [0.0, cos, -sin, 6.0], [0.0, sin, cos, 0.0]]);
    let there = turn.after(&nod);
    (there.inverse().unwrap().move_volume(image.clone()).unwrap(), there)
}

/// The correlation of the images over all voxels.
fn correlation(a: &[f32], b: &[f32]) -> f64 {
    brainmvp_metrics::images::correlation(a, b, &vec![true; a.len()])
}

/// How like the case the template is, as it lies on it.
fn likeness(templates: &TemplateSet, case: &CaseSource, placement: Placement) -> f64 {
    let template = templates.frozen.crop(T1, placement, [0; 3], case.shape()).unwrap();
    correlation(&template, &case.patch(T1, [0; 3], case.shape()).unwrap())
}

#[track_caller]
fn placed(templates: &TemplateSet, rule: PlacementRule, case: &CaseSource) -> (Placement, How) {
    match Placer::new(templates, rule, None).place(case).unwrap() {
        Placed::At(placement, how) => (placement, how),
        other => panic!("{other:?}"),
    }
}

#[test]
fn another_spacing_lies_where_the_world_says() {
    let folder = TempDir::new().unwrap();
    let templates = templates(&[prepared(&folder.path().join("4"), &SUBJECTS[0], 4.0)]);
    for spacing_mm in [6.0, 3.0] {
        let case = prepared(&folder.path().join(spacing_mm.to_string()), &SUBJECTS[0], spacing_mm);
        let (placement, how) = placed(&templates, PlacementRule::Auto, &case);
        assert_eq!(how, How::World);
        let (world, centred) = (likeness(&templates, &case, placement), {
            let (placement, _) = placed(&templates, PlacementRule::Centre, &case);
            likeness(&templates, &case, placement)
        });
        println!("{spacing_mm} mm: {world:.3}, voxel by voxel {centred:.3}");
        assert!(world > 0.97 && centred < 0.7, "{spacing_mm} mm: {world}, voxel by voxel {centred}");
    }
}

#[test]
fn cases_of_the_grid_of_the_templates_are_copied_as_ever() {
    let folder = TempDir::new().unwrap();
    let cases: Vec<CaseSource> =
        (0..2).map(|i| prepared(&folder.path().join(i.to_string()), &SUBJECTS[i], 4.0)).collect();
    let templates = templates(&cases);
    for case in &cases {
        let (world, how) = placed(&templates, PlacementRule::Auto, case);
        assert_eq!((world, how), (Placement::centred(case, templates.frozen.size()), How::World));
        assert!(matches!(world, Placement::Shift(_)));
        let refusing = placed(&templates, PlacementRule::Refuse, case);
        assert_eq!(refusing, (world, How::World));
    }
}

/// How far a registered template is from where the case was moved: degrees, and mm in the middle and at the ends of a brain;
/// and how much more like the case it is there than where the case was moved. `there` takes places in the template to those
/// in the case.
fn missed_by(templates: &TemplateSet, case: &CaseSource, there: &Transform) -> (f64, Vec<f64>, f64) {
    let (placement, how) = placed(templates, PlacementRule::Auto, case);
    assert!(matches!(how, How::Registered { modality: T1, similarity } if similarity > 0.05), "{how:?}");
    let Placement::Affine(map) = placement else { panic!("{placement:?}") };
    let template = templates.frozen.grid().unwrap();
    let world = template.affine.after(&map);
    let found = Transform::from_rows(world.after(&case.grid().affine.inverse().unwrap()).rows());
    let there_and_back = found.after(there);
    let ends = [[0.0; 3], [60.0, 0.0, 0.0], [0.0, 75.0, 0.0], [0.0, 0.0, 50.0], [0.0, -75.0, 0.0]];
    let mm = ends.map(|end| there_and_back.distance_mm(&Transform::identity(), end));
    let back = Affine::from_rows(there.inverse().unwrap().rows()).after(&case.grid().affine);
    let truth = Placement::new(template.affine.inverse().unwrap().after(&back), case.shape());
    let [found, moved] = [placement, truth].map(|placement| likeness(templates, case, placement));
    let degrees = there_and_back.rotation_deg();
    println!(
        "{degrees:.2} degrees, {mm:.2?} mm, {how}, correlation {found:.3}, where it was moved {moved:.3}"
    );
    (degrees, mm.to_vec(), found - moved)
}

#[test]
fn a_case_in_a_space_of_its_own_gets_its_template_by_registration() {
    let folder = TempDir::new().unwrap();
    let (image, there) = moved(&SUBJECTS[0]);
    let case = prepared(&folder.path().join("moved"), &image, 5.0);
    let of = |subject: usize| prepared(&folder.path().join(subject.to_string()), &SUBJECTS[subject], 4.0);
    // Of the very same head, and of three others that differ from it in shape.
    let (degrees, mm, _) = missed_by(&templates(&[of(0)]), &case, &there);
    assert!(degrees < 2.0 && mm.iter().all(|mm| *mm < 2.0), "{degrees}, {mm:?}");
    // A mean of other heads fits best where its size and shape are those of this head, not where this one was moved.
    let (degrees, mm, gain) = missed_by(&templates(&[of(1), of(2), of(3)]), &case, &there);
    assert!(degrees < 2.0 && mm[0] < 2.0 && gain > 0.0, "{degrees}, {mm:?}, {gain}");
}

#[test]
fn a_case_in_a_space_of_its_own_is_refused_by_option() {
    let folder = TempDir::new().unwrap();
    let templates = templates(&[prepared(&folder.path().join("one"), &SUBJECTS[0], 4.0)]);
    let case = prepared(&folder.path().join("moved"), &moved(&SUBJECTS[0]).0, 4.0);
    let Placed::Refused(reason) = Placer::new(&templates, PlacementRule::Refuse, None).place(&case).unwrap()
    else {
        panic!("it is refused");
    };
    assert!(reason.contains("in another place than those"), "{reason}");
    // A registered case and native templates have no coordinates in common either.
    let elsewhere = TemplateFrame {
        space: Some(Space::Standard(brainmvp_registration::StandardSpace::Sri24)),
        ..templates.frame.clone().unwrap()
    };
    let templates = TemplateSet { frame: Some(elsewhere), ..templates };
    let case = prepared(&folder.path().join("again"), &SUBJECTS[0], 4.0);
    let Placed::Refused(reason) = Placer::new(&templates, PlacementRule::Refuse, None).place(&case).unwrap()
    else {
        panic!("it is refused");
    };
    assert!(reason.contains("a native space") && reason.contains("SRI24"), "{reason}");
}

#[test]
fn a_transform_is_found_once() {
    let folder = TempDir::new().unwrap();
    let set = templates(&[prepared(&folder.path().join("one"), &SUBJECTS[0], 4.0)]);
    let case = prepared(&folder.path().join("moved"), &moved(&SUBJECTS[0]).0, 4.0);
    let cache = folder.path().join("moved/cache");
    let place = |set: &TemplateSet| Placer::new(set, PlacementRule::Auto, Some(&cache)).place(&case).unwrap();
    let files = || -> Vec<_> {
        std::fs::read_dir(cache.join("placements")).unwrap().map(|file| file.unwrap().path()).collect()
    };
    let found = place(&set);
    let [file] = files().try_into().unwrap();
    assert!(file.file_name().unwrap().to_string_lossy().starts_with("one."), "{}", file.display());
    assert_eq!(place(&set), found);
    // What stands in the file counts: it is not searched again.
    let text = std::fs::read_to_string(&file).unwrap();
    let similarity = text.lines().find(|line| line.contains("similarity")).unwrap();
    std::fs::write(&file, text.replace(similarity, "      \"similarity\": 0.75,")).unwrap();
    let Placed::At(_, How::Registered { similarity, .. }) = place(&set) else { panic!("registered") };
    assert_eq!(similarity, 0.75);
    // A damaged file is made anew, and other templates have a file of their own.
    std::fs::write(&file, "{").unwrap();
    assert_eq!(place(&set), found);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
    let other = templates(&[prepared(&folder.path().join("two"), &SUBJECTS[1], 4.0)]);
    assert_ne!(place(&other), found);
    assert_eq!(files().len(), 2);
}

#[test]
fn what_cannot_be_registered_goes_without() {
    let folder = TempDir::new().unwrap();
    let set = templates(&[prepared(&folder.path().join("one"), &SUBJECTS[0], 4.0)]);
    let grid = set.frozen.grid().unwrap();
    let noise = |i: usize| ((i as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) as f32;
    let noise = Volume::new(grid, (0..grid.len()).map(noise).collect());
    let case = prepared(&folder.path().join("noise"), &moved(&noise).0, 4.0);
    let placed = Placer::new(&set, PlacementRule::Auto, None).place(&case).unwrap();
    assert!(matches!(&placed, Placed::Nowhere(reason) if reason.contains("t1")), "{placed:?}");
}

/// Pre-trains for one step with one more setting; what it says.
fn pretrained(data: &Path, out: &str, setting: &str) -> (brainmvp_train::Result<Ended>, String) {
    let settings = ["model.preset=tiny", "patch.size=16", "train.batch_size=2", "train.max_steps=1", setting];
    let request = RunRequest {
        data: data.to_owned(),
        out: data.with_file_name(out),
        config: None,
        settings: settings.map(str::to_owned).to_vec(),
        existing: Existing::Refuse,
        device: "cpu".into(),
        ranks: Ranks::alone(),
    };
    let told = Told::default();
    let ended = pretrain(&request, &AtomicBool::new(false), &told);
    (ended, told.0.into_inner().unwrap().join("\n"))
}

#[test]
fn pre_training_takes_no_cases_of_several_spaces() {
    let folder = TempDir::new().unwrap();
    let rows = [[-2.0, 0.0, 0.0, 90.0], [0.0, 2.0, 0.0, -126.0], [0.0, 0.0, 2.0, -72.0]];
    let mni = Grid::new([91, 109, 91], Affine::from_rows(rows));
    let standard = onto_grid(&SUBJECTS[2], &mni, Interpolation::Trilinear, 0.0);
    cache(folder.path(), &[("a", &SUBJECTS[0]), ("b", &standard), ("c", &SUBJECTS[1])], 6.0);
    let data = folder.path().join("cache");
    let (ended, _) = pretrained(&data, "refused", "data.other_spaces=refuse");
    let message = ended.unwrap_err().to_string();
    for word in ["1 of 3 cases", "'b' (MNI152", "not a native space", "data.other_spaces"] {
        assert!(message.contains(word), "{message}");
    }
    assert!(!folder.path().join("refused").exists());
    let (ended, told) = pretrained(&data, "without", "data.other_spaces=leave_out");
    assert_eq!(ended.unwrap(), Ended::Finished);
    assert!(told.contains("case 'b' is left out: MNI152"), "{told}");
    let frame = |run: &str| {
        let pretrained = Pretrained::open(&folder.path().join(run)).unwrap();
        pretrained.templates.unwrap().frame.unwrap()
    };
    assert_eq!(frame("without").space, Some(Space::Native));
    let (ended, _) = pretrained(&data, "with", "data.other_spaces=accept");
    assert_eq!(ended.unwrap(), Ended::Finished);
    assert_eq!(frame("with").space, None);
}

/// What a run says.
#[derive(Default)]
struct Told(Mutex<Vec<String>>);

impl Observer for Told {
    fn note(&self, text: &str) {
        self.0.lock().unwrap().push(text.to_owned());
    }

    fn warn(&self, text: &str) {
        self.0.lock().unwrap().push(text.to_owned());
    }
}
