#include "chunks.h"

struct args {
    float *to;
    const float *from;
    struct kl__kda_chunk chunk;
    const float *u;
    ptrdiff_t ldu;
    int n_slab;
};

static void call(kc_any_fn *fn, const void *args)
{
    const struct args *a = args;
    ((kl__kda_advance_fn *)fn)(a->to, a->from, &a->chunk, a->u, a->ldu, a->n_slab);
}

static struct args operands(kc *c, int n, int K, int n_slab, int gap, enum kc_fill decay)
{
    int row = n_slab * KL_SLAB;
    ptrdiff_t ld = padded(K);
    struct args a = {.chunk = {.n = n, .K = K, .ld = ld}, .ldu = row + gap, .n_slab = n_slab};
    a.u = kc_in(c, "u", (n - 1) * a.ldu + row, KC_NORMAL);
    kc_align(c, 64);
    a.to = kc_out(c, "to", (int64_t)row * K, 2e-5);
    kc_cancels(c, 1);
    a.from = kc_in(c, "from", (int64_t)row * K, KC_NORMAL);
    a.chunk.ku = key_rows(c, "ku", n, K);
    a.chunk.gamma = kc_in_rows(c, "gamma", 1, K, ld, decay, 1);
    return a;
}

void check_kda_advance(kc *c)
{
    for (int t = 0; t < N_CHUNK_TOKENS; t++)
        for (int h = 0; h < N_CHUNK_HEADS; h++) {
            int kind = t * 5 + h, n = chunk_tokens[t], K = chunk_heads[h], n_slab = 1 + kind % 3, gap = kind % 2 * 5;
            struct args a = operands(c, n, K, n_slab, gap, kind % 4 ? KC_DECAY : KC_DECAY_MIXED);
            kc_run(c, call, &a, "n %d, K %d, %d slabs, gap %d", n, K, n_slab, gap);
        }
    struct args a = operands(c, 16, 128, 8, 0, KC_DECAY);
    kc_run_timed(c, call, &a, "n 16, K 128, V 128");
}
