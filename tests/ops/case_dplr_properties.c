/* kl_dplr: what it promises to the bit, splits, layouts, decoding, and what its special cases are. */
#include "support/dplr_case.h"

#include <math.h>
#include <string.h>

enum { T = 53, H = 3, K = 18, V = 12 };
#define CLOSE 2e-6
static const dplr_shape usual = {T, H, K, V};

static float *floats(kl_tensor t)
{
    return t.data;
}

static void same_bits(const char *what, kl_tensor a, kl_tensor b)
{
    assert_true(ref64_count(a) == ref64_count(b));
    kt_assert_same_bits(what, a.data, b.data, (size_t)ref64_count(a) * sizeof(float));
}

static void close_values(const char *what, kl_tensor a, kl_tensor b)
{
    assert_true(ref64_count(a) == ref64_count(b));
    kt_assert_close(what, a.data, b.data, ref64_count(a), CLOSE);
}

/* The i-th input of a call. */
enum { N_INPUT = 6 };
static kl_tensor *input(kl_dplr_args *a, int i)
{
    kl_tensor *all[N_INPUT] = {&a->q, &a->k, &a->a, &a->b, &a->v, &a->g};
    return all[i];
}

static kl_dplr_args copied(const kl_dplr_args *a)
{
    kl_dplr_args b = *a;
    for (int i = 0; i < N_INPUT; i++)
        *input(&b, i) = kda_copy(*input(&b, i));
    b.state_in = kda_copy(a->state_in);
    return b;
}

static void extremes_against_float64(void **state)
{
    (void)state;
    static const dplr_shape shape[] = {{0, 1, 4, 4},    {1, 2, 5, 37},   {15, 1, 37, 5},  {16, 1, 64, 64},
                                       {17, 1, 128, 3}, {37, 2, 16, 16}, {69, 1, 33, 17}, {21, 1, 256, 40}};
    static const kda_gates gates[] = {GATES_NONE, GATES_ZERO, GATES_A16,    GATES_50,
                                      GATES_INF,  GATES_HALF, GATES_SPIKES, GATES_ERASE};
    for (size_t s = 0; s < sizeof shape / sizeof *shape; s++)
        for (size_t g = 0; g < sizeof gates / sizeof *gates; g++) {
            kt_rng r = {s * 10 + g};
            kl_dplr_args a = dplr_draw(&r, shape[s], gates[g]);
            ref64_outputs want = ref64_dplr(&a);
            kda_variant v;
            for (int i = 0; kda_variant_at(i, &v); i++) {
                kl_dplr_args got = dplr_run_variant(&v, a);
                ref64_expect(v.name, got.o, want.o, CLOSE);
                ref64_expect(v.name, got.state_out, want.state_out, CLOSE);
            }
            kt_free_all();
        }
}

/* From token `cut` on everything is spoilt; what came before keeps its bits. */
static void no_token_sees_a_later_one(void **state)
{
    (void)state;
    static const int64_t cut[] = {0, 1, 5, 15, 16, 17, 31, 32, 40, 52};
    static const float poison[] = {3.5f, NAN, INFINITY};
    kda_variant v;
    for (int i = 0; kda_variant_at(i, &v); i++) {
        kt_rng r = {1};
        kl_dplr_args a = dplr_draw(&r, usual, GATES_A16), want = dplr_run_variant(&v, a);
        for (size_t c = 0; c < sizeof cut / sizeof *cut; c++) {
            kl_dplr_args b = copied(&a);
            for (int x = 0; x < N_INPUT; x++) {
                kl_tensor tail = kda_rows(*input(&b, x), cut[c], T);
                for (int64_t e = 0; e < ref64_count(tail); e++)
                    floats(tail)[e] = poison[c % 3];
            }
            same_bits(v.name, kda_rows(dplr_run_variant(&v, b).o, 0, cut[c]), kda_rows(want.o, 0, cut[c]));
        }
        kt_free_all();
    }
}

/* A NaN in one head's token leaves the other heads, and the tokens before it, alone. */
static void a_nan_stays_in_its_head(void **state)
{
    (void)state;
    enum { BAD = 21, HEAD = 1 };
    kda_variant v;
    for (int i = 0; kda_variant_at(i, &v); i++) {
        kt_rng r = {2};
        kl_dplr_args a = dplr_draw(&r, usual, GATES_A1), want = dplr_run_variant(&v, a);
        for (int x = 0; x < N_INPUT; x++) {
            kl_dplr_args b = copied(&a);
            int64_t n = input(&b, x)->dim[2];
            floats(*input(&b, x))[(BAD * H + HEAD) * n + 3] = NAN;
            kl_dplr_args got = dplr_run_variant(&v, b);
            for (int64_t t = 0; t < T; t++)
                for (int64_t h = 0; h < H; h++)
                    if (h != HEAD || t < BAD)
                        kt_assert_same_bits(v.name, floats(got.o) + (t * H + h) * V, floats(want.o) + (t * H + h) * V,
                                            V * 4);
            assert_true(isnan(floats(got.o)[(BAD * H + HEAD) * V + 3]));
        }
        kt_free_all();
    }
}

/* Sequences packed in one call are the bits of calls of their own, on any number of threads. */
static void packed_is_separate(void **state)
{
    (void)state;
    static const int64_t cu[] = {0, 1, 1, 18, 34, 35, 53};
    enum { N = 6 };
    kda_variant v;
    for (int i = 0; kda_variant_at(i, &v); i++)
        for (int is_auto = 0; is_auto <= 1; is_auto++) {
            kt_rng r = {3};
            kl_dplr_args a = dplr_draw(&r, usual, GATES_A1);
            a.cu_seqlens = cu;
            a.n_seq = N;
            a.state_in = dplr_states(&r, &a, N);
            v.path = is_auto ? KL_PATH_AUTO : v.path;
            kl_dplr_args packed = dplr_run_variant(&v, a);
            for (int n = 0; n < N; n++) {
                kl_tensor from = kda_rows(a.state_in, n, n + 1);
                kl_dplr_args own = dplr_run_variant(&v, dplr_slice(&a, cu[n], cu[n + 1], from));
                same_bits(v.name, kda_rows(packed.o, cu[n], cu[n + 1]), own.o);
                same_bits(v.name, kda_rows(packed.state_out, n, n + 1), own.state_out);
            }
            for (int threads = 1; threads <= 5; threads++) {
                v.be = kt_backend(kt_level(i / 5), threads);
                kl_dplr_args again = dplr_run_variant(&v, a);
                same_bits("threads", again.o, packed.o);
                same_bits("threads", again.state_out, packed.state_out);
            }
            kt_free_all();
        }
}

static void splits_anywhere(void **state)
{
    (void)state;
    static const int64_t cut[] = {0, 1, 8, 15, 16, 17, 32, 40, 48, 52, 53};
    kda_variant v;
    for (int i = 0; kda_variant_at(i, &v); i++) {
        kt_rng r = {4};
        kl_dplr_args a = dplr_draw(&r, usual, GATES_SPIKES), whole = dplr_run_variant(&v, a);
        for (size_t c = 0; c < sizeof cut / sizeof *cut; c++) {
            kl_dplr_args head = dplr_run_variant(&v, dplr_slice(&a, 0, cut[c], a.state_in));
            kl_dplr_args tail = dplr_run_variant(&v, dplr_slice(&a, cut[c], T, head.state_out));
            close_values(v.name, head.o, kda_rows(whole.o, 0, cut[c]));
            close_values(v.name, tail.o, kda_rows(whole.o, cut[c], T));
            close_values(v.name, tail.state_out, whole.state_out);
            if (v.path == KL_PATH_CHUNK && cut[c] % v.chunk == 0)
                same_bits(v.name, tail.state_out, whole.state_out);
        }
        kt_free_all();
    }
}

/* Signs: (a, b) -> (-a, -b) and (k, v) -> (-k, -v) of a token cancel in their products, bit for bit. */
static void signs_cancel(void **state)
{
    (void)state;
    kda_variant v;
    for (int i = 0; kda_variant_at(i, &v); i++) {
        kt_rng r = {5};
        kl_dplr_args a = dplr_draw(&r, usual, GATES_A1), want = dplr_run_variant(&v, a), b = copied(&a);
        for (int x = 1; x < 5; x++)
            for (int64_t e = 0; e < ref64_count(*input(&b, x)); e++)
                floats(*input(&b, x))[e] *= e / (ref64_count(*input(&b, x)) / T) % 2 ? -1.0f : 1.0f;
        kl_dplr_args got = dplr_run_variant(&v, b);
        same_bits(v.name, got.o, want.o);
        same_bits(v.name, got.state_out, want.state_out);
        kt_free_all();
    }
}

/* Linear in (v, state); without a there is no erasing: the additive rule of kl_kda. */
static void special_cases(void **state)
{
    (void)state;
    kda_variant v;
    for (int i = 0; kda_variant_at(i, &v); i++) {
        kt_rng r = {6};
        kl_dplr_args a = dplr_draw(&r, usual, GATES_A1), b = copied(&a), c = copied(&a);
        kt_fill_normal(&r, b.v.data, T * H * V, 1);
        kt_fill_normal(&r, b.state_in.data, H * K * V, 1);
        for (int64_t e = 0; e < T * H * V; e++)
            floats(c.v)[e] += floats(b.v)[e];
        for (int64_t e = 0; e < H * K * V; e++)
            floats(c.state_in)[e] += floats(b.state_in)[e];
        a = dplr_run_variant(&v, a);
        b = dplr_run_variant(&v, b);
        c = dplr_run_variant(&v, c);
        for (int64_t e = 0; e < T * H * V; e++)
            floats(b.o)[e] += floats(a.o)[e];
        close_values("linear in v and state", c.o, b.o);

        kl_dplr_args d = copied(&a);
        memset(d.a.data, 0, T * H * K * sizeof(float));
        kl_kda_args gla = {.q = a.q, .k = a.k, .v = a.v, .g = a.g, .rule = KL_RULE_ADD, .state_in = a.state_in};
        gla = kda_run_variant(&v, gla);
        close_values("no erasing", dplr_run_variant(&v, d).o, gla.o);
        kt_free_all();
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(extremes_against_float64),
        cmocka_unit_test(no_token_sees_a_later_one),
        cmocka_unit_test(a_nan_stays_in_its_head),
        cmocka_unit_test(packed_is_separate),
        cmocka_unit_test(splits_anywhere),
        cmocka_unit_test(signs_cancel),
        cmocka_unit_test(special_cases),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    kt_free_backends();
    return failed;
}
