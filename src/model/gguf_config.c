/* A configuration as metadata of a GGUF file.  Keys: docs/formats.md. */
#include "base/error.h"
#include "model/config_keys.h"
#include "model/gguf_tensors.h"

#include <stdio.h>

struct put {
    struct kl__writer *w;
    kl_error *err;
};

struct full_key {
    char text[KL__KEY_NAME_BYTES];
};

static struct full_key full_key(const char *key)
{
    struct full_key k;
    snprintf(k.text, sizeof k.text, "kimi-linear.%s", key);
    return k;
}

static kl_status put(const struct put *p, struct kl__meta m)
{
    return kl__writer_meta(p->w, &m, p->err);
}

static kl_status put_int(const struct put *p, const char *key, int64_t value)
{
    return put(p, kl__meta_u32(full_key(key).text, value > UINT32_MAX ? UINT32_MAX : (uint32_t)value));
}

static kl_status put_key(const struct put *p, const kl_config *c, const struct kl__config_key *k)
{
    double value = kl__key_get(c, k);
    if (k->kind == KL__KEY_FLOAT)
        return put(p, kl__meta_f32(full_key(k->gguf).text, (float)value));
    if (k->kind == KL__KEY_BOOL || k->kind == KL__KEY_NOT)
        return put(p, kl__meta_bool(full_key(k->gguf).text, value != 0));
    return put_int(p, k->gguf, (int64_t)value);
}

/* What a model of this kind has no use for stays away.  Keys of our own are written where silence would mean something
 * else. */
static bool goes_without(const kl_config *c, const struct kl__config_key *k)
{
    if (!k->gguf || kl__key_get(c, k) < k->min)
        return true;
    if (strncmp(k->gguf, "klinear.", 8) != 0)
        return k->field == offsetof(kl_config, q_rank) && !c->q_rank;
    if (k->field == offsetof(kl_config, n_kda_head))
        return !c->n_kda_head || c->n_kda_head == c->n_head;
    if (k->field == offsetof(kl_config, n_kda_v_head))
        return !c->n_kda_v_head || c->n_kda_v_head == c->n_kda_head;
    if (k->field == offsetof(kl_config, kda_v))
        return !c->kda_v || c->kda_v == c->kda_k;
    if (k->field == offsetof(kl_config, kv_norm_eps))
        return c->kv_norm_eps == c->rms_eps;
    if (k->field == offsetof(kl_config, decay_rank) || k->field == offsetof(kl_config, gate_rank))
        return true; /* tensors tell */
    return kl__key_get(c, k) == 0;
}

static kl_status put_layers(const struct put *p, const kl_config *c)
{
    int32_t heads[KL_MAX_LAYERS], dense[KL_MAX_LAYERS];
    struct kl__str mixer[KL_MAX_LAYERS];
    uint64_t n_dense = 0;
    bool other = false, leading = true;
    for (int i = 0; i < c->n_layer; i++) {
        heads[i] = c->mixer[i] == KL_MIXER_MLA;
        mixer[i] = kl__str(kl_mixer_name((kl_mixer)c->mixer[i]));
        other |= c->mixer[i] != KL_MIXER_MLA && c->mixer[i] != KL_MIXER_KDA;
        leading &= c->ffn[i] != KL_FFN_DENSE || n_dense == (uint64_t)i;
        if (c->ffn[i] == KL_FFN_DENSE)
            dense[n_dense++] = i;
    }
    KL_TRY(
        put(p, kl__meta_numbers(full_key("attention.head_count_kv").text, KL__META_I32, heads, (uint64_t)c->n_layer)));
    if (other)
        KL_TRY(put(p, kl__meta_strings(full_key("klinear.mixer").text, mixer, (uint64_t)c->n_layer)));
    KL_TRY(put_int(p, "leading_dense_block_count", leading ? (int64_t)n_dense : 0));
    if (!leading)
        KL_TRY(put(p, kl__meta_numbers(full_key("klinear.dense_layers").text, KL__META_I32, dense, n_dense)));
    return KL_OK;
}

static kl_status put_gate(const struct put *p, const kl_config *c)
{
    static const char key[] = "klinear.kda.gate_activation";
    if (c->gate_act == KL_ACT_SIGMOID)
        return KL_OK;
    return put(p, kl__meta_string(full_key(key).text, kl__str(c->gate_act == KL_ACT_SILU ? "silu" : "none")));
}

/* Widths that readers derive: of a row of the cache, and of queries, keys and values as they are compared. */
static kl_status put_widths(const struct put *p, const kl_config *c)
{
    KL_TRY(put_int(p, "attention.key_length", kl__width_latent(c)));
    KL_TRY(put_int(p, "attention.value_length", c->kv_rank));
    KL_TRY(put_int(p, "attention.key_length_mla", c->qk_nope + c->qk_rope));
    return put_int(p, "attention.value_length_mla", c->v_dim);
}

kl_status kl__gguf_put_config(struct kl__writer *w, const kl_config *c, const char *name, uint32_t file_type,
                              kl_error *err)
{
    struct put p = {w, err};
    KL_TRY(put(&p, kl__meta_string("general.architecture", kl__str("kimi-linear"))));
    KL_TRY(put(&p, kl__meta_string("general.type", kl__str("model"))));
    KL_TRY(put(&p, kl__meta_string("general.name", kl__str(name))));
    KL_TRY(put(&p, kl__meta_u32("general.file_type", file_type)));
    KL_TRY(put(&p, kl__meta_u32("general.quantization_version", 2)));
    for (int i = 0; i < KL__N_CONFIG_KEY; i++)
        if (!goes_without(c, &kl__config_key[i]))
            KL_TRY(put_key(&p, c, &kl__config_key[i]));
    KL_TRY(put_layers(&p, c));
    KL_TRY(put_widths(&p, c));
    KL_TRY(put_int(&p, "expert_gating_func", c->router_softmax ? 1 : 2));
    return put_gate(&p, c);
}
