#include "model/shards.h"

#include "base/error.h"
#include "format/writer_parts.h"

#include <inttypes.h>
#include <stdio.h>

static int64_t bytes_of(const struct kl__hf_tensor *t)
{
    size_t bytes = 0;
    kl__type_bytes(t->type, kl__hf_elements(t), &bytes);
    return (int64_t)bytes;
}

/* Where the file that begins with tensor `first` ends. */
static int64_t end_of_file(const struct kl__shards *s, int64_t first)
{
    int64_t bytes = bytes_of(&s->tensor[first]), i = first + 1;
    while (i < s->n_tensor && bytes + bytes_of(&s->tensor[i]) <= s->most_bytes)
        bytes += bytes_of(&s->tensor[i++]);
    return i;
}

kl_status kl__shards_plan(struct kl__shards *s, const struct kl__hf_tensor *tensor, int64_t n_tensor,
                          int64_t most_bytes, kl_error *err)
{
    *s = (struct kl__shards){.tensor = tensor, .n_tensor = n_tensor, .most_bytes = most_bytes};
    for (int64_t i = 0; i < n_tensor; i++) {
        s->total_bytes += bytes_of(&tensor[i]);
        s->n_parameter += kl__hf_elements(&tensor[i]);
    }
    for (int64_t i = 0; i < n_tensor && s->n_file <= KL__STORE_FILES; i = end_of_file(s, i))
        s->n_file++;
    return s->n_file <= KL__STORE_FILES
               ? KL_OK
               : kl__fail(err, KL_ERR_UNSUPPORTED, "files of %lld bytes would be more than %d; make them larger",
                          (long long)most_bytes, KL__STORE_FILES);
}

void kl__shards_file(const struct kl__shards *s, int i, int64_t *first, int64_t *n)
{
    *first = 0;
    for (int f = 0; f < i; f++)
        *first = end_of_file(s, *first);
    *n = end_of_file(s, *first) - *first;
}

struct kl__shard_name kl__shard_name(const struct kl__shards *s, int i)
{
    struct kl__shard_name name = {"model.safetensors"};
    if (s->n_file > 1)
        snprintf(name.text, sizeof name.text, "model-%05d-of-%05d.safetensors", i + 1, s->n_file);
    return name;
}

static void put_file(struct kl__buffer *b, const struct kl__shards *s, int i)
{
    int64_t first, n;
    kl__shards_file(s, i, &first, &n);
    for (int64_t t = first; t < first + n; t++) {
        kl__buffer_put_text(b, t ? ",\n    " : "\n    ");
        kl__buffer_put_json(b, kl__str(s->tensor[t].name.text));
        kl__buffer_put_text(b, ": ");
        kl__buffer_put_json(b, kl__str(kl__shard_name(s, i).text));
    }
}

kl_status kl__shards_write_index(const struct kl__shards *s, struct kl__folder *folder, const kl_allocator *alloc,
                                 kl_error *err)
{
    struct kl__buffer b = {.alloc = alloc};
    char text[128];
    if (s->n_file < 2)
        return KL_OK;
    snprintf(text, sizeof text,
             "{\n  \"metadata\": {\n    \"total_parameters\": %" PRId64 ",\n    \"total_size\": %" PRId64 "\n  },\n",
             s->n_parameter, s->total_bytes);
    kl__buffer_put_text(&b, text);
    kl__buffer_put_text(&b, "  \"weight_map\": {");
    for (int i = 0; i < s->n_file; i++)
        put_file(&b, s, i);
    kl__buffer_put_text(&b, "\n  }\n}\n");
    kl_status status =
        b.failed ? kl__fail(err, KL_ERR_MEMORY, "no memory for an index of %lld tensors", (long long)s->n_tensor)
                 : kl__folder_write(folder, "model.safetensors.index.json", b.data, b.bytes, err);
    kl__buffer_free(&b);
    return status;
}
