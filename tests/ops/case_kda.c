/* kl_kda and kl_dplr against each other: three ways to the same numbers, at every level and chunk size. */
#include "support/kt.h"

#include <math.h>
#include <string.h>

enum { H = 2, HV = 4, K = 40, V = 37, N_SEQ = 4, T = 150 };
static const int64_t cu[N_SEQ + 1] = {0, 0, 1, 84, T};

struct inputs {
    float *q, *k, *v, *g, *beta, *S0;
};

static struct inputs make_inputs(kt_rng *r)
{
    struct inputs x = {kt_normals(r, T * H * K, 1),  kt_normals(r, T * H * K, 1), kt_normals(r, T * HV * V, 1),
                       kt_normals(r, T * HV * K, 1), kt_floats(T * HV),           kt_normals(r, N_SEQ * HV * K * V, 1)};
    for (int i = 0; i < T * HV * K; i++)
        x.g[i] = -expf(2 * x.g[i] - 2);
    for (int i = 0; i < T * HV; i++)
        x.beta[i] = (float)kt_uniform(r);
    for (int row = 0; row < T * H; row++) {
        double n = 0;
        for (int i = 0; i < K; i++)
            n += (double)x.k[row * K + i] * x.k[row * K + i];
        for (int i = 0; i < K; i++)
            x.k[row * K + i] /= (float)sqrt(n);
    }
    return x;
}

static void run_kda(const kl_backend *be, struct inputs x, kl_path path, int chunk, kl_rule rule, float *o, float *S)
{
    kl_kda_args a = {.o = kl_view3(o, KL_F32, T, HV, V),
                     .q = kl_view3(x.q, KL_F32, T, H, K),
                     .k = kl_view3(x.k, KL_F32, T, H, K),
                     .v = kl_view3(x.v, KL_F32, T, HV, V),
                     .g = kl_view3(x.g, KL_F32, T, HV, K),
                     .beta = kl_view2(x.beta, KL_F32, T, HV),
                     .rule = rule,
                     .state_in = kl_view4(x.S0, KL_F32, N_SEQ, HV, K, V),
                     .state_out = kl_view4(S, KL_F32, N_SEQ, HV, K, V),
                     .cu_seqlens = cu,
                     .n_seq = N_SEQ,
                     .path = path,
                     .chunk = chunk};
    a.work = kt_work(kl_kda_workspace(be, &a));
    KT_OK(kl_kda(be, &a, KT_ERR));
}

static void paths_and_levels_agree(void **state)
{
    (void)state;
    static const int chunks[] = {8, 16, 32, 64};
    for (int rule = 0; rule < 2; rule++) {
        kt_rng r = {1};
        struct inputs x = make_inputs(&r);
        float *o = kt_floats(T * HV * V), *S = kt_floats(N_SEQ * HV * K * V);
        run_kda(kt_backend("ref", 1), x, KL_PATH_RECURRENT, 0, (kl_rule)rule, o, S);
        for (int l = 0; kt_level(l); l++)
            for (int c = 0; c < 5; c++) {
                float *o2 = kt_floats(T * HV * V), *S2 = kt_floats(N_SEQ * HV * K * V);
                run_kda(kt_backend(kt_level(l), 1 + c % 3), x, c == 4 ? KL_PATH_RECURRENT : KL_PATH_CHUNK,
                        c == 4 ? 0 : chunks[c], (kl_rule)rule, o2, S2);
                kt_assert_close("o", o2, o, T * HV * V, 2e-6);
                kt_assert_close("state", S2, S, N_SEQ * HV * K * V, 2e-6);
            }
        kt_free_all();
    }
}

/* a = beta k, b = exp(g) . k, write key beta k. */
static void run_kda_as_dplr(const kl_backend *be, struct inputs x, kl_path path, int chunk, float *o, float *S)
{
    float *q = kt_floats(T * HV * K), *k = kt_floats(T * HV * K), *b = kt_floats(T * HV * K);
    for (int t = 0; t < T; t++)
        for (int h = 0; h < HV; h++)
            for (int i = 0; i < K; i++) {
                int to = (t * HV + h) * K + i, from = (t * H + h / (HV / H)) * K + i;
                q[to] = x.q[from];
                k[to] = x.beta[t * HV + h] * x.k[from];
                b[to] = expf(x.g[to]) * x.k[from];
            }
    kl_dplr_args a = {.o = kl_view3(o, KL_F32, T, HV, V),
                      .q = kl_view3(q, KL_F32, T, HV, K),
                      .k = kl_view3(k, KL_F32, T, HV, K),
                      .a = kl_view3(k, KL_F32, T, HV, K),
                      .b = kl_view3(b, KL_F32, T, HV, K),
                      .v = kl_view3(x.v, KL_F32, T, HV, V),
                      .g = kl_view3(x.g, KL_F32, T, HV, K),
                      .state_in = kl_view4(x.S0, KL_F32, N_SEQ, HV, K, V),
                      .state_out = kl_view4(S, KL_F32, N_SEQ, HV, K, V),
                      .cu_seqlens = cu,
                      .n_seq = N_SEQ,
                      .path = path,
                      .chunk = chunk};
    a.work = kt_work(kl_dplr_workspace(be, &a));
    KT_OK(kl_dplr(be, &a, KT_ERR));
}

static void kda_is_a_dplr(void **state)
{
    (void)state;
    static const int chunks[] = {8, 16, 32, 64};
    kt_rng r = {2};
    struct inputs x = make_inputs(&r);
    float *o = kt_floats(T * HV * V), *S = kt_floats(N_SEQ * HV * K * V);
    run_kda(kt_backend("ref", 1), x, KL_PATH_RECURRENT, 0, KL_RULE_DELTA, o, S);
    for (int l = 0; kt_level(l); l++)
        for (int c = 0; c < 5; c++) {
            float *o2 = kt_floats(T * HV * V), *S2 = kt_floats(N_SEQ * HV * K * V);
            run_kda_as_dplr(kt_backend(kt_level(l), 1 + c % 3), x, c == 4 ? KL_PATH_RECURRENT : KL_PATH_CHUNK,
                            c == 4 ? 0 : chunks[c], o2, S2);
            kt_assert_close("o", o2, o, T * HV * V, 2e-6);
            kt_assert_close("state", S2, S, N_SEQ * HV * K * V, 2e-6);
        }
    kt_free_all();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(paths_and_levels_agree),
        cmocka_unit_test(kda_is_a_dplr),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    kt_free_backends();
    return failed;
}
