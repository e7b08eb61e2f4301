#!/usr/bin/env bash
# Whether a network finds the brain better than the classical method: the tiny UniFormer, trained on phantoms with heads of all
# modalities and nothing else, applied to real heads that have masks.
#
#     scripts/learned-stripping.sh DIR DATA [PROGRAM]
#
# DATA holds tcga-fg-6692/{raw,native-masks}/ and templates/MNI152_T1_2mm{,_Brain_Mask}.nii.gz. Every step that is there already
# is kept; a run that was cut short goes on. docs/measurements.md has the result.
set -euo pipefail
out=${1:?usage: scripts/learned-stripping.sh DIR DATA [PROGRAM]}
data=$(realpath "${2:?usage: scripts/learned-stripping.sh DIR DATA [PROGRAM]}")
program=${3:-brainmvp}
mkdir -p "$out"
cd "$out"

# Heads of its own for each modality. To the network all of them are one channel, called t1, so that any modality will do; the
# brain mask is the label.
seed=20
any=()
for modality in t1 t1c t2 flair pd mra dwi adc; do
    seed=$((seed + 1))
    any+=(--alias "$modality=t1")
    [ -f "heads/$modality/cohort.json" ] || "$program" phantom --out "heads/$modality" --cases 16 --size 80 --head whole \
        --sites 12 --modalities "$modality" --missing-rate 0 --seed "$seed" --quiet
done
"$program" index heads --out heads.json --layout plain "${any[@]}" --alias mask=label --alias seg=ignore \
    --label-scheme binary --data-set heads --quiet
"$program" preprocess heads.json --out cache --spacing 3 --skull-strip none --crop none --quiet
# 920 steps of two patches. No mirror images: it would have heads upside down.
"$program" finetune segment --data cache --init none --out learned --quiet --resume \
    --set model.preset=tiny --set patch.size=48 --set train.batch_size=2 --set train.epochs=16 \
    --set optimizer.schedule.learning_rate=2e-3 --set augmentation.mirror=0 --set augmentation.scale=0.3 \
    --set data.validation_share=0.1 --set validation.every_epochs=4 --set checkpoint.every_steps=100

"$program" index "$data/tcga-fg-6692" --out patient.json --layout plain --label-scheme binary --quiet \
    --pattern '^(?P<mod>raw|native-masks)/(?P<case>\w+)\.nii\.gz$' --alias raw=t1 --alias native-masks=label
"$program" index "$data/templates" --out average.json --layout plain --label-scheme binary --quiet \
    --pattern '^(?P<case>MNI152)_(?P<mod>T1_2mm|T1_2mm_Brain_Mask)\.nii\.gz$' --alias t1_2mm=t1 --alias t1_2mm_brain_mask=label
for heads in patient average; do
    "$program" predict --model learned --in "$heads.json" --out "predicted-$heads" --overlap 0.75 --mirror x --quiet --resume
    "$program" evaluate --pred "predicted-$heads" --truth "$heads.json" --out "$heads-scores.json" --csv "$heads.csv" --quiet
    cut -d, -f1,4 "$heads.csv"
done
