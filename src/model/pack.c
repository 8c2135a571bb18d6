/* Matrices in the layout of products.  Those that are only looked up stay where they are. */
#include "model/model.h"

#include "base/error.h"

bool kl__model_multiplies(const kl_model *m, int p)
{
    enum kl__form form = kl__param_info((enum kl__param)p)->form;
    return (form == KL__FORM_MATRIX || form == KL__FORM_EXPERTS) && (p != KL__EMBED || m->net.c.tied);
}

struct kl__weight *kl__model_weight(const kl_model *m, int layer, int p)
{
    return (struct kl__weight *)(uintptr_t)&(layer < 0 ? &m->net.top : &m->net.layer[layer])->w[p];
}

/* Bytes of one matrix in a packed model; 0: it stays as it is. */
static size_t bytes_of(const kl_model *m, int layer, int p)
{
    const struct kl__weight *w = kl__model_weight(m, layer, p);
    if (!kl__model_multiplies(m, p) || !(w->data || w->each))
        return 0;
    return (kl__weight_packed_bytes(m->net.be, w) + KL_ALIGN - 1) / KL_ALIGN * KL_ALIGN;
}

int64_t kl_model_packed_bytes(const kl_model *m)
{
    size_t sum = 0;
    for (int i = -1; i < m->net.c.n_layer; i++)
        for (int p = 0; p < KL__N_PARAM; p++)
            sum += bytes_of(m, i, p);
    return (int64_t)sum;
}

/* The file's part is not needed again; whoever looks finds it all the same. */
static void forget(const kl_model *m, const struct kl__weight *w)
{
    size_t bytes = 0;
    kl__type_bytes(w->type, w->n_out * w->n_in, &bytes);
    if (w->data)
        kl__store_forget(m->store, w->data, bytes * (size_t)w->n_matrix);
    for (int64_t e = 0; w->each && e < w->n_matrix; e++)
        kl__store_forget(m->store, w->each[e], bytes);
}

kl_status kl_model_pack(kl_model *m, kl_error *err)
{
    size_t bytes = (size_t)kl_model_packed_bytes(m), at = 0;
    if (m->packed || m->reader || bytes == 0)
        return KL_OK;
    m->packed = kl__alloc_large(m->alloc, bytes);
    if (!m->packed)
        return kl__fail(err, KL_ERR_MEMORY, "no memory for %zu bytes of packed matrices", bytes);
    m->packed_bytes = bytes;
    for (int i = -1; i < m->net.c.n_layer; i++)
        for (int p = 0; p < KL__N_PARAM; p++) {
            struct kl__weight *w = kl__model_weight(m, i, p);
            size_t n = bytes_of(m, i, p);
            if (n == 0)
                continue;
            char *to = (char *)m->packed + at;
            kl__weight_pack(m->net.be, to, w);
            forget(m, w);
            w->packed = to;
            at += n;
        }
    return KL_OK;
}
