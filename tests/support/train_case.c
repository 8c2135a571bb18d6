#include "support/train_case.h"

#include <math.h>
#include <string.h>

static kl_config base(kl_mixer first, kl_mixer second)
{
    kl_config c = {
        .n_layer = 2,
        .mixer = {(uint8_t)first, (uint8_t)second},
        .ffn = {KL_FFN_DENSE, KL_FFN_MOE},
        .n_vocab = 19,
        .n_embd = 20,
        .rms_eps = 1e-5F,
        .n_context = 1024,
        .n_kda_head = 2,
        .n_kda_v_head = 2,
        .kda_k = 8,
        .kda_v = 8,
        .n_conv = 4,
        .decay_rank = 5,
        .gate_rank = 3,
        .gate_act = KL_ACT_SIGMOID,
        .n_head = 2,
        .kv_rank = 12,
        .qk_nope = 6,
        .qk_rope = 4,
        .v_dim = 7,
        .kv_norm_eps = 1e-5F,
        .rope_base = 10000,
        .n_ff = 24,
        .n_expert = 4,
        .n_expert_used = 2,
        .n_expert_shared = 1,
        .n_ff_expert = 9,
        .router_renormalise = true,
        .router_scale = 1.7F,
        .n_group = 1,
        .topk_group = 1,
        .bos = -1,
        .eos = -1,
        .pad = -1,
    };
    return c;
}

static const struct {
    const char *name;
    kl_mixer first, second;
} models[TC_N_MODEL] = {
    {"kda and mla", KL_MIXER_KDA, KL_MIXER_MLA},
    {"kda, bounded gate, more value heads, no convolution, tied", KL_MIXER_KDA, KL_MIXER_KDA},
    {"gdn, full silu gate, biased convolution", KL_MIXER_GDN, KL_MIXER_GDN},
    {"deltanet, no gate", KL_MIXER_DELTANET, KL_MIXER_DELTANET},
    {"mamba2, no shared expert", KL_MIXER_MAMBA2, KL_MIXER_MAMBA2},
    {"gla, negative eigenvalues elsewhere", KL_MIXER_GLA, KL_MIXER_KDA},
    {"linear attention, softmax router in groups", KL_MIXER_LINEAR, KL_MIXER_LINEAR},
    {"mla with two matrices for queries, turned", KL_MIXER_MLA, KL_MIXER_MLA},
    {"mla, turned, tied", KL_MIXER_MLA, KL_MIXER_MLA},
    {"gdn, bounded, one expert a token", KL_MIXER_GDN, KL_MIXER_MLA},
    {"mamba2, bounded gate", KL_MIXER_MAMBA2, KL_MIXER_GLA},
};

const char *tc_level(void)
{
    int i = 0;
    while (kt_level(i + 1))
        i++;
    return kt_level(i);
}

const char *tc_name(int i)
{
    return models[i].name;
}

kl_config tc_config(int i)
{
    kl_config c = base(models[i].first, models[i].second);
    if (i == 1) {
        c.gate_bounded = true;
        c.gate_lower_bound = -5;
        c.n_kda_v_head = 4;
        c.n_conv = 0;
        c.tied = true;
    } else if (i == 2) {
        c.gate_rank = 0;
        c.gate_act = KL_ACT_SILU;
        c.conv_bias = true;
    } else if (i == 3)
        c.gate_act = KL_ACT_NONE;
    else if (i == 4)
        c.n_expert_shared = 0;
    else if (i == 5)
        c.neg_eigval = true;
    else if (i == 6) {
        c.router_softmax = true;
        c.n_expert = 6;
        c.n_group = 3;
        c.topk_group = 2;
        c.n_expert_shared = 2;
    } else if (i == 7) {
        c.q_rank = 10;
        c.rope = true;
    } else if (i == 8) {
        c.rope = c.tied = true;
        c.ffn[1] = KL_FFN_DENSE;
    } else if (i == 9) {
        c.gate_bounded = true;
        c.gate_lower_bound = -3;
        c.n_expert_used = 1;
    } else if (i == 10) {
        c.gate_bounded = true;
        c.gate_lower_bound = -4;
        c.conv_bias = true;
    }
    return c;
}

/* By the end of its name: what is no matrix has a scale of its own. */
static bool ends(const char *name, const char *end)
{
    size_t n = strlen(name), m = strlen(end);
    return n >= m && strcmp(name + n - m, end) == 0;
}

static void fill(const kl_parameter *p, kt_rng *r)
{
    int64_t n = p->value.dim[0], columns = p->value.n_dim > 1 ? p->value.dim[p->value.n_dim - 1] : 1;
    for (int i = 1; i < p->value.n_dim; i++)
        n *= p->value.dim[i];
    float mean = 0, scale = 1 / sqrtf((float)columns);
    if (ends(p->name, "norm.weight"))
        mean = 1, scale = 0.2F;
    else if (ends(p->name, "A_log"))
        mean = 0.3F, scale = 0.4F;
    else if (ends(p->name, "dt_bias"))
        mean = -1, scale = 0.7F;
    else if (ends(p->name, "correction_bias"))
        scale = 0.1F;
    else if (ends(p->name, "embed_tokens.weight"))
        scale = 0.7F;
    else if (p->value.n_dim == 1)
        scale = 0.3F;
    for (int64_t i = 0; i < n; i++)
        ((float *)p->value.data)[i] = mean + scale * (float)kt_normal(r);
}

void tc_fill(kl_trainer *t, kt_rng *r)
{
    for (int64_t i = 0; i < kl_trainer_n_parameter(t); i++) {
        kl_parameter p;
        kl_trainer_parameter(t, i, &p);
        fill(&p, r);
    }
}

kl_trainer *tc_trainer(const kl_config *c, const kl_backend *be, const uint8_t *recompute, kt_rng *r)
{
    kl_trainer *t = NULL;
    kl_trainer_options o = {
        .config = c, .backend = be, .max_tokens = TC_MOST_TOKENS, .max_seqs = TC_MOST_SEQS, .recompute = recompute};
    KT_OK(kl_trainer_open(&t, &o, KT_ERR));
    tc_fill(t, r);
    return t;
}

void tc_batch(struct tc_batch *b, const kl_config *c, const int64_t *length, kt_rng *r)
{
    int64_t n = 0, n_seq = 0;
    b->cu[0] = 0;
    for (; length[n_seq] >= 0; n_seq++)
        b->cu[n_seq + 1] = n += length[n_seq];
    assert_true(n <= TC_MOST_TOKENS && n_seq <= TC_MOST_SEQS);
    for (int64_t t = 0; t < n; t++) {
        b->token[t] = (int32_t)kt_below(r, c->n_vocab);
        b->label[t] = kt_below(r, 5) ? (int32_t)kt_below(r, c->n_vocab) : -1;
    }
    b->batch = (kl_batch){.token = b->token, .label = b->label, .n_token = n, .cu_seqlens = b->cu, .n_seq = n_seq};
}
