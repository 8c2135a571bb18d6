#include "chunks.h"

struct args {
    float *D;
    struct kl__dplr_chunk_bwd grad;
    float *pair[4]; /* out [n][n]: the defined parts of dAbk dAba dAqk dAqa */
    float *dv;
    ptrdiff_t lddv;
    const float *S;
    struct kl__dplr_chunk chunk;
    const float *y;
    ptrdiff_t ldy;
    const float *v;
    ptrdiff_t ldv;
    const float *d_o;
    ptrdiff_t lddo;
    int n_slab;
};

static void call(kc_any_fn *fn, const void *args)
{
    const struct args *a = args;
    struct kl__dplr_chunk_bwd grad = a->grad;
    ((kl__dplr_slabs_bwd_fn *)fn)(a->D, &grad, a->dv, a->lddv, a->S, &a->chunk, a->y, a->ldy, a->v, a->ldv, a->d_o,
                                  a->lddo, a->n_slab);
    const float *const pair[] = {grad.dAbk, grad.dAba, grad.dAqk, grad.dAqa};
    for (int i = 0; i < 4; i++)
        keep_pairs(a->pair[i], pair[i], a->chunk.n, i >= 2);
}

static struct args operands(kc *c, int n, int K, int n_slab, int gap, enum kc_fill decay)
{
    static const char *const names[] = {"dAbk", "dAba", "dAqk", "dAqa"};
    int row = n_slab * KL_SLAB;
    ptrdiff_t ld = padded(K);
    struct args a = {.n_slab = n_slab, .ldv = row + gap, .ldy = row + 2 * gap, .lddo = row + gap};
    a.lddv = row + 3 * gap;
    float *v = kc_in(c, "v", (n - 1) * a.ldv + row, KC_NORMAL);
    a.v = v;
    a.d_o = kc_in(c, "d_o", (n - 1) * a.lddo + row, KC_NORMAL);
    float *y = kc_in(c, "y", (n - 1) * a.ldy + row, KC_ZERO);
    a.y = y;
    a.dv = kc_out(c, "dv", (n - 1) * a.lddv + row, 2e-5);
    for (int i = 0; i < 4; i++) {
        a.pair[i] = kc_out(c, names[i], n * n, 2e-5);
        kc_cancels(c, 1); /* sums over columns of products of normal numbers */
    }
    kc_align(c, 64);
    float *S = kc_in(c, "S", (int64_t)row * K, KC_NORMAL);
    a.S = S;
    a.D = kc_inout(c, "D", (int64_t)row * K, KC_NORMAL, 2e-5);
    kc_cancels(c, sqrt(n)); /* what tokens erase is as large as what earlier ones have added */
    a.chunk = dplr_chunk(c, n, K, decay);
    float *after = kc_in(c, "state after", (int64_t)row * K, KC_ZERO);
    for (int64_t i = 0; i < (int64_t)row * K; i++)
        after[i] = S[i];
    kl__dplr_again_ref(after, S, y, a.ldy, &a.chunk, v, a.ldv, n_slab);
    a.grad.dqd = kc_out(c, "dqd", n * ld, 2e-5);
    a.grad.dbd = kc_out(c, "dbd", n * ld, 2e-5);
    a.grad.dku = kc_out(c, "dku", n * ld, 2e-5);
    a.grad.dau = kc_out(c, "dau", n * ld, 2e-5);
    a.grad.dgamma = kc_out(c, "dgamma", ld, 2e-5);
    kc_cancels(c, sqrt((double)row));
    a.grad.scratch = kc_scratch(c, "scratch", (int64_t)kl__dplr_bwd_scratch(n, ld, n_slab));
    float **pair[] = {&a.grad.dAbk, &a.grad.dAba, &a.grad.dAqk, &a.grad.dAqa};
    float *scratch = kc_scratch(c, "chunk dAbk, dAba, dAqk, dAqa", 4 * n * KL_CHUNK_MAX);
    for (int i = 0; i < 4; i++)
        *pair[i] = scratch + i * n * KL_CHUNK_MAX;
    return a;
}

void check_dplr_slabs_bwd(kc *c)
{
    static const enum kc_fill decays[] = {KC_ONE, KC_DECAY, KC_DECAY_MIXED};
    for (int t = 0; t < N_CHUNK_TOKENS; t++)
        for (int h = 0; h < N_CHUNK_HEADS; h++) {
            int kind = t * 5 + h, n = chunk_tokens[t], K = chunk_heads[h], n_slab = 1 + kind % 3, gap = kind % 2 * 5;
            for (int d = 0; d < 3; d++) {
                struct args a = operands(c, n, K, n_slab, gap, decays[d]);
                kc_run(c, call, &a, "n %d, K %d, %d slabs, gap %d, decay %s", n, K, n_slab, gap,
                       kc_fill_name(decays[d]));
            }
        }
    for (int n = 16; n <= 64; n *= 4) {
        struct args a = operands(c, n, 128, 8, 0, KC_DECAY);
        kc_run_timed(c, call, &a, "n %d, K 128, V 128", n);
    }
}
