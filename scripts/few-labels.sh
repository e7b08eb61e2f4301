#!/usr/bin/env bash
# What pre-training is worth where labels are few: the same network fine-tuned from it and from random weights, on a fifth of
# the labels, three times each with other labels and another seed, scored on phantoms that neither has seen.
#
#     scripts/few-labels.sh DIR [PROGRAM]
#
# Every step that is there already is kept; a run that was cut short goes on. docs/measurements.md has the result.
set -euo pipefail
out=${1:?usage: scripts/few-labels.sh DIR [PROGRAM]}
program=${2:-brainmvp}
mkdir -p "$out"
cd "$out"

small=(--set model.preset=tiny --set patch.size=32 --set train.batch_size=2 --quiet --resume)
if [ ! -f phantom/divided.json ]; then
    "$program" phantom --out phantom --cases 60 --size 64 --lesions glioma --seed 11 --quiet
    "$program" split phantom/cohort.json --test 0.3 --validation 0.1 --out phantom/divided.json
fi
"$program" preprocess phantom/divided.json --out cache --spacing 3 --quiet
# 42 cases without labels, 120 epochs.
"$program" pretrain --data cache --out pretrained "${small[@]}" --set train.epochs=120 \
    --set method.contrast_from_epoch=80 --set method.weight_contrast=0.1 --set optimizer.schedule.learning_rate=1e-3

for seed in 1 2 3; do
    for init in pretrained none; do
        run=$init-$seed
        "$program" finetune segment --data cache --init "$init" --out "$run" --labels-fraction 0.2 --partition "$seed" \
            "${small[@]}" --set train.seed="$seed" --set train.epochs=100 --set validation.every_epochs=25 \
            --set optimizer.schedule.learning_rate=1e-3
        "$program" predict --model "$run" --in phantom/divided.json --split test --out "predicted-$run" --quiet --resume
        "$program" evaluate --pred "predicted-$run" --truth phantom/divided.json --split test --out "$run.json" --quiet
    done
    "$program" evaluate --pred "predicted-pretrained-$seed" --truth phantom/divided.json --split test \
        --out "pretrained-$seed.json" --compare "none-$seed.json"
done
