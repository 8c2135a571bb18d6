"""safetensors: tensors by name out of one file or of the shards that an index names."""
import json
import pathlib

import numpy as np

from . import blocks


class File:
    """`tensors` {name: (format, shape, bytes)}."""

    def __init__(self, path):
        data = np.memmap(path, np.uint8, "r")
        start = 8 + int.from_bytes(data[:8].tobytes(), "little")
        header = json.loads(data[8:start].tobytes())
        header.pop("__metadata__", None)
        self.tensors = {}
        for name, entry in header.items():
            begin, end = entry["data_offsets"]
            n = int(np.prod(entry["shape"], dtype=np.int64))
            if entry["dtype"] not in ("F64", "F32", "F16", "BF16") or end - begin != blocks.bytes_of(entry["dtype"], n):
                raise ValueError(f"{path}: {name} is {entry}")
            self.tensors[name] = (entry["dtype"], entry["shape"], data[start + begin : start + end])


class Safetensors:
    """All tensors of a folder."""

    def __init__(self, folder):
        folder = pathlib.Path(folder)
        index = folder / "model.safetensors.index.json"
        names = ["model.safetensors"]
        if index.exists():
            names = sorted(set(json.loads(index.read_text())["weight_map"].values()))
        self.tensors = {}
        for name in names:
            self.tensors.update(File(folder / name).tensors)

    def __contains__(self, name):
        return name in self.tensors

    def get(self, name):
        form, shape, data = self.tensors[name]
        return blocks.decode(form, data, shape)
