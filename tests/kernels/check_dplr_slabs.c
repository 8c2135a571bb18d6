#include "chunks.h"

struct args {
    float *S, *o;
    ptrdiff_t ldo;
    struct kl__dplr_chunk chunk;
    const float *v;
    ptrdiff_t ldv;
    int n_slab;
};

static void call(kc_any_fn *fn, const void *args)
{
    const struct args *x = args;
    ((kl__dplr_slabs_fn *)fn)(x->S, x->o, x->ldo, &x->chunk, x->v, x->ldv, x->n_slab);
}

struct shape {
    int n, K, n_slab, gap;
    bool with_o;
};

static struct args operands(kc *c, struct shape s, enum kc_fill decay)
{
    int row = s.n_slab * KL_SLAB;
    struct args x = {.n_slab = s.n_slab, .ldv = row + s.gap, .ldo = row + 2 * s.gap};
    x.v = kc_in(c, "v", (s.n - 1) * x.ldv + row, KC_NORMAL);
    x.o = s.with_o ? kc_out(c, "o", (s.n - 1) * x.ldo + row, 2e-5) : NULL;
    kc_align(c, 64);
    x.S = kc_inout(c, "S", (int64_t)row * s.K, KC_NORMAL, 2e-5);
    x.chunk = dplr_chunk(c, s.n, s.K, decay);
    return x;
}

void check_dplr_slabs(kc *c)
{
    static const int tokens[] = {1, 2, 3, 5, 8, 15, 16, 17, 32, 63, 64};
    static const int heads[] = {1, 7, 16, 37, 64, 128};
    static const enum kc_fill decays[] = {KC_ONE, KC_DECAY, KC_DECAY_MIXED};
    for (size_t t = 0; t < sizeof tokens / sizeof *tokens; t++)
        for (size_t h = 0; h < sizeof heads / sizeof *heads; h++) {
            int kind = (int)(t * 6 + h);
            struct shape s = {tokens[t], heads[h], 1 + kind % 3, kind % 2 * 5, kind % 4 != 3};
            for (size_t d = 0; d < sizeof decays / sizeof *decays; d++) {
                struct args x = operands(c, s, decays[d]);
                kc_run(c, call, &x, "n %d, K %d, %d slabs, gap %d%s, decay %s", s.n, s.K, s.n_slab, s.gap,
                       s.with_o ? ", o" : "", kc_fill_name(decays[d]));
            }
        }
    for (int n = 16; n <= 64; n *= 4) {
        struct args x = operands(c, (struct shape){n, 128, 8, 0, true}, KC_DECAY);
        kc_run_timed(c, call, &x, "n %d, K 128, V 128", n);
    }
}
