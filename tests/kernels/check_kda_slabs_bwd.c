#include "chunks.h"

struct args {
    float *D;
    struct kl__kda_chunk_bwd grad;
    float *dA, *dP; /* out [n][n]: the defined parts */
    float *dv;
    ptrdiff_t lddv;
    const float *S;
    struct kl__kda_chunk chunk;
    const float *e;
    ptrdiff_t lde;
    const float *d_o;
    ptrdiff_t lddo;
    int n_slab;
    kl_rule rule;
};

static void call(kc_any_fn *fn, const void *args)
{
    const struct args *a = args;
    struct kl__kda_chunk_bwd grad = a->grad;
    ((kl__kda_slabs_bwd_fn *)fn)(a->D, &grad, a->dv, a->lddv, a->S, &a->chunk, a->e, a->lde, a->d_o, a->lddo,
                                 a->n_slab, a->rule);
    keep_pairs(a->dA, grad.dA, a->chunk.n, false);
    keep_pairs(a->dP, grad.dP, a->chunk.n, true);
}

static struct args operands(kc *c, int n, int K, int n_slab, int gap, enum kc_fill decay, kl_rule rule)
{
    int row = n_slab * KL_SLAB;
    ptrdiff_t ld = padded(K);
    struct args a = {.n_slab = n_slab, .rule = rule, .lde = row + 2 * gap, .lddo = row + gap};
    a.lddv = row + 3 * gap;
    const float *v = kc_in(c, "v", n * row, KC_NORMAL);
    a.d_o = kc_in(c, "d_o", (n - 1) * a.lddo + row, KC_NORMAL);
    float *e = kc_in(c, "e", (n - 1) * a.lde + row, KC_NORMAL);
    a.e = e;
    a.dv = kc_out(c, "dv", (n - 1) * a.lddv + row, 2e-5);
    a.dA = kc_out(c, "dA", n * n, 2e-5);
    a.dP = kc_out(c, "dP", n * n, 2e-5);
    kc_align(c, 64);
    float *S = kc_in(c, "S", (int64_t)row * K, KC_NORMAL);
    a.S = S;
    a.D = kc_inout(c, "D", (int64_t)row * K, KC_NORMAL, 2e-5);
    kc_cancels(c, sqrt(n)); /* what tokens erase is as large as what earlier ones have added */
    a.chunk = kda_chunk(c, n, K, decay);
    if (rule == KL_RULE_DELTA)
        kl__kda_again_ref(NULL, S, e, a.lde, &a.chunk, v, row, n_slab);
    a.grad.dqd = kc_out(c, "dqd", n * ld, 2e-5);
    a.grad.dkd = kc_out(c, "dkd", n * ld, 2e-5);
    a.grad.dku = kc_out(c, "dku", n * ld, 2e-5);
    a.grad.dgamma = kc_out(c, "dgamma", ld, 2e-5);
    kc_cancels(c, sqrt((double)row));
    a.grad.dbeta = kc_out(c, "dbeta", n, 2e-5);
    kc_cancels(c, sqrt((double)row));
    a.grad.scratch = kc_scratch(c, "scratch", (int64_t)kl__kda_bwd_scratch(n, ld, n_slab));
    a.grad.dA = kc_scratch(c, "chunk dA", n * KL_CHUNK_MAX);
    a.grad.dP = kc_scratch(c, "chunk dP", n * KL_CHUNK_MAX);
    return a;
}

void check_kda_slabs_bwd(kc *c)
{
    static const enum kc_fill decays[] = {KC_ONE, KC_DECAY, KC_DECAY_MIXED};
    for (int t = 0; t < N_CHUNK_TOKENS; t++)
        for (int h = 0; h < N_CHUNK_HEADS; h++) {
            int kind = t * 5 + h, n = chunk_tokens[t], K = chunk_heads[h], n_slab = 1 + kind % 3, gap = kind % 2 * 5;
            for (int d = 0; d < 3; d++) {
                kl_rule rule = (kl_rule)((kind + d) % 4 == 3);
                struct args a = operands(c, n, K, n_slab, gap, decays[d], rule);
                kc_run(c, call, &a, "n %d, K %d, %d slabs, gap %d, rule %d, decay %s", n, K, n_slab, gap, (int)rule,
                       kc_fill_name(decays[d]));
            }
        }
    for (int n = 16; n <= 64; n *= 4) {
        struct args a = operands(c, n, 128, 8, 0, KC_DECAY, KL_RULE_DELTA);
        kc_run_timed(c, call, &a, "n %d, K 128, V 128", n);
    }
}
