"""usage: test_abuse.py KLINEAR: slow, broken and hostile clients on raw sockets; the server goes on serving."""
import json
import os
import socket
import sys
import threading
import time

from server import Server, expect

CHAT = "/v1/chat/completions"
HELLO = json.dumps({"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 3, "seed": 1}).encode()


def connect(s):
    raw = socket.create_connection((s.host, s.port), timeout=30)
    return raw


def request(body=HELLO, path=CHAT, extra=b"", length=None):
    n = len(body) if length is None else length
    return (b"POST " + path.encode() + b" HTTP/1.1\r\nHost: localhost\r\nContent-Length: " + str(n).encode() +
            b"\r\n" + extra + b"\r\n" + body)


def everything(raw):
    """What comes until the server closes, or nothing more comes for a while."""
    got = b""
    try:
        while True:
            data = raw.recv(65536)
            if not data:
                break
            got += data
    except (socket.timeout, ConnectionResetError):
        pass
    return got


def closed_within(raw, seconds):
    start = time.time()
    raw.settimeout(seconds)
    try:
        while raw.recv(4096):
            pass
    except ConnectionResetError:
        pass
    except socket.timeout:
        return False
    return time.time() - start < seconds


def serves(s, after):
    answer = s.post(CHAT, json.loads(HELLO))
    expect(answer["usage"]["completion_tokens"] > 0, "no answer after " + after)


def slow(s):
    """One byte at a time is not for ever."""
    header, body = connect(s), connect(s)
    done = []

    def drip(raw, data):
        try:
            for i in range(len(data)):
                raw.send(data[i:i + 1])
                time.sleep(0.1)
        except OSError:
            done.append(time.time())

    head = b"POST " + CHAT.encode() + b" HTTP/1.1\r\n" + b"X: y\r\n" * 99
    threads = [threading.Thread(target=drip, args=(header, head)),
               threading.Thread(target=drip, args=(body, request(HELLO + b" " * 200)[:150]))]
    body.send(request(b"", length=500))
    start = time.time()
    for t in threads:
        t.start()
    serves(s, "slow clients began")
    for t in threads:
        t.join()
    expect(len(done) == 2 and max(done) - start < 12, f"slow clients are sent away: {[t - start for t in done]}")


def broken(s):
    for what, data in [
            ("noise", os.urandom(3000)),
            ("a long header", b"GET /health HTTP/1.1\r\nHost: localhost\r\nX: " + b"y" * 100000 + b"\r\n\r\n"),
            ("many headers", b"GET /health HTTP/1.1\r\nHost: localhost\r\n" + b"X: y\r\n" * 20000 + b"\r\n"),
            ("a long path", b"GET /" + b"x" * 100000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n"),
            ("a negative length", request(b"{}", length=-1)),
            ("a length that is no number", request(b"{}").replace(b"Length: 2", b"Length: two")),
            ("a huge length", request(b"{}", length=10 ** 30)),
            ("no version", b"GET /health\r\n\r\n"),
            ("a chunk without a size",
             b"POST /tokenize HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"),
    ]:
        raw = connect(s)
        raw.settimeout(5)
        try:
            raw.sendall(data)
            raw.shutdown(socket.SHUT_WR)
        except OSError:
            pass
        got = everything(raw)
        expect(not got.startswith(b"HTTP/1.1 200"), f"{what}: {got[:80]}")
        raw.close()
        expect(s.get("/health")["status"] == "ok", what)
    raw = connect(s)  # shorter than it says, and gone
    raw.sendall(request(HELLO, length=len(HELLO) + 50))
    raw.close()
    raw = connect(s)  # both kinds of length: one of them must win, and nothing be smuggled behind it
    raw.settimeout(3)
    raw.sendall(b"POST /tokenize HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n"
                b"0\r\n\r\nGET /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n")
    got = everything(raw)
    expect(b"owned_by" not in got or got.count(b"HTTP/1.1 ") == 2, f"smuggled: {got[:300]}")
    serves(s, "broken requests")


def pipelined(s):
    raw = connect(s)
    raw.settimeout(3)
    raw.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n" * 20 + request() * 3)
    got = everything(raw)
    expect(got.count(b"HTTP/1.1 200") == 23, f"pipelined: {got.count(b'HTTP/1.1 200')} of 23")


def slow_reader(s):
    """A stream that nobody reads is dropped, and delays nobody."""
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    raw.connect((s.host, s.port))
    raw.sendall(request(json.dumps({"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 100,
                                    "stream": True, "logprobs": True, "top_logprobs": 20}).encode()))
    serves(s, "a slow reader")
    raw.close()


def idle(s, n):
    """More connections than may be: those that are too many are refused, and time makes room."""
    many = []
    for _ in range(n):
        try:
            many.append(connect(s))
        except OSError:
            break
    start = time.time()
    while time.time() - start < 20:
        try:
            serves(s, "idle connections")
            break
        except (OSError, Exception):
            time.sleep(0.2)
    else:
        expect(False, f"{len(many)} idle connections, and nobody is served")
    for raw in many:
        raw.close()


def half_closed(s):
    raw = connect(s)
    raw.sendall(request(json.dumps({"messages": [{"role": "user", "content": "x"}], "max_tokens": 3000,
                                     "logit_bias": {"40": 100}}).encode()))
    s.until_busy()
    raw.shutdown(socket.SHUT_WR)
    for _ in range(100):
        if not s.get("/slots"):
            break
        time.sleep(0.05)
    expect(not s.get("/slots"), "a client that has left counts as there")


def pings(s):
    """A stream of a long prompt says that it is alive."""
    body = {"messages": [{"role": "user", "content": "word " * 4000}], "max_tokens": 2, "stream": True}
    raw = connect(s)
    raw.settimeout(60)
    start = time.time()
    raw.sendall(request(json.dumps(body).encode(), extra=b"Connection: close\r\n"))
    got = everything(raw)
    expect(b"[DONE]" in got, f"a long prompt: {got[:300]}")
    expect(b": still working" in got or time.time() - start < 2, f"signs of life: {got[:300]}")


def many_calls(s):
    """Long conversations of calls take time and memory in proportion."""
    def most():
        return [int(line.split()[1]) for line in open(f"/proc/{s.process.pid}/status") if line.startswith("VmHWM")][0]

    n, before, start = 8000, most(), time.time()
    call = [{"type": "function_call", "call_id": f"a{i}", "name": "f", "arguments": "{}"} for i in range(n)]
    back = [{"type": "function_call_output", "call_id": f"a{i}", "output": ""} for i in range(n)]
    s.refused(400, {"input": call + back}, "expected at most", path="/v1/responses")
    use = [{"type": "tool_use", "id": f"a{i}", "name": "f", "input": {}} for i in range(n)]
    result = [{"type": "tool_result", "tool_use_id": f"a{i}", "content": ""} for i in range(n)]
    turns = [{"role": "assistant", "content": use}, {"role": "user", "content": result}]
    s.refused(400, {"messages": turns, "max_tokens": 1}, "expected at most", path="/v1/messages")
    turn = {"role": "tool", "tool_call_id": "a", "content": ""}
    s.refused(400, {"messages": [turn] * 5 * n}, "expected at most")
    expect(most() - before < 500 << 10, f"{most() - before} KiB more")
    expect(time.time() - start < 15, f"{time.time() - start:.1f} s")


def patient(program):
    """A connection may be idle for as long as --idle-seconds has it, which is 75 where nothing is said."""
    ask = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with Server(program) as s:
        raw = connect(s)
        for seconds in (64, 0):
            raw.sendall(ask)
            expect(b" 200 " in raw.recv(65536), "a connection that was idle for a while")
            time.sleep(seconds)
        raw.close()


def main(program):
    limits = ["--header-seconds", "2", "--body-seconds", "3", "--idle-seconds", "5", "--connections", "100",
              "--ping-seconds", "1"]
    with Server(program, *limits) as s:
        broken(s)
        pipelined(s)
        slow_reader(s)
        half_closed(s)
        idle(s, 300)
        slow(s)
        pings(s)
        for _ in range(100):
            if not s.get("/slots"):
                break
            time.sleep(0.1)
        expect(not s.get("/slots"), "something is still being worked on")
    with Server(program, "--ctx", "1000") as s:
        many_calls(s)
    patient(program)
    print("fine")


main(sys.argv[1])
