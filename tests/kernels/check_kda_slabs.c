#include "kcheck.h"

#include <math.h>

struct args {
    float *S, *squares, *o; /* squares: of the half kernel only */
    ptrdiff_t ldo;
    float *e;
    ptrdiff_t lde;
    struct kl__kda_chunk chunk;
    const float *v;
    ptrdiff_t ldv;
    int n_slab;
    kl_rule rule;
};

static void call(kc_any_fn *fn, const void *args)
{
    const struct args *a = args;
    ((kl__kda_slabs_fn *)fn)(a->S, a->o, a->ldo, a->e, a->lde, &a->chunk, a->v, a->ldv, a->n_slab, a->rule);
}

static void call_half(kc_any_fn *fn, const void *args)
{
    const struct args *a = args;
    ((kl__kda_slabs_half_fn *)fn)(a->S, a->squares, a->o, a->ldo, a->e, a->lde, &a->chunk, a->v, a->ldv, a->n_slab,
                                  a->rule);
}

static int rows_of(int n)
{
    return (n + KL_ROWS - 1) / KL_ROWS * KL_ROWS;
}

/* A chunk as the mathematics makes it, from unit-length keys.  What is undefined in it is NaN, also the rows past n. */
static struct kl__kda_chunk chunk_of(kc *c, int n, int K, enum kc_fill decay, float beta)
{
    ptrdiff_t ld = (K + 15) / 16 * 16;
    struct kl__kda_chunk chunk = {.n = n, .K = K, .ld = ld};
    float *q = kc_in_rows(c, "q", n, K, ld, KC_NORMAL, 0), *k = kc_in_rows(c, "k", n, K, ld, KC_NORMAL, 0);
    kc_unit_rows(q, n, ld);
    kc_unit_rows(k, n, ld);
    for (ptrdiff_t j = 0; n > 3 && j < ld; j++)
        k[3 * ld + j] = k[ld + j]; /* a key that comes twice */
    float *alpha = kc_in_rows(c, "alpha", n, K, ld, decay, 1);
    chunk.kd = kc_in(c, "kd", rows_of(n) * ld, KC_ZERO);
    chunk.qd = kc_in(c, "qd", rows_of(n) * ld, KC_ZERO);
    chunk.ku = kc_in(c, "ku", n * ld, KC_ZERO);
    chunk.gamma = kc_in(c, "gamma", ld, KC_ZERO);
    chunk.A = kc_in(c, "A", rows_of(n) * KL_CHUNK_MAX, KC_ZERO);
    chunk.P = kc_in(c, "P", rows_of(n) * KL_CHUNK_MAX, KC_ZERO);
    chunk.beta = kc_in(c, "beta", rows_of(n), KC_UNIT);
    for (int r = 0; beta >= 0 && r < n; r++)
        chunk.beta[r] = beta;
    for (int r = n; r < rows_of(n); r++)
        chunk.beta[r] = NAN;
    for (ptrdiff_t i = n * ld; i < rows_of(n) * ld; i++)
        chunk.kd[i] = chunk.qd[i] = NAN;
    for (int i = 0; i < rows_of(n) * KL_CHUNK_MAX; i++)
        chunk.A[i] = chunk.P[i] = NAN;
    kl__kda_prep_ref(&chunk, q, ld, k, ld, alpha, 1 / sqrtf((float)K));
    return chunk;
}

struct shape {
    int n, K, n_slab, gap;
    bool with_o, with_e;
    double tolerance;
};

static struct args operands(kc *c, struct shape s, enum kc_fill decay, float beta, kl_rule rule)
{
    int row = s.n_slab * KL_SLAB;
    struct args a = {.n_slab = s.n_slab, .rule = rule, .ldv = row + s.gap, .ldo = row + 2 * s.gap, .lde = row + s.gap};
    a.v = kc_in(c, "v", (s.n - 1) * a.ldv + row, KC_NORMAL);
    a.o = s.with_o ? kc_out(c, "o", (s.n - 1) * a.ldo + row, s.tolerance) : NULL;
    a.e = s.with_e ? kc_out(c, "e", (s.n - 1) * a.lde + row, s.tolerance) : NULL;
    kc_align(c, 64);
    a.S = kc_inout(c, "S", (int64_t)row * s.K, KC_NORMAL, s.tolerance);
    a.chunk = chunk_of(c, s.n, s.K, decay, beta);
    return a;
}

/* What a chunk is computed on: f32 operands, or rounded ones. */
struct kind {
    kc_call_fn *call;
    size_t first_head; /* with a handful of channels, keys are so much alike that the recursion magnifies roundings */
    double tolerance;
};

/* The squares of the norms of S, or that they are not known. */
static float *squares_of(kc *c, const struct args *a, bool known, double tolerance)
{
    int n = a->n_slab * KL_SLAB, K = a->chunk.K;
    float *squares = kc_inout(c, "squares", n, KC_ZERO, tolerance);
    for (int j = 0; j < n; j++) {
        squares[j] = known ? 0 : -1;
        for (int i = 0; known && i < K; i++) {
            float s = a->S[(j / KL_SLAB * K + i) * KL_SLAB + j % KL_SLAB];
            squares[j] += s * s;
        }
    }
    return squares;
}

static struct args operands_of(kc *c, const struct kind *kind, struct shape s, enum kc_fill decay, float beta,
                               kl_rule rule)
{
    s.tolerance = kind->tolerance;
    struct args a = operands(c, s, decay, beta, rule);
    if (kind->call == call_half)
        a.squares = squares_of(c, &a, s.n % 2, kind->tolerance);
    return a;
}

static void check_shape(kc *c, const struct kind *kind, struct shape s, enum kc_fill decay, float beta)
{
    for (int rule = KL_RULE_DELTA; rule <= KL_RULE_ADD; rule++) {
        struct args a = operands_of(c, kind, s, decay, beta, (kl_rule)rule);
        kc_run(c, kind->call, &a, "n %d, K %d, %d slabs, gap %d, rule %d%s%s, decay %s, beta %.2g", s.n, s.K, s.n_slab,
               s.gap, rule, s.with_o ? ", o" : "", s.with_e ? ", e" : "", kc_fill_name(decay), (double)beta);
    }
}

static const struct shape shape17 = {.n = 17, .K = 64, .n_slab = 2, .with_o = true, .with_e = true};

/* The row of a token does not look at later tokens, not even when they are NaN. */
static void check_later_nan(kc *c, const struct kind *kind)
{
    struct args a = operands_of(c, kind, shape17, KC_DECAY, 1, KL_RULE_DELTA);
    float *v = (float *)(uintptr_t)a.v;
    for (int64_t i = 0; i < a.n_slab * KL_SLAB; i++)
        v[9 * a.ldv + i] = NAN;
    kc_run(c, kind->call, &a, "token 9 of 17 is NaN");
    a = operands_of(c, kind, shape17, KC_DECAY, 1, KL_RULE_DELTA);
    for (int64_t i = 0; i < a.chunk.K; i++)
        a.chunk.kd[9 * a.chunk.ld + i] = i % 2 ? NAN : INFINITY;
    kc_run(c, kind->call, &a, "what token 9 of 17 reads is NaN");
}

/* Numbers whose squares are no numbers any more, of one row, of one column, of all that is written. */
static void check_huge(kc *c, const struct kind *kind)
{
    for (int what = 0; what < 4; what++) {
        struct args a = operands_of(c, kind, shape17, KC_DECAY, 1, KL_RULE_DELTA);
        float *v = (float *)(uintptr_t)a.v;
        for (int64_t i = 0; i < a.chunk.K; i++) {
            if (what == 0)
                a.chunk.qd[9 * a.chunk.ld + i] *= 1e25f;
            if (what == 1)
                a.S[i * KL_SLAB + 3] *= 1e25f;
            for (int r = 0; what == 2 && r < a.chunk.n; r++)
                a.chunk.ku[r * a.chunk.ld + i] *= 1e25f;
        }
        for (int r = 0; what == 3 && r < a.chunk.n; r++)
            v[r * a.ldv + 5] *= 1e25f;
        if (a.squares)
            for (int j = 0; j < a.n_slab * KL_SLAB; j++)
                a.squares[j] = -1;
        kc_run(c, kind->call, &a, "huge numbers, %d", what);
    }
}

static void check_chunks(kc *c, const struct kind *kind)
{
    static const int tokens[] = {1, 2, 3, 5, 8, 15, 16, 17, 32, 63, 64};
    static const int heads[] = {1, 7, 16, 37, 64, 128};
    static const enum kc_fill decays[] = {KC_ONE, KC_DECAY, KC_DECAY_MIXED};
    for (size_t t = 0; t < sizeof tokens / sizeof *tokens; t++)
        for (size_t h = kind->first_head; h < sizeof heads / sizeof *heads; h++) {
            int i = (int)(t * 6 + h);
            struct shape s = {.n = tokens[t],
                              .K = heads[h],
                              .n_slab = 1 + i % 3,
                              .gap = i % 2 * 5,
                              .with_o = i % 4 != 3,
                              .with_e = i % 3 != 1};
            for (size_t d = 0; d < sizeof decays / sizeof *decays; d++)
                check_shape(c, kind, s, decays[d], -1);
        }
    for (int beta = 0; beta <= 2; beta++)
        check_shape(c, kind, (struct shape){.n = 16, .K = 128, .n_slab = 2, .with_o = true, .with_e = true}, KC_DECAY,
                    (float)beta);
    check_later_nan(c, kind);
    check_huge(c, kind);
    for (int n = 16; n <= 64; n *= 4) {
        struct shape s = {.n = n, .K = 128, .n_slab = 8, .with_o = true};
        struct args a = operands_of(c, kind, s, KC_DECAY, 1, KL_RULE_DELTA);
        kc_run_timed(c, kind->call, &a, "n %d, K 128, V 128", n);
    }
}

void check_kda_slabs(kc *c)
{
    check_chunks(c, &(struct kind){call, 0, 2e-5});
}

void check_kda_slabs_half(kc *c)
{
    check_chunks(c, &(struct kind){call_half, 3, 4e-3});
}
