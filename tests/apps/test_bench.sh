# klinear bench: rows of the cases, and the profile, whose parts add up to the time and to the work of the model.
. "$(dirname "$0")/lib.sh"
model=$scratch/tiny.gguf
"$klinear" init --preset tiny --type q8_0 -o "$model" 2>/dev/null
quick="--reps 1 --dram-mib 8 --threads 2"

run bench -m "$model" $quick --prefill 64,128 --decode 4 --depth 0,64 --json
expect_code 0
expect_err ""
expect_json "[(r['phase'], r['tokens'], r['depth']) for r in d['rows']] ==
             [('prefill', 64, 0), ('prefill', 128, 0), ('decode', 4, 0),
              ('prefill', 64, 64), ('prefill', 128, 64), ('decode', 4, 64)]"
expect_json "all(r['tokens_per_second'] > 0 and r['threads'] == 2 for r in d['rows']) and 'profiles' not in d"

run bench -m "$model" $quick --prefill 64 --decode 4 --batch 2 --profile --json
expect_code 0
expect_json "[(p['phase'], p['tokens'], p['batch']) for p in d['profiles']] == [('prefill', 64, 1), ('decode', 4, 2)]"
expect_json "all(0 < sum(x['seconds'] for x in p['parts']) <= p['seconds'] for p in d['profiles'])"
# A layer of each kind has its parts and no others.
expect_json "all({x['part'] for x in p['parts'] if x.get('layer') == 3} ==
                 {'norm', 'projections', 'cache', 'attention', 'outputs', 'router', 'experts', 'feedforward'}
                 for p in d['profiles'])"
expect_json "all({x['part'] for x in p['parts'] if x.get('layer') == 0} ==
                 {'norm', 'projections', 'gates', 'convolution', 'recurrence', 'outputs', 'feedforward'}
                 for p in d['profiles'])"
# 3 layers of 4 heads of 64 x 64, 7 operations for each number of a state and token.
expect_json "all(abs(sum(x['flops'] for x in p['parts'] if x['part'] == 'recurrence') / p['tokens'] / p['batch'] /
                     (3 * 4 * 7 * 64 * 64) - 1) < 1e-4 for p in d['profiles'])"

run bench -m "$model" $quick --prefill 64 --decode 0 --profile
expect_code 0
expect_in_out "prefill of 64 tokens at depth 0, batch 1"
expect_in_out "recurrence"
run bench -m "$model" --csv --profile
expect_code 2
expect_in_err "--csv and --profile exclude each other"
