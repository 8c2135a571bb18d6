/* A GGUF file becomes a model in Hugging Face layout: the way back of to_gguf.c. */
#include "base/error.h"
#include "base/half.h"
#include "base/memory.h"
#include "format/format.h"
#include "model/config_write.h"
#include "model/gather.h"
#include "model/origin.h"
#include "model/shards.h"
#include "model/token_meta.h"

#include <stdio.h>
#include <strings.h>

struct work {
    const char *path; /* of the new folder */
    const kl_file_options *options;
    const kl_allocator *alloc;
    struct kl__store *store;
    kl_config c;
    enum kl__type type;       /* of the embedding, and of what nobody says more about */
    struct kl__hf_tensor *hf; /* [n_hf] */
    int64_t n_hf;
    struct kl__shards shards;
    struct kl__folder *folder;
    struct kl__stream stream;
    int64_t n_a_log; /* places of A_log that have been written */
    kl_error *err;
};

static kl_status fail_memory(const struct work *k)
{
    return kl__fail(k->err, KL_ERR_MEMORY, "%s: no memory to convert it", kl__shown_path(k->path).text);
}

/* ------------------------------------------------------------------------------------------------- what is there -- */

/* A part of kv_b; NULL: the file has it whole. */
static const struct kl__stored *part_of(const struct work *k, int layer, char part)
{
    char name[64];
    snprintf(name, sizeof name, "blk.%d.attn_%c_b.weight", layer, part);
    return kl__store_find(k->store, name);
}

static kl_status need(const struct work *k, const char *name, int n_dim, const int64_t *dim, unsigned char *used)
{
    const struct kl__stored *t;
    KL_TRY(kl__store_need(&t, k->store, name, n_dim, dim, k->err));
    used[t - k->store->tensor] = 1;
    if (kl__type_info(t->type)->decode)
        return KL_OK;
    return kl__fail(k->err, KL_ERR_UNSUPPORTED, "%s: tensor %s is %s, expected a type of numbers",
                    kl__shown_file(k->store, t->file).text, name, kl__type_info(t->type)->name);
}

static kl_status need_kv_b(const struct work *k, int layer, unsigned char *used)
{
    const kl_config *c = &k->c;
    char name[64];
    snprintf(name, sizeof name, "blk.%d.attn_k_b.weight", layer);
    KL_TRY(need(k, name, 3, (int64_t[]){c->n_head, c->kv_rank, c->qk_nope}, used));
    snprintf(name, sizeof name, "blk.%d.attn_v_b.weight", layer);
    return need(k, name, 3, (int64_t[]){c->n_head, c->v_dim, c->kv_rank}, used);
}

static kl_status need_param(const struct work *k, enum kl__param p, int layer, unsigned char *used)
{
    int64_t dim[3] = {0, 0, 0};
    struct kl__param_name name = kl__param_name(KL__NAMES_GGUF, p, layer, 0);
    if (!kl__param_present(&k->c, p, layer))
        return KL_OK;
    if (p == KL__MLA_KV_B && part_of(k, layer, 'k'))
        return need_kv_b(k, layer, used);
    bool experts = kl__param_info(p)->form == KL__FORM_EXPERTS;
    dim[0] = k->c.n_expert;
    int n_dim = kl__param_dims(&k->c, p, layer, dim + (experts ? 1 : 0));
    return need(k, name.text, experts ? 3 : n_dim, dim, used);
}

/* Every parameter is there, and nothing that would be lost. */
static kl_status check_tensors(const struct work *k)
{
    unsigned char *used = kl__alloc(k->alloc, (size_t)k->store->n_tensor);
    kl_status status = used ? KL_OK : fail_memory(k);
    for (int layer = -1; layer < k->c.n_layer && status == KL_OK; layer++)
        for (int p = 0; p < KL__N_PARAM && status == KL_OK; p++)
            status = need_param(k, (enum kl__param)p, layer, used);
    for (int64_t i = 0; i < k->store->n_tensor && status == KL_OK; i++)
        if (!used[i])
            status = kl__fail(k->err, KL_ERR_UNSUPPORTED, "%s: tensor '%s' is no part of such a model",
                              kl__shown_file(k->store, k->store->tensor[i].file).text,
                              kl__shown(k->store->tensor[i].name).text);
    kl__release(k->alloc, used);
    return status;
}

/* How a tensor is taken out of those of the other layout. */
static struct kl__gather gather_of(const struct work *k, const struct kl__hf_tensor *t)
{
    struct kl__gather g = {.n_nope = k->c.qk_nope, .n_value = k->c.v_dim, .rank = k->c.kv_rank, .index = t->expert};
    g.a = t->param == KL__MLA_KV_B ? part_of(k, t->layer, 'k') : NULL;
    if (g.a) {
        g.kind = KL__GATHER_KV_B;
        g.b = part_of(k, t->layer, 'v');
    } else
        g.a = kl__store_find(k->store, kl__param_name(KL__NAMES_GGUF, t->param, t->layer, 0).text);
    if (kl__param_info(t->param)->form == KL__FORM_EXPERTS) {
        g.kind = KL__GATHER_SLICE;
        g.n_each = kl__hf_elements(t);
    }
    return g;
}

/* --------------------------------------------------------------------------------------------------------- types -- */

/* True when bf16 holds elements first .. first + n - 1 of the tensor, which is f32 (what is smaller counts as held). */
static bool fits_bf16(const struct kl__stored *t, int64_t first, int64_t n)
{
    float x[256];
    for (int64_t i = first; t->type == KL__TYPE_F32 && i < first + n; i += 256) {
        int64_t now = first + n - i < 256 ? first + n - i : 256;
        kl__decode(KL__TYPE_F32, x, (const char *)t->data + (size_t)i * sizeof *x, now);
        for (int64_t j = 0; j < now; j++)
            if (kl__bits_of_f32(x[j]) & 0xffff)
                return false;
    }
    return true;
}

static bool all_fits_bf16(const struct kl__gather *g)
{
    if (g->kind == KL__GATHER_SLICE)
        return fits_bf16(g->a, g->index * g->n_each, g->n_each);
    return fits_bf16(g->a, 0, kl__stored_elements(g->a)) && (!g->b || fits_bf16(g->b, 0, kl__stored_elements(g->b)));
}

/* The type that loses nothing of what other tools keep in f32 or f16, where `type` would. */
static enum kl__type without_loss(enum kl__type type, const struct kl__gather *g)
{
    enum kl__type a = g->a->type, b = g->b ? g->b->type : a;
    bool half = a == KL__TYPE_F16 || b == KL__TYPE_F16, wide = a == KL__TYPE_F32 || b == KL__TYPE_F32;
    if (type == KL__TYPE_F32)
        return type;
    if (a == KL__TYPE_F16 && b == KL__TYPE_F16)
        return KL__TYPE_F16;
    bool held = type == KL__TYPE_BF16 && !half && all_fits_bf16(g);
    return (half || wide) && !held ? KL__TYPE_F32 : type;
}

/* Of a file that does not say what it was made from: what other tools keep in f32 is bf16 again where that loses
 * nothing, and f32 where it would; f16 stays f16.  Matrices get the type that was asked for, if one was. */
static void guess_types(struct work *k)
{
    bool asked = k->options && k->options->type;
    for (int64_t i = 0; i < k->n_hf; i++) {
        struct kl__hf_tensor *t = &k->hf[i];
        struct kl__gather g = gather_of(k, t);
        enum kl__form form = kl__param_info(t->param)->form;
        bool matrix = form == KL__FORM_MATRIX || form == KL__FORM_EXPERTS || form == KL__FORM_KV_B;
        if (!(matrix && asked))
            t->type = without_loss(t->type, &g);
    }
    k->type = k->hf[0].type; /* of the embedding: what config.json says */
}

static kl_status find_type(struct work *k)
{
    const char *name = k->options ? k->options->type : NULL;
    k->type = name ? kl__type_of_name(name) : KL__TYPE_BF16;
    if (k->type != KL__TYPE_F32 && k->type != KL__TYPE_F16 && k->type != KL__TYPE_BF16)
        return kl__fail(k->err, KL_ERR_ARGUMENT, "the type is '%s', safetensors files of a model hold f32, f16 or bf16",
                        kl__shown(kl__str(name)).text);
    return name ? KL_OK : kl__origin_type(&k->type, k->store, KL__TYPE_BF16, k->err);
}

static kl_status plan(struct work *k)
{
    KL_TRY(find_type(k));
    k->n_hf = kl__hf_tensors(NULL, &k->c, k->type);
    k->hf = kl__alloc(k->alloc, (size_t)k->n_hf * sizeof *k->hf);
    if (!k->hf)
        return fail_memory(k);
    kl__hf_tensors(k->hf, &k->c, k->type);
    if (!kl__meta_find(&k->store->meta, "klinear.source.type"))
        guess_types(k);
    else if (!(k->options && k->options->type))
        KL_TRY(kl__origin_apply(k->hf, k->n_hf, k->store, k->alloc, k->err));
    int64_t most = k->options && k->options->shard_bytes ? k->options->shard_bytes : (int64_t)5 << 30;
    return kl__shards_plan(&k->shards, k->hf, k->n_hf, most, k->err);
}

/* ------------------------------------------------------------------------------------------------------- numbers -- */

static kl_status write_a_log(struct work *k, int64_t i, const struct kl__hf_tensor *t)
{
    const struct kl__stored *from = gather_of(k, t).a;
    int64_t n = kl__hf_elements(t);
    size_t bytes = 0;
    float *x = kl__alloc(k->alloc, 2 * (size_t)n * sizeof *x);
    kl_status status = x ? KL_OK : fail_memory(k);
    if (x)
        kl__decode(from->type, x, from->data, n);
    for (int64_t j = 0; j < n && status == KL_OK; j++) {
        if (!(x[j] <= 0))
            status = kl__fail(k->err, KL_ERR_FORMAT, "%s: tensor %s holds %g at %lld, expected a number <= 0",
                              kl__shown_file(k->store, from->file).text, kl__shown(from->name).text, (double)x[j],
                              (long long)j);
        x[j] = kl__origin_a_log(k->store, k->n_a_log + j, x[j]);
    }
    k->n_a_log += n;
    if (status == KL_OK)
        status = kl__encode(t->type, x + n, x, n, k->err);
    if (status == KL_OK && kl__type_bytes(t->type, n, &bytes))
        status = kl__stream_bytes(&k->stream, i, x + n, bytes, k->err);
    kl__release(k->alloc, x);
    return status;
}

static kl_status write_tensor(struct work *k, int64_t i, const struct kl__hf_tensor *t)
{
    if (t->param == KL__A_LOG)
        return write_a_log(k, i, t);
    struct kl__gather g = gather_of(k, t);
    g.raw = g.a->type == t->type && (!g.b || g.b->type == t->type);
    struct kl__source source = kl__gather_source(&g);
    return kl__stream_tensor(&k->stream, i, t->name.text, t->type, kl__hf_elements(t), &source, NULL, k->err);
}

static kl_status write_shard(struct work *k, struct kl__writer *w, int64_t first, int64_t n)
{
    struct kl__meta format = kl__meta_string("format", kl__str("pt"));
    KL_TRY(kl__writer_meta(w, &format, k->err));
    for (int64_t i = 0; i < n; i++) {
        const struct kl__hf_tensor *t = &k->hf[first + i];
        KL_TRY(kl__writer_tensor(w, t->name.text, t->type, t->n_dim, t->dim, k->err));
    }
    KL_TRY(kl__writer_begin(w, k->err));
    k->stream.writer = w;
    for (int64_t i = 0; i < n && !(k->options && k->options->dry_run); i++)
        KL_TRY(write_tensor(k, i, &k->hf[first + i]));
    return KL_OK;
}

static kl_status write_shards(struct work *k)
{
    for (int f = 0; f < k->shards.n_file; f++) {
        struct kl__writer *w;
        int64_t first, n;
        const char *path = kl__folder_file(k->folder, kl__shard_name(&k->shards, f).text);
        kl__shards_file(&k->shards, f, &first, &n);
        if (!path)
            return kl__fail(k->err, KL_ERR_IO, "%s: the path is too long", kl__shown_path(k->path).text);
        KL_TRY(kl__writer_open(&w, path, "safetensors", k->alloc, k->err));
        kl_status status = write_shard(k, w, first, n);
        bool dry = k->options && k->options->dry_run;
        if (status == KL_OK && !dry)
            status = kl__writer_finish(w, k->err);
        else
            kl__writer_abandon(w);
        KL_TRY(status);
    }
    return KL_OK;
}

/* --------------------------------------------------------------------------------------------------------- texts -- */

static kl_status write_config(struct work *k)
{
    struct kl__buffer b = {.alloc = k->alloc};
    kl__config_put_json(&b, &k->c, k->type);
    kl_status status = b.failed ? fail_memory(k) : kl__folder_write(k->folder, "config.json", b.data, b.bytes, k->err);
    kl__buffer_free(&b);
    return status;
}

static kl_status write_texts(struct work *k)
{
    const char *file, *key;
    for (int i = 0; kl__origin_text(i, &file, &key); i++) {
        struct kl__str text;
        if (!kl__meta_find(&k->store->meta, key))
            continue;
        KL_TRY(kl__store_string(&text, k->store, key, k->err));
        KL_TRY(kl__folder_write(k->folder, file, text.at, text.bytes, k->err));
    }
    if (!kl__meta_find(&k->store->meta, "klinear.source.config"))
        KL_TRY(write_config(k));
    bool known = kl__meta_find(&k->store->meta, "klinear.source.config") != NULL;
    KL_TRY(kl__token_files_write(k->folder, k->store, !known, k->alloc, k->err));
    return kl__shards_write_index(&k->shards, k->folder, k->alloc, k->err);
}

/* ----------------------------------------------------------------------------------------------------- the whole -- */

static kl_status convert(struct work *k, const char *from)
{
    if (strcmp(k->store->format, "gguf") != 0)
        return kl__fail(k->err, KL_ERR_ARGUMENT, "%s: is no GGUF file, expected one", kl__shown_path(from).text);
    KL_TRY(kl__config_read(&k->c, k->store, from, k->err));
    KL_TRY(check_tensors(k));
    KL_TRY(plan(k));
    KL_TRY(kl__folder_open(&k->folder, k->path, k->alloc, k->err));
    kl__stream_open(&k->stream, NULL, k->path, k->options);
    k->stream.total = k->shards.total_bytes;
    kl_status status = write_shards(k);
    kl__stream_close(&k->stream);
    if (status == KL_OK)
        status = write_texts(k);
    if (status == KL_OK && !(k->options && k->options->dry_run))
        return kl__folder_commit(k->folder, k->err);
    kl__folder_abandon(k->folder);
    return status;
}

kl_status kl_model_to_hf(const char *folder, const char *from, const kl_file_options *options, kl_error *err)
{
    struct work k = {.path = folder, .options = options, .alloc = options ? options->alloc : NULL, .err = err};
    KL_TRY(kl__store_open(&k.store, from, k.alloc, err));
    kl_status status = convert(&k, from);
    kl__release(k.alloc, k.hf);
    kl__store_close(k.store);
    return status;
}
