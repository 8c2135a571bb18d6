#include "chunks.h"

struct args {
    struct kl__dplr_chunk_bwd grad;
    struct kl__dplr_chunk chunk;
    struct kl__dplr_rows rows;
    float scale;
};

static void call(kc_any_fn *fn, const void *args)
{
    const struct args *x = args;
    struct kl__dplr_chunk_bwd grad = x->grad;
    ((kl__dplr_prep_bwd_fn *)fn)(&grad, &x->chunk, &x->rows, x->scale);
}

static struct args operands(kc *c, int n, int K, int gap, enum kc_fill decay)
{
    ptrdiff_t ld = padded(K);
    struct args x = {.chunk = {.n = n, .K = K, .ld = ld}, .scale = 0.125f};
    x.rows = dplr_rows(c, n, K, gap, decay);
    x.grad.dqd = kc_in_rows(c, "dqd", n, K, ld, KC_NORMAL, 0);
    x.grad.dbd = kc_in_rows(c, "dbd", n, K, ld, KC_NORMAL, 0);
    x.grad.dku = kc_in_rows(c, "dku", n, K, ld, KC_NORMAL, 0);
    x.grad.dau = kc_in_rows(c, "dau", n, K, ld, KC_NORMAL, 0);
    x.grad.dgamma = kc_in_rows(c, "dgamma", 1, K, ld, KC_NORMAL, 0);
    x.grad.dAbk = pairs(c, "dAbk", n, false);
    x.grad.dAba = pairs(c, "dAba", n, false);
    x.grad.dAqk = pairs(c, "dAqk", n, true);
    x.grad.dAqa = pairs(c, "dAqa", n, true);
    x.grad.dq = kc_out(c, "dq", n * ld, 2e-5);
    x.grad.dk = kc_out(c, "dk", n * ld, 2e-5);
    x.grad.da = kc_out(c, "da", n * ld, 2e-5);
    x.grad.db = kc_out(c, "db", n * ld, 2e-5);
    x.grad.dg = kc_out(c, "dg", n * ld, 2e-5);
    return x;
}

void check_dplr_prep_bwd(kc *c)
{
    static const enum kc_fill decays[] = {KC_ONE, KC_DECAY, KC_DECAY_MIXED};
    for (int t = 0; t < N_CHUNK_TOKENS; t++)
        for (int h = 0; h < N_CHUNK_HEADS; h++)
            for (int d = 0; d < 3; d++) {
                int n = chunk_tokens[t], K = chunk_heads[h], gap = (t + h + d) % 2 * 5;
                struct args x = operands(c, n, K, gap, decays[d]);
                kc_run(c, call, &x, "n %d, K %d, gap %d, decay %s", n, K, gap, kc_fill_name(decays[d]));
            }
    for (int n = 16; n <= 64; n *= 4) {
        struct args x = operands(c, n, 128, 0, KC_DECAY);
        kc_run_timed(c, call, &x, "n %d, K 128", n);
    }
}
