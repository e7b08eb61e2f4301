#!/usr/bin/env bash
# What happens to the work if the program is killed, the disk is full or cannot be written, the clock jumps, two processes want one
# folder, or memory is short? Tries it on phantoms and prints a row for each trial kind: what, how often, how often it went well.
#
#     scripts/faults.sh [--moments N] [PROGRAM] [kill|disk|readonly|clock|locks|memory ...]
#
# By default 50 moments and all kinds, with the release build of this checkout: about an hour. Full disks and read-only folders
# need root (small file systems in memory are mounted), the clock needs `faketime`; what is missing is skipped and said so.
# Ends with 1 if anything went wrong, and keeps the folder of its files then.
set -uo pipefail
moments=50
[ "${1:-}" = --moments ] && { moments=$2; shift 2; }
program=$(realpath "$(dirname "$0")/../target/release/brainmvp")
if [ -f "${1:-}" ]; then program=$(realpath "$1"); shift; fi
[ -x "$program" ] || { echo "error: there is no $program: build it with cargo build --release" >&2; exit 2; }
kinds=("$@")
[ ${#kinds[@]} -gt 0 ] || kinds=(kill disk readonly clock locks memory)

place=$(mktemp -d)
cd "$place" || exit 2
wrong=0
RANDOM=7
export RUST_BACKTRACE=1

say() { printf '%-46s %6s %6s  %s\n' "$@"; }
fail() { wrong=1; printf 'FAILED: %s\n' "$*" >&2; }
seconds() { awk -v ms="$1" 'BEGIN { printf "%.3f", ms / 1000 }'; }

# --- what is done -----------------------------------------------------------------------------------------------------------------

small=(--set model.preset=tiny --set patch.size=16 --set train.batch_size=2 --set train.accumulate=1
    --set log.pictures_every_steps=0 --set checkpoint.every_steps=5 --quiet)
commands=(index preprocess pretrain finetune predict study)

# Does a thing again until it is done, as a user would: with the same command. $1 what, $2 the folder of its results.
work() {
    case $1 in
    index) "$program" index many --out "$2/cohort.json" --quiet ;;
    preprocess) "$program" preprocess phantom/cohort.json --out "$2" --spacing 4 --quiet ;;
    pretrain) "$program" pretrain --data cache --out "$2" --resume --set train.steps=40 "${small[@]}" ;;
    finetune) "$program" finetune segment --data cache --init none --out "$2" --resume --set train.steps=30 \
        --set validation.every_epochs=5 "${small[@]}" ;;
    predict) "$program" predict --model finetuned --in phantom/cohort.json --out "$2" --resume --quiet 2> >(grep -v ^warning >&2) ;;
    study) "$program" study --config study.toml --out "$2" --quiet ;;
    esac
}

# What is left of a result: what does not depend on when and how fast it was computed.
lasting() {
    case $1 in
    index) cat "$2/cohort.json" ;;
    preprocess) (cd "$2" && cat ./*.safetensors && grep -v '"seconds"' manifest.json) ;;
    pretrain | finetune) (cd "$2" && cat config.toml checkpoints/*.safetensors &&
        sed -E 's/"(seconds|samples_per_s|wait_share)":[^,}]*//g' ./*.jsonl | grep -v '"version"') ;;
    predict) (cd "$2" && for file in *.nii.gz; do gzip -dc "$file"; done) ;;
    study) cat "$2/results.csv" ;;
    esac | sha256sum
}

# What must not be left lying about.
litter() { find "$1" -name '.partial-*' -o -name '.brainmvp-scratch-*' | head -n 1; }

prepare() {
    "$program" phantom --out many --cases 60 --size 16 --seed 3 --quiet
    "$program" phantom --out phantom --cases 6 --size 48 --lesions glioma --modalities flair,t1c --seed 3 --quiet &&
        work preprocess cache && work finetune finetuned && cat >study.toml <<EOF
kind = "comparison"
data = "cache"
seeds = [1]
scale = "tiny"
systems = ["scratch-uniformer-small", "brainmvp-uniformer-small"]
split = { test = 0.3, validation = 0.0 }
compute = { pretrain_voxels = 327680, finetune_steps = 10 }
pretrain = { patch.size = 16, train.batch_size = 2, log.pictures_every_steps = 0, checkpoint.every_steps = 5 }
finetune = { patch.size = 16, train.batch_size = 2, data.validation_share = 0.0, checkpoint.every_steps = 5 }
tasks.segmentation.task.kind = "segment"
EOF
    for what in "${commands[@]}"; do
        mkdir -p "whole-$what"
        work "$what" "whole-$what" || { fail "$what does not run"; exit 1; }
    done
}

# --- killed -----------------------------------------------------------------------------------------------------------------------

try_kill() {
    local what took good begun delay
    for what in "${commands[@]}"; do
        begun=$(date +%s%N)
        rm -rf whole && mkdir whole && work "$what" whole
        took=$((($(date +%s%N) - begun) / 1000000))
        good=0
        for ((n = 1; n <= moments; n++)); do
            rm -rf killed && mkdir killed
            delay=$(seconds $(((RANDOM * 32768 + RANDOM) % took)))
            # The program itself is killed, not only the shell that waits for it.
            (work "$what" killed) >/dev/null 2>&1 &
            sleep "$delay"
            pkill -9 -f "^$program .*killed" 2>/dev/null
            wait $! 2>/dev/null
            if work "$what" killed >log 2>&1 && [ "$(lasting "$what" killed)" = "$(lasting "$what" "whole-$what")" ] &&
                [ -z "$(litter killed)" ]; then
                good=$((good + 1))
            else
                fail "$what, killed after $delay s: $(tail -n 2 log) $(litter killed)"
                cp -r killed "kept-$what-$n"
            fi
        done
        say "killed: $what" "$moments" "$good" "the same command ends with the same result"
    done
}

# --- no room ----------------------------------------------------------------------------------------------------------------------

can_mount() {
    mkdir -p full && mount -t tmpfs -o size=1m none full 2>/dev/null && umount full && return
    echo "skipped: small file systems cannot be mounted here" && return 1
}

try_disk() {
    can_mount || return 0
    local what needed share size tried good
    for what in "${commands[@]}"; do
        needed=$(du -sk "whole-$what" | cut -f1)
        tried=0 good=0
        for share in 0 5 20 40 60 80; do
            size=$((needed * share / 100 / 4 * 4 + 4))
            mount -t tmpfs -o "size=${size}k" none full || continue
            # Blocks are larger than some files.
            if work "$what" full >log 2>&1; then
                umount full
                continue
            fi
            tried=$((tried + 1))
            if ! grep -q 'No space left' log || grep -q panicked log; then
                fail "$what in $size kB: $(tail -n 3 log)"
            elif mount -o remount,size=1g full && work "$what" full >log 2>&1 &&
                [ "$(lasting "$what" full)" = "$(lasting "$what" "whole-$what")" ] && [ -z "$(litter full)" ]; then
                good=$((good + 1))
            else
                fail "$what after there was room again: $(tail -n 2 log) $(litter full)"
            fi
            umount full
        done
        say "full disk: $what" "$tried" "$good" "says so; goes on once there is room"
    done
}

try_readonly() {
    can_mount || return 0
    local what good=0
    for what in "${commands[@]}"; do
        mount -t tmpfs -o size=1m,ro none full || continue
        if ! work "$what" full >log 2>&1 && grep -q 'Read-only' log && grep -q full log && ! grep -q panicked log; then
            good=$((good + 1))
        else
            fail "$what into a read-only folder: $(tail -n 3 log)"
        fi
        umount full
    done
    say "read-only folder" ${#commands[@]} "$good" "says so, and names it"
}

# --- the clock --------------------------------------------------------------------------------------------------------------------

try_clock() {
    local library what good=0 tried=0
    library=$(find /usr/lib -name libfaketime.so.1 2>/dev/null | head -n 1)
    [ -n "$library" ] || { echo "skipped: faketime is not installed"; return 0; }
    for what in "${commands[@]}"; do
        rm -rf jumped && mkdir jumped
        tried=$((tried + 1))
        echo '+0d' >clock
        (
            export LD_PRELOAD=$library FAKETIME_TIMESTAMP_FILE=$place/clock FAKETIME_NO_CACHE=1 FAKETIME_DONT_FAKE_MONOTONIC=1
            work "$what" jumped
        ) >log 2>&1 &
        # A day back, then a year on, again and again.
        while kill -0 $! 2>/dev/null; do
            for jump in -1d +365d +0d; do echo "$jump" >clock.new && mv clock.new clock && sleep 0.1; done
        done
        if wait $! && [ "$(lasting "$what" jumped)" = "$(lasting "$what" "whole-$what")" ]; then
            good=$((good + 1))
        else
            fail "$what with a clock that jumps: $(tail -n 2 log)"
        fi
    done
    say "the clock jumps" "$tried" "$good" "the result is the same"
}

# --- two at once ------------------------------------------------------------------------------------------------------------------

try_locks() {
    local what good=0
    for what in "${commands[@]}"; do
        rm -rf both && mkdir both
        work "$what" both >first 2>&1 &
        sleep 0.3
        work "$what" both >second 2>&1
        local second=$?
        wait $!
        local first=$?
        # One may refuse, with the number of the other; what is there in the end is whole.
        if { [ $first = 0 ] || [ $second = 0 ]; } && ! cat first second | grep -q panicked &&
            { [ $first = 0 ] || grep -q 'process [0-9]' first; } && { [ $second = 0 ] || grep -q 'process [0-9]' second; } &&
            work "$what" both >log 2>&1 && [ "$(lasting "$what" both)" = "$(lasting "$what" "whole-$what")" ]; then
            good=$((good + 1))
        else
            fail "two of $what at once ($first, $second): $(tail -n 2 first second)"
        fi
    done
    say "two processes, one folder" ${#commands[@]} "$good" "one works, or both share; the result is whole"
}

# --- memory -----------------------------------------------------------------------------------------------------------------------

# The largest resident size of a command, in MB.
peak() { /usr/bin/time -f %M -o peak "$@" >log 2>&1; echo $(($(tail -n 1 peak) / 1024)); }

try_memory() {
    [ -x /usr/bin/time ] || { echo "skipped: /usr/bin/time is not installed"; return 0; }
    local good=0 tried=0 limit used task
    "$program" phantom --out large --cases 8 --size 160 --missing-rate 0 --seed 3 --quiet
    for limit in 1000 2000 4000; do
        for task in preprocess report; do
            rm -rf "out-$task"
            case $task in
            preprocess) used=$(peak "$program" preprocess large/cohort.json --out out-preprocess --memory "${limit}M" --quiet) ;;
            report) used=$(peak "$program" report out-preprocess --out out-report --memory "${limit}M" --quiet) ;;
            esac
            tried=$((tried + 1))
            if [ "$used" -le $((limit * 11 / 10)) ]; then good=$((good + 1)); else fail "$task --memory ${limit}M took $used MB"; fi
            echo "  $task --memory ${limit}M: $used MB"
        done
    done
    say "--memory" "$tried" "$good" "at most a tenth more"
}

prepare
say what tried well 'what is expected'
for kind in "${kinds[@]}"; do "try_$kind"; done
cd / || exit 2
if [ $wrong = 0 ]; then rm -rf "$place"; else echo "files are kept in $place" >&2; fi
exit $wrong
