#include "text/tokenizer.h"
#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/sha256.h"
#include "format/store.h"

#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>

enum { TEMPLATE_BYTES = 1 << 20, RELEASED_TOKENS = 163584 };

/* ------------------------------------------------------------------------------------------------------- opening -- */

kl_status kl__tokenizer_keep_template(kl_tokenizer *t, struct kl__str text, const char *path, kl_error *err)
{
    if (text.bytes > TEMPLATE_BYTES)
        return kl__fail(err, KL_ERR_UNSUPPORTED, "%s: the chat template has %zu bytes, expected at most %d",
                        kl__shown_path(path).text, text.bytes, TEMPLATE_BYTES);
    t->chat_template = kl__alloc(t->alloc, text.bytes + 1);
    if (!t->chat_template)
        return kl__fail(err, KL_ERR_MEMORY, "%s: no memory for the chat template", kl__shown_path(path).text);
    if (text.bytes)
        memcpy(t->chat_template, text.at, text.bytes);
    t->template_bytes = text.bytes;
    return KL_OK;
}

const char *kl__mark_name(enum kl__mark mark)
{
    static const char *const name[KL__N_MARK] = {
#define KL_X(name, text) [KL__MARK_##name] = text,
        KL__MARKS(KL_X)
#undef KL_X
    };
    return name[mark];
}

static void find_marks(kl_tokenizer *t)
{
    for (int i = 0; i < KL__N_MARK; i++)
        t->mark[i] = kl__vocab_special(&t->vocab, kl__str(kl__mark_name((enum kl__mark)i)));
}

static kl_tokenizer *new_tokenizer(const char *path, const kl_allocator *alloc, kl_error *err)
{
    kl_tokenizer *t = kl__alloc(alloc, sizeof *t);
    if (t)
        *t = (kl_tokenizer){.alloc = alloc, .vocab = {.alloc = alloc, .path = path}};
    else
        kl__fail(err, KL_ERR_MEMORY, "%s: no memory for its tokenizer", kl__shown_path(path).text);
    return t;
}

static kl_status give(kl_tokenizer **tokenizer, kl_tokenizer *t, kl_status status)
{
    if (status != KL_OK) {
        kl_tokenizer_close(t);
        return status;
    }
    find_marks(t);
    t->vocab.path = NULL;
    *tokenizer = t;
    return KL_OK;
}

kl_status kl__tokenizer_of_store(kl_tokenizer **tokenizer, const struct kl__store *store, const kl_allocator *alloc,
                                 kl_error *err)
{
    kl_tokenizer *t = new_tokenizer(store->file[0].path, alloc, err);
    return t ? give(tokenizer, t, kl__tokenizer_read_store(t, store, err)) : KL_ERR_MEMORY;
}

kl_status kl__tokenizer_of_tiktoken(kl_tokenizer **tokenizer, const struct kl__tiktoken *files,
                                    const kl_allocator *alloc, kl_error *err)
{
    kl_tokenizer *t = new_tokenizer(files->ranks.path, alloc, err);
    return t ? give(tokenizer, t, kl__tokenizer_read_tiktoken(t, files, err)) : KL_ERR_MEMORY;
}

static kl_status map_text(struct kl__named_text *to, struct kl__map *map, const char *path, kl_error *err)
{
    KL_TRY(kl__map_open(map, path, err));
    *to = (struct kl__named_text){path, {(const char *)map->data, map->bytes}};
    return KL_OK;
}

/* A file beside tiktoken.model, which need not be there. */
static kl_status map_beside(struct kl__named_text *to, struct kl__map *map, char room[PATH_MAX], const char *path,
                            const char *name, kl_error *err)
{
    const char *slash = strrchr(path, '/');
    int n = snprintf(room, PATH_MAX, "%.*s%s", slash ? (int)(slash + 1 - path) : 0, path, name);
    struct stat info;
    return n > 0 && n < PATH_MAX && stat(room, &info) == 0 ? map_text(to, map, room, err) : KL_OK;
}

static kl_status open_tiktoken(kl_tokenizer **tokenizer, const char *path, const kl_allocator *alloc, kl_error *err)
{
    struct kl__tiktoken files = {0};
    struct kl__map map[3] = {{0}};
    char config[PATH_MAX], template[PATH_MAX];
    kl_status status = map_text(&files.ranks, &map[0], path, err);
    if (status == KL_OK)
        status = map_beside(&files.config, &map[1], config, path, "tokenizer_config.json", err);
    if (status == KL_OK)
        status = map_beside(&files.template, &map[2], template, path, "chat_template.jinja", err);
    if (status == KL_OK)
        status = kl__tokenizer_of_tiktoken(tokenizer, &files, alloc, err);
    for (int i = 0; i < 3; i++)
        kl__map_close(&map[i]);
    return status;
}

static kl_status open_gguf(kl_tokenizer **tokenizer, const char *path, const kl_allocator *alloc, kl_error *err)
{
    struct kl__store *store;
    KL_TRY(kl__store_open(&store, path, alloc, err));
    kl_status status = kl__tokenizer_of_store(tokenizer, store, alloc, err);
    kl__store_close(store);
    return status;
}

static bool begins_as_gguf(const char *path)
{
    FILE *file = fopen(path, "rb");
    char magic[4] = "";
    bool yes = file && fread(magic, 1, 4, file) == 4 && memcmp(magic, "GGUF", 4) == 0;
    if (file)
        fclose(file);
    return yes;
}

static bool ends_with(const char *path, const char *ending)
{
    size_t n = strlen(path), m = strlen(ending);
    return n >= m && strcmp(path + n - m, ending) == 0;
}

/* A model that is named by a file of its tensors has its tokenizer beside it. */
static kl_status open_beside(kl_tokenizer **tokenizer, const char *path, const kl_allocator *alloc, kl_error *err)
{
    struct stat info;
    char room[PATH_MAX];
    const char *slash = strrchr(path, '/');
    int n = snprintf(room, sizeof room, "%.*stiktoken.model", slash ? (int)(slash + 1 - path) : 0, path);
    if (n < 0 || n >= (int)sizeof room || stat(room, &info) != 0)
        return kl__fail(err, KL_ERR_IO, "%s: no tiktoken.model lies beside it", kl__shown_path(path).text);
    return open_tiktoken(tokenizer, room, alloc, err);
}

kl_status kl_tokenizer_open(kl_tokenizer **tokenizer, const char *path, const kl_allocator *alloc, kl_error *err)
{
    struct stat info;
    char room[PATH_MAX];
    bool exists = stat(path, &info) == 0;
    if (exists && S_ISDIR(info.st_mode)) {
        int n = snprintf(room, sizeof room, "%s/tiktoken.model", path);
        if (n >= (int)sizeof room || stat(room, &info) != 0)
            return kl__fail(err, KL_ERR_IO, "%s: the directory holds no tiktoken.model", kl__shown_path(path).text);
        return open_tiktoken(tokenizer, room, alloc, err);
    }
    if (exists && S_ISREG(info.st_mode) && begins_as_gguf(path))
        return open_gguf(tokenizer, path, alloc, err);
    if (ends_with(path, ".safetensors") || ends_with(path, ".index.json"))
        return open_beside(tokenizer, path, alloc, err);
    return open_tiktoken(tokenizer, path, alloc, err);
}

void kl_tokenizer_close(kl_tokenizer *t)
{
    if (!t)
        return;
    kl__vocab_close(&t->vocab);
    kl__release(t->alloc, t->chat_template);
    kl__release(t->alloc, t);
}

/* -------------------------------------------------------------------------------------------------------- asking -- */

int32_t kl_tokenizer_n_vocab(const kl_tokenizer *t)
{
    return t->vocab.n_token;
}

static bool is_token(const kl_tokenizer *t, int32_t id)
{
    return id >= 0 && id < t->vocab.n_token;
}

kl_text kl_tokenizer_text(const kl_tokenizer *t, int32_t id)
{
    if (!is_token(t, id))
        return (kl_text){0};
    struct kl__str text = kl__vocab_text(&t->vocab, id);
    return (kl_text){text.at, text.bytes};
}

bool kl_tokenizer_is_special(const kl_tokenizer *t, int32_t id)
{
    return is_token(t, id) && t->vocab.kind[id] == KL__TOKEN_SPECIAL;
}

int32_t kl_tokenizer_special(const kl_tokenizer *t, const char *name)
{
    return kl__vocab_special(&t->vocab, kl__str(name));
}

int kl_tokenizer_stops(int32_t ids[3], const kl_tokenizer *t)
{
    const int32_t stops[] = {t->mark[KL__MARK_EOS], t->mark[KL__MARK_END], t->mark[KL__MARK_EOT]};
    int n = 0;
    for (int i = 0; i < 3; i++)
        if (stops[i] >= 0)
            ids[n++] = stops[i];
    return n;
}

kl_text kl_tokenizer_template(const kl_tokenizer *t)
{
    return (kl_text){t->chat_template, t->template_bytes};
}

/* ------------------------------------------------------------------------------------------------------ identity -- */

size_t kl__tiktoken_line(char *line, struct kl__str token, int32_t rank)
{
    static const char letter[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    size_t n = 0;
    for (size_t i = 0; i < token.bytes; i += 3) {
        uint32_t bits = 0;
        for (size_t j = 0; j < 3; j++)
            bits = bits << 8 | (i + j < token.bytes ? (unsigned char)token.at[i + j] : 0u);
        for (size_t j = 0; j < 4; j++)
            line[n++] = i + j > token.bytes ? '=' : letter[bits >> (18 - 6 * j) & 63];
    }
    return n + (size_t)snprintf(line + n, 16, " %d\n", rank);
}

void kl_tokenizer_sha256(char hex[65], const kl_tokenizer *t)
{
    struct kl__sha256 sha;
    char line[KL__TOKEN_BYTES * 2];
    unsigned char digest[32];
    kl__sha256_begin(&sha);
    for (int32_t id = 0; id < t->vocab.n_token; id++)
        if (t->vocab.kind[id] == KL__TOKEN_ORDINARY)
            kl__sha256_add(&sha, line, kl__tiktoken_line(line, kl__vocab_text(&t->vocab, id), id));
    kl__sha256_end(digest, &sha);
    for (int i = 0; i < 32; i++)
        snprintf(hex + 2 * i, 3, "%02x", digest[i]);
}

bool kl_tokenizer_is_suspect(const kl_tokenizer *t)
{
    char hex[65];
    if (t->vocab.n_ordinary != RELEASED_TOKENS)
        return false;
    kl_tokenizer_sha256(hex, t);
    return strcmp(hex, "b6c497a7469b33ced9c38afb1ad6e47f03f5e5dc05f15930799210ec050c5103") != 0;
}
