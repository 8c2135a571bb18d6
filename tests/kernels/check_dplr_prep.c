#include "chunks.h"

enum { N_MATRIX = 4 };

struct args {
    struct kl__dplr_chunk chunk;
    /* out [n][n] + 1: the defined part of Abk Aba Aqk Aqa, zeros elsewhere; then the size of a pair of equal keys, so
     * that the error of a sum that cancels is measured against its terms */
    float *lower[N_MATRIX];
    struct kl__dplr_rows rows;
    float scale;
};

static void call(kc_any_fn *fn, const void *args)
{
    const struct args *x = args;
    struct kl__dplr_chunk chunk = x->chunk;
    ((kl__dplr_prep_fn *)fn)(&chunk, &x->rows, x->scale);
    const float *matrix[N_MATRIX] = {chunk.Abk, chunk.Aba, chunk.Aqk, chunk.Aqa};
    for (int m = 0; m < N_MATRIX; m++)
        for (int r = 0; r < chunk.n; r++)
            for (int i = 0; i < chunk.n; i++)
                x->lower[m][r * chunk.n + i] = i < r + (m >= 2) ? matrix[m][r * KL_CHUNK_MAX + i] : 0;
    for (int m = 0; m < N_MATRIX; m++)
        x->lower[m][chunk.n * chunk.n] = x->scale;
}

static struct args operands(kc *c, int n, int K, int gap, enum kc_fill decay)
{
    static const char *const names[N_MATRIX] = {"Abk", "Aba", "Aqk", "Aqa"};
    ptrdiff_t ld = padded(K);
    struct args x = {.chunk = {.n = n, .K = K, .ld = ld}, .scale = 0.125f};
    for (int m = 0; m < N_MATRIX; m++)
        x.lower[m] = kc_out(c, names[m], n * n + 1, 2e-5);
    x.rows = dplr_rows(c, n, K, gap, decay);
    float **row[N_MATRIX] = {&x.chunk.bd, &x.chunk.qd, &x.chunk.ku, &x.chunk.au};
    float **matrix[N_MATRIX] = {&x.chunk.Abk, &x.chunk.Aba, &x.chunk.Aqk, &x.chunk.Aqa};
    static const char *const row_names[N_MATRIX] = {"bd", "qd", "ku", "au"};
    for (int m = 0; m < N_MATRIX; m++) {
        *row[m] = kc_out(c, row_names[m], n * ld, 1e-5);
        *matrix[m] = kc_scratch(c, names[m], n * KL_CHUNK_MAX);
    }
    x.chunk.gamma = kc_out(c, "gamma", ld, 1e-5);
    return x;
}

void check_dplr_prep(kc *c)
{
    static const int tokens[] = {1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 32, 47, 63, 64};
    static const int heads[] = {1, 5, 16, 37, 64, 100, 128, 256};
    static const enum kc_fill decays[] = {KC_ONE, KC_DECAY, KC_DECAY_MIXED};
    for (size_t t = 0; t < sizeof tokens / sizeof *tokens; t++)
        for (size_t h = 0; h < sizeof heads / sizeof *heads; h++)
            for (size_t d = 0; d < sizeof decays / sizeof *decays; d++) {
                int gap = (int)((t + h + d) % 2) * 5;
                struct args x = operands(c, tokens[t], heads[h], gap, decays[d]);
                kc_run(c, call, &x, "n %d, K %d, gap %d, decay %s", tokens[t], heads[h], gap, kc_fill_name(decays[d]));
            }
    for (int n = 16; n <= 64; n *= 4) {
        struct args x = operands(c, n, 128, 0, KC_DECAY);
        kc_run_timed(c, call, &x, "n %d, K 128", n);
    }
}
