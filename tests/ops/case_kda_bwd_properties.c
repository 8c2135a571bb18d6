/* kl_kda_bwd: every regime of gates, keys and strengths against the float64 adjoint, and what holds to the bit: whose
 * gradients depend on what.  Random settings are in case_kda_random.c, finite differences in case_kda_bwd.c. */
#include "support/dplr_case.h"

#include "ops/check.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { T = 53, H = 2, HV = 4, K = 20, V = 12 };
static const kda_shape usual = {T, H, HV, K, V};

static float *floats(kl_tensor t)
{
    return t.data;
}

static kl_tensor like(kl_tensor t)
{
    if (!t.n_dim)
        return t;
    t.pitch = 0;
    t.dtype = KL_F32;
    t.data = kt_floats(ref64_count(t));
    return t;
}

static kl_tensor normals_like(kt_rng *r, kl_tensor t)
{
    t = like(t);
    kt_fill_normal(r, t.data, ref64_count(t), 1);
    return t;
}

/* A backward of the call with gradients drawn at random and room for all results. */
static kl_kda_bwd_args draw_backward(kt_rng *r, kl_kda_args a)
{
    kl_kda_bwd_args b = {.fwd = a, .d_o = normals_like(r, a.v)};
    b.d_state_out = kda_states(r, &a, kl__n_seq(a.cu_seqlens, a.n_seq));
    return b;
}

/* Runs it with fresh results. */
static kl_kda_bwd_args run(const kl_backend *be, kl_kda_bwd_args b)
{
    b.d_q = like(b.fwd.q);
    b.d_k = like(b.fwd.k);
    b.d_v = like(b.fwd.v);
    b.d_g = like(b.fwd.g);
    b.d_beta = like(b.fwd.beta);
    b.d_state_in = like(b.d_state_out);
    b.work = kt_work(kl_kda_bwd_workspace(be, &b));
    KT_OK(kl_kda_bwd(be, &b, KT_ERR));
    return b;
}

static void expect64(const char *what, const kl_kda_bwd_args *b, const ref64_kda_grads *want, double tolerance)
{
    const struct {
        const char *name;
        kl_tensor got;
        const double *want;
    } result[] = {{"d_q", b->d_q, want->q},          {"d_k", b->d_k, want->k},
                  {"d_v", b->d_v, want->v},          {"d_g", b->d_g, want->g},
                  {"d_beta", b->d_beta, want->beta}, {"d_state_in", b->d_state_in, want->state_in}};
    for (size_t i = 0; i < sizeof result / sizeof *result; i++) {
        char text[200];
        snprintf(text, sizeof text, "%s, %s", result[i].name, what);
        ref64_expect(text, result[i].got, result[i].want, tolerance);
    }
}

static void same_bits(const char *what, kl_tensor a, kl_tensor b)
{
    assert_true(ref64_count(a) == ref64_count(b));
    kt_assert_same_bits(what, a.data, b.data, (size_t)ref64_count(a) * sizeof(float));
}

/* The gradients that have a row per token: d_q, d_k, d_v, d_g, d_beta. */
enum { N_ROWS = 5 };
static kl_tensor rows_of(const kl_kda_bwd_args *b, int i)
{
    const kl_tensor all[N_ROWS] = {b->d_q, b->d_k, b->d_v, b->d_g, b->d_beta};
    return all[i];
}

/* ------------------------------------------------------------------------------------------------------- numbers -- */

static void every_regime(void **state)
{
    (void)state;
    for (kda_gates g = 0; g < KDA_N_GATES; g++)
        for (kda_keys k = 0; k < KDA_N_KEYS; k++)
            for (kda_betas beta = 0; beta < KDA_N_BETAS; beta++) {
                kt_rng r = {(uint64_t)(g * 100 + k * 10 + beta)};
                kl_kda_args a = kda_draw(&r, (kda_shape){.T = 37, .H = 1, .HV = 1, .K = 24, .V = 17}, g, k, beta);
                kl_kda_bwd_args b = draw_backward(&r, a);
                ref64_kda_grads want = ref64_kda_bwd(&b);
                /* Reflections along nearly the same direction forget no rounding. */
                bool reflections = beta == BETAS_TWO && k != KEYS_MODEL && k != KEYS_SMALL && k != KEYS_ZEROS;
                for (int l = 0; kt_level(l); l++)
                    for (int chunk = 16; chunk <= 64; chunk *= 4) {
                        char what[160];
                        snprintf(what, sizeof what, "%s chunk %d, gates %s, keys %s, beta %s", kt_level(l), chunk,
                                 kda_gates_name(g), kda_keys_name(k), kda_betas_name(beta));
                        b.fwd.chunk = chunk;
                        kl_kda_bwd_args got = run(kt_backend(kt_level(l), 1), b);
                        expect64(what, &got, &want, reflections ? 3e-5 : 5e-6);
                    }
                kt_free_all();
            }
}

static void every_length_and_size(void **state)
{
    (void)state;
    static const int64_t length[] = {0, 1, 2, 8, 15, 16, 17, 31, 32, 33, 37, 64, 65, 133};
    static const int64_t size[][2] = {{5, 37}, {16, 16}, {64, 64}, {2, 129}, {128, 128}, {256, 40}, {33, 17}};
    enum { N_LENGTH = sizeof length / sizeof *length, N_SIZE = sizeof size / sizeof *size };
    for (int i = 0; i < N_LENGTH + N_SIZE; i++) {
        kt_rng r = {(uint64_t)i};
        kda_shape s = {.T = i < N_LENGTH ? length[i] : 37, .H = 1, .HV = i % 2 + 1};
        s.K = i < N_LENGTH ? 16 : size[i - N_LENGTH][0];
        s.V = i < N_LENGTH ? 16 : size[i - N_LENGTH][1];
        kl_kda_bwd_args b = draw_backward(&r, kda_draw(&r, s, GATES_A16, KEYS_MODEL, BETAS_MODEL));
        ref64_kda_grads want = ref64_kda_bwd(&b);
        for (int l = 0; kt_level(l); l++) {
            char what[160];
            snprintf(what, sizeof what, "%s, T=%d K=%d V=%d", kt_level(l), (int)s.T, (int)s.K, (int)s.V);
            kl_kda_bwd_args got = run(kt_backend(kt_level(l), 2), b);
            expect64(what, &got, &want, 5e-6);
        }
        kt_free_all();
    }
}

static void long_sequence(void **state)
{
    (void)state;
    kt_rng r = {77};
    kda_shape s = {.T = 8191, .H = 1, .HV = 1, .K = 12, .V = 8};
    kl_kda_bwd_args b = draw_backward(&r, kda_draw(&r, s, GATES_A1, KEYS_MODEL, BETAS_MODEL));
    ref64_kda_grads want = ref64_kda_bwd(&b);
    for (int l = 0; kt_level(l); l++) {
        kl_kda_bwd_args got = run(kt_backend(kt_level(l), 2), b);
        expect64(kt_level(l), &got, &want, 5e-6);
    }
    kt_free_all();
}

/* 5.4 with the two halves of dk apart: kl_dplr_bwd has them as gradients of b and of (a, k).  Then, per channel,
 *     dg_t = sum_{r>=t} (q.dq + k.dk_read - k.dk_write)_r + rowsum(S_T . dS_T),   and dg_1 = rowsum(S_0 . dS_0). */
static void gauge_identities(void **state)
{
    (void)state;
    for (int l = 0; kt_level(l); l++) {
        const kl_backend *be = kt_backend(kt_level(l), 2);
        kt_rng r = {5};
        kl_kda_args a = kda_draw(&r, (kda_shape){T, 1, 1, K, V}, GATES_A1, KEYS_MODEL, BETAS_MODEL);
        kl_kda_bwd_args b = run(be, draw_backward(&r, a));
        kl_tensor last = kda_run(be, a).state_out;
        kl_dplr_args d = {.q = a.q, .k = kda_copy(a.k), .b = kda_copy(a.k), .v = a.v, .g = a.g, .state_in = a.state_in};
        for (int64_t i = 0; i < T * K; i++) {
            floats(d.k)[i] *= floats(a.beta)[i / K];
            floats(d.b)[i] *= expf(floats(a.g)[i]);
        }
        d.a = kda_copy(d.k);
        kl_dplr_bwd_args e = {
            .fwd = d, .d_o = b.d_o, .d_state_out = b.d_state_out, .d_k = like(d.k), .d_a = like(d.a), .d_b = like(d.b)};
        e.work = kt_work(kl_dplr_bwd_workspace(be, &e));
        KT_OK(kl_dplr_bwd(be, &e, KT_ERR));
        double sum[K];
        for (int64_t i = 0; i < K; i++) {
            double first = 0;
            sum[i] = 0;
            for (int64_t j = 0; j < V; j++) {
                sum[i] += floats(last)[i * V + j] * (double)floats(b.d_state_out)[i * V + j];
                first += floats(a.state_in)[i * V + j] * (double)floats(b.d_state_in)[i * V + j];
            }
            assert_true(fabs(first - floats(b.d_g)[i]) <= 1e-5 * (1 + fabs(first)));
        }
        float *d_g = kt_floats(T * K), *d_k = kt_floats(T * K);
        for (int64_t i = T * K; i-- > 0;) {
            double read = exp(floats(a.g)[i]) * floats(e.d_b)[i];
            double write = (double)floats(a.beta)[i / K] * ((double)floats(e.d_a)[i] + floats(e.d_k)[i]);
            sum[i % K] += (double)floats(a.q)[i] * floats(b.d_q)[i] + floats(a.k)[i] * (read - write);
            d_g[i] = (float)sum[i % K];
            d_k[i] = (float)(read + write);
        }
        kt_assert_close("d_k from its halves", d_k, b.d_k.data, T * K, 5e-6);
        kt_assert_close("d_g from the gauge", b.d_g.data, d_g, T * K, 2e-5);
        kt_free_all();
    }
}

/* ---------------------------------------------------------------------------------------------------------- bits -- */

/* Gradients of token t come from the d_o of t and later ones only: what an earlier d_o holds, NaN included, does not
 * reach them; and with nothing coming in from some token on they are exactly 0 there. */
static void gradients_flow_backwards_only(void **state)
{
    (void)state;
    static const int64_t cut[] = {1, 5, 15, 16, 17, 32, 47, 52};
    for (int l = 0; kt_level(l); l++)
        for (int chunk = 8; chunk <= 64; chunk *= 2) {
            const kl_backend *be = kt_backend(kt_level(l), 2);
            kt_rng r = {6};
            kl_kda_bwd_args b = draw_backward(&r, kda_draw(&r, usual, GATES_A1, KEYS_MODEL, BETAS_MODEL));
            b.fwd.chunk = chunk;
            kl_kda_bwd_args want = run(be, b);
            for (size_t c = 0; c < sizeof cut / sizeof *cut; c++) {
                kl_kda_bwd_args spoilt = b;
                spoilt.d_o = kda_copy(b.d_o);
                for (int64_t i = 0; i < cut[c] * HV * V; i++)
                    floats(spoilt.d_o)[i] = NAN;
                kl_kda_bwd_args got = run(be, spoilt);
                for (int i = 0; i < N_ROWS; i++)
                    same_bits("after a NaN", kda_rows(rows_of(&got, i), cut[c], T),
                              kda_rows(rows_of(&want, i), cut[c], T));
                spoilt.d_o = kda_copy(b.d_o);
                memset(floats(spoilt.d_o) + cut[c] * HV * V, 0, (size_t)((T - cut[c]) * HV * V) * sizeof(float));
                spoilt.d_state_out = like(b.d_state_out);
                memset(spoilt.d_state_out.data, 0, HV * K * V * sizeof(float));
                got = run(be, spoilt);
                for (int i = 0; i < N_ROWS; i++) {
                    kl_tensor rest = kda_rows(rows_of(&got, i), cut[c], T);
                    for (int64_t x = 0; x < ref64_count(rest); x++)
                        assert_true(floats(rest)[x] == 0);
                }
            }
            kt_free_all();
        }
}

/* A NaN in one value head, forward input or gradient, reaches the gradients of its own head (and of the key head that
 * it reads) and no other. */
static void a_nan_stays_in_its_head(void **state)
{
    (void)state;
    enum { BAD = 21, HEAD = 2 };
    for (int l = 0; kt_level(l); l++) {
        const kl_backend *be = kt_backend(kt_level(l), 2);
        kt_rng r = {7};
        kl_kda_bwd_args b = draw_backward(&r, kda_draw(&r, usual, GATES_A1, KEYS_MODEL, BETAS_MODEL));
        kl_kda_bwd_args want = run(be, b);
        for (int input = 0; input < 4; input++) {
            kl_kda_bwd_args spoilt = b;
            kl_tensor *t = input == 0   ? &spoilt.fwd.v
                           : input == 1 ? &spoilt.fwd.g
                           : input == 2 ? &spoilt.fwd.beta
                                        : &spoilt.d_o;
            *t = kda_copy(*t);
            floats(*t)[(BAD * HV + HEAD) * (ref64_count(*t) / (T * HV))] = NAN;
            kl_kda_bwd_args got = run(be, spoilt);
            for (int i = 0; i < N_ROWS; i++) {
                kl_tensor x = rows_of(&got, i), y = rows_of(&want, i);
                int64_t n_head = x.dim[1], n = ref64_count(x) / (T * n_head);
                int64_t hit = n_head == H ? HEAD / (HV / H) : HEAD;
                for (int64_t j = 0; j < T * n_head; j++)
                    if (j % n_head != hit)
                        kt_assert_same_bits("another head", floats(x) + j * n, floats(y) + j * n, (size_t)n * 4);
            }
            /* d_beta = du . e does not know beta itself, d_v = beta du does. */
            float hurt = input == 2 ? floats(got.d_v)[(BAD * HV + HEAD) * V] : floats(got.d_beta)[BAD * HV + HEAD];
            assert_true(isnan(hurt));
        }
        kt_free_all();
    }
}

/* Sequences packed in one call are the bits of calls of their own; heads may come in another order. */
static void packed_is_separate(void **state)
{
    (void)state;
    static const int64_t cu[] = {0, 1, 1, 18, 34, 35, 53};
    enum { N = 6 };
    for (int l = 0; kt_level(l); l++) {
        const kl_backend *be = kt_backend(kt_level(l), 3);
        kt_rng r = {8};
        kl_kda_args a = kda_draw(&r, usual, GATES_SPIKES, KEYS_MODEL, BETAS_MODEL);
        a.cu_seqlens = cu;
        a.n_seq = N;
        a.state_in = kda_states(&r, &a, N);
        kl_kda_bwd_args b = draw_backward(&r, a), packed = run(be, b);
        for (int n = 0; n < N; n++) {
            kl_kda_bwd_args own = b;
            own.fwd = kda_slice(&a, cu[n], cu[n + 1], kda_rows(a.state_in, n, n + 1));
            own.d_o = kda_rows(b.d_o, cu[n], cu[n + 1]);
            own.d_state_out = kda_rows(b.d_state_out, n, n + 1);
            own = run(be, own);
            for (int i = 0; i < N_ROWS; i++)
                same_bits(kt_level(l), kda_rows(rows_of(&packed, i), cu[n], cu[n + 1]), rows_of(&own, i));
            same_bits(kt_level(l), kda_rows(packed.d_state_in, n, n + 1), own.d_state_in);
        }
        same_bits("empty sequence", kda_rows(packed.d_state_in, 1, 2), kda_rows(b.d_state_out, 1, 2));
        kt_free_all();
    }
}

/* The forward's snapshots and errors save the recomputation and change nothing but rounding. */
static void what_was_kept_saves_recomputing(void **state)
{
    (void)state;
    for (int l = 0; kt_level(l); l++)
        for (int64_t every = 16; every <= 48; every += 16) {
            const kl_backend *be = kt_backend(kt_level(l), 2);
            kt_rng r = {9};
            kl_kda_args a = kda_draw(&r, (kda_shape){100, 1, 2, 24, 20}, GATES_A1, KEYS_MODEL, BETAS_MODEL);
            kl_kda_bwd_args b = draw_backward(&r, a);
            ref64_kda_grads want = ref64_kda_bwd(&b);
            a.path = KL_PATH_CHUNK;
            a.snapshot_every = every;
            kl_kda_args kept = kda_run(be, a);
            for (int which = 0; which < 4; which++) {
                b.fwd = kept;
                if (which & 1)
                    b.fwd.snapshots = (kl_tensor){0};
                if (which & 2)
                    b.fwd.e = (kl_tensor){0};
                kl_kda_bwd_args got = run(be, b);
                expect64(kt_level(l), &got, &want, 5e-6);
            }
            kt_free_all();
        }
}

/* States too large to be kept all: the backward keeps some and recomputes the others.  Two halves that fit, with the
 * state carried forwards and its gradient backwards, must give the same. */
static void large_states_are_recomputed(void **state)
{
    (void)state;
    enum { LONG = 1090, CUT = 560, BIG = 512 };
    int l = 0;
    while (kt_level(l + 1))
        l++;
    const kl_backend *be = kt_backend(kt_level(l), 2);
    kt_rng r = {10};
    kl_kda_args a = kda_draw(&r, (kda_shape){LONG, 1, 1, BIG, BIG}, GATES_A1, KEYS_MODEL, BETAS_MODEL);
    kl_kda_bwd_args b = draw_backward(&r, a), whole = run(be, b), head = b, tail = b;
    tail.fwd = kda_slice(&a, CUT, LONG, kda_run(be, kda_slice(&a, 0, CUT, a.state_in)).state_out);
    tail.d_o = kda_rows(b.d_o, CUT, LONG);
    tail = run(be, tail);
    head.fwd = kda_slice(&a, 0, CUT, a.state_in);
    head.d_o = kda_rows(b.d_o, 0, CUT);
    head.d_state_out = tail.d_state_in;
    head = run(be, head);
    for (int i = 0; i < N_ROWS; i++) {
        kl_tensor x = rows_of(&whole, i), first = rows_of(&head, i), second = rows_of(&tail, i);
        kt_assert_close("first half", first.data, x.data, ref64_count(first), 2e-6);
        kt_assert_close("second half", second.data, kda_rows(x, CUT, LONG).data, ref64_count(second), 2e-6);
    }
    kt_assert_close("d_state_in", head.d_state_in.data, whole.d_state_in.data, BIG * BIG, 2e-6);
    kt_free_all();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_regime),
        cmocka_unit_test(every_length_and_size),
        cmocka_unit_test(long_sequence),
        cmocka_unit_test(gauge_identities),
        cmocka_unit_test(gradients_flow_backwards_only),
        cmocka_unit_test(a_nan_stays_in_its_head),
        cmocka_unit_test(packed_is_separate),
        cmocka_unit_test(what_was_kept_saves_recomputing),
        cmocka_unit_test(large_states_are_recomputed),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    kt_free_backends();
    return failed;
}
