# klinear chat: turns from a pipe and from a terminal, commands, conversations that are forked, taken back, saved.
. "$(dirname "$0")/lib.sh"
model=$scratch/tiny.gguf
run init --preset tiny -o "$model"
expect_code 0
export XDG_STATE_HOME=$scratch/state
# A made model writes anything; here it writes no ends of lines, so that an answer is a line.
one_line="--logit-bias $("$klinear" tokenize -m "$model" -p $'\n')=-inf"
# chat TEXT OPTIONS: lines of TEXT on standard input.
chat() {
    local text=$1
    shift
    line="chat $*, told: $text"
    printf '%s\n' "$text" | "$klinear" chat -m "$model" --seed 1 -n 6 $one_line "$@" >"$out" 2>"$err"
    code=${PIPESTATUS[1]}
}
answer() { # N: the N-th line of what came out
    sed -n "$1p" "$out"
}

chat $'one\ntwo'
expect_code 0
expect_err ""
[ "$(wc -l <"$out")" = 2 ] || fail "expected two answers"
one=$(answer 1) two=$(answer 2)
[ "$one" != "$two" ] || fail "expected two different answers"

# The answers are those of the turns as the template has them, one behind the other.
line="run with both turns"
first=$("$klinear" run -m "$model" --seed 1 -n 6 -q $one_line --template kimi one)
[ "$first" = "$one" ] || fail "expected the first answer of chat to be that of run: $first"
chat $'one\ntwo\n/stats'
expect_in_err "conversation 1 of 1, "

# Taken back, the turn never was; neither were the numbers that it drew.
chat $'one\nnever mind\n/undo\ntwo'
expect_code 0
[ "$(answer 1)" = "$one" ] && [ "$(answer 3)" = "$two" ] || fail "expected the answers of the turns that are left"
chat $'/undo\none'
expect_code 1
expect_err "klinear chat: there is no turn to take back"
[ "$(cat "$out")" = "$one" ] || fail "expected an answer nevertheless"
ten=$(printf 'a%s\n/undo\n' 1 2 3 4 5 6 7 8 9 10)
chat "$ten"$'\none'
expect_code 0
[ "$(tail -n 1 "$out")" = "$one" ] || fail "expected nothing to be left of what was taken back"

# A cache that is full in the middle of an answer takes that turn back, and nothing else: it is asked for 80K, 4 pages.
tight="--cache-memory 80K $(never_ends "$model")"
chat $'one\n/stats' -n 100 $tight
expect_code 0
tokens=$(grep -o 'conversation 1 of 1, [0-9]* tokens' "$err")
chat $'one\ntwo\n/stats' -n 100 $tight
expect_code 1
expect_in_err "and all are in use"
expect_in_err "$tokens:"

# Forked, both go on from the same place, and do not disturb each other.
chat $'one\n/fork\nsomething else\n/fork 1\ntwo'
expect_code 0
[ "$(answer 3)" = "$two" ] || fail "expected the first conversation to go on as if it were alone"
chat $'one\n/fork\ntwo'
[ "$(answer 2)" = "$two" ] || fail "expected the copy to go on as the first would have"
chat '/fork 2'
expect_code 1
expect_err 'klinear chat: /fork is "2", expected the number of a conversation in 1 .. 1'
chat "$(yes /fork | head -n 16)"
expect_code 1
expect_err "klinear chat: there are 16 conversations already, which is the most"

# Saved and loaded, in another process, also by run.
chat $'one\n/save '"$scratch/talk"
expect_code 0
chat $'/load '"$scratch/talk"$'\ntwo'
expect_code 0
expect_out "$two"
chat 'two' --load "$scratch/talk"
expect_out "$two"
line="run --load-session"
said=$("$klinear" run -m "$model" -n 6 -q $one_line --template kimi --load-session "$scratch/talk" two)
[ "$said" = "$two" ] || fail "expected run to go on with it"
chat $'one\n/load '"$scratch/none"$'\ntwo'
expect_code 1
[ "$(answer 2)" = "$two" ] || fail "expected a file that is not there to change nothing"
head -c 200 "$scratch/talk" >"$scratch/cut"
chat $'one\n/load '"$scratch/cut"$'\ntwo'
expect_code 1
[ "$(answer 2)" = "$two" ] || fail "expected a damaged file to change nothing"
expect_in_err "klinear chat: $scratch/cut"
chat $'/save\n/load'
expect_code 1
expect_err "klinear chat: /save needs the name of a file
klinear chat: /load needs the name of a file"

# A system turn begins anew; two ways to say it.
chat 'one' --system "Be brief."
brief=$(cat "$out")
[ "$brief" != "$one" ] || fail "expected a system turn to matter"
chat $'two\n/system Be brief.\none'
[ "$(answer 2)" = "$brief" ] || fail "expected the same from a command"
chat $'two\n/system\none'
[ "$(answer 2)" = "$one" ] || fail "expected a new conversation"

# Several lines are one turn; a slash inside quotes is text.
chat $'a\\\nb'
joined=$(cat "$out")
chat $'"""\na\nb\n"""'
expect_out "$joined"
chat $'"""a\nb"""'
expect_out "$joined"
chat $'"""a\nb'
expect_out "$joined"
chat $'"""/undo"""'
expect_code 0
expect_out "$("$klinear" run -m "$model" --seed 1 -n 6 -q $one_line --template kimi /undo)"
chat $'\n\n'
expect_code 0
expect_out ""

chat '/help'
expect_code 0
for command in help save load fork undo system stats quit; do
    expect_in_err "  /$command"
done
chat $'/quit\none'
expect_code 0
expect_out ""
chat '/fly'
expect_code 1
expect_err 'klinear chat: there is no command /fly; /help lists them'
chat 'one' --ctx 5
expect_code 1
expect_out ""
expect_in_err "klinear chat: "
chat one --load x --system y
expect_refused "klinear chat: --load and --system exclude each other"
chat one --template "$0"
expect_code 1
expect_out ""
line="chat <&-"
"$klinear" chat -m "$model" <&- >"$out" 2>"$err"
code=$?
expect_code 1
expect_err "klinear chat: standard input cannot be read: Bad file descriptor"
line="chat >/dev/full"
printf 'one\ntwo\n' | "$klinear" chat -m "$model" -n 6 >/dev/full 2>"$err"
code=${PIPESTATUS[1]}
expect_code 1
expect_err "klinear chat: standard output cannot be written: No space left on device"
line="chat | head -c 1"
printf 'one\ntwo\nthree\n' | "$klinear" chat -m "$model" 2>"$err" -n 500 | head -c 1 >"$out"
code=${PIPESTATUS[1]}
expect_code 0
expect_err ""
line="chat without a home"
printf 'one\n' >"$scratch/one"
env -u HOME -u XDG_STATE_HOME "$klinear" chat -m "$model" --seed 1 -n 6 $one_line <"$scratch/one" >"$out" 2>"$err"
code=$?
expect_code 0
expect_out "$one"

# Somebody at a terminal: a prompt, Ctrl-C in the middle of an answer and outside of one, history that is nobody else's.
[ ! -e "$scratch/state" ] || [ -z "$(find "$scratch/state" -type f)" ] || fail "expected no history of a pipe"
cat >"$scratch/type.py" <<'END'
import os, pty, re, select, signal, sys, time
pid, fd = pty.fork()
if pid == 0:
    os.environ["TERM"] = "xterm"
    os.execv(sys.argv[1], sys.argv[1:])
seen = b""
def until(pattern, seconds=20):
    global seen
    end = time.time() + seconds
    while not re.search(pattern, seen, re.S):
        if not select.select([fd], [], [], max(0, end - time.time()))[0]:
            sys.exit(f"waited for {pattern}, saw {seen}")
        try:
            seen += os.read(fd, 65536)
        except OSError:
            break
    else:
        at = re.search(pattern, seen, re.S).end()
        seen = seen[at:]
        return
    sys.exit(f"ended before {pattern}, saw {seen}")
until(rb"/help lists the commands.*> ")
os.write(fd, b"tell me\r")
until(rb"tell me.*\n.{20}")
os.write(fd, b"\x03")
until(rb"\[interrupted\].*> ")
os.write(fd, b"\x03")
until(rb"Ctrl-D ends the chat.*> ")
if os.environ.get("LIBEDIT"):
    os.write(fd, b"/sta\t\r")
else:
    os.write(fd, b"/stats\r")
until(rb"conversation 1 of 1.*> ")
back = rb"/fork 1 goes back"
for order, told in (b"/fork", back), (b"/fork 1", rb"conversation 1 of 2"), (b"/fork", back):
    os.write(fd, order + b"\r")
    until(told + rb".*> ")
os.write(fd, b"\x04")
while True:
    try:
        if not select.select([fd], [], [], 20)[0]:
            sys.exit(f"waited for the end, saw {seen}")
        if not os.read(fd, 65536):
            break
    except OSError:
        break
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
END
libedit=$("$klinear" doctor --fast | grep -o libedit | head -n 1)
line="chat at a terminal"
LIBEDIT=$libedit python3 "$scratch/type.py" "$klinear" chat -m "$model" $(never_ends "$model") --template kimi \
    2>"$err" >"$out"
code=$?
expect_code 0
if [ -n "$libedit" ]; then
    file=$scratch/state/klinear/history
    grep -q tell "$file" || fail "expected a history"
    [ "$(stat -c %a "$file" "$scratch/state/klinear" | paste -sd' ')" = "600 700" ] || fail "expected it to be private"
fi

# A model that brings no chat template was not taught to answer, and somebody who types is told so.  The key that ends
# it was pressed before anything was ready to read it.
line="chat at a terminal, with a model without a template"
python3 - "$klinear" "$model" >"$out" 2>"$err" <<'END'
import os, pty, select, sys
pid, fd = pty.fork()
if pid == 0:
    os.environ["TERM"] = "xterm"
    os.execv(sys.argv[1], [sys.argv[1], "chat", "-m", sys.argv[2]])
os.write(fd, b"\x04")
seen = b""
while True:
    try:
        if not select.select([fd], [], [], 20)[0]:
            sys.exit(f"waited for the end, saw {seen}")
        piece = os.read(fd, 65536)
    except OSError:
        piece = b""
    if not piece:
        break
    seen += piece
print(seen.decode())
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
END
code=$?
expect_code 0
expect_in_out "this model has no chat template"
