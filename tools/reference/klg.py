"""The golden file: named arrays, case after case.

    file    "KLGOLDEN" (8 bytes), then records to the end of the file
    record  name      32 bytes, zero-padded
            type       4 bytes: "case", "f32 ", "f64 ", "i32 ", "i64 "
            n_dim      i32, 0 .. 4
            dim        i64 x 4, unused ones 1
            data       little-endian, row-major, zero-padded to a multiple of 8 bytes; a "case" has none

A record of type "case" opens a case; the records up to the next one are its arrays.  Single numbers (n_dim 0) are
options.  Inputs are f32, i32 or i64 and are exact; what the operator must give is f64.
"""
import struct

import numpy as np

MAGIC = b"KLGOLDEN"
_TYPES = {b"f32 ": "<f4", b"f64 ": "<f8", b"i32 ": "<i4", b"i64 ": "<i8"}
_NAMES = {np.dtype(v): k for k, v in _TYPES.items()}


def _record(name, kind, dims, payload):
    assert len(name.encode()) < 32 and len(dims) <= 4, (name, dims)
    dims = tuple(dims) + (1,) * (4 - len(dims)), len(dims)
    return struct.pack("<32s4si4q", name.encode(), kind, dims[1], *dims[0]) + payload + bytes(-len(payload) % 8)


def encode(cases):
    """cases: list of (name, {record name: array}) -> bytes."""
    out = [MAGIC]
    for name, arrays in cases:
        out.append(_record(name, b"case", (), b""))
        for key, array in arrays.items():
            array = np.asarray(array)
            kind = _NAMES[array.dtype]
            out.append(_record(key, kind, array.shape, np.ascontiguousarray(array).tobytes()))
    return b"".join(out)


def decode(data):
    """bytes -> list of (name, {record name: array})."""
    if data[:8] != MAGIC:
        raise ValueError("not a golden file")
    cases, at = [], 8
    while at < len(data):
        name, kind, n_dim, *dims = struct.unpack_from("<32s4si4q", data, at)
        name, at = name.rstrip(b"\0").decode(), at + 72
        if kind == b"case":
            cases.append((name, {}))
            continue
        dtype = np.dtype(_TYPES[kind])
        n = int(np.prod(dims[:n_dim], dtype=np.int64))
        cases[-1][1][name] = np.frombuffer(data, dtype, n, at).reshape(dims[:n_dim])
        at += (n * dtype.itemsize + 7) // 8 * 8
    return cases
