/* kl_mla in both forms against expanded float64 loops: every level, threads, windows and slabs, pages, batches, pieces
 * of a prefill, the choice of the form, bf16. */
#include "support/mla_case.h"

#include <math.h>
#include <string.h>

static void check_threads(const char *level, const struct mla_problem *p, kl_mla_form form, const float *o1,
                          const float *lse1)
{
    static const int threads[] = {2, 3, 7};
    int64_t n = p->T * p->H * p->DV;
    float *o = kt_floats(n), *lse = kt_floats(p->T * p->H);
    for (int j = 0; j < 3; j++) {
        mla_run(kt_backend(level, threads[j]), p, form, o, lse);
        kt_assert_same_bits("o on more threads", o, o1, (size_t)n * sizeof *o);
        kt_assert_same_bits("lse on more threads", lse, lse1, (size_t)(p->T * p->H) * sizeof *lse);
    }
}

static void values(void **state)
{
    (void)state;
    for (int i = 0; i < mla_n_case; i++) {
        kt_rng r = {(uint64_t)i};
        struct mla_problem p = mla_make(&r, mla_case[i]);
        int64_t n = p.T * p.H * p.DV;
        double *o64 = doubles(n), *lse64 = doubles(p.T * p.H);
        struct attention64 reference = mla_expand64(&p);
        attention64(&reference, o64, lse64);
        for (int l = 0; kt_level(l); l++)
            for (kl_mla_form form = KL_MLA_AUTO; form <= KL_MLA_EXPANDED; form++) {
                float *o = kt_floats(n), *lse = kt_floats(p.T * p.H);
                mla_run(kt_backend(kt_level(l), 1), &p, form, o, lse);
                kt_assert_close64("o", kt_level(l), o, o64, n, 3e-6);
                kt_assert_close64("lse", kt_level(l), lse, lse64, p.T * p.H, 2e-6);
                if (form != KL_MLA_AUTO)
                    check_threads(kt_level(l), &p, form, o, lse);
            }
        kt_free_all();
    }
}

/* The released model's geometry, but for the number of heads. */
static const struct mla_problem released = {
    .H = 3, .DN = 128, .DR = 64, .R = 512, .DV = 128, .n_seq = 1, .causal = true};

static void forms_agree(void **state)
{
    (void)state;
    static const int64_t q[] = {0, 9}, k[] = {0, 333};
    kt_rng r = {3};
    struct mla_problem p = released;
    p.cu_q = q;
    p.cu_k = k;
    p = mla_make(&r, p);
    int64_t n = p.T * p.H * p.DV;
    for (int l = 0; kt_level(l); l++) {
        float *absorbed = kt_floats(n), *expanded = kt_floats(n), *lse = kt_floats(p.T * p.H);
        mla_run(kt_backend(kt_level(l), 2), &p, KL_MLA_ABSORBED, absorbed, lse);
        mla_run(kt_backend(kt_level(l), 2), &p, KL_MLA_EXPANDED, expanded, lse);
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
    struct mla_problem p = released;
    p.H = 1;
    p.n_seq = 2;
    p.cu_q = q;
    p.cu_k = k;
    p = mla_make(&r, p);
    int64_t n = p.T * p.DV, first = p.DV;
    float *o = kt_floats(n), *absorbed = kt_floats(n), *expanded = kt_floats(n), *lse = kt_floats(p.T);
    const kl_backend *be = kt_backend(kt_level(kt_level(1) ? 1 : 0), 2);
    mla_run(be, &p, KL_MLA_AUTO, o, lse);
    mla_run(be, &p, KL_MLA_ABSORBED, absorbed, lse);
    mla_run(be, &p, KL_MLA_EXPANDED, expanded, lse);
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
    struct mla_problem p = mla_make(&r, mla_case[1]);
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
                mla_run(kt_backend(kt_level(l), 1), &p, form, want, lse);
                kl_mla_args a = mla_args(&p, form, got, lse);
                a.cache = bf16 ? kl_view3(pool16, KL_BF16, N_PAGE, PAGE_TOKENS, row)
                               : kl_view3(pool, KL_F32, N_PAGE, PAGE_TOKENS, row);
                a.paging = (kl_paging){table, PAGES_PER_SEQ, PAGE_TOKENS, NULL};
                mla_call(kt_backend(kt_level(l), 2), a);
                kt_assert_same_bits("o over pages", got, want, (size_t)n * sizeof *got);
            }
    }
    kt_free_all();
}

/* The queries first .. end - 1 of sequence `s`, over the first `n_key` rows of its cache. */
static void run_part(const kl_backend *be, const struct mla_problem *p, int64_t s, int64_t first, int64_t end,
                     int64_t n_key, kl_mla_form form, float *o)
{
    struct mla_problem part = *p;
    int64_t cu_q[] = {0, end - first}, cu_k[] = {0, n_key}, at = p->cu_q[s] + first;
    part.cu_q = cu_q;
    part.cu_k = cu_k;
    part.n_seq = 1;
    part.T = cu_q[1];
    part.S = n_key;
    part.q += at * p->H * (p->DN + p->DR);
    part.cache += p->cu_k[s] * (p->R + p->DR);
    kl_mla_args a = mla_args(&part, form, o + at * p->H * p->DV, NULL);
    a.lse = (kl_tensor){0};
    mla_call(be, a);
}

static void a_batch_is_its_sequences(void **state)
{
    (void)state;
    for (int i = 1; i <= 2; i++) {
        kt_rng r = {11};
        struct mla_problem p = mla_make(&r, mla_case[i]);
        int64_t n = p.T * p.H * p.DV;
        for (int l = 0; kt_level(l); l++)
            for (kl_mla_form form = KL_MLA_AUTO; form <= KL_MLA_EXPANDED; form++) {
                float *whole = kt_floats(n), *alone = kt_floats(n), *lse = kt_floats(p.T * p.H);
                mla_run(kt_backend(kt_level(l), 2), &p, form, whole, lse);
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
    struct mla_problem p =
        mla_make(&r, (struct mla_problem){
                     .H = 2, .DN = 16, .DR = 8, .R = 24, .DV = 12, .n_seq = 1, .cu_q = cu, .cu_k = cu, .causal = true});
    int64_t n = p.T * p.H * p.DV;
    for (int l = 0; kt_level(l); l++)
        for (kl_mla_form form = KL_MLA_AUTO; form <= KL_MLA_EXPANDED; form++) {
            float *whole = kt_floats(n), *pieces = kt_floats(n), *lse = kt_floats(p.T * p.H);
            mla_run(kt_backend(kt_level(l), 1), &p, form, whole, lse);
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
    struct mla_problem p = mla_make(&r, mla_case[2]);
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
            mla_run(kt_backend(kt_level(l), 1), &p, form, want, lse);
            kl_mla_args a = mla_args(&p, form, NULL, lse);
            a.o = kl_view3(got, KL_BF16, p.T, p.H, p.DV);
            a.q = kl_view3(q16, KL_BF16, p.T, p.H, n_k);
            a.cache = kl_view2(wide, KL_BF16, p.S, row);
            a.cache.pitch = row + gap;
            a.w_uk = kl_view3(w, KL_BF16, p.H, p.DN, p.R);
            a.w_uv = kl_view3(w + p.DN * p.R, KL_BF16, p.H, p.DV, p.R);
            a.w_uk.pitch = a.w_uv.pitch = both;
            mla_call(kt_backend(kt_level(l), 2), a);
            kt_assert_same_bits("bf16 o", got, kt_bf16_of(want, n), (size_t)n * 2);
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
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    kt_free_backends();
    return failed;
}
