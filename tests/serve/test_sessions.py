"""usage: test_sessions.py KLINEAR: sessions, gone on with, forked, saved, restored; damaged files harm nobody."""
import json
import os
import sys
import tempfile
import threading

from server import Server, expect

CHAT, TEXT, SESSIONS = "/v1/chat/completions", "/v1/completions", "/v1/sessions"
LONG = "The river that runs through the valley is older than the hills around it. " * 30


def said(answer):
    return answer["choices"][0]["message"]["content"]


def chat(s, name, text, **more):
    body = {"session": name, "messages": [{"role": "user", "content": text}], "max_tokens": 8, "seed": 5}
    return s.post(CHAT, dict(body, **more))


def same_without(s, ids, answer, n=8):
    """What a prompt of these tokens gets is what the session got."""
    cold = s.post(TEXT, {"prompt": ids, "max_tokens": n, "seed": 5, "temperature": 1})
    expect(cold["choices"][0]["text"] == said(answer), f"{cold['choices'][0]['text']!r} is not {said(answer)!r}")


def check_growth(s):
    made = s.post(SESSIONS, {"name": "a", "messages": [{"role": "system", "content": LONG}]})
    expect(made["id"] == "a" and made["tokens"] > 200 and made["usage"]["completion_tokens"] == 0, str(made))
    first = chat(s, "a", "Hello")
    expect(first["usage"]["prompt_tokens_details"]["cached_tokens"] >= 64, str(first["usage"]))
    one = s.get(SESSIONS + "/a")
    expect(one["tokens"] == len(one["ids"]) == first["usage"]["total_tokens"], "a session is prompt and answer")
    same_without(s, one["ids"][:first["usage"]["prompt_tokens"]], first)
    second = chat(s, "a", "And then?")
    two = s.get(SESSIONS + "/a")
    expect(two["ids"][:one["tokens"]] == one["ids"], "a session grows at its end")
    expect("<|im_end|><|im_user|>" in two["text"], "a turn that was cut off has an end: " + two["text"][-200:])
    same_without(s, two["ids"][:second["usage"]["prompt_tokens"]], second)
    events = s.stream(CHAT, {"session": "a", "messages": [{"role": "user", "content": "More"}], "max_tokens": 4})
    expect(events[-1][1] == "[DONE]" and s.get(SESSIONS + "/a")["tokens"] > two["tokens"], "a stream grows it, too")
    s.post(SESSIONS, {"name": "text", "prompt": "Once upon"})
    s.post(TEXT, {"session": "text", "prompt": " a time", "max_tokens": 3, "seed": 1, "temperature": 0})
    expect(s.get(SESSIONS + "/text")["text"].startswith("Once upon a time"), s.get(SESSIONS + "/text")["text"])


def check_forks(s):
    before = s.get(SESSIONS + "/a")
    fork = s.post(SESSIONS + "/a/fork", {"name": "b"})
    expect(fork["id"] == "b" and fork["tokens"] == before["tokens"], str(fork))
    chat(s, "b", "Another way")
    expect(s.get(SESSIONS + "/a")["ids"] == before["ids"], "what becomes of a fork changes nothing")
    names = {one["id"]: one for one in s.get(SESSIONS)["data"]}
    expect(set(names) == {"a", "b", "text"} and names["b"]["tokens"] > names["a"]["tokens"], str(names))
    status, _, gone = s.ask("DELETE", SESSIONS + "/text")
    expect(status == 200 and gone["deleted"], str(gone))
    s.refused(404, {"session": "text", "prompt": "x"}, "text", path=TEXT)


def check_refusals(s):
    hello = [{"role": "user", "content": "x"}]
    s.refused(404, {"session": "none", "messages": hello}, "none")
    s.refused(400, {"session": "../a", "messages": hello}, "expected 1 to 64")
    s.refused(400, {"session": 7, "messages": hello}, "string")
    s.refused(400, {"session": "a", "messages": hello, "n": 2}, "n is 2")
    s.post(SESSIONS, {"name": "empty"})
    for name in ["a", "empty"] * 8:
        s.refused(400, {"session": name, "prompt": ["word " * 50, "other " * 30, "z"]}, "several prompts", path=TEXT)
    s.ask("DELETE", SESSIONS + "/empty")
    s.refused(400, {"session": "a", "messages": hello, "tools": [{"type": "function", "function": {"name": "f"}}]},
              "first request")
    for name in ["", ".", ".hidden", "a/b", "x" * 65, "nul\0", "é"]:
        s.refused(400, {"name": name}, path=SESSIONS)
    s.refused(400, {"name": "c", "prompt": "x", "messages": hello}, "one of them", path=SESSIONS)
    s.refused(400, {"name": "c", "prompt": ["x", "y"]}, "expected one", path=SESSIONS)
    s.refused(400, {"name": "c", "prompt": "word " * 5000}, "expected at most", path=SESSIONS)
    s.refused(409, {"name": "a"}, "already", path=SESSIONS)
    s.refused(409, {"name": "a"}, "already", path=SESSIONS + "/b/fork")
    s.refused(404, {"name": "c"}, "none", path=SESSIONS + "/none/fork")
    s.refused(404, {}, "save, restore or fork", path=SESSIONS + "/a/burn")
    expect({one["id"] for one in s.get(SESSIONS)["data"]} == {"a", "b"}, "what was refused was not made")


def check_busy(s):
    """Who has a session has it alone; who leaves changes nothing."""
    before = s.get(SESSIONS + "/a")["ids"]
    body = {"session": "a", "messages": [{"role": "user", "content": "x"}], "max_tokens": 1500,
            "logit_bias": {"40": 100}}
    connection = s.connect()
    connection.request("POST", CHAT, json.dumps(body))
    s.until_busy()
    s.refused(409, body, "another request")
    expect(s.ask("DELETE", SESSIONS + "/a")[0] == 409, "a session that is busy is not removed")
    expect([one["busy"] for one in s.get(SESSIONS)["data"] if one["id"] == "a"] == [True], "busy")
    connection.close()
    while s.ask("GET", SESSIONS + "/a")[0] == 409:
        pass
    expect(s.get(SESSIONS + "/a")["ids"] == before, "an answer that was dropped is no part of it")


def damage(path):
    data = bytearray(open(path, "rb").read())
    data[len(data) // 2] ^= 1
    open(path, "wb").write(data)


def check_disk(program):
    with tempfile.TemporaryDirectory() as top:
        folder = os.path.join(top, "sessions")
        with Server(program, "--sessions", folder, "--ctx", "4096") as s:
            check_growth(s)
            check_forks(s)
            check_refusals(s)
            check_busy(s)
            saved = s.post(SESSIONS + "/a/save", {})
            expect(saved["saved"], str(saved))
            chat(s, "b", "unsaved")  # goes to disk when the server stops
            ids = {name: s.get(SESSIONS + "/" + name)["ids"] for name in "ab"}
            model = open(s.model, "rb").read()
        expect(os.stat(folder).st_mode & 0o777 == 0o700, "the folder is for its owner")
        expect(len(os.listdir(folder)) == 4, str(os.listdir(folder)))
        path = os.path.join(top, "tiny.gguf")
        open(path, "wb").write(model)
        with Server(program, "--sessions", folder, model=path) as s:
            for name in "ab":
                expect(s.get(SESSIONS + "/" + name)["ids"] == ids[name], "a session after a restart")
            expect(s.post(SESSIONS + "/a/restore", {})["state_tokens"] >= 64, "its state")
            for name in "ab":  # the state of b comes by itself
                answer = chat(s, name, "Where were we?")
                cached = answer["usage"]["prompt_tokens_details"]["cached_tokens"]
                expect(cached >= len(ids[name]) // 64 * 64 - 64, f"{cached} of {len(ids[name])}")
                now = s.get(SESSIONS + "/" + name)["ids"]
                same_without(s, now[:answer["usage"]["prompt_tokens"]], answer)
        for file in os.listdir(folder):
            if file.endswith(".b.tokens") or file.endswith(".a.state"):
                damage(os.path.join(folder, file))
        with Server(program, "--sessions", folder, model=path) as s:
            expect([one["id"] for one in s.get(SESSIONS)["data"]] == ["a"], "a damaged session is not used")
            answer = chat(s, "a", "Still there?")  # its state is damaged: it is read again
            expect(answer["usage"]["prompt_tokens_details"]["cached_tokens"] == 0, str(answer["usage"]))


def check_full(program):
    """Too many wait: a stream of a session that comes from disk is refused like any other, and nobody hangs."""
    with tempfile.TemporaryDirectory() as top:
        folder, path, n = os.path.join(top, "s"), os.path.join(top, "tiny.gguf"), 100
        with Server(program, "--sessions", folder) as s:
            s.post(SESSIONS, {"name": "a", "prompt": "word " * 100})
            for i in range(n):
                s.post(SESSIONS + "/a/fork", {"name": f"f{i}"})
            open(path, "wb").write(open(s.model, "rb").read())
        few = ["--sequences", "1", "--queue", "1", "--ctx", "20000"]
        with Server(program, "--sessions", folder, *few, model=path) as s:
            busy = [s.connect(), s.connect()]
            for i, one in enumerate(busy):
                one.request("POST", TEXT, json.dumps({"prompt": "x", "max_tokens": 16000, "logit_bias": {"40": 100}}))
                s.until_busy(i + 1)
            for i in range(n):
                s.refused(503, {"session": f"f{i}", "prompt": " x", "stream": True, "echo": True}, "limit", path=TEXT)
            for one in busy:
                one.close()


def check_keys(program):
    with tempfile.TemporaryDirectory() as top:
        keys = os.path.join(top, "keys")
        open(keys, "w").write("key-of-alice-0123456789 alice\nkey-of-bob-0123456789 bob\n")
        alice, bob = [{"Authorization": f"Bearer key-of-{who}-0123456789"} for who in ("alice", "bob")]
        with Server(program, "--keys", keys, "--sessions", os.path.join(top, "s")) as s:
            s.post(SESSIONS, {"name": "mine", "prompt": "secret"}, headers=alice)
            expect(s.get(SESSIONS, headers=bob)["data"] == [], "sessions of others")
            expect(s.ask("GET", SESSIONS + "/mine", headers=bob)[0] == 404, "a session of another")
            s.post(SESSIONS, {"name": "mine", "prompt": "other"}, headers=bob)
            expect(s.get(SESSIONS + "/mine", headers=alice)["text"] == "secret", "two sessions with one name")
            s.refused(401, {"name": "x"}, path=SESSIONS)


def check_without_folder(program):
    with Server(program) as s:
        s.post(SESSIONS, {"name": "a", "prompt": "Hello"})
        s.refused(400, {}, "--sessions", path=SESSIONS + "/a/save")
        results = []

        def make(i):
            results.append(s.ask("POST", SESSIONS, {"name": f"n{i % 4}", "prompt": "Hello"})[0])

        threads = [threading.Thread(target=make, args=(i,)) for i in range(16)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        expect(sorted(results) == [200] * 4 + [409] * 12, str(results))


check_disk(sys.argv[1])
check_full(sys.argv[1])
check_keys(sys.argv[1])
check_without_folder(sys.argv[1])
print("fine")
