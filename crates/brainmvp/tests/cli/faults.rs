//! Machines that are too small.

use crate::program::Place;

#[test]
fn a_run_that_cannot_fit_is_refused_before_it_begins() {
    let place = Place::with_gliomas();
    // No machine has room for so many patches of 96^3.
    let large = ["--set", "model.preset=tiny", "--set", "patch.size=96", "--set", "train.batch_size=4096"];
    let pretrain = ["pretrain", "--data", "cache", "--out", "run"];
    let finetune = ["finetune", "segment", "--data", "cache", "--init", "none", "--out", "run"];
    for command in [&pretrain[..], &finetune] {
        place.run(&[command, &large].concat()).fails(2, &["a step would need about", "are free"]);
    }
    assert!(!place.path("run").exists());
}
