#!/usr/bin/env bash
# Writes what the program is made of, with versions, licences and checksums, as a software bill of materials (CycloneDX 1.5, JSON).
#
#     scripts/sbom.sh FILE
#
# It lists what is compiled into `brainmvp` for this machine with the default features, tests and build tools left out. It needs
# jq and a Rust toolchain.
set -euo pipefail
out=$(realpath -m "${1:?usage: scripts/sbom.sh FILE}")
cd "$(dirname "$0")/.."
command -v jq >/dev/null || { echo "sbom: jq is needed (Debian: apt install jq)" >&2; exit 1; }

host=$(rustc -vV | sed -n 's/^host: //p')
temporary=$(mktemp -d)
trap 'rm -rf "$temporary"' EXIT
cargo metadata --locked --format-version 1 --filter-platform "$host" --manifest-path crates/brainmvp/Cargo.toml >"$temporary/metadata"
# What is linked; the metadata has what any member of the workspace asks for. Macros run when it is compiled.
cargo tree --locked --package brainmvp --target "$host" --edges normal,no-proc-macro --prefix none --format '{p}' |
    sed 's/^\([^ ]*\) v\([^ ]*\).*/\1 \2/' | sort -u | jq -Rn '[inputs | {key: ., value: true}] | from_entries' >"$temporary/linked"
# The lock file has name, version and checksum in this order.
awk -F'"' '/^name = /{name=$2} /^version = /{version=$2} /^checksum = /{print name "\t" version "\t" $2}' Cargo.lock |
    jq -Rn '[inputs / "\t" | {key: "\(.[0]) \(.[1])", value: .[2]}] | from_entries' >"$temporary/checksums"

jq --slurpfile linked "$temporary/linked" --slurpfile checksums "$temporary/checksums" '
    def key: "\(.name) \(.version)";
    def purl: "pkg:cargo/\(.name)@\(.version)";
    (.packages | INDEX(.id)) as $packages
    | .resolve.root as $root
    | [.packages[] | select($linked[0][key])] as $all
    | (.resolve.nodes | INDEX(.id)) as $nodes
    | {
        bomFormat: "CycloneDX", specVersion: "1.5", version: 1,
        metadata: {component: ($packages[$root] | {type: "application", "bom-ref": purl, name, version, purl: purl})},
        components: [
            $all[] | select(.id != $root)
            | {type: "library", "bom-ref": purl, name, version, purl: purl}
            + (if .license then {licenses: [{expression: (.license | gsub(" */ *"; " OR "))}]} else {} end)
            + ($checksums[0][key] | if . then {hashes: [{alg: "SHA-256", content: .}]} else {} end)
        ],
        dependencies: [
            $all[] | {ref: purl, dependsOn: ([$nodes[.id].deps[].pkg | $packages[.] | select($linked[0][key]) | purl] | unique)}
        ]
    }' "$temporary/metadata" >"$out"
echo "$out: $(jq '.components | length' "$out") components"
