# klinear bench ops: the three forms of its output, what it counts, its refusals.
. "$(dirname "$0")/lib.sh"

quick="--reps 1 --sample-ms 0 --dram-mib 8 --heads 2 --dim 16"
fields="op,pass,isa,dtype,T,heads,K,V,chunk,threads,ns_per_token_head,gflops,gbps,ceiling_gflops,ceiling_gbps"
fields=$fields,fraction_of_ceiling

# Every combination of the lists, in their order; 7 K V operations per token and head of KDA, and DPLR counted alike.
run bench ops $quick --json --op kda,dplr --pass forward --T 32,1K --chunk 1,16 --threads 1,2 --dtype f32,bf16
expect_code 0
expect_err ""
expect_json "list(d) == ['machine', 'rows']"
expect_json "all(','.join(r) == '$fields' for r in d['rows'])"
expect_json "len(d['rows']) == 32 and {r['op'] for r in d['rows']} == {'kda', 'dplr'}"
expect_json "[(r['dtype'], r['T'], r['chunk'], r['threads']) for r in d['rows'][:16]] ==
             [(a, b, c, e) for a in ('f32', 'bf16') for b in (32, 1024) for c in (1, 16) for e in (1, 2)]"
expect_json "all(r['heads'] == 2 and r['K'] == r['V'] == 16 and r['pass'] == 'forward' for r in d['rows'])"
expect_json "all(abs(r['gflops'] * r['ns_per_token_head'] / (7 * 16 * 16) - 1) < 1e-4 for r in d['rows'])"
expect_json "all(abs(r['fraction_of_ceiling'] / max(r['gflops'] / r['ceiling_gflops'],
                                                    r['gbps'] / r['ceiling_gbps']) - 1) < 1e-4 for r in d['rows'])"
expect_json "[c['threads'] for c in d['machine']['ceilings']] == [1, 2] and d['machine']['cores'] >= 1"
expect_json "all(c['fma_f32_gflops'] > 0 and c['read_gbps']['l2'] > 0 and c['update_gbps']['dram'] > 0
                 for c in d['machine']['ceilings'])"

# The operations of each definition; a step reads and writes its state once.
run bench ops $quick --json --T 32 --pass forward,step
expect_code 0
for count in kda:7 dplr:7 gdn:7 deltanet:6 mamba2:5 gla:5 linear:4; do
    expect_json "all(abs(r['gflops'] * r['ns_per_token_head'] / (${count#*:} * 256) - 1) < 1e-4
                     for r in d['rows'] if r['op'] == '${count%:*}')"
    expect_json "{r['pass'] for r in d['rows'] if r['op'] == '${count%:*}'} == {'forward', 'step'}"
    expect_json "all(r['T'] == 1 and abs(r['gbps'] * r['ns_per_token_head'] / (2 * 4 * 256) - 1) < 1e-4
                     for r in d['rows'] if r['op'] == '${count%:*}' and r['pass'] == 'step')"
done

# Backward of a recurrence: 15 K V. Softmax: 4 K for each of the rows that a query sees, twice that backward; a step
# reads its cache once.
run bench ops $quick --json --op kda,softmax --T 16,64
expect_code 0
expect_json "[(r['op'], r['pass'], r['T']) for r in d['rows']] ==
             [('kda', 'forward', 16), ('kda', 'forward', 64), ('kda', 'backward', 16), ('kda', 'backward', 64),
              ('kda', 'forward-keeping', 16), ('kda', 'forward-keeping', 64), ('kda', 'backward-kept', 16),
              ('kda', 'backward-kept', 64), ('kda', 'step', 1),
              ('softmax', 'forward', 16), ('softmax', 'forward', 64), ('softmax', 'backward', 16),
              ('softmax', 'backward', 64), ('softmax', 'step', 16), ('softmax', 'step', 64)]"
flops="r['gflops'] * r['ns_per_token_head']"
expect_json "all(abs($flops / (15 * 256) - 1) < 1e-4
                 for r in d['rows'] if r['op'] == 'kda' and r['pass'].startswith('backward'))"
expect_json "all(abs($flops / (7 * 256) - 1) < 1e-4
                 for r in d['rows'] if r['op'] == 'kda' and r['pass'].startswith('forward'))"
seen="{'forward': (r['T'] + 1) / 2, 'backward': r['T'] + 1, 'step': r['T']}[r['pass']]"
expect_json "all(abs($flops / (4 * 16 * $seen) - 1) < 1e-4 for r in d['rows'] if r['op'] == 'softmax')"
expect_json "all(abs(r['gbps'] * r['ns_per_token_head'] / (2 * 4 * 16 * r['T']) - 1) < 1e-4
                 for r in d['rows'] if r['op'] == 'softmax' and r['pass'] == 'step')"
expect_json "all(r['chunk'] == 0 for r in d['rows'] if r['op'] == 'softmax')"

# MLA of dim 16: keys of 16 + 8, values of 16, latents of 64; a step in its absorbed form.
run bench ops $quick --json --op mla --T 16
expect_code 0
expect_json "all((r['K'], r['V'], r['heads'], r['T']) == (24, 16, 2, 16) for r in d['rows'])"
expect_json "[round($flops / {'forward': 80 * 8.5, 'backward': 160 * 8.5, 'step': 272 * 16}[r['pass']], 3)
              for r in d['rows']] == [1, 1, 1]"

# Every operator there is, in both dtypes, on a geometry that is no multiple of anything.
run bench ops --reps 1 --sample-ms 0 --dram-mib 8 --heads 3 --dim 17 --op all --T 5 --dtype f32,bf16 --csv
expect_code 0
expect_err ""
[ "$(cut -d, -f1 "$out" | sort -u | wc -l)" -ge 19 ] || fail "expected every operator"

# Plain C runs everywhere; CSV has a line of names and as many fields in every line.
run bench ops $quick --csv --op gla,l2norm --T 8 --isa ref
expect_code 0
[ "$(head -1 "$out")" = "$fields" ] || fail "expected the names of the fields"
[ "$(wc -l <"$out")" -ge 4 ] || fail "expected three rows or more"
[ "$(tr -dc ',\n' <"$out" | sort -u)" = ",,,,,,,,,,,,,,," ] || fail "expected 16 fields in every line"
grep -q '^gla,forward,ref,f32,8,2,16,16,16,1,' "$out" || fail "expected a row of gla"
grep -q '^l2norm,backward,ref,f32,8,2,16,16,0,1,' "$out" || fail "expected a row of l2norm"

run bench ops $quick --op kda --pass forward --T 8
expect_code 0
expect_in_out "ceilings of "
expect_in_out "ns/tok/head"
line="bench ops | head -1"
"$klinear" bench ops $quick --op kda --pass forward --T 8 2>"$err" | head -1 >"$out"
code=${PIPESTATUS[0]}
expect_code 0
expect_err ""

# More memory than there is: said and left out; to have measured nothing is a failure.
run bench ops $quick --csv --op l2norm --heads 1M --dim 1024 --T 16M
expect_code 1
expect_out "$fields"
expect_in_err "l2norm forward f32 T 16777216 is left out: it needs more memory than half of what is free"

run bench ops --op kda,flash
expect_code 2
expect_out ""
expect_in_err 'klinear bench ops: --op is "kda,flash", expected some of: kda, dplr, '
run bench ops --pass sideways
passes="forward, backward, forward-keeping, backward-kept, step"
expect_refused "klinear bench ops: --pass is \"sideways\", expected some of: $passes"
run bench ops --isa sse
expect_refused 'klinear bench ops: --isa is "sse", expected some of: ref, avx2, avx512, native'
run bench ops --T 0
expect_refused 'klinear bench ops: --T is "0", expected numbers, with commas between them, in 1 .. 16777216'
for T in 5, , 9G 1e3 99999999999999999999 -1 ""; do
    run bench ops --T "$T"
    expect_refused "klinear bench ops: --T is \"$T\", expected numbers, with commas between them, in 1 .. 16777216"
done
run bench ops --reps 0
expect_refused 'klinear bench ops: --reps is "0", expected a number in 1 .. 101'
run bench ops --csv --json
expect_refused 'klinear bench ops: --csv and --json exclude each other'
run bench ops --csv=yes
expect_refused 'klinear bench ops: --csv=yes is no option here, or takes no value; see --help'
# Training's two passes go by chunks, and carry one state for 64 tokens and the errors besides.
run bench ops $quick --json --op kda --T 64,128 --chunk 1,16 --pass forward,forward-keeping
expect_code 0
expect_json "[(r['pass'], r['chunk']) for r in d['rows']] ==
             [('forward', 1), ('forward', 16)] * 2 + [('forward-keeping', 16)] * 2"
expect_json "all(abs(r['gbps'] * r['ns_per_token_head'] - 16 * 4 * {'forward': 5, 'forward-keeping': 6.25}[r['pass']]
                     - 4) < 0.1 for r in d['rows'])"

run bench nothing
expect_refused 'klinear bench: "nothing" is one word too many; see --help'

# A chunk that no operator has is the operator's sentence.
run bench ops $quick --op kda --pass forward --T 8 --chunk 9
expect_code 1
expect_out ""
expect_in_err "chunk"

# More threads than a list of 64 holds, and than there are cores: all of them are measured, in a time that ends.
line="bench ops --threads 65"
timeout 60 "$klinear" bench ops --op kda --pass forward --T 64 --heads 1 --threads 65 --reps 1 --sample-ms 1 \
    --dram-mib 8 --csv >"$out" 2>"$err"
code=$?
expect_code 0
[ "$(tail -1 "$out" | cut -d, -f10)" = 65 ] || fail "expected a row of 65 threads"
