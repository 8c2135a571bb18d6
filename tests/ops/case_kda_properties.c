/* What must hold between calls of kl_kda whatever the numbers are: chunk sizes, splits, symmetries, linearity, special
 * keys and strengths, bounds.  On every level, path and chunk length. */
#include "support/kda_case.h"

#include <math.h>
#include <stdio.h>

#define CLOSE 2e-6

static const kda_shape usual = {.T = 69, .H = 2, .HV = 2, .K = 24, .V = 20};

static void same_values(const char *what, kl_tensor a, kl_tensor b)
{
    kt_assert_same_bits(what, a.data, b.data, (size_t)ref64_count(a) * sizeof(float));
}

static void close_values(const char *what, kl_tensor a, kl_tensor b, double tolerance)
{
    assert_true(ref64_count(a) == ref64_count(b));
    kt_assert_close(what, a.data, b.data, ref64_count(a), tolerance);
}

static double distance(kl_tensor a, kl_tensor b)
{
    return kt_ratio(a.data, b.data, ref64_count(a));
}

/* x <- x with the entries of every row moved: to[i] = from[order[i]] within rows of n. */
static kl_tensor permuted(kl_tensor t, const int64_t *order, int64_t n)
{
    if (!t.n_dim)
        return t;
    kl_tensor to = kda_copy(t);
    for (int64_t i = 0; i < ref64_count(t); i++)
        ((float *)to.data)[i] = ((const float *)t.data)[i / n * n + order[i % n]];
    return to;
}

static void shuffle(kt_rng *r, int64_t *order, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        order[i] = i;
    for (int64_t i = n - 1; i > 0; i--) {
        int64_t j = kt_below(r, i + 1), kept = order[i];
        order[i] = order[j];
        order[j] = kept;
    }
}

/* --------------------------------------------------------------------------------------------- chunks and splits -- */

/* P1, P2: the path and the chunk length change the rounding only; each fits float64 within CLOSE already, so that two
 * of them may be twice that apart. */
static void paths_and_chunks_agree(void **state)
{
    (void)state;
    kt_rng r = {1};
    kl_kda_args a = kda_draw(&r, usual, GATES_A16, KEYS_MODEL, BETAS_MODEL);
    kl_kda_args first = kda_run(kt_backend("ref", 1), a);
    kda_variant v;
    for (int i = 0; kda_variant_at(i, &v); i++) {
        kl_kda_args got = kda_run_variant(&v, a);
        close_values(v.name, got.o, first.o, CLOSE);
        close_values(v.name, got.state_out, first.state_out, CLOSE);
    }
    kt_free_all();
}

/* P3: run tokens 0 .. cut, carry the state, run the rest. */
static void check_split(const kda_variant *v, const kl_kda_args *a, const kl_kda_args *whole, int64_t cut)
{
    char what[80];
    snprintf(what, sizeof what, "%s split at %d", v->name, (int)cut);
    int64_t T = a->v.dim[0];
    kl_kda_args head = kda_run_variant(v, kda_slice(a, 0, cut, a->state_in));
    kl_kda_args tail = kda_run_variant(v, kda_slice(a, cut, T, head.state_out));
    close_values(what, head.o, kda_rows(whole->o, 0, cut), CLOSE);
    close_values(what, tail.o, kda_rows(whole->o, cut, T), CLOSE);
    close_values(what, tail.state_out, whole->state_out, CLOSE);
    if (v->path == KL_PATH_CHUNK && cut % v->chunk == 0) {
        same_values(what, head.o, kda_rows(whole->o, 0, cut));
        same_values(what, tail.o, kda_rows(whole->o, cut, T));
        same_values(what, tail.state_out, whole->state_out);
    }
}

static void splits_anywhere(void **state)
{
    (void)state;
    static const int64_t cut[] = {0, 1, 7, 8, 9, 15, 16, 17, 31, 32, 33, 47, 48, 63, 64, 65, 68, 69};
    for (int operands = KL_OPERANDS_F32; operands <= KL_OPERANDS_BF16; operands++) {
        kt_rng r = {2};
        kda_variant v;
        for (int i = 0; kda_variant_at(i, &v); i++) {
            kl_kda_args a = kda_draw(&r, usual, GATES_SPIKES, KEYS_MODEL, BETAS_MODEL);
            a.operands = (kl_operands)operands;
            kl_kda_args whole = kda_run_variant(&v, a);
            for (size_t c = 0; c < sizeof cut / sizeof *cut; c++)
                if (operands == KL_OPERANDS_F32 || (v.path == KL_PATH_CHUNK && cut[c] % v.chunk == 0))
                    check_split(&v, &a, &whole, cut[c]);
            kt_free_all();
        }
    }
}

/* Token by token with the state in place is decoding; AUTO takes the step for it. */
static void decoding_is_prefill(void **state)
{
    (void)state;
    kt_rng r = {3};
    for (int l = 0; kt_level(l); l++)
        for (kl_layout layout = KL_LAYOUT_KV; layout <= KL_LAYOUT_VK; layout++) {
            kl_kda_args a = kda_draw(&r, usual, GATES_A1, KEYS_MODEL, BETAS_MODEL);
            a.state_layout = layout;
            a.state_in = kda_states(&r, &a, 1);
            const kl_backend *be = kt_backend(kt_level(l), 2);
            kl_kda_args whole = kda_run(be, a);
            kl_tensor carried = kda_copy(a.state_in);
            for (int64_t t = 0; t < usual.T; t++) {
                kl_kda_args step = kda_slice(&a, t, t + 1, carried);
                step.o = kl_view3(kt_floats(usual.HV * usual.V), KL_F32, 1, usual.HV, usual.V);
                step.state_out = carried;
                step.work = kt_work(kl_kda_workspace(be, &step));
                KT_OK(kl_kda(be, &step, KT_ERR));
                close_values("decoded o", step.o, kda_rows(whole.o, t, t + 1), 4e-6);
            }
            close_values("decoded state", carried, whole.state_out, CLOSE);
            kt_free_all();
        }
}

/* A snapshot is the state that a call over the tokens before it leaves. */
static void snapshots_are_states(void **state)
{
    (void)state;
    kt_rng r = {4};
    kda_variant v;
    for (int i = 0; kda_variant_at(i, &v); i++) {
        if (v.path != KL_PATH_CHUNK)
            continue;
        for (int64_t every = v.chunk; every <= 64; every += v.chunk) {
            kl_kda_args a = kda_draw(&r, (kda_shape){130, 1, 2, 12, 10}, GATES_A1, KEYS_MODEL, BETAS_MODEL);
            int64_t cu[] = {0, 64, 64, 130};
            a.cu_seqlens = cu;
            a.n_seq = 3;
            a.state_in = kda_states(&r, &a, 3);
            a.snapshot_every = every;
            kl_kda_args got = kda_run_variant(&v, a);
            int64_t at = 0;
            for (int64_t n = 0; n < 3; n++)
                for (int64_t t = every; t <= cu[n + 1] - cu[n]; t += every, at++) {
                    kl_kda_args part = kda_slice(&a, cu[n], cu[n] + t, kda_rows(a.state_in, n, n + 1));
                    part.snapshot_every = 0;
                    kl_kda_args want = kda_run_variant(&v, part);
                    same_values(v.name, kda_rows(got.snapshots, at, at + 1), want.state_out);
                }
            assert_int_equal(at, got.snapshots.dim[0]);
            kt_free_all();
        }
    }
}

/* 1.4: the two layouts of a state hold the same numbers. */
static void layouts_agree(void **state)
{
    (void)state;
    kt_rng r = {5};
    kda_variant v;
    for (int i = 0; kda_variant_at(i, &v); i++) {
        kl_kda_args a = kda_draw(&r, usual, GATES_A1, KEYS_MODEL, BETAS_MODEL), b = a;
        b.state_layout = KL_LAYOUT_VK;
        b.state_in = kda_states(&r, &b, 1);
        int64_t K = usual.K, V = usual.V;
        for (int64_t j = 0; j < usual.HV * K * V; j++)
            ((float *)b.state_in.data)[j / (K * V) * K * V + j % V * K + j / V % K] = ((float *)a.state_in.data)[j];
        a = kda_run_variant(&v, a);
        b = kda_run_variant(&v, b);
        close_values(v.name, b.o, a.o, CLOSE);
        kl_tensor turned = kda_copy(a.state_out);
        for (int64_t j = 0; j < usual.HV * K * V; j++)
            ((float *)turned.data)[j] = ((float *)b.state_out.data)[j / (K * V) * K * V + j % V * K + j / V % K];
        close_values(v.name, turned, a.state_out, CLOSE);
        kt_free_all();
    }
}

/* ---------------------------------------------------------------------------------------------------- symmetries -- */

/* Rows of a state: [.. K][V] moved along K. */
static kl_tensor permuted_state_rows(kl_tensor s, const int64_t *order, int64_t K, int64_t V)
{
    kl_tensor to = kda_copy(s);
    for (int64_t i = 0; i < ref64_count(s); i++) {
        int64_t head = i / (K * V), row = i / V % K;
        ((float *)to.data)[i] = ((const float *)s.data)[(head * K + order[row]) * V + i % V];
    }
    return to;
}

/* P4, P5: key channels are interchangeable, value channels are independent. */
static void channels_permute(void **state)
{
    (void)state;
    kt_rng r = {6};
    kda_variant v;
    for (int i = 0; kda_variant_at(i, &v); i++) {
        kl_kda_args a = kda_draw(&r, usual, GATES_HALF, KEYS_MODEL, BETAS_MODEL);
        int64_t order[64];
        kl_kda_args plain = kda_run_variant(&v, a), b = a;
        shuffle(&r, order, usual.K);
        b.q = permuted(a.q, order, usual.K);
        b.k = permuted(a.k, order, usual.K);
        b.g = permuted(a.g, order, usual.K);
        b.state_in = permuted_state_rows(a.state_in, order, usual.K, usual.V);
        b = kda_run_variant(&v, b);
        close_values("key channels", b.o, plain.o, CLOSE);
        close_values("key channels", b.state_out, permuted_state_rows(plain.state_out, order, usual.K, usual.V), CLOSE);
        b = a;
        shuffle(&r, order, usual.V);
        b.v = permuted(a.v, order, usual.V);
        b.state_in = permuted(a.state_in, order, usual.V);
        b = kda_run_variant(&v, b);
        close_values("value channels", b.o, permuted(plain.o, order, usual.V), CLOSE);
        close_values("value channels", b.state_out, permuted(plain.state_out, order, usual.V), CLOSE);
        kt_free_all();
    }
}

/* An orthogonal map of the key channels: three Householder reflections, applied to rows of n (stride 1) or to the rows
 * of states (stride V). */
static void reflect(float *x, int64_t n, int64_t stride, double mirror[3][64])
{
    for (int m = 0; m < 3; m++) {
        double along = 0;
        for (int64_t i = 0; i < n; i++)
            along += mirror[m][i] * x[i * stride];
        for (int64_t i = 0; i < n; i++)
            x[i * stride] = (float)(x[i * stride] - 2 * along * mirror[m][i]);
    }
}

static kl_kda_args rotated(kt_rng *r, const kl_kda_args *a)
{
    double mirror[3][64];
    int64_t K = a->k.dim[2], V = a->v.dim[2];
    for (int m = 0; m < 3; m++) {
        double square = 0;
        for (int64_t i = 0; i < K; i++)
            mirror[m][i] = kt_normal(r), square += mirror[m][i] * mirror[m][i];
        for (int64_t i = 0; i < K; i++)
            mirror[m][i] /= sqrt(square);
    }
    kl_kda_args b = *a;
    b.q = kda_copy(a->q);
    b.k = kda_copy(a->k);
    b.state_in = kda_copy(a->state_in);
    for (int64_t i = 0; i < ref64_count(a->q); i += K) {
        reflect((float *)b.q.data + i, K, 1, mirror);
        reflect((float *)b.k.data + i, K, 1, mirror);
    }
    for (int64_t h = 0; h < a->v.dim[1]; h++)
        for (int64_t l = 0; l < V; l++)
            reflect((float *)b.state_in.data + h * K * V + l, K, V, mirror);
    return b;
}

/* P6: turning all key channels together changes nothing when a head has one decay, and everything when every channel
 * has its own: an implementation that broadcast a vector gate would pass the first half and fail the second. */
static void rotation(void **state)
{
    (void)state;
    kt_rng r = {7};
    kda_variant v;
    for (int i = 0; kda_variant_at(i, &v); i++) {
        kl_kda_args scalar = kda_draw(&r, usual, GATES_HEAD, KEYS_MODEL, BETAS_MODEL);
        kl_kda_args turned = kda_run_variant(&v, rotated(&r, &scalar));
        close_values("one gate per head", turned.o, kda_run_variant(&v, scalar).o, CLOSE);
        kl_kda_args vector = kda_draw(&r, usual, GATES_WIDE, KEYS_MODEL, BETAS_MODEL);
        turned = kda_run_variant(&v, rotated(&r, &vector));
        assert_true(distance(turned.o, kda_run_variant(&v, vector).o) > 0.1);
        kt_free_all();
    }
}

static void flip(kl_tensor t, int64_t start, int64_t end)
{
    for (int64_t i = start; i < end; i++)
        ((float *)t.data)[i] = -((float *)t.data)[i];
}

/* P8, P9: signs of key channels, and of a token's key and value together, cancel in every product: bit for bit. */
static void signs_cancel(void **state)
{
    (void)state;
    kt_rng r = {8};
    kda_variant v;
    for (int i = 0; kda_variant_at(i, &v); i++)
        for (int operands = KL_OPERANDS_F32; operands <= KL_OPERANDS_BF16; operands++) {
            kl_kda_args a = kda_draw(&r, usual, GATES_A1, KEYS_MODEL, BETAS_MODEL), b = a;
            a.operands = b.operands = (kl_operands)operands;
            int64_t K = usual.K, V = usual.V, c = kt_below(&r, K);
            kl_kda_args plain = kda_run_variant(&v, a);
            b.q = kda_copy(a.q);
            b.k = kda_copy(a.k);
            b.state_in = kda_copy(a.state_in);
            for (int64_t j = c; j < ref64_count(a.q); j += K) {
                flip(b.q, j, j + 1);
                flip(b.k, j, j + 1);
            }
            for (int64_t h = 0; h < usual.HV; h++)
                flip(b.state_in, (h * K + c) * V, (h * K + c + 1) * V);
            b = kda_run_variant(&v, b);
            same_values("sign of a key channel", b.o, plain.o);
            b = a;
            b.k = kda_copy(a.k);
            b.v = kda_copy(a.v);
            for (int64_t t = 0; t < usual.T; t += 3) {
                flip(b.k, t * usual.H * K, (t + 1) * usual.H * K);
                flip(b.v, t * usual.HV * V, (t + 1) * usual.HV * V);
            }
            b = kda_run_variant(&v, b);
            same_values("sign of a key and its value", b.o, plain.o);
            same_values("sign of a key and its value", b.state_out, plain.state_out);
            kt_free_all();
        }
}

/* ----------------------------------------------------------------------------------------------------- linearity -- */

static kl_tensor sum_of(kl_tensor a, kl_tensor b)
{
    kl_tensor c = kda_copy(a);
    for (int64_t i = 0; i < ref64_count(a); i++)
        ((float *)c.data)[i] += ((const float *)b.data)[i];
    return c;
}

static kl_tensor times(kl_tensor a, float factor)
{
    kl_tensor c = kda_copy(a);
    for (int64_t i = 0; i < ref64_count(a); i++)
        ((float *)c.data)[i] *= factor;
    return c;
}

/* P7, P18: linear in v and the state together, in q, and in the scale; by powers of two bit for bit. */
static void linear(void **state)
{
    (void)state;
    kt_rng r = {9};
    kda_variant v;
    for (int i = 0; kda_variant_at(i, &v); i++) {
        kl_kda_args a = kda_draw(&r, usual, GATES_A1, KEYS_MODEL, BETAS_MODEL), b = a, c = a;
        b.v = kl_view3(kt_normals(&r, ref64_count(a.v), 1), KL_F32, usual.T, usual.HV, usual.V);
        b.state_in = kda_states(&r, &a, 1);
        c.v = sum_of(a.v, b.v);
        c.state_in = sum_of(a.state_in, b.state_in);
        a = kda_run_variant(&v, a);
        b = kda_run_variant(&v, b);
        c = kda_run_variant(&v, c);
        close_values("v and state", c.o, sum_of(a.o, b.o), CLOSE);
        close_values("v and state", c.state_out, sum_of(a.state_out, b.state_out), CLOSE);
        kl_kda_args scaled = a;
        scaled.q = times(a.q, -3);
        close_values("q", kda_run_variant(&v, scaled).o, times(a.o, -3), CLOSE);
        scaled.q = times(a.q, 4);
        same_values("4 q", kda_run_variant(&v, scaled).o, times(a.o, 4));
        scaled.q = a.q;
        scaled.scale = 0.75f;
        a.scale = 0.25f;
        kl_kda_args quarter = kda_run_variant(&v, a);
        close_values("scale", kda_run_variant(&v, scaled).o, times(quarter.o, 3), CLOSE);
        scaled.scale = 2;
        same_values("scale", kda_run_variant(&v, scaled).o, times(quarter.o, 8));
        kt_free_all();
    }
}

/* A segment is an affine map of the state, S -> A S + B, and o_t = o_local,t + Qhat_t S: run it on V value columns from
 * zeros and K more, without values, from the identity, and it leaves [B | A] and [o_local | Qhat].  Maps of
 * neighbouring segments compose into the whole: what lets ranks work on parts of one sequence. */
static void segments_compose(void **state)
{
    (void)state;
    enum { T = 69, CUT = 25, K = 14, V = 10, WIDE = V + K };
    kt_rng r = {11};
    kda_variant v;
    for (int i = 0; kda_variant_at(i, &v); i++) {
        kl_kda_args a = kda_draw(&r, (kda_shape){T, 1, 1, K, V}, GATES_A1, KEYS_MODEL, BETAS_MODEL), wide = a;
        kl_kda_args whole = kda_run_variant(&v, a), first = kda_run_variant(&v, kda_slice(&a, 0, CUT, a.state_in));
        wide.v = kl_view3(kt_zeros(T * WIDE), KL_F32, T, 1, WIDE);
        wide.state_in = kl_view4(kt_zeros(K * WIDE), KL_F32, 1, 1, K, WIDE);
        for (int t = 0; t < T; t++)
            for (int l = 0; l < V; l++)
                ((float *)wide.v.data)[t * WIDE + l] = ((const float *)a.v.data)[t * V + l];
        for (int j = 0; j < K; j++)
            ((float *)wide.state_in.data)[j * WIDE + V + j] = 1;
        kl_kda_args map = kda_run_variant(&v, kda_slice(&wide, CUT, T, wide.state_in));
        const float *BA = map.state_out.data, *S = first.state_out.data, *local = map.o.data;
        kl_tensor left = kda_copy(whole.state_out), o = kda_copy(kda_rows(whole.o, CUT, T));
        for (int row = 0; row < K + T - CUT; row++)
            for (int l = 0; l < V; l++) {
                const float *from = row < K ? BA + row * WIDE : local + (row - K) * WIDE;
                double sum = from[l];
                for (int j = 0; j < K; j++)
                    sum += (double)from[V + j] * S[j * V + l];
                *(row < K ? (float *)left.data + row * V + l : (float *)o.data + (row - K) * V + l) = (float)sum;
            }
        close_values(v.name, left, whole.state_out, 4e-6);
        close_values(v.name, o, kda_rows(whole.o, CUT, T), 4e-6);
        kt_free_all();
    }
}

/* P19: 0 <= beta |k|^2 <= 2 contracts, so the state never holds more than what was put in. */
static void norm_is_bounded(void **state)
{
    (void)state;
    kt_rng r = {10};
    kda_variant v;
    for (int i = 0; kda_variant_at(i, &v); i++)
        for (int keys = 0; keys < KDA_N_KEYS; keys++) {
            kl_kda_args a = kda_draw(&r, (kda_shape){200, 1, 1, 16, 16}, GATES_ZERO, (kda_keys)keys, BETAS_TWO);
            double held = 0, bound = 0;
            for (int64_t j = 0; j < 256; j++)
                bound += pow(((float *)a.state_in.data)[j], 2);
            bound = sqrt(bound);
            for (int64_t t = 0; t < 200; t++) {
                double k2 = 0, v2 = 0;
                for (int64_t j = 0; j < 16; j++) {
                    k2 += pow(((float *)a.k.data)[t * 16 + j], 2);
                    v2 += pow(((float *)a.v.data)[t * 16 + j], 2);
                }
                bound += 2 * sqrt(k2 * v2);
            }
            a = kda_run_variant(&v, a);
            for (int64_t j = 0; j < 256; j++)
                held += pow(((float *)a.state_out.data)[j], 2);
            assert_true(sqrt(held) <= bound * (1 + 1e-5));
            kt_free_all();
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(paths_and_chunks_agree),
        cmocka_unit_test(splits_anywhere),
        cmocka_unit_test(decoding_is_prefill),
        cmocka_unit_test(snapshots_are_states),
        cmocka_unit_test(layouts_agree),
        cmocka_unit_test(channels_permute),
        cmocka_unit_test(rotation),
        cmocka_unit_test(signs_cancel),
        cmocka_unit_test(linear),
        cmocka_unit_test(segments_compose),
        cmocka_unit_test(norm_is_bounded),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    kt_free_backends();
    return failed;
}
