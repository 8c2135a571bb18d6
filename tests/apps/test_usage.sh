# What the program says about itself, and how it refuses what it does not understand.
. "$(dirname "$0")/lib.sh"

run --version
expect_code 0
expect_out "klinear 0.1.0"
run -V
expect_out "klinear 0.1.0"

run help
expect_code 0
expect_in_out "Usage: klinear VERB [options]"
expect_in_out "Exit status: 0 fine, 1 failed, 2 wrong usage."
cp "$out" "$scratch/help"
for way in --help -h; do
    run $way
    expect_code 0
    cmp -s "$out" "$scratch/help" || fail "expected the same as klinear help"
done

# Without a verb the same text, but as a complaint.
run
expect_code 2
expect_out ""
cmp -s "$err" "$scratch/help" || fail "expected the help on standard error"

# Every verb that help lists explains itself, in two ways that agree.
verbs=$(sed -n '/^Verbs:/,/^$/s/^  \([a-z]\+\( [a-z]\+\)\?\)  .*/\1/p' "$scratch/help")
[ "$(echo "$verbs" | wc -l)" -ge 2 ] || fail "expected a list of verbs"
while read -r verb; do
    run help $verb
    expect_code 0
    expect_in_out "Usage: klinear $verb"
    expect_in_out "  -h, --help"
    cp "$out" "$scratch/one"
    run $verb --help
    expect_code 0
    cmp -s "$out" "$scratch/one" || fail "expected the same as klinear help $verb"
    run $verb --no-such-option
    expect_refused "klinear $verb: --no-such-option is no option here, or takes no value; see --help"
    # No line is wider than a terminal of 100 columns.
    [ "$(wc -L <"$scratch/one")" -le 100 ] || fail "expected lines of at most 100 columns"
done <<<"$verbs"

# A letter that is none is named, not what stands before it; so is a value where there is none.
run run --raw -Zp Once
expect_refused "klinear run: -Z is no option here, or takes no value; see --help"
run run -qZ
expect_refused "klinear run: -Z is no option here, or takes no value; see --help"
run run --help=me
expect_refused "klinear run: --help=me is no option here, or takes no value; see --help"
run run --quiet=1
expect_refused "klinear run: --quiet=1 is no option here, or takes no value; see --help"
run run -q -p
expect_refused "klinear run: -p needs a value; see --help"

run fly
expect_refused 'klinear: there is no verb "fly"; "klinear help" lists them'
run help fly
expect_refused 'klinear: there is no verb "fly"; "klinear help" lists them'
run help help me
expect_refused 'klinear: there is no verb "help me"; "klinear help" lists them'
run help help me now
expect_refused 'klinear help: "now" is one word too many; see --help'

# A reader that has seen enough is no failure; a full disk is one.
"$klinear" help | head -1 >"$out"
[ "${PIPESTATUS[0]}" = 0 ] || fail "expected exit 0 when the reader leaves"
line="--version >/dev/full"
"$klinear" --version >/dev/full 2>"$err"
code=$?
expect_code 1
expect_err "klinear: standard output cannot be written: No space left on device"
