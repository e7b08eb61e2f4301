//! The networks that `bench` measures in PyTorch against the reference numbers.
//!
//! It needs a Python with torch and safetensors, named by `$BRAINMVP_PEER_PYTHON`.

#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::process::Command;

#[test]
fn the_peer_is_the_reference_network() {
    let Some(python) = std::env::var_os("BRAINMVP_PEER_PYTHON") else {
        eprintln!("skipped: set BRAINMVP_PEER_PYTHON to a Python with torch and safetensors");
        return;
    };
    let peer = concat!(env!("CARGO_MANIFEST_DIR"), "/src/peer/peer.py");
    let golden = brainmvp_golden::file("uniformer_eval.safetensors");
    let output =
        Command::new(python).arg(peer).arg("--check").arg(golden.parent().unwrap()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let worst: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    for what in [
        "uniformer_eval x4",
        "pretrain_uniformer reconstruction",
        "pretrain_unet3d reconstruction",
        "finetune eval logits",
        "finetune gradient norms",
        "unetr_eval logits",
        "swin_unetr_eval logits",
    ] {
        assert!(worst[what].as_f64().unwrap() < 1e-3, "{worst}");
    }
}
