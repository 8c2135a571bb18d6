#include "model/checkpoint.h"

#include "base/error.h"
#include "base/memory.h"
#include "format/format.h"

#include <stdio.h>

enum {
    NAME_BYTES = 160,
    MOST_EXPERTS = 1 << 16,
    LEAST_NUMBERS = 512, /* of an expert, so that a small file cannot name many of them */
};

/* Names behind "model.layers.N.". */
static const struct renamed {
    const char *native, *released;
} renamed[] = {
    {"self_attn.forget_gate_down.weight", "self_attn.f_a_proj.weight"},
    {"self_attn.forget_gate_up.weight", "self_attn.f_b_proj.weight"},
    {"self_attn.beta_proj.weight", "self_attn.b_proj.weight"},
    {"self_attn.output_gate_down.weight", "self_attn.g_a_proj.weight"},
    {"self_attn.output_gate_up.weight", "self_attn.g_b_proj.weight"},
    {"self_attn.output_gate.weight", "self_attn.g_proj.weight"},
    {"mlp.gate.weight", "block_sparse_moe.gate.weight"},
    {"mlp.gate.e_score_correction_bias", "block_sparse_moe.gate.e_score_correction_bias"},
    {"mlp.shared_experts.gate_proj.weight", "block_sparse_moe.shared_experts.gate_proj.weight"},
    {"mlp.shared_experts.up_proj.weight", "block_sparse_moe.shared_experts.up_proj.weight"},
    {"mlp.shared_experts.down_proj.weight", "block_sparse_moe.shared_experts.down_proj.weight"},
};

/* Other tensors than the files name.  The list is made twice: first it is only counted, then it is filled. */
struct list {
    const struct kl__store *store;
    struct kl__stored *tensor; /* NULL: counting */
    char *text;                /* names that stand in no file, one behind the other */
    int64_t n;
    size_t n_text;
    kl_error *err;
};

/* ------------------------------------------------------------------------------------------------------- entries -- */

static void put(struct list *l, const struct kl__stored *t)
{
    if (l->tensor)
        l->tensor[l->n] = *t;
    l->n++;
}

/* `t` under another name: "model.layers.N." and the rest. */
static void put_named(struct list *l, const struct kl__stored *t, int layer, const char *rest)
{
    char name[NAME_BYTES];
    size_t bytes = (size_t)snprintf(name, sizeof name, "model.layers.%d.%s", layer, rest);
    struct kl__stored copy = *t;
    if (l->tensor)
        copy.name = (struct kl__str){memcpy(l->text + l->n_text, name, bytes), bytes};
    l->n_text += bytes;
    put(l, &copy);
}

/* Rows `first` to `first + n` of `t`, whose rows have `row` numbers. */
static void put_rows(struct list *l, const struct kl__stored *t, int layer, const char *rest, int64_t first, int64_t n,
                     int64_t row)
{
    struct kl__stored part = *t;
    part.data = (const char *)t->data + first * row * kl__type_info(t->type)->bytes;
    part.n_dim = 2;
    part.dim[0] = n;
    part.dim[1] = row;
    put_named(l, &part, layer, rest);
}

/* -------------------------------------------------------------------------------------------------------- stacks -- */

static kl_status fail_stack(const struct list *l, const struct kl__stored *t, const char *expected)
{
    return kl__fail(l->err, KL_ERR_SHAPE, "%s: tensor '%s' is %s, expected %s", kl__shown_file(l->store, t->file).text,
                    kl__shown(t->name).text, kl__shown_shape(t->n_dim, t->dim).text, expected);
}

static bool stacks_experts(const struct kl__stored *t)
{
    return t->n_dim == 3 && t->dim[0] <= MOST_EXPERTS && t->dim[1] * t->dim[2] >= LEAST_NUMBERS;
}

/* [experts][2 width][columns]: the gate's rows of an expert, then those of up. */
static kl_status put_gates_and_ups(struct list *l, const struct kl__stored *t, int layer)
{
    char rest[NAME_BYTES];
    if (!stacks_experts(t) || t->dim[1] % 2)
        return fail_stack(l, t, "[experts][2 width][columns], 512 numbers an expert at least");
    int64_t width = t->dim[1] / 2;
    for (int e = 0; e < (int)t->dim[0]; e++) {
        snprintf(rest, sizeof rest, "block_sparse_moe.experts.%d.w1.weight", e);
        put_rows(l, t, layer, rest, 2 * e * width, width, t->dim[2]);
        snprintf(rest, sizeof rest, "block_sparse_moe.experts.%d.w3.weight", e);
        put_rows(l, t, layer, rest, (2 * e + 1) * width, width, t->dim[2]);
    }
    return KL_OK;
}

static kl_status put_downs(struct list *l, const struct kl__stored *t, int layer)
{
    char rest[NAME_BYTES];
    if (!stacks_experts(t))
        return fail_stack(l, t, "[experts][columns][width], 512 numbers an expert at least");
    for (int e = 0; e < (int)t->dim[0]; e++) {
        snprintf(rest, sizeof rest, "block_sparse_moe.experts.%d.w2.weight", e);
        put_rows(l, t, layer, rest, e * t->dim[1], t->dim[1], t->dim[2]);
    }
    return KL_OK;
}

/* Rows of a projection of the layer; 0: it is not there. */
static int64_t rows_of(const struct list *l, int layer, const char *projection)
{
    char name[NAME_BYTES];
    snprintf(name, sizeof name, "model.layers.%d.self_attn.%s.weight", layer, projection);
    const struct kl__stored *t = kl__store_find(l->store, name);
    return t && t->n_dim == 2 ? t->dim[0] : 0;
}

/* The channels of q, k and v: [channels][1][taps]. */
static kl_status put_convolutions(struct list *l, const struct kl__stored *t, int layer)
{
    int64_t k = rows_of(l, layer, "k_proj"), v = rows_of(l, layer, "v_proj");
    if (t->n_dim != 3 || t->dim[1] != 1 || k > t->dim[0] || t->dim[0] - k != k + v)
        return fail_stack(l, t, "[rows of q_proj, k_proj and v_proj together][1][taps]");
    put_rows(l, t, layer, "self_attn.q_conv1d.weight", 0, k, t->dim[2]);
    put_rows(l, t, layer, "self_attn.k_conv1d.weight", k, k, t->dim[2]);
    put_rows(l, t, layer, "self_attn.v_conv1d.weight", 2 * k, v, t->dim[2]);
    return KL_OK;
}

/* [heads][channels], which the release has in one row. */
static kl_status put_flat(struct list *l, const struct kl__stored *t, int layer)
{
    struct kl__stored flat = *t;
    (void)layer;
    flat.n_dim = 1;
    flat.dim[0] = kl__stored_elements(t);
    put(l, &flat);
    return KL_OK;
}

static const struct stack {
    const char *native;
    kl_status (*put)(struct list *l, const struct kl__stored *t, int layer);
} stacks[] = {
    {"mlp.experts.gate_up_proj", put_gates_and_ups},
    {"mlp.experts.down_proj", put_downs},
    {"self_attn.conv1d.weight", put_convolutions},
    {"self_attn.dt_bias", put_flat},
};

static kl_status put_stack(struct list *l, const struct stack *s, const struct kl__stored *t, int layer)
{
    if (kl__type_info(t->type)->elements == 1)
        return s->put(l, t, layer);
    return kl__fail(l->err, KL_ERR_UNSUPPORTED, "%s: tensor '%s' is %s, expected F32, F16 or BF16",
                    kl__shown_file(l->store, t->file).text, kl__shown(t->name).text, kl__type_info(t->type)->name);
}

/* ------------------------------------------------------------------------------------------------------ the list -- */

/* What stands behind "model.layers.N."; empty: nothing such. */
static struct kl__str behind_layer(struct kl__str name, int *layer)
{
    static const char start[] = "model.layers.";
    const size_t first = sizeof start - 1;
    size_t at = first;
    if (name.bytes <= first || memcmp(name.at, start, first) != 0)
        return (struct kl__str){0};
    for (*layer = 0; at < name.bytes && at < first + 6 && name.at[at] >= '0' && name.at[at] <= '9'; at++)
        *layer = 10 * *layer + (name.at[at] - '0');
    if (at == first || at == name.bytes || name.at[at] != '.')
        return (struct kl__str){0};
    return (struct kl__str){name.at + at + 1, name.bytes - at - 1};
}

static kl_status put_one(struct list *l, const struct kl__stored *t)
{
    int layer = 0;
    struct kl__str rest = behind_layer(t->name, &layer);
    for (size_t i = 0; i < sizeof stacks / sizeof *stacks; i++)
        if (kl__str_same(rest, kl__str(stacks[i].native)))
            return put_stack(l, &stacks[i], t, layer);
    for (size_t i = 0; i < sizeof renamed / sizeof *renamed; i++)
        if (kl__str_same(rest, kl__str(renamed[i].native))) {
            put_named(l, t, layer, renamed[i].released);
            return KL_OK;
        }
    put(l, t);
    return KL_OK;
}

static kl_status put_all(struct list *l)
{
    l->n = 0;
    l->n_text = 0;
    for (int64_t i = 0; i < l->store->n_tensor; i++)
        KL_TRY(put_one(l, &l->store->tensor[i]));
    return KL_OK;
}

static kl_status give_released_names(struct kl__store *s, kl_error *err)
{
    struct list l = {.store = s, .err = err};
    KL_TRY(put_all(&l));
    if (l.n_text == 0)
        return KL_OK;
    l.tensor = kl__alloc(s->alloc, (size_t)l.n * sizeof *l.tensor);
    l.text = kl__alloc(s->alloc, l.n_text);
    kl_status status = KL_ERR_MEMORY;
    if (l.tensor && l.text)
        status = put_all(&l);
    else
        kl__fail(err, status, "%s: no memory for the names of %lld tensors", kl__shown_file(s, 0).text, (long long)l.n);
    if (status == KL_OK)
        return kl__store_replace(s, l.tensor, l.n, l.text, err);
    kl__release(s->alloc, l.tensor);
    kl__release(s->alloc, l.text);
    return status;
}

kl_status kl__checkpoint_open(struct kl__store **store, const char *path, const kl_allocator *alloc, kl_error *err)
{
    struct kl__store *s;
    KL_TRY(kl__store_open(&s, path, alloc, err));
    kl_status status = give_released_names(s, err);
    if (status == KL_OK)
        *store = s;
    else
        kl__store_close(s);
    return status;
}
