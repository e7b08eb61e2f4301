#!/usr/bin/env bash
# Reads damaged files, COUNT for each reader, and prints what came out as a table. The same COUNT gives the same files.
#
#     scripts/fuzz.sh COUNT [CRATE]
#
# CRATE is one of volume, cohort, dicom, registration, prep, metrics, train, study, view, and brainmvp for the program; without
# it, all of them. docs/reliability.md has a result. A file that shows a fault is left in the folder for temporary files.
set -euo pipefail
cd "$(dirname "$0")/.."
count=${1:?usage: scripts/fuzz.sh COUNT [CRATE]}
crates=(volume cohort dicom registration prep metrics train study view brainmvp)
[ $# -lt 2 ] || crates=("$2")

log=$(mktemp)
trap 'rm -f "$log"' EXIT
failed=0
for crate in "${crates[@]}"; do
    target=(-p "brainmvp-$crate" --test fuzz)
    [ "$crate" != brainmvp ] || target=(-p brainmvp --bin brainmvp evaluate::fuzz)
    BRAINMVP_FUZZ=$count cargo test --release --locked "${target[@]}" -- --nocapture 2>&1 | tee -a "$log" >&2 || failed=1
done
printf '\n| reader | executions | accepted | slowest | most memory | came out |\n|---|---|---|---|---|---|\n'
sed -n 's/^fuzz | \(.*\)/| \1 |/p' "$log"
exit $failed
