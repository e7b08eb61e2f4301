//! `cohort.json`: its exact text, writing and reading it, and what is refused.

// The functions that tests share are tests too.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use brainmvp_cohort::{Case, CaseId, Cohort, DataSet, Split};
use brainmvp_volume::Modality;
use proptest::prelude::*;

fn id(text: &str) -> CaseId {
    CaseId::new(text).unwrap()
}

fn example(data: &Path) -> Cohort {
    let mut full = Case::new(id("b"), "person", "set");
    full.images.insert(Modality::T1, data.join("b/b_t1.nii.gz"));
    full.images.insert(Modality::Flair, data.join("b/b_flair.nii.gz"));
    full.label = Some(data.join("b/b_seg.nii.gz"));
    full.brain_mask = Some(data.join("b/mask.nii.gz"));
    (full.site, full.class, full.split) = (Some("A".into()), Some("HGG".into()), Some(Split::Training));
    let mut small = Case::new(id("a"), "a", "other");
    small.images.insert(Modality::Adc, data.join("a.nii"));
    let declared = |scheme: &str| DataSet { label_scheme: Some(scheme.parse().unwrap()) };
    Cohort {
        name: "example".into(),
        data_sets: [("set".into(), declared("brats_2023")), ("other".into(), declared("1=stroke"))].into(),
        cases: vec![full, small],
    }
}

const GOLDEN: &str = r#"{
  "format": "brainmvp-cohort",
  "version": 1,
  "name": "example",
  "data_sets": {
    "other": {
      "label_scheme": {
        "1": "stroke"
      }
    },
    "set": {
      "label_scheme": "brats_2023"
    }
  },
  "cases": [
    {
      "id": "a",
      "subject": "a",
      "data_set": "other",
      "images": {
        "adc": "data/a.nii"
      }
    },
    {
      "id": "b",
      "subject": "person",
      "data_set": "set",
      "site": "A",
      "class": "HGG",
      "split": "training",
      "images": {
        "flair": "data/b/b_flair.nii.gz",
        "t1": "data/b/b_t1.nii.gz"
      },
      "label": "data/b/b_seg.nii.gz",
      "brain_mask": "data/b/mask.nii.gz"
    }
  ]
}
"#;

#[test]
fn the_text_is_stable() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("cohort.json");
    let mut cohort = example(&folder.path().join("data"));
    cohort.save(&file).unwrap();
    assert_eq!(std::fs::read_to_string(&file).unwrap(), GOLDEN);
    cohort.sort();
    let loaded = Cohort::load(&file).unwrap();
    assert_eq!(loaded, cohort);
    loaded.save(&file).unwrap();
    assert_eq!(std::fs::read_to_string(&file).unwrap(), GOLDEN);
}

#[test]
fn it_may_lie_elsewhere_than_the_data() {
    let folder = tempfile::tempdir().unwrap();
    let (data, lists) = (folder.path().join("data"), folder.path().join("lists/mine"));
    for path in [data.join("b"), lists.clone()] {
        std::fs::create_dir_all(path).unwrap();
    }
    std::fs::write(data.join("a.nii"), "here").unwrap();
    let file = lists.join("cohort.json");
    example(&data).save(&file).unwrap();
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.contains(r#""adc": "../../data/a.nii""#), "{text}");
    // After the whole folder has moved, it still finds its data.
    let moved = tempfile::tempdir().unwrap();
    let target = moved.path().join("all");
    std::fs::rename(folder.path(), &target).unwrap();
    let cohort = Cohort::load(&target.join("lists/mine/cohort.json")).unwrap();
    let path = &cohort.cases[0].images[&Modality::Adc];
    assert_eq!(std::fs::read_to_string(path).unwrap(), "here");
}

#[cfg(unix)]
#[test]
fn links_in_folder_names_do_not_mislead() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    for path in ["disk/deep/lists", "data"] {
        std::fs::create_dir_all(root.join(path)).unwrap();
    }
    std::os::unix::fs::symlink(root.join("disk/deep/lists"), root.join("lists")).unwrap();
    std::fs::write(root.join("data/a.nii"), "here").unwrap();
    let file = root.join("lists/cohort.json");
    example(&root.join("data")).save(&file).unwrap();
    let cohort = Cohort::load(&file).unwrap();
    assert_eq!(std::fs::read_to_string(&cohort.cases[0].images[&Modality::Adc]).unwrap(), "here");
}

#[test]
fn what_is_no_cohort_is_refused_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("cohort.json");
    let rows = [
        ("{", "not JSON"),
        ("{\"training\": []}", "brainmvp index"),
        (&GOLDEN.replace("\"version\": 1", "\"version\": 7"), "version 7"),
        (&GOLDEN.replace("\"site\"", "\"sight\""), "unknown field `sight`"),
        (&GOLDEN.replace("\"adc\"", "\"adcc\""), "unknown variant `adcc`"),
        (&GOLDEN.replace("\"id\": \"a\"", "\"id\": \"../a\""), "case id \"../a\""),
        (&GOLDEN.replace("\"id\": \"a\"", "\"id\": \"B\""), "occurs twice"),
        (
            &GOLDEN.replace("\"data_set\": \"set\"", "\"data_set\": \"sett\""),
            "'sett' is not in \"data_sets\"",
        ),
        (&GOLDEN.replace("brats_2023", "brats_2032"), "unknown label scheme 'brats_2032'"),
        (&GOLDEN.replace("\"1\": \"stroke\"", "\"x\": \"stroke\""), "label value 'x'"),
    ];
    for (text, reason) in rows {
        std::fs::write(&file, text).unwrap();
        let message = Cohort::load(&file).unwrap_err().to_string();
        assert!(message.contains(reason) && message.contains("cohort.json"), "{reason}: {message}");
        assert!(message.lines().count() <= 2, "{message}");
    }
}

#[test]
fn saving_refuses_two_cases_of_one_name() {
    let folder = tempfile::tempdir().unwrap();
    let mut cohort = example(folder.path());
    cohort.cases[0].id = id("A");
    assert!(cohort.save(&folder.path().join("cohort.json")).unwrap_err().to_string().contains("twice"));
    assert!(!folder.path().join("cohort.json").exists());
}

fn a_path() -> impl Strategy<Value = PathBuf> {
    prop::collection::vec("[a-zA-Z0-9 _é-]{1,8}", 1..4)
        .prop_map(|parts| parts.iter().map(|part| format!("x{part}x")).collect())
}

prop_compose! {
    fn a_case()(
        subject in "[a-z]{1,5}",
        images in prop::collection::btree_map(prop::sample::select(&Modality::ALL[..]), a_path(), 0..8),
        label in prop::option::of(a_path()),
        brain_mask in prop::option::of(a_path()),
        site in prop::option::of(".*"),
        class in prop::option::of(".*"),
        split in prop::option::of(prop::sample::select(&[Split::Training, Split::Validation, Split::Test][..])),
    ) -> Case {
        Case { images, label, brain_mask, site, class, split, ..Case::new(id("x"), subject, "set") }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, rng_seed: proptest::test_runner::RngSeed::Fixed(7), ..ProptestConfig::default() })]

    #[test]
    fn every_cohort_comes_back(
        cases in prop::collection::btree_map("[a-z0-9][a-z0-9._ -]{0,6}[a-z0-9]", a_case(), 0..6),
        elsewhere in any::<bool>(),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let real = std::fs::canonicalize(folder.path()).unwrap();
        let (data, lists) = (real.join("data"), real.join("lists"));
        for path in [&data, &lists] {
            std::fs::create_dir_all(path).unwrap();
        }
        let root = if elsewhere { "../data" } else { "." };
        let mut cohort = Cohort { name: "x".into(), data_sets: [("set".into(), DataSet::default())].into(), cases: Vec::new() };
        for (name, mut case) in cases {
            case.id = id(&name);
            for path in case.images.values_mut().chain(&mut case.label).chain(&mut case.brain_mask) {
                *path = real.join(if elsewhere { "data" } else { "lists" }).join(&*path);
            }
            cohort.cases.push(case);
        }
        cohort.sort();
        let file = lists.join("cohort.json");
        cohort.save(&file).unwrap();
        let loaded = Cohort::load(&file).unwrap();
        let mut expected = cohort.clone();
        for case in &mut expected.cases {
            for path in case.images.values_mut().chain(&mut case.label).chain(&mut case.brain_mask) {
                if elsewhere {
                    *path = lists.join(root).join(path.strip_prefix(&data).unwrap());
                }
            }
        }
        prop_assert_eq!(&loaded, &expected);
    }
}
