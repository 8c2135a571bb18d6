# bench/plot_ops.sh: two drawings from rows of klinear bench ops, the best chunk of every length, the ratio in writing.
. "$(dirname "$0")/lib.sh"
command -v gnuplot >/dev/null || { echo "gnuplot is not installed"; exit 77; }
plot=$(dirname "$0")/../../bench/plot_ops.sh

# Rows of a machine on which DPLR takes 1.5 times as long as KDA at their best chunks, 16 and 32.
quick="--pass forward --T 1 --heads 1 --dim 8 --reps 1 --sample-ms 0 --dram-mib 1"
fields=$("$klinear" bench ops --csv --op l2norm $quick | head -1)
rows() {
    echo "date,commit,machine,sweep,$fields"
    for T in 2048 65536; do
        for row in kda:16:800 kda:32:900 dplr:16:1300 dplr:32:1200; do
            IFS=: read -r op chunk ns <<<"$row"
            echo "2026-01-01,abc,A machine,kda_vs_dplr,$op,forward,avx512,f32,$T,16,128,128,$chunk,1,$ns,1,1,1,1,1"
        done
        for dtype in f32 bf16; do
            for threads in 1 2; do
                ns=$((800 / threads))
                echo "2026-01-01,abc,A machine,length,kda,forward,avx512,$dtype,$T,16,128,128,16,$threads,$ns,1,1,1,1,1"
            done
        done
    done
}
rows >"$scratch/rows.csv"
line="plot_ops.sh rows.csv"
bash "$plot" "$scratch/rows.csv" "$scratch/docs" >"$out" 2>"$err"
code=$?
expect_code 0
expect_err ""
expect_in_out "DPLR / KDA at  2048 tokens: 1.50"
expect_in_out "DPLR / KDA at 65536 tokens: 1.50"
for word in "DPLR, chunk 32" "KDA, chunk 16" "1.50 x" "A machine; 2026-01-01; abc"; do
    grep -qF "$word" "$scratch/docs/kda_vs_dplr.svg" || fail "expected in the drawing: $word"
done
grep -qF "KDA, bf16, 2 threads" "$scratch/docs/kda_length.svg" || fail "expected four curves"

line="plot_ops.sh nothing"
: >"$scratch/empty.csv"
bash "$plot" "$scratch/empty.csv" "$scratch/none" >"$out" 2>"$err"
code=$?
expect_code 1
expect_err "bench/plot_ops.sh: no results; run bench/ops.sh first"
