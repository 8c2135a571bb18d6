#include "chunks.h"

struct args {
    float *to;
    const float *S;
    struct kl__kda_chunk chunk;
    const float *e;
    ptrdiff_t lde;
    int n_slab;
};

static void call(kc_any_fn *fn, const void *args)
{
    const struct args *a = args;
    ((kl__kda_write_fn *)fn)(a->to, a->S, &a->chunk, a->e, a->lde, a->n_slab);
}

struct shape {
    int n, K, n_slab, gap;
    bool in_place;
};

static struct args operands(kc *c, struct shape s, enum kc_fill decay)
{
    int row = s.n_slab * KL_SLAB;
    struct args a = {.n_slab = s.n_slab, .lde = row + s.gap};
    a.e = kc_in(c, "e", (s.n - 1) * a.lde + row, KC_NORMAL);
    kc_align(c, 64);
    a.to = s.in_place ? kc_inout(c, "S", (int64_t)row * s.K, KC_NORMAL, 2e-5)
                      : kc_out(c, "to", (int64_t)row * s.K, 2e-5);
    a.S = s.in_place ? a.to : kc_in(c, "S", (int64_t)row * s.K, KC_NORMAL);
    a.chunk = kda_chunk(c, s.n, s.K, decay);
    return a;
}

void check_kda_write(kc *c)
{
    static const enum kc_fill decays[] = {KC_ONE, KC_DECAY, KC_DECAY_MIXED};
    for (int t = 0; t < N_CHUNK_TOKENS; t++)
        for (int h = 0; h < N_CHUNK_HEADS; h++)
            for (int d = 0; d < 3; d++) {
                int kind = t * 5 + h;
                struct shape s = {chunk_tokens[t], chunk_heads[h], 1 + kind % 3, kind % 2 * 5, (kind + d) % 2 != 0};
                struct args a = operands(c, s, decays[d]);
                kc_run(c, call, &a, "n %d, K %d, %d slabs, gap %d%s, decay %s", s.n, s.K, s.n_slab, s.gap,
                       s.in_place ? ", in place" : "", kc_fill_name(decays[d]));
            }
    struct args a = operands(c, (struct shape){16, 128, 8, 0, false}, KC_DECAY);
    kc_run_timed(c, call, &a, "n 16, K 128, V 128");
}
