/* The metadata of a GGUF file of architecture kimi-linear.  Keys: docs/formats.md. */
#include "base/error.h"
#include "format/format.h"
#include "model/config_keys.h"

#include <stdio.h>

#define ARCHITECTURE "kimi-linear"

struct reader {
    const struct kl__store *store;
    kl_error *err;
};

struct full_key {
    char text[KL__KEY_NAME_BYTES];
};

static struct full_key full_key(const char *key)
{
    struct full_key k;
    snprintf(k.text, sizeof k.text, ARCHITECTURE ".%s", key);
    return k;
}

static const struct kl__meta *find(const struct reader *r, const char *key)
{
    return kl__meta_find(&r->store->meta, full_key(key).text);
}

static kl_status fail_value(const struct reader *r, const char *key, double found, const char *expected)
{
    return kl__fail(r->err, KL_ERR_FORMAT, "%s: key '%s' is %.12g, expected %s", kl__shown_file(r->store, 0).text,
                    full_key(key).text, found, expected);
}

static kl_status fail_missing(const struct reader *r, const char *key)
{
    return kl__fail(r->err, KL_ERR_FORMAT, "%s: key '%s' is missing", kl__shown_file(r->store, 0).text,
                    full_key(key).text);
}

/* ------------------------------------------------------------------------------------------------- plain numbers -- */

static kl_status read_number(const struct reader *r, const struct kl__config_key *k, double *value)
{
    struct full_key key = full_key(k->gguf);
    int64_t integer = 0;
    bool truth = false;
    if (k->kind == KL__KEY_FLOAT)
        return kl__store_number(value, r->store, key.text, r->err);
    if (k->kind == KL__KEY_BOOL || k->kind == KL__KEY_NOT) {
        KL_TRY(kl__store_bool(&truth, r->store, key.text, r->err));
        *value = truth;
        return KL_OK;
    }
    KL_TRY(kl__store_int(&integer, r->store, key.text, r->err));
    *value = (double)integer;
    return KL_OK;
}

static kl_status read_key(const struct reader *r, kl_config *c, const struct kl__config_key *k, bool *found)
{
    char expected[64];
    double value;
    *found = k->gguf && find(r, k->gguf);
    if (!*found)
        return KL_OK;
    KL_TRY(read_number(r, k, &value));
    if (!(value >= k->min && value <= k->max)) {
        snprintf(expected, sizeof expected, "a number in %.12g .. %.12g", k->min, k->max);
        return fail_value(r, k->gguf, value, expected);
    }
    kl__key_set(c, k, value);
    return KL_OK;
}

/* An integer in min .. max; `otherwise` when the key is absent. */
static kl_status read_int(const struct reader *r, const char *key, int64_t min, int64_t max, int64_t otherwise,
                          int64_t *value)
{
    char expected[64];
    *value = otherwise;
    if (!find(r, key))
        return KL_OK;
    KL_TRY(kl__store_int(value, r->store, full_key(key).text, r->err));
    snprintf(expected, sizeof expected, "an integer in %lld .. %lld", (long long)min, (long long)max);
    return *value >= min && *value <= max ? KL_OK : fail_value(r, key, (double)*value, expected);
}

/* -------------------------------------------------------------------------------------------------------- layers -- */

/* head_count_kv: 0 where the layer is recurrent.  One number stands for all layers. */
static kl_status read_layer_map(const struct reader *r, kl_config *c)
{
    static const char key[] = "attention.head_count_kv";
    const struct kl__meta *m = find(r, key);
    char expected[64];
    int64_t n = 0;
    if (!m)
        return fail_missing(r, key);
    if (m->type == KL__META_ARRAY)
        KL_TRY(kl__store_array(&m, r->store, full_key(key).text, KL__META_I64, r->err));
    else
        KL_TRY(kl__store_int(&n, r->store, full_key(key).text, r->err));
    snprintf(expected, sizeof expected, "one for each of %d layers", c->n_layer);
    if (m->type == KL__META_ARRAY && m->n_item != (uint64_t)c->n_layer)
        return kl__fail(r->err, KL_ERR_FORMAT, "%s: key '%s' has %llu items, expected %s",
                        kl__shown_file(r->store, 0).text, full_key(key).text, (unsigned long long)m->n_item, expected);
    for (int i = 0; i < c->n_layer; i++) {
        struct kl__meta item;
        if (m->type == KL__META_ARRAY) {
            item = kl__meta_item(m, (uint64_t)i);
            if (!kl__meta_int(&item, &n))
                n = -1;
        }
        if (n < 0 || n > 1 << 16)
            return fail_value(r, key, (double)n, "0 for a recurrent layer, the number of heads for MLA");
        c->mixer[i] = n ? KL_MIXER_MLA : KL_MIXER_KDA;
    }
    return KL_OK;
}

static kl_status set_mixer(const struct reader *r, kl_config *c, int layer, struct kl__str name)
{
    int mixer = kl__mixer_of_name(name);
    if (mixer < 0 || (mixer == KL_MIXER_MLA) != (c->mixer[layer] == KL_MIXER_MLA))
        return kl__fail(r->err, KL_ERR_FORMAT, "%s: key '%s' says '%s' of layer %d (from 0), expected %s",
                        kl__shown_file(r->store, 0).text, full_key("klinear.mixer").text, kl__shown(name).text, layer,
                        c->mixer[layer] == KL_MIXER_MLA ? "mla, as head_count_kv says"
                                                        : "kda, gdn, deltanet, mamba2, gla or linear");
    c->mixer[layer] = (uint8_t)mixer;
    return KL_OK;
}

/* Which recurrence: one name for all recurrent layers, or one name per layer. */
static kl_status read_mixers(const struct reader *r, kl_config *c)
{
    static const char key[] = "klinear.mixer";
    const struct kl__meta *m = find(r, key);
    struct kl__str one = {0};
    if (!m)
        return KL_OK;
    if (m->type == KL__META_ARRAY)
        KL_TRY(kl__store_array(&m, r->store, full_key(key).text, KL__META_STRING, r->err));
    else
        KL_TRY(kl__store_string(&one, r->store, full_key(key).text, r->err));
    if (m->type == KL__META_ARRAY && m->n_item != (uint64_t)c->n_layer)
        return kl__fail(r->err, KL_ERR_FORMAT, "%s: key '%s' has %llu items, expected one for each of %d layers",
                        kl__shown_file(r->store, 0).text, full_key(key).text, (unsigned long long)m->n_item,
                        c->n_layer);
    for (int i = 0; i < c->n_layer; i++)
        if (m->type == KL__META_ARRAY)
            KL_TRY(set_mixer(r, c, i, m->text[i]));
        else if (c->mixer[i] != KL_MIXER_MLA)
            KL_TRY(set_mixer(r, c, i, one));
    return KL_OK;
}

/* The first layers are dense, the others routed; klinear.dense_layers lists them where that is not so. */
static kl_status read_ffns(const struct reader *r, kl_config *c)
{
    static const char key[] = "klinear.dense_layers";
    const struct kl__meta *m;
    int64_t n_dense;
    KL_TRY(read_int(r, "leading_dense_block_count", 0, KL_MAX_LAYERS, 0, &n_dense));
    for (int i = 0; i < c->n_layer; i++)
        c->ffn[i] = c->n_expert > 0 && i >= n_dense ? KL_FFN_MOE : KL_FFN_DENSE;
    if (!find(r, key) || !c->n_expert)
        return KL_OK;
    KL_TRY(kl__store_array(&m, r->store, full_key(key).text, KL__META_I64, r->err));
    memset(c->ffn, KL_FFN_MOE, (size_t)c->n_layer);
    for (uint64_t i = 0; i < m->n_item; i++) {
        struct kl__meta item = kl__meta_item(m, i);
        int64_t layer;
        if (!kl__meta_int(&item, &layer) || layer < 0 || layer >= c->n_layer)
            return fail_value(r, key, (double)item.i, "numbers of layers, from 0");
        c->ffn[layer] = KL_FFN_DENSE;
    }
    return KL_OK;
}

/* ------------------------------------------------------------------------------------ what is not a plain number -- */

/* key_length_mla counts the shared columns too.  Files from before the latent cache have it as key_length. */
static kl_status read_mla_widths(const struct reader *r, kl_config *c)
{
    bool old = !find(r, "attention.key_length_mla");
    const char *key = old ? "attention.key_length" : "attention.key_length_mla";
    const char *value = old ? "attention.value_length" : "attention.value_length_mla";
    int64_t n;
    if (!kl__n_mla(c))
        return KL_OK;
    if (!find(r, key) || !find(r, value))
        return fail_missing(r, old ? "attention.key_length_mla" : value);
    KL_TRY(read_int(r, key, 1, 1 << 16, 0, &n));
    if (n <= c->qk_rope)
        return fail_value(r, key, (double)n, "more than rope.dimension_count, which it contains");
    c->qk_nope = (int)n - c->qk_rope;
    KL_TRY(read_int(r, value, 1, 1 << 16, 0, &n));
    c->v_dim = (int)n;
    return KL_OK;
}

static kl_status read_router(const struct reader *r, kl_config *c)
{
    int64_t n;
    KL_TRY(read_int(r, "expert_gating_func", 1, 2, 2, &n));
    c->router_softmax = n == 1;
    return KL_OK;
}

static kl_status read_gate(const struct reader *r, kl_config *c)
{
    static const char key[] = "klinear.kda.gate_activation";
    static const char *const word[] = {[KL_ACT_NONE] = "none", [KL_ACT_SIGMOID] = "sigmoid", [KL_ACT_SILU] = "silu"};
    struct kl__str name;
    c->gate_bounded = c->gate_lower_bound < 0;
    if (!find(r, key))
        return KL_OK;
    KL_TRY(kl__store_string(&name, r->store, full_key(key).text, r->err));
    for (c->gate_act = 0; c->gate_act < 3; c->gate_act++)
        if (kl__str_same(name, kl__str(word[c->gate_act])))
            return KL_OK;
    return kl__fail(r->err, KL_ERR_FORMAT, "%s: key '%s' is '%s', expected sigmoid, silu or none",
                    kl__shown_file(r->store, 0).text, full_key(key).text, kl__shown(name).text);
}

static kl_status read_token(const struct reader *r, const char *key, int64_t *id)
{
    return kl__meta_find(&r->store->meta, key) ? kl__store_int(id, r->store, key, r->err) : KL_OK;
}

/* ----------------------------------------------------------------------------------------------------- the whole -- */

static kl_status check_architecture(const struct reader *r)
{
    struct kl__str name;
    KL_TRY(kl__store_string(&name, r->store, "general.architecture", r->err));
    return kl__str_same(name, kl__str(ARCHITECTURE))
               ? KL_OK
               : kl__fail(r->err, KL_ERR_UNSUPPORTED, "%s: the architecture is '%s', expected " ARCHITECTURE,
                          kl__shown_file(r->store, 0).text, kl__shown(name).text);
}

/* Heads of the recurrence are those of MLA where the file does not tell them apart.  The epsilon of norms has a default
 * in config.json, and none in GGUF. */
static bool required(const kl_config *c, const struct kl__config_key *k)
{
    if (k->field == offsetof(kl_config, rms_eps))
        return true;
    return k->gguf && k->field != offsetof(kl_config, n_kda_head) && kl__key_needed(c, k);
}

static kl_status check_needed(const struct reader *r, const kl_config *c, const bool *found)
{
    for (int i = 0; i < KL__N_CONFIG_KEY; i++)
        if (!found[i] && required(c, &kl__config_key[i]))
            return fail_missing(r, kl__config_key[i].gguf);
    return KL_OK;
}

kl_status kl__config_of_gguf(kl_config *c, const struct kl__store *store, kl_error *err)
{
    struct reader r = {store, err};
    kl_config new = kl__config_unknown();
    bool found[KL__N_CONFIG_KEY];
    new.n_vocab = KL__UNKNOWN;
    KL_TRY(check_architecture(&r));
    for (int i = 0; i < KL__N_CONFIG_KEY; i++)
        KL_TRY(read_key(&r, &new, &kl__config_key[i], &found[i]));
    if (new.n_layer == 0)
        return fail_missing(&r, "block_count");
    KL_TRY(read_layer_map(&r, &new));
    KL_TRY(read_mixers(&r, &new));
    KL_TRY(read_ffns(&r, &new));
    KL_TRY(check_needed(&r, &new, found));
    if (new.n_kda_head == 0)
        new.n_kda_head = new.n_head;
    KL_TRY(read_mla_widths(&r, &new));
    KL_TRY(read_router(&r, &new));
    KL_TRY(read_gate(&r, &new));
    KL_TRY(read_token(&r, "tokenizer.ggml.bos_token_id", &new.bos));
    KL_TRY(read_token(&r, "tokenizer.ggml.eos_token_id", &new.eos));
    KL_TRY(read_token(&r, "tokenizer.ggml.padding_token_id", &new.pad));
    *c = new;
    return KL_OK;
}
