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
        [ $kind = voxels ] && factor=(--set method.templates.learning_rate_factor=2)
        "$program" pretrain --data cache-seen --out "$kind-$seed" --config "$recipe" --resume --quiet \
            --set method.templates.parametrisation=$kind "${factor[@]}" --set train.seed=$seed --set train.epochs="$epochs" \
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

# Downstream: the same fine-tuning from each of them, and with 0 in place of the templates.
for seed in 1 2 3; do
    for arm in pyramid voxels zero; do
        from=$arm with=templates
        [ $arm = zero ] && from=pyramid with=zero
        "$program" finetune segment --data cache-seen --init "$from-$seed" --out "segment-$arm-$seed" --resume --quiet \
            --set mixing.with=$with --set train.seed=$seed --set patch.size=32 --set train.batch_size=2 --set train.epochs=30 \
            --set validation.every_epochs=30 --set data.validation_share=0 --set optimizer.schedule.learning_rate=1e-3
        "$program" predict --model "segment-$arm-$seed" --in phantoms-held-out/cohort.json --out "predicted-$arm-$seed" --quiet --resume
        echo "== segmentation, $arm, seed $seed"
        "$program" evaluate --pred "predicted-$arm-$seed" --truth phantoms-held-out/cohort.json --out "segment-$arm-$seed.json"
    done
done
