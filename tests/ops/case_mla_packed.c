/* kl_mla with packed weights: close to the same call in f32, the same bits for any number of threads, in pages that lie
 * anywhere, for sequences alone or together and for a prompt in pieces; what is not finite stays where it is seen. */
#include "support/kt.h"

#include <math.h>
#include <string.h>

enum { PAGE = 64, MOST_SEQ = 4 };

struct problem {
    int64_t H, DN, DR, R, DV, n_seq;
    int64_t cu_q[MOST_SEQ + 1], cu_k[MOST_SEQ + 1];
    float *q, *cache, *w_uk, *w_uv; /* [T][H][DN + DR], [S][R + DR], [H][DN][R], [H][DV][R] */
};

static const struct problem problems[] = {
    {.H = 3, .DN = 128, .DR = 64, .R = 512, .DV = 128, .n_seq = 1, .cu_q = {0, 1}, .cu_k = {0, 1500}},
    {.H = 2, .DN = 128, .DR = 64, .R = 512, .DV = 128, .n_seq = 2, .cu_q = {0, 70, 72}, .cu_k = {0, 300, 400}},
    {.H = 3, .DN = 13, .DR = 5, .R = 37, .DV = 11, .n_seq = 4, .cu_q = {0, 13, 13, 14, 81},
     .cu_k = {0, 29, 35, 36, 103}},
    {.H = 1, .DN = 4, .DR = 2, .R = 8, .DV = 3, .n_seq = 1, .cu_q = {0, 70}, .cu_k = {0, 2 * 8192 + 50}},
    {.H = 2, .DN = 0, .DR = 8, .R = 16, .DV = 8, .n_seq = 1, .cu_q = {0, 2}, .cu_k = {0, 300}},
};
enum { N_PROBLEM = sizeof problems / sizeof *problems };

static struct problem make(int i)
{
    struct problem p = problems[i];
    kt_rng r = {(uint64_t)i + 1};
    p.q = kt_normals(&r, p.cu_q[p.n_seq] * p.H * (p.DN + p.DR), 1.5F);
    p.cache = kt_normals(&r, p.cu_k[p.n_seq] * (p.R + p.DR), 1);
    p.w_uk = kt_normals(&r, p.H * p.DN * p.R, 1 / sqrtf((float)p.R));
    p.w_uv = kt_normals(&r, p.H * p.DV * p.R, 1 / sqrtf((float)p.R));
    return p;
}

static int64_t n_out(const struct problem *p)
{
    return p->cu_q[p->n_seq] * p->H * p->DV;
}

static kl_mla_args args_of(const struct problem *p, kl_mla_form form)
{
    int64_t T = p->cu_q[p->n_seq];
    return (kl_mla_args){.o = kl_view3(kt_floats(n_out(p)), KL_F32, T, p->H, p->DV),
                         .q = kl_view3(p->q, KL_F32, T, p->H, p->DN + p->DR),
                         .cache = kl_view2(p->cache, KL_F32, p->cu_k[p->n_seq], p->R + p->DR),
                         .w_uk = kl_view3(p->w_uk, KL_F32, p->H, p->DN, p->R),
                         .w_uv = kl_view3(p->w_uv, KL_F32, p->H, p->DV, p->R),
                         .causal = true,
                         .form = form,
                         .cu_q = p->cu_q,
                         .cu_k = p->cu_k,
                         .n_seq = p->n_seq};
}

static const float *run(const kl_backend *be, kl_mla_args a)
{
    a.work = kt_work(kl_mla_workspace(be, &a));
    KT_OK(kl_mla(be, &a, KT_ERR));
    return a.o.data;
}

static const void *pack(const kl_backend *be, const kl_mla_args *a)
{
    size_t bytes = kl_mla_packed_bytes(be, a->w_uk, a->w_uv);
    assert_true(bytes > 0);
    void *to = (void *)(((uintptr_t)kt_bytes(bytes + 64) + 63) / 64 * 64);
    kl_workspace work = kt_work(kl_mla_pack_workspace(be, a->w_uk, a->w_uv));
    KT_OK(kl_mla_pack(be, to, a->w_uk, a->w_uv, work, KT_ERR));
    return to;
}

static void close_to_f32(void **state)
{
    (void)state;
    for (int i = 0; i < N_PROBLEM; i++)
        for (int l = 0; kt_level(l); l++)
            for (int form = KL_MLA_ABSORBED; form <= KL_MLA_EXPANDED; form++) {
                struct problem p = make(i);
                const kl_backend *be = kt_backend(kt_level(l), 2);
                kl_mla_args a = args_of(&p, (kl_mla_form)form);
                const float *want = run(be, a);
                a = args_of(&p, (kl_mla_form)form);
                a.packed = pack(be, &a);
                const float *got = run(be, a);
                kt_assert_close(kt_level(l), got, want, n_out(&p), 1e-3);
                assert_memory_not_equal(got, want, (size_t)n_out(&p) * sizeof *got);
                kt_free_all();
            }
}

static void any_number_of_threads(void **state)
{
    (void)state;
    for (int i = 0; i < N_PROBLEM; i++)
        for (int l = 0; kt_level(l); l++)
            for (int form = KL_MLA_ABSORBED; form <= KL_MLA_EXPANDED; form++) {
                struct problem p = make(i);
                kl_mla_args a = args_of(&p, (kl_mla_form)form);
                a.packed = pack(kt_backend(kt_level(l), 3), &a);
                const float *want = run(kt_backend(kt_level(l), 1), a);
                for (int n = 2; n <= 7; n += n == 3 ? 4 : 1) {
                    kl_mla_args b = args_of(&p, (kl_mla_form)form);
                    b.packed = pack(kt_backend(kt_level(l), n), &b);
                    kt_assert_same_bits("threads", run(kt_backend(kt_level(l), n), b), want,
                                        (size_t)n_out(&p) * sizeof *want);
                }
                kt_free_all();
            }
}

/* Sequences of a call in lists of pages that lie apart, each list backwards; f32, bf16. */
static void pages_anywhere(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++)
        for (int bf16 = 0; bf16 <= 1; bf16++) {
            struct problem p = make(i);
            const kl_backend *be = kt_backend(kt_level(kt_level(1) ? 1 : 0), 2);
            int64_t row = p.R + p.DR, n_page = 64;
            float *pool = kt_floats(n_page * PAGE * row);
            const int32_t *tables[MOST_SEQ];
            uint16_t *half = bf16 ? kt_bf16_of(p.cache, p.cu_k[p.n_seq] * row) : NULL; /* rounds them where they are */
            for (int64_t s = 0, next = n_page; s < p.n_seq; s++) {
                int64_t n = p.cu_k[s + 1] - p.cu_k[s], n_here = (n + PAGE - 1) / PAGE;
                int32_t *table = kt_bytes((size_t)n_here * sizeof *table);
                for (int64_t j = 0; j < n; j++) {
                    table[j / PAGE] = (int32_t)(next - 1 - j / PAGE);
                    memcpy(pool + (table[j / PAGE] * PAGE + j % PAGE) * row, p.cache + (p.cu_k[s] + j) * row,
                           (size_t)row * sizeof *pool);
                }
                next -= n_here;
                tables[s] = table;
            }
            for (int form = KL_MLA_ABSORBED; form <= KL_MLA_EXPANDED; form++) {
                kl_mla_args a = args_of(&p, (kl_mla_form)form), b = args_of(&p, (kl_mla_form)form);
                a.packed = b.packed = pack(be, &a);
                if (half)
                    a.cache = kl_view2(half, KL_BF16, p.cu_k[p.n_seq], row);
                b.cache = kl_view3(pool, KL_F32, n_page, PAGE, row);
                b.paging = (kl_paging){tables[0], n_page, PAGE, tables};
                kt_assert_same_bits("pages", run(be, b), run(be, a), (size_t)n_out(&p) * sizeof(float));
            }
            kt_free_all();
        }
}

/* Each sequence alone, its queries in two pieces. */
static void alone_and_in_pieces(void **state)
{
    (void)state;
    struct problem p = make(2);
    const kl_backend *be = kt_backend(kt_level(kt_level(1) ? 1 : 0), 2);
    for (int form = KL_MLA_ABSORBED; form <= KL_MLA_EXPANDED; form++) {
        kl_mla_args a = args_of(&p, (kl_mla_form)form);
        a.packed = pack(be, &a);
        const float *whole = run(be, a);
        for (int64_t s = 0; s < p.n_seq; s++)
            for (int piece = 0; piece < 2; piece++) {
                struct problem one = p;
                int64_t n = p.cu_q[s + 1] - p.cu_q[s], first = piece ? n / 2 : 0, end = piece ? n : n / 2;
                one.n_seq = 1;
                one.cu_q[1] = end - first;
                one.cu_k[1] = p.cu_k[s + 1] - p.cu_k[s] - (n - end);
                one.q += (p.cu_q[s] + first) * p.H * (p.DN + p.DR);
                one.cache += p.cu_k[s] * (p.R + p.DR);
                kl_mla_args b = args_of(&one, (kl_mla_form)form);
                b.packed = a.packed;
                kt_assert_same_bits("piece", run(be, b), whole + (p.cu_q[s] + first) * p.H * p.DV,
                                    (size_t)n_out(&one) * sizeof(float));
            }
    }
    kt_free_all();
}

/* The last row of the cache is seen by the last query only. */
static void not_a_number_stays_where_it_is_seen(void **state)
{
    (void)state;
    struct problem p = make(1);
    p.n_seq = 1;
    const kl_backend *be = kt_backend(kt_level(kt_level(1) ? 1 : 0), 2);
    for (int form = KL_MLA_ABSORBED; form <= KL_MLA_EXPANDED; form++) {
        kl_mla_args a = args_of(&p, (kl_mla_form)form), b = args_of(&p, (kl_mla_form)form);
        a.packed = b.packed = pack(be, &a);
        const float *want = run(be, a);
        float kept = p.cache[299 * (p.R + p.DR)];
        p.cache[299 * (p.R + p.DR)] = NAN;
        const float *got = run(be, b);
        p.cache[299 * (p.R + p.DR)] = kept;
        int64_t n = n_out(&p), last = p.H * p.DV;
        kt_assert_same_bits("others", got, want, (size_t)(n - last) * sizeof *got);
        for (int64_t j = n - last; j < n; j++)
            assert_true(isnan(got[j]));
    }
    kt_free_all();
}

static void refusals(void **state)
{
    (void)state;
    struct problem p = make(2);
    const kl_backend *be = kt_backend("ref", 1);
    kl_error err = {0};
    kl_mla_args a = args_of(&p, KL_MLA_AUTO);
    a.packed = (const void *)(uintptr_t)4;
    KT_ASSERT_FAILED(kl_mla(be, &a, &err), KL_ERR_ARGUMENT, &err, "packed is at 0x4", "multiple of 64");
    kl_workspace none = {0};
    KT_ASSERT_FAILED(kl_mla_pack(be, NULL, a.w_uk, a.w_uv, none, &err), KL_ERR_ARGUMENT, &err, "packed", "64");
    KT_ASSERT_FAILED(kl_mla_pack(be, kt_bytes(64), a.w_uk, a.w_uv, none, &err), KL_ERR_WORKSPACE, &err,
                     "workspace is 0");
    a.w_uv.dim[2]++;
    assert_int_equal(kl_mla_packed_bytes(be, a.w_uk, a.w_uv), 0);
    KT_ASSERT_FAILED(kl_mla_pack(be, kt_bytes(64), a.w_uk, a.w_uv, none, &err), KL_ERR_SHAPE, &err, "w_uv", "37");
    a = args_of(&p, KL_MLA_AUTO);
    const int32_t page[2] = {0, 0}, *tables[] = {page + 1, page, page, page};
    a.cache = kl_view3(p.cache, KL_F32, 1, PAGE, p.R + p.DR);
    a.paging = (kl_paging){page, 2, PAGE, tables};
    KT_ASSERT_FAILED(kl_mla(be, &a, &err), KL_ERR_ARGUMENT, &err, "paging.table", "tables[0]");
    kt_free_all();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(close_to_f32),
        cmocka_unit_test(any_number_of_threads),
        cmocka_unit_test(pages_anywhere),
        cmocka_unit_test(alone_and_in_pieces),
        cmocka_unit_test(not_a_number_stays_where_it_is_seen),
        cmocka_unit_test(refusals),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    kt_free_backends();
    return failed;
}
