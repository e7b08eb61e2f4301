#!/usr/bin/env bash
# Runs the tests of the kernels, where the project's unsafe arithmetic is, with every access to memory watched: by valgrind, which knows
# instructions up to AVX2, and by the compiler's address sanitiser, in all instruction sets that the processor has.
#
#     scripts/unsafe.sh [valgrind|sanitizer ...]
#
# The first needs `valgrind`, the second a nightly toolchain and a build of its own in target/sanitized. Each takes about ten
# minutes; what is missing is skipped and said so. Ends with 1 if a bad access was seen or a test failed.
set -uo pipefail
cd "$(dirname "$0")/.."
kinds=("$@")
[ ${#kinds[@]} -gt 0 ] || kinds=(valgrind sanitizer)
wrong=0
# As under cargo: property tests draw the same cases every time.
export PROPTEST_RNG_SEED=${PROPTEST_RNG_SEED:-20261124}

# Builds, and sets the test programs of the kernels.
build() {
    local all
    all=$(cargo "$@" --message-format=json) || exit 1
    mapfile -t programs < <(echo "$all" |
        sed -nE 's#.*/crates/brainmvp-kernels/(src/lib|tests/[a-z_/]*)\.rs.*"test":true}.*"executable":"([^"]*)".*#\2#p')
    [ ${#programs[@]} -gt 0 ] || { echo "there are no test programs of the kernels" >&2; exit 1; }
}

run() {
    local name=$1
    shift
    if "$@" >"target/unsafe-$name.log" 2>&1; then
        printf '%s: nothing\n' "$name"
    else
        printf '%s: see target/unsafe-%s.log\n' "$name" "$name"
        wrong=1
    fi
}

watch_valgrind() {
    command -v valgrind >/dev/null || { echo "skipped: valgrind is not installed"; return; }
    local program
    build test --release --locked --workspace --no-run
    for program in "${programs[@]}"; do
        run "valgrind-$(basename "$program" | sed 's/-[0-9a-f]*$//')" \
            valgrind --error-exitcode=9 --leak-check=no --fair-sched=yes "$program" --test-threads 1
    done
}

watch_sanitizer() {
    cargo +nightly --version >/dev/null 2>&1 || { echo "skipped: there is no nightly toolchain"; return; }
    local program
    export RUSTFLAGS="-Zsanitizer=address" CARGO_TARGET_DIR=target/sanitized
    build +nightly test --release --locked -p brainmvp-kernels --target x86_64-unknown-linux-gnu --no-run
    for program in "${programs[@]}"; do
        run "sanitizer-$(basename "$program" | sed 's/-[0-9a-f]*$//')" "$program"
    done
}

mkdir -p target
for kind in "${kinds[@]}"; do "watch_$kind"; done
exit $wrong
