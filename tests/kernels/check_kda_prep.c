#include "kcheck.h"

struct args {
    struct kl__kda_chunk chunk;
    /* out [n][n] + 1: the defined part of the chunk's A and P, zeros elsewhere; then the size of a pair of equal keys,
     * so that the error of a sum that cancels is measured against its terms */
    float *A, *P;
    const float *q, *k, *alpha;
    ptrdiff_t ldq, ldk;
    float scale;
};

static void call(kc_any_fn *fn, const void *args)
{
    const struct args *a = args;
    struct kl__kda_chunk chunk = a->chunk;
    ((kl__kda_prep_fn *)fn)(&chunk, a->q, a->ldq, a->k, a->ldk, a->alpha, a->scale);
    for (int r = 0; r < chunk.n; r++)
        for (int i = 0; i < chunk.n; i++) {
            a->A[r * chunk.n + i] = i < r ? chunk.A[r * KL_CHUNK_MAX + i] : 0;
            a->P[r * chunk.n + i] = i <= r ? chunk.P[r * KL_CHUNK_MAX + i] : 0;
        }
    a->A[chunk.n * chunk.n] = a->P[chunk.n * chunk.n] = a->scale;
}

static struct args operands(kc *c, int n, int K, enum kc_fill decay)
{
    enum { ROW = KL_CHUNK_MAX };
    ptrdiff_t ld = (K + 15) / 16 * 16;
    struct args a = {.chunk = {.n = n, .K = K, .ld = ld}, .ldq = ld, .ldk = ld, .scale = 0.125f};
    a.A = kc_out(c, "A", n * n + 1, 2e-5);
    a.P = kc_out(c, "P", n * n + 1, 2e-5);
    kc_align(c, 64);
    float *q = kc_in_rows(c, "q", n, K, ld, KC_NORMAL, 0), *k = kc_in_rows(c, "k", n, K, ld, KC_NORMAL, 0);
    kc_unit_rows(q, n, ld);
    kc_unit_rows(k, n, ld);
    a.q = q;
    a.k = k;
    a.alpha = kc_in_rows(c, "alpha", n, K, ld, decay, 1);
    a.chunk.kd = kc_out(c, "kd", n * ld, 1e-5);
    a.chunk.qd = kc_out(c, "qd", n * ld, 1e-5);
    a.chunk.ku = kc_out(c, "ku", n * ld, 1e-5);
    a.chunk.gamma = kc_out(c, "gamma", ld, 1e-5);
    a.chunk.A = kc_scratch(c, "chunk A", n * ROW);
    a.chunk.P = kc_scratch(c, "chunk P", n * ROW);
    a.chunk.beta = kc_in(c, "beta", n, KC_UNIT);
    return a;
}

void check_kda_prep(kc *c)
{
    static const int tokens[] = {1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 32, 47, 63, 64};
    static const int heads[] = {1, 5, 16, 37, 64, 100, 128, 256};
    static const enum kc_fill decays[] = {KC_ONE, KC_DECAY, KC_DECAY_MIXED};
    for (size_t t = 0; t < sizeof tokens / sizeof *tokens; t++)
        for (size_t h = 0; h < sizeof heads / sizeof *heads; h++)
            for (size_t d = 0; d < sizeof decays / sizeof *decays; d++) {
                struct args a = operands(c, tokens[t], heads[h], decays[d]);
                kc_run(c, call, &a, "n %d, K %d, decay %s", tokens[t], heads[h], kc_fill_name(decays[d]));
            }
    for (int n = 16; n <= 64; n *= 4) {
        struct args a = operands(c, n, 128, KC_DECAY);
        kc_run_timed(c, call, &a, "n %d, K 128", n);
    }
}
