/* What a model's files hold. */
#include "model/gguf_tensors.h"
#include "model/hf_tensors.h"
#include "model/model.h"

static bool in_gguf(const kl_model *m)
{
    return strcmp(m->store->format, "gguf") == 0;
}

static void find_role(kl_tensor_info *info, const kl_model *m, struct kl__str name)
{
    struct kl__gguf_tensor g;
    struct kl__hf_tensor h;
    if (in_gguf(m) && kl__gguf_find(&g, &m->net.c, name)) {
        info->role = kl__param_info(g.param)->name;
        info->layer = g.layer;
    } else if (!in_gguf(m) && kl__hf_find(&h, &m->net.c, name)) {
        info->role = kl__param_info(h.param)->name;
        info->layer = h.layer;
    }
}

bool kl_model_tensor(kl_tensor_info *info, const kl_model *m, int64_t i)
{
    if (i < 0 || i >= m->store->n_tensor)
        return false;
    const struct kl__stored *t = &m->store->tensor[i];
    kl_tensor_info new = {.name = {t->name.at, t->name.bytes},
                          .layer = -1,
                          .type = kl__type_info(t->type)->name,
                          .n_dim = t->n_dim,
                          .n_element = kl__stored_elements(t),
                          .bytes = (int64_t)t->bytes,
                          .file = t->file};
    memcpy(new.dim, t->dim, sizeof new.dim);
    find_role(&new, m, t->name);
    *info = new;
    return true;
}

const char *kl_model_format(const kl_model *m)
{
    return m->store->format;
}

const char *kl_model_file(const kl_model *m, int i)
{
    return i >= 0 && i < m->store->n_file ? m->store->file[i].path : NULL;
}

kl_text kl_model_name(const kl_model *m)
{
    const struct kl__meta *name = kl__meta_find(&m->store->meta, "general.name");
    if (!name || name->type != KL__META_STRING)
        return (kl_text){"", 0};
    return (kl_text){name->s.at, name->s.bytes};
}
