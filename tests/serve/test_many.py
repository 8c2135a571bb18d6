"""usage: test_many.py KLINEAR: ten thousand connections that say nothing, or half of something, and one that asks."""
import json
import os
import resource
import socket
import sys
import time

from server import Server, expect

WANTED = 10000


def resident(pid):
    for line in open(f"/proc/{pid}/status"):
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return 0


def main(program):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    n = min(WANTED, hard - 600)
    if n < WANTED:
        print(f"skipped: this machine lets a process have {hard} files")
        sys.exit(77)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    options = ["--connections", "10100", "--idle-seconds", "600", "--header-seconds", "600", "--log", "off"]
    with Server(program, *options) as s:
        files = f"/proc/{s.process.pid}/fd"
        before, memory = len(os.listdir(files)), resident(s.process.pid)
        many = []
        start = time.time()
        for i in range(n):
            many.append(socket.create_connection((s.host, s.port), timeout=30))
            if i % 2:
                many[-1].sendall(b"GET /health HTTP/1.1\r\nHost: localh")
            if i % 1000 == 999:
                expect(s.get("/health")["status"] == "ok", f"with {i} connections")
        body = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 5, "seed": 1}
        asked = time.time()
        expect(s.post("/v1/chat/completions", body)["usage"]["completion_tokens"] > 0, "an answer among many")
        print(json.dumps({"connections": n, "seconds": round(asked - start, 1),
                          "answer_ms": round(1e3 * (time.time() - asked)),
                          "kib_each": round((resident(s.process.pid) - memory) * 1024 / n, 1)}))
        for raw in many:
            raw.close()
        for _ in range(100):
            if len(os.listdir(files)) <= before + 2:
                break
            time.sleep(0.1)
        expect(len(os.listdir(files)) <= before + 2, f"{len(os.listdir(files))} files, {before} before")
        expect(s.get("/health")["status"] == "ok", "afterwards")
    print("fine")


main(sys.argv[1])
