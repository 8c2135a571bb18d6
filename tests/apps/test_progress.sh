# The line about work that takes long is no wider than the terminal: a line that goes on below cannot be drawn again.
. "$(dirname "$0")/lib.sh"
seq 3000 >"$scratch/ids"

line="logits at a terminal of 40 columns"
python3 - "$klinear" "$scratch" >"$out" 2>"$err" <<'END'
import fcntl, os, pty, re, struct, sys, termios
klinear, scratch = sys.argv[1:]
ours, its = pty.openpty()
fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 40, 0, 0))
pid = os.fork()
if pid == 0:
    os.environ["TERM"] = "xterm"
    os.dup2(its, 2)
    os.close(ours)
    slow = ["logits", "-t", "1", "--isa", "ref"]
    os.execv(klinear, [klinear, *slow, "--tokens-file", scratch + "/ids", "-o", scratch + "/out"])
os.close(its)
seen = b""
while True:
    try:
        piece = os.read(ours, 65536)
    except OSError:
        piece = b""
    seen += piece
    drawn = re.findall(rb"\r([^\r]*)\x1b\[K", seen)
    if not piece or len(drawn) > 2:
        break
os.kill(pid, 9)
os.waitpid(pid, 0)
if not drawn or not drawn[0].startswith(b"Reading [") or max(map(len, drawn)) > 39:
    sys.exit(f"expected lines of at most 39 columns, saw {seen}")
END
code=$?
expect_code 0
