#include "model/model.h"

#include "base/error.h"
#include "base/hash.h"
#include "model/checkpoint.h"

/* --------------------------------------------------------------------------------------------------- fingerprint -- */

static void add_config(struct kl__hash *h, const kl_config *c)
{
    const double number[] = {c->n_layer,
                             c->n_vocab,
                             c->n_embd,
                             c->rms_eps,
                             c->tied,
                             c->n_kda_head,
                             c->n_kda_v_head,
                             c->kda_k,
                             c->kda_v,
                             c->n_conv,
                             c->conv_bias,
                             c->decay_rank,
                             c->gate_rank,
                             c->gate_act,
                             c->gate_bounded,
                             c->neg_eigval,
                             c->n_head,
                             c->q_rank,
                             c->kv_rank,
                             c->qk_nope,
                             c->qk_rope,
                             c->v_dim,
                             c->kv_norm_eps,
                             c->rope,
                             c->rope_base,
                             c->n_ff,
                             c->n_expert,
                             c->n_expert_used,
                             c->n_expert_shared,
                             c->n_ff_expert,
                             c->router_softmax,
                             c->router_renormalise,
                             c->router_weight_biased,
                             c->router_scale,
                             c->n_group,
                             c->topk_group,
                             c->gate_lower_bound};
    kl__hash_add(h, number, sizeof number);
    kl__hash_add(h, c->mixer, (size_t)c->n_layer);
    kl__hash_add(h, c->ffn, (size_t)c->n_layer);
}

/* A piece out of the middle of a matrix: a model that was made of another one, by training on or by another choice of
 * roundings, may differ in nothing else.  The file's part is let go again. */
static void add_piece(struct kl__hash *h, const kl_model *m, const struct kl__weight *w)
{
    enum { PIECE = 512 };
    size_t one = 0, n;
    int64_t e = w->n_matrix / 2;
    if (!w->each && !w->data)
        return;
    kl__type_bytes(w->type, w->n_out * w->n_in, &one);
    const char *from = w->each ? w->each[e] : (const char *)w->data + (size_t)e * one;
    n = one < PIECE ? one : PIECE;
    kl__hash_add(h, from + (one - n) / 2, n);
    kl__store_forget(m->store, from, one);
}

/* Names, shapes and types of all tensors, the numbers of the small ones, which opening has read anyway, and a piece of
 * each of the others. */
static kl_status take_fingerprint(kl_model *m, kl_error *err)
{
    struct kl__hash *h = kl__hash_open();
    if (!h)
        return kl__fail(err, KL_ERR_MEMORY, "no memory for the fingerprint of the model");
    add_config(h, &m->net.c);
    for (int64_t i = 0; i < m->store->n_tensor; i++) {
        const struct kl__stored *t = &m->store->tensor[i];
        int64_t number[] = {t->n_dim, (int64_t)t->type, (int64_t)t->bytes};
        kl__hash_add(h, t->name.at, t->name.bytes);
        kl__hash_add(h, number, sizeof number);
        kl__hash_add(h, t->dim, (size_t)t->n_dim * sizeof *t->dim);
    }
    for (int i = -1; i < m->net.c.n_layer; i++)
        for (int p = 0; p < KL__N_PARAM; p++) {
            const struct kl__weight *w = &(i < 0 ? &m->net.top : &m->net.layer[i])->w[p];
            enum kl__form form = kl__param_info((enum kl__param)p)->form;
            if (form == KL__FORM_MATRIX || form == KL__FORM_EXPERTS)
                add_piece(h, m, w);
            else if (w->data && w->type == KL__TYPE_F32)
                kl__hash_add(h, w->data, (size_t)(w->n_out * w->n_in) * sizeof(float));
        }
    for (int i = 0; i < m->net.c.n_layer; i++) { /* kv_b: a copy, so all of its keys' part of the first head */
        const kl_tensor *k = &m->net.layer[i].w_uk;
        if (k->data)
            kl__hash_add(h, k->data, (size_t)(m->net.c.qk_nope * m->net.c.kv_rank) * kl_dtype_bytes(k->dtype));
    }
    kl__hash_value(h, m->fingerprint);
    kl__hash_close(h);
    return KL_OK;
}

/* ------------------------------------------------------------------------------------------------------- opening -- */

static size_t latent_bytes(const kl_model *m, int layer)
{
    const struct kl__layer *l = &m->net.layer[layer];
    const struct kl__weight *w = &l->w[KL__MLA_KV_B];
    if (m->net.c.mixer[layer] != KL_MIXER_MLA || w->exact || w->type == KL__TYPE_F32)
        return 0;
    return (kl_mla_packed_bytes(m->net.be, l->w_uk, l->w_uv) + KL_ALIGN - 1) / KL_ALIGN * KL_ALIGN;
}

static kl_status pack_each_latent(kl_model *m, kl_workspace work, kl_error *err)
{
    char *to = m->latents;
    for (int i = 0; i < m->net.c.n_layer; i++) {
        struct kl__layer *l = &m->net.layer[i];
        size_t bytes = latent_bytes(m, i);
        if (bytes == 0)
            continue;
        KL_TRY(kl_mla_pack(m->net.be, to, l->w_uk, l->w_uv, work, err));
        l->kv_packed = to;
        to += bytes;
    }
    return KL_OK;
}

/* Attention multiplies integers of 16 bits where the file has no more than that, unless all is to be exact. */
static kl_status pack_latents(kl_model *m, kl_error *err)
{
    kl_workspace work = {0};
    for (int i = 0; i < m->net.c.n_layer; i++) {
        const struct kl__layer *l = &m->net.layer[i];
        size_t bytes = latent_bytes(m, i), lent = bytes ? kl_mla_pack_workspace(m->net.be, l->w_uk, l->w_uv) : 0;
        m->latent_bytes += bytes;
        work.bytes = lent > work.bytes ? lent : work.bytes;
    }
    if (m->latent_bytes == 0)
        return KL_OK;
    m->latents = kl__alloc_large(m->alloc, m->latent_bytes);
    work.data = kl__alloc(m->alloc, work.bytes);
    kl_status status = KL_ERR_MEMORY;
    if (m->latents && work.data)
        status = pack_each_latent(m, work, err);
    else
        kl__fail(err, status, "no memory for %zu bytes of packed matrices", m->latent_bytes + work.bytes);
    kl__release(m->alloc, work.data);
    return status;
}

static kl_status open_net(kl_model *m, const char *path, const kl_model_options *o, kl_error *err)
{
    KL_TRY(kl__config_read(&m->net.c, m->store, path, err));
    m->net.c.router_weight_biased |= o->router_weight_biased;
    m->net.be = o->backend;
    m->net.layer = kl__alloc(m->alloc, (size_t)m->net.c.n_layer * sizeof *m->net.layer);
    if (!m->net.layer)
        return kl__fail(err, KL_ERR_MEMORY, "%s: no memory for %d layers", path, m->net.c.n_layer);
    KL_TRY(kl__weights_bind(&m->net, &m->bound, m->store, m->alloc, err));
    for (int i = -1; o->exact && i < m->net.c.n_layer; i++)
        for (int p = 0; p < KL__N_PARAM; p++)
            (i < 0 ? &m->net.top : &m->net.layer[i])->w[p].exact = true;
    KL_TRY(pack_latents(m, err));
    return take_fingerprint(m, err);
}

kl_status kl_model_open(kl_model **model, const char *path, const kl_model_options *options, kl_error *err)
{
    if (!model || !path || !options || !options->backend)
        return kl__fail(err, KL_ERR_ARGUMENT, "kl_model_open: %s is NULL, expected a pointer",
                        !model     ? "model"
                        : !path    ? "path"
                        : !options ? "options"
                                   : "options.backend");
    kl_model *m = kl__alloc(options->alloc, sizeof *m);
    if (!m)
        return kl__fail(err, KL_ERR_MEMORY, "%s: no memory for a model", path);
    if (options->alloc) {
        m->alloc_copy = *options->alloc;
        m->alloc = &m->alloc_copy;
    }
    kl_status status = kl__checkpoint_open(&m->store, path, m->alloc, err);
    if (status == KL_OK)
        status = open_net(m, path, options, err);
    if (status == KL_OK)
        *model = m;
    else
        kl_model_close(m);
    return status;
}

void kl_model_close(kl_model *m)
{
    if (!m)
        return;
    kl__model_close_lean(m);
    if (m->pack_map.data)
        kl__map_close(&m->pack_map);
    else
        kl__release(m->alloc, m->packed);
    kl__release(m->alloc, m->latents);
    kl__release(m->alloc, m->bound.memory);
    kl__release(m->alloc, m->net.layer);
    kl__store_close(m->store);
    kl_allocator copy = m->alloc_copy;
    kl__release(m->alloc ? &copy : NULL, m);
}

const kl_config *kl_model_config(const kl_model *m)
{
    return &m->net.c;
}

int64_t kl_model_file_bytes(const kl_model *m)
{
    int64_t bytes = 0;
    for (int i = 0; i < m->store->n_file; i++)
        bytes += (int64_t)m->store->file[i].map.bytes;
    return bytes;
}

int64_t kl_model_memory_bytes(const kl_model *m)
{
    kl_expert_traffic shelf = kl_model_traffic(m);
    size_t layers = (size_t)m->net.c.n_layer * sizeof *m->net.layer;
    return shelf.n_slot * shelf.slot_bytes +
           (int64_t)(m->bound.bytes + m->packed_bytes + m->latent_bytes + m->fixed_bytes + sizeof *m + layers);
}

void kl_model_fingerprint(const kl_model *m, uint8_t fingerprint[16])
{
    for (int i = 0; i < 16; i++)
        fingerprint[i] = m->fingerprint[i];
}
