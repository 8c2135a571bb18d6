/* Limits of a configuration: every number, agreement between them, and sizes that can be computed with. */
#include "base/error.h"
#include "model/config_keys.h"
#include "model/params.h"

#include <limits.h>

/* Elements of one tensor at most; sums over layers and multiples by the bytes of an element stay far inside 63 bits. */
#define ELEMENTS ((int64_t)1 << 40)

struct checker {
    const kl_config *c;
    const char *path;
    kl_error *err;
};

static kl_status fail_field(const struct checker *k, const char *field, double found, const char *expected)
{
    return kl__fail(k->err, KL_ERR_FORMAT, "%s: %s is %.12g, expected %s", kl__shown_path(k->path).text, field, found,
                    expected);
}

/* A number that a model with these layers needs is there; any other may be 0 as well. */
static kl_status check_number(const struct checker *k, const struct kl__config_key *key)
{
    char name[KL__KEY_NAME_BYTES];
    double value = kl__key_get(k->c, key);
    if ((value >= key->min && value <= key->max) || (value == 0 && !kl__key_needed(k->c, key)))
        return KL_OK;
    kl__key_name(name, key->hf, 0);
    return kl__fail(k->err, KL_ERR_FORMAT, "%s: %s is %.12g, expected a number in %.12g .. %.12g",
                    kl__shown_path(k->path).text, name, value, key->min, key->max);
}

static kl_status check_layers(const struct checker *k)
{
    for (int i = 0; i < k->c->n_layer; i++) {
        if (k->c->mixer[i] >= KL_N_MIXER)
            return fail_field(k, "the mixer of a layer", k->c->mixer[i], "one of kl_mixer");
        if (k->c->ffn[i] > KL_FFN_MOE)
            return fail_field(k, "the feed-forward of a layer", k->c->ffn[i], "one of kl_ffn");
    }
    return KL_OK;
}

static kl_status check_recurrent(const struct checker *k)
{
    const kl_config *c = k->c;
    if (!kl__n_recurrent(c))
        return KL_OK;
    if (c->n_kda_v_head < 1 || c->n_kda_v_head % c->n_kda_head)
        return fail_field(k, "num_v_heads", c->n_kda_v_head, "a multiple of num_heads");
    if (c->kda_v < 1)
        return fail_field(k, "the width of a value head", c->kda_v, "at least 1");
    if (c->gate_act < KL_ACT_NONE || c->gate_act > KL_ACT_SILU)
        return fail_field(k, "the activation of the output gate", c->gate_act, "none, sigmoid or silu");
    if (c->gate_bounded != (c->gate_lower_bound < 0))
        return fail_field(k, "lower_bound", (double)c->gate_lower_bound,
                          c->gate_bounded ? "less than 0" : "0 without safe_gate");
    for (int i = 0; i < c->n_layer; i++)
        if (kl__mixer_decays_channels(c->mixer[i]) && kl__mixer_recurrent(c->mixer[i]) && c->decay_rank < 1)
            return fail_field(k, "the rank of the decay gate", c->decay_rank, "at least 1");
    if (c->conv_bias && !c->n_conv)
        return fail_field(k, "short_conv_kernel_size", 0, "at least 1 with conv_bias");
    return KL_OK;
}

static kl_status check_mla(const struct checker *k)
{
    const kl_config *c = k->c;
    if (kl__n_mla(c) && c->rope && (c->qk_rope < 2 || c->qk_rope % 2))
        return fail_field(k, "qk_rope_head_dim", c->qk_rope, "an even number, since it is to be rotated");
    return KL_OK;
}

static kl_status check_experts(const struct checker *k)
{
    const kl_config *c = k->c;
    bool any = false;
    for (int i = 0; i < c->n_layer; i++)
        any |= c->ffn[i] == KL_FFN_MOE;
    if (!any)
        return KL_OK;
    if (c->n_expert < 1)
        return fail_field(k, "num_experts", c->n_expert, "at least 1");
    if (c->n_group < 1 || c->n_expert % c->n_group || (c->n_group > 1 && c->n_expert / c->n_group < 2))
        return fail_field(k, "num_expert_group", c->n_group,
                          "a divisor of num_experts with at least 2 experts a group");
    if (c->topk_group < 1 || c->topk_group > c->n_group)
        return fail_field(k, "topk_group", c->topk_group, "1 .. num_expert_group");
    if (c->n_expert_used > c->n_expert / c->n_group * c->topk_group)
        return fail_field(k, "num_experts_per_token", c->n_expert_used, "at most the experts that groups leave");
    return KL_OK;
}

/* Every parameter's dimensions fit an int, and its elements can be counted. */
static kl_status check_param(const struct checker *k, enum kl__param p, int layer)
{
    int64_t dim[2] = {1, 1};
    if (!kl__param_present(k->c, p, layer))
        return KL_OK;
    int n_dim = kl__param_dims(k->c, p, layer, dim);
    int64_t across = n_dim == 2 ? dim[1] : 1;
    int64_t each = kl__param_info(p)->form == KL__FORM_EXPERTS ? k->c->n_expert : 1;
    if (dim[0] > 0 && across > 0 && dim[0] <= INT_MAX && across <= INT_MAX && dim[0] <= ELEMENTS / across / each)
        return KL_OK;
    return kl__fail(k->err, KL_ERR_UNSUPPORTED, "%s: %s would have %lld x %lld x %lld elements, allowed are 1 .. 2^40",
                    kl__shown_path(k->path).text, kl__param_info(p)->name, (long long)each, (long long)dim[0],
                    (long long)across);
}

static kl_status check_sizes(const struct checker *k)
{
    const kl_config *c = k->c;
    int64_t heads = c->n_kda_v_head, state = (int64_t)c->kda_k * c->kda_v;
    if (kl__n_recurrent(c) && heads > ELEMENTS / state)
        return kl__fail(k->err, KL_ERR_UNSUPPORTED, "%s: a state would have %d x %d x %d elements, allowed are 2^40",
                        kl__shown_path(k->path).text, c->n_kda_v_head, c->kda_k, c->kda_v);
    for (int layer = -1; layer < c->n_layer; layer++)
        for (int p = 0; p < KL__N_PARAM; p++)
            KL_TRY(check_param(k, (enum kl__param)p, layer));
    return KL_OK;
}

kl_status kl__config_check(const kl_config *c, const char *path, kl_error *err)
{
    struct checker k = {c, path, err};
    if (c->n_layer < 1 || c->n_layer > KL_MAX_LAYERS)
        return fail_field(&k, "num_hidden_layers", c->n_layer, "an integer in 1 .. 512");
    KL_TRY(check_layers(&k));
    for (int i = 0; i < KL__N_CONFIG_KEY; i++)
        KL_TRY(check_number(&k, &kl__config_key[i]));
    KL_TRY(check_recurrent(&k));
    KL_TRY(check_mla(&k));
    KL_TRY(check_experts(&k));
    return check_sizes(&k);
}
