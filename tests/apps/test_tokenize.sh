# klinear tokenize: ids of a text in four forms, and back again.
. "$(dirname "$0")/lib.sh"
model=$scratch/tiny.gguf
run init --preset tiny -o "$model"
expect_code 0
tokenize() {
    run tokenize -m "$model" "$@"
}

text='The state is 42 KiB; "déjà vu" 你好 👍🏽  <|im_end|>'
tokenize -p "$text"
expect_code 0
expect_err ""
[ "$(wc -l <"$out")" = 1 ] && ! grep -q '[^0-9 ]' "$out" || fail "expected ids with spaces between them"
ids=$(cat "$out")
n=$(wc -w <"$out")

# The same from a file, a pipe, a dash; then counted, as JSON, by the line, and back.
printf %s "$text" >"$scratch/text"
for way in "--file $scratch/text" "-f $scratch/text"; do
    tokenize $way
    expect_out "$ids"
done
for way in "" "-f -"; do
    line="tokenize $way <text"
    "$klinear" tokenize -m "$model" $way <"$scratch/text" >"$out" 2>"$err"
    expect_out "$ids"
done
tokenize -p "$text" --count
expect_out "$n"
tokenize -p "$text" --json
expect_code 0
expect_json "' '.join(map(str, d['ids'])) == '$ids' and len(d['pieces']) == len(d['ids'])"
expect_json "''.join(d['pieces'])[:10] == 'The state '"
tokenize --decode "$ids"
expect_code 0
expect_out "$text"
tokenize --decode "${ids// /,}"
expect_out "$text"
cat >"$scratch/lines" <<'END'
"The state is 42 KiB; \"d\u00e9j\u00E0 vu\" \u4f60好 \ud83d\udc4d\ud83c\udffd  <|im_end|>"
 ""
"a\u0000b\ud800"
END
line="tokenize --jsonl"
"$klinear" tokenize -m "$model" --jsonl <"$scratch/lines" >"$out" 2>"$err"
code=$?
expect_code 0
[ "$(sed -n 1p "$out")" = "[${ids// /,}]" ] || fail "expected the same ids by the line"
[ "$(sed -n 2p "$out")" = "[]" ] || fail "expected no ids of an empty string"
tokenize --jsonl --file "$scratch/lines"
[ "$(wc -l <"$out")" = 3 ] || fail "expected three lines"
printf 'a\0b\357\277\275' >"$scratch/text"
tokenize --file "$scratch/text"
nul=$(tr ' ' , <"$out")
tokenize --jsonl --file "$scratch/lines"
[ "$(sed -n 3p "$out")" = "[$nul]" ] || fail "expected a zero byte and a lone half to be characters"

# Markup is text, unless it is asked for; ids of special tokens show by their names.
tokenize -p "<|im_end|>" --special --count
expect_out 1
tokenize -p "<|im_end|>" --special
tokenize --decode "$(cat "$out")"
expect_out "<|im_end|>"
tokenize -p "" --json
expect_json "d == {'ids': [], 'pieces': []}"
tokenize -p ""
expect_code 0
expect_out ""

# Bytes that are no text are U+FFFD; a text of many portions comes whole.
printf 'a\377b' >"$scratch/text"
tokenize --file "$scratch/text"
expect_code 0
bad=$(cat "$out")
tokenize -p 'a�b'
expect_out "$bad"
yes 'a line of a long text' | head -n 20000 >"$scratch/text"
tokenize --file "$scratch/text" --count
count=$(cat "$out")
tokenize --file "$scratch/text"
[ "$(wc -w <"$out")" = "$count" ] || fail "expected $count ids"
tokenize --file "$scratch/text" --json
expect_json "len(d['ids']) == $count"

# What is refused.
printf '"fine"\nnot json\n' >"$scratch/lines"
tokenize --jsonl --file "$scratch/lines"
expect_code 1
expect_err 'klinear tokenize: line 2: column 1: expected a JSON string'
[ "$(wc -l <"$out")" = 1 ] || fail "expected the first line"
while IFS='|' read -r text sentence; do
    printf '%s\n' "$text" >"$scratch/lines"
    tokenize --jsonl --file "$scratch/lines"
    expect_code 1
    expect_err "klinear tokenize: line 1: $sentence"
done <<'END'
"open|column 6: the string does not end
"a" b|column 5: expected nothing after the string
"\x"|column 3: expected one of " \ / b f n r t u after a backslash
"\u12g4"|column 4: expected four hexadecimal digits after \u
["a"]|column 1: expected a JSON string
END
printf '"\377"\n' >"$scratch/lines"
tokenize --jsonl --file "$scratch/lines"
expect_err "klinear tokenize: line 1: the line is not UTF-8"
printf '"a\tb"\n' >"$scratch/lines"
tokenize --jsonl --file "$scratch/lines"
expect_err 'klinear tokenize: line 1: column 3: a control character, expected it as \u00..'
tokenize --decode 1,x
expect_code 1
expect_in_err 'klinear tokenize: --decode: token 1 is "x", expected an id in 0 .. '
tokenize --file "$scratch/none"
expect_code 1
expect_err "klinear tokenize: $scratch/none cannot be read: No such file or directory"
tokenize --file "$scratch"
expect_err "klinear tokenize: $scratch cannot be read: Is a directory"
line="tokenize <&-"
"$klinear" tokenize -m "$model" <&- >"$out" 2>"$err"
code=$?
expect_code 1
expect_err "klinear tokenize: standard input cannot be read: Bad file descriptor"
tokenize --json --count -p a
expect_refused "klinear tokenize: --json, --jsonl, --count and --decode exclude each other"
tokenize --tokenizer x -p a
expect_refused "klinear tokenize: --tokenizer and --model exclude each other"
tokenize --jsonl --special
expect_refused "klinear tokenize: --jsonl does not go with the other options"
run tokenize -m "$scratch/none" -p a
expect_code 1
expect_out ""
line="tokenize | head -c 1"
"$klinear" tokenize -m "$model" --file "$scratch/text" 2>"$err" | head -c 1 >"$out"
code=${PIPESTATUS[0]}
expect_code 0
expect_err ""
line="tokenize >/dev/full"
"$klinear" tokenize -m "$model" -p a >/dev/full 2>"$err"
code=$?
expect_code 1
expect_err "klinear tokenize: standard output cannot be written: No space left on device"
