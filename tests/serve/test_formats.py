"""usage: test_formats.py KLINEAR: answers that follow schemas, grammars and regular expressions."""
import json
import re
import sys
import threading

from server import Server, expect

CHAT, TEXT, RESPONSES = "/v1/chat/completions", "/v1/completions", "/v1/responses"
SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 8},
        "age": {"type": "integer", "minimum": 0, "maximum": 150},
        "kind": {"enum": ["cat", "dog"]},
        "tags": {"type": "array", "items": {"type": "boolean"}, "maxItems": 3},
        "inner": {"type": "object", "properties": {"x": {"type": "null"}}, "required": ["x"],
                  "additionalProperties": False},
    },
    "required": ["name", "age", "kind", "inner"],
    "additionalProperties": False,
}


def user(**more):
    return dict({"messages": [{"role": "user", "content": "Who is it?"}], "max_tokens": 400, "seed": 3}, **more)


def schema_format(schema):
    return {"type": "json_schema", "json_schema": {"name": "it", "strict": True, "schema": schema}}


def check_answer(text):
    it = json.loads(text)
    expect(list(it) == [k for k in SCHEMA["properties"] if k in it], f"the order of the properties: {text}")
    expect(len(it["name"]) <= 8 and 0 <= it["age"] <= 150 and it["kind"] in ("cat", "dog"), text)
    expect(it["inner"] == {"x": None} and len(it.get("tags", [])) <= 3, text)


def check_schemas(s):
    whole = s.post(CHAT, user(response_format=schema_format(SCHEMA), n=4))
    for choice in whole["choices"]:
        expect(choice["finish_reason"] == "stop", str(choice))
        check_answer(choice["message"]["content"])
    events = s.stream(CHAT, user(response_format=schema_format(SCHEMA)))
    text = "".join(c["delta"].get("content", "") for _, e in events[:-1] for c in e["choices"])
    expect(text == whole["choices"][0]["message"]["content"], "a stream has another text")
    check_answer(s.post(TEXT, {"prompt": "x", "json_schema": SCHEMA, "max_tokens": 400})["choices"][0]["text"])
    answer = s.post(RESPONSES, {"input": "x", "max_output_tokens": 400, "temperature": 1,
                                "text": {"format": {"type": "json_schema", "name": "it", "schema": SCHEMA}}})
    check_answer(answer["output"][0]["content"][0]["text"])
    for seed in range(3):
        answer = s.post(CHAT, user(response_format={"type": "json_object"}, max_tokens=60, seed=seed))["choices"][0]
        text = answer["message"]["content"]
        expect(text.startswith("{"), text)
        if answer["finish_reason"] == "stop":
            expect(isinstance(json.loads(text), dict), text)


def check_grammars(s):
    s.refused(400, user(regex="I", logit_bias={"40": -100}), "bias forbids")
    for field, value, right in [
            ("grammar", "root ::= (\"yes\" | \"no\") \"!\"{1,3}", r"(yes|no)!{1,3}"),
            ("regex", "\\d{3}-[a-f]+x", r"\d{3}-[a-f]+x"),
    ]:
        for body, path in [(user(), CHAT), ({"prompt": "x", "max_tokens": 400, "seed": 2}, TEXT)]:
            choice = s.post(path, dict(body, **{field: value}))["choices"][0]
            text = choice["message"]["content"] if path == CHAT else choice["text"]
            expect(re.fullmatch(right, text) or choice["finish_reason"] == "length", f"{value}: {text!r}")
    answer = s.post(CHAT, user(grammar="root ::= \"ab\"", logprobs=True, top_logprobs=3))["choices"][0]
    expect(answer["message"]["content"] == "ab", str(answer))
    free = s.post(CHAT, user(max_tokens=20))
    expect(s.post(CHAT, user(max_tokens=20, regex="[\\s\\S]*"))["choices"][0]["message"]["content"] is not None, "any")
    expect(s.post(CHAT, user(max_tokens=20))["choices"] == free["choices"], "grammars leave nothing behind")


def check_tools(s):
    tools = [{"type": "function", "function": {"name": name, "parameters": {
        "type": "object", "properties": {"city": {"enum": ["Oslo", "Rome"]}, "days": {"type": "integer", "maximum": 9,
                                                                                     "minimum": 1}},
        "required": ["city", "days"]}}} for name in ("weather-now", "other")]
    named = {"type": "function", "function": {"name": "weather-now"}}
    for seed in range(3):
        choice = s.post(CHAT, user(tools=tools, tool_choice=named, seed=seed))["choices"][0]
        expect(choice["finish_reason"] == "tool_calls", str(choice))
        call = choice["message"]["tool_calls"][0]["function"]
        arguments = json.loads(call["arguments"])
        expect(call["name"] == "weather-now" and arguments["city"] in ("Oslo", "Rome") and 1 <= arguments["days"] <= 9,
               str(call))
    events = s.stream(CHAT, user(tools=tools, tool_choice="required", max_tokens=40))
    calls = [c["delta"]["tool_calls"] for _, e in events[:-1] for c in e["choices"] if "tool_calls" in c["delta"]]
    expect(calls and calls[0][0]["function"]["name"] in ("weather-now", "other"), str(calls)[:300])
    flat = [dict(tool["function"], type="function") for tool in tools]
    answer = s.post(RESPONSES, {"input": "Hi", "tools": flat, "tool_choice": dict(flat[0]), "seed": 1})
    arguments = json.loads(answer["output"][0]["arguments"])
    expect(arguments["city"] in ("Oslo", "Rome") and 1 <= arguments["days"] <= 9, str(answer["output"]))
    body = {"input": "Hi", "tools": flat, "tool_choice": "required", "max_output_tokens": 40,
            "text": {"format": {"type": "json_object"}}}
    items = [e["item"] for name, e in s.stream(RESPONSES, body) if name == "response.output_item.added"]
    expect(items and items[0]["type"] == "function_call" and items[0]["name"] in ("weather-now", "other"), str(items))
    s.refused(400, dict(body, tool_choice={"type": "function", "name": "x"}), "none of the tools", path=RESPONSES)
    s.refused(400, dict(body, tools=[]), "no tools", path=RESPONSES)
    talk = {"messages": user()["messages"], "max_tokens": 400, "seed": 3,
            "tool_choice": {"type": "tool", "name": "other"},
            "tools": [{"name": f["name"], "input_schema": f["parameters"]} for f in flat]}
    given = s.post("/v1/messages", talk)["content"][0]["input"]
    expect(given["city"] in ("Oslo", "Rome") and 1 <= given["days"] <= 9, str(given))
    s.refused(400, dict(talk, tool_choice={"type": "tool", "name": "x"}), "none of the tools", path="/v1/messages")
    s.refused(400, dict(talk, tools=[]), "no tools", path="/v1/messages")
    tools[0]["function"]["parameters"]["not"] = {}
    s.post(CHAT, user(tools=tools, tool_choice=named, max_tokens=5))
    tools[0]["function"]["strict"] = True
    s.refused(400, user(tools=tools, tool_choice=named), "\"not\"")


def check_refusals(s):
    s.refused(400, user(response_format={"type": "xml"}), "xml", "json_schema")
    s.refused(400, user(response_format="json"), "a string")
    s.refused(400, user(response_format={"type": "json_schema"}), "no schema")
    s.refused(400, user(response_format=schema_format({"type": "text"})), "\"text\"")
    s.refused(400, user(response_format=schema_format({"oneOf": []})), "oneOf")
    s.refused(400, user(grammar="root ::="[:5]), "::=")
    s.refused(400, user(grammar="root ::= root \"a\" | \"b\""), "calls itself")
    s.refused(400, user(grammar="root ::= \"a\"", regex="b"), "beside another")
    s.refused(400, user(regex="(" * 60000), "brackets")
    s.refused(400, user(regex="a{99999}{99999}"), "repetition")
    s.refused(400, user(regex=7), "string")
    s.refused(400, user(grammar="root ::= [^\\x00-\\U0010ffff]"), "no text")


def check_company(s):
    """A grammar that ends in an error ends its own request; others go on as if it were not there."""
    alone = s.post(CHAT, user(max_tokens=60))["choices"]
    results = []

    def ask(body):
        results.append((body, s.ask("POST", CHAT, body)))

    costly = "(" + "|".join("a" * i for i in range(1, 40)) + ")*(a|b){300}(a?){2000}"
    bodies = [user(max_tokens=60), user(max_tokens=60, regex=costly), user(max_tokens=60, json_schema=SCHEMA)] * 3
    threads = [threading.Thread(target=ask, args=(body,)) for body in bodies]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    for body, (status, _, answer) in results:
        expect(status == 200 or ("regex" in body and status == 400), f"{status} {answer}")
        if "regex" not in body and "json_schema" not in body:
            expect(answer["choices"] == alone, "company changes an answer")


with Server(sys.argv[1]) as s:
    check_schemas(s)
    check_grammars(s)
    check_tools(s)
    check_refusals(s)
    check_company(s)
print("fine")
