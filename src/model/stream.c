#include "model/stream.h"

#include "base/error.h"
#include "base/memory.h"
#include "base/pool.h"

#include <math.h>

enum {
    PIECE = 1 << 18,       /* elements: a megabyte of f32 */
    PIECES_PER_THREAD = 2, /* so that threads seldom wait for the last piece of a batch */
    BLOCK = 256,           /* the largest block of any type: pieces are multiples of it */
    RAW_BYTES = 4 << 20,   /* appended between two calls of the listener */
};

struct kl__piece {
    int64_t first, n;
    float *x;
    void *block;
    size_t bytes;
    struct kl__loss loss;
    kl_status status;
    kl_error err;
};

/* What the tasks of a batch share. */
struct batch {
    struct kl__stream *s;
    enum kl__type type;
    const struct kl__source *source;
    bool measure;
};

void kl__stream_open(struct kl__stream *s, struct kl__writer *writer, const char *path, const kl_file_options *options)
{
    *s = (struct kl__stream){.writer = writer, .path = path};
    if (!options)
        return;
    s->pool = options->pool;
    s->alloc = options->alloc;
    s->progress = options->progress;
    s->user = options->user;
}

void kl__stream_close(struct kl__stream *s)
{
    kl__release(s->alloc, s->memory);
    s->memory = NULL;
}

/* Pieces of `room` elements each; what was there is given back. */
static kl_status make_room(struct kl__stream *s, int64_t room, kl_error *err)
{
    if (s->memory && room <= s->room)
        return KL_OK;
    kl__release(s->alloc, s->memory);
    s->n_piece = PIECES_PER_THREAD * kl_pool_threads(s->pool);
    s->room = room;
    struct kl__carver c = {0};
    for (int pass = 0; pass < 2; pass++) {
        s->piece = kl__carve(&c, (size_t)s->n_piece, sizeof *s->piece);
        for (int i = 0; i < s->n_piece; i++) {
            float *x = kl__carve(&c, (size_t)room, sizeof(float));
            void *block = kl__carve(&c, (size_t)room, sizeof(float));
            if (pass)
                s->piece[i] = (struct kl__piece){.x = x, .block = block};
        }
        if (pass)
            break;
        s->memory = kl__alloc(s->alloc, kl__carver_need(&c));
        if (!s->memory)
            return kl__fail(err, KL_ERR_MEMORY, "%s: no memory of %zu bytes to write it", kl__shown_path(s->path).text,
                            kl__carver_need(&c));
        c = kl__carver((kl_workspace){s->memory, kl__carver_need(&c)});
    }
    return KL_OK;
}

static void measure(struct kl__piece *p, enum kl__type type)
{
    const char *block = p->block;
    const struct kl__type_info *info = kl__type_info(type);
    float y[BLOCK];
    for (int64_t i = 0; i < p->n; i += BLOCK) {
        int64_t n = p->n - i < BLOCK ? p->n - i : BLOCK;
        kl__decode(type, y, block + (size_t)(i / info->elements) * (size_t)info->bytes, n);
        for (int64_t k = 0; k < n; k++) {
            double x = p->x[i + k], e = y[k] - x;
            p->loss.error += e * e;
            p->loss.power += x * x;
        }
    }
}

static void encode_piece(void *arg, int64_t task, int thread)
{
    (void)thread;
    const struct batch *b = arg;
    struct kl__piece *p = &b->s->piece[task];
    p->status = KL_OK;
    p->loss = (struct kl__loss){0};
    if (b->source->raw) {
        b->source->read(p->block, b->source->self, p->first, p->n);
        return;
    }
    b->source->read(p->x, b->source->self, p->first, p->n);
    p->status = kl__encode(b->type, p->block, p->x, p->n, &p->err);
    if (b->measure && p->status == KL_OK)
        measure(p, b->type);
}

static kl_status advance(struct kl__stream *s, size_t bytes, kl_error *err)
{
    s->done += (int64_t)bytes;
    if (!s->progress || s->progress(s->user, s->done, s->total))
        return KL_OK;
    return kl__fail(err, KL_ERR_CANCELLED, "%s: stopped after %lld of %lld bytes", kl__shown_path(s->path).text,
                    (long long)s->done, (long long)s->total);
}

static kl_status append_pieces(struct kl__stream *s, int64_t i, const char *name, int n, struct kl__loss *loss,
                               kl_error *err)
{
    size_t bytes = 0;
    for (int k = 0; k < n; k++) {
        const struct kl__piece *p = &s->piece[k];
        if (p->status != KL_OK)
            return kl__fail(err, p->status, "%s: tensor %s, from %lld: %s", kl__shown_path(s->path).text, name,
                            (long long)p->first, p->err.text);
        KL_TRY(kl__writer_append(s->writer, i, p->block, p->bytes, err));
        bytes += p->bytes;
        if (loss) {
            loss->error += p->loss.error;
            loss->power += p->loss.power;
        }
    }
    return advance(s, bytes, err);
}

/* Elements of a piece: whole units, whole blocks. */
static int64_t piece_elements(int64_t unit)
{
    unit = unit ? unit : BLOCK;
    if (unit % BLOCK)
        unit = unit > PIECE / BLOCK ? unit : unit * BLOCK;
    return unit >= PIECE ? unit : PIECE / unit * unit;
}

kl_status kl__stream_tensor(struct kl__stream *s, int64_t i, const char *name, enum kl__type type, int64_t n_element,
                            const struct kl__source *source, struct kl__loss *loss, kl_error *err)
{
    struct batch b = {s, type, source, loss && !source->raw};
    int64_t each = piece_elements(source->unit);
    KL_TRY(make_room(s, each < n_element ? each : n_element, err));
    for (int64_t first = 0; first < n_element;) {
        int n = 0;
        for (; n < s->n_piece && first < n_element; n++) {
            struct kl__piece *p = &s->piece[n];
            p->first = first;
            p->n = n_element - first < each ? n_element - first : each;
            kl__type_bytes(type, p->n, &p->bytes);
            first += p->n;
        }
        kl__pool_run(s->pool, n, encode_piece, &b);
        KL_TRY(append_pieces(s, i, name, n, loss, err));
    }
    return KL_OK;
}

kl_status kl__stream_bytes(struct kl__stream *s, int64_t i, const void *data, size_t bytes, kl_error *err)
{
    for (size_t at = 0; at < bytes;) {
        size_t n = bytes - at < RAW_BYTES ? bytes - at : RAW_BYTES;
        KL_TRY(kl__writer_append(s->writer, i, (const char *)data + at, n, err));
        KL_TRY(advance(s, n, err));
        at += n;
    }
    return KL_OK;
}
