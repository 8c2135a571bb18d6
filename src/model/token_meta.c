#include "model/token_meta.h"

#include "base/error.h"
#include "base/memory.h"
#include "format/format.h"
#include "format/writer_parts.h"
#include "text/spelling.h"
#include "text/tokenizer.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/* --------------------------------------------------------------------------------------------------- to metadata -- */

enum { NORMAL = 1, CONTROL = 3, UNUSED = 5, UNUSED_BYTES = 16 };

struct list {
    const kl_allocator *alloc;
    struct kl__str *text; /* [n] */
    int32_t *type;        /* [n] */
    char *room;
    int64_t n;
};

static void close_list(struct list *l)
{
    kl__release(l->alloc, l->text);
    kl__release(l->alloc, l->type);
    kl__release(l->alloc, l->room);
}

static bool open_list(struct list *l, const kl_tokenizer *t)
{
    size_t bytes = 0, n = (size_t)l->n;
    for (int32_t i = 0; i < kl_tokenizer_n_vocab(t); i++)
        bytes += 2 * kl_tokenizer_text(t, i).bytes;
    bytes += (n - (size_t)kl_tokenizer_n_vocab(t)) * UNUSED_BYTES;
    l->text = kl__alloc(l->alloc, n * sizeof *l->text);
    l->type = kl__alloc(l->alloc, n * sizeof *l->type);
    l->room = kl__alloc(l->alloc, bytes);
    return l->text && l->type && l->room;
}

static void fill_list(struct list *l, const kl_tokenizer *t)
{
    char *to = l->room;
    for (int32_t i = 0; i < l->n; i++) {
        size_t n;
        if (i >= kl_tokenizer_n_vocab(t)) {
            n = (size_t)snprintf(to, UNUSED_BYTES, "[PAD%d]", i);
            l->type[i] = UNUSED;
        } else {
            kl_text text = kl_tokenizer_text(t, i);
            l->type[i] = kl_tokenizer_is_special(t, i) ? CONTROL : NORMAL;
            n = text.bytes;
            if (l->type[i] == CONTROL)
                memcpy(to, text.data, n);
            else
                n = kl__spell(to, text.data, n);
        }
        l->text[i] = (struct kl__str){to, n};
        to += n;
    }
}

static kl_status put(struct kl__writer *w, struct kl__meta m, kl_error *err)
{
    return kl__writer_meta(w, &m, err);
}

/* The id of a special token by name, else `otherwise`; -1: no such key. */
static kl_status put_id(struct kl__writer *w, const char *key, const kl_tokenizer *t, const char *name,
                        int64_t otherwise, kl_error *err)
{
    int64_t id = t ? kl_tokenizer_special(t, name) : -1;
    id = id < 0 ? otherwise : id;
    return id < 0 ? KL_OK : put(w, kl__meta_u32(key, (uint32_t)id), err);
}

/* As the usual converter does, the tokenizer's end of text stands where the configuration has the end of a turn. */
static kl_status put_ids(struct kl__writer *w, const kl_tokenizer *t, const kl_config *c, kl_error *err)
{
    KL_TRY(put_id(w, "tokenizer.ggml.bos_token_id", t, "[BOS]", c->bos, err));
    KL_TRY(put_id(w, "tokenizer.ggml.eos_token_id", t, "[EOS]", c->eos, err));
    KL_TRY(put_id(w, "tokenizer.ggml.unknown_token_id", t, "[UNK]", -1, err));
    return put_id(w, "tokenizer.ggml.padding_token_id", t, "[PAD]", c->pad, err);
}

/* The rank of the token that the first two of these parts make, if it comes before token `id`; else `id`. */
static int32_t rank_before(const struct kl__vocab *v, int32_t id, const unsigned char *p, const uint16_t *part)
{
    int32_t rank = kl__vocab_find(v, p + part[0], (size_t)part[2] - part[0]);
    return rank >= 0 && rank < id ? rank : id;
}

/* Joining by rank makes token `id` out of two others in the end: the bytes of the first.  0: out of more. */
static size_t first_half(const struct kl__vocab *v, int32_t id)
{
    struct kl__str text = kl__vocab_text(v, id);
    const unsigned char *p = (const unsigned char *)text.at;
    uint16_t part[KL__TOKEN_BYTES + 1]; /* [n + 1] where each begins, and the end */
    int32_t rank[KL__TOKEN_BYTES];      /* [n - 1] of a part and the next one together */
    size_t n = text.bytes;
    for (size_t i = 0; i <= n; i++)
        part[i] = (uint16_t)i;
    for (size_t i = 0; i + 1 < n; i++)
        rank[i] = rank_before(v, id, p, &part[i]);
    for (;; n--) {
        size_t best = 0;
        for (size_t i = 1; i + 1 < n; i++)
            best = rank[i] < rank[best] ? i : best;
        if (rank[best] == id)
            return n == 2 ? part[1] : 0;
        memmove(&part[best + 1], &part[best + 2], (n - best - 1) * sizeof *part);
        memmove(&rank[best], &rank[best + 1], (n - best - 2) * sizeof *rank);
        if (best + 2 < n)
            rank[best] = rank_before(v, id, p, &part[best]);
        if (best)
            rank[best - 1] = rank_before(v, id, p, &part[best - 1]);
    }
}

/* "LEFT RIGHT" for every token of several bytes, in the order of ranks.  This library does without; other programs read
 * single bytes where they find no such list. */
static kl_status put_merges(struct kl__writer *w, const struct kl__vocab *v, const kl_allocator *alloc, kl_error *err)
{
    size_t bytes = 0;
    uint64_t n = 0;
    for (int32_t id = 0; id < v->n_token; id++)
        bytes += 2 * kl__vocab_text(v, id).bytes + 1;
    struct kl__str *pair = kl__alloc(alloc, (size_t)v->n_token * sizeof *pair);
    char *room = kl__alloc(alloc, bytes), *to = room;
    kl_status status = pair && room ? KL_OK : kl__fail(err, KL_ERR_MEMORY, "no memory for %zu bytes of merges", bytes);
    for (int32_t id = 0; id < v->n_token && status == KL_OK; id++) {
        struct kl__str text = kl__vocab_text(v, id);
        size_t left = v->kind[id] == KL__TOKEN_ORDINARY && text.bytes > 1 ? first_half(v, id) : 0;
        if (left == 0)
            continue;
        char *from = to;
        to += kl__spell(to, text.at, left);
        *to++ = ' ';
        to += kl__spell(to, text.at + left, text.bytes - left);
        pair[n++] = (struct kl__str){from, (size_t)(to - from)};
    }
    if (status == KL_OK && n)
        status = put(w, kl__meta_strings("tokenizer.ggml.merges", pair, n), err);
    kl__release(alloc, room);
    kl__release(alloc, pair);
    return status;
}

static kl_status put_tokens(struct kl__writer *w, const kl_tokenizer *t, const kl_config *c, struct list *l,
                            kl_error *err)
{
    kl_text template = kl_tokenizer_template(t);
    fill_list(l, t);
    KL_TRY(put(w, kl__meta_string("tokenizer.ggml.model", kl__str("gpt2")), err));
    KL_TRY(put(w, kl__meta_string("tokenizer.ggml.pre", kl__str("kimi-k2")), err));
    KL_TRY(put(w, kl__meta_strings("tokenizer.ggml.tokens", l->text, (uint64_t)l->n), err));
    KL_TRY(put(w, kl__meta_numbers("tokenizer.ggml.token_type", KL__META_I32, l->type, (uint64_t)l->n), err));
    KL_TRY(put_merges(w, &t->vocab, l->alloc, err));
    KL_TRY(put_ids(w, t, c, err));
    KL_TRY(put(w, kl__meta_bool("tokenizer.ggml.add_bos_token", false), err));
    if (template.data)
        KL_TRY(
            put(w, kl__meta_string("tokenizer.chat_template", (struct kl__str){template.data, template.bytes}), err));
    return KL_OK;
}

kl_status kl__tokenizer_put(struct kl__writer *w, const kl_tokenizer *t, const kl_config *c, const char *path,
                            const kl_allocator *alloc, kl_error *err)
{
    struct list l = {.alloc = alloc, .n = c->n_vocab};
    if (kl_tokenizer_n_vocab(t) > c->n_vocab)
        return kl__fail(err, KL_ERR_FORMAT, "%s: the tokenizer has %d tokens, expected at most the %d of the embedding",
                        kl__shown_path(path).text, kl_tokenizer_n_vocab(t), c->n_vocab);
    kl_status status =
        open_list(&l, t) ? put_tokens(w, t, c, &l, err)
                         : kl__fail(err, KL_ERR_MEMORY, "%s: no memory for its vocabulary", kl__shown_path(path).text);
    close_list(&l);
    return status;
}

kl_status kl__token_meta_put(struct kl__writer *w, const kl_config *c, const char *path, const kl_allocator *alloc,
                             kl_error *err)
{
    char file[PATH_MAX];
    struct stat s;
    kl_tokenizer *t;
    int n = snprintf(file, sizeof file, "%s/tiktoken.model", path);
    if (n < 0 || n >= (int)sizeof file || stat(file, &s) != 0)
        return put_ids(w, NULL, c, err);
    KL_TRY(kl_tokenizer_open(&t, file, alloc, err));
    kl_status status = kl__tokenizer_put(w, t, c, path, alloc, err);
    kl_tokenizer_close(t);
    return status;
}

/* ------------------------------------------------------------------------------------------------------ to files -- */

/* All ordinary tokens come first, so that their ids are ranks. */
static kl_status check_ranks(const kl_tokenizer *t, const struct kl__store *s, kl_error *err)
{
    for (int32_t i = 0; i < t->vocab.n_ordinary; i++)
        if (t->vocab.kind[i] != KL__TOKEN_ORDINARY)
            return kl__fail(err, KL_ERR_UNSUPPORTED,
                            "%s: token %d is no ordinary one but stands before the last of them, so that it has no "
                            "rank in a tiktoken.model",
                            kl__shown_file(s, 0).text, i);
    return KL_OK;
}

static kl_status write_ranks(struct kl__folder *folder, const kl_tokenizer *t, const kl_allocator *alloc, kl_error *err)
{
    size_t room = 0, bytes = 0;
    for (int32_t i = 0; i < t->vocab.n_ordinary; i++)
        room += kl__vocab_text(&t->vocab, i).bytes / 3 * 4 + 4 + 16;
    char *text = kl__alloc(alloc, room + 2 * KL__TOKEN_BYTES);
    if (!text)
        return kl__fail(err, KL_ERR_MEMORY, "no memory for a tiktoken.model of %zu bytes", room);
    for (int32_t i = 0; i < t->vocab.n_ordinary; i++)
        bytes += kl__tiktoken_line(text + bytes, kl__vocab_text(&t->vocab, i), i);
    kl_status status = kl__folder_write(folder, "tiktoken.model", text, bytes, err);
    kl__release(alloc, text);
    return status;
}

static void put_special(struct kl__buffer *b, const kl_tokenizer *t, int32_t id, bool first)
{
    char key[48];
    snprintf(key, sizeof key, "%s\n    \"%d\": {\"content\": ", first ? "" : ",", id);
    kl__buffer_put_text(b, key);
    kl__buffer_put_json(b, kl__vocab_text(&t->vocab, id));
    kl__buffer_put_text(b, ", \"special\": true}");
}

/* Names of special tokens, as tokenizer_config.json has them. */
static kl_status write_names(struct kl__folder *folder, const kl_tokenizer *t, const kl_allocator *alloc, kl_error *err)
{
    struct kl__buffer b = {.alloc = alloc};
    bool first = true;
    kl__buffer_put_text(&b, "{\n  \"added_tokens_decoder\": {");
    for (int32_t i = 0; i < t->vocab.n_token; i++)
        if (t->vocab.kind[i] == KL__TOKEN_SPECIAL) {
            put_special(&b, t, i, first);
            first = false;
        }
    kl__buffer_put_text(&b, "\n  }\n}\n");
    kl_status status = b.failed ? kl__fail(err, KL_ERR_MEMORY, "no memory for a tokenizer_config.json")
                                : kl__folder_write(folder, "tokenizer_config.json", b.data, b.bytes, err);
    kl__buffer_free(&b);
    return status;
}

kl_status kl__token_files_write(struct kl__folder *folder, const struct kl__store *s, bool with_config,
                                const kl_allocator *alloc, kl_error *err)
{
    kl_tokenizer *t;
    if (!kl__meta_find(&s->meta, "tokenizer.ggml.tokens"))
        return KL_OK;
    KL_TRY(kl__tokenizer_of_store(&t, s, alloc, err));
    kl_text template = kl_tokenizer_template(t);
    kl_status status = check_ranks(t, s, err);
    if (status == KL_OK)
        status = write_ranks(folder, t, alloc, err);
    if (status == KL_OK && with_config)
        status = write_names(folder, t, alloc, err);
    if (status == KL_OK && template.data)
        status = kl__folder_write(folder, "chat_template.jinja", template.data, template.bytes, err);
    kl_tokenizer_close(t);
    return status;
}
