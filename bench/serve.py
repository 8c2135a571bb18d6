#!/usr/bin/env python3
"""The server measured as clients see it, beside llama.cpp's server and beside the engine without a server.

usage: bench/serve.py KLINEAR FILE [--peer LLAMA_SERVER] [--engine] [--clients 1,8,32] [--prompt 512] [--tokens 64]
                      [--long 32768] [--threads 2] [--options "..."] [--peer-options "..."]

Time to the first token of a prompt that is new, that goes on from one in the cache, and the same after a restart; then
N clients at once, each with a prompt of its own, until all have their answers: tokens read and written in a second, and
the most memory.  The peer is asked the same, in turn, with as many slots as there are clients.  --engine: how long
`klinear bench` says that this takes, from its rates for prompts and for N sequences that decode together, and what part
of that speed the server reached.  Prints a table in Markdown."""
import argparse
import http.client
import json
import os
import random
import signal
import socket
import subprocess
import tempfile
import threading
import time
import urllib.parse


class Server:
    """klinear; its folder outlives it."""

    restores = True

    def __init__(self, a, folder, slots, context):
        del slots, context
        command = [a.klinear, "serve", "-m", a.file, "--port", "0", "--log", "off", "-t", str(a.threads), "--cache-dir",
                   folder, "--sequences", "32", "--queue", "1000"] + a.options.split()
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        address = urllib.parse.urlparse(self.process.stdout.readline().strip())
        self.host, self.port = address.hostname, address.port

    def ask(self, prompt, tokens):
        """Seconds to the first token and to the last, and tokens that came from the cache."""
        body = {"prompt": prompt, "max_tokens": tokens, "stream": True, "temperature": 0,
                "stream_options": {"include_usage": True}, "logit_bias": {"40": 100}}
        start, first, usage = time.time(), None, None
        connection = http.client.HTTPConnection(self.host, self.port, timeout=3600)
        connection.request("POST", "/v1/completions", json.dumps(body), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        for line in answer:
            if line.startswith(b"data: {"):
                event = json.loads(line[6:])
                usage = event.get("usage") or usage
                if first is None and event.get("choices"):
                    first = time.time() - start
        assert answer.status == 200 and usage["completion_tokens"] == tokens, (answer.status, usage)
        return first, time.time() - start, usage["prompt_tokens_details"]["cached_tokens"]

    def peak(self):
        for line in open(f"/proc/{self.process.pid}/status"):
            if line.startswith("VmHWM"):
                return int(line.split()[1]) / 1024
        return 0

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(600)


class Peer(Server):
    """llama.cpp's server with its own defaults, but for the number of slots and their context."""

    restores = False

    def __init__(self, a, folder, slots, context):
        del folder
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.host, self.port = s.getsockname()
        command = [a.peer, "-m", a.file, "--host", self.host, "--port", str(self.port), "-t", str(a.threads), "-tb",
                   str(a.threads), "-np", str(slots), "-c", str(slots * context)] + a.peer_options.split()
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while not self.is_ready():
            assert self.process.poll() is None, "the peer ended"
            time.sleep(0.05)

    def is_ready(self):
        try:
            connection = http.client.HTTPConnection(self.host, self.port, timeout=5)
            connection.request("GET", "/health")
            return connection.getresponse().status == 200
        except OSError:
            return False


def prompt_of(n, rng):
    return [rng.randrange(300, 1000) for _ in range(n)]


def first_tokens(kind, a, n):
    """Milliseconds: new, next turn, next turn after a restart; and tokens from the cache in the last two."""
    rng = random.Random(n)
    with tempfile.TemporaryDirectory() as folder:
        s = kind(a, folder, 1, n + 512)
        s.ask(prompt_of(64, rng), 2)
        prompt = prompt_of(n, rng)
        cold, _, _ = s.ask(prompt, 2)
        warm, _, cached = s.ask(prompt + prompt_of(20, rng), 2)
        s.stop()
        again, loaded = float("nan"), 0
        if kind.restores:
            s = kind(a, folder, 1, n + 512)
            again, _, loaded = s.ask(prompt + prompt_of(20, rng), 2)
            s.stop()
    return [1e3 * cold, 1e3 * warm, 1e3 * again], [0, cached, loaded]


def show_first_tokens(a, kinds, n):
    found = [first_tokens(kind, a, n) for kind in kinds]
    for i, what in enumerate(["new", "the next turn", "the next turn after a restart"]):
        cells = [f"{ms[i]:.0f} ms, {cached[i]} from the cache ({100 * ms[i] / ms[0]:.1f} %)" if ms[i] == ms[i] else "-"
                 for ms, cached in found]
        print(f"| first token of {n}, {what} | " + " | ".join(cells) + " |", flush=True)


def crowd(kind, a, n):
    """Seconds until n clients have their answers, and memory."""
    rng = random.Random(1000 + n)
    with tempfile.TemporaryDirectory() as folder:
        s = kind(a, folder, n, a.prompt + a.tokens + 64)
        s.ask(prompt_of(64, rng), 2)
        threads = [threading.Thread(target=s.ask, args=(prompt_of(a.prompt, rng), a.tokens)) for _ in range(n)]
        start = time.time()
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        seconds = time.time() - start
        memory = s.peak()
        s.stop()
    return seconds, memory


def engine_seconds(a, n):
    """What `klinear bench` expects: n prompts, then n sequences that decode together, 16 at once at most."""
    command = [a.klinear, "bench", "-m", a.file, "-t", str(a.threads), "--prefill", str(a.prompt), "--decode",
               str(a.tokens), "--batch", str(min(n, 16)), "--reps", "1", "--dram-mib", "1", "--json"]
    out = subprocess.run(command, check=True, capture_output=True).stdout
    rate = {row["phase"]: row["tokens_per_second"] for row in json.loads(out)["rows"]}
    return n * a.prompt / rate["prefill"] + n * a.tokens / rate["decode"]


def show_crowd(a, kinds, n):
    cells, seconds = [], None
    for kind in kinds:
        took, memory = crowd(kind, a, n)
        seconds = seconds or took
        cells.append(f"{n * (a.prompt + a.tokens) / took:.0f} tokens/s, {memory:.0f} MiB")
    if a.engine:
        alone = engine_seconds(a, n)
        cells.append(f"{n * (a.prompt + a.tokens) / alone:.0f} tokens/s ({100 * alone / seconds:.0f} %)")
    print(f"| {n} clients, {a.prompt} + {a.tokens} tokens each | " + " | ".join(cells) + " |", flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("klinear")
    parser.add_argument("file")
    parser.add_argument("--peer")
    parser.add_argument("--engine", action="store_true")
    parser.add_argument("--clients", default="1,8,32")
    parser.add_argument("--prompt", type=int, default=512)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--long", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--options", default="")
    parser.add_argument("--peer-options", default="")
    a = parser.parse_args()
    kinds = [Server] + ([Peer] if a.peer else [])
    names = ["klinear serve"] + (["llama.cpp's server"] if a.peer else [])
    print(f"| {os.path.basename(a.file)}, {a.threads} threads | " + " | ".join(names) +
          (" | klinear bench |" if a.engine else " |"))
    print("|---" * (1 + len(names) + a.engine) + "|")
    for n in [a.prompt] + ([a.long] if a.long else []):
        show_first_tokens(a, kinds, n)
    for n in [int(x) for x in a.clients.split(",")]:
        show_crowd(a, kinds, n)


main()
