#!/usr/bin/env bash
# How far the fast paths are from exact arithmetic on the same files, and how far llama.cpp is.
#   usage: bench/accuracy.sh [--peer PEER_BENCH] [--tokens N] [--seed N] [--caches LIST] FILE ...
# PEER_BENCH is called as `PEER_BENCH logits FILE IDS.i32 OUT.f32 -t THREADS`.  2,000 random tokens; the rows go to
# bench/results/accuracy-DATE-COMMIT.csv with date, commit and machine.  `klinear` in the environment names another
# program than build/release/klinear.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
klinear=${klinear:-$here/../build/release/klinear}
more=()
while [ $# -gt 0 ]; do
    case $1 in
    --peer | --tokens | --seed | --caches) more+=("$1" "$2") ;;
    -*) sed -n '2,6s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
    *) break ;;
    esac
    shift 2
done
[ $# -gt 0 ] || { sed -n '2,6s/^# \{0,1\}//p' "$0" >&2; exit 2; }
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
today=$(date +%F) commit=$(git -C "$here" rev-parse --short HEAD 2>/dev/null || echo unknown)
machine=$("$klinear" doctor --fast | sed -n 's/^Processor *//p' | tr ',' ';')
"$here/../tools/quant_accuracy.py" --klinear "$klinear" --csv "$scratch/rows" "${more[@]}" "$@"
mkdir -p "$here/results"
results=$here/results/accuracy-$today-$commit.csv
[ -s "$results" ] || echo date,commit,machine,file,path,tokens,seed,kl_mean,kl_error,kl_99,top1,largest >"$results"
sed "s/^/$today,$commit,$machine,/" "$scratch/rows" >>"$results"
