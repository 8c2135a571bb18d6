/* Models with random weights. */
#include "base/error.h"
#include "base/memory.h"
#include "model/made.h"

#include <stdio.h>

static kl_status write_tensors(struct kl__stream *s, const struct kl__gguf_tensor *tensor, int64_t n,
                               const kl_config *c, uint64_t seed, kl_error *err)
{
    for (int64_t i = 0; i < n; i++) {
        struct kl__made made = kl__made(&tensor[i], c, seed);
        struct kl__source source = {.read = kl__made_read, .self = &made};
        KL_TRY(kl__stream_tensor(s, i, tensor[i].name.text, tensor[i].type, kl__gguf_elements(&tensor[i]), &source,
                                 NULL, err));
    }
    return KL_OK;
}

static kl_status write_all(struct kl__writer *w, const char *path, const kl_config *c, const struct kl__mixture *m,
                           const struct kl__gguf_tensor *tensor, int64_t n, uint64_t seed,
                           const kl_file_options *options, kl_error *err)
{
    struct kl__stream s;
    char name[40];
    snprintf(name, sizeof name, "random-%llu", (unsigned long long)seed);
    kl__stream_open(&s, w, path, options);
    KL_TRY(kl__gguf_put_config(w, c, name, kl__mixture_file_type(m), err));
    KL_TRY(kl__made_tokens(w, c, s.alloc, err));
    KL_TRY(kl__gguf_announce(w, tensor, n, &s.total, err));
    KL_TRY(kl__writer_begin(w, err));
    if (options && options->dry_run)
        return KL_OK;
    kl_status status = write_tensors(&s, tensor, n, c, seed, err);
    kl__stream_close(&s);
    return status;
}

kl_status kl_model_init(const char *path, const kl_config *c, uint64_t seed, const kl_file_options *options,
                        kl_error *err)
{
    const kl_allocator *alloc = options ? options->alloc : NULL;
    struct kl__mixture m;
    struct kl__writer *w;
    KL_TRY(kl__mixture_of_name(&m, options && options->type ? options->type : "f32", err));
    KL_TRY(kl__config_check(c, path, err));
    int64_t n = kl__gguf_tensors(NULL, c, &m);
    struct kl__gguf_tensor *tensor = kl__alloc(alloc, (size_t)n * sizeof *tensor);
    if (!tensor)
        return kl__fail(err, KL_ERR_MEMORY, "%s: no memory for a list of %lld tensors", kl__shown_path(path).text,
                        (long long)n);
    kl__gguf_tensors(tensor, c, &m);
    kl_status status = kl__writer_open(&w, path, "gguf", alloc, err);
    if (status == KL_OK) {
        status = write_all(w, path, c, &m, tensor, n, seed, options, err);
        if (status == KL_OK && !(options && options->dry_run))
            status = kl__writer_finish(w, err);
        else
            kl__writer_abandon(w);
    }
    kl__release(alloc, tensor);
    return status;
}
