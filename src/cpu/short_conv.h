/** What the forward and the backward of the short convolution share: a tile of channels, and rows of it at any token,
 *  be they inputs, carried tail or the zeros before a sequence. */
#ifndef KL_CPU_SHORT_CONV_H
#define KL_CPU_SHORT_CONV_H

#include "cpu/cpu_backend.h"
#include "ops/check.h"

enum { KL__CONV_TAPS = 16, KL__CONV_STEP = 16 }; /* most taps; tokens that one call of a kernel gets */

/* Arrays of a tile's scratch, each as long as a tile is wide: rows of x as f32, weights as they come and as the kernels
 * want them, bias, zeros. */
enum {
    KL__CONV_X = 0,
    KL__CONV_RAW = KL__CONV_X + KL__CONV_STEP + KL__CONV_TAPS - 1,
    KL__CONV_W = KL__CONV_RAW + KL__CONV_TAPS,
    KL__CONV_BIAS = KL__CONV_W + KL__CONV_TAPS,
    KL__CONV_ZEROS,
    KL__CONV_ARRAYS,
};

struct kl__conv_tile {
    const struct kl__kernels *k;
    const kl_short_conv_args *a;
    int64_t channel, n, width; /* first channel, channels, floats from one array of the scratch to the next */
    int W;
    float *scratch;
    const float *w, *bias, *zeros; /* [W][n]; [n] or NULL; [n] */
};

/** A sequence and its tokens. */
struct kl__conv_span {
    int64_t seq, start, end;
};

static inline struct kl__conv_span kl__conv_span(const kl_short_conv_args *a, int64_t seq)
{
    int64_t n_token = a->x.dim[0];
    return (struct kl__conv_span){seq, kl__seq_start(a->cu_seqlens, seq, n_token),
                                  kl__seq_start(a->cu_seqlens, seq + 1, n_token)};
}

/** Channels `channel` .. of at most `width`, in `scratch` [KL__CONV_ARRAYS or more][width]; reads weights and bias. */
void kl__conv_tile_open(struct kl__conv_tile *l, const kl_backend *be, const kl_short_conv_args *a, int64_t channel,
                        int64_t width, float *scratch);

/** The tile's part of x at token `t`, which may be up to W - 1 tokens before the sequence; `room` [n] for a copy. */
const float *kl__conv_row(const struct kl__conv_tile *l, const struct kl__conv_span *s, int64_t t, float *room);

/** row[i] = the tile's part of x at token first + i, for n_row <= KL__CONV_STEP + KL__CONV_TAPS - 1 rows. */
void kl__conv_gather(const struct kl__conv_tile *l, const float **row, const struct kl__conv_span *s, int64_t first,
                     int64_t n_row);

#endif
