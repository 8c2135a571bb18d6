/* kl_embedding: rows are copied to the bit and between dtypes; the gradient against a sum in f64 and finite
 * differences, tokens in their order for any number of threads; pitches, refusals. */
#include "support/kt.h"

#include <math.h>
#include <string.h>

enum { T = 83, N = 11, D = 1024 + 261 };

static kl_tensor ids(int32_t *id, int64_t n)
{
    return kl_view1(id, KL_I32, n);
}

/* Row 3 for many tokens, row 5 for none. */
static int32_t *some_ids(kt_rng *r)
{
    int32_t *id = kt_bytes(T * sizeof *id);
    for (int t = 0; t < T; t++) {
        id[t] = t % 3 == 0 ? 3 : (int32_t)kt_below(r, N);
        id[t] = id[t] == 5 ? 0 : id[t];
    }
    return id;
}

static void run(const kl_backend *be, kl_embedding_args a)
{
    a.work = kt_work(kl_embedding_workspace(be, &a));
    KT_OK(kl_embedding(be, &a, KT_ERR));
}

static void run_bwd(const kl_backend *be, kl_embedding_bwd_args b)
{
    b.work = kt_work(kl_embedding_bwd_workspace(be, &b));
    KT_OK(kl_embedding_bwd(be, &b, KT_ERR));
}

static void copies_rows(void **state)
{
    (void)state;
    kt_rng r = {1};
    float *table = kt_normals(&r, N * D, 1), *rounded = kt_copy(table, N * D);
    uint16_t *table16 = kt_bf16_of(rounded, N * D);
    int32_t *id = some_ids(&r);
    for (int l = 0; kt_level(l); l++)
        for (int threads = 1; threads <= 3; threads++) {
            const kl_backend *be = kt_backend(kt_level(l), threads);
            for (int from16 = 0; from16 <= 1; from16++) {
                float *y = kt_floats(T * D);
                uint16_t *y16 = kt_bytes(T * D * 2);
                kl_embedding_args a = {.y = kl_view2(y, KL_F32, T, D),
                                       .table =
                                           from16 ? kl_view2(table16, KL_BF16, N, D) : kl_view2(table, KL_F32, N, D),
                                       .id = ids(id, T)};
                run(be, a);
                a.y = kl_view2(y16, KL_BF16, T, D);
                run(be, a);
                for (int t = 0; t < T; t++) {
                    kt_assert_same_bits("f32 row", y + t * D, (from16 ? rounded : table) + id[t] * D, D * sizeof *y);
                    kt_assert_same_bits("bf16 row", y16 + t * D, table16 + id[t] * D, D * sizeof *y16);
                }
            }
        }
    kt_free_all();
}

static void pitches(void **state)
{
    (void)state;
    enum { GAP = 3, W = 9, ROW = W + GAP };
    kt_rng r = {2};
    float *table = kt_normals(&r, N * ROW, 1), *y = kt_floats(T * ROW);
    int32_t *id = some_ids(&r), *wide = kt_bytes(2 * T * sizeof *wide);
    for (int t = 0; t < T; t++)
        wide[2 * t] = id[t];
    kl_embedding_args a = {.y = kl_view2(y, KL_F32, T, W), .table = kl_view2(table, KL_F32, N, W), .id = ids(wide, T)};
    a.y.pitch = a.table.pitch = ROW;
    a.id.pitch = 2;
    run(kt_backend("ref", 2), a);
    for (int t = 0; t < T; t++) {
        kt_assert_same_bits("row", y + t * ROW, table + id[t] * ROW, W * sizeof *y);
        for (int i = W; i < ROW; i++)
            assert_true(isnan(y[t * ROW + i]));
    }
    kt_free_all();
}

static void gradient_adds_up(void **state)
{
    (void)state;
    static double want[N * D];
    kt_rng r = {3};
    float *start = kt_normals(&r, N * D, 1), *table = kt_zeros(N * D), *dy = kt_normals(&r, T * D, 1);
    uint16_t *dy16 = kt_bf16_of(dy, T * D);
    int32_t *id = some_ids(&r);
    for (int i = 0; i < N * D; i++)
        want[i] = start[i];
    for (int t = 0; t < T; t++)
        for (int i = 0; i < D; i++)
            want[id[t] * D + i] += dy[t * D + i];
    for (int l = 0; kt_level(l); l++) {
        float *first = NULL;
        for (int threads = 1; threads <= 3; threads++)
            for (int half = 0; half <= 1; half++) {
                float *d_table = kt_copy(start, N * D);
                run_bwd(
                    kt_backend(kt_level(l), threads),
                    (kl_embedding_bwd_args){.fwd = {.table = kl_view2(table, KL_F32, N, D), .id = ids(id, T)},
                                            .d_y = half ? kl_view2(dy16, KL_BF16, T, D) : kl_view2(dy, KL_F32, T, D),
                                            .d_table = kl_view2(d_table, KL_F32, N, D)});
                kt_assert_close64("d_table", kt_level(l), d_table, want, N * D, 1e-6);
                kt_assert_same_bits("a row that no token has", d_table + 5 * D, start + 5 * D, D * sizeof *start);
                first = first ? first : d_table;
                kt_assert_same_bits("thread counts and dtypes", d_table, first, N * D * sizeof *first);
            }
    }
    kt_free_all();
}

/* 2^24 absorbs a single 1, so that any other order of the tokens gives another sum. */
static void tokens_in_their_order(void **state)
{
    (void)state;
    enum { W = 300 };
    for (int l = 0; kt_level(l); l++) {
        float *dy = kt_zeros(4 * W), *d_table = kt_zeros(W), *table = kt_zeros(W);
        for (int i = 0; i < W; i++) {
            dy[i] = 1;
            dy[W + i] = 0x1p24f;
            dy[2 * W + i] = 1;
            dy[3 * W + i] = -0x1p24f;
        }
        int32_t id[4] = {0};
        run_bwd(kt_backend(kt_level(l), 3),
                (kl_embedding_bwd_args){.fwd = {.table = kl_view2(table, KL_F32, 1, W), .id = ids(id, 4)},
                                        .d_y = kl_view2(dy, KL_F32, 4, W),
                                        .d_table = kl_view2(d_table, KL_F32, 1, W)});
        for (int i = 0; i < W; i++)
            assert_true(d_table[i] == ((1.0f + 0x1p24f) + 1.0f) - 0x1p24f);
        kt_free_all();
    }
}

struct gradient_case {
    const kl_backend *be;
    float *table, *y, *weight;
    int32_t *id;
};

static double loss(void *ctx)
{
    struct gradient_case *c = ctx;
    run(c->be, (kl_embedding_args){
                   .y = kl_view2(c->y, KL_F32, T, D), .table = kl_view2(c->table, KL_F32, N, D), .id = ids(c->id, T)});
    return kt_dot(c->weight, c->y, T * D);
}

static void finite_differences(void **state)
{
    (void)state;
    kt_rng r = {4};
    struct gradient_case c = {kt_backend("ref", 2), kt_normals(&r, N * D, 1), kt_floats(T * D),
                              kt_normals(&r, T * D, 1), some_ids(&r)};
    float *d_table = kt_zeros(N * D);
    run_bwd(c.be, (kl_embedding_bwd_args){.fwd = {.table = kl_view2(c.table, KL_F32, N, D), .id = ids(c.id, T)},
                                          .d_y = kl_view2(c.weight, KL_F32, T, D),
                                          .d_table = kl_view2(d_table, KL_F32, N, D)});
    kt_check_gradient("d_table", loss, &c, c.table, d_table, N * D, 1e-2, 1e-3, &r);
    kt_free_all();
}

static void no_tokens(void **state)
{
    (void)state;
    const kl_backend *be = kt_backend("ref", 2);
    float table[2] = {1, 2}, d_table[2] = {3, 4};
    kl_tensor none = kl_view2(NULL, KL_F32, 0, 2);
    run(be, (kl_embedding_args){.y = none, .table = kl_view2(table, KL_F32, 1, 2), .id = ids(NULL, 0)});
    run(be, (kl_embedding_args){.y = none, .table = kl_view2(NULL, KL_F32, 0, 2), .id = ids(NULL, 0)});
    run_bwd(be, (kl_embedding_bwd_args){.fwd = {.table = kl_view2(table, KL_F32, 1, 2), .id = ids(NULL, 0)},
                                        .d_y = none,
                                        .d_table = kl_view2(d_table, KL_F32, 1, 2)});
    assert_true(d_table[0] == 3 && d_table[1] == 4);
    kt_free_all();
}

static void refusals(void **state)
{
    (void)state;
    kl_error err;
    const kl_backend *be = kt_backend("ref", 1);
    float *table = kt_zeros(12), *y = kt_zeros(8);
    int32_t id[2] = {0, 2};
    kl_embedding_args good = {.y = kl_view2(y, KL_F32, 2, 4), .table = kl_view2(table, KL_F32, 3, 4), .id = ids(id, 2)},
                      a = good;
    KT_ASSERT_FAILED(kl_embedding(NULL, &a, &err), KL_ERR_ARGUMENT, &err, "kl_embedding", "backend");
    id[1] = 3;
    KT_ASSERT_FAILED(kl_embedding(be, &a, &err), KL_ERR_ARGUMENT, &err, "id[1] is 3", "3 rows");
    id[1] = -1;
    KT_ASSERT_FAILED(kl_embedding(be, &a, &err), KL_ERR_ARGUMENT, &err, "id[1] is -1");
    kl_embedding_bwd_args b = {.fwd = good, .d_y = kl_view2(y, KL_F32, 2, 4)};
    KT_ASSERT_FAILED(kl_embedding_bwd(be, &b, &err), KL_ERR_ARGUMENT, &err, "kl_embedding_bwd", "id[1] is -1");
    id[1] = 2;
    a.id.dtype = KL_F32;
    KT_ASSERT_FAILED(kl_embedding(be, &a, &err), KL_ERR_DTYPE, &err, "id is f32", "expected i32");
    a = good;
    a.y.dim[0] = 1;
    KT_ASSERT_FAILED(kl_embedding(be, &a, &err), KL_ERR_SHAPE, &err, "y is [1][4]", "[2][4]");
    a = good;
    a.y = kl_view2(table + 2, KL_F32, 2, 4);
    KT_ASSERT_FAILED(kl_embedding(be, &a, &err), KL_ERR_OVERLAP, &err, "y overlaps table");
    b.d_table = kl_view2(table, KL_BF16, 3, 4);
    KT_ASSERT_FAILED(kl_embedding_bwd(be, &b, &err), KL_ERR_DTYPE, &err, "d_table is bf16", "expected f32");
    b.d_table = kl_view2(table, KL_F32, 3, 4);
    b.d_y = kl_view2(table + 4, KL_F32, 2, 4);
    KT_ASSERT_FAILED(kl_embedding_bwd(be, &b, &err), KL_ERR_OVERLAP, &err, "d_table overlaps d_y");
    for (int i = 0; i < 8; i++)
        assert_true(y[i] == 0);
    kt_free_all();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(copies_rows),        cmocka_unit_test(pitches),
        cmocka_unit_test(gradient_adds_up),   cmocka_unit_test(tokens_in_their_order),
        cmocka_unit_test(finite_differences), cmocka_unit_test(no_tokens),
        cmocka_unit_test(refusals),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    kt_free_backends();
    return failed;
}
