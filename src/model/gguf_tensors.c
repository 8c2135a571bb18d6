#include "model/gguf_tensors.h"

#include "base/error.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

/* --------------------------------------------------------------------------------------------------------- types -- */

static const struct {
    const char *name;
    struct kl__mixture mixture;
    uint32_t file_type;
} mixtures[] = {
    {"f32", {KL__TYPE_F32, KL__TYPE_F32}, 0},       {"f16", {KL__TYPE_F16, KL__TYPE_F16}, 1},
    {"q4_0", {KL__TYPE_Q4_0, KL__TYPE_Q4_0}, 2},    {"q4_1", {KL__TYPE_Q4_1, KL__TYPE_Q4_1}, 3},
    {"q8_0", {KL__TYPE_Q8_0, KL__TYPE_Q8_0}, 7},    {"q5_0", {KL__TYPE_Q5_0, KL__TYPE_Q5_0}, 8},
    {"q5_1", {KL__TYPE_Q5_1, KL__TYPE_Q5_1}, 9},    {"q4_k", {KL__TYPE_Q4_K, KL__TYPE_Q4_K}, 14},
    {"q4_k_m", {KL__TYPE_Q4_K, KL__TYPE_Q6_K}, 15}, {"q5_k", {KL__TYPE_Q5_K, KL__TYPE_Q5_K}, 16},
    {"q5_k_m", {KL__TYPE_Q5_K, KL__TYPE_Q6_K}, 17}, {"q6_k", {KL__TYPE_Q6_K, KL__TYPE_Q6_K}, 18},
    {"bf16", {KL__TYPE_BF16, KL__TYPE_BF16}, 32},
};

enum { N_MIXTURE = sizeof mixtures / sizeof *mixtures };

kl_status kl__mixture_of_name(struct kl__mixture *m, const char *name, kl_error *err)
{
    for (int i = 0; i < N_MIXTURE; i++)
        if (strcasecmp(mixtures[i].name, name) == 0) {
            *m = mixtures[i].mixture;
            return KL_OK;
        }
    return kl__fail(err, KL_ERR_ARGUMENT,
                    "the type is '%s', expected one of: f32 f16 bf16 q8_0 q4_0 q4_1 q5_0 q5_1 q4_k q5_k q6_k q4_k_m "
                    "q5_k_m",
                    kl__shown(kl__str(name)).text);
}

uint32_t kl__mixture_file_type(const struct kl__mixture *m)
{
    for (int i = 0; i < N_MIXTURE; i++)
        if (mixtures[i].mixture.type == m->type && mixtures[i].mixture.better == m->better)
            return mixtures[i].file_type;
    return 0;
}

/* The layers whose values and down projections are kept better: an eighth at both ends, every third between. */
static bool delicate(int layer, int n_layer)
{
    int eighth = n_layer / 8;
    return layer < eighth || layer >= 7 * n_layer / 8 || (layer - eighth) % 3 == 2;
}

static bool is_better(const kl_config *c, enum kl__param p, int layer)
{
    switch (p) {
    case KL__HEAD:
        return true;
    case KL__KDA_V:
    case KL__FFN_DOWN:
    case KL__SHARED_DOWN:
    case KL__EXPERT_DOWN:
        return delicate(layer, c->n_layer);
    default:
        return false;
    }
}

enum kl__type kl__gguf_type(const kl_config *c, const struct kl__mixture *m, const struct kl__gguf_tensor *t,
                            int64_t row)
{
    enum kl__form form = kl__param_info(t->param)->form;
    if (form != KL__FORM_MATRIX && form != KL__FORM_EXPERTS && form != KL__FORM_KV_B)
        return KL__TYPE_F32;
    return kl__type_for_row(is_better(c, t->param, t->layer) ? m->better : m->type, row);
}

/* ------------------------------------------------------------------------------------------------------- tensors -- */

int64_t kl__gguf_row(const struct kl__gguf_tensor *t)
{
    return t->dim[t->n_dim - 1];
}

int64_t kl__gguf_elements(const struct kl__gguf_tensor *t)
{
    int64_t n = 1;
    for (int i = 0; i < t->n_dim; i++)
        n *= t->dim[i];
    return n;
}

static void set_shape(struct kl__gguf_tensor *t, int n_dim, int64_t d0, int64_t d1, int64_t d2, int64_t d3)
{
    int64_t dim[4] = {d0, d1, d2, d3};
    t->n_dim = n_dim;
    memcpy(t->dim, dim, sizeof dim);
}

/* Shapes as other programs write them. */
static void shape(struct kl__gguf_tensor *t, const kl_config *c)
{
    int64_t d[2] = {0, 0};
    int n_dim = kl__param_dims(c, t->param, t->layer, d);
    switch (kl__param_info(t->param)->form) {
    case KL__FORM_EXPERTS:
        set_shape(t, 3, c->n_expert, d[0], d[1], 1);
        break;
    case KL__FORM_CONV:
        set_shape(t, 4, 1, d[0], 1, d[1]);
        break;
    case KL__FORM_A_LOG:
        set_shape(t, 4, 1, 1, d[0], 1);
        break;
    case KL__FORM_KV_B:
        if (t->part == KL__PART_K_B)
            set_shape(t, 3, c->n_head, c->kv_rank, c->qk_nope, 1);
        else
            set_shape(t, 3, c->n_head, c->v_dim, c->kv_rank, 1);
        break;
    default:
        set_shape(t, n_dim, d[0], d[1], 1, 1);
    }
}

static struct kl__gguf_tensor make(const kl_config *c, const struct kl__mixture *m, enum kl__param p, int layer,
                                   enum kl__part part)
{
    struct kl__gguf_tensor t = {.param = p, .part = part, .layer = layer};
    t.name = kl__param_name(KL__NAMES_GGUF, p, layer, 0);
    if (part != KL__PART_ALL)
        snprintf(t.name.text, sizeof t.name.text, "blk.%d.attn_%c_b.weight", layer, part == KL__PART_K_B ? 'k' : 'v');
    shape(&t, c);
    t.type = kl__gguf_type(c, m, &t, kl__gguf_row(&t));
    return t;
}

int64_t kl__gguf_tensors(struct kl__gguf_tensor *tensor, const kl_config *c, const struct kl__mixture *m)
{
    int64_t n = 0;
    for (int layer = -1; layer < c->n_layer; layer++)
        for (int p = 0; p < KL__N_PARAM; p++) {
            if (!kl__param_present(c, (enum kl__param)p, layer))
                continue;
            bool split = kl__param_info((enum kl__param)p)->form == KL__FORM_KV_B;
            for (int part = split ? KL__PART_K_B : KL__PART_ALL; part <= (split ? KL__PART_V_B : KL__PART_ALL);
                 part++) {
                if (tensor)
                    tensor[n] = make(c, m, (enum kl__param)p, layer, (enum kl__part)part);
                n++;
            }
        }
    return n;
}

/* The number of the layer that "blk.N." begins with; -1 for another beginning.  *rest is what follows. */
static int layer_of(struct kl__str name, struct kl__str *rest)
{
    int layer = 0;
    size_t i = 4;
    *rest = name;
    if (name.bytes < 6 || memcmp(name.at, "blk.", 4) != 0)
        return -1;
    for (; i < name.bytes && name.at[i] >= '0' && name.at[i] <= '9' && i < 8; i++)
        layer = layer * 10 + (name.at[i] - '0');
    if (i == 4 || i >= name.bytes || name.at[i] != '.')
        return -1;
    *rest = (struct kl__str){name.at + i + 1, name.bytes - i - 1};
    return layer;
}

bool kl__gguf_find(struct kl__gguf_tensor *t, const kl_config *c, struct kl__str name)
{
    struct kl__str rest;
    *t = (struct kl__gguf_tensor){.layer = layer_of(name, &rest)};
    if (t->layer >= c->n_layer)
        return false;
    bool keys = kl__str_same(rest, kl__str("attn_k_b.weight")), values = kl__str_same(rest, kl__str("attn_v_b.weight"));
    for (int p = 0; p < KL__N_PARAM; p++) {
        t->param = (enum kl__param)p;
        if (!kl__param_present(c, t->param, t->layer))
            continue;
        if (p == KL__MLA_KV_B && (keys || values)) {
            t->part = keys ? KL__PART_K_B : KL__PART_V_B;
            return true;
        }
        if (kl__str_same(rest, kl__str(kl__param_info(t->param)->gguf)))
            return true;
    }
    return false;
}

kl_status kl__gguf_announce(struct kl__writer *w, const struct kl__gguf_tensor *tensor, int64_t n, int64_t *bytes,
                            kl_error *err)
{
    *bytes = 0;
    for (int64_t i = 0; i < n; i++) {
        size_t each = 0;
        KL_TRY(kl__writer_tensor(w, tensor[i].name.text, tensor[i].type, tensor[i].n_dim, tensor[i].dim, err));
        kl__type_bytes(tensor[i].type, kl__gguf_elements(&tensor[i]), &each);
        *bytes += (int64_t)each;
    }
    return KL_OK;
}
