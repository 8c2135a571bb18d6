#!/usr/bin/python3
"""Writes a small random model in the layout of the release: config.json, generation_config.json, model.safetensors
(or shards with their index), tiktoken.model and tokenizer_config.json.

    make_tiny_hf.py DIR [--seed N] [--dtype bf16|f32] [--shards N] [--gguf f32|q8_0] [options that change the model]

With --gguf the same model as DIR/model.gguf besides.  The same options give the same bytes.  Needs python3 and numpy.
"""
import argparse
import json
import pathlib
import sys

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from reference import tiny_gguf, tiny_native, tiny_text  # noqa: E402
from reference.draw import bf16  # noqa: E402
from reference.tiny_model import Tensors, configuration, layer_lists  # noqa: E402

NUMBERS = {  # default, meaning
    "layers": (5, "layers"), "hidden": (128, "width of the residual stream"), "heads": (2, "heads of every mixer"),
    "head-dim": (32, "keys and values of a KDA head"), "nope": (32, "own key channels of an MLA head"),
    "rope-dim": (16, "shared key channels"), "v-dim": (32, "values of an MLA head"), "kv-rank": (64, "MLA latent"),
    "experts": (8, "routed experts; 0: every layer is dense"), "topk": (2, "experts of a token"),
    "expert-width": (64, "width of an expert"), "shared": (1, "shared experts"), "dense": (1, "dense layers in front"),
    "groups": (1, "groups of experts"), "topk-group": (1, "groups that stay in the race"),
    "moe-every": (1, "experts in every N-th layer"), "vocab": (1024, "tokens, of which 256 are special"),
    "taps": (4, "taps of the convolution"), "ratio": (3, "KDA layers for one MLA layer; -1: KDA only"),
    "q-lora": (None, "rank of the query projection"), "v-heads": (None, "value heads of KDA"),
}
FLAGS = {
    "all-mla": "MLA in every layer", "rope": "rotary positions in MLA",
    "tied": "the head is the embedding", "no-conv": "no short convolution", "conv-bias": "the convolution has a bias",
    "neg-eigval": "beta in 0 .. 2", "full-gate": "one matrix for the output gate",
    "softmax-router": "softmax scores", "no-renormalise": "weights of experts as they are",
    "native": "files as transformers' own port writes them, of a model of the released architecture",
}


def arguments(words):
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("folder", type=pathlib.Path)
    a.add_argument("--seed", type=int, default=1)
    a.add_argument("--dtype", choices=["bf16", "f32"], default="bf16")
    a.add_argument("--shards", type=int, default=1)
    a.add_argument("--gguf", choices=["f32", "q8_0"])
    a.add_argument("--mixer", choices=["kda", "gdn", "deltanet", "mamba2", "gla", "linear"], help="in place of KDA")
    a.add_argument("--gate-act", choices=["sigmoid", "silu", "none"], help="of the output gate")
    a.add_argument("--lower-bound", type=float, help="of the bounded gate")
    a.add_argument("--expand-v", type=float, help="values a key channel of KDA")
    for name, (default, meaning) in NUMBERS.items():
        a.add_argument("--" + name, type=int, default=default, help=f"{meaning}; default: {default}")
    for name, meaning in FLAGS.items():
        a.add_argument("--" + name, action="store_true", help=meaning)
    return a.parse_args(words)


def encoded(x, kind):
    return (bf16(x).view(np.uint32) >> 16).astype("<u2") if kind == "BF16" else x.astype("<f4")


def write_safetensors(path, tensors, kinds):
    """Widest elements first, then by name; the header padded to 8 bytes, as the reference implementation does."""
    header, at = {"__metadata__": {"format": "pt"}}, 0
    names = sorted(tensors, key=lambda name: (kinds[name] != "F32", name))
    data = [encoded(tensors[name], kinds[name]).tobytes() for name in names]
    for name, part in zip(names, data):
        header[name] = {"dtype": kinds[name], "shape": list(tensors[name].shape), "data_offsets": [at, at + len(part)]}
        at += len(part)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"".join(data))
    return at


def write_weights(folder, tensors, kinds, n_shard):
    if n_shard == 1:
        write_safetensors(folder / "model.safetensors", tensors, kinds)
        return
    names, index, total = list(tensors), {}, 0
    for i in range(n_shard):
        shard = f"model-{i + 1:05}-of-{n_shard:05}.safetensors"
        own = names[i * len(names) // n_shard : (i + 1) * len(names) // n_shard]
        total += write_safetensors(folder / shard, {name: tensors[name] for name in own}, kinds)
        index |= {name: shard for name in own}
    metadata = {"total_parameters": sum(t.size for t in tensors.values()), "total_size": total}
    write_json(folder / "model.safetensors.index.json", {"metadata": metadata, "weight_map": index})


def write_json(path, value):
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def write_tokenizer(folder, vocab):
    n_base = vocab - tiny_text.N_SPECIAL
    names = tiny_text.special_tokens(n_base)
    (folder / "tiktoken.model").write_text(tiny_text.tiktoken_file(n_base))
    added = {str(i): {"content": name, "lstrip": False, "normalized": False, "rstrip": False, "single_word": False,
                      "special": True} for i, name in names.items() if "reserved" not in name}
    write_json(folder / "tokenizer_config.json", {
        "added_tokens_decoder": added, "bos_token": "[BOS]", "clean_up_tokenization_spaces": False,
        "eos_token": "[EOS]", "model_max_length": 1048576, "pad_token": "[PAD]", "tokenizer_class": "TikTokenTokenizer",
        "unk_token": "[UNK]",
    })


def write_gguf(o, config, tensors):
    """What GGUF has no keys of its own for is refused."""
    n_base = o.vocab - tiny_text.N_SPECIAL
    tokens = [tiny_gguf.spelled(token) for token in tiny_text.ranks(n_base)]
    names = tiny_text.special_tokens(n_base)
    pairs = tiny_gguf.metadata(o, config, layer_lists(o)[0], tokens + list(names.values()), [1] * n_base + [3] * 256)
    tiny_gguf.write(o.folder / "model.gguf", pairs, tiny_gguf.renamed(o, tensors.made), o.gguf == "q8_0")


def main(words):
    o = arguments(words)
    if o.vocab < 2 * tiny_text.N_SPECIAL:
        sys.exit(f"--vocab is {o.vocab}, expected at least {2 * tiny_text.N_SPECIAL}")
    o.folder.mkdir(parents=True, exist_ok=True)
    config = configuration(o)
    tensors = Tensors(o)
    made = tiny_native.renamed(o, tensors.made) if o.native else tensors.made
    kinds = {name: "F32" if o.dtype == "f32" or name in tensors.stays_f32 else "BF16" for name in made}
    write_json(o.folder / "config.json", tiny_native.configuration(config) if o.native else config)
    write_json(o.folder / "generation_config.json",
               {"eos_token_id": config["eos_token_id"], "max_length": config["model_max_length"]})
    write_weights(o.folder, made, kinds, o.shards)
    write_tokenizer(o.folder, o.vocab)
    if o.gguf:
        write_gguf(o, config, tensors)


if __name__ == "__main__":
    main(sys.argv[1:])
