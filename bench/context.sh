#!/usr/bin/env bash
# Time per generated token, and of steps of a prompt, against depth: the 3:1 hybrid and the same with all layers MLA.
#   usage: bench/context.sh [--layers N] [--type TYPE] [--depths LIST] [--prompts LIST] [--reps N] [--threads N]
#                           [--keep FOLDER]
# Layers are those of the released model (fewer experts, which take no part in what depends on depth); N of them, so
# that a million tokens fit into memory.  Fills the states of each depth with plausible numbers instead of reading so
# far, and times a few steps, one model after the other at each depth.  Prints tables; writes
# bench/results/context-DATE-COMMIT.csv, prompts-DATE-COMMIT.csv and docs/context.svg.  A depth that memory does not
# allow is left out.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
klinear=${klinear:-$here/../build/release/klinear}
layers=4 type=q4_0 depths=4K,128K,256K,512K,1M prompts=0,8K,32K,128K reps=3 threads=0 keep=
while [ $# -gt 1 ]; do
    case $1 in
    --layers) layers=$2 ;;
    --type) type=$2 ;;
    --depths) depths=$2 ;;
    --prompts) prompts=$2 ;; # depths at which a step of 512 tokens is timed
    --reps) reps=$2 ;;
    --threads) threads=$2 ;;
    --keep) keep=$2 ;; # where the models are, or will be
    *) break ;;
    esac
    shift 2
done
[ $# = 0 ] || { sed -n '2,9s/^# \{0,1\}//p' "$0" >&2; exit 2; }
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
folder=${keep:-$scratch}
cc -O3 -march=native -o "$scratch/membw" "$here/membw.c" -lpthread
# config NAME KDA_LAYERS MLA_LAYERS: the released geometry with these layers.
config() {
    cat >"$scratch/$1.json" <<END
{"model_type": "kimi_linear", "hidden_act": "silu", "hidden_size": 2304, "num_hidden_layers": $layers,
 "vocab_size": 32768, "rms_norm_eps": 1e-05, "num_attention_heads": 32, "num_key_value_heads": 32, "q_lora_rank": null,
 "kv_lora_rank": 512, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128, "mla_use_nope": true,
 "intermediate_size": 9216, "first_k_dense_replace": 1, "moe_layer_freq": 1, "num_experts": 16,
 "num_experts_per_token": 8, "num_shared_experts": 1, "moe_intermediate_size": 1024, "routed_scaling_factor": 2.446,
 "moe_router_activation_func": "sigmoid", "moe_renormalize": true, "model_max_length": 1048576,
 "linear_attn_config": {"num_heads": 32, "head_dim": 128, "short_conv_kernel_size": 4, "kda_layers": [$2],
                        "full_attn_layers": [$3]}}
END
    [ -s "$folder/$1.gguf" ] ||
        "$klinear" init --config "$scratch/$1.json" --type "$type" --seed 1 -o "$folder/$1.gguf"
}
every=$(seq -s, "$layers") fourth=$(seq -s, 4 4 "$layers")
others=$(seq "$layers" | awk '$1 % 4' | paste -sd,)
config hybrid "$others" "$fourth"
config all-mla "" "$every"

today=$(date +%F) commit=$(git -C "$here" rev-parse --short HEAD 2>/dev/null || echo unknown)
machine=$("$klinear" doctor --fast | sed -n 's/^Processor *//p' | tr ',' ';')
cores=$("$klinear" doctor --fast --json | sed -n 's/.*"cores": *\([0-9]*\).*/\1/p' | head -1)
mkdir -p "$here/results"
results=$here/results/context-$today-$commit.csv
fields=hybrid_ms,mla_ms,ratio,hybrid_gbps,mla_gbps,memory_gbps,hybrid_bytes,mla_bytes
echo "date,commit,machine,layers,type,depth,$fields" >"$results"

# "ms-per-token GB/s" of a model at a depth; nothing when memory does not allow it.
time_of() {
    "$klinear" bench -m "$folder/$1.gguf" --threads "$threads" --prefill 0 --decode 4 --depth "$2" --fill random \
        --reps "$reps" --dram-mib 8 --csv 2>>"$scratch/complaints" |
        awk -F, '$2 == "decode" { print 1000 / $7, $12 }'
}

# Bytes that a sequence of so many tokens keeps.
state_of() {
    "$klinear" inspect -m "$folder/$1.gguf" --ctx "$2" --json |
        python3 -c 'import json, sys; print(json.load(sys.stdin)["memory"]["state_bytes"])'
}

printf '%8s %14s %14s %7s %22s %22s\n' depth 'hybrid, ms' 'all MLA, ms' ratio 'GB/s (memory)' 'state, MB'
for depth in ${depths//,/ }; do
    tokens=$(numfmt --from=iec "$depth")
    hybrid=$(time_of hybrid "$depth") mla=$(time_of all-mla "$depth")
    memory=$("$scratch/membw" "${cores:-1}")
    [ -n "$hybrid" ] && [ -n "$mla" ] || { echo "$depth is left out: $(tail -1 "$scratch/complaints")"; continue; }
    echo "$hybrid $mla $(state_of hybrid "$tokens") $(state_of all-mla "$tokens")" |
        awk -v head="$today,$commit,$machine,$layers,$type" -v depth="$tokens" -v name="$depth" \
        -v memory="$memory" -v results="$results" '{
            printf "%8s %14.2f %14.2f %7.2f %8.1f %6.1f (%s) %10.1f %10.1f\n", name, $1, $3, $3 / $1, $2, $4, memory,
                $5 / 1e6, $6 / 1e6
            printf "%s,%s,%.4f,%.4f,%.4f,%.2f,%.2f,%s,%d,%d\n", head, depth, $1, $3, $3 / $1, $2, $4, memory, $5,
                $6 >>results }'
done

# A step of a prompt costs a constant and a part that grows with the depth: a line through what is timed, whose sum over
# all steps is the cost of a prompt.  Behind the last of these depths that is an extrapolation.
cost=$here/results/prompts-$today-$commit.csv
echo date,commit,machine,layers,type,model,depth,tokens_per_second >"$cost"
for name in hybrid all-mla; do
    "$klinear" bench -m "$folder/$name.gguf" --threads "$threads" --prefill 512 --decode 0 --depth "$prompts" \
        --fill random --reps 1 --dram-mib 8 --csv 2>>"$scratch/complaints" |
        awk -F, -v head="$today,$commit,$machine,$layers,$type,$name" \
            '$2 == "prefill" { printf "%s,%s,%.3f\n", head, $4, $7 }' >>"$cost"
done
python3 - "$cost" <<'SUM'
import csv, sys
rows = list(csv.DictReader(open(sys.argv[1])))
print("A whole prompt, seconds: the sum of its steps of 512 tokens; * beyond what was timed")
print("%10s %12s %12s %7s" % ("tokens", "hybrid", "all MLA", "ratio"))
def line(model):
    x = [(float(r["depth"]) + 256, 1 / float(r["tokens_per_second"])) for r in rows if r["model"] == model]
    n, sx, sy = len(x), sum(a for a, _ in x), sum(b for _, b in x)
    slope = (n * sum(a * b for a, b in x) - sx * sy) / (n * sum(a * a for a, _ in x) - sx * sx)
    return max(0, (sy - slope * sx) / n), slope, max(a for a, _ in x)
h, m = line("hybrid"), line("all-mla")
for t in (8192, 32768, 131072, 262144, 524288, 1048576):
    a, b = (c[0] * t + c[1] * t * t / 2 for c in (h, m))
    print("%9d%s %12.0f %12.0f %7.2f" % (t, "*" if t > h[2] + 256 else " ", a, b, b / a))
SUM

command -v gnuplot >/dev/null || { echo "$results"; exit 0; }
gnuplot <<PLOT
set terminal svg size 720,440 font 'Helvetica,13' background rgb 'white'
set output '$here/../docs/context.svg'
set datafile separator ','
set title 'Time per generated token, $layers layers of the released geometry, $type'
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
