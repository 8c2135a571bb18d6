"""The small made models as GGUF, written from the published layout: stacked experts, kv_b split and turned,
-exp(A_log), f32 for what is small, f32 or q8_0 for matrices."""
import struct

import numpy as np

F32, Q8_0 = 0, 8
ARCHITECTURE = "kimi-linear"
RECURRENT = {
    "q_proj.weight": "attn_q.weight", "k_proj.weight": "attn_k.weight", "v_proj.weight": "attn_v.weight",
    "f_a_proj.weight": "ssm_f_a.weight", "f_b_proj.weight": "ssm_f_b.weight", "b_proj.weight": "ssm_beta.weight",
    "g_a_proj.weight": "ssm_g_a.weight", "g_b_proj.weight": "ssm_g_b.weight", "o_norm.weight": "ssm_norm.weight",
    "o_proj.weight": "attn_output.weight", "dt_bias": "ssm_dt.bias",
    "kv_a_proj_with_mqa.weight": "attn_kv_a_mqa.weight", "kv_a_layernorm.weight": "attn_kv_a_norm.weight",
}
FFN = {
    "mlp.gate_proj.weight": "ffn_gate.weight", "mlp.up_proj.weight": "ffn_up.weight",
    "mlp.down_proj.weight": "ffn_down.weight", "block_sparse_moe.gate.weight": "ffn_gate_inp.weight",
    "block_sparse_moe.gate.e_score_correction_bias": "exp_probs_b.bias",
    "block_sparse_moe.shared_experts.gate_proj.weight": "ffn_gate_shexp.weight",
    "block_sparse_moe.shared_experts.up_proj.weight": "ffn_up_shexp.weight",
    "block_sparse_moe.shared_experts.down_proj.weight": "ffn_down_shexp.weight",
    "input_layernorm.weight": "attn_norm.weight", "post_attention_layernorm.weight": "ffn_norm.weight",
}
GLOBAL = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight",
          "lm_head.weight": "output.weight"}


def renamed(o, made):
    """{GGUF name: array, slowest axis first} of one layer after the other."""
    out = {GLOBAL[name]: made[name] for name in GLOBAL if name in made}
    for name, x in made.items():
        if name in GLOBAL:
            continue
        _, _, layer, rest = name.split(".", 3)
        blk = f"blk.{layer}."
        own = rest.removeprefix("self_attn.")
        if rest in FFN:
            out[blk + FFN[rest]] = x
        elif own in RECURRENT:
            out[blk + RECURRENT[own]] = x
        elif own == "A_log":
            out[blk + "ssm_a"] = -np.exp(x.reshape(-1, 1))
        elif own.endswith("_conv1d.weight"):
            out[f"{blk}ssm_conv1d_{own[0]}.weight"] = x.reshape(1, x.shape[0], 1, x.shape[2])
        elif own == "kv_b_proj.weight":
            both = x.reshape(o.heads, o.nope + o.v_dim, o.kv_rank)
            out[blk + "attn_k_b.weight"] = both[:, : o.nope].transpose(0, 2, 1)
            out[blk + "attn_v_b.weight"] = both[:, o.nope :]
        elif ".experts.0." in rest:
            part = rest.split(".")[-2]
            stack = [made[name.replace(".experts.0.", f".experts.{e}.")] for e in range(o.experts)]
            out[f"{blk}ffn_{ {'w1': 'gate', 'w2': 'down', 'w3': 'up'}[part] }_exps.weight"] = np.stack(stack)
        elif ".experts." not in rest:
            raise ValueError(f"{name} has no place in GGUF here")
    return out


def stays_f32(name, x):
    small = ("_norm.weight", "ffn_gate_inp.weight", "ssm_a", ".bias")
    return name.endswith(small) or "conv1d" in name or x.ndim < 2 or x.shape[-1] % 32


def q8_0(x):
    b = np.ascontiguousarray(x, dtype=np.float32).reshape(-1, 32)
    d = (np.abs(b).max(1) / 127).astype(np.float16)
    scale = np.where(d > 0, d, 1).astype(np.float32)[:, None]
    out = np.empty((len(b), 34), np.uint8)
    out[:, :2] = d.view(np.uint8).reshape(-1, 2)
    out[:, 2:] = np.clip(np.rint(b / scale), -127, 127).astype(np.int8).view(np.uint8)
    return out


def text(s):
    return struct.pack("<Q", len(s.encode())) + s.encode()


def value(v):
    """Type and bytes of a metadata value."""
    if isinstance(v, bool):
        return struct.pack("<IB", 7, v)
    if isinstance(v, int):
        return struct.pack("<II", 4, v)
    if isinstance(v, float):
        return struct.pack("<If", 6, v)
    if isinstance(v, str):
        return struct.pack("<I", 8) + text(v)
    if isinstance(v[0], str):
        return struct.pack("<IIQ", 9, 8, len(v)) + b"".join(map(text, v))
    return struct.pack("<IIQ", 9, 5, len(v)) + np.asarray(v, "<i4").tobytes()


def metadata(o, config, kda, tokens, token_types):
    n_base = o.vocab - 256
    own = {
        "block_count": o.layers, "context_length": 1048576, "embedding_length": o.hidden,
        "feed_forward_length": config["intermediate_size"], "vocab_size": o.vocab, "attention.head_count": o.heads,
        "attention.head_count_kv": [0 if i + 1 in kda else 1 for i in range(o.layers)],
        "attention.layer_norm_rms_epsilon": 1e-5, "attention.key_length": o.kv_rank + o.rope_dim,
        "attention.value_length": 72, "attention.key_length_mla": o.nope + o.rope_dim,
        "attention.value_length_mla": o.v_dim, "attention.kv_lora_rank": o.kv_rank, "rope.dimension_count": o.rope_dim,
        "rope.freq_base": 10000.0, "ssm.conv_kernel": o.taps, "kda.head_dim": o.head_dim, "expert_count": o.experts,
        "expert_used_count": o.topk, "expert_shared_count": o.shared, "expert_feed_forward_length": o.expert_width,
        "expert_gating_func": 2, "expert_weights_scale": 2.446, "expert_group_used_count": 1,
        "leading_dense_block_count": o.dense,
    }
    tokenizer = {"model": "gpt2", "pre": "kimi-k2", "tokens": tokens, "token_type": token_types,
                 "bos_token_id": n_base, "eos_token_id": n_base + 1, "padding_token_id": o.vocab - 1}
    return ({"general.architecture": ARCHITECTURE, "general.name": "a made model", "general.file_type": 0}
            | {f"{ARCHITECTURE}.{key}": v for key, v in own.items()}
            | {f"tokenizer.ggml.{key}": v for key, v in tokenizer.items()})


def spelled(token):
    """Bytes in the letters of GPT-2."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    letter = {b: chr(b) for b in plain}
    letter |= {b: chr(256 + i) for i, b in enumerate(b for b in range(256) if b not in letter)}
    return "".join(letter[b] for b in token)


def write(path, pairs, tensors, quantised):
    infos, data, offset = b"", [], 0
    for name, x in tensors.items():
        kind = Q8_0 if quantised and not stays_f32(name, x) else F32
        part = (q8_0(x) if kind == Q8_0 else np.ascontiguousarray(x, dtype="<f4")).tobytes()
        dims = x.shape[::-1]
        infos += text(name) + struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, kind, offset)
        part += bytes(-len(part) % 32)
        data.append(part)
        offset += len(part)
    head = struct.pack("<4sIQQ", b"GGUF", 3, len(tensors), len(pairs))
    head += b"".join(text(key) + value(v) for key, v in pairs.items()) + infos
    path.write_bytes(head + bytes(-len(head) % 32) + b"".join(data))
