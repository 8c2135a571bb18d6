#include "model/params.h"

#include <assert.h>
#include <stdio.h>

static const struct kl__param_info info[] = {
#define PARAM(name, where, present, form, d0, d1, hf, gguf) {#name, KL__##where, KL__FORM_##form, hf, gguf},
#include "model/params.def"
#undef PARAM
};

const struct kl__param_info *kl__param_info(enum kl__param p)
{
    return &info[p];
}

/* The layer is one of those where the parameter may stand. */
static bool stands_in(const kl_config *c, enum kl__where where, int layer)
{
    if (where == KL__GLOBAL || layer < 0)
        return where == KL__GLOBAL && layer < 0;
    switch (where) {
    case KL__RECURRENT:
        return kl__mixer_recurrent(c->mixer[layer]);
    case KL__MLA:
        return c->mixer[layer] == KL_MIXER_MLA;
    case KL__DENSE:
        return c->ffn[layer] == KL_FFN_DENSE;
    case KL__MOE:
        return c->ffn[layer] == KL_FFN_MOE;
    default:
        return true;
    }
}

bool kl__param_present(const kl_config *c, enum kl__param p, int layer)
{
    if (!stands_in(c, info[p].where, layer))
        return false;
    int m = layer < 0 ? 0 : c->mixer[layer];
    (void)m;
    switch (p) {
#define PARAM(name, where, present, form, d0, d1, hf, gguf)                                                            \
    case KL__##name:                                                                                                   \
        return present;
#include "model/params.def"
#undef PARAM
    default:
        return false;
    }
}

int kl__param_dims(const kl_config *c, enum kl__param p, int layer, int64_t dim[2])
{
    assert(kl__param_present(c, p, layer));
    int m = layer < 0 ? 0 : c->mixer[layer];
    (void)m;
    switch (p) {
#define PARAM(name, where, present, form, d0, d1, hf, gguf)                                                            \
    case KL__##name:                                                                                                   \
        dim[0] = d0;                                                                                                   \
        dim[1] = d1;                                                                                                   \
        break;
#include "model/params.def"
#undef PARAM
    default:
        dim[0] = dim[1] = 0;
    }
    return dim[1] ? 2 : 1;
}

/* Suffixes hold at most one %d, the expert. */
static void add_suffix(char *to, size_t room, const char *suffix, int expert)
{
    const char *mark = NULL;
    for (const char *s = suffix; *s && !mark; s++)
        if (s[0] == '%' && s[1] == 'd')
            mark = s;
    if (mark)
        snprintf(to, room, "%.*s%d%s", (int)(mark - suffix), suffix, expert, mark + 2);
    else
        snprintf(to, room, "%s", suffix);
}

struct kl__param_name kl__param_name(enum kl__naming naming, enum kl__param p, int layer, int expert)
{
    struct kl__param_name n;
    int used = 0;
    if (info[p].where != KL__GLOBAL)
        used = snprintf(n.text, sizeof n.text, naming == KL__NAMES_HF ? "model.layers.%d." : "blk.%d.", layer);
    add_suffix(n.text + used, sizeof n.text - (size_t)used, naming == KL__NAMES_HF ? info[p].hf : info[p].gguf, expert);
    return n;
}
