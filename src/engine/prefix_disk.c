#define _GNU_SOURCE
#include "engine/prefix_disk.h"

#include "base/build.h"
#include "base/error.h"
#include "base/hash.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { NAME_BYTES = 80 };

/* --------------------------------------------------------------------------------------------------------- names -- */

struct name {
    char text[NAME_BYTES];
};

/* "prefix-<tokens>-<hash>.session" */
static struct name name_of(const struct kl__saved *s)
{
    struct name name;
    int n = snprintf(name.text, sizeof name.text, "prefix-%lld-", (long long)s->n_token);
    for (int i = 0; i < 16; i++)
        n += snprintf(name.text + n, sizeof name.text - (size_t)n, "%02x", s->hash[i]);
    snprintf(name.text + n, sizeof name.text - (size_t)n, ".session");
    return name;
}

static int digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* False: the file is none of ours. */
static bool read_name(struct kl__saved *s, const char *text)
{
    char *end;
    *s = (struct kl__saved){0};
    if (strncmp(text, "prefix-", 7) != 0 || text[7] < '1' || text[7] > '9')
        return false;
    s->n_token = strtoll(text + 7, &end, 10);
    if (*end++ != '-' || s->n_token % KL_PAGE_TOKENS || strlen(end) != 32 + strlen(".session"))
        return false;
    for (int i = 0; i < 16; i++) {
        int high = digit(end[2 * i]), low = digit(end[2 * i + 1]);
        if (high < 0 || low < 0)
            return false;
        s->hash[i] = (uint8_t)(16 * high + low);
    }
    return strcmp(name_of(s).text, text) == 0;
}

/* NULL: no memory. */
static char *path_of(const struct kl__disk *d, const struct kl__saved *s)
{
    size_t bytes = strlen(d->folder) + NAME_BYTES + 2;
    char *path = kl__alloc(d->engine->alloc, bytes);
    if (path)
        snprintf(path, bytes, "%s/%s", d->folder, name_of(s).text);
    return path;
}

/* --------------------------------------------------------------------------------------------------------- index -- */

static int find(const struct kl__disk *d, const uint8_t hash[16], int64_t n_token)
{
    for (int i = 0; i < d->n; i++)
        if (d->stored[i].n_token == n_token && memcmp(d->stored[i].hash, hash, 16) == 0)
            return i;
    return -1;
}

static bool add(struct kl__disk *d, struct kl__saved s)
{
    if (d->n == d->room) {
        int room = 2 * d->room + 64;
        struct kl__saved *more = kl__alloc(d->engine->alloc, (size_t)room * sizeof *more);
        if (!more)
            return false;
        if (d->n)
            memcpy(more, d->stored, (size_t)d->n * sizeof *more);
        kl__release(d->engine->alloc, d->stored);
        d->stored = more;
        d->room = room;
    }
    d->stored[d->n++] = s;
    d->bytes += s.bytes;
    return true;
}

static void forget(struct kl__disk *d, int i)
{
    char *path = path_of(d, &d->stored[i]);
    if (path)
        unlink(path);
    kl__release(d->engine->alloc, path);
    d->bytes -= d->stored[i].bytes;
    d->stored[i] = d->stored[--d->n];
}

/* Files that were not used for longest go, except for the last one that was written. */
static void keep_budget(struct kl__disk *d)
{
    while (d->bytes > d->most_bytes && d->n > 1) {
        int oldest = 0;
        for (int i = 1; i < d->n; i++)
            if (d->stored[i].used < d->stored[oldest].used)
                oldest = i;
        forget(d, oldest);
    }
}

/* ------------------------------------------------------------------------------------------------------- opening -- */

bool kl__prefix_identity(uint8_t identity[16], const kl_engine *e)
{
    struct kl__hash *h = kl__hash_open();
    if (!h)
        return false;
    uint8_t fingerprint[16], build[16];
    char rest[160];
    kl_model_fingerprint(e->model, fingerprint);
    kl__build_id(build);
    int n = snprintf(rest, sizeof rest, "%s %s %d %d %d", kl_version(), kl_backend_isa(e->model->net.be),
                     (int)e->cache_type, (int)e->model->net.top.w[0].exact, (int)e->model->net.c.router_weight_biased);
    kl__hash_add(h, fingerprint, sizeof fingerprint);
    kl__hash_add(h, build, sizeof build);
    kl__hash_add(h, rest, (size_t)n);
    kl__hash_value(h, identity);
    kl__hash_close(h);
    return true;
}

static kl_status look(struct kl__disk *d, kl_error *err)
{
    DIR *folder = opendir(d->folder);
    if (!folder)
        return kl__fail(err, KL_ERR_IO, "%.160s: %s", d->folder, strerror(errno));
    bool fits = true;
    for (struct dirent *e; fits && (e = readdir(folder));) {
        struct kl__saved s;
        struct stat is;
        if (!read_name(&s, e->d_name) || fstatat(dirfd(folder), e->d_name, &is, AT_SYMLINK_NOFOLLOW) != 0 ||
            !S_ISREG(is.st_mode))
            continue;
        s.bytes = is.st_size;
        s.used = (int64_t)is.st_mtim.tv_sec * 1000 + is.st_mtim.tv_nsec / 1000000;
        fits = add(d, s);
        d->clock = s.used > d->clock ? s.used : d->clock; /* what is used from now on comes behind all of them */
    }
    closedir(folder);
    return fits ? KL_OK : kl__fail(err, KL_ERR_MEMORY, "no memory for the files in %.160s", d->folder);
}

kl_status kl__disk_open(struct kl__disk **disk, kl_engine *e, const char *folder, int64_t most_bytes, kl_error *err)
{
    struct kl__disk *d = kl__alloc(e->alloc, sizeof *d);
    if (!d)
        return kl__fail(err, KL_ERR_MEMORY, "no memory for a prefix cache");
    d->engine = e;
    d->most_bytes = most_bytes;
    d->folder = kl__alloc(e->alloc, strlen(folder) + 1);
    if (d->folder)
        memcpy(d->folder, folder, strlen(folder));
    bool fits = d->folder && kl__prefix_identity(d->identity, e);
    kl_status status = fits ? KL_OK : kl__fail(err, KL_ERR_MEMORY, "no memory for a prefix cache");
    if (status == KL_OK && mkdir(folder, 0700) != 0 && errno != EEXIST)
        status = kl__fail(err, KL_ERR_IO, "%.160s: %s", folder, strerror(errno));
    if (status == KL_OK)
        status = look(d, err);
    if (status == KL_OK)
        *disk = d;
    else
        kl__disk_close(d);
    return status;
}

void kl__disk_close(struct kl__disk *d)
{
    if (!d)
        return;
    const kl_allocator *alloc = d->engine->alloc;
    kl__release(alloc, d->folder);
    kl__release(alloc, d->stored);
    kl__release(alloc, d);
}

/* -------------------------------------------------------------------------------------------------------- asking -- */

/* The hash of the first tokens of a prompt, block by block.  NULL: no memory. */
static struct kl__hash *begin_hash(const struct kl__disk *d, uint64_t space)
{
    struct kl__hash *h = kl__hash_open();
    if (h) {
        kl__hash_add(h, d->identity, sizeof d->identity);
        kl__hash_add(h, &space, sizeof space);
    }
    return h;
}

static bool hash_all(const struct kl__disk *d, uint8_t hash[16], uint64_t space, const int32_t *token, int64_t n_token)
{
    struct kl__hash *h = begin_hash(d, space);
    if (!h)
        return false;
    kl__hash_add(h, token, (size_t)n_token * sizeof *token);
    kl__hash_value(h, hash);
    kl__hash_close(h);
    return true;
}

int64_t kl__disk_find(const struct kl__disk *d, uint64_t space, const int32_t *token, int64_t n_token)
{
    struct kl__hash *h = d->n ? begin_hash(d, space) : NULL;
    int64_t found = 0;
    for (int64_t n = KL_PAGE_TOKENS; h && n < n_token; n += KL_PAGE_TOKENS) {
        uint8_t hash[16];
        kl__hash_add(h, token + n - KL_PAGE_TOKENS, KL_PAGE_TOKENS * sizeof *token);
        kl__hash_value(h, hash);
        if (find(d, hash, n) >= 0)
            found = n;
    }
    kl__hash_close(h);
    return found;
}

bool kl__disk_has(const struct kl__disk *d, uint64_t space, const int32_t *token, int64_t n_token)
{
    uint8_t hash[16];
    return hash_all(d, hash, space, token, n_token) && find(d, hash, n_token) >= 0;
}

/* Does the file hold what its name says? */
static bool is_right(const kl_session *s, const int32_t *token, int64_t n_token)
{
    return s->line.length == n_token && memcmp(s->line.token, token, (size_t)n_token * sizeof *token) == 0;
}

bool kl__disk_load(struct kl__disk *d, kl_session *session, uint64_t space, const int32_t *token, int64_t n_token)
{
    uint8_t hash[16];
    int i = hash_all(d, hash, space, token, n_token) ? find(d, hash, n_token) : -1;
    char *path = i >= 0 ? path_of(d, &d->stored[i]) : NULL;
    kl_session *loaded = NULL;
    if (!path)
        return false;
    kl_status status = kl_session_load(&loaded, d->engine, path, NULL, 0, NULL, NULL);
    bool fine = status == KL_OK && is_right(loaded, token, n_token);
    if (fine) {
        kl__timeline_close(&session->line);
        session->line = loaded->line;
        loaded->line = (struct kl__timeline){0};
        d->stored[i].used = ++d->clock;
        utimensat(AT_FDCWD, path, NULL, 0);
    } else if (status != KL_ERR_MEMORY)
        forget(d, i);
    kl_session_close(loaded);
    kl__release(d->engine->alloc, path);
    return fine;
}

kl_status kl__disk_store(struct kl__disk *d, const kl_session *session, uint64_t space, kl_error *err)
{
    struct kl__saved s = {.n_token = session->line.length, .used = ++d->clock};
    struct stat is;
    if (!hash_all(d, s.hash, space, session->line.token, s.n_token))
        return kl__fail(err, KL_ERR_MEMORY, "no memory for a hash");
    if (find(d, s.hash, s.n_token) >= 0)
        return KL_OK;
    char *path = path_of(d, &s);
    if (!path)
        return kl__fail(err, KL_ERR_MEMORY, "no memory for a path");
    kl_status status = kl_session_save(session, path, NULL, 0, err);
    if (status == KL_OK && stat(path, &is) == 0) {
        s.bytes = is.st_size;
        if (add(d, s))
            keep_budget(d);
    }
    kl__release(d->engine->alloc, path);
    return status;
}
