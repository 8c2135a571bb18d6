# klinear run: where the prompt comes from, what is written and why it ends, sessions in files, and the refusals.
. "$(dirname "$0")/lib.sh"
model=$scratch/tiny.gguf
run init --preset tiny -o "$model"
expect_code 0
say() {
    run run -m "$model" --seed 1 "$@"
}
ids() { # of the last --json
    python3 -c 'import json, sys; print(*json.load(open(sys.argv[1]))["ids"])' "$out"
}

# A text from an argument, an option, a file, a pipe: the same text comes out, and statistics go elsewhere.
say "The memory" -n 8
expect_code 0
cp "$out" "$scratch/said"
grep -qE '^as text: read [0-9]+ tokens in .* a second\), wrote 8 in .*, the first after .*; seed 1; ended by limit$' \
    "$err" || fail "expected statistics"
[ "$(tail -c 1 "$out" | od -An -c | tr -d ' ')" = '\n' ] || fail "expected the text to end with a line"
printf 'The memory' >"$scratch/prompt"
for way in "-p The~memory" "--prompt The~memory" "-f $scratch/prompt" "--file $scratch/prompt"; do
    IFS=' ' read -ra words <<<"$way"
    say "${words[@]/\~/ }" -n 8 -q
    expect_code 0
    expect_err ""
    cmp -s "$out" "$scratch/said" || fail "expected the same text"
done
for way in "" "-f -"; do
    line="run $way <prompt"
    "$klinear" run -m "$model" --seed 1 -n 8 -q $way <"$scratch/prompt" >"$out" 2>"$err"
    expect_err ""
    cmp -s "$out" "$scratch/said" || fail "expected the same text from a pipe"
done
say "The memory" -n 8 -q --echo
[ "$(cat "$out")" = "The memory$(cat "$scratch/said")" ] || fail "expected the prompt in front"
say -p "The memory" -f "$scratch/prompt" -n 1 --json
expect_code 0
both=$("$klinear" tokenize -m "$model" -p $'The memory\n\nThe memory' --count)
expect_json "d['prompt_tokens'] == $both"

# The seed decides, and nothing else does: not threads, not how the text comes out.
say "The memory" -n 12 --json -q
expect_code 0
expect_err ""
expect_json "d['end'] == 'limit' and d['tokens'] == 12 and len(d['ids']) == 12 and d['seed'] == 1"
expect_json "d['first_token_ms'] > 0 and d['seconds'] > 0 and d['prompt_seconds'] > 0"
first=$(ids)
say "The memory" -n 12 --json -q --threads 1
[ "$(ids)" = "$first" ] || fail "expected the same tokens with one thread"
run run -m "$model" "The memory" -n 12 --json -q --seed 2
[ "$(ids)" != "$first" ] || fail "expected other tokens with another seed"
run run -m "$model" "The memory" -n 12 --json -q
expect_json "d['seed'] > 2"
run run -m "$model" "The memory" -n 12 --json -q --seed "$(python3 -c 'import json, sys
print(json.load(open(sys.argv[1]))["seed"])' "$out")"
cp "$out" "$scratch/again"

# Greedy: every token has the highest logit behind those before it.
say "The memory" -n 12 --temperature 0 --json -q
greedy=$(ids)
prompt=$("$klinear" tokenize -m "$model" -p "The memory")
line="logits of what was written"
"$klinear" logits -m "$model" --tokens "${prompt// /,},${greedy// /,}" --arithmetic fast --cache-type bf16 --decode 12 \
    -o "$scratch/logits"
python3 - "$scratch/logits" "$(wc -w <<<"$prompt")" $greedy <<'END' || fail "expected the most likely tokens"
import array, sys
data = array.array("f", open(sys.argv[1], "rb").read())
first, written = int(sys.argv[2]), [int(word) for word in sys.argv[3:]]
n_vocab = len(data) // (first + len(written))
rows = [data[i * n_vocab : (i + 1) * n_vocab] for i in range(first - 1, first - 1 + len(written))]
sys.exit([max(range(n_vocab), key=lambda i: row[i]) for row in rows] != written)
END
next=$(cut -d' ' -f1 <<<"$greedy")
say "The memory" -n 1 --temperature 0 --json -q --logit-bias "$next=-inf"
[ "$(ids)" != "$next" ] || fail "expected the forbidden token to be avoided"
say "The memory" -n 3 --json -q --logit-bias 300=1000
[ "$(ids)" = "300 300 300" ] || fail "expected the favoured token"
say "The memory" -n 12 --json -q --top-k 1
[ "$(ids)" = "$greedy" ] || fail "expected the most likely token to be the only one"
say "The memory" -n 2 --json -q --logit-bias 300=20 --presence-penalty 100 --temperature 0
[ "$(ids | cut -d' ' -f1)" = 300 ] && [ "$(ids | cut -d' ' -f2)" != 300 ] || fail "expected a penalty"

# It ends by a token, a text, the context.
end=$("$klinear" tokenize -m "$model" -p "<|im_end|>" --special)
say "The memory" --json -q --logit-bias "$end=1000"
expect_json "d['end'] == 'end' and d['text'] == '' and d['ids'] == [$end]"
say "The memory" -n 0 --json -q --ctx 20
expect_json "d['end'] == 'context' and d['tokens'] + d['prompt_tokens'] == 20"
spelled=$("$klinear" tokenize -m "$model" --decode 300)
say "The memory" --json -q --logit-bias 300=1000 --stop "$spelled$spelled" --stop "not this"
expect_json "d['end'] == 'stop' and d['text'] == '' and d['tokens'] == 2"
say "The memory" -n 3 --json -q --logit-bias 300=1000 --stop "${spelled}x"
expect_json "d['text'] == '$spelled' * 3 and d['end'] == 'limit'"
run run -m "$model" "The memory" -q --ctx 3
expect_code 1
expect_out ""
expect_in_err "tokens have been read and"

# A session in a file goes on as if nothing had been in between.  In a random model nearly all tokens are equally
# likely: logits that differ in their last bits soon show.
for seed in 1 2 3; do
    run run -m "$model" "The memory" --seed $seed -n 12 --json -q
    whole=$(ids)
    run run -m "$model" "The memory" --seed $seed -n 5 --json -q --save-session "$scratch/session"
    expect_code 0
    start=$(ids)
    run run -m "$model" --load-session "$scratch/session" -n 7 --json -q
    expect_code 0
    expect_json "d['prompt_tokens'] == 0 and d['tokens'] == 7 and d['first_token_ms'] > 0"
    expect_json "d['seed'] == $seed"
    [ "$start $(ids)" = "$whole" ] || fail "expected what was written in one go"
done
rest=$(ids)
run run -m "$model" --load-session "$scratch/session" -n 7 --json -q --seed 7
expect_json "d['seed'] == 7"
[ "$(ids)" != "$rest" ] || fail "expected other tokens with another seed"
# Penalties go on as well: what was written before the file is not a prompt behind it.
for penalty in "--presence-penalty 3" "--frequency-penalty 3"; do
    some="--seed 1 --temperature 0 --logit-bias 300=6 --logit-bias 301=6 $penalty"
    run run -m "$model" "The memory" $some -n 12 --json -q
    whole=$(ids)
    run run -m "$model" "The memory" $some -n 5 --json -q --save-session "$scratch/part"
    start=$(ids)
    run run -m "$model" --load-session "$scratch/part" $some -n 3 --json -q --save-session "$scratch/part"
    start="$start $(ids)"
    run run -m "$model" --load-session "$scratch/part" $some -n 4 --json -q
    [ "$start $(ids)" = "$whole" ] || fail "expected what was written in one go"
done
say --load-session "$scratch/session" -p " and more" -n 1 --json -q
expect_json "d['prompt_tokens'] == 1 + $("$klinear" tokenize -m "$model" -p " and more" --count)"
head -c 100 "$scratch/session" >"$scratch/cut"
say --load-session "$scratch/cut" -n 1
expect_code 1
expect_out ""
expect_in_err "klinear run: $scratch/cut"
say --load-session "$scratch/none" -n 1
expect_code 1
run init --preset tiny --seed 2 -o "$scratch/other.gguf"
run run -m "$scratch/other.gguf" --load-session "$scratch/session" -n 1
expect_code 1
expect_in_err "klinear run: $scratch/session"
say "The memory" -n 1 --save-session "$scratch/no/where"
expect_code 1

# As a chat: turns around the prompt, with a system turn or without.
say "The memory" -n 1 --json -q --template kimi
expect_code 0
chat=$("$klinear" tokenize -m "$model" --special --count \
    -p "<|im_user|>user<|im_middle|>The memory<|im_end|><|im_assistant|>assistant<|im_middle|>")
expect_json "d['prompt_tokens'] == $chat"
say "The memory" -n 1 --system "Be brief."
expect_code 0
expect_in_err "as a chat: read "
printf '{{ something else }}' >"$scratch/template"
say "The memory" -n 1 --template "$scratch/template"
expect_code 1
expect_out ""

# What cannot be: no prompt, two prompts, numbers that are none.
say -p ""
expect_code 1
expect_err "klinear run: the prompt is empty"
say one two
expect_refused 'klinear run: "two" is one word too many; see --help'
say one -p two
expect_refused 'klinear run: --prompt and "one" are two prompts'
say one --raw --system x
expect_refused "klinear run: --raw and --system exclude each other"
for x in 1,5 1e nan 0x10 "" . 101 -1; do
    say one "--temperature=$x"
    expect_refused "klinear run: --temperature is \"$x\", expected a number in 0 .. 100"
done
for x in 0.5 .5 5e-1 0.50000000000000000000000000000000000000000000001; do
    say one "--temperature=$x" -n 4 -q
    expect_code 0
    [ ! -e "$scratch/half" ] || cmp -s "$out" "$scratch/half" || fail "expected the text of a temperature of 0.5"
    cp "$out" "$scratch/half"
done
if localedef -i de_DE -f UTF-8 "$scratch/de_DE.utf8" 2>/dev/null; then # where a comma parts the decimals
    line="run --temperature 0.5, in another country"
    env LOCPATH="$scratch" LC_ALL=de_DE.utf8 "$klinear" run -m "$model" --seed 1 one --temperature 0.5 -n 4 -q >"$out"
    cmp -s "$out" "$scratch/half" || fail "expected the same text"
else
    echo "skipped: no locale with another decimal point can be made here (Debian: locales)"
fi
for x in 5 x=1 5=y 99999=1 =1; do
    say one --logit-bias "$x"
    expect_code 1
    expect_in_err "klinear run: --logit-bias is \"$x\", expected "
done
say one --stop ""
expect_code 1
run run -m "$scratch/none" one
expect_code 1
expect_out ""
line="run <&-"
"$klinear" run -m "$model" <&- >"$out" 2>"$err"
code=$?
expect_code 1
expect_err "klinear run: standard input cannot be read: Bad file descriptor"

# Guesses at what comes next change nothing but the time.
for sampling in "--temperature 0" "--temperature 0.4 --repetition-penalty 1.1" "--temperature 0 --logit-bias 65=80"; do
    text="a b c d e f g a b c d e f g a b c d"
    for draft in 0 1 16; do
        say "$text" -q --json --seed 5 -n 60 $sampling --draft $draft --save-session "$scratch/draft.$draft"
        expect_code 0
        python3 -c 'import json, sys; print(json.load(sys.stdin)["ids"])' <"$out" >"$scratch/ids.$draft"
        cmp -s "$scratch/ids.0" "$scratch/ids.$draft" || fail "expected the same tokens"
        "$klinear" run -m "$model" -q --load-session "$scratch/draft.$draft" --seed 1 -n 9 more >"$scratch/more.$draft"
        cmp -s "$scratch/more.0" "$scratch/more.$draft" || fail "expected the same text behind the session"
    done
done
for draft in 0 4 16; do # three pages: what is written fits, guesses behind it and a way back do not
    say "$text" -q --json --seed 5 -n 100 --temperature 0 --logit-bias 65=80 --draft $draft --cache-memory 60K
    expect_code 0
    expect_json "d['tokens'] == 100"
done
say "$text" -q --json --seed 5 -n 60 $sampling --draft 16
right='import json, sys; assert json.load(sys.stdin)["accepted_tokens"] > 20'
python3 -c "$right" <"$out" || fail "expected right guesses"

# What is written can be bound to a form.
say one -q -n 0 --regex '(yes|no)[0-9]{3}'
expect_code 0
grep -qxE '(yes|no)[0-9]{3}' "$out" || fail "expected what the expression matches"
echo '{"type": "object", "properties": {"a": {"enum": [1, true]}}, "required": ["a"]}' >"$scratch/schema"
say one -q -n 0 --json-schema "$scratch/schema"
expect_code 0
python3 -c 'import json, sys; assert json.load(sys.stdin)["a"] in (1, True)' <"$out" || fail "expected JSON"
echo 'root ::= "a" b' >"$scratch/grammar"
say one --grammar "$scratch/grammar"
expect_code 1
expect_in_err 'the rule "b", which it does not have'
say one --grammar "$scratch/none" --regex x
expect_code 2
say one --grammar "$scratch/none"
expect_code 1
expect_in_err "$scratch/none cannot be read"

# A reader that leaves, a disk that is full, an interrupt: all end it at once.
line="run | head -c 1"
"$klinear" run -m "$model" one -n 0 -q 2>"$err" | head -c 1 >"$out"
code=${PIPESTATUS[0]}
expect_code 0
expect_err ""
line="run >/dev/full"
"$klinear" run -m "$model" one -n 0 -q >/dev/full 2>"$err"
code=$?
expect_code 1
expect_in_err "klinear run: standard output cannot be written: No space left on device"
[ "$(wc -l <"$err")" = 1 ] || fail "expected one sentence"
line="run, interrupted"
"$klinear" run -m "$model" $(never_ends "$model") one -n 0 >"$out" 2>"$err" &
pid=$!
for i in $(seq 100); do
    [ "$(wc -c <"$out")" -lt 20 ] || break
    sleep 0.05
done
kill -INT $pid
wait $pid
code=$?
expect_code 1
[ "$(wc -c <"$out")" -ge 20 ] || fail "expected a beginning"
expect_in_err "; ended by interrupt"
expect_in_err "klinear run: interrupted"
line="run, interrupted while it reads"
python3 - "$klinear" "$model" <<'END' || fail "expected reading to end at once"
import os, signal, subprocess, sys, time
words = "The memory of " * 40
call = [sys.argv[1], "run", "-m", sys.argv[2], "--isa", "ref", "-t", "1", "-n", "1", "-q", "--raw", words]
def seconds(pid): # of the processor: whoever else is at work does not count
    fields = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
def run(stop_after):
    p = subprocess.Popen(call, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while stop_after and seconds(p.pid) < stop_after:
        time.sleep(0.01)
    if stop_after:
        p.send_signal(signal.SIGINT)
    _, status, used = os.wait4(p.pid, 0)
    return os.waitstatus_to_exitcode(status), used.ru_utime + used.ru_stime
code, whole = run(0) # one step, which is slow
stopped, took = run(whole / 4)
sys.exit(code != 0 or stopped != 1 or took > whole * 0.7)
END
