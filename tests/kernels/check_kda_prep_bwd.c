#include "chunks.h"

struct args {
    struct kl__kda_chunk_bwd grad;
    struct kl__kda_chunk chunk;
    const float *q, *k, *alpha;
    ptrdiff_t ldq, ldk;
    float scale;
};

static void call(kc_any_fn *fn, const void *args)
{
    const struct args *a = args;
    struct kl__kda_chunk_bwd grad = a->grad;
    ((kl__kda_prep_bwd_fn *)fn)(&grad, &a->chunk, a->q, a->ldq, a->k, a->ldk, a->alpha, a->scale);
}

static struct args operands(kc *c, int n, int K, int gap, enum kc_fill decay)
{
    ptrdiff_t ld = padded(K);
    struct args a = {.chunk = {.n = n, .K = K, .ld = ld}, .ldq = ld + gap, .ldk = ld + 2 * gap, .scale = 0.125f};
    a.q = key_rows_apart(c, "q", n, K, a.ldq);
    a.k = key_rows_apart(c, "k", n, K, a.ldk);
    kc_align(c, 64);
    a.alpha = kc_in_rows(c, "alpha", n, K, ld, decay, 1);
    a.grad.dqd = kc_in_rows(c, "dqd", n, K, ld, KC_NORMAL, 0);
    a.grad.dkd = kc_in_rows(c, "dkd", n, K, ld, KC_NORMAL, 0);
    a.grad.dku = kc_in_rows(c, "dku", n, K, ld, KC_NORMAL, 0);
    a.grad.dgamma = kc_in_rows(c, "dgamma", 1, K, ld, KC_NORMAL, 0);
    a.grad.dA = pairs(c, "dA", n, false);
    a.grad.dP = pairs(c, "dP", n, true);
    a.grad.dq = kc_out(c, "dq", n * ld, 2e-5);
    a.grad.dk = kc_out(c, "dk", n * ld, 2e-5);
    a.grad.dg = kc_out(c, "dg", n * ld, 2e-5);
    return a;
}

void check_kda_prep_bwd(kc *c)
{
    static const enum kc_fill decays[] = {KC_ONE, KC_DECAY, KC_DECAY_MIXED};
    for (int t = 0; t < N_CHUNK_TOKENS; t++)
        for (int h = 0; h < N_CHUNK_HEADS; h++)
            for (int d = 0; d < 3; d++) {
                int n = chunk_tokens[t], K = chunk_heads[h], gap = (t + h + d) % 2 * 5;
                struct args a = operands(c, n, K, gap, decays[d]);
                kc_run(c, call, &a, "n %d, K %d, gap %d, decay %s", n, K, gap, kc_fill_name(decays[d]));
            }
    for (int n = 16; n <= 64; n *= 4) {
        struct args a = operands(c, n, 128, 0, KC_DECAY);
        kc_run_timed(c, call, &a, "n %d, K 128", n);
    }
}
