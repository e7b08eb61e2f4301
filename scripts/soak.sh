#!/usr/bin/env bash
# Does training keep memory? Pre-trains and fine-tunes a tiny network on phantoms for 2,000 steps each, samples the resident memory,
# and prints its slope in kB per 1,000 steps, by least squares over the samples after step 200, with its standard error. About
# ten minutes on two cores.
#
#     scripts/soak.sh DIR [PROGRAM]
set -euo pipefail
out=${1:?usage: scripts/soak.sh DIR [PROGRAM]}
program=${2:-brainmvp}
steps=${SOAK_STEPS:-2000}
warm_up=200
mkdir -p "$out"
cd "$out"

"$program" phantom --out phantom --cases 6 --size 32 --lesions glioma --modalities flair,t1c --quiet
"$program" preprocess phantom/cohort.json --out cache --spacing 6 --quiet

# soak NAME ARGUMENTS...: trains in the background, and writes step and resident kB, one sample a line, to NAME.txt.
soak() {
    local name=$1 process step kilobytes
    shift
    rm -rf "$name"
    "$program" "$@" --data cache --out "$name" --quiet --set patch.size=16 --set train.batch_size=2 \
        --set train.max_steps="$steps" --set log.pictures_every_steps=0 &
    process=$!
    : >"$name.txt"
    while kill -0 "$process" 2>/dev/null; do
        step=$(tail -n 1 "$name/metrics.jsonl" 2>/dev/null | sed -n 's/.*"step":\([0-9]*\),.*/\1/p' || true)
        kilobytes=$(sed -n 's/^VmRSS:[^0-9]*\([0-9]*\) kB/\1/p' "/proc/$process/status" 2>/dev/null || true)
        if [ -n "$step" ] && [ -n "$kilobytes" ]; then
            echo "$step $kilobytes" >>"$name.txt"
        fi
        sleep 0.25
    done
    wait "$process"
    awk -v name="$name" -v from="$warm_up" '
        $1 > from { n++; x[n] = $1 / 1000; y[n] = $2; sx += x[n]; sy += y[n] }
        END {
            if (n < 3) { print name ": too few samples after step " from; exit 1 }
            for (i = 1; i <= n; i++) { xx += (x[i] - sx / n) ^ 2; xy += (x[i] - sx / n) * (y[i] - sy / n) }
            slope = xy / xx
            for (i = 1; i <= n; i++) rest += (y[i] - sy / n - slope * (x[i] - sx / n)) ^ 2
            printf "%s: %.0f kB of memory, %+.0f kB per 1,000 steps, standard error %.0f, of %d samples\n", \
                name, sy / n, slope, sqrt(rest / (n - 2) / xx), n
        }' "$name.txt"
}

soak pretrained pretrain --set model.preset=tiny
soak fine-tuned finetune segment --init none --set model.preset=tiny --set data.validation_share=0.2
