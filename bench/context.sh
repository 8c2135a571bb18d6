#!/usr/bin/env bash
# Time per generated token against depth: the 3:1 hybrid and the same geometry with all layers MLA.
#   usage: bench/context.sh [--preset NAME] [--type TYPE] [--depths LIST] [--reps N] [--threads N] [--keep FOLDER]
# Makes both models with random weights, fills the states of each depth with plausible numbers instead of reading so
# far, and times a few steps, one model after the other at each depth.  Prints a table; writes
# bench/results/context-DATE-COMMIT.csv and docs/context.svg.  A depth that memory does not allow is left out.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
klinear=${klinear:-$here/../build/release/klinear}
preset=mid type=q4_0 depths=4K,128K,256K,512K,1M reps=3 threads=0 keep=
while [ $# -gt 1 ]; do
    case $1 in
    --preset) preset=$2 ;;
    --type) type=$2 ;;
    --depths) depths=$2 ;;
    --reps) reps=$2 ;;
    --threads) threads=$2 ;;
    --keep) keep=$2 ;; # where the models are, or will be
    *) break ;;
    esac
    shift 2
done
[ $# = 0 ] || { sed -n '2,6s/^# \{0,1\}//p' "$0" >&2; exit 2; }
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
folder=${keep:-$scratch}
cc -O3 -march=native -o "$scratch/membw" "$here/membw.c" -lpthread
for name in "$preset" "$preset-mla"; do
    [ -s "$folder/$name.gguf" ] || "$klinear" init --preset "$name" --type "$type" --seed 1 -o "$folder/$name.gguf"
done

today=$(date +%F) commit=$(git -C "$here" rev-parse --short HEAD 2>/dev/null || echo unknown)
machine=$("$klinear" doctor --fast | sed -n 's/^Processor *//p' | tr ',' ';')
cores=$("$klinear" doctor --fast --json | sed -n 's/.*"cores": *\([0-9]*\).*/\1/p' | head -1)
mkdir -p "$here/results"
results=$here/results/context-$today-$commit.csv
echo date,commit,machine,preset,type,depth,hybrid_ms,mla_ms,ratio,hybrid_gbps,mla_gbps,memory_gbps >"$results"

# "ms-per-token GB/s" of a model at a depth; nothing when memory does not allow it.
time_of() {
    "$klinear" bench -m "$folder/$1.gguf" --threads "$threads" --prefill 0 --decode 4 --depth "$2" --fill random \
        --reps "$reps" --dram-mib 8 --csv 2>>"$scratch/complaints" |
        awk -F, '$2 == "decode" { print 1000 / $7, $12 }'
}

printf '%8s %14s %14s %7s %22s\n' depth 'hybrid, ms' 'all MLA, ms' ratio 'GB/s (memory)'
for depth in ${depths//,/ }; do
    tokens=$(numfmt --from=iec "$depth")
    hybrid=$(time_of "$preset" "$depth") mla=$(time_of "$preset-mla" "$depth")
    memory=$("$scratch/membw" "${cores:-1}")
    [ -n "$hybrid" ] && [ -n "$mla" ] || { echo "$depth is left out: $(tail -1 "$scratch/complaints")"; continue; }
    echo "$hybrid $mla" | awk -v head="$today,$commit,$machine,$preset,$type" -v depth="$tokens" -v name="$depth" \
        -v memory="$memory" -v results="$results" '{
            printf "%8s %14.2f %14.2f %7.2f %8.1f %6.1f (%s)\n", name, $1, $3, $3 / $1, $2, $4, memory
            printf "%s,%s,%.4f,%.4f,%.4f,%.2f,%.2f,%s\n", head, depth, $1, $3, $3 / $1, $2, $4, memory >>results }'
done

command -v gnuplot >/dev/null || { echo "$results"; exit 0; }
gnuplot <<PLOT
set terminal svg size 720,440 font 'Helvetica,13' background rgb 'white'
set output '$here/../docs/context.svg'
set datafile separator ','
set title 'Time per generated token, $preset geometry, $type'
set logscale x 2
set xtics ('4K' 4096, '128K' 131072, '256K' 262144, '512K' 524288, '1M' 1048576)
set xlabel 'tokens before it'
set ylabel 'ms'
set grid ytics lc rgb '#dddddd'
set border 3
set tics nomirror
set key top left reverse Left
set yrange [0:*]
set label '$machine; $today; $commit' at screen 0.98,0.03 right font ',9' tc rgb '#888888'
set bmargin 5.5
plot '$results' using 6:8 every ::1 with linespoints lw 2 pt 7 lc rgb '#c0504d' title 'all layers MLA', \
     '$results' using 6:7 every ::1 with linespoints lw 2 pt 7 lc rgb '#1f5fa8' title 'three KDA layers to one MLA', \
     '$results' using 6:8:(sprintf('%.1f x', \$9)) every ::1 with labels offset -1,1 tc rgb '#c0504d' notitle
PLOT
echo "$results"
