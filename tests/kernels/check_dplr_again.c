#include "chunks.h"

struct args {
    float *to;
    const float *from;
    float *y;
    ptrdiff_t ldy;
    struct kl__dplr_chunk chunk;
    const float *v;
    ptrdiff_t ldv;
    int n_slab;
};

static void call(kc_any_fn *fn, const void *args)
{
    const struct args *x = args;
    ((kl__dplr_again_fn *)fn)(x->to, x->from, x->y, x->ldy, &x->chunk, x->v, x->ldv, x->n_slab);
}

static struct args operands(kc *c, int n, int K, int n_slab, int gap, bool with_to, enum kc_fill decay)
{
    int row = n_slab * KL_SLAB;
    struct args x = {.n_slab = n_slab, .ldv = row + gap, .ldy = row + 2 * gap};
    x.v = kc_in(c, "v", (n - 1) * x.ldv + row, KC_NORMAL);
    x.y = kc_out(c, "y", (n - 1) * x.ldy + row, 2e-5);
    kc_align(c, 64);
    x.from = kc_in(c, "from", (int64_t)row * K, KC_NORMAL);
    x.to = with_to ? kc_out(c, "to", (int64_t)row * K, 2e-5) : NULL;
    x.chunk = dplr_chunk(c, n, K, decay);
    return x;
}

void check_dplr_again(kc *c)
{
    static const enum kc_fill decays[] = {KC_ONE, KC_DECAY, KC_DECAY_MIXED};
    for (int t = 0; t < N_CHUNK_TOKENS; t++)
        for (int h = 0; h < N_CHUNK_HEADS; h++)
            for (int d = 0; d < 3; d++) {
                int kind = t * 5 + h, n = chunk_tokens[t], K = chunk_heads[h], n_slab = 1 + kind % 3;
                bool with_to = (kind + d) % 5 != 0;
                struct args x = operands(c, n, K, n_slab, kind % 2 * 5, with_to, decays[d]);
                kc_run(c, call, &x, "n %d, K %d, %d slabs, gap %d%s, decay %s", n, K, n_slab, kind % 2 * 5,
                       with_to ? "" : ", only y", kc_fill_name(decays[d]));
            }
    struct args x = operands(c, 16, 128, 8, 0, true, KC_DECAY);
    kc_run_timed(c, call, &x, "n 16, K 128, V 128");
}
