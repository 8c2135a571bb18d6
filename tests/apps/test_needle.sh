# klinear needle: models of klinear train task look for what is hidden; the shown memory is what a sequence keeps.
. "$(dirname "$0")/lib.sh"

small="--width 32 --head-size 16 --ffn 32 --symbols 8 --pairs 2 --length 24 --batch 16 --every 100 -t 1"
make() {
    name=$1
    shift
    run train task needle $small --save "$scratch/$name" "$@"
    expect_code 0
}
make hybrid --layers 2 --full 2 --nope --steps 300 --lr 0.01
make mla --layers 2 -m softmax --steps 1

run needle "$scratch/hybrid" "$scratch/mla" --lengths 24,256,1K --pairs 2 --trials 20 --json -t 1
expect_code 0
expect_err ""
[ "$(wc -l <"$out")" = 6 ] || fail "expected a line for each model and length"
python3 - "$out" <<'PYTHON' || fail "expected what the models can do"
import json, sys
rows = [json.loads(line) for line in open(sys.argv[1])]
hybrid, mla = ([r for r in rows if r["model"] == m] for m in ("hybrid", "mla"))
assert all(r["asked"] == 40 for r in rows)
assert hybrid[0]["found"] > 30, hybrid[0]        # it has learnt to
assert mla[0]["found"] < 20, mla[0]              # it has not
grown = [m[2]["bytes"] - m[0]["bytes"] for m in (hybrid, mla)]
assert grown[1] == 2 * grown[0] > 0, grown       # one layer of two grows, and both layers of two
PYTHON

cp -r "$scratch/hybrid" "$scratch/say \"hy\""
run needle "$scratch/say \"hy\"" --lengths 24 --trials 1 --pairs 2 --json
expect_code 0
expect_in_out '"model": "say \"hy\""'

run needle "$scratch/hybrid" --lengths 64 --trials 1 --pairs 2 --patience 0
expect_code 0
expect_in_out "64  |"
run needle
expect_refused "klinear needle: which model? Name one that klinear train task needle made, or two"
run needle "$scratch/none"
expect_code 1
expect_in_err "klinear needle: $scratch/none"
run needle "$scratch/hybrid" --lengths 64 --pairs 40
expect_code 1
expect_in_err "klinear needle: kl_task: n_pair is 40"
run train task mqar --length 24 $small --steps 1 --save "$scratch/other"
run needle "$scratch/other"
expect_code 1
expect_in_err "has 18 tokens, expected the 3 n + 2 of klinear train task needle"
