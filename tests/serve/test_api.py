"""usage: test_api.py KLINEAR: what the endpoints answer, and that company changes no answer."""
import base64
import json
import os
import signal
import struct
import sys
import tempfile
import threading
import time

from server import Server, expect

CHAT, TEXT = "/v1/chat/completions", "/v1/completions"


def user(text, **more):
    return dict({"messages": [{"role": "user", "content": text}], "max_tokens": 12, "seed": 7}, **more)


def endless(text, n, **more):
    """An answer of n tokens, whatever the model would say."""
    return user(text, max_tokens=n, logit_bias={"40": 100}, **more)


def content(answer):
    return answer["choices"][0]["message"]["content"]


def check_chat(s):
    whole = s.post(CHAT, user("Hello"))
    expect(whole["object"] == "chat.completion" and whole["choices"][0]["finish_reason"] == "length", str(whole))
    expect(whole["usage"]["completion_tokens"] == 12, "12 tokens were asked for")
    expect(s.post(CHAT, user("Hello"))["choices"] == whole["choices"], "the same seed, another answer")
    events = s.stream(CHAT, user("Hello", stream_options={"include_usage": True}))
    expect(events[-1][1] == "[DONE]" and events[-2][1]["choices"] == [], "the end of a stream")
    expect(events[-2][1]["usage"]["completion_tokens"] == 12, "the usage in a stream")
    deltas = [c["delta"] for _, e in events[:-2] for c in e["choices"]]
    expect(deltas[0]["role"] == "assistant", "the first event has the role")
    expect("".join(d.get("content", "") for d in deltas) == content(whole), "a stream has another text")
    expect(events[-3][1]["choices"][0]["finish_reason"] == "length", "the last choice says why it ended")
    parts = user(None)
    parts["messages"][0]["content"] = [{"type": "text", "text": "Hel"}, {"type": "text", "text": "lo"}]
    expect(content(s.post(CHAT, parts)) == content(whole), "a content in parts")
    greedy = s.post(CHAT, user("Hello", temperature=0, logprobs=True, top_logprobs=3))
    for entry in greedy["choices"][0]["logprobs"]["content"]:
        expect(len(entry["top_logprobs"]) == 3 and entry["top_logprobs"][0]["logprob"] == entry["logprob"],
               "greedy: the token is the likeliest")
    several = s.post(CHAT, user("Hello", n=3))
    texts = [c["message"]["content"] for c in several["choices"]]
    expect([c["index"] for c in several["choices"]] == [0, 1, 2] and texts[0] == content(whole), "n=3: the first")
    expect(len(set(texts)) == 3, "n=3: three different answers")
    roles = {c["index"] for _, e in s.stream(CHAT, user("Hello", n=3))[:-1] for c in e["choices"]}
    expect(roles == {0, 1, 2}, "n=3 in a stream")


def check_stop(s):
    whole = content(s.post(CHAT, user("Stop here", max_tokens=30)))
    stop = whole[len(whole) // 2:len(whole) // 2 + 2]
    cut = s.post(CHAT, user("Stop here", max_tokens=30, stop=[stop, "never there"]))
    expect(content(cut) == whole[:whole.index(stop)], "the text ends in front of the stop string")
    expect(cut["choices"][0]["finish_reason"] == "stop", "why it ended")
    deltas = [e["choices"][0]["delta"].get("content", "") for _, e in
              s.stream(CHAT, user("Stop here", max_tokens=30, stop=stop))[:-1]]
    expect("".join(deltas) == whole[:whole.index(stop)], "the same in a stream")
    biased = s.post(TEXT, {"prompt": "a", "max_tokens": 3, "logit_bias": {"40": 100}, "logprobs": 0})
    expect(biased["choices"][0]["logprobs"]["tokens"] == ["I"] * 3, "logit_bias")


def check_completions(s):
    whole = s.post(TEXT, {"prompt": "Once upon", "seed": 1})
    expect(whole["usage"]["completion_tokens"] == 16, "16 tokens by default")
    ids = s.post("/tokenize", {"content": "Once upon"})["tokens"]
    expect(s.post("/detokenize", {"tokens": ids})["content"] == "Once upon", "there and back")
    expect(s.post(TEXT, {"prompt": ids, "seed": 1})["choices"] == whole["choices"], "a prompt of tokens")
    two = s.post(TEXT, {"prompt": ["Once upon", "Twice"], "seed": 1, "n": 2})["choices"]
    expect(len(two) == 4 and two[0]["text"] == whole["choices"][0]["text"], "two prompts")
    echo = s.post(TEXT, {"prompt": "Once upon", "echo": True, "logprobs": 2, "max_tokens": 2, "seed": 1})
    lists = echo["choices"][0]["logprobs"]
    expect(echo["choices"][0]["text"].startswith("Once upon"), "echo")
    expect(len(lists["tokens"]) == len(ids) + 2 and lists["token_logprobs"][0] is None, "log-probabilities of a prompt")
    expect(all(x < 0 for x in lists["token_logprobs"][1:]), "logarithms of probabilities")
    expect(lists["text_offset"][:2] == [0, len(lists["tokens"][0])], "offsets")
    check_offsets(s)
    score = s.post(TEXT, {"prompt": "Once upon", "echo": True, "logprobs": 1, "max_tokens": 0})
    expect(len(score["choices"][0]["logprobs"]["tokens"]) == len(ids), "only the prompt")


def check_offsets(s):
    """Where tokens begin in the text; the same in streams."""
    marker = s.post("/tokenize", {"content": "<|tool_call_end|>", "parse_special": True})["tokens"][0]
    for more in ({}, {"echo": True}, {"logit_bias": {str(marker): 12}, "max_tokens": 40}):
        body = dict({"prompt": "Été", "seed": 1, "logprobs": 1}, **more)
        whole, new = s.post(TEXT, body), []
        lists, text = whole["choices"][0]["logprobs"], whole["choices"][0]["text"]
        for at, token in zip(lists["text_offset"], lists["tokens"]):
            there = "\ufffd" in token or token.startswith("<|") or text[at:].lstrip("\ufffd").startswith(token)
            expect(there, f"{token!r} at {at}: {text!r}")
        for _, e in s.stream(TEXT, body)[:-1]:
            new += (e["choices"][0]["logprobs"] or {}).get("text_offset", [])
        expect(len(new) > 1 and (len(new) == len(lists["tokens"]) or "echo" in more), f"{len(new)} offsets in a stream")
        expect(new == lists["text_offset"][-len(new):], f"offsets of a stream, {more}: {new}, {lists['text_offset']}")


def check_cache(s):
    before = s.metric("reused_tokens_total")
    system = {"role": "system", "content": "Answer well. " * 60}
    messages = [system, {"role": "user", "content": "First question?"}]
    first = s.post(CHAT, {"messages": messages, "max_tokens": 8, "seed": 3})
    messages += [{"role": "assistant", "content": content(first)}, {"role": "user", "content": "And then?"}]
    second = s.post(CHAT, {"messages": messages, "max_tokens": 8, "seed": 3})
    cached = second["usage"]["prompt_tokens_details"]["cached_tokens"]
    expect(first["usage"]["prompt_tokens_details"]["cached_tokens"] == 0, "a first prompt is not in the cache")
    expect(cached >= first["usage"]["prompt_tokens"] - 64, f"{cached} tokens were cached")
    expect(s.metric("reused_tokens_total") == before + cached, "the metric")
    other = s.post(CHAT, {"messages": [system, {"role": "user", "content": "Something else"}], "max_tokens": 1})
    expect(other["usage"]["prompt_tokens_details"]["cached_tokens"] > 300, "a shared system prompt")
    return messages, second


TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}},
         {"type": "function", "function": {"name": "news", "parameters": {"type": "object"}}}]


def check_tools(s):
    end = s.post("/tokenize", {"content": "<|tool_call_end|>", "parse_special": True})["tokens"]
    expect(len(end) == 1, "the model has tokens for calls")
    free = [{"type": "function", "function": {"name": "weather"}}]  # without a schema arguments may be anything
    forced = user("Hi", tools=free, tool_choice={"type": "function", "function": {"name": "weather"}})
    longer = s.post(CHAT, dict(forced, logit_bias={"40": 100}))["choices"][0]
    expect(longer["finish_reason"] == "length" and "tool_calls" not in longer["message"], "a call that is not whole")
    called = dict(forced, logit_bias={str(end[0]): 100}, parallel_tool_calls=False)
    choice = s.post(CHAT, called)["choices"][0]
    call = choice["message"]["tool_calls"][0]
    expect(choice["finish_reason"] == "tool_calls" and choice["message"]["content"] is None, str(choice))
    expect(call["id"] == "functions.weather:0" and call["function"] == {"name": "weather", "arguments": ""}, str(call))
    deltas = [e["choices"][0]["delta"] for _, e in s.stream(CHAT, called)[:-1]]
    calls = [d["tool_calls"][0] for d in deltas if "tool_calls" in d]
    expect(calls[0]["function"]["name"] == "weather" and calls[0]["index"] == 0, "a call in a stream")
    for bias in ({}, {str(end[0]): 100}, {"40": 100}):
        body = dict(forced, logprobs=True, logit_bias=bias, parallel_tool_calls=False, seed=2, max_tokens=12)
        whole = [t["id"] for t in s.post(CHAT, body)["choices"][0]["logprobs"]["content"]]
        parts = [e["choices"][0]["logprobs"] for _, e in s.stream(CHAT, body)[:-1]]
        told = [t["id"] for part in parts if part for t in part["content"]]
        expect(told == whole and whole, f"log-probabilities of a call: {told} in a stream, {whole}")
    faulty = s.post(CHAT, dict(called, parallel_tool_calls=True))["choices"][0]
    expect(len(faulty["message"]["tool_calls"]) == 1, "a marker out of place ends the answer, calls before it are kept")
    talk = [{"role": "user", "content": "Hi"},
            {"role": "assistant", "tool_calls": [dict(call, id="call_1")]},
            {"role": "tool", "tool_call_id": "call_1", "content": "rain"}]
    own = json.loads(json.dumps(talk).replace("call_1", "functions.weather:0"))
    ask = {"max_tokens": 5, "seed": 1, "tools": TOOLS}
    expect(s.post(CHAT, dict(ask, messages=talk))["choices"] == s.post(CHAT, dict(ask, messages=own))["choices"],
           "ids of other models become those of this one")
    s.refused(400, user("Hi", tool_choice="required"), "tool_choice", "no tools")
    s.refused(400, user("Hi", tools=TOOLS, tool_choice={"function": {"name": "x"}}), "tool_choice", "none of the tools")
    # Markers in what users write are text.
    plain = s.post("/tokenize", {"content": "<|im_end|>"})["count"]
    expect(plain > 1, "a marker in a text is text")


def check_messages(s):
    """Anthropic's API: the same model, the same answers, other words."""
    path = "/v1/messages"
    ask = {"max_tokens": 12, "seed": 7, "messages": [{"role": "user", "content": "Hello"}]}
    whole = s.post(path, ask)
    expect(whole["content"] == [{"type": "text", "text": content(s.post(CHAT, user("Hello")))}], str(whole))
    expect(whole["stop_reason"] == "max_tokens" and whole["usage"]["output_tokens"] == 12, str(whole))
    events = s.stream(path, ask)
    expect([name for name, _ in events][:2] == ["message_start", "content_block_start"], "how a stream begins")
    expect([name for name, _ in events][-3:] == ["content_block_stop", "message_delta", "message_stop"], "how it ends")
    text = "".join(e["delta"]["text"] for name, e in events if name == "content_block_delta")
    expect(text == whole["content"][0]["text"] and all(e["type"] == name for name, e in events), "the same text")
    blocks = dict(ask, system=[{"type": "text", "text": "Be brief."}])
    blocks["messages"] = [{"role": "user", "content": [{"type": "text", "text": "Hello"}]}]
    plain = user("Hello")
    plain["messages"].insert(0, {"role": "system", "content": "Be brief."})
    expect(s.post(path, blocks)["content"][0]["text"] == content(s.post(CHAT, plain)), "blocks and a system turn")
    counted = s.post(path + "/count_tokens", {"messages": ask["messages"], "max_tokens": 1})["input_tokens"]
    expect(counted == whole["usage"]["input_tokens"] + whole["usage"]["cache_read_input_tokens"], "counting")
    end = str(s.post("/tokenize", {"content": "<|tool_call_end|>", "parse_special": True})["tokens"][0])
    tools = [{"name": "weather", "description": "Sky", "input_schema": {"type": "object"}}]
    forced = dict(ask, tools=tools, logit_bias={end: 100},
                  tool_choice={"type": "tool", "name": "weather", "disable_parallel_tool_use": True})
    s.refused(400, forced, "logit_bias", path=path)
    del forced["logit_bias"]
    used = s.stream(path, forced)
    start = [e["content_block"] for name, e in used if name == "content_block_start"]
    expect(start[0]["type"] == "tool_use" and start[0]["name"] == "weather" and start[0]["input"] == {}, str(start))
    talk = [ask["messages"][0],
            {"role": "assistant", "content": [
                {"type": "text", "text": "Let me see"},
                {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"a": 1}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "rain"},
                                         {"type": "text", "text": "And now?"}]}]
    same = [ask["messages"][0],
            {"role": "assistant", "content": "Let me see", "tool_calls": [
                {"id": "functions.weather:0", "function": {"name": "weather", "arguments": '{"a": 1}'}}]},
            {"role": "tool", "tool_call_id": "functions.weather:0", "content": "rain"},
            {"role": "user", "content": "And now?"}]
    function = [{"type": "function", "function": {"name": "weather", "description": "Sky",
                                                  "parameters": {"type": "object"}}}]
    one = s.post(path, dict(ask, messages=talk, tools=tools))
    other = s.post(CHAT, {"messages": same, "tools": function, "max_tokens": 12, "seed": 7})
    inputs = one["usage"]["input_tokens"] + one["usage"]["cache_read_input_tokens"]
    expect(inputs == other["usage"]["prompt_tokens"], "the same conversation, the same prompt")
    expect((one["content"][0]["text"] if one["content"] else None) == content(other), "and the same answer")
    stop = whole["content"][0]["text"][2:4]
    cut = s.post(path, dict(ask, stop_sequences=["nowhere", stop]))
    expect(cut["stop_reason"] == "stop_sequence" and cut["stop_sequence"] == stop, str(cut))
    status, _, body = s.ask("POST", path, {"messages": ask["messages"]})
    expect(status == 400 and body["type"] == "error" and body["error"]["type"] == "invalid_request_error", str(body))
    for bad in [[{"role": "system", "content": "x"}], [{"role": "user", "content": [{"type": "image"}]}],
                [{"role": "user", "content": 5}], "x", [5]]:
        expect(s.ask("POST", path, dict(ask, messages=bad))[0] == 400, f"messages {bad}")


def check_embeddings(s):
    path = "/v1/embeddings"
    two = s.post(path, {"input": ["Hello", "Something else"], "model": "any"})
    vectors = [d["embedding"] for d in two["data"]]
    expect(len(vectors) == 2 and len(vectors[0]) == len(vectors[1]), "two texts, two vectors")
    expect(all(abs(sum(x * x for x in v) - 1) < 1e-5 for v in vectors), "vectors of length one")
    packed = s.post(path, {"input": "Hello", "encoding_format": "base64"})["data"][0]["embedding"]
    floats = struct.unpack(f"<{len(vectors[0])}f", base64.b64decode(packed))
    expect(max(abs(a - b) for a, b in zip(floats, vectors[0])) < 1e-9, "the same in base 64")
    ids = s.post("/tokenize", {"content": "Hello"})["tokens"]
    expect(s.post(path, {"input": ids})["data"][0]["embedding"] == vectors[0], "tokens")
    s.refused(400, {"input": "x", "dimensions": 3}, "dimensions", path=path)
    s.refused(400, {"input": {}}, "input", path=path)


def check_refusals(s):
    hello = user("Hello")
    s.refused(400, "{", "JSON")
    s.refused(400, "[1]", "array", "object")
    s.refused(400, '{"messages": [], "messages": []}', "duplicate")
    s.refused(400, '{"x": 1e999}', "JSON")
    s.refused(400, '{"x": ' + "9" * 40 + "}", "JSON")
    s.refused(400, '{"x": "\\u0000"}', "JSON")
    s.refused(400, b'{"x": "\xff"}', "JSON")
    s.refused(400, "[" * 100000, "64 levels")
    s.refused(400, '{"messages": [' + "0," * 2000001 + "0]}", "2000000 values")
    s.refused(400, {"messages": []}, "messages", "empty")
    s.refused(400, {}, "messages", "absent")
    s.refused(400, {"messages": [{"role": "robot", "content": "x"}]}, "messages[0].role", "robot", "assistant")
    s.refused(400, {"messages": [{"role": "user", "content": 7}]}, "messages[0].content", "a number")
    image = {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]}
    s.refused(400, image, "image_url", "expected text")
    for field, value, words in [("temperature", 3, ("3", "0 to 2")), ("temperature", "hot", ("a string", "a number")),
                                ("top_p", -1, ("-1",)), ("n", 0, ("0", "1 to 16")), ("n", 1000000, ("16",)),
                                ("max_tokens", -5, ("-5",)), ("top_logprobs", 21, ("21", "0 to 20")),
                                ("top_logprobs", 2, ("logprobs",)), ("logit_bias", {"x": 1}, ("x", "token")),
                                ("logit_bias", {"1": 101}, ("101",)), ("stop", [""], ("1 to",)),
                                ("stop", ["a"] * 17, ("17", "16")), ("seed", 1.5, ("whole",)),
                                ("stream", 1, ("true or false",)), ("nonsense", 1, ("nonsense",)),
                                ("response_format", {"type": "xml"}, ("xml", "json_schema"))]:
        answer = s.refused(400, dict(hello, **{field: value}), field, *words)
        expect(answer["error"]["param"] == field and answer["error"]["type"] == "invalid_request_error", str(answer))
    s.refused(400, {"prompt": [1, 99999]}, "out of range", path=TEXT)
    s.refused(400, {"prompt": ""}, "no tokens", path=TEXT)
    s.refused(400, {"prompt": "x", "n": 16, "stream": False, "best_of": 2}, "best_of", path=TEXT)
    s.refused(400, {"prompt": ["x"] * 8, "n": 16}, "64", path=TEXT)
    long = s.refused(400, user("word " * 3000), "context", "2048")
    expect(long["error"]["code"] == "context_length_exceeded", str(long))
    s.refused(413, b"x" * (8 << 20 | 5), "bytes", "8388608")
    s.refused(404, {}, "not served", path="/v1/nothing")
    status, _, _ = s.ask("GET", CHAT)
    expect(status == 405, "GET where only POST is")
    status, _, _ = s.ask("GET", "/v1/models/nobody")
    expect(status == 404, "a model that is not there")
    status, _, _ = s.ask("POST", CHAT, hello, headers={"Host": "evil.example"})
    expect(status == 403, "a name that is not this machine's")
    status, headers, _ = s.ask("POST", CHAT, hello, headers={"Origin": "https://evil.example"})
    expect(status == 403 and "Access-Control-Allow-Origin" not in headers, "a page of another site")


def check_company(s):
    """Sixteen different requests at once: each answer is the one that it gets alone."""
    asks = [user("Question %d" % i + " and more" * (7 * i % 40), max_tokens=4 + i, seed=i) for i in range(16)]
    together = [None] * len(asks)

    def ask(i):
        together[i] = s.post(CHAT, asks[i])["choices"]

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(len(asks))]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    for i, wanted in enumerate(asks):
        expect(s.post(CHAT, wanted)["choices"] == together[i], f"answer {i} depends on its company")


def check_leaving(s):
    """A client that leaves is not worked for any more, whether it read a stream or waited."""
    for stream in (True, False):
        connection = s.connect()
        connection.request("POST", CHAT, json.dumps(endless("Go on", 2000, stream=stream)))
        if stream:
            connection.getresponse().read(100)
        s.until_busy()
        connection.sock.close() if connection.sock else None
        connection.close()
        for _ in range(200):
            if not s.get("/slots"):
                break
            time.sleep(0.05)
        expect(not s.get("/slots"), f"a client left (stream: {stream}), and its answer goes on")
    expect(s.metric("jobs_cancelled_total") + s.metric("http_dropped_total") >= 2, "both count")


def check_restart(program, messages, second):
    """What was read before a restart, or before a kill, is not read again, and changes no answer."""
    with tempfile.TemporaryDirectory() as folder:
        ask = {"messages": messages, "max_tokens": 8, "seed": 3}
        for sign in (signal.SIGTERM, signal.SIGKILL):
            with Server(program, "--cache-dir", folder) as s:
                first = s.post(CHAT, ask)
                expect(first["choices"] == second["choices"], "the same answer with a folder")
                for _ in range(100):
                    if sign == signal.SIGTERM or s.metric("prefix_files") >= 1:
                        break
                    time.sleep(0.1)
                s.process.send_signal(sign)
                s.process.wait(30)
                s.process.returncode = 0
        with Server(program, "--cache-dir", folder) as s:
            again = s.post(CHAT, ask)
            expect(again["choices"] == second["choices"], "another answer after a restart")
            expect(again["usage"]["klinear"]["loaded_tokens"] >= 576, f"nothing came from the disk: {again['usage']}")
        for name in os.listdir(folder):
            with open(os.path.join(folder, name), "r+b") as f:
                f.seek(5000)
                f.write(b"damage")
        with Server(program, "--cache-dir", folder) as s:
            again = s.post(CHAT, ask)
            expect(again["choices"] == second["choices"], "another answer after damage")
            expect(again["usage"]["klinear"]["loaded_tokens"] == 0, "a damaged file was used")


def check_keys(program):
    with tempfile.NamedTemporaryFile("w") as keys:
        keys.write("# who may ask\nsk-0123456789abcdef first\nsk-another-long-key second\n")
        keys.flush()
        with Server(program, "--keys", keys.name, "--rate", "6", "--separate", "--host", "0.0.0.0") as s:
            s.host = "127.0.0.1"
            first = {"Authorization": "Bearer sk-0123456789abcdef"}
            expect(s.get("/health")["status"] == "ok", "health needs no key")
            for path in ["/metrics", "/slots", "/props", "/v1/models", "/nothing"]:
                expect(s.ask("GET", path)[0] == 401, path + " needs a key")
            for wrong in ["", "Bearer ", "Bearer sk-0123456789abcde", "Bearer sk-0123456789abcdefg",
                          "Bearer " + "x" * 5000, "Basic sk-0123456789abcdef"]:
                answer = s.refused(401, user("x"), "API key", headers={"Authorization": wrong})
                expect(answer["error"]["code"] == "invalid_api_key", str(answer))
            long = user("The same words again and again " * 8)
            expect(s.post(CHAT, long, headers=first)["usage"]["prompt_tokens_details"]["cached_tokens"] == 0, "cold")
            expect(s.post(CHAT, long, headers=first)["usage"]["prompt_tokens_details"]["cached_tokens"] > 0, "warm")
            other = s.post(CHAT, long, headers={"x-api-key": "sk-another-long-key"})
            expect(other["usage"]["prompt_tokens_details"]["cached_tokens"] == 0, "another key sees nothing of it")
            statuses = [s.ask("GET", "/v1/models", headers=first)[0] for _ in range(8)]
            served = statuses.count(200)  # 4, and 6 where the two before have become so old that they do not count
            expect(4 <= served <= 6 and statuses.count(429) == 8 - served, f"6 requests a minute: {statuses}")
        with Server(program, "--host", "0.0.0.0", "--public") as s:
            here = f"http://{s.host}:{s.port}"
            for origin, status in (("http://evil.example", 403), ("null", 403), (here, 200)):
                got = s.ask("GET", "/v1/models", headers={"Origin": origin})[0]
                expect(got == status, f"--public, a page from {origin}: {got}")
            got = s.ask("GET", "/v1/models", headers={"Host": "any.example"})[0]
            expect(got == 200, f"--public, by another name: {got}")
        s = Server(program, "--host", "0.0.0.0")
        try:
            s.__enter__()
            raise AssertionError
        except SystemExit as refused:
            expect("--public" in str(refused), f"an address for everybody without keys: {refused}")


def check_stopping(program):
    with Server(program, "--queue", "1", "--sequences", "1", "--drain-seconds", "90") as s:
        answers = []

        def ask(tokens):
            answers.append(s.ask("POST", CHAT, endless("Long", tokens)))

        threads = [threading.Thread(target=ask, args=(n,)) for n in (1500, 5)]
        threads[0].start()
        s.until_busy()
        threads[1].start()
        s.until_busy(2)
        status, headers, answer = s.ask("POST", CHAT, user("No room"))
        expect(status == 503 and "limit" in answer["error"]["message"], "a full queue")
        expect(headers["Retry-After"] == "1", "when to try again")
        s.process.send_signal(signal.SIGTERM)
        for t in threads:
            t.join()
        expect(sorted(a[0] for a in answers) == [200, 200], f"answers become complete: {[a[0] for a in answers]}")
        expect(s.process.wait(30) == 0, "exit 0")
    with Server(program, "--drain-seconds", "60") as s:
        threads = [threading.Thread(target=lambda: leave_alone(s))]
        threads[0].start()
        s.until_busy()
        s.process.send_signal(signal.SIGINT)
        time.sleep(0.3)
        start = time.time()
        s.process.send_signal(signal.SIGINT)
        expect(s.process.wait(10) == -signal.SIGINT and time.time() - start < 5, "a second signal ends it at once")
        threads[0].join()
        s.process.returncode = 0
    with Server(program, "--drain-seconds", "0") as s:
        result = []
        thread = threading.Thread(target=lambda: result.append(s.ask("POST", CHAT, endless("x", 20000))))
        thread.start()
        s.until_busy()
        s.process.send_signal(signal.SIGTERM)
        thread.join()
        s.process.wait(30)
        expect(result[0][0] == 503, f"no time to become complete: {result}")


def leave_alone(s):
    try:
        s.ask("POST", CHAT, endless("x", 20000))
    except OSError:
        pass
    except Exception:
        pass


def main(program):
    with Server(program, "--ctx", "2048", "--body-bytes", "8M") as s:
        check_chat(s)
        check_stop(s)
        check_completions(s)
        messages, second = check_cache(s)
        check_tools(s)
        check_messages(s)
        check_embeddings(s)
        check_refusals(s)
        many = {"content": "a b " * 2000, "with_pieces": True}
        s.refused(400, many, "with their pieces", path="/tokenize")
        expect(s.post("/tokenize", dict(many, with_pieces=False))["count"] > 2048, "without, they are counted")
        check_company(s)
        check_leaving(s)
    with Server(program, "--cache", "-1") as s:  # what the cache gave is what there is without one
        again = s.post(CHAT, {"messages": messages, "max_tokens": 8, "seed": 3})
        expect(again["choices"] == second["choices"], "a hit changed the answer")
        expect(again["usage"]["klinear"]["reuse"] == "off", "no cache")
    check_restart(program, messages, second)
    check_keys(program)
    check_stopping(program)
    print("fine")


main(sys.argv[1])
