//! What passes from one command to the next with a model: which step, and how its cases were prepared.

use std::fs;
use std::path::PathBuf;
use std::sync::OnceLock;

use brainmvp_train::saved::SavedNetwork;
use brainmvp_volume::nifti::{self, WriteOptions};
use brainmvp_volume::{Affine, Grid, Volume};

use crate::program::Place;

/// A place with phantoms registered to an atlas that is named by a relative path and gone afterwards, z-scored, at 6 mm; a
/// pre-training of four steps on them whose best is step 2, and a segmentation that starts from it. Made once.
fn place() -> &'static Place {
    static PLACE: OnceLock<Place> = OnceLock::new();
    PLACE.get_or_init(|| {
        let place = Place::of_all_tests("provenance");
        let phantom = ["phantom", "--out", "phantom", "--cases", "3", "--size", "32", "--lesions", "glioma"];
        place.run(&[&phantom[..], &["--modalities", "flair,t1c", "--quiet"]].concat()).succeeds();
        let image = nifti::read(&place.path("phantom/phantom-0001/phantom-0001_t1c.nii.gz")).unwrap();
        // Elsewhere, so that every case has to be registered.
        let shifted = image.grid().affine.rows();
        let shifted: [[f64; 4]; 3] = std::array::from_fn(|axis| {
            let mut row = shifted[axis];
            row[3] += [9.0, -7.0, 4.0][axis];
            row
        });
        let grid = Grid::new(image.grid().shape, Affine::from_rows(shifted));
        let atlas = Volume::new(grid, image.into_voxels());
        fs::create_dir(place.path("images")).unwrap();
        nifti::write(&place.path("images/atlas.nii.gz"), &atlas, WriteOptions::default()).unwrap();
        let preprocess = ["preprocess", "phantom/cohort.json", "--out", "cache", "--spacing", "6", "--quiet"];
        let registered = ["--atlas", "images/atlas.nii.gz", "--register", "rigid", "--intensity", "zscore"];
        place.run(&[&preprocess[..], &registered].concat()).succeeds();
        fs::rename(place.path("images/atlas.nii.gz"), place.path("moved.nii.gz")).unwrap();
        train(&place, &["pretrain"], "run", &["train.max_steps=4", "checkpoint.keep_last=9"]);
        let checkpoint = |name: &str| place.path(format!("run/checkpoints/{name}.safetensors"));
        fs::copy(checkpoint("step-00000002"), checkpoint("best")).unwrap();
        let segment = ["finetune", "segment", "--init", "run"];
        train(&place, &segment, "segmenter", &["train.max_steps=2", "data.validation_share=0.3"]);
        place
    })
}

fn train(place: &Place, command: &[&str], out: &str, settings: &[&str]) {
    let mut typed = [command, &["--data", "cache", "--out", out, "--quiet"]].concat();
    let preset = (command[0] == "pretrain").then_some("model.preset=tiny");
    let common = ["patch.size=16", "train.batch_size=2", "checkpoint.every_steps=2"];
    for setting in preset.iter().chain(&common).chain(settings) {
        typed.extend(["--set", setting]);
    }
    place.run(&typed).succeeds();
}

/// The file of the atlas in a folder.
fn atlas_in(folder: &str) -> PathBuf {
    let files = fs::read_dir(place().path(folder).join("files")).unwrap();
    let files: Vec<PathBuf> = files.map(|entry| entry.unwrap().path()).collect();
    let [file] = files.as_slice() else { panic!("{files:?}") };
    file.clone()
}

/// A copy of a run, to be changed.
fn copy_of(run: &str, name: &str) {
    let (from, to) = (place().path(run), place().path(name));
    for folder in ["", "checkpoints", "files"] {
        fs::create_dir_all(to.join(folder)).unwrap();
        for entry in fs::read_dir(from.join(folder)).unwrap().map(Result::unwrap) {
            if entry.path().is_file() {
                fs::copy(entry.path(), to.join(folder).join(entry.file_name())).unwrap();
            }
        }
    }
}

fn read(name: &str) -> String {
    fs::read_to_string(place().path(name)).unwrap()
}

#[test]
fn new_images_are_prepared_as_those_of_the_run() {
    let place = place();
    for (model, rows) in [("run", "6 rows"), ("segmenter", "3 rows")] {
        let embed = |folder: &str, prefix: &str, input: &str, out: &str| {
            let [model, input, out] = [model, input, out].map(|name| format!("{prefix}{name}"));
            let typed = ["embed", "--model", &model, "--in", &input, "--out", &out];
            place.run_in(folder, &typed).succeeds().prints(&[rows]).notes(&["note: the model is"]);
        };
        embed("", "", "cache", "cache.csv");
        // From another folder, from the images, without the atlas where it was.
        embed("images", "../", "phantom/cohort.json", "images.csv");
        assert!(read("cache.csv") == read("images.csv"), "{model}: other features");
    }
}

#[test]
fn predictions_hang_on_no_folder() {
    let place = place();
    let predict = |folder: &str, prefix: &str, out: &str| {
        let [model, input, out] =
            ["segmenter", "phantom/cohort.json", out].map(|name| format!("{prefix}{name}"));
        let typed = ["predict", "--model", &model, "--in", &input, "--out", &out];
        place.run_in(folder, &typed).succeeds().prints(&["3 predicted"]);
        nifti::read_labels(&place.path("").join(folder).join(out).join("phantom-0002.nii.gz")).unwrap()
    };
    let here = predict("", "", "here");
    assert_eq!(here.voxels(), predict("images", "../", "there").voxels());
    // Its checkpoint alone and what is exported of it predict the same.
    copy_of("segmenter", "alone");
    let [checkpoint, weights] = ["alone/checkpoints/best.safetensors", "alone/weights.safetensors"];
    let export = ["export", "segmenter", "--format", "safetensors", "--out", weights];
    place.run(&export).succeeds().notes(&["note: new cases need the atlas atlas.nii.gz"]);
    for (number, model) in [checkpoint, weights].into_iter().enumerate() {
        let out = format!("predicted-{number}");
        place
            .run(&["predict", "--model", model, "--in", "phantom/cohort.json", "--out", &out])
            .succeeds()
            .notes(&["step "]);
        let labels = nifti::read_labels(&place.path(&out).join("phantom-0002.nii.gz")).unwrap();
        assert_eq!(here.voxels(), labels.voxels(), "{model}");
    }
}

#[test]
fn another_atlas_in_its_place_is_refused() {
    let place = place();
    copy_of("run", "replaced");
    let stored = place.path("replaced/files").join(atlas_in("run").file_name().unwrap());
    fs::copy(place.path("phantom/phantom-0001/phantom-0001_flair.nii.gz"), &stored).unwrap();
    let embed = |model: &str, more: &[&str]| {
        let typed = ["embed", "--model", model, "--in", "phantom/cohort.json", "--out", "replaced.csv"];
        place.run(&[&typed[..], more].concat())
    };
    embed("replaced", &[])
        .fails(2, &["atlas.nii.gz", "is not the atlas", "BLAKE3"])
        .notes(&["hint: put the right file there, or name it with --atlas"]);
    let wrong = ["--atlas", "phantom/phantom-0001/phantom-0001_flair.nii.gz"];
    embed("replaced", &wrong).fails(2, &["phantom-0001_flair.nii.gz", "is not the atlas 'atlas.nii.gz'"]);
    embed("replaced", &["--atlas", "moved.nii.gz"]).succeeds();
    // A file of weights, with nothing beside it, says what it needs.
    fs::create_dir(place.path("elsewhere")).unwrap();
    let weights = "elsewhere/weights.safetensors";
    place.run(&["export", "run", "--format", "safetensors", "--out", weights]).succeeds();
    let name = atlas_in("run").file_name().unwrap().to_string_lossy().into_owned();
    let hash = name.strip_suffix("-atlas.nii.gz").unwrap();
    embed(weights, &[])
        .fails(2, &["the atlas 'atlas.nii.gz'", hash, "is needed"])
        .notes(&["hint: name that file with --atlas"]);
    embed(weights, &wrong).fails(2, &["is not the atlas"]);
    embed(weights, &["--atlas", "moved.nii.gz"]).succeeds();
    let again = ["embed", "--model", "run", "--in", "phantom/cohort.json", "--out", "right.csv"];
    place.run(&again).succeeds();
    assert!(read("replaced.csv") == read("right.csv"));
}

#[test]
fn every_command_takes_the_same_checkpoint_and_says_which() {
    let place = place();
    let commands = [
        ("embed", &["embed", "--in", "cache", "--out", "which.csv", "--model", "run"][..]),
        ("templates", &["templates", "--out", "which", "run"]),
        ("export", &["export", "--format", "pytorch", "--out", "which.pt", "run"]),
    ];
    for (name, command) in commands {
        let run = |more: &[&str]| {
            let ended = place.run(&[command, more].concat()).succeeds();
            ended.stdout + &ended.stderr
        };
        for (more, file, step) in [
            (&[][..], "step-00000004", "step 4 of"),
            (&["--checkpoint", "last"], "step-00000004", "step 4 of"),
            (&["--checkpoint", "best"], "best", "step 2 of"),
            (&["--checkpoint", "2"], "step-00000002", "step 2 of"),
        ] {
            let said = run(more);
            let file = format!("checkpoints/{file}.safetensors");
            assert!(said.contains(&file) && said.contains(step), "{name} {more:?}: {said}");
        }
        place
            .run(&[command, &["--checkpoint", "3"]].concat())
            .fails(2, &["run", "no checkpoint 'step 3'", "2, 4, best (step 2)"]);
        place.run(&[command, &["--checkpoint", "newest"]].concat()).fails(2, &["newest", "best, last"]);
    }
    let settings = ["patch.size=16", "train.max_steps=1", "train.batch_size=2", "mixing.mask.block=4"];
    let settings: Vec<&str> = settings.iter().flat_map(|setting| ["--set", setting]).collect();
    for (more, out, step) in [(&[][..], "a", "step 4 of"), (&["--checkpoint", "2"], "b", "step 2 of")] {
        let finetune = ["finetune", "segment", "--data", "cache", "--init", "run", "--out", out];
        place
            .run(&[&finetune[..], more, &settings].concat())
            .succeeds()
            .notes(&["tensors are from run", step]);
    }
    let none =
        ["finetune", "segment", "--data", "cache", "--init", "none", "--out", "c", "--checkpoint", "2"];
    place.run(&none).fails(2, &["--init none"]);
    // Of a fine-tuned run the best is taken, by all of them.
    for command in [
        &["predict", "--in", "phantom/cohort.json", "--out", "which-labels", "--model", "segmenter"][..],
        &[
            "evaluate",
            "--modality-subsets",
            "--truth",
            "phantom/cohort.json",
            "--out",
            "w.json",
            "--model",
            "segmenter",
        ],
        &["embed", "--in", "cache", "--out", "which.csv", "--model", "segmenter"],
        &["export", "--format", "pytorch", "--out", "which.pt", "segmenter"],
    ] {
        let ended = place.run(command).succeeds();
        let said = ended.stdout + &ended.stderr;
        assert!(
            said.contains("checkpoints/best.safetensors, step ") && said.contains("(the best validation)"),
            "{said}"
        );
    }
    let last = ["embed", "--in", "cache", "--out", "w.csv", "--model", "segmenter", "--checkpoint", "last"];
    place.run(&last).succeeds().notes(&["step-00000002.safetensors, step 2 of"]);
}

#[test]
fn an_export_is_the_step_that_it_names() {
    let place = place();
    place
        .run(&["export", "run", "--format", "pytorch", "--out", "out/model.pt"])
        .succeeds()
        .prints(&["step 4 of"]);
    let import = ["import", "out/model.pt", "--out", "out/weights.safetensors"];
    place.run(&import).succeeds().prints(&["out/model.pt, step 4"]);
    let open = |name: &str| SavedNetwork::open(&place.path(name)).unwrap();
    let (mut last, back) =
        (open("run/checkpoints/step-00000004.safetensors"), open("out/weights.safetensors"));
    // How often each template was updated is the run's to tell.
    if let Some(templates) = &mut last.templates {
        templates.updates.clear();
    }
    assert_eq!((&back.weights, &back.templates, &back.about), (&last.weights, &last.templates, &last.about));
    assert_ne!(back.weights, open("run/checkpoints/best.safetensors").weights);
    let settings = ["patch.size=16", "train.max_steps=1", "train.batch_size=2", "mixing.mask.block=4"];
    let settings: Vec<&str> = settings.iter().flat_map(|setting| ["--set", setting]).collect();
    let finetune =
        ["finetune", "segment", "--data", "cache", "--init", "out/weights.safetensors", "--out", "d"];
    place.run(&[&finetune[..], &settings].concat()).succeeds().notes(&["out/weights.safetensors, step 4"]);
    let parent = open("d").about.parent.unwrap();
    assert_eq!((parent.step, parent.data), (Some(4), last.about.data));
}
