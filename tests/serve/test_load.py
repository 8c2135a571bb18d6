"""usage: test_load.py KLINEAR [MODEL]: 64 clients at once, mixed lengths, a tenth of which leave; memory stays flat.

LOAD_SECONDS (60; of the long tier 600), LOAD_CLIENTS (64), LOAD_OPTIONS (more for the server).  Prints a line of JSON:
requests, tokens a second, 99 of 100 times between tokens, memory after the first tenth and at the end."""
import asyncio
import json
import os
import random
import sys
import time

from server import Server, expect

SECONDS = float(os.environ.get("LOAD_SECONDS", "60"))
CLIENTS = int(os.environ.get("LOAD_CLIENTS", "64"))
WORDS = "the river ran over stones and under bridges while people walked along it and talked about rain".split()
READINGS = 600  # of the memory
SYSTEM = "You answer in a few words. " * 12


class Load:
    def __init__(self, s):
        self.s = s
        self.context = s.get("/props")["context"]
        self.gaps, self.first = [], []
        self.done = self.left = self.tokens = 0
        self.faults = []
        self.end = time.time() + SECONDS

    async def ask(self, rng):
        """One request; what is wrong with it is kept."""
        text = " ".join(rng.choice(WORDS) for _ in range(rng.choice([3, 12, 60, 240])))
        n = rng.choice([4, 16, 48, 96])
        leaves = rng.random() < 0.1
        body = json.dumps({"messages": [{"role": "system", "content": SYSTEM}, {"role": "user", "content": text}],
                           "max_tokens": n, "stream": True, "stream_options": {"include_usage": True},
                           "logit_bias": {str(i): -100 for i in STOPS}}).encode()
        reader, writer = await asyncio.open_connection(self.s.host, self.s.port, limit=1 << 20)
        try:
            writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
                         b"Content-Length: " + str(len(body)).encode() + b"\r\n\r\n" + body)
            await writer.drain()
            await self.read(reader, n, leaves, rng)
        finally:
            writer.close()

    async def read(self, reader, n, leaves, rng):
        status = await reader.readline()
        start = last = time.time()
        if b" 200 " not in status:
            rest = await reader.read()
            if b" 503 " not in status:
                self.faults.append(status + rest[-300:])
            else:
                await asyncio.sleep(0.2)
            return
        stop = rng.randrange(n) if leaves else n + 1
        usage, got = None, 0
        while True:
            line = await reader.readline()
            if not line:
                break
            if line.startswith(b"data: [DONE]"):
                break
            if not line.startswith(b"data: "):
                continue
            event = json.loads(line[6:])
            usage = event.get("usage") or usage
            if event.get("choices") and event["choices"][0]["delta"].get("content"):
                now = time.time()
                (self.gaps if got else self.first).append(now - last)
                last = now
                got += 1
            if got >= stop:
                self.left += 1
                return
        room = self.context - usage["prompt_tokens"] if usage else 0
        if not usage or usage["completion_tokens"] != min(n, room):
            self.faults.append(f"{n} tokens were asked for, {usage} came in {time.time() - start:.1f} s".encode())
            return
        self.done += 1
        self.tokens += usage["completion_tokens"]

    async def client(self, i):
        rng = random.Random(i)
        while time.time() < self.end and not self.faults:
            try:
                await self.ask(rng)
            except OSError as e:
                self.faults.append(repr(e).encode())

    async def watch(self):
        """Memory, from the first second to the last.  Time in which everything was stopped, as on a machine that is
        measured on, is no time under load."""
        self.memory = []
        self.stopped = 0
        last = time.time()
        while time.time() < self.end and not self.faults:
            await asyncio.sleep(SECONDS / READINGS)
            self.memory.append(resident(self.s.process.pid))
            pause = time.time() - last - SECONDS / READINGS
            if pause > 3:
                self.stopped += pause
                self.end += pause
            last = time.time()

    async def run(self):
        await asyncio.gather(self.watch(), *[self.client(i) for i in range(CLIENTS)])


def resident(pid):
    for line in open(f"/proc/{pid}/status"):
        if line.startswith("VmRSS"):
            return int(line.split()[1]) * 1024
    return 0


def quantile(values, q):
    values = sorted(values)
    return values[min(len(values) - 1, int(q * len(values)))] if values else float("nan")


def mean(values):
    return sum(values) / max(1, len(values))


# A model that writes by chance writes these as well, and then its answer ends.
MARKERS = ["[EOS]", "[EOT]"] + [f"<|{name}|>" for name in (
    "im_end", "im_user", "im_assistant", "im_system", "im_middle", "tool_calls_section_begin", "tool_calls_section_end",
    "tool_call_begin", "tool_call_argument_begin", "tool_call_end")]
STOPS = []


def main(program, model):
    options = ["--queue", "256", "--log", "off"] + os.environ.get("LOAD_OPTIONS", "--cache 16M").split()
    with Server(program, *options, model=model) as s:
        for text in MARKERS:
            ids = s.post("/tokenize", {"content": text, "parse_special": True})["tokens"]
            STOPS.extend(ids if len(ids) == 1 else [])
        load = Load(s)
        start = time.time()
        asyncio.run(load.run())
        seconds = time.time() - start - load.stopped
        expect(not load.faults, load.faults[0].decode(errors="replace") if load.faults else "")
        for _ in range(200):
            if not s.get("/slots"):
                break
            time.sleep(0.05)
        expect(s.get("/slots") == [], "something is still being worked on")
        # Means of the tenth behind the first one, and of the last: single readings jump by a request's size.
        tenth = len(load.memory) // 10
        early, late = mean(load.memory[tenth:2 * tenth]), mean(load.memory[-tenth:])
        metrics = {name: s.metric(name) for name in ("new_tokens_total", "read_tokens_total", "reused_tokens_total",
                                                     "step_seconds_total", "preempted_total", "prefix_bytes",
                                                     "jobs_cancelled_total", "accepted_tokens_total")}
        print(json.dumps({
            "seconds": round(seconds, 1), "clients": CLIENTS, "answers": load.done, "left": load.left,
            "new_tokens_per_second": round(metrics["new_tokens_total"] / seconds, 1),
            "read_tokens_per_second": round(metrics["read_tokens_total"] / seconds, 1),
            "first_token_ms": {"p50": round(1e3 * quantile(load.first, .5), 1),
                               "p99": round(1e3 * quantile(load.first, .99), 1)},
            "between_tokens_ms": {"p50": round(1e3 * quantile(load.gaps, .5), 1),
                                  "p99": round(1e3 * quantile(load.gaps, .99), 1)},
            "resident_mib": {"early": round(early / 2**20, 2), "late": round(late / 2**20, 2),
                             "tenths": [round(mean(load.memory[i:i + tenth]) / 2**20, 1)
                                        for i in range(0, len(load.memory), tenth)]},
            "metrics": metrics}))
        expect(load.done > CLIENTS and load.left > 0, "hardly any answers")
        expect(late < 1.02 * early, f"memory grew from {early / 2**20:.1f} to {late / 2**20:.1f} MiB")
    print("fine")


main(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None)
