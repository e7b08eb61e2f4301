#!/usr/bin/env bash
# The slow test of all pre-training methods: each learns one batch by heart. More than ten minutes on two cores.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo test --release -p brainmvp -p brainmvp-ssl --test methods -- --ignored --nocapture
