"""usage: test_traces.py KLINEAR: what a stream tells of the memory, beside the same answer; the page's files."""
import gzip
import sys

from server import Server, expect

PROMPT = "The memory of a model. " * 24


def told(events):
    """The text of a stream, and its traces."""
    text = "".join(e["choices"][0].get("text", "") for _, e in events if e != "[DONE]" and e["choices"])
    return text, [e for _, e in events if e != "[DONE]" and e["object"] == "klinear.trace"]


def check_traces(s):
    body = {"prompt": PROMPT, "max_tokens": 24, "seed": 3, "temperature": 1}
    plain, none = told(s.stream("/v1/completions", body))
    expect(not none, "a trace that nobody asked for")
    runs = {how: told(s.stream("/v1/completions", dict(body, trace=how))) for how in ("all", "new")}
    for how, (text, traces) in runs.items():
        expect(text == plain, f"{how}: another text")
        expect([t["done"] for t in traces] == [False] * (len(traces) - 1) + [True], f"{how}: the last one is done")
        end = traces[0]["trace"]["first"]
        for t in traces:
            expect(t["trace"]["first"] == end, f"{how}: goes on at {t['trace']['first']}, expected {end}")
            end = t["trace"]["end"]
            expect(len(t["trace"]["ids"]) == end - t["trace"]["first"], f"{how}: ids")
    ids = {how: sum((t["trace"]["ids"] for t in traces), []) for how, (_, traces) in runs.items()}
    expect(ids["all"] == ids["new"] and -1 not in ids["all"], "the same tokens")
    seen = {how: [bool(b) for t in traces for b in t["trace"]["layers"][0]["beta"]]
            for how, (_, traces) in runs.items()}
    expect(all(seen["all"]), "with all, every token is seen")
    n_cached = seen["new"].count(False)
    expect(n_cached >= 64 and not any(seen["new"][:n_cached]) and all(seen["new"][n_cached:]),
           "with new, what the cache had is not seen")
    last = runs["all"][1][-1]["trace"]
    expect("channels" in last["layers"][0]["decay"] and last["tokens_seen"] == last["end"], "the last one has it all")
    attention = next(layer["attention"] for layer in last["layers"] if "attention" in layer)
    expect(abs(sum(attention["weights"]) + attention["before"] - 1) < 1e-2, "weights of a token sum to 1")


def check_refusals(s):
    for path, body in (("/v1/completions", {"prompt": "x"}),
                       ("/v1/chat/completions", {"messages": [{"role": "user", "content": "x"}]})):
        s.refused(400, dict(body, trace="new"), "expected stream to be true", path=path)
        s.refused(400, dict(body, trace="some", stream=True), '"some", expected new or all', path=path)
        s.refused(400, dict(body, trace=1, stream=True), "trace", path=path)
        s.refused(400, dict(body, trace="new", n=2, stream=True), "2 answers", path=path)
    body = {"messages": [{"role": "user", "content": "x"}], "max_tokens": 4, "trace": "new"}
    chat = s.stream("/v1/chat/completions", body)
    expect(any(e != "[DONE]" and e["object"] == "klinear.trace" for _, e in chat), "a chat is told of as well")


def check_packed(s):
    """Whoever takes gzip gets the same page, compressed."""
    _, plain_headers, plain = s.ask("GET", "/page/main.js")
    for accepts, packed in (("gzip, deflate, br", True), ("br;q=1, GZIP;q=0.5", True), ("gzip;q=0", False),
                            ("br", False), ("", False), ("xgzip, gzipx", False)):
        connection = s.connect()
        connection.request("GET", "/page/main.js", headers={"Accept-Encoding": accepts})
        answer = connection.getresponse()
        data = answer.read()
        connection.close()
        expect(answer.status == 200 and answer.getheader("Vary") == "Accept-Encoding", accepts)
        expect((answer.getheader("Content-Encoding") == "gzip") == packed, f'"{accepts}" was taken for something else')
        expect((gzip.decompress(data) if packed else data).decode() == plain, f"{accepts}: another file")
        expect((answer.getheader("ETag") == plain_headers["ETag"]) != packed, "one tag for two things")
        if packed:
            expect(len(data) < len(plain) / 2, f"{len(data)} bytes of {len(plain)}")
            again = {"Accept-Encoding": accepts, "If-None-Match": answer.getheader("ETag")}
            expect(s.ask("GET", "/page/main.js", headers=again)[0] == 304, "sent twice")


def check_page(s):
    status, headers, text = s.ask("GET", "/")
    expect(status == 200 and "<title>klinear</title>" in text, "the page")
    expect(headers["Content-Type"].startswith("text/html"), "the type of the page")
    expect("default-src 'none'" in headers["Content-Security-Policy"], "what the page may load")
    expect(headers["X-Content-Type-Options"] == "nosniff" and headers["Cache-Control"] == "no-cache", "headers")
    status, again, text = s.ask("GET", "/", headers={"If-None-Match": headers["ETag"]})
    expect(status == 304 and not text and again["ETag"] == headers["ETag"], "not sent twice")
    status, headers, text = s.ask("GET", "/page/main.js")
    expect(status == 200 and headers["Content-Type"].startswith("text/javascript") and "import" in text, "a script")
    for path in ("/page/none.js", "/page/../server.c", "/page/%2e%2e/x", "/page/"):
        expect(s.ask("GET", path)[0] == 404, path)
    expect(s.ask("POST", "/", "{}")[0] == 405, "nothing is posted to the page")


with Server(sys.argv[1], "--ctx", "1024") as server:
    check_traces(server)
    check_refusals(server)
    check_page(server)
    check_packed(server)
