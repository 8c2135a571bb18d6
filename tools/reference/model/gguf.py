"""GGUF v3: metadata, and tensors by name.  A model in several parts is opened by any of them."""
import pathlib
import re
import struct

import numpy as np

from . import blocks

TYPE_NAMES = {0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 6: "Q5_0", 7: "Q5_1", 8: "Q8_0", 10: "Q2_K", 11: "Q3_K",
              12: "Q4_K", 13: "Q5_K", 14: "Q6_K", 20: "IQ4_NL", 23: "IQ4_XS", 28: "F64", 30: "BF16", 39: "MXFP4"}
SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}


class Part:
    """One file: `metadata`, and `tensors` {name: (format, shape with the slowest axis first, bytes)}."""

    def __init__(self, path):
        self.bytes = np.memmap(path, np.uint8, "r")
        self.at = 0
        magic, version, n_tensor, n_key = self.take("<4sIQQ")
        if magic != b"GGUF" or version not in (2, 3):
            raise ValueError(f"{path}: magic {magic}, version {version}; expected GGUF, 2 or 3")
        self.metadata = {}
        for _ in range(n_key):
            key = self.text()
            self.metadata[key] = self.value(self.take("<I")[0])
        infos = [self.info() for _ in range(n_tensor)]
        align = self.metadata.get("general.alignment", 32)
        start = (self.at + align - 1) // align * align
        self.tensors = {}
        for name, dims, kind, offset in infos:
            if kind not in TYPE_NAMES:
                raise ValueError(f"{path}: {name} has the unknown type {kind}")
            form, shape = TYPE_NAMES[kind], dims[::-1]
            n = blocks.bytes_of(form, int(np.prod(shape, dtype=np.int64)))
            if dims[0] % blocks.FORMATS[form][0] or start + offset + n > len(self.bytes):
                raise ValueError(f"{path}: {name} does not fit")
            self.tensors[name] = (form, shape, self.bytes[start + offset : start + offset + n])

    def take(self, layout):
        found = struct.unpack_from(layout, self.bytes, self.at)
        self.at += struct.calcsize(layout)
        return found

    def text(self):
        n, = self.take("<Q")
        self.at += n
        return bytes(self.bytes[self.at - n : self.at]).decode("utf-8", "surrogateescape")

    def value(self, kind):
        if kind == 8:
            return self.text()
        if kind != 9:
            return self.take(SCALARS[kind])[0]
        kind, n = self.take("<IQ")
        if kind in (8, 9):
            return [self.value(kind) for _ in range(n)]
        scalar = np.dtype(SCALARS[kind])
        self.at += n * scalar.itemsize
        return np.frombuffer(self.bytes, scalar, n, self.at - n * scalar.itemsize).tolist()

    def info(self):
        name = self.text()
        n_dim, = self.take("<I")
        dims = self.take(f"<{n_dim}Q")
        return (name, dims, *self.take("<IQ"))


class Gguf:
    """`metadata` of the first part; tensors of all of them."""

    def __init__(self, path):
        path = pathlib.Path(path)
        numbered = re.fullmatch(r"(.*)-\d{5}-of-(\d{5})\.gguf", path.name)
        paths = [path]
        if numbered:
            stem, n = numbered[1], int(numbered[2])
            paths = [path.with_name(f"{stem}-{i + 1:05}-of-{n:05}.gguf") for i in range(n)]
        parts = [Part(p) for p in paths]
        self.metadata = parts[0].metadata
        self.tensors = {name: found for part in parts for name, found in part.tensors.items()}

    def __contains__(self, name):
        return name in self.tensors

    def get(self, name):
        """float64, slowest axis first."""
        form, shape, data = self.tensors[name]
        return blocks.decode(form, data, shape)
