#include "model/config_keys.h"

#define AT(name) .field = offsetof(kl_config, name)
#define WIDTH .min = 1, .max = 1 << 20
#define COUNT .min = 0, .max = 1 << 20

const struct kl__config_key kl__config_key[KL__N_CONFIG_KEY] = {
    {AT(n_layer), .need = KL__NEEDED_BY_ALL, .hf = "num_hidden_layers", .gguf = "block_count", .min = 1,
     .max = KL_MAX_LAYERS},
    {AT(n_vocab), .hf = "vocab_size", .gguf = "vocab_size", .min = 1, .max = 1 << 24},
    {AT(n_embd), .need = KL__NEEDED_BY_ALL, .hf = "hidden_size", .gguf = "embedding_length", WIDTH},
    {AT(rms_eps), .kind = KL__KEY_FLOAT, .hf = "rms_norm_eps", .gguf = "attention.layer_norm_rms_epsilon", .min = 0,
     .max = 1},
    {AT(tied), .kind = KL__KEY_BOOL, .hf = "tie_word_embeddings", .max = 1},
    {AT(n_context), .kind = KL__KEY_INT64, .hf = "model_max_length|max_position_embeddings", .gguf = "context_length",
     .min = 1, .max = 0x1p40},

    {AT(n_kda_head), .need = KL__NEEDED_BY_RECURRENT,
     .hf = "linear_attn_config.num_heads|linear_num_heads|linear_num_key_heads",
     .gguf = "klinear.kda.head_count", .min = 1, .max = 1 << 16},
    {AT(n_kda_v_head), .hf = "linear_attn_config.num_v_heads|num_v_heads|linear_num_value_heads",
     .gguf = "klinear.kda.value_head_count", .min = 1, .max = 1 << 16},
    {AT(kda_k), .need = KL__NEEDED_BY_RECURRENT,
     .hf = "linear_attn_config.head_dim|linear_head_dim|linear_key_head_dim",
     .gguf = "kda.head_dim", .min = 1, .max = 1 << 16},
    {AT(kda_v), .hf = "linear_attn_config.klinear_value_head_dim|linear_value_head_dim",
     .gguf = "klinear.kda.value_head_dim", .min = 1, .max = 1 << 16},
    {AT(n_conv), .hf = "linear_attn_config.short_conv_kernel_size|linear_attn_config.conv_size|linear_conv_kernel_dim",
     .gguf = "ssm.conv_kernel", .min = 0, .max = 16},
    {AT(conv_bias), .kind = KL__KEY_BOOL, .hf = "linear_attn_config.conv_bias|conv_bias", .max = 1},
    {AT(decay_rank), .hf = "linear_attn_config.klinear_decay_rank", .gguf = "klinear.kda.decay_rank", WIDTH},
    {AT(gate_rank), .hf = "linear_attn_config.klinear_gate_rank", .gguf = "klinear.kda.gate_rank", COUNT},
    {AT(neg_eigval), .kind = KL__KEY_BOOL, .hf = "linear_attn_config.allow_neg_eigval|allow_neg_eigval",
     .gguf = "klinear.kda.negative_eigenvalues", .max = 1},

    {AT(n_head), .need = KL__NEEDED_BY_MLA, .hf = "num_attention_heads", .gguf = "attention.head_count", .min = 1,
     .max = 1 << 16},
    {AT(q_rank), .hf = "q_lora_rank", .gguf = "attention.q_lora_rank", COUNT},
    {AT(kv_rank), .need = KL__NEEDED_BY_MLA, .hf = "kv_lora_rank", .gguf = "attention.kv_lora_rank", WIDTH},
    {AT(qk_nope), .need = KL__NEEDED_BY_MLA, .hf = "qk_nope_head_dim", .min = 1, .max = 1 << 16},
    {AT(qk_rope), .need = KL__NEEDED_BY_MLA, .hf = "qk_rope_head_dim", .gguf = "rope.dimension_count", .min = 0,
     .max = 1 << 16},
    {AT(v_dim), .need = KL__NEEDED_BY_MLA, .hf = "v_head_dim", .min = 1, .max = 1 << 16},
    {AT(kv_norm_eps), .kind = KL__KEY_FLOAT, .hf = "klinear_kv_a_norm_eps",
     .gguf = "klinear.attention.kv_a_norm_epsilon", .min = 0, .max = 1},
    {AT(rope), .kind = KL__KEY_NOT, .hf = "mla_use_nope", .gguf = "klinear.rope", .max = 1},
    {AT(rope_base), .kind = KL__KEY_FLOAT, .hf = "rope_theta", .gguf = "rope.freq_base", .min = 1, .max = 1e12},

    {AT(n_ff), .need = KL__NEEDED_BY_DENSE, .hf = "intermediate_size", .gguf = "feed_forward_length", WIDTH},
    {AT(n_expert), .need = KL__NEEDED_BY_MOE, .hf = "num_experts|n_routed_experts|num_local_experts",
     .gguf = "expert_count", .min = 0, .max = 1 << 16},
    {AT(n_expert_used), .need = KL__NEEDED_BY_MOE, .hf = "num_experts_per_token|num_experts_per_tok",
     .gguf = "expert_used_count", .min = 1, .max = 1 << 16},
    {AT(n_expert_shared), .hf = "num_shared_experts|n_shared_experts", .gguf = "expert_shared_count", .min = 0,
     .max = 1 << 10},
    {AT(n_ff_expert), .need = KL__NEEDED_BY_MOE, .hf = "moe_intermediate_size", .gguf = "expert_feed_forward_length",
     WIDTH},
    {AT(router_renormalise), .kind = KL__KEY_BOOL, .hf = "moe_renormalize|norm_topk_prob",
     .gguf = "expert_weights_norm", .max = 1},
    {AT(router_weight_biased), .kind = KL__KEY_BOOL, .hf = "klinear_router_weight_biased",
     .gguf = "klinear.expert_weights_biased", .max = 1},
    {AT(router_scale), .kind = KL__KEY_FLOAT, .hf = "routed_scaling_factor", .gguf = "expert_weights_scale",
     .min = 1e-6, .max = 1e6},
    {AT(n_group), .hf = "num_expert_group|n_group", .gguf = "expert_group_count", .min = 1, .max = 1 << 16},
    {AT(topk_group), .hf = "topk_group", .gguf = "expert_group_used_count", .min = 1, .max = 1 << 16},
    {AT(gate_lower_bound), .kind = KL__KEY_FLOAT, .hf = "linear_attn_config.lower_bound|lower_bound",
     .gguf = "klinear.kda.gate_lower_bound", .min = -1e3, .max = 0},
};

bool kl__key_name(char name[KL__KEY_NAME_BYTES], const char *names, int i)
{
    for (; i > 0; i--) {
        names = strchr(names, '|');
        if (!names)
            return false;
        names++;
    }
    size_t bytes = strcspn(names, "|");
    memcpy(name, names, bytes);
    name[bytes] = 0;
    return true;
}

double kl__key_get(const kl_config *c, const struct kl__config_key *key)
{
    const char *field = (const char *)c + key->field;
    switch (key->kind) {
    case KL__KEY_INT:
        return *(const int *)(const void *)field;
    case KL__KEY_INT64:
        return (double)*(const int64_t *)(const void *)field;
    case KL__KEY_FLOAT:
        return *(const float *)(const void *)field;
    default:
        return *(const bool *)(const void *)field;
    }
}

void kl__key_set(kl_config *c, const struct kl__config_key *key, double value)
{
    char *field = (char *)c + key->field;
    switch (key->kind) {
    case KL__KEY_INT:
        *(int *)(void *)field = (int)value;
        break;
    case KL__KEY_INT64:
        *(int64_t *)(void *)field = (int64_t)value;
        break;
    case KL__KEY_FLOAT:
        *(float *)(void *)field = (float)value;
        break;
    default:
        *(bool *)(void *)field = value != 0;
    }
}

bool kl__key_needed(const kl_config *c, const struct kl__config_key *key)
{
    int n_dense = 0;
    for (int i = 0; i < c->n_layer; i++)
        n_dense += c->ffn[i] == KL_FFN_DENSE;
    switch (key->need) {
    case KL__NEEDED_BY_ALL:
        return true;
    case KL__NEEDED_BY_RECURRENT:
        return kl__n_recurrent(c) > 0;
    case KL__NEEDED_BY_MLA:
        return kl__n_mla(c) > 0;
    case KL__NEEDED_BY_DENSE:
        return n_dense > 0;
    case KL__NEEDED_BY_MOE:
        return n_dense < c->n_layer;
    default:
        return false;
    }
}

int kl__mixer_of_name(struct kl__str name)
{
    for (int m = 0; m < KL_N_MIXER; m++)
        if (kl__str_same(name, kl__str(kl_mixer_name((kl_mixer)m))))
            return m;
    return -1;
}
