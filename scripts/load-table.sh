#!/usr/bin/env bash
# Prints the table of docs/performance.md: each load RUNS times (3 unless told), the median of each figure.
# Build first: cargo build --release && cargo build --release --example load
set -euo pipefail
cd "$(dirname "$0")/.."
load=target/release/examples/load
runs=${RUNS:-3}
results=$(mktemp -d)
trap 'rm -rf "$results"' EXIT

# measure NAME ARGUMENTS…: runs a load, and leaves its figures in $results/NAME.RUN.
measure() {
    local name=$1
    shift
    for run in $(seq "$runs"); do
        echo "$name, run $run: load $*" >&2
        "$load" "$@" >"$results/$name.$run"
    done
}

# median NAME FIGURE
median() {
    awk -v figure="$2" '$1 == figure { print $2 }' "$results/$1".* | sort -g | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'
}

row() {
    printf '| %s | %s | %s |\n' "$1" "$2" "$3"
}

measure d5000 --clients 5000 --clusters 10 --reconnects 3
measure d5000x100 --clients 5000 --clusters 100
measure one --clients 5000 --clusters 10 --workloads 1
measure d1000 --clients 1000 --clusters 10
measure s1000x100 --clients 1000 --clusters 100 --mode sotw
measure plain --clients 20000 --workloads 5000 --clusters 10 --transport plaintext --connections 20

row what figure aim
row --- --- ---
row "resident KB per idle mTLS stream, 60 KB node, 5,000 workloads, 10 clusters" "$(median d5000 kb_per_stream)" "64"
row "the same, 100 clusters" "$(median d5000x100 kb_per_stream)" "68"
row "the same, 10 clusters, 5,000 streams of one workload" "$(median one kb_per_stream)" "-"
row "memory after three reconnects of that fleet" "$(median d5000 reconnect_ratio) ×" "1.1 ×"
row "one shared secret to 1,000 streams: p50 / p99 ms" "$(median d1000 secret_p50_ms) / $(median d1000 secret_p99_ms)" "- / 30"
row "one shared secret to 5,000 streams: p50 / p99 ms" "$(median d5000 secret_p50_ms) / $(median d5000 secret_p99_ms)" "- / 150"
row "the same from the rename of the policy file" "$(median d5000 secret_from_file_p50_ms) / $(median d5000 secret_from_file_p99_ms)" "-"
row "server CPU for that, 10 / 100 clusters, s" "$(median d5000 secret_cpu_s) / $(median d5000x100 secret_cpu_s)" "0.10"
row "the same, 5,000 streams of one workload" "$(median one secret_cpu_s)" "-"
row "one cluster changed, 5,000 streams: p99 ms" "$(median d5000 cluster_p99_ms)" "-"
row "server CPU for that, 5,000 workloads / one workload, s" "$(median d5000 cluster_cpu_s) / $(median one cluster_cpu_s)" "0.12"
row "bytes for one changed secret in SotW, 100 clusters, per client" "$(median s1000x100 secret_bytes_per_client)" "1500"
row "one certificate to one of 5,000 streams, issued and stored: p50 / p99 ms" "$(median d5000 rotate_one_p50_ms) / $(median d5000 rotate_one_p99_ms)" "- / 3"
row "server CPU for connect + mTLS + full sync, ms per stream" "$(median d5000 connect_cpu_ms_per_stream)" "0.6"
row "20,000 plaintext streams over 20 connections: KB per stream" "$(median plain kb_per_stream)" "-"
row "the same: server CPU for connect + full sync, ms per stream" "$(median plain connect_cpu_ms_per_stream)" "-"
row "the same: one cluster changed, p99 ms / server CPU s" "$(median plain cluster_p99_ms) / $(median plain cluster_cpu_s)" "-"
