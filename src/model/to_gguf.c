/* A model in Hugging Face layout becomes a GGUF file.  Transforms and metadata: docs/formats.md. */
#define _DEFAULT_SOURCE /* realpath() */

#include "base/error.h"
#include "base/memory.h"
#include "format/format.h"
#include "format/json.h"
#include "model/checkpoint.h"
#include "model/gather.h"
#include "model/gguf_tensors.h"
#include "model/origin.h"
#include "model/token_meta.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

struct work {
    const char *path; /* of the new file */
    const kl_file_options *options;
    const kl_allocator *alloc;
    struct kl__store *store;
    kl_config c;
    char folder[PATH_MAX]; /* that the model lies in */
    struct kl__mixture mixture;
    bool keep;                        /* matrices keep their types */
    struct kl__hf_tensor *hf;         /* [n_hf] as the released model would have them */
    const struct kl__stored **stored; /* [n_hf] as they are */
    int64_t n_hf;
    struct kl__gguf_tensor *gguf; /* [n_gguf] */
    int64_t n_gguf;
    const struct kl__stored **each; /* [n_expert] */
    struct kl__writer *writer;
    kl_error *err;
};

static kl_status fail_memory(const struct work *k)
{
    return kl__fail(k->err, KL_ERR_MEMORY, "%s: no memory to convert it", kl__shown_path(k->path).text);
}

/* ------------------------------------------------------------------------------------------------- what is there -- */

static kl_status need(const struct work *k, const struct kl__hf_tensor *t, const struct kl__stored **stored)
{
    KL_TRY(kl__store_need(stored, k->store, t->name.text, t->n_dim, t->dim, k->err));
    const struct kl__type_info *info = kl__type_info((*stored)->type);
    if (info->decode && info->elements == 1 && (*stored)->n_dim <= 4)
        return KL_OK;
    return kl__fail(k->err, KL_ERR_UNSUPPORTED, "%s: tensor %s is %s with %d dimensions, expected F32, F16 or BF16",
                    kl__shown_file(k->store, (*stored)->file).text, t->name.text, info->name, (*stored)->n_dim);
}

/* A tensor that the model has no use for would be lost. */
static kl_status check_none_left(const struct work *k)
{
    unsigned char *used = kl__alloc(k->alloc, (size_t)k->store->n_tensor);
    kl_status status = KL_OK;
    if (!used)
        return fail_memory(k);
    for (int64_t i = 0; i < k->n_hf; i++)
        used[k->stored[i] - k->store->tensor] = 1;
    for (int64_t i = 0; i < k->store->n_tensor && status == KL_OK; i++)
        if (!used[i])
            status = kl__fail(k->err, KL_ERR_UNSUPPORTED, "%s: tensor '%s' is no part of such a model",
                              kl__shown_file(k->store, k->store->tensor[i].file).text,
                              kl__shown(k->store->tensor[i].name).text);
    kl__release(k->alloc, used);
    return status;
}

static kl_status find_tensors(struct work *k)
{
    k->n_hf = kl__hf_tensors(NULL, &k->c, KL__TYPE_BF16);
    k->hf = kl__alloc(k->alloc, (size_t)k->n_hf * sizeof *k->hf);
    k->stored = kl__alloc(k->alloc, (size_t)k->n_hf * sizeof *k->stored);
    k->each = kl__alloc(k->alloc, (size_t)k->c.n_expert * sizeof *k->each);
    if (!k->hf || !k->stored || !k->each)
        return fail_memory(k);
    kl__hf_tensors(k->hf, &k->c, KL__TYPE_BF16);
    for (int64_t i = 0; i < k->n_hf; i++)
        KL_TRY(need(k, &k->hf[i], &k->stored[i]));
    kl__hf_tensors(k->hf, &k->c, k->stored[0]->type); /* whose first one is the embedding */
    return check_none_left(k);
}

static const struct kl__stored *source_of(const struct work *k, const struct kl__gguf_tensor *t, int expert)
{
    return kl__store_find(k->store, kl__param_name(KL__NAMES_HF, t->param, t->layer, expert).text);
}

/* -------------------------------------------------------------------------------------------------- what will be -- */

/* The type that a matrix has now; experts that differ become f32. */
static enum kl__type kept_type(const struct work *k, const struct kl__gguf_tensor *t)
{
    enum kl__form form = kl__param_info(t->param)->form;
    enum kl__type type = source_of(k, t, 0)->type;
    if (form != KL__FORM_MATRIX && form != KL__FORM_EXPERTS && form != KL__FORM_KV_B)
        return KL__TYPE_F32;
    for (int e = 1; form == KL__FORM_EXPERTS && e < k->c.n_expert; e++)
        if (source_of(k, t, e)->type != type)
            return KL__TYPE_F32;
    return type;
}

static kl_status plan_tensors(struct work *k)
{
    k->n_gguf = kl__gguf_tensors(NULL, &k->c, &k->mixture);
    k->gguf = kl__alloc(k->alloc, (size_t)k->n_gguf * sizeof *k->gguf);
    if (!k->gguf)
        return fail_memory(k);
    kl__gguf_tensors(k->gguf, &k->c, &k->mixture);
    for (int64_t i = 0; i < k->n_gguf && k->keep; i++)
        k->gguf[i].type = kept_type(k, &k->gguf[i]);
    return KL_OK;
}

/* Texts that lie beside the tensors, as they are. */
static kl_status put_text(const struct work *k, const char *file, const char *key)
{
    char path[PATH_MAX + 64];
    struct stat s;
    struct kl__map map;
    snprintf(path, sizeof path, "%s/%s", k->folder, file);
    if (stat(path, &s) != 0)
        return KL_OK;
    KL_TRY(kl__map_open(&map, path, k->err));
    struct kl__meta m = kl__meta_string(key, (struct kl__str){(const char *)map.data, map.bytes});
    kl_status status = map.bytes <= KL__JSON_BYTES
                           ? kl__writer_meta(k->writer, &m, k->err)
                           : kl__fail(k->err, KL_ERR_UNSUPPORTED, "%s: has %zu bytes, expected at most %d",
                                      kl__shown_path(path).text, map.bytes, KL__JSON_BYTES);
    kl__map_close(&map);
    return status;
}

/* Every A_log, in the order of layers. */
static kl_status put_a_logs(const struct work *k)
{
    int64_t n = 0, n_each = k->c.n_kda_v_head;
    float *a_log = kl__alloc(k->alloc, (size_t)(k->c.n_layer * n_each) * sizeof *a_log);
    if (!a_log)
        return fail_memory(k);
    for (int64_t i = 0; i < k->n_hf; i++)
        if (k->hf[i].param == KL__A_LOG) {
            kl__decode(k->stored[i]->type, a_log + n, k->stored[i]->data, n_each);
            n += n_each;
        }
    struct kl__meta m = kl__meta_numbers("klinear.source.a_log", KL__META_F32, a_log, (uint64_t)n);
    kl_status status = n ? kl__writer_meta(k->writer, &m, k->err) : KL_OK;
    kl__release(k->alloc, a_log);
    return status;
}

static kl_status put_origin(const struct work *k)
{
    const char *file, *key;
    KL_TRY(kl__origin_put_tensors(k->writer, k->hf, k->stored, k->n_hf, k->stored[0]->type, k->alloc, k->err));
    KL_TRY(put_a_logs(k));
    for (int i = 0; kl__origin_text(i, &file, &key); i++)
        KL_TRY(put_text(k, file, key));
    return KL_OK;
}

/* The folder's last name, which "." and ".." do not tell. */
static const char *name_of(const struct work *k, char whole[PATH_MAX])
{
    const char *slash = strrchr(k->folder, '/'), *name = slash ? slash + 1 : k->folder;
    if (strcmp(name, ".") != 0 && strcmp(name, "..") != 0)
        return *name ? name : k->folder;
    slash = realpath(k->folder, whole) ? strrchr(whole, '/') : NULL;
    return slash && slash[1] ? slash + 1 : name;
}

static kl_status put_meta(const struct work *k)
{
    char whole[PATH_MAX];
    struct kl__mixture m = k->mixture;
    if (k->keep)
        m.type = m.better = k->gguf[0].type;
    KL_TRY(kl__gguf_put_config(k->writer, &k->c, name_of(k, whole), kl__mixture_file_type(&m), k->err));
    KL_TRY(kl__token_meta_put(k->writer, &k->c, k->folder, k->alloc, k->err));
    return put_origin(k);
}

/* ------------------------------------------------------------------------------------------------------- numbers -- */

/* GGUF files hold -exp(A_log). */
static kl_status write_rates(const struct work *k, struct kl__stream *s, int64_t i)
{
    const struct kl__stored *from = source_of(k, &k->gguf[i], 0);
    int64_t n = k->c.n_kda_v_head;
    float *x = kl__alloc(k->alloc, (size_t)n * sizeof *x);
    kl_status status = x ? KL_OK : fail_memory(k);
    if (x)
        kl__decode(from->type, x, from->data, n);
    for (int64_t j = 0; j < n && status == KL_OK; j++) {
        float rate = kl__rate_of(x[j]);
        if (!isfinite(rate))
            status = kl__fail(k->err, KL_ERR_NUMERIC, "%s: tensor %s holds %g at %lld, whose exponential is no number",
                              kl__shown_file(k->store, from->file).text, kl__shown(from->name).text, (double)x[j],
                              (long long)j);
        x[j] = rate;
    }
    if (status == KL_OK)
        status = kl__stream_bytes(s, i, x, (size_t)n * sizeof *x, k->err);
    kl__release(k->alloc, x);
    return status;
}

/* How the tensor is put together from those of the other layout. */
static struct kl__gather gather_of(const struct work *k, const struct kl__gguf_tensor *t)
{
    struct kl__gather g = {
        .a = source_of(k, t, 0), .n_nope = k->c.qk_nope, .n_value = k->c.v_dim, .rank = k->c.kv_rank};
    g.raw = g.a->type == t->type;
    if (t->part != KL__PART_ALL)
        g.kind = t->part == KL__PART_K_B ? KL__GATHER_KEYS : KL__GATHER_VALUES;
    if (kl__param_info(t->param)->form != KL__FORM_EXPERTS)
        return g;
    g.kind = KL__GATHER_STACK;
    g.each = k->each;
    g.n_each = kl__stored_elements(g.a);
    for (int e = 0; e < k->c.n_expert; e++) {
        k->each[e] = source_of(k, t, e);
        g.raw = g.raw && k->each[e]->type == t->type;
    }
    return g;
}

static kl_status write_tensors(const struct work *k, struct kl__stream *s)
{
    for (int64_t i = 0; i < k->n_gguf; i++) {
        const struct kl__gguf_tensor *t = &k->gguf[i];
        if (t->param == KL__A_LOG) {
            KL_TRY(write_rates(k, s, i));
            continue;
        }
        struct kl__gather g = gather_of(k, t);
        struct kl__source source = kl__gather_source(&g);
        KL_TRY(kl__stream_tensor(s, i, t->name.text, t->type, kl__gguf_elements(t), &source, NULL, k->err));
    }
    return KL_OK;
}

/* ----------------------------------------------------------------------------------------------------- the whole -- */

static kl_status write_all(struct work *k)
{
    struct kl__stream s;
    kl__stream_open(&s, k->writer, k->path, k->options);
    KL_TRY(put_meta(k));
    KL_TRY(kl__gguf_announce(k->writer, k->gguf, k->n_gguf, &s.total, k->err));
    KL_TRY(kl__writer_begin(k->writer, k->err));
    if (k->options && k->options->dry_run)
        return KL_OK;
    kl_status status = write_tensors(k, &s);
    kl__stream_close(&s);
    return status;
}

static kl_status convert(struct work *k, const char *from)
{
    KL_TRY(kl__config_read(&k->c, k->store, from, k->err));
    KL_TRY(find_tensors(k));
    KL_TRY(plan_tensors(k));
    KL_TRY(kl__store_check_output(k->store, k->path, k->err));
    KL_TRY(kl__writer_open(&k->writer, k->path, "gguf", k->alloc, k->err));
    kl_status status = write_all(k);
    if (status == KL_OK && !(k->options && k->options->dry_run))
        return kl__writer_finish(k->writer, k->err);
    kl__writer_abandon(k->writer);
    return status;
}

static kl_status find_folder(struct work *k, const char *from)
{
    const char *file = k->store->file[0].path, *slash = strrchr(file, '/');
    if (strcmp(k->store->format, "safetensors") != 0)
        return kl__fail(k->err, KL_ERR_ARGUMENT, "%s: is a GGUF file already, expected a folder with safetensors",
                        kl__shown_path(from).text);
    int n = snprintf(k->folder, sizeof k->folder, "%.*s", slash ? (int)(slash - file) : 1, slash ? file : ".");
    while (n > 1 && n < (int)sizeof k->folder && k->folder[n - 1] == '/')
        k->folder[--n] = 0;
    return n < (int)sizeof k->folder
               ? KL_OK
               : kl__fail(k->err, KL_ERR_IO, "%s: the path is too long", kl__shown_path(from).text);
}

kl_status kl_model_to_gguf(const char *path, const char *from, const kl_file_options *options, kl_error *err)
{
    struct work k = {.path = path, .options = options, .alloc = options ? options->alloc : NULL, .err = err};
    k.keep = !options || !options->type;
    KL_TRY(kl__mixture_of_name(&k.mixture, k.keep ? "f32" : options->type, err));
    KL_TRY(kl__checkpoint_open(&k.store, from, k.alloc, err));
    kl_status status = find_folder(&k, from);
    if (status == KL_OK)
        status = convert(&k, from);
    kl__release(k.alloc, k.gguf);
    kl__release(k.alloc, k.each);
    kl__release(k.alloc, k.stored);
    kl__release(k.alloc, k.hf);
    kl__store_close(k.store);
    return status;
}
