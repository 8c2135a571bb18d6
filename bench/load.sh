#!/usr/bin/env bash
# From the start of the program to its first token and its end, klinear and a rival in turn, on files in the page cache.
#   usage: bench/load.sh [--peer "COMMAND"] [--pairs N] [--threads N] FILE ...
# COMMAND, in which FILE stands for the model and THREADS for their number, loads it, reads one token and ends.
# klinear reads one token and writes one, with weights as it holds them by default (packed while it writes) and mapped.
# Prints milliseconds, and how many times as fast klinear is; medians last.  `klinear` in the environment names another
# program than build/release/klinear.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
klinear=${klinear:-$here/../build/release/klinear}
peer= pairs=5 threads=2
while [ $# -gt 0 ]; do
    case $1 in
    --peer) peer=$2 ;;
    --pairs) pairs=$2 ;;
    --threads) threads=$2 ;;
    -*) sed -n '2,7s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
    *) break ;;
    esac
    shift 2
done
[ $# -gt 0 ] || { sed -n '2,7s/^# \{0,1\}//p' "$0" >&2; exit 2; }
rows=$(mktemp)
trap 'rm -f "$rows"' EXIT

milliseconds() { # COMMAND: how long it takes
    local start=$EPOCHREALTIME
    "$@" >/dev/null 2>&1 </dev/null || { echo "failed: $*" >&2; exit 1; }
    echo $(((${EPOCHREALTIME/./} - ${start/./}) / 1000))
}
ours() { # FILE WEIGHTS
    milliseconds "$klinear" run -m "$1" --raw -q --ctx 64 -n 1 -p a --temperature 0 --threads "$threads" --weights "$2"
}
theirs() { # FILE
    local command=${peer//FILE/$1}
    milliseconds bash -c "exec ${command//THREADS/$threads}"
}

for file in "$@"; do
    cat "$file" >/dev/null
    ours "$file" mapped >/dev/null
    for pair in $(seq "$pairs"); do
        rival=-
        [ -z "$peer" ] || rival=$(theirs "$file")
        mapped=$(ours "$file" mapped)
        echo "$(basename "$file") $pair $(ours "$file" packed) $mapped $rival"
    done
done | tee "$rows" | awk '{ print $1 ", pair " $2 ": " $3 " ms, mapped " $4 " ms, rival " $5 " ms" }'

median() { sort -n | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }
for file in "$@"; do
    name=$(basename "$file")
    field() { awk -v name="$name" -v n="$1" '$1 == name { print $n }' "$rows" | median; }
    echo "$name, medians: $(field 3) ms, mapped $(field 4) ms, rival $(field 5) ms"
done
