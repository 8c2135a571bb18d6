/* A GGUF file again, with matrices of another type. */
#include "base/error.h"
#include "base/memory.h"
#include "format/format.h"
#include "model/gather.h"
#include "model/gguf_tensors.h"

struct work {
    const char *path; /* of the new file */
    const kl_file_options *options;
    kl_requantized_fn *each;
    struct kl__store *store;
    kl_config c;
    struct kl__mixture mixture;
    struct kl__writer *writer;
    kl_error *err;
};

/* What a tensor becomes.  What is no matrix of the model stays as it is. */
static enum kl__type type_of(const struct work *k, const struct kl__stored *t)
{
    struct kl__gguf_tensor known;
    if (t->n_dim == 0 || !kl__type_info(t->type)->decode || !kl__gguf_find(&known, &k->c, t->name))
        return t->type;
    enum kl__form form = kl__param_info(known.param)->form;
    if (form != KL__FORM_MATRIX && form != KL__FORM_EXPERTS && form != KL__FORM_KV_B)
        return t->type;
    return kl__gguf_type(&k->c, &k->mixture, &known, t->dim[t->n_dim - 1]);
}

/* Parts of a split file become one. */
static bool of_a_part(struct kl__str key)
{
    return key.bytes > 6 && memcmp(key.at, "split.", 6) == 0;
}

static kl_status put_meta(const struct work *k)
{
    struct kl__meta type = kl__meta_u32("general.file_type", kl__mixture_file_type(&k->mixture));
    struct kl__meta version = kl__meta_u32("general.quantization_version", 2);
    KL_TRY(kl__writer_meta(k->writer, &type, k->err));
    KL_TRY(kl__writer_meta(k->writer, &version, k->err));
    for (int64_t i = 0; i < k->store->meta.n_meta; i++) {
        const struct kl__meta *m = &k->store->meta.meta[i];
        if (!of_a_part(m->key) && !kl__str_same(m->key, type.key) && !kl__str_same(m->key, version.key))
            KL_TRY(kl__writer_meta(k->writer, m, k->err));
    }
    return KL_OK;
}

static kl_status announce(const struct work *k, int64_t *bytes)
{
    for (int64_t i = 0; i < k->store->n_tensor; i++) {
        const struct kl__stored *t = &k->store->tensor[i];
        char name[128];
        size_t each = 0;
        memcpy(name, t->name.at, t->name.bytes); /* of at most 63 bytes: a rule of the format */
        name[t->name.bytes] = 0;
        KL_TRY(kl__writer_tensor(k->writer, name, type_of(k, t), t->n_dim, t->dim, k->err));
        kl__type_bytes(type_of(k, t), kl__stored_elements(t), &each);
        *bytes += (int64_t)each;
    }
    return kl__writer_begin(k->writer, k->err);
}

static void tell(const struct work *k, const struct kl__stored *t, const struct kl__loss *loss)
{
    char name[128];
    size_t to_bytes = 0;
    memcpy(name, t->name.at, t->name.bytes);
    name[t->name.bytes] = 0;
    kl__type_bytes(type_of(k, t), kl__stored_elements(t), &to_bytes);
    kl_requantized told = {.name = name,
                           .from = kl__type_info(t->type)->name,
                           .to = kl__type_info(type_of(k, t))->name,
                           .n_element = kl__stored_elements(t),
                           .from_bytes = (int64_t)t->bytes,
                           .to_bytes = (int64_t)to_bytes,
                           .error = loss->error,
                           .power = loss->power};
    if (k->each)
        k->each(k->options->user, &told);
}

static kl_status write_tensor(const struct work *k, struct kl__stream *s, int64_t i, struct kl__loss *loss)
{
    const struct kl__stored *t = &k->store->tensor[i];
    struct kl__gather g = {.a = t};
    struct kl__source source = kl__gather_source(&g);
    if (k->options->dry_run)
        return KL_OK;
    if (type_of(k, t) == t->type)
        return kl__stream_bytes(s, i, t->data, t->bytes, k->err);
    return kl__stream_tensor(s, i, kl__shown(t->name).text, type_of(k, t), kl__stored_elements(t), &source, loss,
                             k->err);
}

static kl_status write_all(const struct work *k)
{
    struct kl__stream s;
    kl_status status = KL_OK;
    kl__stream_open(&s, k->writer, k->path, k->options);
    KL_TRY(put_meta(k));
    KL_TRY(announce(k, &s.total));
    for (int64_t i = 0; i < k->store->n_tensor && status == KL_OK; i++) {
        struct kl__loss loss = {0};
        status = write_tensor(k, &s, i, &loss);
        if (status == KL_OK)
            tell(k, &k->store->tensor[i], &loss);
    }
    kl__stream_close(&s);
    return status;
}

static kl_status quantize(struct work *k, const char *from)
{
    if (strcmp(k->store->format, "gguf") != 0)
        return kl__fail(k->err, KL_ERR_ARGUMENT, "%s: is no GGUF file; convert makes one", kl__shown_path(from).text);
    KL_TRY(kl__config_read(&k->c, k->store, from, k->err));
    if (!k->options->dry_run)
        KL_TRY(kl__store_check_output(k->store, k->path, k->err));
    KL_TRY(kl__writer_open(&k->writer, k->path, "gguf", k->options->alloc, k->err));
    kl_status status = write_all(k);
    if (status == KL_OK && !k->options->dry_run)
        return kl__writer_finish(k->writer, k->err);
    kl__writer_abandon(k->writer);
    return status;
}

kl_status kl_model_quantize(const char *path, const char *from, const kl_file_options *options, kl_requantized_fn *each,
                            kl_error *err)
{
    struct work k = {.path = path, .options = options, .each = each, .err = err};
    if (!options || !options->type)
        return kl__fail(err, KL_ERR_ARGUMENT, "%s: no type is given", kl__shown_path(path).text);
    KL_TRY(kl__mixture_of_name(&k.mixture, options->type, err));
    KL_TRY(kl__store_open(&k.store, from, options->alloc, err));
    kl_status status = quantize(&k, from);
    kl__store_close(k.store);
    return status;
}
