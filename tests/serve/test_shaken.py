"""usage: test_shaken.py KLINEAR: memory that is refused, a clock that jumps, a disk that is full: the server lives on.

77: there is no compiler for what is preloaded, or the program is one that nothing can be preloaded into."""
import json
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time

from server import Server, expect

CHAT, SESSIONS = "/v1/chat/completions", "/v1/sessions"
HELLO = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 12, "seed": 1}


def answer(s):
    return s.post(CHAT, HELLO)["choices"]


def shake(path, of_thousand, seconds=0):
    with open(path + ".new", "w") as f:
        f.write(f"{of_thousand} {seconds}\n")
    os.rename(path + ".new", path)
    time.sleep(0.1)


def check_memory(s, switch, before):
    """Every fiftieth allocation is refused, wherever it is: requests may fail, the server and others' answers not."""
    seen = {}

    def client(i):
        rng = random.Random(i)
        for k in range(60):
            body = dict(HELLO, stream=rng.random() < .5, max_tokens=rng.choice([1, 12]))
            if k % 5 == 0:
                body["json_schema"] = {"type": "object", "properties": {"a": {"type": "integer"}}}
            if k % 7 == 0:
                body["messages"] = [{"role": "user", "content": "word " * rng.randrange(300)}]
            path = rng.choice([CHAT, CHAT, CHAT, "/v1/embeddings", "/tokenize", "/slots", "/metrics"])
            try:
                status, _, _ = s.ask("GET" if path in ("/slots", "/metrics") else "POST", path,
                                     {"input": "x"} if path == "/v1/embeddings" else
                                     {"content": "x y z"} if path == "/tokenize" else
                                     None if path in ("/slots", "/metrics") else body)
            except Exception:  # closed, or cut off
                status = 0
            seen[status] = seen.get(status, 0) + 1

    shake(switch, 20)
    threads = [threading.Thread(target=client, args=(i,)) for i in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    shake(switch, 0)
    expect(s.process.poll() is None, f"the server ended with {s.process.returncode}; before: {seen}")
    for _ in range(100):
        if not s.get("/slots"):
            break
        time.sleep(0.05)
    expect(s.get("/slots") == [], "a request that failed is still there")
    expect(answer(s) == before, "an answer changed")
    expect(seen.get(200, 0) > 20 and len(seen) > 1, f"nothing failed, or all: {seen}")
    print("refused memory:", dict(sorted(seen.items())))


def check_clock(s, switch, before):
    """The wall clock jumps by years while requests wait, read and write: no time limit is touched."""
    body = dict(HELLO, max_tokens=400, logit_bias={"40": 100})
    results = []
    threads = [threading.Thread(target=lambda: results.append(s.ask("POST", CHAT, body)[0])) for _ in range(4)]
    for t in threads:
        t.start()
    s.until_busy(1)
    for seconds in (10 ** 8, -10 ** 8, 0):
        shake(switch, 0, seconds)
        expect(answer(s) == before, "an answer changed")
    for t in threads:
        t.join()
    expect(results == [200] * 4, str(results))


def check_disk(s, sessions):
    """Files cannot be written: what was saved stays, requests are served, and what failed is said."""
    s.post(SESSIONS, {"name": "a", "prompt": "word " * 100})
    s.post(SESSIONS + "/a/save", {})
    old = {f: open(os.path.join(sessions, f), "rb").read() for f in os.listdir(sessions)}
    expect(len(old) == 2, str(list(old)))
    hard = resource.prlimit(s.process.pid, resource.RLIMIT_FSIZE)[1]
    resource.prlimit(s.process.pid, resource.RLIMIT_FSIZE, (16, hard))
    s.post(CHAT, dict(HELLO, session="a"))
    status, _, body = s.ask("POST", SESSIONS + "/a/save", {})
    expect(status == 500 and "tokens" in body["error"]["message"], f"{status} {body}")
    expect({f: open(os.path.join(sessions, f), "rb").read() for f in os.listdir(sessions)} == old, "old files changed")
    s.post(CHAT, HELLO)
    time.sleep(1.2)  # and the cache tries to write as well
    resource.prlimit(s.process.pid, resource.RLIMIT_FSIZE, (hard, hard))
    expect(s.post(SESSIONS + "/a/save", {})["saved"], "when there is room again it is saved")
    os.rename(sessions, sessions + ".away")
    s.post(CHAT, dict(HELLO, session="a"))
    expect(s.ask("POST", SESSIONS + "/a/save", {})[0] == 500, "there is no folder any more")
    os.rename(sessions + ".away", sessions)
    s.post(CHAT, HELLO)


def main(program):
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    symbols = subprocess.run(["nm", "-D", program], capture_output=True, text=True).stdout
    if not compiler or "__asan" in symbols or "__tsan" in symbols:
        print("skipped: nothing can be preloaded here")
        sys.exit(77)
    with tempfile.TemporaryDirectory() as top:
        library, switch, sessions = [os.path.join(top, name) for name in ("shaken.so", "switch", "sessions")]
        source = os.path.join(os.path.dirname(os.path.abspath(__file__)), "shaken.c")
        subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl", "-lpthread"], check=True)
        options = ["--sessions", sessions, "--cache-dir", os.path.join(top, "cache")]
        with Server(program, *options, environment={"LD_PRELOAD": library, "SHAKEN": switch}) as s:
            before = answer(s)
            check_disk(s, sessions)
            check_clock(s, switch, before)
            check_memory(s, switch, before)
    print("fine")


main(sys.argv[1])
