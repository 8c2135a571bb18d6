/* A queue of pieces under one lock; who waits is woken by every piece that ends.  A piece is megabytes, so neither lock
 * nor wake-up is ever felt. */
#define _GNU_SOURCE /* the strerror_r() that returns the text */

#include "base/reader.h"

#include "base/error.h"
#include "base/memory.h"
#include "base/str.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

enum {
    MOST_THREADS = 64,
    LARGE = 4 << 20, /* part of a large piece that one thread reads at a time */
};

struct file {
    const char *path;
    int fd;      /* past the kernel's cache; -1: not possible here */
    int plain;   /* through it */
    uint64_t bytes;
};

struct kl__reader {
    const kl_allocator *alloc;
    kl_allocator alloc_copy;
    pthread_mutex_t lock;
    pthread_cond_t work, done;
    struct kl__read *first, *last;
    bool leaving;
    struct file *file;
    int n_file;
    pthread_t thread[MOST_THREADS];
    int n_thread;
};

/* ------------------------------------------------------------------------------------------------------- threads -- */

/* Bytes that were read of the aligned range, or -1. */
static ssize_t read_range(int fd, char *to, size_t bytes, uint64_t at)
{
    size_t n = 0;
    while (n < bytes) {
        ssize_t got = pread(fd, to + n, bytes - n, (off_t)(at + n));
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return -1;
        if (got == 0)
            break;
        n += (size_t)got;
    }
    return (ssize_t)n;
}

/* A read past the cache that ends at the file's end may have been cut at any byte: going on from there is refused, so
 * that, and whatever else the direct way does not like, is read again through the cache. */
static void read_piece(const struct file *f, struct kl__read *r)
{
    uint64_t skew = r->at % KL__READ_ALIGN, from = r->at - skew;
    size_t wanted = (size_t)skew + r->bytes, bytes = (wanted + KL__READ_ALIGN - 1) / KL__READ_ALIGN * KL__READ_ALIGN;
    ssize_t got = f->fd >= 0 && from + bytes <= f->bytes ? read_range(f->fd, r->room, bytes, from) : -1;
    if (got < (ssize_t)wanted)
        got = read_range(f->plain, r->room, wanted, from);
    r->code = got < 0 ? errno : 0;
    r->state = got < (ssize_t)wanted ? KL__READ_FAILED : KL__READ_DONE;
}

static void *reader_main(void *arg)
{
    struct kl__reader *reader = arg;
    pthread_mutex_lock(&reader->lock);
    for (;;) {
        while (!reader->first && !reader->leaving)
            pthread_cond_wait(&reader->work, &reader->lock);
        struct kl__read *r = reader->first;
        if (!r)
            break;
        reader->first = r->next;
        struct file file = reader->file[r->file];
        pthread_mutex_unlock(&reader->lock);
        struct kl__read mine = *r;
        read_piece(&file, &mine);
        pthread_mutex_lock(&reader->lock);
        r->code = mine.code;
        r->state = mine.state;
        pthread_cond_broadcast(&reader->done);
    }
    pthread_mutex_unlock(&reader->lock);
    return NULL;
}

/* ------------------------------------------------------------------------------------------------------- opening -- */

kl_status kl__reader_open(struct kl__reader **reader, int n_thread, const kl_allocator *alloc, kl_error *err)
{
    struct kl__reader *r = kl__alloc(alloc, sizeof *r);
    if (!r)
        return kl__fail(err, KL_ERR_MEMORY, "no memory for a reader");
    if (alloc) {
        r->alloc_copy = *alloc;
        r->alloc = &r->alloc_copy;
    }
    pthread_mutex_init(&r->lock, NULL);
    pthread_cond_init(&r->work, NULL);
    pthread_cond_init(&r->done, NULL);
    n_thread = n_thread < 1 ? 1 : n_thread > MOST_THREADS ? MOST_THREADS : n_thread;
    for (; r->n_thread < n_thread; r->n_thread++) {
        int code = pthread_create(&r->thread[r->n_thread], NULL, reader_main, r);
        if (code) {
            int at = r->n_thread + 1;
            kl__reader_close(r);
            return kl__fail(err, KL_ERR_IO, "reading thread %d of %d could not be started: error %d", at, n_thread,
                            code);
        }
    }
    *reader = r;
    return KL_OK;
}

void kl__reader_close(struct kl__reader *r)
{
    if (!r)
        return;
    pthread_mutex_lock(&r->lock);
    r->leaving = true;
    pthread_cond_broadcast(&r->work);
    pthread_mutex_unlock(&r->lock);
    for (int i = 0; i < r->n_thread; i++)
        pthread_join(r->thread[i], NULL);
    for (int i = 0; i < r->n_file; i++) {
        if (r->file[i].fd >= 0)
            close(r->file[i].fd);
        close(r->file[i].plain);
    }
    pthread_cond_destroy(&r->done);
    pthread_cond_destroy(&r->work);
    pthread_mutex_destroy(&r->lock);
    kl__release(r->alloc, r->file);
    kl_allocator copy = r->alloc_copy;
    kl__release(r->alloc ? &copy : NULL, r);
}

kl_status kl__reader_add(struct kl__reader *r, const char *path, const struct kl__map *map, kl_error *err)
{
    struct file *more = kl__alloc(r->alloc, (size_t)(r->n_file + 1) * sizeof *more);
    if (!more)
        return kl__fail(err, KL_ERR_MEMORY, "no memory for a list of %d files", r->n_file + 1);
    struct file f = {.path = path, .bytes = map->bytes};
    kl_status status = kl__map_again(map, path, &f.plain, &f.fd, err);
    if (status != KL_OK) {
        kl__release(r->alloc, more);
        return status;
    }
    pthread_mutex_lock(&r->lock);
    if (r->n_file)
        memcpy(more, r->file, (size_t)r->n_file * sizeof *more);
    kl__release(r->alloc, r->file);
    more[r->n_file++] = f;
    r->file = more;
    pthread_mutex_unlock(&r->lock);
    return KL_OK;
}

/* ------------------------------------------------------------------------------------------------------- reading -- */

void kl__reader_start(struct kl__reader *r, struct kl__read *read)
{
    read->state = KL__READ_WAITING;
    read->next = NULL;
    pthread_mutex_lock(&r->lock);
    if (r->first)
        r->last->next = read;
    else
        r->first = read;
    r->last = read;
    pthread_cond_signal(&r->work);
    pthread_mutex_unlock(&r->lock);
}

static kl_status fail_read(const struct kl__reader *r, const struct kl__read *read, kl_error *err)
{
    char text[80];
    struct kl__shown path = kl__shown_path(r->file[read->file].path);
    if (!read->code)
        return kl__fail(err, KL_ERR_IO, "%s: ends before byte %llu, expected the %llu bytes that it had", path.text,
                        (unsigned long long)(read->at + read->bytes),
                        (unsigned long long)r->file[read->file].bytes);
    return kl__fail(err, KL_ERR_IO, "%s: %zu bytes at %llu cannot be read: %s", path.text, read->bytes,
                    (unsigned long long)read->at, strerror_r(read->code, text, sizeof text));
}

kl_status kl__reader_await(struct kl__reader *r, struct kl__read *const *read, int64_t n, kl_error *err)
{
    const struct kl__read *bad = NULL;
    pthread_mutex_lock(&r->lock);
    for (int64_t i = 0; i < n; i++) {
        while (read[i]->state == KL__READ_WAITING)
            pthread_cond_wait(&r->done, &r->lock);
        if (read[i]->state == KL__READ_FAILED && !bad)
            bad = read[i];
    }
    pthread_mutex_unlock(&r->lock);
    return bad ? fail_read(r, bad, err) : KL_OK;
}

/* Parts begin at aligned bytes of the file, so that they fit together in the room. */
kl_status kl__reader_whole(struct kl__reader *r, const struct kl__read *piece, kl_error *err)
{
    enum { AT_ONCE = 2 * MOST_THREADS };
    struct kl__read part[AT_ONCE], *list[AT_ONCE];
    uint64_t skew = piece->at % KL__READ_ALIGN, end = piece->at + piece->bytes;
    for (uint64_t at = piece->at; at < end;) {
        int n = 0;
        for (; n < AT_ONCE && at < end; n++) {
            uint64_t stop = at - at % KL__READ_ALIGN + LARGE;
            stop = stop < end ? stop : end;
            char *room = piece->room + (at - at % KL__READ_ALIGN - (piece->at - skew));
            part[n] = (struct kl__read){.file = piece->file, .at = at, .bytes = (size_t)(stop - at), .room = room};
            list[n] = &part[n];
            kl__reader_start(r, &part[n]);
            at = stop;
        }
        KL_TRY(kl__reader_await(r, list, n, err));
    }
    return KL_OK;
}
