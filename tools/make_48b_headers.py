#!/usr/bin/env python3
"""The released Kimi Linear 48B without its numbers: every name, shape and type, in files that are holes.

    make_48b_headers.py DIR              Hugging Face layout: 20 shards with 20,493 tensors, their index, config.json
    make_48b_headers.py --gguf FILE      GGUF, 610 tensors, as another tool would write it in BF16

98 GB of apparent size, a few megabytes on a disk that knows holes.  Loading, inspecting and planning can be tried on
them as if they were the real ones; all weights read as 0.  Written from the published index, not from the library.
"""
import argparse
import json
import pathlib
import struct

LAYERS, HIDDEN, HEADS, VOCAB, EXPERTS = 27, 2304, 32, 163840, 256
MLA = {3, 7, 11, 15, 19, 23, 26}
SHARDS, SHARD_BYTES = 20, 5 * 10**9

CONFIG = {
    "architectures": ["KimiLinearForCausalLM"], "model_type": "kimi_linear", "dtype": "bfloat16",
    "vocab_size": VOCAB, "hidden_size": HIDDEN, "num_hidden_layers": LAYERS, "intermediate_size": 9216,
    "hidden_act": "silu", "rms_norm_eps": 1e-05, "tie_word_embeddings": False, "num_attention_heads": HEADS,
    "num_key_value_heads": HEADS, "head_dim": 72, "q_lora_rank": None, "kv_lora_rank": 512, "qk_nope_head_dim": 128,
    "qk_rope_head_dim": 64, "v_head_dim": 128, "mla_use_nope": True, "rope_theta": 10000.0, "rope_scaling": None,
    "linear_attn_config": {"num_heads": HEADS, "head_dim": 128, "short_conv_kernel_size": 4,
                           "kda_layers": [i + 1 for i in range(LAYERS) if i not in MLA],
                           "full_attn_layers": [i + 1 for i in sorted(MLA)]},
    "num_experts": EXPERTS, "num_experts_per_token": 8, "num_shared_experts": 1, "moe_intermediate_size": 1024,
    "first_k_dense_replace": 1, "moe_layer_freq": 1, "moe_router_activation_func": "sigmoid", "moe_renormalize": True,
    "routed_scaling_factor": 2.446, "use_grouped_topk": True, "num_expert_group": 1, "topk_group": 1,
    "num_nextn_predict_layers": 0, "model_max_length": 1048576, "bos_token_id": 163584, "eos_token_id": 163586,
    "pad_token_id": 163839, "initializer_range": 0.02, "use_cache": True,
}


def mixer(layer):
    if layer in MLA:
        yield from {"q_proj.weight": [6144, HIDDEN], "kv_a_proj_with_mqa.weight": [576, HIDDEN],
                    "kv_a_layernorm.weight": [512], "kv_b_proj.weight": [8192, 512],
                    "o_proj.weight": [HIDDEN, 4096]}.items()
        return
    for c in "qkv":
        yield f"{c}_proj.weight", [4096, HIDDEN]
        yield f"{c}_conv1d.weight", [4096, 1, 4]
    yield from {"A_log": [1, 1, 32, 1], "dt_bias": [4096], "f_a_proj.weight": [128, HIDDEN],
                "f_b_proj.weight": [4096, 128], "b_proj.weight": [32, HIDDEN], "g_a_proj.weight": [128, HIDDEN],
                "g_b_proj.weight": [4096, 128], "o_norm.weight": [128], "o_proj.weight": [HIDDEN, 4096]}.items()


def ffn(layer):
    if layer == 0:
        for name, shape in (("gate", [9216, HIDDEN]), ("up", [9216, HIDDEN]), ("down", [HIDDEN, 9216])):
            yield f"mlp.{name}_proj.weight", shape
        return
    moe = "block_sparse_moe."
    yield moe + "gate.weight", [EXPERTS, HIDDEN]
    yield moe + "gate.e_score_correction_bias", [EXPERTS]
    for e in range(EXPERTS):
        for w, shape in (("w1", [1024, HIDDEN]), ("w2", [HIDDEN, 1024]), ("w3", [1024, HIDDEN])):
            yield f"{moe}experts.{e}.{w}.weight", shape
    for name, shape in (("gate", [1024, HIDDEN]), ("up", [1024, HIDDEN]), ("down", [HIDDEN, 1024])):
        yield f"{moe}shared_experts.{name}_proj.weight", shape


def hf_tensors():
    yield "model.embed_tokens.weight", [VOCAB, HIDDEN]
    for i in range(LAYERS):
        prefix = f"model.layers.{i}."
        for norm in ("input_layernorm", "post_attention_layernorm"):
            yield f"{prefix}{norm}.weight", [HIDDEN]
        yield from ((prefix + "self_attn." + name, shape) for name, shape in mixer(i))
        yield from ((prefix + name, shape) for name, shape in ffn(i))
    yield "model.norm.weight", [HIDDEN]
    yield "lm_head.weight", [VOCAB, HIDDEN]


def elements(shape):
    n = 1
    for d in shape:
        n *= d
    return n


def kind(name):
    return ("F32", 4) if name.endswith(("A_log", "dt_bias")) else ("BF16", 2)


def write_sparse(path, head, data_bytes):
    with open(path, "wb") as f:
        f.write(head)
        f.truncate(len(head) + data_bytes)


def write_shard(path, tensors):
    header, at = {"__metadata__": {"format": "pt"}}, 0
    for name, shape in sorted(tensors, key=lambda t: (-kind(t[0])[1], t[0])):
        n = elements(shape) * kind(name)[1]
        header[name] = {"dtype": kind(name)[0], "shape": shape, "data_offsets": [at, at + n]}
        at += n
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    write_sparse(path, struct.pack("<Q", len(text)) + text, at)
    return at


def write_folder(folder):
    folder.mkdir(parents=True, exist_ok=True)
    shards, filled = [[]], 0
    for name, shape in hf_tensors():
        n = elements(shape) * kind(name)[1]
        if filled + n > SHARD_BYTES and len(shards) < SHARDS:
            shards.append([])
            filled = 0
        shards[-1].append((name, shape))
        filled += n
    weight_map, total = {}, 0
    for i, shard in enumerate(shards):
        file = f"model-{i + 1:05}-of-{len(shards):05}.safetensors"
        total += write_shard(folder / file, shard)
        weight_map |= {name: file for name, _ in shard}
    parameters = sum(elements(shape) for _, shape in hf_tensors())
    index = {"metadata": {"total_parameters": parameters, "total_size": total}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n")
    (folder / "config.json").write_text(json.dumps(CONFIG, indent=2) + "\n")
    print(f"{len(weight_map)} tensors, {parameters} parameters, {total} bytes, {len(shards)} files")


def gguf_tensors():
    """Name, dims with the fastest axis first, f32 or not."""
    yield "token_embd.weight", [HIDDEN, VOCAB], False
    yield "output_norm.weight", [HIDDEN], True
    yield "output.weight", [HIDDEN, VOCAB], False
    for i in range(LAYERS):
        b = f"blk.{i}."
        yield b + "attn_norm.weight", [HIDDEN], True
        yield b + "ffn_norm.weight", [HIDDEN], True
        if i in MLA:
            for name, dims in (("attn_q", [HIDDEN, 6144]), ("attn_kv_a_mqa", [HIDDEN, 576]),
                               ("attn_k_b", [128, 512, HEADS]), ("attn_v_b", [512, 128, HEADS])):
                yield f"{b}{name}.weight", dims, False
            yield b + "attn_kv_a_norm.weight", [512], True
        else:
            for c in "qkv":
                yield f"{b}attn_{c}.weight", [HIDDEN, 4096], False
                yield f"{b}ssm_conv1d_{c}.weight", [4, 1, 4096, 1], True
            for name, dims in (("ssm_f_a", [HIDDEN, 128]), ("ssm_f_b", [128, 4096]), ("ssm_beta", [HIDDEN, 32]),
                               ("ssm_g_a", [HIDDEN, 128]), ("ssm_g_b", [128, 4096])):
                yield f"{b}{name}.weight", dims, False
            yield b + "ssm_a", [1, 32, 1, 1], True
            yield b + "ssm_dt.bias", [4096], True
            yield b + "ssm_norm.weight", [128], True
        yield b + "attn_output.weight", [4096, HIDDEN], False
        if i == 0:
            wide = (("ffn_gate", [HIDDEN, 9216]), ("ffn_up", [HIDDEN, 9216]), ("ffn_down", [9216, HIDDEN]))
        else:
            yield b + "ffn_gate_inp.weight", [HIDDEN, EXPERTS], True
            yield b + "exp_probs_b.bias", [EXPERTS], True
            wide = (("ffn_gate_exps", [HIDDEN, 1024, EXPERTS]), ("ffn_up_exps", [HIDDEN, 1024, EXPERTS]),
                    ("ffn_down_exps", [1024, HIDDEN, EXPERTS]), ("ffn_gate_shexp", [HIDDEN, 1024]),
                    ("ffn_up_shexp", [HIDDEN, 1024]), ("ffn_down_shexp", [1024, HIDDEN]))
        for name, dims in wide:
            yield f"{b}{name}.weight", dims, False


def gguf_metadata():
    a = "kimi-linear."
    text = {"general.architecture": "kimi-linear", "general.name": "Kimi Linear 48B A3B (holes)"}
    number = {"general.file_type": 32, "general.quantization_version": 2} | {a + k: v for k, v in {
        "vocab_size": VOCAB, "context_length": 1048576, "embedding_length": HIDDEN, "block_count": LAYERS,
        "feed_forward_length": 9216, "attention.head_count": HEADS, "attention.key_length": 576,
        "attention.value_length": 72, "attention.key_length_mla": 192, "attention.value_length_mla": 128,
        "attention.kv_lora_rank": 512, "rope.dimension_count": 64, "ssm.conv_kernel": 4, "kda.head_dim": 128,
        "expert_count": EXPERTS, "expert_used_count": 8, "expert_shared_count": 1, "expert_feed_forward_length": 1024,
        "expert_gating_func": 2, "expert_group_used_count": 1, "leading_dense_block_count": 1}.items()}
    real = {a + "attention.layer_norm_rms_epsilon": 1e-5, a + "rope.freq_base": 10000.0,
            a + "expert_weights_scale": 2.446}
    heads = struct.pack("<IQ27i", 5, LAYERS, *(int(i in MLA) for i in range(LAYERS)))
    yield from ((k, 8, struct.pack("<Q", len(v)) + v.encode()) for k, v in text.items())
    yield from ((k, 4, struct.pack("<I", v)) for k, v in number.items())
    yield from ((k, 6, struct.pack("<f", v)) for k, v in real.items())
    yield a + "attention.head_count_kv", 9, heads


def write_gguf(path):
    string = lambda s: struct.pack("<Q", len(s)) + s.encode()  # noqa: E731
    metadata, tensors, infos, at = list(gguf_metadata()), list(gguf_tensors()), b"", 0
    for name, dims, single in tensors:
        infos += string(name) + struct.pack(f"<I{len(dims)}Q", len(dims), *dims)
        infos += struct.pack("<IQ", 0 if single else 30, at)
        at += (elements(dims) * (4 if single else 2) + 31) // 32 * 32
    head = struct.pack("<4sIQQ", b"GGUF", 3, len(tensors), len(metadata))
    head += b"".join(string(k) + struct.pack("<I", t) + v for k, t, v in metadata) + infos
    write_sparse(path, head + b"\0" * (-len(head) % 32), at)
    print(f"{len(tensors)} tensors, {sum(elements(d) for _, d, _ in tensors)} parameters, {at} bytes")


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("folder", type=pathlib.Path, nargs="?")
    a.add_argument("--gguf", type=pathlib.Path)
    o = a.parse_args()
    if not o.folder and not o.gguf:
        a.error("name a folder, or a file with --gguf")
    if o.folder:
        write_folder(o.folder)
    if o.gguf:
        write_gguf(o.gguf)


main()
