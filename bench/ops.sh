#!/usr/bin/env bash
# The standard measurements of the operators.   usage: bench/ops.sh [--quick] [--only SWEEP,...] [PROGRAM]
# Writes bench/results/ops-DATE-COMMIT.csv: the rows of klinear bench ops, each with date, commit, machine and the name
# of the sweep it belongs to.  --quick: few rounds and short sequences, to see that everything runs.  bench/plot_ops.sh
# draws what this measures.
set -euo pipefail
cd "$(dirname "$0")/.."

rounds=7 lengths=2K,4K,8K,16K,32K,64K caches=2K,4K,8K states=16,640,4096
if [ "${1:-}" = --quick ]; then
    shift
    rounds=1 lengths=512,1K caches=512 states=16
fi
only=
if [ "${1:-}" = --only ]; then
    only=,${2:?bench/ops.sh: --only wants names of sweeps},
    shift 2
fi
klinear=${1:-build/release/klinear}
[ -x "$klinear" ] || { echo "bench/ops.sh: $klinear is not there; build it first" >&2; exit 1; }

commit=$(git rev-parse --short HEAD 2>/dev/null || echo unknown)
git diff --quiet HEAD 2>/dev/null || commit=$commit+
today=$(date +%F)
machine=$("$klinear" doctor --fast | sed -n 's/^Processor *//p' | tr ',' ';')
mkdir -p bench/results
results=bench/results/ops-$today-$commit.csv
part=$(mktemp)
trap 'rm -f "$part"' EXIT

# sweep NAME OPTIONS: one run, appended; the ratio of two rows of one run is free of what the machine did meanwhile.
sweep() {
    local name=$1
    shift
    [[ -z $only || $only == *,$name,* ]] || return 0
    echo "$name: klinear bench ops $*" >&2
    "$klinear" bench ops --csv --reps "$rounds" "$@" >"$part"
    awk -v stamp="$today,$commit,$machine,$name" -v head="$([ -s "$results" ] || echo 1)" \
        'NR == 1 { if (head) print "date,commit,machine,sweep," $0; next } { print stamp "," $0 }' "$part" >>"$results"
}

: >"$results"
sweep chunk --op kda,dplr --pass forward --T "${lengths%%,*}" --chunk 8,16,32,64
sweep kda_vs_dplr --op kda,dplr --pass forward --T "$lengths" --chunk 16 # the best of both: sweep chunk
sweep two_threads --op kda,dplr --pass forward --T "${lengths%%,*}" --threads 1,2
sweep length --op kda --pass forward --T "$lengths" --threads 1,2 --dtype f32,bf16
sweep softmax --op kda,softmax --pass forward --T "$caches"
sweep backward --op kda,dplr --pass forward,backward --T "${lengths%%,*}"
sweep step --op kda,dplr --pass step --heads "$states" --threads 1,2
sweep operators --op all --T "${lengths%%,*}" --dtype f32,bf16
echo "$results"
