#include "cpu/rows.h"
#include "cpu/short_conv.h"

#include <string.h>

/* The weights of a tile, [n][W] with a pitch in memory, as f32 and then as [W][n]. */
static void read_weights(struct kl__conv_tile *l)
{
    kl_tensor w = l->a->w;
    int64_t pitch = kl__pitch(w);
    const float *taps = kl__row(w, l->channel);
    if (w.dtype != KL_F32) {
        float *raw = l->scratch + KL__CONV_RAW * l->width;
        int64_t dense = pitch == l->W ? l->n : 1; /* channels that one conversion takes */
        for (int64_t c = 0; c < l->n; c += dense)
            kl__read_row(l->k, w.dtype, kl__row(w, l->channel + c), dense * l->W, raw + c * l->W);
        taps = raw;
        pitch = l->W;
    }
    float *to = l->scratch + KL__CONV_W * l->width;
    l->k->short_conv_taps(to, taps, pitch, l->n, l->W);
    l->w = to;
}

void kl__conv_tile_open(struct kl__conv_tile *l, const kl_backend *be, const kl_short_conv_args *a, int64_t channel,
                        int64_t width, float *scratch)
{
    int64_t rest = a->x.dim[1] - channel;
    *l = (struct kl__conv_tile){.k = kl__cpu_kernels(be),
                                .a = a,
                                .channel = channel,
                                .n = rest < width ? rest : width,
                                .width = width,
                                .W = (int)a->w.dim[1],
                                .scratch = scratch};
    read_weights(l);
    if (kl__present(a->bias))
        l->bias = kl__read_row(l->k, a->bias.dtype, kl__row(a->bias, channel), l->n, scratch + KL__CONV_BIAS * width);
    l->zeros = memset(scratch + KL__CONV_ZEROS * width, 0, (size_t)l->n * sizeof(float));
}

const float *kl__conv_row(const struct kl__conv_tile *l, const struct kl__conv_span *s, int64_t t, float *room)
{
    kl_tensor x = l->a->x, tail = l->a->tail_in;
    if (t >= s->start) {
        const char *row = (const char *)kl__row(x, t) + (size_t)l->channel * kl_dtype_bytes(x.dtype);
        return kl__read_row(l->k, x.dtype, row, l->n, room);
    }
    if (!kl__present(tail))
        return l->zeros;
    return (const float *)kl__row(tail, s->seq) + (t - s->start + l->W - 1) * x.dim[1] + l->channel;
}

void kl__conv_gather(const struct kl__conv_tile *l, const float **row, const struct kl__conv_span *s, int64_t first,
                     int64_t n_row)
{
    for (int64_t i = 0; i < n_row; i++)
        row[i] = kl__conv_row(l, s, first + i, l->scratch + (KL__CONV_X + i) * l->width);
}
