/* kl_mla in both forms against expanded float64 loops: every level, threads, windows and slabs, pages, batches, pieces
 * of a prefill, the choice of the form, bf16, gradients, refusals. */
#include "support/attention64.h"
#include "support/kt.h"

#include <math.h>
#include <string.h>

struct problem {
    int64_t T, S, H, DN, DR, R, DV, n_seq;
    const int64_t *cu_q, *cu_k; /* [n_seq + 1] */
    bool causal;
    float *q, *cache, *w_uk, *w_uv; /* [T][H][DN + DR], [S][R + DR], [H][DN][R], [H][DV][R] */
};

static struct problem make(kt_rng *r, struct problem p)
{
    p.T = p.cu_q[p.n_seq];
    p.S = p.cu_k[p.n_seq];
    p.q = kt_normals(r, p.T * p.H * (p.DN + p.DR), 1.5f);
    p.cache = kt_normals(r, p.S * (p.R + p.DR), 1);
    p.w_uk = kt_normals(r, p.H * p.DN * p.R, 1 / sqrtf((float)p.R));
    p.w_uv = kt_normals(r, p.H * p.DV * p.R, 1 / sqrtf((float)p.R));
    return p;
}

static kl_mla_args args_of(const struct problem *p, kl_mla_form form, float *o, float *lse)
{
    return (kl_mla_args){.o = kl_view3(o, KL_F32, p->T, p->H, p->DV),
                         .lse = kl_view2(lse, KL_F32, p->T, p->H),
                         .q = kl_view3(p->q, KL_F32, p->T, p->H, p->DN + p->DR),
                         .cache = kl_view2(p->cache, KL_F32, p->S, p->R + p->DR),
                         .w_uk = kl_view3(p->w_uk, KL_F32, p->H, p->DN, p->R),
                         .w_uv = kl_view3(p->w_uv, KL_F32, p->H, p->DV, p->R),
                         .causal = p->causal,
                         .form = form,
                         .cu_q = p->cu_q,
                         .cu_k = p->cu_k,
                         .n_seq = p->n_seq};
}

static void call(const kl_backend *be, kl_mla_args a)
{
    a.work = kt_work(kl_mla_workspace(be, &a));
    KT_OK(kl_mla(be, &a, KT_ERR));
}

static void run(const kl_backend *be, const struct problem *p, kl_mla_form form, float *o, float *lse)
{
    call(be, args_of(p, form, o, lse));
}

/* --------------------------------------------------------------------------------------------- float64 reference -- */

/* Keys and values of all heads, in double: [S][H][DN + DR] and [S][H][DV]. */
static struct attention64 expand64(const struct problem *p)
{
    int64_t n_k = p->DN + p->DR, row = p->R + p->DR;
    double *k = doubles(p->S * p->H * n_k), *v = doubles(p->S * p->H * p->DV);
    for (int64_t s = 0; s < p->S; s++)
        for (int64_t h = 0; h < p->H; h++) {
            const float *c = p->cache + s * row;
            double *key = k + (s * p->H + h) * n_k, *value = v + (s * p->H + h) * p->DV;
            for (int64_t d = 0; d < p->DN; d++)
                key[d] = kt_dot(p->w_uk + (h * p->DN + d) * p->R, c, p->R);
            for (int64_t d = 0; d < p->DR; d++)
                key[p->DN + d] = c[p->R + d];
            for (int64_t d = 0; d < p->DV; d++)
                value[d] = kt_dot(p->w_uv + (h * p->DV + d) * p->R, c, p->R);
        }
    return (struct attention64){.H = p->H,
                                .HK = p->H,
                                .DK = n_k,
                                .DV = p->DV,
                                .n_seq = p->n_seq,
                                .cu_q = p->cu_q,
                                .cu_k = p->cu_k,
                                .causal = p->causal,
                                .scale = 1 / sqrt((double)n_k),
                                .q = doubles_of(p->q, p->T * p->H * n_k),
                                .k = k,
                                .v = v};
}

struct gradients64 {
    double *q, *cache, *w_uk, *w_uv;
};

/* From gradients of expanded keys and values to those of latents and weights: one row, one head. */
static void collect64(const struct problem *p, int64_t s, int64_t h, const double *d_k, const double *d_v,
                      struct gradients64 g)
{
    const float *c = p->cache + s * (p->R + p->DR);
    double *d_c = g.cache + s * (p->R + p->DR);
    for (int64_t r = 0; r < p->R; r++) {
        for (int64_t d = 0, at = h * p->DN * p->R + r; d < p->DN; d++, at += p->R) {
            d_c[r] += d_k[d] * p->w_uk[at];
            g.w_uk[at] += d_k[d] * c[r];
        }
        for (int64_t d = 0, at = h * p->DV * p->R + r; d < p->DV; d++, at += p->R) {
            d_c[r] += d_v[d] * p->w_uv[at];
            g.w_uv[at] += d_v[d] * c[r];
        }
    }
    for (int64_t d = 0; d < p->DR; d++)
        d_c[p->R + d] += d_k[p->DN + d];
}

static struct gradients64 backward64(const struct problem *p, const float *d_o)
{
    int64_t n_k = p->DN + p->DR;
    struct gradients64 g = {doubles(p->T * p->H * n_k), doubles(p->S * (p->R + p->DR)), doubles(p->H * p->DN * p->R),
                            doubles(p->H * p->DV * p->R)};
    struct attention64 x = expand64(p);
    double *d_k = doubles(p->S * p->H * n_k), *d_v = doubles(p->S * p->H * p->DV);
    attention64_bwd(&x, doubles_of(d_o, p->T * p->H * p->DV), g.q, d_k, d_v);
    for (int64_t s = 0; s < p->S; s++)
        for (int64_t h = 0; h < p->H; h++)
            collect64(p, s, h, d_k + (s * p->H + h) * n_k, d_v + (s * p->H + h) * p->DV, g);
    return g;
}

/* ----------------------------------------------------------------------------------------------------- the cases -- */

static const int64_t ragged_q[] = {0, 13, 13, 14, 81, 84}, ragged_k[] = {0, 29, 35, 36, 103, 104};
static const int64_t windows_q[] = {0, 100, 230, 231}, windows_k[] = {0, 100, 280, 1500};
static const int64_t few_q[] = {0, 2}, slabs_k[] = {0, 2 * 8192 + 50}, group_k[] = {0, 2100};
static const int64_t block_q[] = {0, 70}, nothing[] = {0, 0}, some_k[] = {0, 300};

static const struct problem cases[] = {
    {.H = 3, .DN = 13, .DR = 5, .R = 37, .DV = 11, .n_seq = 5, .cu_q = ragged_q, .cu_k = ragged_k},
    {.H = 3, .DN = 13, .DR = 5, .R = 37, .DV = 11, .n_seq = 5, .cu_q = ragged_q, .cu_k = ragged_k, .causal = true},
    /* More tokens than an absorbed window; weights of more than one block of rows. */
    {.H = 2, .DN = 70, .DR = 8, .R = 32, .DV = 66, .n_seq = 3, .cu_q = windows_q, .cu_k = windows_k, .causal = true},
    /* Three slabs, two blocks of query rows. */
    {.H = 1, .DN = 4, .DR = 2, .R = 8, .DV = 3, .n_seq = 1, .cu_q = block_q, .cu_k = slabs_k, .causal = true},
    /* Heads in groups: not all fit into the memory of a slab at a time. */
    {.H = 3, .DN = 200, .DR = 8, .R = 6, .DV = 192, .n_seq = 1, .cu_q = few_q, .cu_k = group_k},
    /* No position columns, no content columns, no queries, no rows. */
    {.H = 2, .DN = 8, .DR = 0, .R = 16, .DV = 8, .n_seq = 1, .cu_q = few_q, .cu_k = some_k, .causal = true},
    {.H = 2, .DN = 0, .DR = 8, .R = 16, .DV = 8, .n_seq = 1, .cu_q = few_q, .cu_k = some_k, .causal = true},
    {.H = 2, .DN = 8, .DR = 4, .R = 16, .DV = 8, .n_seq = 1, .cu_q = nothing, .cu_k = some_k},
    {.H = 2, .DN = 8, .DR = 4, .R = 16, .DV = 8, .n_seq = 1, .cu_q = few_q, .cu_k = nothing},
};
enum { N_CASE = sizeof cases / sizeof *cases };

static void check_threads(const char *level, const struct problem *p, kl_mla_form form, const float *o1,
                          const float *lse1)
{
    static const int threads[] = {2, 3, 7};
    int64_t n = p->T * p->H * p->DV;
    float *o = kt_floats(n), *lse = kt_floats(p->T * p->H);
    for (int j = 0; j < 3; j++) {
        run(kt_backend(level, threads[j]), p, form, o, lse);
        kt_assert_same_bits("o on more threads", o, o1, (size_t)n * sizeof *o);
        kt_assert_same_bits("lse on more threads", lse, lse1, (size_t)(p->T * p->H) * sizeof *lse);
    }
}

static void values(void **state)
{
    (void)state;
    for (int i = 0; i < N_CASE; i++) {
        kt_rng r = {(uint64_t)i};
        struct problem p = make(&r, cases[i]);
        int64_t n = p.T * p.H * p.DV;
        double *o64 = doubles(n), *lse64 = doubles(p.T * p.H);
        struct attention64 reference = expand64(&p);
        attention64(&reference, o64, lse64);
        for (int l = 0; kt_level(l); l++)
            for (kl_mla_form form = KL_MLA_AUTO; form <= KL_MLA_EXPANDED; form++) {
                float *o = kt_floats(n), *lse = kt_floats(p.T * p.H);
                run(kt_backend(kt_level(l), 1), &p, form, o, lse);
                kt_assert_close64("o", kt_level(l), o, o64, n, 3e-6);
                kt_assert_close64("lse", kt_level(l), lse, lse64, p.T * p.H, 2e-6);
                if (form != KL_MLA_AUTO)
                    check_threads(kt_level(l), &p, form, o, lse);
            }
        kt_free_all();
    }
}

/* The released model's geometry, but for the number of heads. */
static const struct problem released = {.H = 3, .DN = 128, .DR = 64, .R = 512, .DV = 128, .n_seq = 1, .causal = true};

static void forms_agree(void **state)
{
    (void)state;
    static const int64_t q[] = {0, 9}, k[] = {0, 333};
    kt_rng r = {3};
    struct problem p = released;
    p.cu_q = q;
    p.cu_k = k;
    p = make(&r, p);
    int64_t n = p.T * p.H * p.DV;
    for (int l = 0; kt_level(l); l++) {
        float *absorbed = kt_floats(n), *expanded = kt_floats(n), *lse = kt_floats(p.T * p.H);
        run(kt_backend(kt_level(l), 2), &p, KL_MLA_ABSORBED, absorbed, lse);
        run(kt_backend(kt_level(l), 2), &p, KL_MLA_EXPANDED, expanded, lse);
        kt_assert_close(kt_level(l), absorbed, expanded, n, 2e-5);
    }
    kt_free_all();
}

/* Few queries over a long cache are absorbed, many are expanded, each sequence by itself. */
static void the_cheaper_form(void **state)
{
    (void)state;
    static const int64_t q[] = {0, 1, 301}, k[] = {0, 200, 600};
    kt_rng r = {5};
    struct problem p = released;
    p.H = 1;
    p.n_seq = 2;
    p.cu_q = q;
    p.cu_k = k;
    p = make(&r, p);
    int64_t n = p.T * p.DV, first = p.DV;
    float *o = kt_floats(n), *absorbed = kt_floats(n), *expanded = kt_floats(n), *lse = kt_floats(p.T);
    const kl_backend *be = kt_backend(kt_level(kt_level(1) ? 1 : 0), 2);
    run(be, &p, KL_MLA_AUTO, o, lse);
    run(be, &p, KL_MLA_ABSORBED, absorbed, lse);
    run(be, &p, KL_MLA_EXPANDED, expanded, lse);
    kt_assert_same_bits("one query", o, absorbed, (size_t)first * sizeof *o);
    kt_assert_same_bits("300 queries", o + first, expanded + first, (size_t)(n - first) * sizeof *o);
    assert_memory_not_equal(absorbed, expanded, (size_t)first * sizeof *o);
    assert_memory_not_equal(absorbed + first, expanded + first, (size_t)(n - first) * sizeof *o);
    kt_free_all();
}

static void pages_change_no_bit(void **state)
{
    (void)state;
    enum { PAGE_TOKENS = 24, PAGES_PER_SEQ = 4, N_PAGE = 17 };
    kt_rng r = {7};
    struct problem p = make(&r, cases[1]);
    int64_t n = p.T * p.H * p.DV, row = p.R + p.DR;
    int32_t table[5 * PAGES_PER_SEQ], next = 0;
    float *pool = kt_floats(N_PAGE * PAGE_TOKENS * row);
    for (int64_t s = 0; s < p.n_seq; s++)
        for (int64_t j = 0; j < PAGES_PER_SEQ; j++) {
            int64_t first = j * PAGE_TOKENS, rest = p.cu_k[s + 1] - p.cu_k[s] - first;
            int64_t rows = rest < PAGE_TOKENS ? rest : PAGE_TOKENS;
            table[s * PAGES_PER_SEQ + j] = rows > 0 ? next++ * 5 % N_PAGE : INT32_MAX;
            if (rows > 0)
                memcpy(pool + table[s * PAGES_PER_SEQ + j] * PAGE_TOKENS * row, p.cache + (p.cu_k[s] + first) * row,
                       (size_t)(rows * row) * sizeof *pool);
        }
    uint16_t *pool16 = kt_bytes((size_t)(N_PAGE * PAGE_TOKENS * row) * 2);
    for (int bf16 = 0; bf16 <= 1; bf16++) {
        if (bf16) {
            kt_bf16_of(p.cache, p.S * row);
            pool16 = kt_bf16_of(pool, N_PAGE * PAGE_TOKENS * row);
        }
        for (int l = 0; kt_level(l); l++)
            for (kl_mla_form form = KL_MLA_AUTO; form <= KL_MLA_EXPANDED; form++) {
                float *want = kt_floats(n), *got = kt_floats(n), *lse = kt_floats(p.T * p.H);
                run(kt_backend(kt_level(l), 1), &p, form, want, lse);
                kl_mla_args a = args_of(&p, form, got, lse);
                a.cache = bf16 ? kl_view3(pool16, KL_BF16, N_PAGE, PAGE_TOKENS, row)
                               : kl_view3(pool, KL_F32, N_PAGE, PAGE_TOKENS, row);
                a.paging = (kl_paging){table, PAGES_PER_SEQ, PAGE_TOKENS, NULL};
                call(kt_backend(kt_level(l), 2), a);
                kt_assert_same_bits("o over pages", got, want, (size_t)n * sizeof *got);
            }
    }
    kt_free_all();
}

/* The queries first .. end - 1 of sequence `s`, over the first `n_key` rows of its cache. */
static void run_part(const kl_backend *be, const struct problem *p, int64_t s, int64_t first, int64_t end,
                     int64_t n_key, kl_mla_form form, float *o)
{
    struct problem part = *p;
    int64_t cu_q[] = {0, end - first}, cu_k[] = {0, n_key}, at = p->cu_q[s] + first;
    part.cu_q = cu_q;
    part.cu_k = cu_k;
    part.n_seq = 1;
    part.T = cu_q[1];
    part.S = n_key;
    part.q += at * p->H * (p->DN + p->DR);
    part.cache += p->cu_k[s] * (p->R + p->DR);
    kl_mla_args a = args_of(&part, form, o + at * p->H * p->DV, NULL);
    a.lse = (kl_tensor){0};
    call(be, a);
}

static void a_batch_is_its_sequences(void **state)
{
    (void)state;
    for (int i = 1; i <= 2; i++) {
        kt_rng r = {11};
        struct problem p = make(&r, cases[i]);
        int64_t n = p.T * p.H * p.DV;
        for (int l = 0; kt_level(l); l++)
            for (kl_mla_form form = KL_MLA_AUTO; form <= KL_MLA_EXPANDED; form++) {
                float *whole = kt_floats(n), *alone = kt_floats(n), *lse = kt_floats(p.T * p.H);
                run(kt_backend(kt_level(l), 2), &p, form, whole, lse);
                for (int64_t s = 0; s < p.n_seq; s++)
                    run_part(kt_backend(kt_level(l), 3), &p, s, 0, p.cu_q[s + 1] - p.cu_q[s], p.cu_k[s + 1] - p.cu_k[s],
                             form, alone);
                kt_assert_same_bits(kt_level(l), alone, whole, (size_t)n * sizeof *whole);
            }
        kt_free_all();
    }
}

/* A prefill in pieces over a growing cache: the bits of the whole while the form is the same, close otherwise. */
static void pieces_of_a_prefill(void **state)
{
    (void)state;
    static const int64_t cu[] = {0, 200}, cuts[] = {0, 1, 2, 64, 130, 199, 200};
    kt_rng r = {13};
    struct problem p =
        make(&r, (struct problem){
                     .H = 2, .DN = 16, .DR = 8, .R = 24, .DV = 12, .n_seq = 1, .cu_q = cu, .cu_k = cu, .causal = true});
    int64_t n = p.T * p.H * p.DV;
    for (int l = 0; kt_level(l); l++)
        for (kl_mla_form form = KL_MLA_AUTO; form <= KL_MLA_EXPANDED; form++) {
            float *whole = kt_floats(n), *pieces = kt_floats(n), *lse = kt_floats(p.T * p.H);
            run(kt_backend(kt_level(l), 1), &p, form, whole, lse);
            for (int i = 0; cuts[i] < p.T; i++)
                run_part(kt_backend(kt_level(l), 1 + i % 3), &p, 0, cuts[i], cuts[i + 1], cuts[i + 1], form, pieces);
            if (form == KL_MLA_AUTO)
                kt_assert_close(kt_level(l), pieces, whole, n, 2e-5);
            else
                kt_assert_same_bits(kt_level(l), pieces, whole, (size_t)n * sizeof *whole);
        }
    kt_free_all();
}

/* bf16 everywhere, the two weights interleaved in one matrix, rows of q and of the cache apart. */
static void bf16_and_pitches(void **state)
{
    (void)state;
    kt_rng r = {17};
    struct problem p = make(&r, cases[2]);
    int64_t n = p.T * p.H * p.DV, n_k = p.DN + p.DR, row = p.R + p.DR, both = (p.DN + p.DV) * p.R, gap = 3;
    uint16_t *q16 = kt_bf16_of(p.q, p.T * p.H * n_k), *cache16 = kt_bf16_of(p.cache, p.S * row);
    uint16_t *uk16 = kt_bf16_of(p.w_uk, p.H * p.DN * p.R), *uv16 = kt_bf16_of(p.w_uv, p.H * p.DV * p.R);
    uint16_t *w = kt_bytes((size_t)(p.H * both) * 2), *wide = kt_bytes((size_t)(p.S * (row + gap)) * 2);
    for (int64_t h = 0; h < p.H; h++) {
        memcpy(w + h * both, uk16 + h * p.DN * p.R, (size_t)(p.DN * p.R) * 2);
        memcpy(w + h * both + p.DN * p.R, uv16 + h * p.DV * p.R, (size_t)(p.DV * p.R) * 2);
    }
    for (int64_t s = 0; s < p.S; s++)
        memcpy(wide + s * (row + gap), cache16 + s * row, (size_t)row * 2);
    for (int l = 0; kt_level(l); l++)
        for (kl_mla_form form = KL_MLA_ABSORBED; form <= KL_MLA_EXPANDED; form++) {
            float *want = kt_floats(n), *lse = kt_floats(p.T * p.H);
            uint16_t *got = kt_bytes((size_t)n * 2);
            run(kt_backend(kt_level(l), 1), &p, form, want, lse);
            kl_mla_args a = args_of(&p, form, NULL, lse);
            a.o = kl_view3(got, KL_BF16, p.T, p.H, p.DV);
            a.q = kl_view3(q16, KL_BF16, p.T, p.H, n_k);
            a.cache = kl_view2(wide, KL_BF16, p.S, row);
            a.cache.pitch = row + gap;
            a.w_uk = kl_view3(w, KL_BF16, p.H, p.DN, p.R);
            a.w_uv = kl_view3(w + p.DN * p.R, KL_BF16, p.H, p.DV, p.R);
            a.w_uk.pitch = a.w_uv.pitch = both;
            call(kt_backend(kt_level(l), 2), a);
            kt_assert_same_bits("bf16 o", got, kt_bf16_of(want, n), (size_t)n * 2);
        }
    kt_free_all();
}

/* ----------------------------------------------------------------------------------------------------- gradients -- */

struct gradients {
    int64_t n_q, n_cache, n_uk, n_uv;
    float *q, *cache, *w_uk, *w_uv;
};

static struct gradients zero_gradients(const struct problem *p)
{
    struct gradients g = {.n_q = p->T * p->H * (p->DN + p->DR),
                          .n_cache = p->S * (p->R + p->DR),
                          .n_uk = p->H * p->DN * p->R,
                          .n_uv = p->H * p->DV * p->R};
    g.q = kt_floats(g.n_q);
    g.cache = kt_floats(g.n_cache);
    g.w_uk = kt_zeros(g.n_uk);
    g.w_uv = kt_zeros(g.n_uv);
    return g;
}

static void run_bwd(const kl_backend *be, const struct problem *p, kl_mla_form form, float *o, float *lse, float *d_o,
                    struct gradients *g)
{
    kl_mla_bwd_args b = {.fwd = args_of(p, form, o, lse),
                         .d_o = kl_view3(d_o, KL_F32, p->T, p->H, p->DV),
                         .d_q = kl_view3(g->q, KL_F32, p->T, p->H, p->DN + p->DR),
                         .d_cache = kl_view2(g->cache, KL_F32, p->S, p->R + p->DR),
                         .d_w_uk = kl_view3(g->w_uk, KL_F32, p->H, p->DN, p->R),
                         .d_w_uv = kl_view3(g->w_uv, KL_F32, p->H, p->DV, p->R)};
    b.work = kt_work(kl_mla_bwd_workspace(be, &b));
    KT_OK(kl_mla_bwd(be, &b, KT_ERR));
}

static void same_gradients(const struct gradients *a, const struct gradients *b)
{
    kt_assert_same_bits("d_q", a->q, b->q, (size_t)a->n_q * sizeof *a->q);
    kt_assert_same_bits("d_cache", a->cache, b->cache, (size_t)a->n_cache * sizeof *a->q);
    kt_assert_same_bits("d_w_uk", a->w_uk, b->w_uk, (size_t)a->n_uk * sizeof *a->q);
    kt_assert_same_bits("d_w_uv", a->w_uv, b->w_uv, (size_t)a->n_uv * sizeof *a->q);
}

static void gradients(void **state)
{
    (void)state;
    for (int i = 0; i < N_CASE; i++) {
        kt_rng r = {(uint64_t)i + 100};
        struct problem p = make(&r, cases[i]);
        int64_t n = p.T * p.H * p.DV;
        float *o = kt_floats(n), *lse = kt_floats(p.T * p.H), *d_o = kt_normals(&r, n, 1);
        struct gradients64 want = backward64(&p, d_o);
        for (int l = 0; kt_level(l); l++) {
            run(kt_backend(kt_level(l), 2), &p, i % 2 ? KL_MLA_ABSORBED : KL_MLA_EXPANDED, o, lse);
            struct gradients g = zero_gradients(&p);
            run_bwd(kt_backend(kt_level(l), 1), &p, KL_MLA_AUTO, o, lse, d_o, &g);
            kt_assert_close64("d_q", kt_level(l), g.q, want.q, g.n_q, 1e-5);
            kt_assert_close64("d_cache", kt_level(l), g.cache, want.cache, g.n_cache, 1e-5);
            kt_assert_close64("d_w_uk", kt_level(l), g.w_uk, want.w_uk, g.n_uk, 1e-5);
            kt_assert_close64("d_w_uv", kt_level(l), g.w_uv, want.w_uv, g.n_uv, 1e-5);
            for (int threads = 2; threads <= 3; threads++) {
                struct gradients again = zero_gradients(&p);
                run_bwd(kt_backend(kt_level(l), threads), &p, KL_MLA_ABSORBED, o, lse, d_o, &again);
                same_gradients(&again, &g);
            }
        }
        kt_free_all();
    }
}

struct difference_case {
    const kl_backend *be;
    struct problem p;
    float *o, *lse, *d_o;
};

static double loss(void *ctx)
{
    struct difference_case *c = ctx;
    run(c->be, &c->p, KL_MLA_AUTO, c->o, c->lse);
    return kt_dot(c->d_o, c->o, c->p.T * c->p.H * c->p.DV);
}

static void finite_differences(void **state)
{
    (void)state;
    for (int l = 0; kt_level(l); l++) {
        kt_rng r = {29};
        struct difference_case c = {.be = kt_backend(kt_level(l), 2), .p = make(&r, cases[1])};
        struct problem *p = &c.p;
        int64_t n = p->T * p->H * p->DV;
        c.o = kt_floats(n);
        c.lse = kt_floats(p->T * p->H);
        c.d_o = kt_normals(&r, n, 1);
        run(c.be, p, KL_MLA_AUTO, c.o, c.lse);
        struct gradients g = zero_gradients(p);
        run_bwd(c.be, p, KL_MLA_AUTO, c.o, c.lse, c.d_o, &g);
        kt_check_gradient("d_q", loss, &c, p->q, g.q, g.n_q, 1e-2, 5e-3, &r);
        kt_check_gradient("d_cache", loss, &c, p->cache, g.cache, g.n_cache, 1e-2, 5e-3, &r);
        kt_check_gradient("d_w_uk", loss, &c, p->w_uk, g.w_uk, g.n_uk, 1e-2, 5e-3, &r);
        kt_check_gradient("d_w_uv", loss, &c, p->w_uv, g.w_uv, g.n_uv, 1e-2, 5e-3, &r);
        kt_free_all();
    }
}

/* bf16 operands are their values; each gradient may be left out; those of weights are added. */
static void gradient_options(void **state)
{
    (void)state;
    kt_rng r = {31};
    struct problem p = make(&r, cases[1]);
    int64_t n = p.T * p.H * p.DV, n_k = p.DN + p.DR, row = p.R + p.DR, pitch = row + 3;
    float *o = kt_floats(n), *lse = kt_floats(p.T * p.H), *d_o = kt_normals(&r, n, 1);
    uint16_t *q16 = kt_bf16_of(p.q, p.T * p.H * n_k), *cache16 = kt_bf16_of(p.cache, p.S * row);
    uint16_t *uk16 = kt_bf16_of(p.w_uk, p.H * p.DN * p.R), *uv16 = kt_bf16_of(p.w_uv, p.H * p.DV * p.R);
    uint16_t *d_o16 = kt_bf16_of(d_o, n);
    for (int l = 0; kt_level(l); l++) {
        const kl_backend *be = kt_backend(kt_level(l), 2);
        run(be, &p, KL_MLA_EXPANDED, o, lse);
        struct gradients want = zero_gradients(&p), got = zero_gradients(&p);
        float *d_cache = kt_floats(p.S * pitch);
        /* Twice: what the weights get is added, the rest is assigned. */
        run_bwd(be, &p, KL_MLA_AUTO, o, lse, d_o, &want);
        run_bwd(be, &p, KL_MLA_AUTO, o, lse, d_o, &want);
        kl_mla_bwd_args b = {.fwd = args_of(&p, KL_MLA_AUTO, o, lse)};
        b.d_o = kl_view3(d_o16, KL_BF16, p.T, p.H, p.DV);
        b.fwd.q = kl_view3(q16, KL_BF16, p.T, p.H, n_k);
        b.fwd.cache = kl_view2(cache16, KL_BF16, p.S, row);
        b.fwd.w_uk = kl_view3(uk16, KL_BF16, p.H, p.DN, p.R);
        b.fwd.w_uv = kl_view3(uv16, KL_BF16, p.H, p.DV, p.R);
        kl_tensor none = {0}, cache_out = kl_view2(d_cache, KL_F32, p.S, row);
        cache_out.pitch = pitch;
        for (int i = 0; i < 10; i++) {
            b.d_q = i % 5 == 0 ? kl_view3(got.q, KL_F32, p.T, p.H, n_k) : none;
            b.d_cache = i % 5 == 1 ? cache_out : none;
            b.d_w_uk = i % 5 == 2 ? kl_view3(got.w_uk, KL_F32, p.H, p.DN, p.R) : none;
            b.d_w_uv = i % 5 == 3 ? kl_view3(got.w_uv, KL_F32, p.H, p.DV, p.R) : none;
            b.work = kt_work(kl_mla_bwd_workspace(be, &b));
            KT_OK(kl_mla_bwd(be, &b, KT_ERR));
        }
        for (int64_t s = 0; s < p.S; s++)
            memcpy(got.cache + s * row, d_cache + s * pitch, (size_t)row * sizeof *d_cache);
        same_gradients(&got, &want);
    }
    kt_free_all();
}

/* ------------------------------------------------------------------------------------------------------ refusals -- */

static void refusals(void **state)
{
    (void)state;
    kl_error err;
    kt_rng r = {37};
    const kl_backend *be = kt_backend("ref", 1);
    static const int64_t cu_q[] = {0, 2, 4}, cu_k[] = {0, 5, 9};
    struct problem p =
        make(&r, (struct problem){.H = 2, .DN = 6, .DR = 2, .R = 5, .DV = 3, .n_seq = 2, .cu_q = cu_q, .cu_k = cu_k});
    float *o = kt_zeros(4 * 2 * 3), *lse = kt_zeros(8);
    const kl_mla_args good = args_of(&p, KL_MLA_AUTO, o, lse);
    kl_mla_args a = good;
    KT_ASSERT_FAILED(kl_mla(be, NULL, &err), KL_ERR_ARGUMENT, &err, "kl_mla", "args is NULL");
    KT_ASSERT_FAILED(kl_mla(be, &a, &err), KL_ERR_WORKSPACE, &err, "workspace is 0 bytes");
    a.cache.dim[1] = 8;
    KT_ASSERT_FAILED(kl_mla(be, &a, &err), KL_ERR_SHAPE, &err, "cache is [9][8]", "[n][7]");
    a = good;
    a.w_uk.dim[1] = 9;
    KT_ASSERT_FAILED(kl_mla(be, &a, &err), KL_ERR_SHAPE, &err, "w_uk makes 9 columns", "the 8 of q");
    a = good;
    a.w_uv.dim[2] = 4;
    KT_ASSERT_FAILED(kl_mla(be, &a, &err), KL_ERR_SHAPE, &err, "w_uv is [2][3][4]", "[2][n][5]");
    a = good;
    a.w_uk.dim[0] = 1;
    KT_ASSERT_FAILED(kl_mla(be, &a, &err), KL_ERR_SHAPE, &err, "w_uk is [1][6][5]", "[2][n][n]");
    a = good;
    a.form = (kl_mla_form)7;
    KT_ASSERT_FAILED(kl_mla(be, &a, &err), KL_ERR_ARGUMENT, &err, "form is 7");
    a = good;
    a.scale = INFINITY;
    KT_ASSERT_FAILED(kl_mla(be, &a, &err), KL_ERR_ARGUMENT, &err, "scale is inf");
    a = good;
    a.o.data = p.q;
    KT_ASSERT_FAILED(kl_mla(be, &a, &err), KL_ERR_OVERLAP, &err, "o overlaps q");
    a = good;
    a.cu_k = cu_q;
    KT_ASSERT_FAILED(kl_mla(be, &a, &err), KL_ERR_ARGUMENT, &err, "cu_k[2] is 4", "0 to 9");
    int32_t table[] = {0, 3, 1, 0};
    a = good;
    a.cache = kl_view3(kt_zeros(3 * 4 * 7), KL_F32, 3, 4, 7);
    a.paging = (kl_paging){table, 2, 4, NULL};
    KT_ASSERT_FAILED(kl_mla(be, &a, &err), KL_ERR_ARGUMENT, &err, "paging.table[0][1] is 3", "0 .. 2");
    table[1] = -2;
    KT_ASSERT_FAILED(kl_mla(be, &a, &err), KL_ERR_ARGUMENT, &err, "paging.table[0][1] is -2");
    kl_mla_bwd_args b = {.fwd = a, .d_o = kl_view3(kt_zeros(4 * 2 * 3), KL_F32, 4, 2, 3)};
    KT_ASSERT_FAILED(kl_mla_bwd(be, &b, &err), KL_ERR_UNSUPPORTED, &err, "kl_mla_bwd", "paging");
    b.fwd = good;
    b.d_w_uk = kl_view3(p.w_uk, KL_F32, 2, 6, 5);
    KT_ASSERT_FAILED(kl_mla_bwd(be, &b, &err), KL_ERR_OVERLAP, &err, "d_w_uk overlaps w_uk");
    b.d_w_uk = kl_view3(kt_zeros(2 * 6 * 5), KL_BF16, 2, 6, 5);
    KT_ASSERT_FAILED(kl_mla_bwd(be, &b, &err), KL_ERR_DTYPE, &err, "d_w_uk is bf16");
    b.fwd.lse = (kl_tensor){0};
    KT_ASSERT_FAILED(kl_mla_bwd(be, &b, &err), KL_ERR_SHAPE, &err, "lse is absent");
    for (int i = 0; i < 4 * 2 * 3; i++)
        assert_true(o[i] == 0);
    kt_free_all();
}

/* What a call would need is known at once, however many tokens it claims to have; no tensor is looked at. */
static void workspace_of_any_shape(void **state)
{
    (void)state;
    int64_t n = (int64_t)1 << 38;
    char *address = (char *)((uintptr_t)1 << 20);
    for (kl_mla_form form = KL_MLA_AUTO; form <= KL_MLA_EXPANDED; form++) {
        kl_mla_args a = {.q = kl_view3(address, KL_F32, n, 1, 3), .form = form};
        a.o = kl_view3(address + ((int64_t)1 << 44), KL_F32, n, 1, 2);
        a.cache = kl_view2(address + ((int64_t)1 << 45), KL_F32, n, 5);
        a.w_uk = kl_view3(address + ((int64_t)1 << 46), KL_F32, 1, 2, 4);
        a.w_uv = a.w_uk;
        assert_true(kl_mla_workspace(kt_backend("ref", 3), &a) > 0);
        a.q.dim[0] = a.o.dim[0] = n - 100;
        assert_true(kl_mla_workspace(kt_backend("ref", 3), &a) > 0);
    }
    kt_free_all();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values),
        cmocka_unit_test(forms_agree),
        cmocka_unit_test(the_cheaper_form),
        cmocka_unit_test(pages_change_no_bit),
        cmocka_unit_test(a_batch_is_its_sequences),
        cmocka_unit_test(pieces_of_a_prefill),
        cmocka_unit_test(bf16_and_pitches),
        cmocka_unit_test(gradients),
        cmocka_unit_test(finite_differences),
        cmocka_unit_test(gradient_options),
        cmocka_unit_test(refusals),
        cmocka_unit_test(workspace_of_any_shape),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    kt_free_backends();
    return failed;
}
