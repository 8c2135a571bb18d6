/* kl_attention against float64 loops: shapes around blocks and pieces, every level, threads, pages, batches, pieces of
 * a prefill, bf16, extremes, gradients, refusals. */
#include "support/attention64.h"
#include "support/kt.h"

#include <math.h>
#include <string.h>

/* One call's shapes and inputs.  The arrays of offsets hold n_seq + 1 entries. */
struct problem {
    int64_t T, S, H, HK, DK, DV, n_seq;
    const int64_t *cu_q, *cu_k;
    bool causal;
    float *q, *k, *v; /* [T][H][DK], [S][HK][DK], [S][HK][DV] */
};

static struct problem make(kt_rng *r, struct problem p)
{
    p.T = p.cu_q[p.n_seq];
    p.S = p.cu_k[p.n_seq];
    p.q = kt_normals(r, p.T * p.H * p.DK, 1.5f);
    p.k = kt_normals(r, p.S * p.HK * p.DK, 1);
    p.v = kt_normals(r, p.S * p.HK * p.DV, 1);
    return p;
}

static kl_attention_args args_of(const struct problem *p, float *o, float *lse)
{
    return (kl_attention_args){.o = kl_view3(o, KL_F32, p->T, p->H, p->DV),
                               .lse = kl_view2(lse, KL_F32, p->T, p->H),
                               .q = kl_view3(p->q, KL_F32, p->T, p->H, p->DK),
                               .k = kl_view3(p->k, KL_F32, p->S, p->HK, p->DK),
                               .v = kl_view3(p->v, KL_F32, p->S, p->HK, p->DV),
                               .causal = p->causal,
                               .cu_q = p->cu_q,
                               .cu_k = p->cu_k,
                               .n_seq = p->n_seq};
}

static void call(const kl_backend *be, kl_attention_args a)
{
    a.work = kt_work(kl_attention_workspace(be, &a));
    KT_OK(kl_attention(be, &a, KT_ERR));
}

static void run(const kl_backend *be, const struct problem *p, float *o, float *lse)
{
    call(be, args_of(p, o, lse));
}

static struct attention64 reference_of(const struct problem *p)
{
    return (struct attention64){.H = p->H,
                                .HK = p->HK,
                                .DK = p->DK,
                                .DV = p->DV,
                                .n_seq = p->n_seq,
                                .cu_q = p->cu_q,
                                .cu_k = p->cu_k,
                                .causal = p->causal,
                                .scale = 1 / sqrt((double)p->DK),
                                .q = doubles_of(p->q, p->T * p->H * p->DK),
                                .k = doubles_of(p->k, p->S * p->HK * p->DK),
                                .v = doubles_of(p->v, p->S * p->HK * p->DV)};
}

/* ----------------------------------------------------------------------------------------------------- the cases -- */

static const int64_t ragged_q[] = {0, 13, 13, 14, 81, 84}, ragged_k[] = {0, 29, 35, 36, 103, 104};
static const int64_t one_q[] = {0, 1}, long_k[] = {0, 2500}, longer_k[] = {0, 9000 + 8192};
static const int64_t square[] = {0, 130}, few_q[] = {0, 3, 5}, mixed_k[] = {0, 1024, 1024 + 8193};
static const int64_t nothing[] = {0, 0}, empty_k[] = {0, 0};

/* Sequences without queries, without rows, with fewer rows than queries (4: 3 queries, 1 row); decoding over one, three
 * and seventeen pieces of level 0; head sizes that fill no vector. */
static const struct problem cases[] = {
    {.H = 6, .HK = 2, .DK = 37, .DV = 21, .n_seq = 5, .cu_q = ragged_q, .cu_k = ragged_k},
    {.H = 6, .HK = 2, .DK = 37, .DV = 21, .n_seq = 5, .cu_q = ragged_q, .cu_k = ragged_k, .causal = true},
    {.H = 3, .HK = 3, .DK = 64, .DV = 64, .n_seq = 1, .cu_q = square, .cu_k = square, .causal = true},
    {.H = 4, .HK = 4, .DK = 48, .DV = 80, .n_seq = 1, .cu_q = square, .cu_k = square},
    {.H = 8, .HK = 1, .DK = 40, .DV = 32, .n_seq = 1, .cu_q = one_q, .cu_k = long_k, .causal = true},
    {.H = 2, .HK = 2, .DK = 16, .DV = 8, .n_seq = 1, .cu_q = one_q, .cu_k = longer_k, .causal = true},
    {.H = 4, .HK = 2, .DK = 16, .DV = 1, .n_seq = 2, .cu_q = few_q, .cu_k = mixed_k, .causal = true},
    {.H = 1, .HK = 1, .DK = 1, .DV = 3, .n_seq = 1, .cu_q = one_q, .cu_k = one_q},
    {.H = 2, .HK = 1, .DK = 8, .DV = 8, .n_seq = 1, .cu_q = nothing, .cu_k = long_k},
    {.H = 2, .HK = 1, .DK = 8, .DV = 8, .n_seq = 1, .cu_q = one_q, .cu_k = empty_k},
};
enum { N_CASE = sizeof cases / sizeof *cases };

static void values(void **state)
{
    (void)state;
    for (int i = 0; i < N_CASE; i++) {
        kt_rng r = {(uint64_t)i};
        struct problem p = make(&r, cases[i]);
        int64_t n_o = p.T * p.H * p.DV, n_lse = p.T * p.H;
        double *o64 = doubles(n_o), *lse64 = doubles(n_lse);
        struct attention64 reference = reference_of(&p);
        attention64(&reference, o64, lse64);
        for (int l = 0; kt_level(l); l++) {
            float *o1 = kt_floats(n_o), *lse1 = kt_floats(n_lse), *o = kt_floats(n_o), *lse = kt_floats(n_lse);
            run(kt_backend(kt_level(l), 1), &p, o1, lse1);
            kt_assert_close64("o", kt_level(l), o1, o64, n_o, 2e-6);
            kt_assert_close64("lse", kt_level(l), lse1, lse64, n_lse, 2e-6);
            /* 2 and 3 threads split the longest cache not at all and at level 1, 7 threads at level 0. */
            static const int threads[] = {2, 3, 7};
            for (int j = 0; j < 3; j++) {
                run(kt_backend(kt_level(l), threads[j]), &p, o, lse);
                kt_assert_same_bits("o on more threads", o, o1, (size_t)n_o * sizeof *o);
                kt_assert_same_bits("lse on more threads", lse, lse1, (size_t)n_lse * sizeof *lse);
            }
        }
        kt_free_all();
    }
}

static void no_offsets_is_one_sequence(void **state)
{
    (void)state;
    kt_rng r = {3};
    struct problem p = make(&r, cases[4]);
    int64_t n = p.T * p.H * p.DV;
    float *want = kt_floats(n), *got = kt_floats(n), *lse = kt_floats(p.T * p.H);
    run(kt_backend("ref", 1), &p, want, lse);
    p.cu_q = p.cu_k = NULL;
    p.n_seq = 0;
    kl_attention_args a = args_of(&p, got, lse);
    a.lse = (kl_tensor){0};
    a.scale = 1 / sqrtf((float)p.DK);
    call(kt_backend("ref", 1), a);
    kt_assert_same_bits("o", got, want, (size_t)n * sizeof *got);
    kt_free_all();
}

/* Spreads rows of sequences over pages in a shuffled order; what no sequence owns is NaN. */
static void *paginate(const void *rows, size_t row_bytes, const int64_t *cu_k, int64_t n_seq, kl_paging paging,
                      int64_t n_page)
{
    char *pool = kt_bytes((size_t)(n_page * paging.page_tokens) * row_bytes);
    memset(pool, 0xff, (size_t)(n_page * paging.page_tokens) * row_bytes);
    for (int64_t n = 0; n < n_seq; n++)
        for (int64_t s = 0; s < cu_k[n + 1] - cu_k[n]; s++) {
            int64_t page = paging.table[n * paging.pages_per_seq + s / paging.page_tokens];
            memcpy(pool + (size_t)(page * paging.page_tokens + s % paging.page_tokens) * row_bytes,
                   (const char *)rows + (size_t)(cu_k[n] + s) * row_bytes, row_bytes);
        }
    return pool;
}

static void pages_change_no_bit(void **state)
{
    (void)state;
    static const int64_t page_tokens[] = {1, 16, 48, 64, 100};
    enum { N_PAGE = 128, PAGES_PER_SEQ = 80 };
    for (int i = 0; i < 10; i++) {
        kt_rng r = {7};
        struct problem p = make(&r, cases[1]);
        int64_t n = p.T * p.H * p.DV;
        bool bf16 = i >= 5;
        kl_dtype dtype = bf16 ? KL_BF16 : KL_F32;
        void *k = bf16 ? (void *)kt_bf16_of(p.k, p.S * p.HK * p.DK) : p.k;
        void *v = bf16 ? (void *)kt_bf16_of(p.v, p.S * p.HK * p.DV) : p.v;
        int32_t table[5 * PAGES_PER_SEQ];
        /* Only pages in use have to be valid: the rest of the table is never looked at. */
        for (int j = 0; j < 5 * PAGES_PER_SEQ; j++)
            table[j] = -1;
        kl_paging paging = {table, PAGES_PER_SEQ, page_tokens[i % 5], NULL};
        int32_t next = 0;
        for (int64_t s = 0; s < p.n_seq; s++)
            for (int64_t j = 0; j * paging.page_tokens < p.cu_k[s + 1] - p.cu_k[s]; j++)
                table[s * PAGES_PER_SEQ + j] = next++ * 37 % N_PAGE;
        float *want = kt_floats(n), *got = kt_floats(n), *lse = kt_floats(p.T * p.H);
        for (int l = 0; kt_level(l); l++) {
            run(kt_backend(kt_level(l), 1), &p, want, lse);
            kl_attention_args a = args_of(&p, got, lse);
            size_t bytes = kl_dtype_bytes(dtype) * (size_t)p.HK;
            a.k = kl_view4(paginate(k, bytes * (size_t)p.DK, p.cu_k, p.n_seq, paging, N_PAGE), dtype, N_PAGE,
                           paging.page_tokens, p.HK, p.DK);
            a.v = kl_view4(paginate(v, bytes * (size_t)p.DV, p.cu_k, p.n_seq, paging, N_PAGE), dtype, N_PAGE,
                           paging.page_tokens, p.HK, p.DV);
            a.paging = paging;
            call(kt_backend(kt_level(l), 2), a);
            kt_assert_same_bits("o over pages", got, want, (size_t)n * sizeof *got);
        }
        kt_free_all();
    }
}

static void a_batch_is_its_sequences(void **state)
{
    (void)state;
    kt_rng r = {11};
    struct problem p = make(&r, cases[1]);
    int64_t n = p.T * p.H * p.DV, n_lse = p.T * p.H;
    for (int l = 0; kt_level(l); l++) {
        float *whole = kt_floats(n), *lse = kt_floats(n_lse), *alone = kt_floats(n), *lse_alone = kt_floats(n_lse);
        run(kt_backend(kt_level(l), 2), &p, whole, lse);
        for (int64_t s = 0; s < p.n_seq; s++) {
            struct problem one = p;
            int64_t cu_q[] = {0, p.cu_q[s + 1] - p.cu_q[s]}, cu_k[] = {0, p.cu_k[s + 1] - p.cu_k[s]};
            one.cu_q = cu_q;
            one.cu_k = cu_k;
            one.n_seq = 1;
            one.T = cu_q[1];
            one.S = cu_k[1];
            one.q += p.cu_q[s] * p.H * p.DK;
            one.k += p.cu_k[s] * p.HK * p.DK;
            one.v += p.cu_k[s] * p.HK * p.DV;
            run(kt_backend(kt_level(l), 3), &one, alone + p.cu_q[s] * p.H * p.DV, lse_alone + p.cu_q[s] * p.H);
        }
        kt_assert_same_bits("o", alone, whole, (size_t)n * sizeof *whole);
        kt_assert_same_bits("lse", lse_alone, lse, (size_t)n_lse * sizeof *lse);
    }
    kt_free_all();
}

/* A prefill in pieces over a growing cache, down to single tokens, gives the bits of the whole. */
static void pieces_of_a_prefill(void **state)
{
    (void)state;
    enum { T = 1100, H = 2, D = 24 };
    static const int64_t whole_cu[] = {0, T}, cuts[] = {0, 1, 2, 64, 100, 1023, 1024, 1025, 1099, T};
    kt_rng r = {13};
    struct problem p = make(
        &r, (struct problem){
                .H = H, .HK = 1, .DK = D, .DV = D, .n_seq = 1, .cu_q = whole_cu, .cu_k = whole_cu, .causal = true});
    for (int l = 0; kt_level(l); l++) {
        float *whole = kt_floats(T * H * D), *got = kt_floats(T * H * D), *lse = kt_floats(T * H);
        run(kt_backend(kt_level(l), 1), &p, whole, lse);
        for (int i = 0; cuts[i] < T; i++) {
            struct problem part = p;
            int64_t cu_q[] = {0, cuts[i + 1] - cuts[i]}, cu_k[] = {0, cuts[i + 1]};
            part.cu_q = cu_q;
            part.cu_k = cu_k;
            part.T = cu_q[1];
            part.S = cu_k[1];
            part.q += cuts[i] * H * D;
            run(kt_backend(kt_level(l), 1 + i % 3), &part, got + cuts[i] * H * D, lse);
        }
        kt_assert_same_bits(kt_level(l), got, whole, T * H * D * sizeof *got);
    }
    kt_free_all();
}

/* Values that are the first columns of their keys, as in absorbed MLA: one memory, one pitch. */
static void values_inside_keys(void **state)
{
    (void)state;
    kt_rng r = {17};
    struct problem p = cases[4];
    p.DV = 32;
    p = make(&r, p);
    for (int64_t s = 0; s < p.S; s++)
        memcpy(p.v + s * p.DV, p.k + s * p.DK, (size_t)p.DV * sizeof *p.v);
    int64_t n = p.T * p.H * p.DV;
    for (int l = 0; kt_level(l); l++) {
        float *want = kt_floats(n), *got = kt_floats(n), *lse = kt_floats(p.T * p.H);
        run(kt_backend(kt_level(l), 1), &p, want, lse);
        kl_attention_args a = args_of(&p, got, lse);
        a.v = kl_view3(p.k, KL_F32, p.S, 1, p.DV);
        a.v.pitch = p.DK;
        call(kt_backend(kt_level(l), 2), a);
        kt_assert_same_bits("o", got, want, (size_t)n * sizeof *got);
    }
    kt_free_all();
}

/* bf16 operands are their f32 values, a bf16 output is the f32 one rounded; rows may lie apart. */
static void bf16_and_pitches(void **state)
{
    (void)state;
    kt_rng r = {19};
    struct problem p = make(&r, cases[1]);
    int64_t n = p.T * p.H * p.DV, n_q = p.H * p.DK, pitch = n_q + 5;
    uint16_t *q16 = kt_bf16_of(p.q, p.T * n_q), *k16 = kt_bf16_of(p.k, p.S * p.HK * p.DK);
    uint16_t *v16 = kt_bf16_of(p.v, p.S * p.HK * p.DV), *wide = kt_bytes((size_t)(p.T * pitch) * 2);
    for (int64_t t = 0; t < p.T; t++)
        memcpy(wide + t * pitch, q16 + t * n_q, (size_t)n_q * 2);
    for (int l = 0; kt_level(l); l++) {
        float *want = kt_floats(n), *lse = kt_floats(p.T * p.H), *lse16 = kt_floats(p.T * p.H * 2);
        uint16_t *got = kt_bytes((size_t)n * 2);
        run(kt_backend(kt_level(l), 1), &p, want, lse);
        kl_attention_args a = args_of(&p, NULL, lse16);
        a.o = kl_view3(got, KL_BF16, p.T, p.H, p.DV);
        a.q = kl_view3(wide, KL_BF16, p.T, p.H, p.DK);
        a.q.pitch = pitch;
        a.k = kl_view3(k16, KL_BF16, p.S, p.HK, p.DK);
        a.v = kl_view3(v16, KL_BF16, p.S, p.HK, p.DV);
        a.lse.pitch = 2 * p.H;
        call(kt_backend(kt_level(l), 2), a);
        uint16_t *rounded = kt_bf16_of(want, n);
        kt_assert_same_bits("bf16 o", got, rounded, (size_t)n * 2);
        for (int64_t t = 0; t < p.T; t++)
            kt_assert_same_bits("lse", lse16 + t * 2 * p.H, lse + t * p.H, (size_t)p.H * sizeof *lse);
    }
    kt_free_all();
}

/* Scores of 1e4 and beyond the range of exp; NaN goes to those who see it and to nobody else. */
static void extremes(void **state)
{
    (void)state;
    kt_rng r = {23};
    struct problem p = make(&r, cases[2]);
    int64_t n_row = p.H * p.DV, n = p.T * n_row, row = p.H * p.DK;
    for (int l = 0; kt_level(l); l++) {
        float *o = kt_floats(n), *lse = kt_floats(p.T * p.H), *nan = kt_floats(n);
        struct problem hot = p;
        hot.q = kt_copy(p.q, p.T * row);
        for (int64_t i = 0; i < p.T * row; i++)
            hot.q[i] *= 1e3f;
        double *o64 = doubles(n), *lse64 = doubles(p.T * p.H), largest = 0;
        struct attention64 reference = reference_of(&hot);
        attention64(&reference, o64, lse64);
        for (int64_t i = 0; i < p.T * p.H; i++)
            largest = fmax(largest, lse64[i]);
        assert_true(largest > 5e3);
        run(kt_backend(kt_level(l), 2), &hot, o, lse);
        kt_assert_close64("o of large scores", kt_level(l), o, o64, n, 2e-3);
        kt_assert_close64("lse of large scores", kt_level(l), lse, lse64, p.T * p.H, 1e-6);
        run(kt_backend(kt_level(l), 1), &p, o, lse);
        struct problem ill = p;
        int64_t bad = 70;
        for (int which = 0; which < 2; which++) {
            ill.k = kt_copy(p.k, p.S * row);
            ill.v = kt_copy(p.v, p.S * n_row);
            for (int64_t d = 0; d < n_row; d++)
                (which ? ill.v : ill.k)[bad * n_row + d] = NAN;
            run(kt_backend(kt_level(l), 2), &ill, nan, lse);
            kt_assert_same_bits("before the NaN", nan, o, (size_t)(bad * n_row) * sizeof *o);
            for (int64_t i = bad * n_row; i < n; i++)
                assert_true(isnan(nan[i]));
        }
    }
    kt_free_all();
}

/* ----------------------------------------------------------------------------------------------------- gradients -- */

struct backward {
    float *d_q, *d_k, *d_v;
};

static struct backward run_bwd(const kl_backend *be, const struct problem *p, const float *o, const float *lse,
                               const float *d_o)
{
    struct backward g = {kt_floats(p->T * p->H * p->DK), kt_floats(p->S * p->HK * p->DK),
                         kt_floats(p->S * p->HK * p->DV)};
    kl_attention_bwd_args b = {.fwd = args_of(p, (float *)(uintptr_t)o, (float *)(uintptr_t)lse),
                               .d_o = kl_view3((float *)(uintptr_t)d_o, KL_F32, p->T, p->H, p->DV),
                               .d_q = kl_view3(g.d_q, KL_F32, p->T, p->H, p->DK),
                               .d_k = kl_view3(g.d_k, KL_F32, p->S, p->HK, p->DK),
                               .d_v = kl_view3(g.d_v, KL_F32, p->S, p->HK, p->DV)};
    b.work = kt_work(kl_attention_bwd_workspace(be, &b));
    KT_OK(kl_attention_bwd(be, &b, KT_ERR));
    return g;
}

static void gradients(void **state)
{
    (void)state;
    for (int i = 0; i < N_CASE; i++) {
        kt_rng r = {(uint64_t)i + 100};
        struct problem p = make(&r, cases[i]);
        int64_t n = p.T * p.H * p.DV, n_q = p.T * p.H * p.DK, n_k = p.S * p.HK * p.DK, n_v = p.S * p.HK * p.DV;
        float *o = kt_floats(n), *lse = kt_floats(p.T * p.H), *d_o = kt_normals(&r, n, 1);
        struct attention64 reference = reference_of(&p);
        double *want_q = doubles(n_q), *want_k = doubles(n_k), *want_v = doubles(n_v);
        attention64_bwd(&reference, doubles_of(d_o, n), want_q, want_k, want_v);
        for (int l = 0; kt_level(l); l++) {
            run(kt_backend(kt_level(l), 2), &p, o, lse);
            struct backward g = run_bwd(kt_backend(kt_level(l), 1), &p, o, lse, d_o);
            kt_assert_close64("d_q", kt_level(l), g.d_q, want_q, n_q, 1e-5);
            kt_assert_close64("d_k", kt_level(l), g.d_k, want_k, n_k, 1e-5);
            kt_assert_close64("d_v", kt_level(l), g.d_v, want_v, n_v, 1e-5);
            for (int threads = 2; threads <= 3; threads++) {
                struct backward again = run_bwd(kt_backend(kt_level(l), threads), &p, o, lse, d_o);
                kt_assert_same_bits("d_q on more threads", again.d_q, g.d_q, (size_t)n_q * sizeof *g.d_q);
                kt_assert_same_bits("d_k on more threads", again.d_k, g.d_k, (size_t)n_k * sizeof *g.d_k);
                kt_assert_same_bits("d_v on more threads", again.d_v, g.d_v, (size_t)n_v * sizeof *g.d_v);
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
    run(c->be, &c->p, c->o, c->lse);
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
        run(c.be, p, c.o, c.lse);
        struct backward g = run_bwd(c.be, p, c.o, c.lse, c.d_o);
        kt_check_gradient("d_q", loss, &c, p->q, g.d_q, p->T * p->H * p->DK, 1e-2, 5e-3, &r);
        kt_check_gradient("d_k", loss, &c, p->k, g.d_k, p->S * p->HK * p->DK, 1e-2, 5e-3, &r);
        kt_check_gradient("d_v", loss, &c, p->v, g.d_v, p->S * p->HK * p->DV, 1e-2, 5e-3, &r);
        kt_free_all();
    }
}

/* bf16 inputs are their values; each gradient may be left out; a pitch separates rows of d_k. */
static void gradient_options(void **state)
{
    (void)state;
    kt_rng r = {31};
    struct problem p = make(&r, cases[1]);
    int64_t n = p.T * p.H * p.DV, n_q = p.T * p.H * p.DK, n_k = p.S * p.HK * p.DK, n_v = p.S * p.HK * p.DV;
    float *o = kt_floats(n), *lse = kt_floats(p.T * p.H), *d_o = kt_normals(&r, n, 1);
    uint16_t *q16 = kt_bf16_of(p.q, n_q), *k16 = kt_bf16_of(p.k, n_k), *v16 = kt_bf16_of(p.v, n_v);
    uint16_t *d_o16 = kt_bf16_of(d_o, n);
    for (int l = 0; kt_level(l); l++) {
        const kl_backend *be = kt_backend(kt_level(l), 2);
        run(be, &p, o, lse);
        struct backward g = run_bwd(be, &p, o, lse, d_o);
        int64_t row = p.HK * p.DK;
        float *d_q = kt_floats(n_q), *d_k = kt_floats(p.S * (row + 3)), *d_v = kt_floats(n_v);
        kl_attention_bwd_args b = {.fwd = args_of(&p, o, lse), .d_o = kl_view3(d_o16, KL_BF16, p.T, p.H, p.DV)};
        b.fwd.q = kl_view3(q16, KL_BF16, p.T, p.H, p.DK);
        b.fwd.k = kl_view3(k16, KL_BF16, p.S, p.HK, p.DK);
        b.fwd.v = kl_view3(v16, KL_BF16, p.S, p.HK, p.DV);
        kl_tensor out[] = {kl_view3(d_q, KL_F32, p.T, p.H, p.DK), kl_view3(d_k, KL_F32, p.S, p.HK, p.DK),
                           kl_view3(d_v, KL_F32, p.S, p.HK, p.DV)};
        out[1].pitch = row + 3;
        for (int i = 0; i < 4; i++) {
            b.d_q = i == 0 ? out[0] : (kl_tensor){0};
            b.d_k = i == 1 ? out[1] : (kl_tensor){0};
            b.d_v = i == 2 ? out[2] : (kl_tensor){0};
            b.work = kt_work(kl_attention_bwd_workspace(be, &b));
            KT_OK(kl_attention_bwd(be, &b, KT_ERR));
        }
        kt_assert_same_bits("d_q", d_q, g.d_q, (size_t)n_q * sizeof *d_q);
        for (int64_t s = 0; s < p.S; s++)
            kt_assert_same_bits("d_k", d_k + s * (row + 3), g.d_k + s * row, (size_t)row * sizeof *d_k);
        kt_assert_same_bits("d_v", d_v, g.d_v, (size_t)n_v * sizeof *d_v);
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
    static const int64_t cu_q[] = {0, 2, 4}, cu_k[] = {0, 5, 9}, down[] = {0, 10, 9};
    struct problem p =
        make(&r, (struct problem){.H = 4, .HK = 2, .DK = 8, .DV = 6, .n_seq = 2, .cu_q = cu_q, .cu_k = cu_k});
    float *o = kt_zeros(4 * 4 * 6), *lse = kt_zeros(16);
    const kl_attention_args good = args_of(&p, o, lse);
    kl_attention_args a = good;
    KT_ASSERT_FAILED(kl_attention(NULL, &a, &err), KL_ERR_ARGUMENT, &err, "kl_attention", "backend");
    KT_ASSERT_FAILED(kl_attention(be, &a, &err), KL_ERR_WORKSPACE, &err, "workspace is 0 bytes");
    a.k.dim[2] = 9;
    KT_ASSERT_FAILED(kl_attention(be, &a, &err), KL_ERR_SHAPE, &err, "k is [9][2][9]", "expected [n][n][8]");
    a = good;
    a.k.dim[1] = a.v.dim[1] = 3;
    a.k.dim[0] = a.v.dim[0] = 6;
    KT_ASSERT_FAILED(kl_attention(be, &a, &err), KL_ERR_SHAPE, &err, "k has 3 heads", "divisor of the 4");
    a = good;
    a.k.dim[1] = a.v.dim[1] = 0;
    KT_ASSERT_FAILED(kl_attention(be, &a, &err), KL_ERR_SHAPE, &err, "k has 0 heads");
    a = good;
    a.v.dtype = KL_BF16;
    KT_ASSERT_FAILED(kl_attention(be, &a, &err), KL_ERR_DTYPE, &err, "v is bf16, expected f32");
    a = good;
    a.q.dim[2] = a.k.dim[2] = 0;
    KT_ASSERT_FAILED(kl_attention(be, &a, &err), KL_ERR_SHAPE, &err, "0 columns of q");
    a = good;
    a.q.dim[0] = 0;
    a.q.dim[2] = a.k.dim[2] = (int64_t)1 << 40;
    a.k.dim[0] = 0;
    assert_true(kl_attention_workspace(be, &a) == 0);
    KT_ASSERT_FAILED(kl_attention(be, &a, &err), KL_ERR_SHAPE, &err, "columns of q", "1048576");
    a = good;
    a.o.dim[2] = 5;
    KT_ASSERT_FAILED(kl_attention(be, &a, &err), KL_ERR_SHAPE, &err, "o is [4][4][5]", "[4][4][6]");
    a = good;
    a.lse.data = o;
    KT_ASSERT_FAILED(kl_attention(be, &a, &err), KL_ERR_OVERLAP, &err, "o overlaps lse");
    a = good;
    a.scale = NAN;
    KT_ASSERT_FAILED(kl_attention(be, &a, &err), KL_ERR_ARGUMENT, &err, "scale is nan");
    a = good;
    a.cu_k = down;
    KT_ASSERT_FAILED(kl_attention(be, &a, &err), KL_ERR_ARGUMENT, &err, "cu_k[1] is 10");
    a = good;
    a.cu_k = NULL;
    KT_ASSERT_FAILED(kl_attention(be, &a, &err), KL_ERR_SHAPE, &err, "k has 9 rows without cu_k", "4");
    a = good;
    a.cu_q = NULL;
    a.n_seq = 0;
    KT_ASSERT_FAILED(kl_attention(be, &a, &err), KL_ERR_ARGUMENT, &err, "cu_k is given without cu_q");
    a = good;
    a.n_seq = -1;
    KT_ASSERT_FAILED(kl_attention(be, &a, &err), KL_ERR_ARGUMENT, &err, "n_seq is -1");
    kt_free_all();
}

static void refused_pages(void **state)
{
    (void)state;
    kl_error err;
    kt_rng r = {41};
    const kl_backend *be = kt_backend("ref", 1);
    static const int64_t cu_q[] = {0, 2, 4}, cu_k[] = {0, 5, 9};
    struct problem p =
        make(&r, (struct problem){.H = 4, .HK = 2, .DK = 8, .DV = 6, .n_seq = 2, .cu_q = cu_q, .cu_k = cu_k});
    float *o = kt_zeros(4 * 4 * 6), *lse = kt_zeros(16);
    int32_t table[] = {0, 1, 7, 2, 0, -3};
    kl_attention_args a = args_of(&p, o, lse);
    a.k = kl_view4(kt_zeros(3 * 4 * 2 * 8), KL_F32, 3, 4, 2, 8);
    a.v = kl_view4(kt_zeros(3 * 4 * 2 * 6), KL_F32, 3, 4, 2, 6);
    a.paging = (kl_paging){table, 3, 4, NULL};
    call(be, a); /* two pages for 5 rows and one for 4: the entries 7, 0 and -3 are not in use */
    const kl_attention_args good = a;
    float *kept = kt_copy(o, 4 * 4 * 6);
    table[1] = 3;
    KT_ASSERT_FAILED(kl_attention(be, &a, &err), KL_ERR_ARGUMENT, &err, "paging.table[0][1] is 3", "0 .. 2");
    table[1] = 1;
    table[3] = -1;
    KT_ASSERT_FAILED(kl_attention(be, &a, &err), KL_ERR_ARGUMENT, &err, "paging.table[1][0] is -1", "0 .. 2");
    table[3] = 2;
    a.paging.pages_per_seq = 1;
    KT_ASSERT_FAILED(kl_attention(be, &a, &err), KL_ERR_ARGUMENT, &err, "pages_per_seq is 1", "at least 2");
    a.paging.pages_per_seq = INT64_MAX;
    KT_ASSERT_FAILED(kl_attention(be, &a, &err), KL_ERR_ARGUMENT, &err, "pages_per_seq is 9223372036854775807");
    a = good;
    a.paging.page_tokens = 5;
    KT_ASSERT_FAILED(kl_attention(be, &a, &err), KL_ERR_ARGUMENT, &err, "page_tokens is 5", "the 4 rows");
    a = good;
    a.k = kl_view3(p.k, KL_F32, 9, 2, 8);
    KT_ASSERT_FAILED(kl_attention(be, &a, &err), KL_ERR_SHAPE, &err, "k is [9][2][8]", "[n][n][n][8]");
    kl_attention_bwd_args b = {.fwd = good, .d_o = kl_view3(kt_zeros(4 * 4 * 6), KL_F32, 4, 4, 6)};
    KT_ASSERT_FAILED(kl_attention_bwd(be, &b, &err), KL_ERR_UNSUPPORTED, &err, "kl_attention_bwd", "paging");
    b.fwd = args_of(&p, o, lse);
    b.d_q = kl_view3(p.q, KL_F32, 4, 4, 8);
    KT_ASSERT_FAILED(kl_attention_bwd(be, &b, &err), KL_ERR_OVERLAP, &err, "d_q overlaps q");
    b.fwd.lse = (kl_tensor){0};
    KT_ASSERT_FAILED(kl_attention_bwd(be, &b, &err), KL_ERR_SHAPE, &err, "lse is absent");
    kt_assert_same_bits("o after refusals", o, kept, 4 * 4 * 6 * sizeof *o);
    kt_free_all();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values),
        cmocka_unit_test(no_offsets_is_one_sequence),
        cmocka_unit_test(pages_change_no_bit),
        cmocka_unit_test(a_batch_is_its_sequences),
        cmocka_unit_test(pieces_of_a_prefill),
        cmocka_unit_test(values_inside_keys),
        cmocka_unit_test(bf16_and_pitches),
        cmocka_unit_test(extremes),
        cmocka_unit_test(gradients),
        cmocka_unit_test(finite_differences),
        cmocka_unit_test(gradient_options),
        cmocka_unit_test(refusals),
        cmocka_unit_test(refused_pages),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    kt_free_backends();
    return failed;
}
