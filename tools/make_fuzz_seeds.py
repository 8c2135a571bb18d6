#!/usr/bin/env python3
"""Small valid files from which the fuzz targets start: tests/fuzz/seeds/TARGET/NAME.

    make_fuzz_seeds.py [OUT_DIR]
"""
import base64
import json
import os
import struct
import sys

U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64 = range(13)
CODES = {U8: "B", I8: "b", U16: "H", I16: "h", U32: "I", I32: "i", F32: "f", BOOL: "B", U64: "Q", I64: "q", F64: "d"}
BLOCKS = {0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34), 10: (256, 84),
          11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210), 20: (32, 18), 23: (256, 136), 24: (1, 1),
          30: (1, 2), 39: (32, 17)}


def text(s):
    return struct.pack("<Q", len(s.encode())) + s.encode()


def value(kind, v):
    if kind == STRING:
        return text(v)
    if kind == ARRAY:
        element, items = v
        return struct.pack("<IQ", element, len(items)) + b"".join(value(element, x) for x in items)
    return struct.pack("<" + CODES[kind], v)


def gguf(keys, tensors, alignment=32, version=3):
    out = b"GGUF" + struct.pack("<Iqq", version, len(tensors), len(keys))
    for key, kind, v in keys:
        out += text(key) + struct.pack("<I", kind) + value(kind, v)
    offset, data = 0, b""
    for name, dims, kind in tensors:
        n = 1
        for d in dims:
            n *= d
        size = n // BLOCKS[kind][0] * BLOCKS[kind][1]
        out += text(name) + struct.pack(f"<I{len(dims)}qIQ", len(dims), *dims, kind, offset)
        padded = -(-size // alignment) * alignment
        data += bytes(i * 7 % 256 for i in range(size)) + b"\0" * (padded - size)
        offset += padded
    return out + b"\0" * (-len(out) % alignment) + data


def safetensors(entries, meta=None):
    head, at, data = {}, 0, b""
    if meta is not None:
        head["__metadata__"] = meta
    for name, dtype, shape, size in entries:
        head[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + size]}
        at += size
        data += bytes(i % 256 for i in range(size))
    h = json.dumps(head, separators=(",", ":")).encode()
    h += b" " * (-len(h) % 8)
    return struct.pack("<Q", len(h)) + h + data


EVERY_KIND = [("k%d" % k, k, v) for k, v in
              [(U8, 200), (I8, -3), (U16, 65535), (I16, -300), (U32, 7), (I32, -7), (F32, 1e-5), (BOOL, 1),
               (STRING, "kimi-linear"), (U64, 1 << 63), (I64, -1), (F64, 0.5)]]
ARRAYS = [("a%d" % k, ARRAY, (k, [0, 1])) for k in CODES] + [("as", ARRAY, (STRING, ["a", "", "\u0120the"]))]

def spelled(byte):
    """GPT-2's character for a byte."""
    prints = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    return chr(byte if byte in prints else 256 + [b for b in range(256) if b not in prints].index(byte))


SPECIAL = ["[BOS]", "[EOS]", "<|im_end|>", "<|im_user|>", "<|im_assistant|>"]
TOKENS = [spelled(b) for b in range(256)] + ["ab", "\u0120the"] + SPECIAL
VOCABULARY = [("tokenizer.ggml.model", STRING, "gpt2"), ("tokenizer.ggml.pre", STRING, "kimi-k2"),
              ("tokenizer.ggml.tokens", ARRAY, (STRING, TOKENS)),
              ("tokenizer.ggml.token_type", ARRAY, (I32, [1] * 258 + [3] * len(SPECIAL))),
              ("tokenizer.chat_template", STRING, "<|im_user|>{{x}}<|im_end|>")]
RANKS = b"".join(base64.b64encode(bytes([i])) + b" %d\n" % i for i in range(256))
TOOLS = b'[{"type":"function","function":{"name":"f","parameters":{"b":[1.5,-0.0,1e300],"a":{"\\u00e9":null}}}}]'
TEMPLATE = (b"<|im_system|>tool_declare<|im_middle|>{{ tools }}<|im_end|><|im_user|><|im_assistant|>"
            b"<|tool_calls_section_begin|>## Return of")

SEEDS = {
    "tokenizer/gguf": b"\0" + gguf(VOCABULARY, []),
    "tokenizer/ranks": b"\1" + RANKS,
    "tokenizer/more": b"\2YWI= 256\r\n\nIHRoZQ== 257\n5Lit 258",
    "tokenizer/config": b"\3" + json.dumps({"added_tokens_decoder": {
        "256": {"content": "[BOS]", "special": True}, "267": {"content": "<|reserved_token_267|>"},
        "512": {"content": "x"}}, "chat_template": [{"name": "default", "template": "<|im_end|>"}]}).encode(),
    "tokenize/english": b"The quick brown fox can't 12345  \n\n jump, HELLOWorld!\r\n",
    "tokenize/scripts":
        "\u4e2d\u6587\u304b\u306a \u0645\u0631 e\u0301A\u02b0B \U0001f600 \u2160\u3007 \u01c5'\u017f".encode(),
    "tokenize/broken": b"a\xff\xe4\xb8b\xed\xa0\x80\xf0\x9f\x98 <|im_end|>[EOS]\xc3",
    "chat/tools": TOOLS,
    "chat/template": TEMPLATE,
    "chat/answer": b"hi\x8b\x8df.g:0\x8e{}\x8f\x8c\x82",
    "gguf/kinds": gguf(EVERY_KIND + ARRAYS, []),
    "gguf/types": gguf([("general.alignment", U32, 8)],
                       [("t%d" % t, [BLOCKS[t][0], 2], t) for t in BLOCKS], alignment=8),
    "gguf/shapes": gguf([("general.architecture", STRING, "kimi-linear")],
                        [("a", [3], 0), ("b", [4, 1, 2, 1], 0), ("c", [32, 2, 2], 8)]),
    "gguf/split": gguf([("split.no", U16, 0), ("split.count", U16, 2), ("split.tensors.count", I32, 1)],
                       [("a", [1], 0)], version=2),
    "safetensors/small": safetensors([("a", "F32", [2, 3], 24), ("b", "BF16", [], 2), ("c", "I64", [0, 4], 0)],
                                     {"format": "pt"}),
    "safetensors/types": safetensors([(t, t, [2], 2 * n) for t, n in
                                      [("F64", 8), ("U64", 8), ("F32", 4), ("I16", 2), ("F16", 2), ("BOOL", 1),
                                       ("F8_E4M3", 1)]]),
    "safetensors/empty": safetensors([]),
    "json/config": json.dumps({"hidden_size": 2304, "eps": 1e-5, "rope_scaling": None, "tie": False, "s": "\u4e2d\n",
                               "linear_attn_config": {"kda_layers": [1, 2, 3], "x": {"y": [[], {}]}}}).encode(),
    "json/index": b'{"metadata": {"total_size": 4}, "weight_map": {"a": "model-00001-of-00002.safetensors"}}',
    "json/escapes": b'{"\\u00e9\\ud83c\\udf0d\\"\\\\\\/\\b": [-0.0, 1E+2, true, "\\n"]}',
}


def main():
    out = sys.argv[1] if len(sys.argv) > 1 else os.path.join(os.path.dirname(__file__), "../tests/fuzz/seeds")
    for name, data in SEEDS.items():
        path = os.path.join(out, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(data)


main()
