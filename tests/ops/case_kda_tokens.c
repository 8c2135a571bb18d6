/* Tokens with a meaning: strengths 0 and 1, orthonormal and repeated keys, tokens that are not there, tokens that
 * erase.  And the relatives of KDA, each against a recurrence of its own. */
#include "support/kda_case.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define CLOSE 2e-6

static float *floats(kl_tensor t)
{
    return t.data;
}

static void close_values(const char *what, kl_tensor a, kl_tensor b, double tolerance)
{
    assert_true(ref64_count(a) == ref64_count(b));
    kt_assert_close(what, a.data, b.data, ref64_count(a), tolerance);
}

/* Equal numbers; 0 and -0 count as equal. */
static void same_numbers(const char *what, kl_tensor a, kl_tensor b)
{
    assert_true(ref64_count(a) == ref64_count(b));
    for (int64_t i = 0; i < ref64_count(a); i++)
        if (!(floats(a)[i] == floats(b)[i]))
            fail_msg("%s: element %lld is %.9g, expected %.9g", what, (long long)i, (double)floats(a)[i],
                     (double)floats(b)[i]);
}

/* P10: with beta 0 nothing is written: o_t = scale (q_t . gamma_t)^T S0. */
static void nothing_written(void **state)
{
    (void)state;
    kt_rng r = {1};
    enum { T = 41, K = 20, V = 12 };
    kl_kda_args a = kda_draw(&r, (kda_shape){T, 1, 1, K, V}, GATES_A1, KEYS_MODEL, BETAS_ZERO);
    double gamma[K], *o = kt_bytes(T * V * sizeof *o), *left = kt_bytes(K * V * sizeof *left);
    for (int i = 0; i < K; i++)
        gamma[i] = 0;
    for (int t = 0; t < T; t++)
        for (int i = 0; i < K; i++)
            gamma[i] += floats(a.g)[t * K + i];
    for (int i = 0; i < K * V; i++)
        left[i] = exp(gamma[i / V]) * floats(a.state_in)[i];
    memset(gamma, 0, sizeof gamma);
    for (int t = 0; t < T; t++)
        for (int l = 0; l < V; l++) {
            o[t * V + l] = 0;
            for (int i = 0; i < K; i++) {
                gamma[i] += l == 0 ? floats(a.g)[t * K + i] : 0;
                o[t * V + l] += floats(a.q)[t * K + i] * exp(gamma[i]) * floats(a.state_in)[i * V + l] / sqrt(K);
            }
        }
    kda_variant v;
    for (int i = 0; kda_variant_at(i, &v); i++) {
        kl_kda_args got = kda_run_variant(&v, a);
        ref64_expect(v.name, got.o, o, CLOSE);
        ref64_expect(v.name, got.state_out, left, CLOSE);
    }
    kt_free_all();
}

/* Gram-Schmidt, twice for good measure. */
static void orthonormalise(float *k, int n_row, int n)
{
    double *x = kt_bytes((size_t)(n_row * n) * sizeof *x);
    for (int i = 0; i < n_row * n; i++)
        x[i] = k[i];
    for (int pass = 0; pass < 2; pass++)
        for (int t = 0; t < n_row; t++) {
            double square = 0;
            for (int s = 0; s < t; s++) {
                double along = 0;
                for (int i = 0; i < n; i++)
                    along += x[t * n + i] * x[s * n + i];
                for (int i = 0; i < n; i++)
                    x[t * n + i] -= along * x[s * n + i];
            }
            for (int i = 0; i < n; i++)
                square += x[t * n + i] * x[t * n + i];
            for (int i = 0; i < n; i++)
                x[t * n + i] /= sqrt(square);
        }
    for (int i = 0; i < n_row * n; i++)
        k[i] = (float)x[i];
}

/* P11: what is written under orthonormal keys with strength 1 is all there: S^T k_i = v_i.  S0 is overwritten too. */
static void orthonormal_keys_store_all(void **state)
{
    (void)state;
    enum { N = 36, V = 14 };
    kt_rng r = {2};
    kl_kda_args a = kda_draw(&r, (kda_shape){N, 1, 1, N, V}, GATES_NONE, KEYS_MODEL, BETAS_ONE);
    kt_fill_normal(&r, a.k.data, N * N, 1);
    orthonormalise(a.k.data, N, N);
    kda_variant v;
    for (int i = 0; kda_variant_at(i, &v); i++) {
        kl_kda_args got = kda_run_variant(&v, a);
        float *read = kt_floats(N * V);
        for (int t = 0; t < N; t++)
            for (int l = 0; l < V; l++) {
                double sum = 0;
                for (int c = 0; c < N; c++)
                    sum += (double)floats(got.state_out)[c * V + l] * floats(a.k)[t * N + c];
                read[t * V + l] = (float)sum;
            }
        kt_assert_close(v.name, read, a.v.data, N * V, CLOSE);
    }
    kt_free_all();
}

/* P12: beta 1, |k| = 1, q = k, scale 1: what was just written is read, whatever the gates and the state are. */
static void reads_what_it_wrote(void **state)
{
    (void)state;
    kt_rng r = {3};
    for (int gates = 0; gates < KDA_N_GATES; gates++) {
        kl_kda_args a = kda_draw(&r, (kda_shape){37, 2, 2, 32, 12}, (kda_gates)gates, KEYS_MODEL, BETAS_ONE);
        a.q = kda_copy(a.k);
        a.scale = 1;
        kda_variant v;
        for (int i = 0; kda_variant_at(i, &v); i++)
            close_values(kda_gates_name((kda_gates)gates), kda_run_variant(&v, a).o, a.v, 4e-6);
        kt_free_all();
    }
}

static void copy_token(kl_tensor t, int64_t to, int64_t from)
{
    size_t row = (size_t)(ref64_count(t) / t.dim[0]);
    memcpy(floats(t) + (size_t)to * row, floats(t) + (size_t)from * row, row * sizeof(float));
}

/* P13: the same pair written again changes nothing. */
static void writing_twice_is_writing_once(void **state)
{
    (void)state;
    kt_rng r = {4};
    kl_kda_args a = kda_draw(&r, (kda_shape){34, 1, 2, 24, 9}, GATES_NONE, KEYS_MODEL, BETAS_ONE);
    copy_token(a.k, 33, 32);
    copy_token(a.v, 33, 32);
    kda_variant v;
    for (int i = 0; kda_variant_at(i, &v); i++) {
        kl_kda_args twice = kda_run_variant(&v, a), once = kda_run_variant(&v, kda_slice(&a, 0, 33, a.state_in));
        close_values(v.name, twice.state_out, once.state_out, CLOSE);
    }
    kt_free_all();
}

/* Puts token t of `from` at token to[t] of a longer call whose other tokens have zero keys and no decay. */
static kl_tensor spread(kl_tensor from, const int64_t *to, int64_t T, float filler)
{
    if (!from.n_dim)
        return from;
    int64_t row = ref64_count(from) / from.dim[0];
    kl_tensor t = from;
    t.dim[0] = T;
    t.data = kt_floats(T * row);
    for (int64_t i = 0; i < T * row; i++)
        floats(t)[i] = filler;
    for (int64_t i = 0; i < from.dim[0]; i++)
        memcpy(floats(t) + to[i] * row, floats(from) + i * row, (size_t)row * sizeof(float));
    return t;
}

/* P14, 6.2, 6.3: tokens with k = 0 and g = 0 (or beta = 0 and g = 0) are invisible wherever they stand, the end
 * included: their q, v, beta may be anything finite. */
static void null_tokens_are_invisible(void **state)
{
    (void)state;
    kt_rng r = {5};
    enum { T = 37, LONG = 57 };
    for (int by_beta = 0; by_beta <= 1; by_beta++) {
        kl_kda_args a = kda_draw(&r, (kda_shape){T, 1, 2, 16, 12}, GATES_A1, KEYS_MODEL, BETAS_MODEL), b = a;
        int64_t to[T], at = 0;
        for (int64_t t = 0; t < T; t++) {
            at += t % 5 == 2 ? 2 : t % 11 == 0;
            to[t] = at++;
        }
        assert_true(at < LONG);
        b.q = spread(a.q, to, LONG, 7);
        b.k = spread(a.k, to, LONG, by_beta ? 0.3f : 0);
        b.v = spread(a.v, to, LONG, 5);
        b.g = spread(a.g, to, LONG, 0);
        b.beta = spread(a.beta, to, LONG, by_beta ? 0 : 0.7f);
        kda_variant v;
        for (int i = 0; kda_variant_at(i, &v); i++) {
            kl_kda_args want = kda_run_variant(&v, a), got = kda_run_variant(&v, b);
            for (int64_t t = 0; t < T; t++)
                close_values(v.name, kda_rows(got.o, to[t], to[t] + 1), kda_rows(want.o, t, t + 1), 4e-6);
            close_values(v.name, got.state_out, want.state_out, CLOSE);
        }
        kt_free_all();
    }
}

/* P15: a token that erases makes everything before it irrelevant: not close, but the very same numbers. */
static void erasing_forgets(void **state)
{
    (void)state;
    kt_rng r = {6};
    enum { T = 51, CUT = 21, HV = 2, K = 16, V = 10 };
    kl_kda_args a = kda_draw(&r, (kda_shape){T, 1, HV, K, V}, GATES_A1, KEYS_MODEL, BETAS_MODEL), b = a;
    for (int i = 0; i < HV * K; i++)
        floats(a.g)[CUT * HV * K + i] = -INFINITY;
    b.k = kda_copy(a.k);
    b.v = kda_copy(a.v);
    kt_fill_normal(&r, b.k.data, CUT * K, 1);
    kt_fill_normal(&r, b.v.data, CUT * HV * V, 100);
    b.state_in = kda_states(&r, &a, 1);
    kda_variant v;
    for (int i = 0; kda_variant_at(i, &v); i++) {
        kl_kda_args one = kda_run_variant(&v, a), other = kda_run_variant(&v, b);
        same_numbers(v.name, kda_rows(other.o, CUT, T), kda_rows(one.o, CUT, T));
        same_numbers(v.name, other.state_out, one.state_out);
        kl_kda_args rest = kda_run_variant(&v, kda_slice(&a, CUT, T, (kl_tensor){0}));
        close_values(v.name, kda_rows(one.o, CUT, T), rest.o, CLOSE);
        close_values(v.name, one.state_out, rest.state_out, CLOSE);
    }
    kt_free_all();
}

/* 6.4: an erasing first token packs sequences into one without offsets, as long as they start from nothing. */
static void erasing_packs_sequences(void **state)
{
    (void)state;
    kt_rng r = {7};
    kl_kda_args a = kda_draw(&r, (kda_shape){60, 1, 1, 16, 8}, GATES_A1, KEYS_MODEL, BETAS_MODEL), b = a;
    int64_t cu[] = {0, 13, 14, 47, 60};
    a.cu_seqlens = cu;
    a.n_seq = 4;
    a.state_in = b.state_in = (kl_tensor){0};
    b.g = kda_copy(a.g);
    for (int n = 0; n < 4; n++)
        for (int i = 0; i < 16; i++)
            floats(b.g)[cu[n] * 16 + i] = -INFINITY;
    kda_variant v;
    for (int i = 0; kda_variant_at(i, &v); i++)
        close_values(v.name, kda_run_variant(&v, b).o, kda_run_variant(&v, a).o, CLOSE);
    kt_free_all();
}

/* ----------------------------------------------------------------------------------------------------- relatives -- */

enum { RT = 40, RK = 18, RV = 14 };

/* 1.5, 1.6: S = a S - beta k (k^T (a S)) + beta k v^T written as matrices: Gated DeltaNet, and DeltaNet with a = 1. */
static void gated_deltanet(void **state)
{
    (void)state;
    for (int gated = 0; gated <= 1; gated++) {
        kt_rng r = {8};
        kl_kda_args a =
            kda_draw(&r, (kda_shape){RT, 1, 1, RK, RV}, gated ? GATES_HEAD : GATES_NONE, KEYS_MODEL, BETAS_MODEL);
        static double S[RK][RV], N[RK][RV], o[RT * RV];
        for (int i = 0; i < RK * RV; i++)
            S[i / RV][i % RV] = floats(a.state_in)[i];
        for (int t = 0; t < RT; t++) {
            const float *k = floats(a.k) + t * RK, *q = floats(a.q) + t * RK, *x = floats(a.v) + t * RV;
            double alpha = gated ? exp(floats(a.g)[t]) : 1, beta = floats(a.beta)[t];
            for (int i = 0; i < RK; i++)
                for (int l = 0; l < RV; l++) {
                    N[i][l] = beta * k[i] * x[l];
                    for (int j = 0; j < RK; j++)
                        N[i][l] += alpha * ((i == j) - beta * k[i] * k[j]) * S[j][l];
                }
            memcpy(S, N, sizeof S);
            for (int l = 0; l < RV; l++) {
                o[t * RV + l] = 0;
                for (int i = 0; i < RK; i++)
                    o[t * RV + l] += S[i][l] * q[i] / sqrt(RK);
            }
        }
        kda_variant v;
        for (int i = 0; kda_variant_at(i, &v); i++) {
            kl_kda_args got = kda_run_variant(&v, a);
            ref64_expect(v.name, got.o, o, CLOSE);
            ref64_expect(v.name, got.state_out, &S[0][0], CLOSE);
        }
        kt_free_all();
    }
}

/* GLA, Mamba2 and linear attention in their quadratic form:
 *     o_t = scale sum_{s<=t} (q_t . exp(G_t - G_s) . k_s) beta_s v_s */
static void additive_relatives(void **state)
{
    (void)state;
    static const struct {
        kda_gates gates;
        kda_betas betas;
    } relative[] = {{GATES_A1, BETAS_ABSENT}, {GATES_HEAD, BETAS_MODEL}, {GATES_NONE, BETAS_ABSENT}};
    for (int which = 0; which < 3; which++) {
        kt_rng r = {9};
        kl_kda_args a =
            kda_draw(&r, (kda_shape){RT, 1, 1, RK, RV}, relative[which].gates, KEYS_MODEL, relative[which].betas);
        a.rule = KL_RULE_ADD;
        a.state_in = (kl_tensor){0};
        static double o[RT * RV];
        memset(o, 0, sizeof o);
        for (int t = 0; t < RT; t++)
            for (int s = 0; s <= t; s++) {
                double weight = 0, beta = a.beta.n_dim ? floats(a.beta)[s] : 1;
                for (int i = 0; i < RK; i++) {
                    double decay = 0;
                    for (int j = s + 1; j <= t && a.g.n_dim; j++)
                        decay += a.g.n_dim == 2 ? floats(a.g)[j] : floats(a.g)[j * RK + i];
                    weight += floats(a.q)[t * RK + i] * exp(decay) * floats(a.k)[s * RK + i];
                }
                for (int l = 0; l < RV; l++)
                    o[t * RV + l] += weight * beta * floats(a.v)[s * RV + l] / sqrt(RK);
            }
        kda_variant v;
        for (int i = 0; kda_variant_at(i, &v); i++)
            ref64_expect(v.name, kda_run_variant(&v, a).o, o, CLOSE);
        kt_free_all();
    }
}

/* KDA is DPLR with a = beta k, b = exp(g) . k and beta k for k. */
static void kda_is_dplr(void **state)
{
    (void)state;
    kt_rng r = {10};
    kl_kda_args a = kda_draw(&r, (kda_shape){RT, 1, 1, RK, RV}, GATES_A16, KEYS_MODEL, BETAS_MODEL);
    kl_dplr_args d = {.q = a.q,
                      .k = kda_copy(a.k),
                      .a = kda_copy(a.k),
                      .b = kda_copy(a.k),
                      .v = a.v,
                      .g = a.g,
                      .state_in = a.state_in};
    for (int i = 0; i < RT * RK; i++) {
        floats(d.k)[i] *= floats(a.beta)[i / RK];
        floats(d.a)[i] *= floats(a.beta)[i / RK];
        floats(d.b)[i] *= expf(floats(a.g)[i]);
    }
    kda_variant v;
    for (int i = 0; kda_variant_at(i, &v); i++) {
        kl_kda_args want = kda_run_variant(&v, a);
        d.o = kl_view3(kt_floats(RT * RV), KL_F32, RT, 1, RV);
        d.state_out = kl_view4(kt_floats(RK * RV), KL_F32, 1, 1, RK, RV);
        d.path = v.path;
        d.chunk = v.chunk;
        d.work = kt_work(kl_dplr_workspace(v.be, &d));
        KT_OK(kl_dplr(v.be, &d, KT_ERR));
        close_values(v.name, d.o, want.o, CLOSE);
        close_values(v.name, d.state_out, want.state_out, CLOSE);
    }
    kt_free_all();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_written),           cmocka_unit_test(orthonormal_keys_store_all),
        cmocka_unit_test(reads_what_it_wrote),       cmocka_unit_test(writing_twice_is_writing_once),
        cmocka_unit_test(null_tokens_are_invisible), cmocka_unit_test(erasing_forgets),
        cmocka_unit_test(erasing_packs_sequences),   cmocka_unit_test(gated_deltanet),
        cmocka_unit_test(additive_relatives),        cmocka_unit_test(kda_is_dplr),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    kt_free_backends();
    return failed;
}
