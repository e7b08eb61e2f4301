//! Images under names that leave open what they are: what `index` makes of them by their voxels.

// The functions that tests share are tests too.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use brainmvp_cohort::layouts::{IndexOptions, index};
use brainmvp_phantom::{Head, PhantomConfig, write_cohort};
use brainmvp_volume::Modality::{self, Flair, T1, T1c, T2};

/// The images of one session, correctly named.
type Session = Vec<(Modality, PathBuf)>;

/// Names with more than one meaning, and the modalities that they are given to.
const AMBIGUOUS: [(&str, &[Modality]); 3] =
    [("T1_T2", &[T1, T1c, T2]), ("FLAIR_T1", &[T1, T1c, Flair]), ("T2_FLAIR_T1_all", &[T1, T1c, T2, Flair])];

/// Right, left open, wrong; by name and modality.
type Counts = BTreeMap<(&'static str, Modality), [usize; 3]>;

/// Gives every image of a session in turn every ambiguous name, and counts what `index` takes it for.
fn count(session: &Session, counts: &mut Counts) {
    for (hidden, (truth, image)) in session.iter().enumerate() {
        for (name, _) in AMBIGUOUS.iter().filter(|(_, modalities)| modalities.contains(truth)) {
            let folder = tempfile::tempdir().unwrap();
            let place = |name: &str, image: &Path| {
                let link = folder.path().join(format!("P1/{name}.nii.gz"));
                std::fs::create_dir_all(link.parent().unwrap()).unwrap();
                std::fs::copy(image, link).unwrap();
            };
            for (_, (modality, image)) in session.iter().enumerate().filter(|(at, _)| *at != hidden) {
                place(if *modality == T1c { "T1_post_contrast" } else { modality.name() }, image);
            }
            place(name, image);
            let taken = index(folder.path(), "plain", &IndexOptions::default()).ok().and_then(|found| {
                let case = found.cohort.cases.into_iter().next()?;
                let is = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().starts_with(name);
                case.images.into_iter().find(|(_, path)| is(path)).map(|(modality, _)| modality)
            });
            let at = taken.map_or(1, |taken| if taken == *truth { 0 } else { 2 });
            if at == 2 {
                eprintln!("{} as {name}: taken for {taken:?}", image.display());
            }
            counts.entry((name, *truth)).or_default()[at] += 1;
        }
    }
}

fn report(what: &str, counts: &Counts) {
    for ((name, truth), [right, open, wrong]) in counts {
        eprintln!("{what}\t{name}\t{truth}\tright {right}\topen {open}\twrong {wrong}");
        assert_eq!(*wrong, 0, "{what}: {truth} as {name}");
    }
}

#[test]
fn phantoms_under_ambiguous_names_are_never_taken_for_another() {
    let mut counts = Counts::new();
    for (head, seed) in [(Head::Stripped, 0), (Head::Whole, 1)] {
        let folder = tempfile::tempdir().unwrap();
        let modalities = vec![T1, T1c, T2, Flair];
        let config = PhantomConfig {
            cases: 4,
            size: 64,
            seed,
            head,
            missing_rate: 0.0,
            modalities,
            ..PhantomConfig::default()
        };
        let cohort = write_cohort(&config, folder.path(), &|_| ()).unwrap();
        for case in cohort.cases {
            count(&case.images.into_iter().collect(), &mut counts);
        }
    }
    report("phantom", &counts);
    let right: usize = counts.values().map(|[right, ..]| right).sum();
    assert!(right > 0, "the voxels decide something");
}

#[test]
fn real_images_under_ambiguous_names_are_never_taken_for_another() {
    let default = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    let data = std::env::var_os("BRAINMVP_TEST_DATA").map_or(default, PathBuf::from);
    if !data.is_dir() {
        eprintln!("skipped: no real data at {}; set BRAINMVP_TEST_DATA", data.display());
        return;
    }
    let mut counts = Counts::new();
    for folder in [
        "tcga-lgg",
        "nichart",
        "brats-gli-00001",
        "isles22-0009",
        "tcga-fg-6692/raw",
        "tcga-fg-6692/reference/raw_bet",
    ] {
        let found = index(&data.join(folder), "auto", &IndexOptions::default()).unwrap();
        for case in found.cohort.cases {
            let known =
                case.images.into_iter().filter(|(modality, _)| [T1, T1c, T2, Flair].contains(modality));
            count(&known.collect(), &mut counts);
        }
    }
    report("real", &counts);
}
