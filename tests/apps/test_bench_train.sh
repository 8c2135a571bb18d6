# klinear bench train: the shape of what it prints; numbers are the machine's.
. "$(dirname "$0")/lib.sh"

run bench train --preset tiny --config x
expect_refused "klinear bench train: expected one of --preset and --config"
run bench train --preset huge
expect_code 1
expect_in_err "huge"

run bench train --tokens 128 --length 16 --passes 1 -t 1
expect_code 0
expect_in_out "passes of 128 tokens"
expect_in_out "linear_bwd"
run bench train --tokens 128 --length 16 --passes 1 -t 2 --muon --recompute --json
expect_code 0
expect_json 'len(d["rows"]) == 2 and d["rows"][1]["length"] == 64 and d["rows"][0]["tokens"] == 128'
expect_json 'all(0 < r["fraction_of_ceiling"] < 1.2 and r["seconds"]["muon"] > 0 for r in d["rows"])'
expect_json 'd["rows"][0]["flops_per_token"] < d["rows"][1]["flops_per_token"]'
