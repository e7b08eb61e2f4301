#!/usr/bin/env bash
# Are runs of several ranks those of one? Twenty steps of every method and task by one rank and by two, on phantoms; prints by
# how much losses and weights differ. It takes some minutes. The ranks are threads; `.ci/run` tries processes too.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo test --release --workspace --locked --test ranks -- --ignored --nocapture
