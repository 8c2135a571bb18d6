/* Forward: a task is a tile of channels of the pieces that begin inside a window of tokens.  A piece is at most WINDOW
 * tokens of one sequence, counted from its start, so that exactly the first piece of a sequence looks into the carried
 * tail, and the task that owns it may replace the tail when it has read it: tail_out may be tail_in.  Single tokens of
 * many sequences, a decode step, fill a window as one long sequence does. */
#include "cpu/short_conv.h"

#include "base/pool.h"
#include "cpu/rows.h"

#include <string.h>

enum { WINDOW = 64, TILE = 256 };

/* Arrays of TILE floats that a task needs besides those of struct kl__conv_tile: rows of y. */
enum { Y = KL__CONV_ARRAYS, N_ARRAY = Y + KL__CONV_STEP };

static int64_t n_window(const kl_short_conv_args *a)
{
    return a->x.dim[0] > 0 ? (a->x.dim[0] - 1) / WINDOW + 1 : 1; /* empty sequences have tails, too */
}

static void forward_step(const struct kl__conv_tile *l, const struct kl__conv_span *s, int64_t first, int64_t n_token)
{
    const kl_short_conv_args *a = l->a;
    const float *x[KL__CONV_STEP + KL__CONV_TAPS - 1];
    kl__conv_gather(l, x, s, first - (l->W - 1), n_token + l->W - 1);
    size_t width = kl_dtype_bytes(a->y.dtype);
    char *to = (char *)kl__row(a->y, first) + (size_t)l->channel * width;
    if (a->y.dtype == KL_F32) {
        l->k->short_conv((float *)(void *)to, kl__pitch(a->y), x, l->w, l->bias, n_token, l->n, l->W, a->act);
        return;
    }
    float *y = l->scratch + Y * TILE;
    l->k->short_conv(y, l->n, x, l->w, l->bias, n_token, l->n, l->W, a->act);
    for (int64_t t = 0; t < n_token; t++)
        kl__end_row(l->k, a->y.dtype, to + (size_t)(t * kl__pitch(a->y)) * width, l->n, y + t * l->n);
}

static void forward_piece(const struct kl__conv_tile *l, const struct kl__conv_span *s, int64_t first, int64_t end)
{
    for (int64_t t = first; t < end; t += KL__CONV_STEP)
        forward_step(l, s, t, end - t < KL__CONV_STEP ? end - t : KL__CONV_STEP);
}

/* The last W - 1 raw inputs of a sequence, older tail included.  Slots are filled in order, and slot j is made of what
 * was at j + length or later: so nothing is overwritten before it is read. */
static void write_tail(const struct kl__conv_tile *l, const struct kl__conv_span *s)
{
    const kl_short_conv_args *a = l->a;
    if (!kl__present(a->tail_out))
        return;
    float *to = (float *)kl__row(a->tail_out, s->seq) + l->channel;
    for (int64_t t = s->end - (l->W - 1); t < s->end; t++, to += a->x.dim[1]) {
        const float *row = kl__conv_row(l, s, t, to);
        if (row != to)
            memcpy(to, row, (size_t)l->n * sizeof *to);
    }
}

static int64_t first_sequence_from(const kl_short_conv_args *a, int64_t token)
{
    int64_t low = 0, high = kl__n_seq(a->cu_seqlens, a->n_seq);
    while (low < high) {
        int64_t middle = low + (high - low) / 2;
        if (kl__seq_start(a->cu_seqlens, middle, a->x.dim[0]) < token)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static int64_t at_most(int64_t limit, int64_t n)
{
    return n < limit ? n : limit;
}

static void forward_window(const struct kl__conv_tile *l, int64_t window)
{
    const kl_short_conv_args *a = l->a;
    int64_t begin = window * WINDOW, n_seq = kl__n_seq(a->cu_seqlens, a->n_seq);
    int64_t end = window == n_window(a) - 1 ? INT64_MAX : begin + WINDOW;
    int64_t seq = first_sequence_from(a, begin);
    if (seq > 0) {
        struct kl__conv_span s = kl__conv_span(a, seq - 1);
        int64_t piece = begin + (WINDOW - (begin - s.start) % WINDOW) % WINDOW;
        if (piece < s.end)
            forward_piece(l, &s, piece, at_most(s.end, piece + WINDOW));
    }
    for (; seq < n_seq && kl__seq_start(a->cu_seqlens, seq, a->x.dim[0]) < end; seq++) {
        struct kl__conv_span s = kl__conv_span(a, seq);
        forward_piece(l, &s, s.start, at_most(s.end, s.start + WINDOW));
        write_tail(l, &s);
    }
}

struct job {
    const kl_backend *be;
    const kl_short_conv_args *a;
    int64_t n_tile;
};

static void forward_task(void *arg, int64_t task, int thread)
{
    const struct job *job = arg;
    struct kl__conv_tile l;
    kl__conv_tile_open(&l, job->be, job->a, task % job->n_tile * TILE, TILE,
                       kl__scratch(job->a->work, N_ARRAY, TILE, thread));
    forward_window(&l, task / job->n_tile);
}

kl_status kl__cpu_short_conv(const kl_backend *be, const kl_short_conv_args *a, kl_error *err)
{
    (void)err;
    struct job job = {be, a, (a->x.dim[1] + TILE - 1) / TILE};
    kl__pool_run(be->pool, n_window(a) * job.n_tile, forward_task, &job);
    return KL_OK;
}

size_t kl__cpu_short_conv_workspace(const kl_backend *be, const kl_short_conv_args *a)
{
    (void)a;
    return kl__scratch_workspace(be, N_ARRAY, TILE);
}
