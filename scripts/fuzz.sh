#!/usr/bin/env bash
# Reads damaged files, COUNT for each reader, and prints what came out as a table. The same COUNT gives the same files.
#
#     scripts/fuzz.sh COUNT [CRATE]
#
# CRATE is volume, cohort, dicom, registration, prep, metrics, train, study, view, or brainmvp for the program itself; without it,
# all of them are run. docs/reliability.md has a result. A file that shows a fault is left in the folder for temporary files.
set -euo pipefail
cd "$(dirname "$0")/.."
count=${1:?usage: scripts/fuzz.sh COUNT [CRATE]}
wanted=${2:-.*}

# One build for the whole workspace: the dependencies are those of the program.
log=$(mktemp)
trap 'rm -f "$log"' EXIT
programs=$(cargo test --release --locked --workspace --test fuzz --bin brainmvp --no-run --message-format=json |
    sed -n -e 's|.*/crates/brainmvp-\([a-z]*\)/tests/fuzz\.rs.*"executable":"\([^"]*\)".*|\1 \2|p' \
        -e 's|.*/crates/\(brainmvp\)/src/main\.rs.*"test":true}.*"executable":"\([^"]*\)".*|\1 \2|p')
failed=0
while read -r crate program; do
    [[ $crate =~ ^($wanted)$ ]] || continue
    filter=()
    [ "$crate" != brainmvp ] || filter=(evaluate::fuzz)
    BRAINMVP_FUZZ=$count "$program" --nocapture "${filter[@]}" 2>&1 | tee -a "$log" >&2 || failed=1
done <<<"$programs"
printf '\n| reader | executions | accepted | slowest | most memory | came out |\n|---|---|---|---|---|---|\n'
sed -n 's/^fuzz | \(.*\)/| \1 |/p' "$log"
exit $failed
