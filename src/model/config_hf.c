/* config.json, as the released configuration class, the native port and FLA spell it.  Keys: docs/formats.md. */
#include "base/error.h"
#include "format/json.h"
#include "model/config_keys.h"

#include <stdio.h>

struct reader {
    const struct json_t *root;
    const char *path;
    kl_error *err;
};

static kl_status fail_value(const struct reader *r, const char *key, const struct json_t *found, const char *expected)
{
    char text[64] = "a string";
    double number;
    int64_t integer;
    bool truth;
    struct kl__str string;
    if (kl__json_int(found, &integer))
        snprintf(text, sizeof text, "%lld", (long long)integer);
    else if (kl__json_number(found, &number))
        snprintf(text, sizeof text, "%g", number);
    else if (kl__json_bool(found, &truth))
        snprintf(text, sizeof text, "%s", truth ? "true" : "false");
    else if (kl__json_string(found, &string))
        snprintf(text, sizeof text, "'%.40s'", kl__shown(string).text);
    else
        snprintf(text, sizeof text, "%s", kl__json_is_object(found) ? "an object" : "a list");
    return kl__fail(r->err, KL_ERR_FORMAT, "%s: key '%s' is %s, expected %s", kl__shown_path(r->path).text, key, text,
                    expected);
}

static kl_status fail_unsupported(const struct reader *r, const char *key, const char *why)
{
    return kl__fail(r->err, KL_ERR_UNSUPPORTED, "%s: key '%s' %s", kl__shown_path(r->path).text, key, why);
}

/* The value of "key" or "object.key"; NULL where it is absent or null. */
static const struct json_t *member(const struct reader *r, const char *key)
{
    const struct json_t *object = r->root;
    const char *dot = strchr(key, '.');
    if (dot) {
        char outer[KL__KEY_NAME_BYTES];
        snprintf(outer, sizeof outer, "%.*s", (int)(dot - key), key);
        object = kl__json_member(object, outer);
        key = dot + 1;
    }
    const struct json_t *value = kl__json_member(object, key);
    return value && !kl__json_is_null(value) ? value : NULL;
}

/* ------------------------------------------------------------------------------------------------- plain numbers -- */

/* What the value must be, in words. */
static void describe(char *text, size_t room, const struct kl__config_key *k)
{
    if (k->kind == KL__KEY_BOOL || k->kind == KL__KEY_NOT)
        snprintf(text, room, "true or false");
    else
        snprintf(text, room, "%s in %.12g .. %.12g", k->kind == KL__KEY_FLOAT ? "a number" : "an integer", k->min,
                 k->max);
}

static bool read_value(const struct kl__config_key *k, const struct json_t *value, double *to)
{
    int64_t integer;
    bool truth;
    if (k->kind == KL__KEY_BOOL || k->kind == KL__KEY_NOT) {
        bool fine = kl__json_bool(value, &truth);
        *to = fine && truth != (k->kind == KL__KEY_NOT);
        return fine;
    }
    if (k->kind == KL__KEY_FLOAT)
        return kl__json_number(value, to) && *to >= k->min && *to <= k->max;
    if (!kl__json_int(value, &integer))
        return false;
    *to = (double)integer;
    return *to >= k->min && *to <= k->max;
}

/* All names that stand in the file must agree. */
static kl_status read_key(const struct reader *r, kl_config *c, const struct kl__config_key *k, bool *found)
{
    char name[KL__KEY_NAME_BYTES], first[KL__KEY_NAME_BYTES] = "", expected[80];
    double value = 0, other;
    *found = false;
    for (int i = 0; kl__key_name(name, k->hf, i); i++) {
        const struct json_t *v = member(r, name);
        if (!v)
            continue;
        describe(expected, sizeof expected, k);
        if (!read_value(k, v, &other))
            return fail_value(r, name, v, expected);
        if (*found && other != value) {
            snprintf(expected, sizeof expected, "what '%.40s' says, %g", first, value);
            return fail_value(r, name, v, expected);
        }
        if (!*found)
            memcpy(first, name, sizeof first);
        *found = true;
        value = other;
    }
    if (*found)
        kl__key_set(c, k, value);
    return KL_OK;
}

/* -------------------------------------------------------------------------------------------------------- layers -- */

enum { UNSAID = 255 };

/* Gives the layers of a list, counted from 1, a mixer. */
static kl_status read_layer_list(const struct reader *r, kl_config *c, const char *key, uint8_t mixer)
{
    const struct json_t *list = member(r, key);
    char expected[64];
    if (!list)
        return fail_value(r, "linear_attn_config", member(r, "linear_attn_config"),
                          "an object with the lists kda_layers and full_attn_layers");
    if (!kl__json_is_array(list))
        return fail_value(r, key, list, "a list of layers");
    for (size_t i = 0; i < kl__json_items(list); i++) {
        const struct json_t *item = kl__json_item(list, i);
        int64_t layer;
        snprintf(expected, sizeof expected, "layers in 1 .. %d", c->n_layer);
        if (!kl__json_int(item, &layer) || layer < 1 || layer > c->n_layer)
            return fail_value(r, key, item, expected);
        if (c->mixer[layer - 1] != UNSAID)
            return fail_value(r, key, item, "every layer once in kda_layers and full_attn_layers together");
        c->mixer[layer - 1] = mixer;
    }
    return KL_OK;
}

/* kda_layers and full_attn_layers: disjoint, and together all layers. */
static kl_status read_both_lists(const struct reader *r, kl_config *c)
{
    memset(c->mixer, UNSAID, sizeof c->mixer);
    KL_TRY(read_layer_list(r, c, "linear_attn_config.kda_layers", KL_MIXER_KDA));
    KL_TRY(read_layer_list(r, c, "linear_attn_config.full_attn_layers", KL_MIXER_MLA));
    for (int i = 0; i < c->n_layer; i++)
        if (c->mixer[i] == UNSAID)
            return kl__fail(r->err, KL_ERR_FORMAT,
                            "%s: layer %d stands neither in kda_layers nor in full_attn_layers, expected in one",
                            kl__shown_path(r->path).text, i + 1);
    return KL_OK;
}

/* Item `i` of a list of names, one per layer. */
static kl_status layer_word(const struct reader *r, const kl_config *c, const char *key, int i, struct kl__str *word)
{
    const struct json_t *list = member(r, key);
    char expected[64];
    snprintf(expected, sizeof expected, "a list of %d names, one per layer", c->n_layer);
    if (!kl__json_is_array(list) || kl__json_items(list) != (size_t)c->n_layer)
        return fail_value(r, key, list, expected);
    const struct json_t *item = kl__json_item(list, (size_t)i);
    return kl__json_string(item, word) ? KL_OK : fail_value(r, key, item, expected);
}

/* layer_types of the native port; `agree`: the lists have been read and must say the same. */
static kl_status read_layer_types(const struct reader *r, kl_config *c, bool agree)
{
    for (int i = 0; i < c->n_layer; i++) {
        struct kl__str word;
        KL_TRY(layer_word(r, c, "layer_types", i, &word));
        bool full = kl__str_same(word, kl__str("full_attention"));
        if (!full && !kl__str_same(word, kl__str("linear_attention")))
            return fail_value(r, "layer_types", kl__json_item(member(r, "layer_types"), (size_t)i),
                              "full_attention or linear_attention");
        uint8_t mixer = full ? KL_MIXER_MLA : KL_MIXER_KDA;
        if (agree && c->mixer[i] != mixer)
            return kl__fail(r->err, KL_ERR_FORMAT,
                            "%s: layer_types says %s of layer %d (from 0), the lists of linear_attn_config do not",
                            kl__shown_path(r->path).text, full ? "full_attention" : "linear_attention", i);
        c->mixer[i] = mixer;
    }
    return KL_OK;
}

/* klinear_mixer: which recurrence the linear layers are; one name, or a list with one per layer. */
static kl_status read_mixers(const struct reader *r, kl_config *c)
{
    static const char key[] = "klinear_mixer", expected[] = "kda, gdn, deltanet, mamba2, gla or linear";
    const struct json_t *value = member(r, key);
    struct kl__str word;
    if (!value)
        return KL_OK;
    for (int i = 0; i < c->n_layer; i++) {
        if (!kl__json_string(value, &word))
            KL_TRY(layer_word(r, c, key, i, &word));
        else if (c->mixer[i] == KL_MIXER_MLA)
            continue;
        int mixer = kl__mixer_of_name(word);
        if (mixer < 0 || (mixer == KL_MIXER_MLA) != (c->mixer[i] == KL_MIXER_MLA))
            return fail_value(r, key, kl__json_is_array(value) ? kl__json_item(value, (size_t)i) : value,
                              mixer < 0 ? expected : "mla in the layers of full attention, and only there");
        c->mixer[i] = (uint8_t)mixer;
    }
    return KL_OK;
}

static kl_status read_layers(const struct reader *r, kl_config *c)
{
    const struct json_t *linear = member(r, "linear_attn_config");
    bool lists = member(r, "linear_attn_config.kda_layers") || member(r, "linear_attn_config.full_attn_layers");
    bool types = member(r, "layer_types") != NULL;
    if (linear && !kl__json_is_object(linear))
        return fail_value(r, "linear_attn_config", linear, "an object");
    memset(c->mixer, KL_MIXER_MLA, sizeof c->mixer);
    if (lists || (linear && !types))
        KL_TRY(read_both_lists(r, c));
    if (types)
        KL_TRY(read_layer_types(r, c, lists));
    return read_mixers(r, c);
}

static kl_status read_count(const struct reader *r, const char *key, int64_t min, int64_t *to)
{
    const struct json_t *v = member(r, key);
    char expected[48];
    snprintf(expected, sizeof expected, "an integer from %lld on", (long long)min);
    return v && (!kl__json_int(v, to) || *to < min) ? fail_value(r, key, v, expected) : KL_OK;
}

/* Dense or routed: mlp_layer_types of the native port, or the rule of the released configuration. */
static kl_status read_ffns(const struct reader *r, kl_config *c)
{
    int64_t first = 0, freq = 1;
    KL_TRY(read_count(r, "first_k_dense_replace", 0, &first));
    KL_TRY(read_count(r, "moe_layer_freq", 1, &freq));
    for (int i = 0; i < c->n_layer; i++) {
        bool moe = c->n_expert > 0 && i >= first && i % freq == 0;
        if (member(r, "mlp_layer_types")) {
            struct kl__str word;
            KL_TRY(layer_word(r, c, "mlp_layer_types", i, &word));
            moe = kl__str_same(word, kl__str("sparse"));
            if (!moe && !kl__str_same(word, kl__str("dense")))
                return fail_value(r, "mlp_layer_types", kl__json_item(member(r, "mlp_layer_types"), (size_t)i),
                                  "dense or sparse");
        }
        c->ffn[i] = moe ? KL_FFN_MOE : KL_FFN_DENSE;
    }
    return KL_OK;
}

/* ------------------------------------------------------------------------------------ what is not a plain number -- */

/* The index of the word that the key says, `otherwise` when it says nothing. */
static kl_status read_word(const struct reader *r, const char *key, const char *a, const char *b, const char *none,
                           int otherwise, int *index)
{
    const struct json_t *v = member(r, key);
    struct kl__str word = {0};
    char expected[64];
    *index = otherwise;
    if (!v)
        return KL_OK;
    if (!kl__json_string(v, &word))
        word = (struct kl__str){0};
    const char *const words[] = {none, a, b};
    for (int i = 0; i < 3; i++)
        if (words[i] && kl__str_same(word, kl__str(words[i]))) {
            *index = i;
            return KL_OK;
        }
    snprintf(expected, sizeof expected, "%s%s%s%s%s", a, b ? " or " : "", b ? b : "", none ? " or " : "",
             none ? none : "");
    return fail_value(r, key, v, expected);
}

static kl_status read_flag(const struct reader *r, const char *names, bool *found, bool *to)
{
    char name[KL__KEY_NAME_BYTES];
    bool value;
    *found = false;
    for (int i = 0; kl__key_name(name, names, i); i++) {
        const struct json_t *v = member(r, name);
        if (!v)
            continue;
        if (!kl__json_bool(v, &value) || (*found && value != *to))
            return fail_value(r, name, v, *found ? "what its other name says" : "true or false");
        *found = true;
        *to = value;
    }
    return KL_OK;
}

/* FLA's safe_gate and lower_bound; its default bound is -5. */
static kl_status read_gate(const struct reader *r, kl_config *c)
{
    bool found, flag = false;
    KL_TRY(read_word(r, "linear_attn_config.klinear_gate_activation", "sigmoid", "silu", "none", KL_ACT_SIGMOID,
                     &c->gate_act));
    KL_TRY(read_flag(r, "linear_attn_config.safe_gate|safe_gate", &found, &flag));
    c->gate_bounded = found ? flag : c->gate_lower_bound < 0;
    if (!c->gate_bounded)
        c->gate_lower_bound = 0;
    else if (c->gate_lower_bound == 0)
        c->gate_lower_bound = -5;
    return KL_OK;
}

static kl_status read_conv(const struct reader *r, kl_config *c)
{
    bool found, flag = true;
    KL_TRY(read_flag(r, "linear_attn_config.use_short_conv|use_short_conv", &found, &flag));
    if (!flag)
        c->n_conv = 0;
    return KL_OK;
}

/* FLA's expand_v: the value width as a multiple of the key width. */
static kl_status read_expand(const struct reader *r, kl_config *c)
{
    static const char key[] = "linear_attn_config.expand_v";
    const struct json_t *v = member(r, key);
    double factor;
    if (!v)
        return KL_OK;
    if (!kl__json_number(v, &factor) || !(factor > 0 && factor <= 1 << 16) ||
        (double)(int64_t)(factor * c->kda_k) != factor * c->kda_k)
        return fail_value(r, key, v, "a number that makes the width of values an integer");
    if (c->kda_v != KL__UNKNOWN && c->kda_v != factor * c->kda_k)
        return fail_value(r, key, v, "what klinear_value_head_dim says");
    c->kda_v = factor * c->kda_k <= 1 << 16 ? (int)(factor * c->kda_k) : 0;
    return KL_OK;
}

/* An id, or the first of a list of ids. */
static kl_status read_token(const struct reader *r, const char *key, int64_t *id)
{
    const struct json_t *v = member(r, key);
    if (v && kl__json_is_array(v) && kl__json_items(v))
        v = kl__json_item(v, 0);
    return v && !kl__json_int(v, id) ? fail_value(r, key, v, "the id of a token") : KL_OK;
}

static kl_status read_others(const struct reader *r, kl_config *c)
{
    int score, act;
    KL_TRY(read_word(r, "hidden_act", "silu", NULL, NULL, 1, &act));
    KL_TRY(read_word(r, "moe_router_activation_func", "sigmoid", "softmax", NULL, 1, &score));
    c->router_softmax = score == 2;
    KL_TRY(read_gate(r, c));
    KL_TRY(read_conv(r, c));
    KL_TRY(read_expand(r, c));
    KL_TRY(read_token(r, "bos_token_id", &c->bos));
    KL_TRY(read_token(r, "eos_token_id", &c->eos));
    return read_token(r, "pad_token_id", &c->pad);
}

/* What other models of the family have, and this library does not. */
static kl_status refuse_unknown(const struct reader *r, const kl_config *c)
{
    int64_t n = 0;
    KL_TRY(read_count(r, "num_nextn_predict_layers", 0, &n));
    if (n > 0)
        return fail_unsupported(r, "num_nextn_predict_layers", "asks for layers that predict more than one token");
    if (member(r, "quantization_config"))
        return fail_unsupported(r, "quantization_config", "says that the tensors are quantised in a way of its own");
    if (c->rope && member(r, "rope_scaling"))
        return fail_unsupported(r, "rope_scaling", "asks for scaled rotary positions");
    n = c->n_head;
    KL_TRY(read_count(r, "num_key_value_heads", 1, &n));
    if (n != c->n_head && kl__n_mla(c))
        return fail_unsupported(r, "num_key_value_heads", "differs from num_attention_heads");
    return KL_OK;
}

/* ----------------------------------------------------------------------------------------------------- the whole -- */

static kl_status check_architecture(const struct reader *r)
{
    const struct json_t *type = member(r, "model_type"), *names = member(r, "architectures");
    struct kl__str word;
    if (!kl__json_is_object(r->root))
        return kl__fail(r->err, KL_ERR_FORMAT, "%s: is no object, expected a configuration",
                        kl__shown_path(r->path).text);
    if (kl__json_string(type, &word) && kl__str_same(word, kl__str("kimi_linear")))
        return KL_OK;
    if (kl__json_string(kl__json_item(names, 0), &word) && kl__str_same(word, kl__str("KimiLinearForCausalLM")))
        return KL_OK;
    if (!type && !names)
        return kl__fail(r->err, KL_ERR_FORMAT, "%s: key 'model_type' is missing", kl__shown_path(r->path).text);
    if (!kl__json_string(type, &word) && !kl__json_string(kl__json_item(names, 0), &word))
        word = kl__str("?");
    return kl__fail(r->err, KL_ERR_UNSUPPORTED, "%s: the architecture is '%s', expected kimi_linear",
                    kl__shown_path(r->path).text, kl__shown(word).text);
}

static kl_status check_needed(const struct reader *r, const kl_config *c, const bool *found)
{
    char name[KL__KEY_NAME_BYTES];
    for (int i = 0; i < KL__N_CONFIG_KEY; i++)
        if (!found[i] && kl__key_needed(c, &kl__config_key[i])) {
            kl__key_name(name, kl__config_key[i].hf, 0);
            return kl__fail(r->err, KL_ERR_FORMAT, "%s: key '%s' is missing", kl__shown_path(r->path).text, name);
        }
    return KL_OK;
}

static kl_status read_all(const struct reader *r, kl_config *c)
{
    bool found[KL__N_CONFIG_KEY];
    KL_TRY(check_architecture(r));
    for (int i = 0; i < KL__N_CONFIG_KEY; i++)
        KL_TRY(read_key(r, c, &kl__config_key[i], &found[i]));
    if (c->n_layer == 0)
        return check_needed(r, c, found);
    KL_TRY(read_layers(r, c));
    KL_TRY(read_ffns(r, c));
    KL_TRY(check_needed(r, c, found));
    KL_TRY(read_others(r, c));
    return refuse_unknown(r, c);
}

kl_status kl__config_of_json(kl_config *c, struct kl__str text, const char *path, kl_error *err)
{
    struct json_t *root;
    kl_config new = kl__config_unknown();
    KL_TRY(kl__json_parse(&root, text, path, "configuration", err));
    struct reader r = {root, path, err};
    kl_status status = read_all(&r, &new);
    kl__json_free(root);
    if (status == KL_OK)
        *c = new;
    return status;
}
