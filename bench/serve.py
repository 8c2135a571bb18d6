#!/usr/bin/env python3
"""The server measured as clients see it, beside llama.cpp's library where its batch benchmark is there.

usage: bench/serve.py KLINEAR FILE [--peer LLAMA_BATCHED_BENCH] [--clients 1,8,32] [--prompt 512] [--tokens 64]
                      [--long 32768] [--threads 2] [--options "..."]

Time to the first token of a prompt that is new, that goes on from one in the cache, and the same after a restart; then
N clients at once, each with a prompt of its own, until all have their answers: tokens read and written in a second, and
the most memory.  The peer does the same number of sequences in one batch, without HTTP.  Prints a table in Markdown."""
import argparse
import http.client
import json
import os
import random
import signal
import subprocess
import tempfile
import threading
import time
import urllib.parse


class Server:
    def __init__(self, program, file, threads, folder, options):
        command = [program, "serve", "-m", file, "--port", "0", "--log", "off", "-t", str(threads), "--cache-dir",
                   folder, "--sequences", "32", "--queue", "1000"] + options
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        address = urllib.parse.urlparse(self.process.stdout.readline().strip())
        self.host, self.port = address.hostname, address.port

    def ask(self, prompt, tokens):
        """Seconds to the first token, and to the last."""
        body = {"prompt": prompt, "max_tokens": tokens, "stream": True, "temperature": 0,
                "stream_options": {"include_usage": True}, "logit_bias": {"40": 100}}
        start, first, usage = time.time(), None, None
        connection = http.client.HTTPConnection(self.host, self.port, timeout=3600)
        connection.request("POST", "/v1/completions", json.dumps(body))
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
        return peak(self.process.pid)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(600)


def peak(pid):
    for line in open(f"/proc/{pid}/status"):
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1024
    return 0


def prompt_of(n, rng):
    return [rng.randrange(300, 1000) for _ in range(n)]


def first_tokens(a, n, rng):
    with tempfile.TemporaryDirectory() as folder:
        s = Server(a.klinear, a.file, a.threads, folder, a.options.split())
        prompt = prompt_of(n, rng)
        cold, _, _ = s.ask(prompt, 2)
        warm, _, cached = s.ask(prompt + prompt_of(20, rng), 2)
        s.stop()
        s = Server(a.klinear, a.file, a.threads, folder, a.options.split())
        again, _, loaded = s.ask(prompt + prompt_of(20, rng), 2)
        s.stop()
    print(f"| first token, {n} tokens, new | {1e3 * cold:.0f} ms | |")
    print(f"| the next turn, {cached} of them in the cache | {1e3 * warm:.0f} ms ({100 * warm / cold:.1f} %) | |")
    print(f"| the same after a restart, {loaded} from the disk | {1e3 * again:.0f} ms ({100 * again / cold:.1f} %) | |",
          flush=True)


def crowd(a, n, rng):
    """Tokens a second of n clients, and memory."""
    with tempfile.TemporaryDirectory() as folder:
        s = Server(a.klinear, a.file, a.threads, folder, ["--cache", "-1"] + a.options.split())
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
    return n * (a.prompt + a.tokens) / seconds, memory


def crowd_of_peer(a, n):
    command = [a.peer, "-m", a.file, "-npp", str(a.prompt), "-ntg", str(a.tokens), "-npl", str(n), "-t", str(a.threads),
               "-tb", str(a.threads), "-c", str(n * (a.prompt + a.tokens) + 64), "-b", "512", "-ub", "512"]
    p = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    most = [0]

    def watch():
        while p.poll() is None:
            try:
                most[0] = max(most[0], peak(p.pid))
            except OSError:
                return
            time.sleep(0.05)

    threading.Thread(target=watch).start()
    text = p.communicate()[0]
    row = [line for line in text.split("\n") if line.startswith("|") and line.split("|")[1].strip() == str(a.prompt)]
    return (float(row[-1].split("|")[10]) if row else float("nan")), most[0]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("klinear")
    parser.add_argument("file")
    parser.add_argument("--peer")
    parser.add_argument("--clients", default="1,8,32")
    parser.add_argument("--prompt", type=int, default=512)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--long", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--options", default="")
    a = parser.parse_args()
    rng = random.Random(1)
    print(f"| {os.path.basename(a.file)}, {a.threads} threads | klinear serve | llama.cpp's library, one batch |")
    print("|---|---|---|")
    first_tokens(a, a.prompt, rng)
    if a.long:
        first_tokens(a, a.long, rng)
    for n in [int(x) for x in a.clients.split(",")]:
        own, memory = crowd(a, n, rng)
        other, its = crowd_of_peer(a, n) if a.peer else (float("nan"), float("nan"))
        print(f"| {n} clients, {a.prompt} + {a.tokens} tokens each | {own:.0f} tokens/s, {memory:.0f} MiB | "
              f"{other:.0f} tokens/s, {its:.0f} MiB |", flush=True)


main()
