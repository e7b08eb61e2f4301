//! A raw clinical case, prepared in the space of an atlas, compared with the result of a known pipeline.
//!
//! That pipeline registered T1c to another copy of the atlas, with its head, and took each image through up to three
//! interpolations, one of them onto the thick slices of T1c. The best that can be expected of our program is therefore
//! what the pipeline's own transforms give with one interpolation.
//!
//! The files are those of [`test_data`].

#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::collections::BTreeMap;
use std::path::PathBuf;

use brainmvp_golden::test_data;
use brainmvp_prep::{CaseVolumes, ContentFile, Pipeline, PrepConfig, RegisterKind};
use brainmvp_registration::Transform;
use brainmvp_volume::Modality::{Flair, T1, T1c, T2};
use brainmvp_volume::resample::{Interpolation, onto_grid};
use brainmvp_volume::{LabelMap, Modality, Volume, nifti};

/// Modality, name of its raw file, name in the reference.
const SERIES: [(Modality, &str, &str); 4] =
    [(T1c, "t1c", "t1c"), (T1, "t1", "t1"), (T2, "t2", "t2"), (Flair, "flair", "fla")];

struct Reference {
    folder: PathBuf,
    mask: LabelMap,
}

impl Reference {
    fn volume(&self, name: &str) -> Volume {
        nifti::read(&self.folder.join(format!("raw_bet/OtherEXampleFromTCIA_{name}_bet_raw.nii.gz"))).unwrap()
    }

    /// A matrix of NiftyReg: floating mm from reference mm, RAS+.
    fn transform(&self, name: &str) -> Transform {
        let text = std::fs::read_to_string(self.folder.join(name)).unwrap();
        let numbers: Vec<f64> = text.split_whitespace().map(|n| n.parse().unwrap()).collect();
        Transform::from_rows(std::array::from_fn(|r| std::array::from_fn(|c| numbers[4 * r + c])))
    }

    /// The correlation of an image with that of the reference, over the reference's mask less where `image` is 0.
    fn correlation(&self, image: &Volume, name: &str) -> f64 {
        let ours = onto_grid(image, self.mask.grid(), Interpolation::Trilinear, 0.0);
        let theirs = self.volume(name);
        let pairs = ours.voxels().iter().zip(theirs.voxels()).zip(self.mask.voxels());
        let inside = pairs.filter(|((ours, _), inside)| **inside > 0 && **ours != 0.0).map(|(pair, _)| pair);
        let [mut n, mut a, mut b, mut aa, mut bb, mut ab] = [0.0_f64; 6];
        for (x, y) in inside.map(|(x, y)| (f64::from(*x), f64::from(*y))) {
            (n, a, b, aa, bb, ab) = (n + 1.0, a + x, b + y, aa + x * x, bb + y * y, ab + x * y);
        }
        (n * ab - a * b) / ((n * aa - a * a) * (n * bb - b * b)).sqrt()
    }
}

fn dice(a: &LabelMap, b: &LabelMap) -> f64 {
    let pairs = || a.voxels().iter().zip(b.voxels());
    let both = pairs().filter(|(a, b)| **a > 0 && **b > 0).count();
    let either = pairs().map(|(a, b)| usize::from(*a > 0) + usize::from(*b > 0)).sum::<usize>();
    2.0 * both as f64 / either as f64
}

fn data() -> Option<PathBuf> {
    let needed = ["tcga-fg-6692/reference", "templates/sri24_t1_1mm_skull_stripped.nii.gz"];
    needed.iter().all(|name| test_data(name).is_some()).then(|| test_data(""))?
}

#[test]
fn a_raw_case_beside_another_pipeline() {
    let Some(data) = data() else { return };
    let folder = data.join("tcga-fg-6692/reference");
    let mask = nifti::read_labels(&folder.join("brain-extraction/atlas_bet_t1c_mask.nii.gz")).unwrap();
    let reference = Reference { folder, mask };
    let raw = |name| nifti::read(&data.join(format!("tcga-fg-6692/raw/{name}.nii.gz"))).unwrap();
    let raw: BTreeMap<Modality, Volume> = SERIES.map(|(modality, name, _)| (modality, raw(name))).into();

    let steps = ["register", "reorient", "common_grid", "resample", "skull_strip", "brain_mask"];
    let pipeline = Pipeline::new(&PrepConfig {
        steps: steps.map(str::to_owned).to_vec(),
        register: RegisterKind::Rigid,
        atlas: Some(ContentFile::of(&data.join("templates/sri24_t1_1mm_skull_stripped.nii.gz")).unwrap()),
        ..PrepConfig::default()
    });
    let mut case = CaseVolumes::new(raw.clone(), None, None);
    let records = pipeline.unwrap().run(&mut case).unwrap();

    let found =
        onto_grid(case.brain_mask.as_ref().unwrap(), reference.mask.grid(), Interpolation::Nearest, 0);
    let dice = dice(&found, &reference.mask);
    println!("brain mask: Dice {dice:.4}");
    assert!(dice >= 0.95, "Dice {dice}");

    // From the space of the atlas to that of each file.
    let placed = |modality: Modality| {
        let rows = &records[0].did["images"][modality.name()]["transform"];
        Transform::from_rows(serde_json::from_value(rows.clone()).unwrap())
    };
    let to_t1c = placed(T1c).inverse().unwrap();
    let atlas = reference.transform("atlas-registration/atlas__t1c.txt");
    let moved = |transform: Transform, modality| transform.move_volume(raw[&modality].clone()).unwrap();
    for (modality, name, theirs) in SERIES {
        let as_it_comes = reference.correlation(&case.images[&modality], theirs);
        // Ours from T1c to this series, after theirs from the atlas to T1c.
        let series = placed(modality).after(&to_t1c).after(&atlas);
        let ours = reference.correlation(&moved(series, modality), theirs);
        let their_series = if modality == T1c {
            atlas
        } else {
            let registered = reference.transform(&format!("co-registration/co__t1c__{name}.txt"));
            let corrected =
                reference.transform(&format!("atlas-correction/atlas_corrected__t1c__{name}.txt"));
            registered.after(&atlas).after(&corrected)
        };
        let most = reference.correlation(&moved(their_series, modality), theirs);
        println!(
            "{modality}: correlation {as_it_comes:.4} as it comes, {ours:.4} by their way to the atlas, of {most:.4}"
        );
        assert!(as_it_comes > 0.7, "{modality}: {as_it_comes}");
        assert!(ours > most - 0.08, "{modality}: {ours}, with the transforms of the reference {most}");
    }
}
