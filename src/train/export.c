/* Parameters as a model that runs: config.json, safetensors, the files of a tokenizer. */
#include "base/error.h"
#include "base/file.h"
#include "base/str.h"
#include "model/config_write.h"
#include "model/shards.h"
#include "ops/backend.h"
#include "train/trainer.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

struct work {
    const kl_trainer *t;
    const char *path;
    enum kl__type type;
    struct kl__hf_tensor *hf; /* [n_hf] */
    int64_t n_hf;
    struct kl__shards shards;
    struct kl__folder *folder;
    kl_error *err;
};

static void read_values(void *x, const void *source, int64_t first, int64_t n)
{
    memcpy(x, (const float *)source + first, (size_t)n * sizeof(float));
}

static const float *values_of(const struct work *k, const struct kl__hf_tensor *t)
{
    const struct kl__place *place = kl__layout_find(&k->t->layout, t->param, t->layer);
    return k->t->arena[KL__VALUE] + place->at + t->expert * place->rows * place->columns;
}

static kl_status write_tensors(struct work *k, struct kl__writer *w, int64_t first, int64_t n)
{
    struct kl__stream stream;
    kl_status status = KL_OK;
    const kl_file_options options = {.pool = k->t->be->pool, .alloc = k->t->alloc};
    kl__stream_open(&stream, w, k->path, &options);
    for (int64_t i = 0; i < n && status == KL_OK; i++) {
        const struct kl__hf_tensor *t = &k->hf[first + i];
        const struct kl__source source = {.read = read_values, .self = values_of(k, t)};
        status = kl__stream_tensor(&stream, i, t->name.text, t->type, kl__hf_elements(t), &source, NULL, k->err);
    }
    kl__stream_close(&stream);
    return status;
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
    return write_tensors(k, w, first, n);
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
        KL_TRY(kl__writer_open(&w, path, "safetensors", k->t->alloc, k->err));
        kl_status status = write_shard(k, w, first, n);
        if (status == KL_OK)
            status = kl__writer_finish(w, k->err);
        else
            kl__writer_abandon(w);
        KL_TRY(status);
    }
    return kl__shards_write_index(&k->shards, k->folder, k->t->alloc, k->err);
}

static kl_status write_config(struct work *k)
{
    struct kl__buffer b = {.alloc = k->t->alloc};
    kl__config_put_json(&b, &k->t->layout.c, k->type);
    kl_status status =
        b.failed ? kl__fail(k->err, KL_ERR_MEMORY, "%s: no memory for its configuration", kl__shown_path(k->path).text)
                 : kl__folder_write(k->folder, "config.json", b.data, b.bytes, k->err);
    kl__buffer_free(&b);
    return status;
}

/* Only the first is needed. */
static kl_status copy_tokenizer(struct work *k, const char *from)
{
    static const char *const name[] = {"tiktoken.model", "tokenizer_config.json", "chat_template.jinja"};
    for (int i = 0; i < 3; i++) {
        char path[PATH_MAX];
        struct kl__map map;
        struct stat info;
        int n = snprintf(path, sizeof path, "%s/%s", from, name[i]);
        if (n < 0 || n >= PATH_MAX)
            return kl__fail(k->err, KL_ERR_IO, "%s: the path is too long", kl__shown_path(from).text);
        if (i > 0 && stat(path, &info) != 0 && errno == ENOENT)
            continue;
        KL_TRY(kl__map_open(&map, path, k->err));
        kl_status status = kl__folder_write(k->folder, name[i], map.data, map.bytes, k->err);
        kl__map_close(&map);
        KL_TRY(status);
    }
    return KL_OK;
}

static kl_status export(struct work *k, const char *tokenizer)
{
    const kl_config *c = &k->t->layout.c;
    k->n_hf = kl__hf_tensors(NULL, c, k->type);
    k->hf = kl__alloc(k->t->alloc, (size_t)k->n_hf * sizeof *k->hf);
    if (!k->hf)
        return kl__fail(k->err, KL_ERR_MEMORY, "%s: no memory for a list of tensors", kl__shown_path(k->path).text);
    kl__hf_tensors(k->hf, c, k->type);
    KL_TRY(kl__shards_plan(&k->shards, k->hf, k->n_hf, (int64_t)5 << 30, k->err));
    KL_TRY(kl__folder_open(&k->folder, k->path, k->t->alloc, k->err));
    kl_status status = write_shards(k);
    if (status == KL_OK)
        status = write_config(k);
    if (status == KL_OK && tokenizer)
        status = copy_tokenizer(k, tokenizer);
    if (status == KL_OK)
        return kl__folder_commit(k->folder, k->err);
    kl__folder_abandon(k->folder);
    return status;
}

kl_status kl_trainer_export(const kl_trainer *t, const char *folder, const char *tokenizer, const char *type,
                            kl_error *err)
{
    struct work k = {.t = t, .path = folder, .type = type ? kl__type_of_name(type) : KL__TYPE_F32, .err = err};
    if (k.type != KL__TYPE_F32 && k.type != KL__TYPE_F16 && k.type != KL__TYPE_BF16)
        return kl__fail(err, KL_ERR_ARGUMENT, "the type is '%s', expected f32, f16 or bf16",
                        kl__shown(kl__str(type)).text);
    kl_status status = export(&k, tokenizer);
    kl__release(t->alloc, k.hf);
    return status;
}
