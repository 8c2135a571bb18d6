#include "model/origin.h"

#include "base/error.h"
#include "base/half.h"
#include "base/memory.h"
#include "format/format.h"

#include <math.h>
#include <stdio.h>

enum { LINE = 256 };

#define KEY_TYPE "klinear.source.type"
#define KEY_TENSORS "klinear.source.tensors"
#define KEY_A_LOG "klinear.source.a_log"

/* ------------------------------------------------------------------------------------------------------- writing -- */

static bool differs(const struct kl__hf_tensor *t, const struct kl__stored *s)
{
    return t->type != s->type || t->n_dim != s->n_dim || memcmp(t->dim, s->dim, (size_t)t->n_dim * sizeof *t->dim) != 0;
}

static struct kl__str describe(char line[LINE], const struct kl__hf_tensor *t, const struct kl__stored *s)
{
    int n = snprintf(line, LINE, "%s %s", t->name.text, kl__type_info(s->type)->name);
    for (int d = 0; d < s->n_dim && n < LINE; d++)
        n += snprintf(line + n, (size_t)(LINE - n), " %lld", (long long)s->dim[d]);
    return (struct kl__str){line, n < LINE ? (size_t)n : LINE - 1};
}

static kl_status put_list(struct kl__writer *w, const struct kl__hf_tensor *tensor,
                          const struct kl__stored *const *stored, int64_t n, int64_t n_other, const kl_allocator *alloc,
                          kl_error *err)
{
    char *room = kl__alloc(alloc, (size_t)n_other * LINE);
    struct kl__str *line = kl__alloc(alloc, (size_t)n_other * sizeof *line);
    kl_status status = KL_ERR_MEMORY;
    if (room && line) {
        int64_t k = 0;
        for (int64_t i = 0; i < n; i++)
            if (differs(&tensor[i], stored[i])) {
                line[k] = describe(room + k * LINE, &tensor[i], stored[i]);
                k++;
            }
        struct kl__meta m = kl__meta_strings(KEY_TENSORS, line, (uint64_t)n_other);
        status = kl__writer_meta(w, &m, err);
    } else
        kl__fail(err, KL_ERR_MEMORY, "no memory for a list of %lld tensors", (long long)n_other);
    kl__release(alloc, line);
    kl__release(alloc, room);
    return status;
}

kl_status kl__origin_put_tensors(struct kl__writer *w, const struct kl__hf_tensor *tensor,
                                 const struct kl__stored *const *stored, int64_t n, enum kl__type type,
                                 const kl_allocator *alloc, kl_error *err)
{
    struct kl__meta m = kl__meta_string(KEY_TYPE, kl__str(kl__type_info(type)->name));
    int64_t n_other = 0;
    KL_TRY(kl__writer_meta(w, &m, err));
    for (int64_t i = 0; i < n; i++)
        n_other += differs(&tensor[i], stored[i]);
    return n_other ? put_list(w, tensor, stored, n, n_other, alloc, err) : KL_OK;
}

float kl__rate_of(float a_log)
{
    return (float)-exp((double)a_log);
}

/* ------------------------------------------------------------------------------------------------------- reading -- */

/* A type that files may have and that the library can write; KL__N_TYPE: none. */
static enum kl__type type_named(struct kl__str name)
{
    enum kl__type type = kl__type_of_safetensors(name.at, name.bytes);
    return type != KL__N_TYPE && kl__type_info(type)->encode ? type : KL__N_TYPE;
}

kl_status kl__origin_type(enum kl__type *type, const struct kl__store *s, enum kl__type otherwise, kl_error *err)
{
    struct kl__str name;
    *type = otherwise;
    if (!kl__meta_find(&s->meta, KEY_TYPE))
        return KL_OK;
    KL_TRY(kl__store_string(&name, s, KEY_TYPE, err));
    enum kl__type found = type_named(name);
    if (found == KL__N_TYPE)
        return kl__fail(err, KL_ERR_FORMAT, "%s: key '" KEY_TYPE "' is '%s', expected F32, F16 or BF16",
                        kl__shown_file(s, 0).text, kl__shown(name).text);
    *type = found;
    return KL_OK;
}

/* The next word of a line; false at its end. */
static bool next_word(struct kl__str *line, struct kl__str *word)
{
    while (line->bytes && *line->at == ' ')
        line->at++, line->bytes--;
    word->at = line->at;
    while (line->bytes && *line->at != ' ')
        line->at++, line->bytes--;
    word->bytes = (size_t)(line->at - word->at);
    return word->bytes > 0;
}

/* A dimension of at most 15 digits. */
static bool number_of(struct kl__str word, int64_t *n)
{
    *n = 0;
    for (size_t i = 0; i < word.bytes; i++) {
        if (word.at[i] < '0' || word.at[i] > '9' || i == 15)
            return false;
        *n = *n * 10 + (word.at[i] - '0');
    }
    return word.bytes > 0;
}

/* Type and shape behind the name; the elements must be as many as before. */
static bool apply_line(struct kl__hf_tensor *t, struct kl__str rest)
{
    struct kl__str word;
    struct kl__hf_tensor new = *t;
    if (!next_word(&rest, &word) || (new.type = type_named(word)) == KL__N_TYPE)
        return false;
    for (new.n_dim = 0; next_word(&rest, &word); new.n_dim++)
        if (new.n_dim == 4 || !number_of(word, &new.dim[new.n_dim]) || new.dim[new.n_dim] < 1 ||
            new.dim[new.n_dim] > kl__hf_elements(t))
            return false;
    int64_t n = 1;
    for (int d = 0; d < new.n_dim; d++)
        if (__builtin_mul_overflow(n, new.dim[d], &n))
            return false;
    if (n != kl__hf_elements(t))
        return false;
    *t = new;
    return true;
}

struct named {
    struct kl__str name; /* first: kl__names looks here */
};

static kl_status apply_all(struct kl__hf_tensor *tensor, const struct kl__names *names, const struct kl__meta *list,
                           const struct kl__store *s, kl_error *err)
{
    for (uint64_t i = 0; i < list->n_item; i++) {
        struct kl__str line = list->text[i], name = {0};
        int64_t at = next_word(&line, &name) ? kl__names_find(names, name) : -1;
        if (at < 0 || !apply_line(&tensor[at], line))
            return kl__fail(err, KL_ERR_FORMAT,
                            "%s: key '" KEY_TENSORS "' says '%s', expected name, type and shape of a tensor",
                            kl__shown_file(s, 0).text, kl__shown(list->text[i]).text);
    }
    return KL_OK;
}

kl_status kl__origin_apply(struct kl__hf_tensor *tensor, int64_t n, const struct kl__store *s,
                           const kl_allocator *alloc, kl_error *err)
{
    const struct kl__meta *list;
    struct kl__names names = {0};
    if (!kl__meta_find(&s->meta, KEY_TENSORS))
        return KL_OK;
    KL_TRY(kl__store_array(&list, s, KEY_TENSORS, KL__META_STRING, err));
    struct named *named = kl__alloc(alloc, (size_t)n * sizeof *named);
    kl_status status = KL_ERR_MEMORY;
    if (named && kl__names_open(&names, named, sizeof *named, (size_t)n, alloc)) {
        for (int64_t i = 0; i < n; i++) {
            named[i].name = kl__str(tensor[i].name.text);
            kl__names_add(&names, (size_t)i);
        }
        status = apply_all(tensor, &names, list, s, err);
    } else
        kl__fail(err, KL_ERR_MEMORY, "%s: no memory for the names of its tensors", kl__shown_file(s, 0).text);
    kl__names_close(&names, alloc);
    kl__release(alloc, named);
    return status;
}

float kl__origin_a_log(const struct kl__store *s, int64_t at, float rate)
{
    const struct kl__meta *m = kl__meta_find(&s->meta, KEY_A_LOG);
    if (m && m->type == KL__META_ARRAY && m->element == KL__META_F32 && (uint64_t)at < m->n_item) {
        struct kl__meta item = kl__meta_item(m, (uint64_t)at);
        if (kl__bits_of_f32(kl__rate_of((float)item.f)) == kl__bits_of_f32(rate))
            return (float)item.f;
    }
    return logf(-rate);
}

bool kl__origin_text(int i, const char **file, const char **key)
{
    static const char *const texts[][2] = {
        {"config.json", "klinear.source.config"},
        {"tokenizer_config.json", "klinear.source.tokenizer_config"},
        {"generation_config.json", "klinear.source.generation_config"},
    };
    if (i >= (int)(sizeof texts / sizeof *texts))
        return false;
    *file = texts[i][0];
    *key = texts[i][1];
    return true;
}
