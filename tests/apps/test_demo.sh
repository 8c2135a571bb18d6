# klinear demo: what it shows is true of the text it was given; no terminal is needed.
. "$(dirname "$0")/lib.sh"

# value WORD COLUMN: a number of the line that begins with WORD.
value() {
    awk -v word="$1" -v column="$2" 'index($0, "  " word) == 1 { print $column; exit }' "$out"
}
# expect_true EXPRESSION, of numbers
expect_true() {
    awk "BEGIN { exit !($1) }" || fail "expected $1"
}

run demo
expect_code 0
expect_err ""
expect_in_out "klinear 0.1.0 on "
expect_in_out "KDA three ways: the same numbers, up to rounding"
# Both foresee more than the most frequent byte, and the memory that keeps everything more than the one that does not.
expect_true "$(value foreseen 2) > 30 && $(value foreseen 2) < 45"
expect_true "$(value foreseen 4) > $(value foreseen 2) && $(value foreseen 4) < 60"
expect_true "$(value foreseen 2) > $(sed -n 's/.*always " ": \([0-9.]*\) %.*/\1/p' "$out")"
# Three heads of 128 x 128 numbers, against two rows of 3 x 128 for every byte.
expect_true "$(value "memory now" 3) == 192 && $(value "after a million" 5) == 192"
expect_true "$(value "after a million" 7) == 2.9"
# The ways agree.
for way in "16 bytes at a time" "one call per byte"; do
    difference=$(sed -n "s/^  $way .* differs by \(.*\)/\1/p; s/^  $way .* the same bits/0/p" "$out")
    expect_true "\"$difference\" != \"\" && $difference < 1e-5"
done
# What was foreseen is shown where it was, and nothing else.
awk '/^  text  /  { text = substr($0, 13) }
     /^  (KDA|softmax)  / { guess = substr($0, 13)
         for (i = 1; i <= length(guess); i++)
             if (substr(guess, i, 1) != "." && substr(guess, i, 1) != substr(text, i, 1)) exit 1
         lines++ }
     END { exit lines != 6 }' "$out" || fail "expected guesses that are right where they are not dots"

# The prompt is read last.
run demo --prompt "delta rule" --threads 1
expect_code 0
expect_in_out "delta rule|"

# Any file will do: one byte, no letters at all, more than is read.
for bytes in 1 2 17 5000; do
    head -c $bytes /dev/urandom >"$scratch/file"
    run demo --file "$scratch/file"
    expect_code 0
    expect_err ""
    expect_in_out "Reading $((bytes < 4096 ? bytes : 4096)) bytes"
    ! LC_ALL=C grep -q '[^[:print:]]' "$out" || fail "expected printable output"
done
yes abc | head -c 400 >"$scratch/file"
run demo --file "$scratch/file" --prompt ab
expect_code 0
expect_true "$(value foreseen 2) > 95"
expect_in_out "|c abc abc abc"

: >"$scratch/file"
run demo --file "$scratch/file"
expect_code 1
expect_out "klinear 0.1.0 on $("$klinear" doctor --fast | sed -n 's/^Processor *//p')"
expect_err "klinear demo: $scratch/file cannot be read, or is empty"
run demo --file "$scratch/none"
expect_code 1
expect_err "klinear demo: $scratch/none cannot be read, or is empty"
run demo --file "$scratch"
expect_code 1
run demo --prompt "$(head -c 4097 /dev/zero | tr '\0' x)"
expect_refused "klinear demo: --prompt has 4097 bytes, expected at most 4096"
run demo --prompt
expect_refused "klinear demo: --prompt needs a value; see --help"
run demo me
expect_refused 'klinear demo: "me" is one word too many; see --help'

line="demo | head -1"
"$klinear" demo --file "$0" 2>"$err" | head -1 >"$out"
code=${PIPESTATUS[0]}
expect_code 0
expect_err ""
