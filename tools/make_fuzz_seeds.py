#!/usr/bin/env python3
"""Small valid files from which the fuzz targets start: tests/fuzz/seeds/TARGET/NAME.

    make_fuzz_seeds.py [OUT_DIR]
"""
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

SEEDS = {
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
