# klinear logits: the numbers are those of the float64 model, and what the verb refuses.
. "$(dirname "$0")/lib.sh"

line=check_logits.py
"$python" "$(dirname "$0")/check_logits.py" "$klinear" "$scratch" ${2-} >"$out" 2>"$err"
code=$?
expect_code 0
expect_err ""
expect_in_out variants
[ -z "${2-}" ] || exit 0

model=$scratch/tiny
made "$model" --layers 2 --ratio 1
logits() {
    run logits -m "$model" "$@"
}
logits --tokens 1,2,3 -o "$scratch/whole"
expect_code 0
expect_out ""
expect_err ""
[ "$(stat -c %s "$scratch/whole")" = $((3 * 1024 * 4)) ] || fail "expected 3 rows of 1024 numbers"

# Standard output, a list in a file, a list from a pipe: the same bytes.
logits --tokens 1,2,3
expect_code 0
cmp -s "$out" "$scratch/whole" || fail "expected on standard output what the file has"
printf ' 1\n2\t3\n' >"$scratch/ids"
logits --tokens-file "$scratch/ids" -o -
cmp -s "$out" "$scratch/whole" || fail "expected the same from a list in a file"
line="logits --tokens-file - <ids"
"$klinear" logits -m "$model" --tokens-file - <"$scratch/ids" >"$out" 2>"$err"
cmp -s "$out" "$scratch/whole" || fail "expected the same from a pipe"
logits --tokens "" -o "$scratch/none"
expect_code 0
[ ! -s "$scratch/none" ] || fail "expected an empty file"

# What is wrong is said, and no file appears.
refused() { # SENTENCE OPTIONS
    local sentence=$1
    shift
    logits "$@" -o "$scratch/no"
    expect_code 1
    expect_out ""
    expect_err "klinear logits: $sentence"
    [ ! -e "$scratch/no" ] || fail "expected no file"
}
refused '--tokens: token 1 is "1024", expected an id in 0 .. 1023' --tokens 1,1024
refused '--tokens: token 0 is "-1", expected an id in 0 .. 1023' --tokens -1
refused '--tokens: token 2 is "x", expected an id in 0 .. 1023' --tokens 1,2,x
refused '--tokens: token 0 is "99999999999999999999", expected an id in 0 .. 1023' --tokens 99999999999999999999
refused "$scratch/missing cannot be read: No such file or directory" --tokens-file "$scratch/missing"
refused "$scratch cannot be read: Is a directory" --tokens-file "$scratch"
line="logits --tokens-file - <&-"
"$klinear" logits -m "$model" --tokens-file - <&- >"$out" 2>"$err"
code=$?
expect_code 1
expect_err "klinear logits: standard input cannot be read: Bad file descriptor"
run logits --tokens 1 -m "$scratch/missing"
expect_code 1
expect_out ""
run logits -m "$model"
expect_refused "klinear logits: expected one of --tokens and --tokens-file"
run logits -m "$model" --tokens 1 --tokens-file x
expect_refused "klinear logits: expected one of --tokens and --tokens-file"
run logits -m "$model" --tokens 1 --cache-type f64
expect_refused 'klinear logits: --cache-type is "f64", expected one of: bf16, f32, q8_0'
logits --tokens 1 -o "$scratch/none/at/all"
expect_code 1
line="logits >/dev/full"
"$klinear" logits -m "$model" --tokens 1 >/dev/full 2>"$err"
code=$?
expect_code 1
expect_err "klinear logits: standard output cannot be written: No space left on device"
line="logits >&-"
"$klinear" logits -m "$model" --tokens 1 >&- 2>"$err"
code=$?
expect_code 1
line="logits | head -c 4"
"$klinear" logits -m "$model" --tokens "$(seq -s, 200)" 2>"$err" | head -c 4 >"$out"
code=${PIPESTATUS[0]}
expect_code 0
expect_err ""

# Without a model the bundled one is looked for.
mkdir "$scratch/models"
ln -s "$model" "$scratch/models/b"
mkdir "$scratch/models/a"
KLINEAR_MODELS=$scratch/models run logits --tokens 1,2,3 -o "$scratch/bundled"
expect_code 0
cmp -s "$scratch/bundled" "$scratch/whole" || fail "expected the numbers of the model in KLINEAR_MODELS"
KLINEAR_MODELS=$model run logits --tokens 1 -o "$scratch/no"
expect_code 1
expect_err "klinear logits: no model was named (-m), and there is none in $model"

# Ctrl-C ends it, and leaves no file.
made "$scratch/slow" --layers 2 --ratio 1 --hidden 256
line="logits, interrupted"
"$klinear" logits -m "$scratch/slow" --threads 1 --tokens "$(seq -s, 1000),$(seq -s, 1000),$(seq -s, 1000)" --batch 1 \
    -o "$scratch/no" 2>"$err" &
pid=$!
sleep 0.3
kill -INT $pid
wait $pid
code=$?
expect_code 1
expect_err "klinear logits: interrupted"
[ ! -e "$scratch/no" ] || fail "expected no file"

# Cutting the file short ends it as well, with a sentence and without numbers made of what is no longer there.
"$klinear" init --preset tiny --type f32 -o "$scratch/cut.gguf" 2>/dev/null
line="logits of a file that is cut short"
"$klinear" logits -m "$scratch/cut.gguf" --threads 1 --tokens "$(seq -s, 1000),$(seq -s, 1000),$(seq -s, 1000)" \
    --batch 1 -o "$scratch/no" 2>"$err" &
pid=$!
sleep 0.3
: >"$scratch/cut.gguf"
wait $pid
code=$?
expect_code 1
expect_in_err "klinear: a file was cut short"
[ ! -e "$scratch/no" ] || fail "expected no file"
