# klinear doctor: the report, the numbers, the refusals.
. "$(dirname "$0")/lib.sh"

run doctor --fast
expect_code 0
expect_err ""
for word in "klinear 0.1.0, built with" Processor Memory Threads Instructions Libraries Kernels l2norm_row; do
    expect_in_out "$word"
done
! grep -q Measured "$out" || fail "expected no measurement"

run doctor --json --threads 2 --dram-mib 8
expect_code 0
expect_err ""
expect_json "d['threads'] == 2 and d['isa'] in ('ref', 'avx2', 'avx512')"
expect_json "d['machine']['cores'] >= 1 and d['machine']['memory_bytes'] > 0 and d['machine']['processor']"
expect_json "set(d['libraries']) <= {'jansson', 'libedit'}"
expect_json "d['kernels']['l2norm_row'] in ('ref', 'avx2', 'avx512')"
expect_json "[c['threads'] for c in d['ceilings']] == [1, 2]"
expect_json "all(c['fma_f32_gflops'] > 0.1 and c['isa'] == d['isa'] for c in d['ceilings'])"
expect_json "all(c[kind][level] > 0.01 for c in d['ceilings'] for kind in ('read_gbps', 'update_gbps')
                 for level in ('l2', 'dram'))"

run doctor --fast --json
expect_code 0
expect_json "d['ceilings'] == []"

run doctor --threads 1025
expect_refused 'klinear doctor: --threads is "1025", expected a number in 0 .. 1024'
run doctor --threads
expect_refused 'klinear doctor: --threads needs a value; see --help'
run doctor --threads 2x
expect_refused 'klinear doctor: --threads is "2x", expected a number in 0 .. 1024'
run doctor now
expect_refused 'klinear doctor: "now" is one word too many; see --help'
