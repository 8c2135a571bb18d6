/* What a file does not say about its model follows from its tensors, or from other numbers. */
#include "base/error.h"
#include "model/config_keys.h"
#include "model/params.h"

#include <limits.h>
#include <stdio.h>

kl_config kl__config_unknown(void)
{
    kl_config c = kl__config_default();
    c.n_kda_v_head = c.kda_v = KL__UNKNOWN;
    c.decay_rank = c.gate_rank = KL__UNKNOWN;
    c.kv_norm_eps = KL__UNKNOWN;
    return c;
}

/* The tensor of a parameter in the first layer that can have it, or NULL. */
static const struct kl__stored *find(const struct kl__store *s, const kl_config *c, enum kl__param p)
{
    enum kl__naming naming = strcmp(s->format, "gguf") == 0 ? KL__NAMES_GGUF : KL__NAMES_HF;
    enum kl__where where = kl__param_info(p)->where;
    if (where == KL__GLOBAL)
        return kl__store_find(s, kl__param_name(naming, p, -1, 0).text);
    for (int i = 0; i < c->n_layer; i++) {
        if (where == KL__RECURRENT && c->mixer[i] == KL_MIXER_MLA)
            continue;
        const struct kl__stored *t = kl__store_find(s, kl__param_name(naming, p, i, 0).text);
        if (t)
            return t;
    }
    return NULL;
}

static bool stands(const struct kl__store *s, const kl_config *c, enum kl__param p)
{
    return s && find(s, c, p);
}

/* Rows of a parameter's matrix, or `otherwise`. */
static int rows(const struct kl__store *s, const kl_config *c, enum kl__param p, int otherwise)
{
    const struct kl__stored *t = s ? find(s, c, p) : NULL;
    return t && t->n_dim == 2 && t->dim[0] <= INT_MAX ? (int)t->dim[0] : otherwise;
}

static void settle_recurrent(kl_config *c, const struct kl__store *s)
{
    if (c->n_kda_v_head == KL__UNKNOWN)
        c->n_kda_v_head = c->n_kda_head;
    if (c->kda_v == KL__UNKNOWN)
        c->kda_v = c->kda_k;
    if (c->decay_rank == KL__UNKNOWN)
        c->decay_rank = rows(s, c, KL__DECAY_A, c->kda_v);
    if (c->gate_rank == KL__UNKNOWN)
        c->gate_rank = stands(s, c, KL__GATE) ? 0 : rows(s, c, KL__GATE_A, c->kda_v);
    if (c->n_conv && stands(s, c, KL__CONV_Q_BIAS))
        c->conv_bias = true;
}

/* A token that the vocabulary does not have is none: configurations of small siblings keep the ids of the large one. */
static int64_t settle_token(const kl_config *c, int64_t id)
{
    return id >= 0 && id < c->n_vocab ? id : -1;
}

kl_status kl__config_settle(kl_config *c, const struct kl__store *s, const char *path, kl_error *err)
{
    kl_config new = *c;
    if (new.n_vocab == KL__UNKNOWN)
        new.n_vocab = rows(s, &new, KL__EMBED, kl__config_default().n_vocab);
    if (s && !stands(s, &new, KL__HEAD) && strcmp(s->format, "gguf") == 0)
        new.tied = true;
    if (new.kv_norm_eps == KL__UNKNOWN)
        new.kv_norm_eps = new.rms_eps;
    settle_recurrent(&new, s);
    new.bos = settle_token(&new, new.bos);
    new.eos = settle_token(&new, new.eos);
    new.pad = settle_token(&new, new.pad);
    memset(new.mixer + new.n_layer, 0, sizeof new.mixer - (size_t)new.n_layer);
    memset(new.ffn + new.n_layer, 0, sizeof new.ffn - (size_t)new.n_layer);
    KL_TRY(kl__config_check(&new, path, err));
    *c = new;
    return KL_OK;
}

/* config.json lies beside the file. */
static kl_status read_beside(kl_config *c, const char *file, kl_error *err)
{
    const char *slash = strrchr(file, '/');
    char path[PATH_MAX];
    struct kl__map map;
    int n = snprintf(path, sizeof path, "%.*sconfig.json", slash ? (int)(slash + 1 - file) : 0, file);
    if (n < 0 || (size_t)n >= sizeof path)
        return kl__fail(err, KL_ERR_IO, "%s: the path of its config.json is too long", kl__shown_path(file).text);
    KL_TRY(kl__map_open(&map, path, err));
    kl_status status = kl__config_of_json(c, (struct kl__str){(const char *)map.data, map.bytes}, path, err);
    kl__map_close(&map);
    return status;
}

kl_status kl__config_read(kl_config *c, const struct kl__store *store, const char *path, kl_error *err)
{
    kl_config new;
    if (strcmp(store->format, "gguf") == 0)
        KL_TRY(kl__config_of_gguf(&new, store, err));
    else
        KL_TRY(read_beside(&new, store->file[0].path, err));
    KL_TRY(kl__config_settle(&new, store, path, err));
    *c = new;
    return KL_OK;
}
