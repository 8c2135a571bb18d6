# klinear train tokenizer and train data: from texts to tokens that come back as the texts.
. "$(dirname "$0")/lib.sh"

run train tokenizer x
expect_refused "klinear train tokenizer: where to? Name a folder with -o"
run train tokenizer -o "$scratch/t"
expect_refused "klinear train tokenizer: which texts? Name files"
run train data -o x y
expect_refused "klinear train data: which tokenizer? Name it with --tokenizer"

# 60 documents of plain text, and the same as JSONL.
for i in $(seq 60); do
    printf 'Document %s tells of the sea, the sea and the ships that sailed on it.\n----\n' "$i"
done >"$scratch/text"
sed -n 's/^Doc.*/{"id": 1, "text": "&"}/p' "$scratch/text" >"$scratch/text.jsonl"

run train tokenizer -o "$scratch/t" --vocab 300 --separator ---- "$scratch/text"
expect_code 0
expect_in_err "wrote $scratch/t: 300 tokens out of 60 documents"
cp -r "$scratch/t" "$scratch/t-2"
run train tokenizer -o "$scratch/t-2" --vocab 300 --jsonl text "$scratch/text.jsonl"
expect_code 0
cmp "$scratch/t/tiktoken.model" "$scratch/t-2/tiktoken.model" || fail "expected the same tokens from both"
run tokenize --tokenizer "$scratch/t" -p " the ships"
expect_code 0
[ "$(wc -w <"$out")" -le 4 ] || fail "expected fewer tokens than letters"

run train data --tokenizer "$scratch/t" --separator ---- -o "$scratch/a" --held "$scratch/v" --hold 20 "$scratch/text"
expect_code 0
expect_in_err "in 57 documents"
expect_in_err "in 3 documents"
run train data --tokenizer "$scratch/t" --jsonl text -o "$scratch/b" --held "$scratch/w" --hold 20 "$scratch/text.jsonl"
expect_code 0
cmp "$scratch/a" "$scratch/b" && cmp "$scratch/v" "$scratch/w" || fail "expected the same shards from both"

printf '{"text": "fine"}\n{"txt": "not"}\n' >"$scratch/bad"
run train data --tokenizer "$scratch/t" --jsonl text -o "$scratch/c" "$scratch/bad"
expect_code 1
expect_in_err "line 2 has no text 'text'"
[ ! -e "$scratch/c" ] || fail "expected no file after a failure"

# Bytes that are no UTF-8 become U+FFFD, whose three bytes may be a token each.
printf '\377%.0s' $(seq 100) >"$scratch/latin"
run train data --tokenizer "$scratch/t" -o "$scratch/l" "$scratch/latin"
expect_code 0
expect_in_err "wrote $scratch/l: 301 tokens in 1 documents"
run train data --tokenizer "$scratch/t" -o /dev/full "$scratch/text"
expect_code 1
