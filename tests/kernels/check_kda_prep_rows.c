#include "chunks.h"

struct args {
    struct kl__kda_chunk chunk;
    const float *q, *k, *alpha;
    float scale;
};

static void call(kc_any_fn *fn, const void *args)
{
    const struct args *a = args;
    struct kl__kda_chunk chunk = a->chunk;
    ((kl__kda_prep_rows_fn *)fn)(&chunk, a->q, a->k, a->alpha, a->scale);
}

static struct args operands(kc *c, int n, int K, enum kc_fill decay)
{
    ptrdiff_t ld = padded(K);
    struct args a = {.chunk = {.n = n, .K = K, .ld = ld}, .scale = 0.125f};
    kc_align(c, 64);
    a.q = key_rows(c, "q", n, K);
    a.k = key_rows(c, "k", n, K);
    a.alpha = kc_in_rows(c, "alpha", n, K, ld, decay, 1);
    a.chunk.kd = kc_out(c, "kd", n * ld, 1e-5);
    a.chunk.qd = kc_out(c, "qd", n * ld, 1e-5);
    a.chunk.ku = kc_out(c, "ku", n * ld, 1e-5);
    a.chunk.gamma = kc_out(c, "gamma", ld, 1e-5);
    return a;
}

void check_kda_prep_rows(kc *c)
{
    static const enum kc_fill decays[] = {KC_ONE, KC_DECAY, KC_DECAY_MIXED};
    for (int t = 0; t < N_CHUNK_TOKENS; t++)
        for (int h = 0; h < N_CHUNK_HEADS; h++)
            for (int d = 0; d < 3; d++) {
                struct args a = operands(c, chunk_tokens[t], chunk_heads[h], decays[d]);
                kc_run(c, call, &a, "n %d, K %d, decay %s", chunk_tokens[t], chunk_heads[h], kc_fill_name(decays[d]));
            }
    struct args a = operands(c, 16, 128, KC_DECAY);
    kc_run_timed(c, call, &a, "n 16, K 128");
}
