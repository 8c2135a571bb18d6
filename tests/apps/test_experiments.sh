# tools/run_experiment.py runs what a folder lists, once, and goes on where it was; what experiments/ shows is drawn
# from the rows that lie beside it.
. "$(dirname "$0")/lib.sh"
root=$(cd "$(dirname "$0")/../.." && pwd)

cat >"$scratch/runs" <<'END'
# a remark
one train task mqar --length 24 --width 32 --head-size 16 --ffn 32 --symbols 8 --pairs 2 --batch 2 --steps 2 --every 1
two train task stack --length 24 --width 32 --head-size 16 --ffn 32 --symbols 8 --batch 2 --steps 1
END
experiment() {
    line="run_experiment.py $*"
    python3 "$root/tools/run_experiment.py" "$scratch" --klinear "$klinear" --work "$scratch/work" --threads 1 "$@" \
        >"$out" 2>"$err"
    code=$?
}
experiment
expect_code 0
[ "$(cut -d, -f1,2 "$scratch/results.csv" | tr '\n' ' ')" = "run,step one,1 one,2 two,1 " ] || fail "expected all rows"
cp "$scratch/results.csv" "$scratch/before"
experiment
expect_code 0
cmp -s "$scratch/results.csv" "$scratch/before" || fail "expected that nothing runs twice"

# A recipe goes on where it was interrupted, and what is left of an earlier run is not gathered again.
. "$(dirname "$0")/train_case.sh"
printf '#!/bin/sh\n"%s" "$@" --stop 3\nexit 1\n' "$klinear" >breaks
chmod +x breaks
echo "recipe train recipe" >>runs
experiment --klinear ./breaks
expect_code 1
experiment
expect_code 0
expect_in_err "going on after step 2"
[ "$(grep -c '^recipe,' results.csv)" = 8 ] || fail "expected the 8 rows of the recipe"
cp before results.csv
experiment
expect_code 1
expect_in_err "work/recipe: is left over from another run"
cmp -s results.csv before || fail "expected no rows of an earlier run"
rm -r work/recipe
experiment
expect_code 0
[ "$(grep -c '^recipe,' results.csv)" = 8 ] || fail "expected the 8 rows of the recipe"
echo "three train task sudoku" >>"$scratch/runs"
experiment
expect_code 1
expect_in_err "three: "
echo "one train task mqar" >>"$scratch/runs"
experiment
expect_code 1
expect_in_err "one is there twice"

mkdir "$scratch/tools"
cp "$root/tools/svg_chart.py" "$scratch/tools/"
for plot in "$root"/experiments/*/plot.py; do
    name=$(basename "$(dirname "$plot")")
    mkdir -p "$scratch/experiments"
    cp -r "$root/experiments/$name" "$scratch/experiments/"
    rm -f "$scratch/experiments/$name"/*.svg
    line="experiments/$name/plot.py"
    python3 "$scratch/experiments/$name/plot.py" >"$out" 2>"$err" || fail "expected to draw"
    for svg in "$root/experiments/$name"/*.svg; do
        cmp -s "$svg" "$scratch/experiments/$name/$(basename "$svg")" || fail "expected $(basename "$svg") as it is"
    done
done
