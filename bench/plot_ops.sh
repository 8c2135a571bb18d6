#!/usr/bin/env bash
# Draws docs/kda_vs_dplr.svg, and docs/kda_length.svg where that sweep is there.
# usage: bench/plot_ops.sh [RESULTS.csv [FOLDER]]
# RESULTS.csv is what bench/ops.sh wrote (default: its latest).  A point is the best chunk of its length.
set -euo pipefail
cd "$(dirname "$0")/.."

results=${1:-$(ls -t bench/results/ops-*.csv 2>/dev/null | head -1)}
folder=${2:-docs}
[ -s "$results" ] || { echo "bench/plot_ops.sh: no results; run bench/ops.sh first" >&2; exit 1; }
mkdir -p "$folder"
data=$(mktemp -d)
trap 'rm -rf "$data"' EXIT

# best SWEEP OP DTYPE THREADS: lines "T ns chunk", the fastest chunk of each length, shortest first.
best() {
    awk -F, -v sweep="$1" -v op="$2" -v dtype="$3" -v threads="$4" '
        NR == 1 { for (i = 1; i <= NF; i++) at[$i] = i; next }
        $at["sweep"] == sweep && $at["op"] == op && $at["dtype"] == dtype && $at["threads"] == threads {
            T = $at["T"]; ns = $at["ns_per_token_head"]
            if (!(T in least) || ns + 0 < least[T]) { least[T] = ns + 0; chunk[T] = $at["chunk"] }
        }
        END { for (T in least) print T, least[T], chunk[T] }' "$results" | sort -n
}

best kda_vs_dplr kda f32 1 >"$data/kda"
best kda_vs_dplr dplr f32 1 >"$data/dplr"
# Lines "T ns ratio", ns of DPLR, ratio to KDA.
awk 'NR == FNR { kda[$1] = $2; next } $1 in kda { print $1, $2, $2 / kda[$1] }' "$data/kda" "$data/dplr" >"$data/ratio"
for dtype in f32 bf16; do
    for threads in 1 2; do
        best length kda $dtype $threads >"$data/kda_${dtype}_$threads"
    done
done
best softmax softmax f32 1 >"$data/softmax"
[ -s "$data/kda" ] && [ -s "$data/dplr" ] || { echo "bench/plot_ops.sh: $results has no KDA and DPLR" >&2; exit 1; }

read -r date commit machine < <(awk -F, 'NR == 2 { print $1, $2, $3 }' "$results")
chunks() { awk '{ seen[$3] } END { for (c in seen) text = text (text ? ", " : "") c; print text }' "$1"; }
style="set terminal svg size 720,440 font 'Helvetica,13' background rgb 'white'
set logscale x 2
set xtics (2048, 4096, 8192, 16384, 32768, 65536)
set xtics add ('2K' 2048, '4K' 4096, '8K' 8192, '16K' 16384, '32K' 32768, '64K' 65536)
set xlabel 'tokens in the sequence'
set ylabel 'ns per token and head'
set grid ytics lc rgb '#dddddd'
set border 3
set tics nomirror
set label '$machine; $date; $commit' at screen 0.98,0.03 right font ',9' tc rgb '#888888'
set bmargin 5.5"

gnuplot <<PLOT
$style
set output '$folder/kda_vs_dplr.svg'
set title 'Chunkwise forward, 16 heads, K = V = 128, f32, one thread'
set yrange [0:*]
set key bottom left reverse Left
set offsets graph 0.05, graph 0.05, graph 0.15, 0
plot '$data/dplr' using 1:2 with linespoints lw 2 pt 7 lc rgb '#c0504d' title 'DPLR, chunk $(chunks "$data/dplr")', \
     '$data/kda' using 1:2 with linespoints lw 2 pt 7 lc rgb '#1f5fa8' title 'KDA, chunk $(chunks "$data/kda")', \
     '$data/ratio' using 1:2:(sprintf('%.2f x', \$3)) with labels offset 0,1 tc rgb '#c0504d' notitle
PLOT

drawn=$folder/kda_vs_dplr.svg
if [ -s "$data/kda_f32_1" ]; then
softmax=
[ ! -s "$data/softmax" ] || softmax="'$data/softmax' using 1:2 with linespoints lw 2 pt 5 lc rgb '#888888' \
     title 'softmax attention, f32, 1 thread',"
gnuplot <<PLOT
$style
set output '$folder/kda_length.svg'
set title 'KDA forward, 16 heads, K = V = 128: time per token against length'
set logscale y 2
set key top right
set offsets graph 0.05, graph 0.05, graph 0.3, graph 0.1
plot $softmax \
     '$data/kda_f32_1' using 1:2 with linespoints lw 2 pt 7 lc rgb '#1f5fa8' title 'KDA, f32, 1 thread', \
     '$data/kda_bf16_1' using 1:2 with linespoints lw 2 pt 6 lc rgb '#7fb0e6' title 'KDA, bf16, 1 thread', \
     '$data/kda_f32_2' using 1:2 with linespoints lw 2 pt 7 lc rgb '#5a9a3c' title 'KDA, f32, 2 threads', \
     '$data/kda_bf16_2' using 1:2 with linespoints lw 2 pt 6 lc rgb '#a9d68c' title 'KDA, bf16, 2 threads'
PLOT
drawn="$drawn $folder/kda_length.svg"
fi
awk '{ printf "DPLR / KDA at %5d tokens: %.2f\n", $1, $3 }' "$data/ratio"
echo "$drawn"
