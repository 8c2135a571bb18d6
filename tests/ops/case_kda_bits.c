/* What kl_kda and kl_dplr promise to the bit: no token sees a later one, no head or sequence sees another, threads and
 * neighbours in a batch change nothing, and a NaN stays where it belongs. */
#include "support/kda_case.h"

#include "ops/check.h"

#include <math.h>
#include <string.h>

enum { T = 53, H = 2, HV = 4, K = 20, V = 12 };
static const kda_shape usual = {T, H, HV, K, V};

static float *floats(kl_tensor t)
{
    return t.data;
}

static void same_bits(const char *what, kl_tensor a, kl_tensor b)
{
    assert_true(ref64_count(a) == ref64_count(b));
    kt_assert_same_bits(what, a.data, b.data, (size_t)ref64_count(a) * sizeof(float));
}

/* Entry (token, head) of a [T][heads][n] or [T][heads] tensor: where it starts; *n elements. */
static float *entry(kl_tensor t, int64_t token, int64_t head, int64_t *n)
{
    *n = t.n_dim == 3 ? t.dim[2] : 1;
    return floats(t) + (token * t.dim[1] + head) * *n;
}

static void fill_entry(kl_tensor t, int64_t token, int64_t head, float x)
{
    int64_t n;
    float *p = entry(t, token, head, &n);
    for (int64_t i = 0; i < n; i++)
        p[i] = x;
}

/* The five inputs of a call, copied, so that a test may spoil them. */
static kl_kda_args copied(const kl_kda_args *a)
{
    kl_kda_args b = *a;
    b.q = kda_copy(a->q);
    b.k = kda_copy(a->k);
    b.v = kda_copy(a->v);
    b.g = kda_copy(a->g);
    b.beta = kda_copy(a->beta);
    b.state_in = kda_copy(a->state_in);
    return b;
}

/* Kinds of calls under which the promises are tried: gates per channel, per head, none; both rules; both operands. */
enum { N_KIND = 6 };
static kl_kda_args draw_kind(kt_rng *r, int kind)
{
    static const kda_gates gates[N_KIND] = {GATES_A16, GATES_HEAD, GATES_NONE, GATES_A1, GATES_ERASE, GATES_A1};
    kl_kda_args a = kda_draw(r, usual, gates[kind], KEYS_MODEL, BETAS_MODEL);
    a.rule = kind == 3 ? KL_RULE_ADD : KL_RULE_DELTA;
    a.operands = kind == 5 ? KL_OPERANDS_BF16 : KL_OPERANDS_F32;
    return a;
}

/* P16: whatever token t and all later ones hold, NaN included, the outputs before t are the same bits. */
static void no_token_sees_a_later_one(void **state)
{
    (void)state;
    static const int64_t cut[] = {0, 1, 5, 15, 16, 17, 31, 32, 40, 52};
    static const float poison[] = {3.5f, NAN, INFINITY};
    kda_variant v;
    for (int kind = 0; kind < N_KIND; kind++)
        for (int i = 0; kda_variant_at(i, &v); i++) {
            kt_rng r = {(uint64_t)kind};
            kl_kda_args a = draw_kind(&r, kind), want = kda_run_variant(&v, a);
            for (size_t c = 0; c < sizeof cut / sizeof *cut; c++) {
                kl_kda_args b = copied(&a);
                float x = poison[c % 3];
                for (int64_t t = cut[c]; t < T; t++) {
                    for (int64_t h = 0; h < H; h++) {
                        fill_entry(b.q, t, h, x);
                        fill_entry(b.k, t, h, x);
                    }
                    for (int64_t h = 0; h < HV; h++) {
                        fill_entry(b.v, t, h, x);
                        fill_entry(b.beta, t, h, x);
                        if (b.g.n_dim)
                            fill_entry(b.g, t, h, x > 0 ? -x : x);
                    }
                }
                kl_kda_args got = kda_run_variant(&v, b);
                same_bits(v.name, kda_rows(got.o, 0, cut[c]), kda_rows(want.o, 0, cut[c]));
            }
            kt_free_all();
        }
}

static bool all_nan(const float *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        if (!isnan(x[i]))
            return false;
    return true;
}

/* One input of one token of one value head (or key head) is NaN.  Heads that do not read it and tokens before it keep
 * their bits; the state of the heads that read it is spoilt where the recurrence says so. */
static void a_nan_stays_in_its_head(void **state)
{
    (void)state;
    enum { BAD = 21, N_INPUT = 5 };
    kda_variant v;
    for (int kind = 0; kind < N_KIND; kind++)
        for (int i = 0; kda_variant_at(i, &v); i++) {
            kt_rng r = {(uint64_t)kind + 50};
            kl_kda_args a = draw_kind(&r, kind), want = kda_run_variant(&v, a);
            for (int input = 0; input < N_INPUT; input++) {
                kl_kda_args b = copied(&a);
                kl_tensor spoilt[N_INPUT] = {b.q, b.k, b.v, b.g, b.beta};
                bool per_key_head = input < 2;
                if (!spoilt[input].n_dim)
                    continue;
                int64_t n, head = per_key_head ? 1 : 2;
                float *bad = entry(spoilt[input], BAD, head, &n);
                bad[n / 2] = NAN;
                kl_kda_args got = kda_run_variant(&v, b);
                for (int64_t j = 0; j < HV; j++) {
                    bool hit = per_key_head ? j / (HV / H) == head : j == head;
                    for (int64_t t = 0; t < T; t++)
                        if (!hit || t < BAD)
                            kt_assert_same_bits(v.name, entry(got.o, t, j, &n), entry(want.o, t, j, &n), V * 4);
                    const float *S = floats(got.state_out) + j * K * V;
                    if (!hit || input == 0)
                        kt_assert_same_bits(v.name, S, floats(want.state_out) + j * K * V, K * V * 4);
                    if (hit && (input == 0 || input == 1 || input == 4)) /* q, k, beta reach every column at once */
                        assert_true(all_nan(entry(got.o, BAD, j, &n), V));
                    if (hit && input == 2)
                        assert_true(isnan(entry(got.o, BAD, j, &n)[V / 2]));
                }
            }
            kt_free_all();
        }
}

/* An infinite state, a huge value: no promise on the numbers but that the call ends and other heads are untouched. */
static void infinities_end(void **state)
{
    (void)state;
    kda_variant v;
    for (int i = 0; kda_variant_at(i, &v); i++) {
        kt_rng r = {60};
        kl_kda_args a = draw_kind(&r, 0), want = kda_run_variant(&v, a), b = copied(&a);
        int64_t n;
        floats(b.state_in)[3] = INFINITY;
        entry(b.v, 7, 0, &n)[0] = 3e38f;
        entry(b.g, 9, 0, &n)[0] = INFINITY;
        kl_kda_args got = kda_run_variant(&v, b);
        for (int64_t t = 0; t < T; t++)
            for (int64_t j = 1; j < HV; j++)
                kt_assert_same_bits(v.name, entry(got.o, t, j, &n), entry(want.o, t, j, &n), V * 4);
        kt_free_all();
    }
}

/* P17: heads may be called in any order, and sequences of a batch as well. */
static void heads_permute(void **state)
{
    (void)state;
    static const int64_t order[H] = {1, 0};
    kda_variant v;
    for (int kind = 0; kind < N_KIND; kind++)
        for (int i = 0; kda_variant_at(i, &v); i++) {
            kt_rng r = {(uint64_t)kind + 70};
            kl_kda_args a = draw_kind(&r, kind), b = copied(&a), want = kda_run_variant(&v, a);
            kl_tensor from[] = {a.q, a.k, a.v, a.g, a.beta}, to[] = {b.q, b.k, b.v, b.g, b.beta};
            for (int x = 0; x < 5; x++)
                for (int64_t t = 0; t < T && from[x].n_dim; t++)
                    for (int64_t h = 0, n; h < from[x].dim[1]; h++) {
                        int64_t group = from[x].dim[1] / H;
                        float *at = entry(to[x], t, h, &n);
                        memcpy(at, entry(from[x], t, order[h / group] * group + h % group, &n), (size_t)n * 4);
                    }
            for (int64_t h = 0; h < HV; h++)
                memcpy(floats(b.state_in) + h * K * V, floats(a.state_in) + (order[h / 2] * 2 + h % 2) * K * V,
                       K * V * 4);
            kl_kda_args got = kda_run_variant(&v, b);
            for (int64_t h = 0, n; h < HV; h++) {
                int64_t j = order[h / 2] * 2 + h % 2;
                for (int64_t t = 0; t < T; t++)
                    kt_assert_same_bits(v.name, entry(got.o, t, h, &n), entry(want.o, t, j, &n), V * 4);
                kt_assert_same_bits(v.name, floats(got.state_out) + h * K * V, floats(want.state_out) + j * K * V,
                                    K * V * 4);
            }
            kt_free_all();
        }
}

/* 6.1: sequences packed in one call are the same bits as calls of their own, also with AUTO, where single tokens take
 * the step; an empty sequence leaves its state as it was. */
static void packed_is_separate(void **state)
{
    (void)state;
    static const int64_t cu[] = {0, 1, 1, 18, 34, 35, 53};
    enum { N = 6 };
    kda_variant v;
    for (int kind = 0; kind < N_KIND; kind++)
        for (int i = 0; kda_variant_at(i, &v); i++)
            for (int is_auto = 0; is_auto <= 1; is_auto++) {
                kt_rng r = {(uint64_t)kind + 80};
                kl_kda_args a = draw_kind(&r, kind);
                a.cu_seqlens = cu;
                a.n_seq = N;
                a.state_in = kda_states(&r, &a, N);
                v.path = is_auto ? KL_PATH_AUTO : v.path;
                kl_kda_args packed = kda_run_variant(&v, a);
                for (int n = 0; n < N; n++) {
                    kl_kda_args own =
                        kda_run_variant(&v, kda_slice(&a, cu[n], cu[n + 1], kda_rows(a.state_in, n, n + 1)));
                    same_bits(v.name, kda_rows(packed.o, cu[n], cu[n + 1]), own.o);
                    same_bits(v.name, kda_rows(packed.state_out, n, n + 1), own.state_out);
                }
                same_bits("empty sequence", kda_rows(packed.state_out, 1, 2), kda_rows(a.state_in, 1, 2));
                kt_free_all();
            }
}

/* AUTO is the step for a sequence of one token and chunks for any other, bit for bit. */
static void auto_is_one_of_them(void **state)
{
    (void)state;
    for (int l = 0; kt_level(l); l++)
        for (int64_t n = 1; n <= 20; n++) {
            kt_rng r = {(uint64_t)n};
            kl_kda_args a = kda_draw(&r, (kda_shape){n, 1, 2, 33, 20}, GATES_A1, KEYS_MODEL, BETAS_MODEL);
            kl_kda_args chosen = kda_run(kt_backend(kt_level(l), 1), a);
            a.path = n == 1 ? KL_PATH_RECURRENT : KL_PATH_CHUNK;
            kl_kda_args named = kda_run(kt_backend(kt_level(l), 1), a);
            same_bits(kt_level(l), chosen.o, named.o);
            same_bits(kt_level(l), chosen.state_out, named.state_out);
            kt_free_all();
        }
}

/* A NaN in one sequence of a batch is no business of the others. */
static void a_nan_stays_in_its_sequence(void **state)
{
    (void)state;
    static const int64_t cu[] = {0, 20, 37, 53};
    kda_variant v;
    for (int i = 0; kda_variant_at(i, &v); i++) {
        kt_rng r = {90};
        kl_kda_args a = draw_kind(&r, 0);
        a.cu_seqlens = cu;
        a.n_seq = 3;
        a.state_in = kda_states(&r, &a, 3);
        kl_kda_args want = kda_run_variant(&v, a), b = copied(&a);
        for (int64_t i2 = 20 * H * K; i2 < 37 * H * K; i2++)
            floats(b.k)[i2] = floats(b.q)[i2] = NAN;
        for (int64_t s = HV * K * V; s < 2 * HV * K * V; s++)
            floats(b.state_in)[s] = NAN;
        kl_kda_args got = kda_run_variant(&v, b);
        for (int n = 0; n < 3; n += 2) {
            same_bits(v.name, kda_rows(got.o, cu[n], cu[n + 1]), kda_rows(want.o, cu[n], cu[n + 1]));
            same_bits(v.name, kda_rows(got.state_out, n, n + 1), kda_rows(want.state_out, n, n + 1));
        }
        assert_true(all_nan(floats(got.o) + 20 * HV * V, 17 * HV * V));
        kt_free_all();
    }
}

/* The pool changes nothing, whatever there is to split: many heads, one head, many sequences. */
static void threads_change_nothing(void **state)
{
    (void)state;
    static const kda_shape shape[] = {{53, 2, 4, 20, 12}, {40, 1, 1, 64, 128}, {9, 3, 3, 16, 64}, {200, 1, 2, 32, 48}};
    kda_variant v;
    for (size_t s = 0; s < sizeof shape / sizeof *shape; s++)
        for (int i = 0; kda_variant_at(i, &v); i++) {
            kt_rng r = {s};
            kl_kda_args a = kda_draw(&r, shape[s], GATES_A1, KEYS_MODEL, BETAS_MODEL), want = {0};
            for (int threads = 1; threads <= 5; threads++) {
                v.be = kt_backend(kt_level(i / 5), threads);
                kl_kda_args got = kda_run_variant(&v, a);
                if (threads == 1)
                    want = got;
                same_bits(v.name, got.o, want.o);
                same_bits(v.name, got.state_out, want.state_out);
            }
            kt_free_all();
        }
}

/* state_out may be the memory of state_in; without state_out the outputs are the same. */
static void state_in_place(void **state)
{
    (void)state;
    kda_variant v;
    for (int i = 0; kda_variant_at(i, &v); i++) {
        kt_rng r = {100};
        kl_kda_args a = draw_kind(&r, 0), want = kda_run_variant(&v, a), b = copied(&a);
        b.path = v.path;
        b.chunk = v.chunk;
        b.o = kda_copy(want.o);
        b.state_out = b.state_in;
        b.work = kt_work(kl_kda_workspace(v.be, &b));
        KT_OK(kl_kda(v.be, &b, KT_ERR));
        same_bits(v.name, b.o, want.o);
        same_bits(v.name, b.state_out, want.state_out);
        b.state_in = a.state_in;
        b.state_out = (kl_tensor){0};
        memset(b.o.data, 0, T * HV * V * 4);
        b.work = kt_work(kl_kda_workspace(v.be, &b));
        KT_OK(kl_kda(v.be, &b, KT_ERR));
        same_bits(v.name, b.o, want.o);
        kt_free_all();
    }
}

/* What lies in the workspace before a call does not matter, and the same call gives the same bits again. */
static void workspace_is_scratch(void **state)
{
    (void)state;
    kda_variant v;
    for (int i = 0; kda_variant_at(i, &v); i++) {
        kt_rng r = {110};
        kl_kda_args a = draw_kind(&r, 0), want = kda_run_variant(&v, a), b = want;
        memset(b.work.data, 0xff, b.work.bytes); /* NaN everywhere */
        b.o = kda_copy(want.v);
        KT_OK(kl_kda(v.be, &b, KT_ERR));
        same_bits(v.name, b.o, want.o);
        kt_free_all();
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_token_sees_a_later_one),
        cmocka_unit_test(a_nan_stays_in_its_head),
        cmocka_unit_test(infinities_end),
        cmocka_unit_test(heads_permute),
        cmocka_unit_test(packed_is_separate),
        cmocka_unit_test(a_nan_stays_in_its_sequence),
        cmocka_unit_test(threads_change_nothing),
        cmocka_unit_test(auto_is_one_of_them),
        cmocka_unit_test(state_in_place),
        cmocka_unit_test(workspace_is_scratch),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    kt_free_backends();
    return failed;
}
