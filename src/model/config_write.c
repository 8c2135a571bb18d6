#include "model/config_write.h"

#include "model/config_keys.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

struct put {
    struct kl__buffer *b;
    const kl_config *c;
    bool inner;  /* members of linear_attn_config */
    bool filled; /* a member has been written */
};

/* ------------------------------------------------------------------------------------------------------- members -- */

static void put_raw(struct put *p, const char *key, const char *value)
{
    kl__buffer_put_text(p->b, p->filled ? ",\n  " : "\n  ");
    kl__buffer_put_text(p->b, p->inner ? "  " : "");
    kl__buffer_put_json(p->b, kl__str(key));
    kl__buffer_put_text(p->b, ": ");
    kl__buffer_put_text(p->b, value);
    p->filled = true;
}

static void put_int(struct put *p, const char *key, int64_t value)
{
    char text[32];
    snprintf(text, sizeof text, "%lld", (long long)value);
    put_raw(p, key, text);
}

static void put_bool(struct put *p, const char *key, bool value)
{
    put_raw(p, key, value ? "true" : "false");
}

static void put_word(struct put *p, const char *key, const char *word)
{
    char text[64];
    snprintf(text, sizeof text, "\"%s\"", word);
    put_raw(p, key, text);
}

/* The shortest decimal that reads back as the same float.  The locale may have put something else for the point. */
static void put_float(struct put *p, const char *key, float value)
{
    char text[40];
    for (int digits = 1; digits <= 9; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, (double)value);
        if ((float)strtod(text, NULL) == value)
            break;
    }
    for (char *t = text; *t; t++)
        if (!isalnum((unsigned char)*t) && *t != '-' && *t != '+')
            *t = '.';
    put_raw(p, key, text);
}

/* A list of words or numbers, one for each layer that `word` gives something for. */
static void put_list(struct put *p, const char *key, const char *(*word)(const kl_config *c, int layer, char *room))
{
    char room[32];
    bool first = true;
    put_raw(p, key, "[");
    for (int i = 0; i < p->c->n_layer; i++) {
        const char *text = word(p->c, i, room);
        if (!text)
            continue;
        kl__buffer_put_text(p->b, first ? "" : ", ");
        kl__buffer_put_text(p->b, text);
        first = false;
    }
    kl__buffer_put_text(p->b, "]");
}

/* -------------------------------------------------------------------------------------------------------- layers -- */

static const char *kda_layer(const kl_config *c, int layer, char *room)
{
    snprintf(room, 32, "%d", layer + 1);
    return c->mixer[layer] == KL_MIXER_MLA ? NULL : room;
}

static const char *mla_layer(const kl_config *c, int layer, char *room)
{
    snprintf(room, 32, "%d", layer + 1);
    return c->mixer[layer] == KL_MIXER_MLA ? room : NULL;
}

static const char *mixer_word(const kl_config *c, int layer, char *room)
{
    snprintf(room, 32, "\"%s\"", kl_mixer_name((kl_mixer)c->mixer[layer]));
    return room;
}

static const char *ffn_word(const kl_config *c, int layer, char *room)
{
    (void)room;
    return c->ffn[layer] == KL_FFN_DENSE ? "\"dense\"" : "\"sparse\"";
}

static void put_layers(struct put *p)
{
    const kl_config *c = p->c;
    int n_dense = 0;
    bool leading = true, other = false;
    for (int i = 0; i < c->n_layer; i++) {
        other |= c->mixer[i] != KL_MIXER_MLA && c->mixer[i] != KL_MIXER_KDA;
        leading &= c->ffn[i] == KL_FFN_MOE || n_dense == i;
        n_dense += c->ffn[i] == KL_FFN_DENSE;
    }
    if (leading)
        put_int(p, "first_k_dense_replace", n_dense);
    else
        put_list(p, "mlp_layer_types", ffn_word);
    if (other)
        put_list(p, "klinear_mixer", mixer_word);
}

/* --------------------------------------------------------------------------------------------------- the numbers -- */

/* A member that says what its absence would say as well, or that a model of this kind has no use for. */
static bool goes_without(const kl_config *c, const struct kl__config_key *k)
{
    double value = kl__key_get(c, k);
    if (value < k->min || value > k->max)
        return true;
    switch (k->field) {
    case offsetof(kl_config, n_kda_v_head):
        return c->n_kda_v_head == c->n_kda_head;
    case offsetof(kl_config, kda_v):
        return c->kda_v == c->kda_k;
    case offsetof(kl_config, decay_rank):
        return c->decay_rank == c->kda_v;
    case offsetof(kl_config, gate_rank):
        return c->gate_rank == c->kda_v;
    case offsetof(kl_config, kv_norm_eps):
        return c->kv_norm_eps == c->rms_eps;
    case offsetof(kl_config, q_rank):
    case offsetof(kl_config, conv_bias):
    case offsetof(kl_config, neg_eigval):
    case offsetof(kl_config, router_weight_biased):
    case offsetof(kl_config, gate_lower_bound):
    case offsetof(kl_config, n_expert):
        return value == 0;
    default:
        return false;
    }
}

static void put_key(struct put *p, const struct kl__config_key *k)
{
    static const char prefix[] = "linear_attn_config.";
    char name[KL__KEY_NAME_BYTES];
    kl__key_name(name, k->hf, 0);
    bool inner = strncmp(name, prefix, sizeof prefix - 1) == 0;
    const char *key = inner ? name + sizeof prefix - 1 : name;
    double value = kl__key_get(p->c, k);
    if (inner != p->inner || goes_without(p->c, k))
        return;
    if (k->kind == KL__KEY_FLOAT)
        put_float(p, key, (float)value);
    else if (k->kind == KL__KEY_BOOL || k->kind == KL__KEY_NOT)
        put_bool(p, key, (value != 0) == (k->kind == KL__KEY_BOOL));
    else
        put_int(p, key, (int64_t)value);
}

static void put_keys(struct put *p)
{
    for (int i = 0; i < KL__N_CONFIG_KEY; i++)
        put_key(p, &kl__config_key[i]);
}

static void put_linear(struct put *outer)
{
    const kl_config *c = outer->c;
    struct put p = {.b = outer->b, .c = c, .inner = true};
    if (!kl__n_recurrent(c))
        return;
    put_raw(outer, "linear_attn_config", "{");
    put_keys(&p);
    put_list(&p, "kda_layers", kda_layer);
    put_list(&p, "full_attn_layers", mla_layer);
    if (c->gate_bounded)
        put_bool(&p, "safe_gate", true);
    if (c->gate_act != KL_ACT_SIGMOID)
        put_word(&p, "klinear_gate_activation", c->gate_act == KL_ACT_SILU ? "silu" : "none");
    kl__buffer_put_text(p.b, "\n  }");
}

static void put_token(struct put *p, const char *key, int64_t id)
{
    if (id >= 0)
        put_int(p, key, id);
}

void kl__config_put_json(struct kl__buffer *b, const kl_config *c, enum kl__type type)
{
    struct put p = {.b = b, .c = c};
    kl__buffer_put_text(b, "{");
    put_raw(&p, "architectures", "[\"KimiLinearForCausalLM\"]");
    put_word(&p, "model_type", "kimi_linear");
    put_word(&p, "dtype", type == KL__TYPE_BF16 ? "bfloat16" : type == KL__TYPE_F16 ? "float16" : "float32");
    put_word(&p, "hidden_act", "silu");
    put_keys(&p);
    put_layers(&p);
    put_word(&p, "moe_router_activation_func", c->router_softmax ? "softmax" : "sigmoid");
    put_linear(&p);
    put_token(&p, "bos_token_id", c->bos);
    put_token(&p, "eos_token_id", c->eos);
    put_token(&p, "pad_token_id", c->pad);
    kl__buffer_put_text(b, "\n}\n");
}
