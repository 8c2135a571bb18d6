#!/usr/bin/env bash
# klinear and llama.cpp on the same files, in turn.
#   usage: bench/rival.sh --peer PEER_BENCH [--pairs N] [--threads N] [--prefill LIST] [--depth LIST] [--decode N]
#                         [--fill random] FILE ...
# PEER_BENCH is a program that is called as
#     PEER_BENCH bench FILE -t THREADS -p LENGTHS -d DEPTHS -n TOKENS -r 1
# and prints lines "ppN X tok/s" and "tgN@dD X tok/s", which llama.cpp's own library makes in about a hundred lines.
# A pair is klinear, then the rival, on the same cases; beside each, memory is read by all threads (bench/membw.c).
# Prints the ratio of every case pair by pair, its median and spread; the rows go to bench/results/rival-DATE-COMMIT.csv
# with date, commit and machine.  `klinear` in the environment names another program than build/release/klinear.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
klinear=${klinear:-$here/../build/release/klinear}
peer= pairs=5 threads=2 prefill=512 depth=0 decode=64 more=
while [ $# -gt 0 ]; do
    case $1 in
    --peer) peer=$2 ;;
    --pairs) pairs=$2 ;;
    --threads) threads=$2 ;;
    --prefill) prefill=$2 ;;
    --depth) depth=$2 ;;
    --decode) decode=$2 ;;
    --fill) more="--fill $2" ;; # klinear's states of a depth are made up; the rival reads so far
    -*) sed -n '2,11s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
    *) break ;;
    esac
    shift 2
done
[ -n "$peer" ] && [ $# -gt 0 ] || { sed -n '2,11s/^# \{0,1\}//p' "$0" >&2; exit 2; }
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cc -O3 -march=native -o "$scratch/membw" "$here/membw.c" -lpthread

today=$(date +%F) commit=$(git -C "$here" rev-parse --short HEAD 2>/dev/null || echo unknown)
machine=$("$klinear" doctor --fast | sed -n 's/^Processor *//p' | tr ',' ';')
mkdir -p "$here/results"
results=$here/results/rival-$today-$commit.csv
[ -s "$results" ] ||
    echo date,commit,machine,file,pair,threads,case,klinear_tps,rival_tps,ratio,klinear_gbps,memory_gbps >"$results"

# Lines "case tokens/s GB/s" of klinear, "case tokens/s" of the rival; cases are named as the rival names them.
run_klinear() {
    "$klinear" bench -m "$1" --threads "$threads" --prefill "$prefill" --decode "$decode" --depth "$depth" $more \
        --reps 1 --dram-mib 8 --csv |
        awk -F, 'NR > 1 { print ($2 == "prefill" ? "pp" $3 : "tg" $3) "@d" $4, $7, $12 }'
}
run_peer() {
    "$peer" bench "$1" -t "$threads" -p "$prefill" -d "$depth" -n "$decode" -r 1 |
        awk '$3 == "tok/s" { print $1 ($1 ~ /@/ ? "" : "@d0"), $2 }'
}

for file in "$@"; do
    name=$(basename "$file")
    for pair in $(seq "$pairs"); do
        before=$("$scratch/membw" "$threads")
        run_klinear "$file" >"$scratch/ours"
        between=$("$scratch/membw" "$threads")
        run_peer "$file" >"$scratch/theirs"
        after=$("$scratch/membw" "$threads")
        awk -v head="$today,$commit,$machine,$name,$pair,$threads" -v a="$before" -v b="$between" -v c="$after" '
            NR == FNR { theirs[$1] = $2; next }
            $1 in theirs { printf "%s,%s,%s,%s,%.4f,%s,%.2f\n", head, $1, $2, theirs[$1], $2 / theirs[$1], $3,
                                  (a + b + c) / 3 }' "$scratch/theirs" "$scratch/ours" | tee -a "$scratch/rows" |
            awk -F, '{ printf "%-18s pair %s  %-14s %9.2f against %9.2f tokens/s: %.2f   (%s GB/s of %s)\n", $4, $5, $7,
                              $8, $9, $10, $11, $12 }'
    done
done
cat "$scratch/rows" >>"$results"

echo
printf '%-18s %-14s %7s %15s %22s\n' file case median "least .. most" "of memory, median"
sort -t, -k4,4 -k7,7 -k10,10n "$scratch/rows" | awk -F, '
    function flush() {
        if (!n) return
        m = n % 2 ? r[(n + 1) / 2] : (r[n / 2] + r[n / 2 + 1]) / 2
        for (i = 1; i <= n; i++) for (j = i + 1; j <= n; j++) if (f[j] < f[i]) { t = f[i]; f[i] = f[j]; f[j] = t }
        printf "%-18s %-14s %7.2f %7.2f .. %.2f %18.0f %%\n", file, kind, m, r[1], r[n], 100 * f[int((n + 1) / 2)]
        n = 0
    }
    $4 != file || $7 != kind { flush(); file = $4; kind = $7 }
    { r[++n] = $10; f[n] = $11 / $12 }
    END { flush() }'
echo "$results"
