#!/usr/bin/env bash
# How well templates form, voxel by voxel and as pyramids: the demo's cohort and network, as many steps each, three seeds, beside
# the mean images of phantoms that no run has seen.
#
#     scripts/templates.sh DIR [PROGRAM]
#
# EPOCHS=N makes the runs shorter or longer (400: as the demo); contrast begins at three fifths. Every step that is there already
# is kept; a run that was cut short goes on. docs/templates.md has the result.
set -euo pipefail
out=${1:?usage: scripts/templates.sh DIR [PROGRAM]}
program=$(command -v "${2:-brainmvp}")
program=$(realpath "$program")
recipe=$(realpath "$(dirname "$0")/../configs/demo.toml")
epochs=${EPOCHS:-400}
mkdir -p "$out"
cd "$out"

# Other subjects by another seed, the same settings.
for name in seen:0 held-out:1001; do
    [ -f "phantoms-${name%:*}/cohort.json" ] ||
        "$program" phantom --out "phantoms-${name%:*}" --cases 16 --size 96 --missing-rate 0.2 --seed "${name#*:}" --quiet
    "$program" preprocess "phantoms-${name%:*}/cohort.json" --out "cache-${name%:*}" --spacing 2 --quiet
done

for kind in voxels pyramid; do
    for seed in 1 2 3; do
        factor=()
        # The factor of the learning rate that served voxels best.
        [ $kind = voxels ] && factor=(--set templates.learning_rate_factor=2)
        "$program" pretrain --data cache-seen --out "$kind-$seed" --config "$recipe" --resume --quiet \
            --set templates.parametrisation=$kind "${factor[@]}" --set train.seed=$seed --set train.epochs="$epochs" \
            --set method.contrast_from_epoch=$((epochs * 3 / 5)) --set log.pictures_every_steps=0
    done
    for seed in 1 2 3; do
        others=(1 2 3)
        unset "others[seed-1]"
        echo "== $kind, seed $seed"
        "$program" templates "$kind-$seed" --out "templates-$kind-$seed" --data cache-seen --held-out cache-held-out \
            "${others[@]/#/--beside=$kind-}"
    done
done
