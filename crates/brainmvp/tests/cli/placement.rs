//! From a pre-training on one cache to a fine-tuning on another: what may differ, and where the templates lie.

use crate::program::{Ended, Place};

/// A pre-training on phantoms at 4 mm, and the same phantoms at 6 mm and other percentiles.
fn place() -> Place {
    let place = Place::new();
    let phantom = ["phantom", "--out", "phantom", "--cases", "4", "--size", "48", "--lesions", "glioma"];
    place.run(&[&phantom[..], &["--modalities", "flair,t1c", "--quiet"]].concat()).succeeds();
    let preprocess = ["preprocess", "phantom/cohort.json", "--quiet", "--out"];
    place.run(&[&preprocess[..], &["fine", "--spacing", "4"]].concat()).succeeds();
    place.run(&[&preprocess[..], &["coarse", "--spacing", "6", "--percentiles", "5,95"]].concat()).succeeds();
    let pretrain = ["pretrain", "--data", "fine", "--out", "run", "--set", "model.preset=tiny", "--set"];
    place
        .run(&[&pretrain[..], &["patch.size=16", "--set", "train.max_steps=2", "--quiet"]].concat())
        .succeeds();
    place
}

fn finetune(place: &Place, out: &str, more: &[&str]) -> Ended {
    let options = ["finetune", "segment", "--data", "coarse", "--init", "run", "--out", out, "--set"];
    let settings = ["patch.size=16", "--set", "train.batch_size=2", "--set", "train.max_steps=1"];
    place.run(&[&options[..], &settings[..], more].concat())
}

#[test]
fn a_cache_of_another_preparation_is_refused_or_accepted() {
    let place = place();
    let refused = finetune(&place, "tuned", &[]);
    let refused = refused.fails(2, &["spacing 4 mm against 6 mm", "percentiles 1-99 against 5-95", "run"]);
    assert!(refused.stderr.contains("--accept-differences spacing,percentiles"), "{refused:#?}");
    finetune(&place, "tuned", &["--accept-differences", "spacing"])
        .fails(2, &["percentiles 1-99 against 5-95"]);
    finetune(&place, "tuned", &["--accept-differences", "size"]).fails(2, &["size", "spacing, space"]);
    assert!(!place.path("tuned").exists(), "a refusal leaves nothing behind");

    let resume = ["pretrain", "--data", "coarse", "--out", "run", "--resume"];
    place
        .run(&resume)
        .fails(2, &["have changed since this run began (spacing 4 mm against 6 mm; percentiles"]);

    let accepted = ["--accept-differences", "spacing,percentiles"];
    finetune(&place, "tuned", &accepted).succeeds().notes(&[
        "pre-training and these cases differ in spacing 4 mm against 6 mm",
        "templates are placed on 3 cases by their coordinates",
    ]);
    // What fine-tuning was told is a setting like others; templates lie as the setting says.
    let settings =
        ["--set", "init.accept_differences=['percentiles','spacing']", "--set", "templates.placement=centre"];
    finetune(&place, "centred", &settings)
        .succeeds()
        .notes(&["templates are placed on 3 cases centre on centre, voxel by voxel"]);
    finetune(&place, "x", &["--set", "templates.placement=guess"]).fails(2, &["guess"]);

    // A missing modality is filled by the same rule.
    let image = "phantom/phantom-0001/phantom-0001_t1c.nii.gz";
    for (model, how) in [("tuned", "by their coordinates"), ("centred", "centre on centre, voxel by voxel")] {
        let out = format!("{model}-predicted");
        place.run(&["predict", "--model", model, "--in", image, "--out", &out, "--quiet"]).succeeds();
        let record = place.json(&format!("{out}/predictions.json"));
        assert_eq!(record["cases"]["phantom-0001"]["templates"], how, "{record:#}");
    }
    let embed = ["embed", "--model", "tuned", "--in", "fine", "--out", "features.csv"];
    place.run(&embed).succeeds().notes(&["spacing 6 mm against 4 mm; percentiles 5-95 against 1-99"]);
}
