#include "kcheck.h"

#include <stdbool.h>

struct args {
    float *sum;
    struct kl__q8_rows x;
    enum kl__type type;
    const uint8_t *from;
    int64_t n_k;
    int m;
};

static void call(kc_any_fn *fn, const void *args)
{
    const struct args *a = args;
    ((kl__packed_tile_fn *)fn)(a->sum, &a->x, a->type, a->from, a->n_k, a->m, a->n_k % 512 ? a->from : NULL);
}

/* Activations as q8_row makes them; scales of the panel near one, everything else any byte. */
static struct args operands(kc *c, enum kl__type type, int m, int64_t n_k)
{
    struct args a = {.type = type, .m = m, .n_k = n_k};
    int64_t n_scale = n_k / KL__Q8_BLOCK, n_byte = kl__packed_bytes(type, n_k);
    a.x.scale = n_k;
    a.x.aux = n_k + 4 * n_scale;
    kc_align(c, 4);
    for (int i = 0; i < m; i++) {
        char *row = kc_in_bytes(c, "x", n_k + 8 * n_scale);
        kl__q8_row_ref((int8_t *)row, (float *)(void *)(row + a.x.scale), row + a.x.aux,
                       kc_in(c, "numbers", n_k, KC_NORMAL), n_k, 32,
                       type == KL__TYPE_Q8_0 ? 128 : type == KL__TYPE_Q4_0 ? 8 : 0);
        a.x.row[i] = row;
    }
    kc_align(c, 64);
    uint8_t *from = kc_in_bytes(c, "from", n_byte);
    bool large = type == KL__TYPE_Q4_K;
    int64_t period = kl__packed_bytes(type, large ? 256 : 32), n_half = large ? 128 : 64;
    for (int64_t i = 0; i < n_byte; i++)
        from[i] = i % period < n_half && i % 2 ? 0x38 + (uint8_t)kc_below(c, 8) : (uint8_t)kc_below(c, 256);
    for (int64_t i = 0; i < n_byte; i++) /* sub-scales have 6 bits */
        if (large && i % period >= 128 && i % period < 640)
            from[i] &= 63;
    a.from = from;
    a.sum = kc_out(c, "sum", m * KL__PANEL, 1e-5);
    return a;
}

void check_packed_tile(kc *c)
{
    static const enum kl__type types[] = {KL__TYPE_Q8_0, KL__TYPE_Q4_0, KL__TYPE_Q4_K};
    for (int t = 0; t < 3; t++) {
        int64_t block = kl__type_info(types[t])->elements;
        for (int m = 1; m <= KL__Q8_ROWS; m++) {
            for (int64_t n_k = 0; n_k <= 3 * block; n_k += block) {
                struct args a = operands(c, types[t], m, n_k);
                kc_run(c, call, &a, "%s, m %d, n_k %lld", kl__type_info(a.type)->name, m, (long long)n_k);
            }
            struct args a = operands(c, types[t], m, 2304);
            kc_run_timed(c, call, &a, "%s, m %d, n_k 2304", kl__type_info(a.type)->name, m);
        }
    }
}
