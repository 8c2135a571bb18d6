#include "chunks.h"

struct args {
    float *to;
    const float *S;
    float *e;
    ptrdiff_t lde;
    struct kl__kda_chunk chunk;
    const float *v;
    ptrdiff_t ldv;
    int n_slab;
};

static void call(kc_any_fn *fn, const void *args)
{
    const struct args *a = args;
    ((kl__kda_again_fn *)fn)(a->to, a->S, a->e, a->lde, &a->chunk, a->v, a->ldv, a->n_slab);
}

struct shape {
    int n, K, n_slab, gap;
    bool with_to;
};

static struct args operands(kc *c, struct shape s, enum kc_fill decay)
{
    int row = s.n_slab * KL_SLAB;
    struct args a = {.n_slab = s.n_slab, .ldv = row + s.gap, .lde = row + 2 * s.gap};
    a.v = kc_in(c, "v", (s.n - 1) * a.ldv + row, KC_NORMAL);
    a.e = kc_out(c, "e", (s.n - 1) * a.lde + row, 2e-5);
    kc_cancels(c, 1);
    kc_align(c, 64);
    a.S = kc_in(c, "S", (int64_t)row * s.K, KC_NORMAL);
    a.to = s.with_to ? kc_out(c, "to", (int64_t)row * s.K, 2e-5) : NULL;
    if (a.to)
        kc_cancels(c, 1);
    a.chunk = kda_chunk(c, s.n, s.K, decay);
    return a;
}

/* The row of a token does not look at later tokens, not even when they are NaN. */
static void check_later_nan(kc *c)
{
    struct args a = operands(c, (struct shape){17, 64, 2, 0, true}, KC_DECAY);
    float *v = (float *)(uintptr_t)a.v;
    for (int64_t i = 0; i < a.n_slab * KL_SLAB; i++)
        v[9 * a.ldv + i] = NAN;
    kc_run(c, call, &a, "token 9 of 17 is NaN");
}

void check_kda_again(kc *c)
{
    static const enum kc_fill decays[] = {KC_ONE, KC_DECAY, KC_DECAY_MIXED};
    for (int t = 0; t < N_CHUNK_TOKENS; t++)
        for (int h = 0; h < N_CHUNK_HEADS; h++)
            for (int d = 0; d < 3; d++) {
                int kind = t * 5 + h;
                struct shape s = {chunk_tokens[t], chunk_heads[h], 1 + kind % 3, kind % 2 * 5, (kind + d) % 5 != 0};
                struct args a = operands(c, s, decays[d]);
                kc_run(c, call, &a, "n %d, K %d, %d slabs, gap %d%s, decay %s", s.n, s.K, s.n_slab, s.gap,
                       s.with_to ? "" : ", only e", kc_fill_name(decays[d]));
            }
    check_later_nan(c);
    struct args a = operands(c, (struct shape){16, 128, 8, 0, true}, KC_DECAY);
    kc_run_timed(c, call, &a, "n 16, K 128, V 128");
}
