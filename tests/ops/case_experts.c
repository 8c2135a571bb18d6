/* kl_experts: every level against the formula in f64, its gradients against the formula and finite differences; experts
 * without tokens and with all of them, an expert chosen twice, a token alone against the batch, bf16, pitches, thread
 * counts, T = 0, NaN, refusals. */
#include "support/kt.h"

#include <math.h>
#include <string.h>

enum { T = 29, E = 7, K = 3, D = 45, F = 70, W = E * F * D };

static double want[T * D], want_dx[T * D], want_dweight[T * K], want_dgate[W], want_dup[W], want_ddown[W];

/* Everything a call reads, f32 and the same numbers in 16 bits. */
struct inputs {
    float *x, *weight, *gate, *up, *down, *dy;
    uint16_t *x16, *gate16, *up16, *down16;
    int32_t *id;
};

/* Expert 2 gets no token, the first tokens choose expert 0 often, token 5 chooses one expert twice. */
static struct inputs make_inputs(kt_rng *r)
{
    struct inputs in = {.x = kt_normals(r, T * D, 1),
                        .weight = kt_normals(r, T * K, 1),
                        .gate = kt_normals(r, W, 0.2f),
                        .up = kt_normals(r, W, 0.2f),
                        .down = kt_normals(r, W, 0.2f),
                        .dy = kt_normals(r, T * D, 1),
                        .id = kt_bytes(T * K * sizeof(int32_t))};
    in.x16 = kt_bf16_of(in.x, T * D);
    in.gate16 = kt_bf16_of(in.gate, W);
    in.up16 = kt_bf16_of(in.up, W);
    in.down16 = kt_bf16_of(in.down, W);
    for (int p = 0; p < T * K; p++) {
        int32_t id = p < 60 && p % K == 0 ? 0 : (int32_t)kt_below(r, E);
        in.id[p] = id == 2 ? 3 : id;
    }
    in.id[5 * K] = in.id[5 * K + 2] = 6;
    return in;
}

static kl_experts_args arguments(const struct inputs *in, float *y, bool half)
{
    kl_dtype dtype = half ? KL_BF16 : KL_F32;
    return (kl_experts_args){.y = kl_view2(y, KL_F32, T, D),
                             .x = kl_view2(half ? (void *)in->x16 : in->x, dtype, T, D),
                             .id = kl_view2(in->id, KL_I32, T, K),
                             .weight = kl_view2(in->weight, KL_F32, T, K),
                             .w_gate = kl_view3(half ? (void *)in->gate16 : in->gate, dtype, E, F, D),
                             .w_up = kl_view3(half ? (void *)in->up16 : in->up, dtype, E, F, D),
                             .w_down = kl_view3(half ? (void *)in->down16 : in->down, dtype, E, D, F)};
}

static void run(const kl_backend *be, kl_experts_args a)
{
    a.work = kt_work(kl_experts_workspace(be, &a));
    KT_OK(kl_experts(be, &a, KT_ERR));
}

static void run_bwd(const kl_backend *be, kl_experts_bwd_args b)
{
    b.work = kt_work(kl_experts_bwd_workspace(be, &b));
    KT_OK(kl_experts_bwd(be, &b, KT_ERR));
}

/* ------------------------------------------------------------------------------------------------------- formula -- */

/* One pair of token and expert: forward into y, and when dy is given all gradients. */
static void pair64(const struct inputs *in, int t, int j, const float *dy)
{
    int e = in->id[t * K + j];
    const float *x = in->x + t * D, *wg = in->gate + e * F * D, *wu = in->up + e * F * D, *wd = in->down + e * D * F;
    double weight = in->weight[t * K + j];
    for (int f = 0; f < F; f++) {
        double g = 0, u = 0, dh = 0;
        for (int d = 0; d < D; d++) {
            g += (double)wg[f * D + d] * x[d];
            u += (double)wu[f * D + d] * x[d];
        }
        double s = 1 / (1 + exp(-g)), h = g * s * u;
        for (int d = 0; d < D; d++)
            want[t * D + d] += weight * wd[d * F + f] * h;
        if (!dy)
            continue;
        for (int d = 0; d < D; d++) {
            dh += (double)wd[d * F + f] * dy[d];
            want_ddown[(e * D + d) * F + f] += dy[d] * weight * h;
        }
        want_dweight[t * K + j] += dh * h;
        double dg = weight * dh * u * (s + g * s * (1 - s)), du = weight * dh * g * s;
        for (int d = 0; d < D; d++) {
            want_dgate[(e * F + f) * D + d] += dg * x[d];
            want_dup[(e * F + f) * D + d] += du * x[d];
            want_dx[t * D + d] += dg * wg[f * D + d] + du * wu[f * D + d];
        }
    }
}

static void formula(const struct inputs *in, const float *dy)
{
    memset(want, 0, sizeof want);
    memset(want_dx, 0, sizeof want_dx);
    memset(want_dweight, 0, sizeof want_dweight);
    memset(want_dgate, 0, sizeof want_dgate);
    memset(want_dup, 0, sizeof want_dup);
    memset(want_ddown, 0, sizeof want_ddown);
    for (int t = 0; t < T; t++)
        for (int j = 0; j < K; j++)
            pair64(in, t, j, dy ? dy + t * D : NULL);
}

/* --------------------------------------------------------------------------------------------------------- tests -- */

static void agrees_with_formula(void **state)
{
    (void)state;
    kt_rng r = {1};
    struct inputs in = make_inputs(&r);
    formula(&in, NULL);
    for (int l = 0; kt_level(l); l++) {
        float *first = NULL;
        for (int threads = 1; threads <= 3; threads++)
            for (int half = 0; half <= 1; half++) {
                float *y = kt_floats(T * D);
                run(kt_backend(kt_level(l), threads), arguments(&in, y, half));
                kt_assert_close64("y", kt_level(l), y, want, T * D, 1e-6);
                first = first ? first : y;
                kt_assert_same_bits("thread counts and dtypes", y, first, T * D * sizeof *y);
            }
        float *held = kt_normals(&r, T * D, 1), *y = kt_copy(held, T * D);
        kl_experts_args a = arguments(&in, y, false);
        a.add = true;
        run(kt_backend(kt_level(l), 2), a);
        for (int i = 0; i < T * D; i++)
            assert_true(y[i] == held[i] + first[i]);
    }
    kt_free_all();
}

/* The bits of a token depend neither on the others nor on which experts those chose. */
static void token_alone_is_token_in_batch(void **state)
{
    (void)state;
    kt_rng r = {2};
    struct inputs in = make_inputs(&r);
    for (int l = 0; kt_level(l); l++) {
        const kl_backend *be = kt_backend(kt_level(l), 2);
        float *y = kt_floats(T * D), *alone = kt_floats(T * D);
        run(be, arguments(&in, y, true));
        for (int t = 0; t < T; t++) {
            kl_experts_args a = arguments(&in, alone + t * D, true);
            a.x.data = in.x16 + t * D;
            a.id.data = in.id + t * K;
            a.weight.data = in.weight + t * K;
            a.y.dim[0] = a.x.dim[0] = a.id.dim[0] = a.weight.dim[0] = 1;
            run(be, a);
        }
        kt_assert_same_bits("alone and in a batch", alone, y, T * D * sizeof *y);
    }
    kt_free_all();
}

static void all_tokens_choose_one_expert(void **state)
{
    (void)state;
    kt_rng r = {3};
    struct inputs in = make_inputs(&r);
    for (int p = 0; p < T * K; p++)
        in.id[p] = E - 1;
    formula(&in, NULL);
    float *y = kt_floats(T * D);
    for (int l = 0; kt_level(l); l++) {
        run(kt_backend(kt_level(l), 3), arguments(&in, y, false));
        kt_assert_close64("y", kt_level(l), y, want, T * D, 1e-6);
    }
    kt_free_all();
}

static void pitches(void **state)
{
    (void)state;
    enum { YP = D + 3, XP = D + 1, IP = K + 4, WP = F * D + 11 };
    kt_rng r = {4};
    struct inputs in = make_inputs(&r);
    float *want_y = kt_floats(T * D), *y = kt_zeros(T * YP), *x = kt_zeros(T * XP), *weight = kt_zeros(T * IP);
    float *gate = kt_zeros(E * WP), *up = kt_zeros(E * WP), *down = kt_zeros(E * WP);
    int32_t *id = kt_bytes(T * IP * sizeof *id);
    for (int t = 0; t < T; t++) {
        memcpy(x + t * XP, in.x + t * D, D * sizeof *x);
        memcpy(weight + t * IP, in.weight + t * K, K * sizeof *weight);
        memcpy(id + t * IP, in.id + t * K, K * sizeof *id);
    }
    for (int e = 0; e < E; e++) {
        memcpy(gate + e * WP, in.gate + e * F * D, F * D * sizeof *gate);
        memcpy(up + e * WP, in.up + e * F * D, F * D * sizeof *up);
        memcpy(down + e * WP, in.down + e * F * D, F * D * sizeof *down);
    }
    run(kt_backend("ref", 2), arguments(&in, want_y, false));
    struct inputs wide = {.x = x, .weight = weight, .gate = gate, .up = up, .down = down, .id = id};
    kl_experts_args a = arguments(&wide, y, false);
    a.y.pitch = YP;
    a.x.pitch = XP;
    a.id.pitch = a.weight.pitch = IP;
    a.w_gate.pitch = a.w_up.pitch = a.w_down.pitch = WP;
    run(kt_backend("ref", 2), a);
    for (int t = 0; t < T; t++) {
        kt_assert_same_bits("y", y + t * YP, want_y + t * D, D * sizeof *y);
        assert_true(y[t * YP + D] == 0 && y[t * YP + D + 1] == 0 && y[t * YP + D + 2] == 0);
    }
    kt_free_all();
}

/* Gradients of one call, one after the other in one block. */
enum { DX = 0, DWEIGHT = T * D, DGATE = DWEIGHT + T * K, DUP = DGATE + W, DDOWN = DUP + W, ALL = DDOWN + W };

static kl_experts_bwd_args gradients_into(kl_experts_args fwd, float *dy, float *d)
{
    fwd.y = (kl_tensor){0};
    return (kl_experts_bwd_args){.fwd = fwd,
                                 .d_y = kl_view2(dy, KL_F32, T, D),
                                 .d_x = kl_view2(d + DX, KL_F32, T, D),
                                 .d_weight = kl_view2(d + DWEIGHT, KL_F32, T, K),
                                 .d_w_gate = kl_view3(d + DGATE, KL_F32, E, F, D),
                                 .d_w_up = kl_view3(d + DUP, KL_F32, E, F, D),
                                 .d_w_down = kl_view3(d + DDOWN, KL_F32, E, D, F)};
}

static void gradients(void **state)
{
    (void)state;
    kt_rng r = {5};
    struct inputs in = make_inputs(&r);
    formula(&in, in.dy);
    for (int l = 0; kt_level(l); l++) {
        float *first = NULL;
        for (int threads = 1; threads <= 3; threads++) {
            float *d = kt_zeros(ALL);
            kl_experts_bwd_args b = gradients_into(arguments(&in, NULL, threads == 3), in.dy, d);
            run_bwd(kt_backend(kt_level(l), threads), b);
            kt_assert_close64("d_x", kt_level(l), d + DX, want_dx, T * D, 1e-6);
            kt_assert_close64("d_weight", kt_level(l), d + DWEIGHT, want_dweight, T * K, 1e-6);
            kt_assert_close64("d_w_gate", kt_level(l), d + DGATE, want_dgate, W, 1e-6);
            kt_assert_close64("d_w_up", kt_level(l), d + DUP, want_dup, W, 1e-6);
            kt_assert_close64("d_w_down", kt_level(l), d + DDOWN, want_ddown, W, 1e-6);
            first = first ? first : d;
            kt_assert_same_bits("thread counts and dtypes", d, first, ALL * sizeof *d);
            /* Once more: activations are assigned, parameters are added to. */
            float *again = kt_copy(d, ALL);
            run_bwd(kt_backend(kt_level(l), threads), gradients_into(arguments(&in, NULL, threads == 3), in.dy, again));
            for (int i = 0; i < ALL; i++)
                assert_true(again[i] == (i < DGATE ? d[i] : 2 * d[i]));
        }
        /* Each alone: what is absent changes nothing. */
        for (int i = 0; i < 5; i++) {
            float *d = kt_zeros(ALL);
            kl_experts_bwd_args b = gradients_into(arguments(&in, NULL, false), in.dy, d);
            kl_tensor *out[] = {&b.d_x, &b.d_weight, &b.d_w_gate, &b.d_w_up, &b.d_w_down};
            static const int at[] = {DX, DWEIGHT, DGATE, DUP, DDOWN, ALL};
            for (int other = 0; other < 5; other++)
                if (other != i)
                    *out[other] = (kl_tensor){0};
            run_bwd(kt_backend(kt_level(l), 1), b);
            kt_assert_same_bits("alone", d + at[i], first + at[i], (size_t)(at[i + 1] - at[i]) * sizeof *d);
        }
    }
    kt_free_all();
}

struct gradient_case {
    const kl_backend *be;
    struct inputs in;
    float *y;
};

static double loss(void *ctx)
{
    struct gradient_case *c = ctx;
    run(c->be, arguments(&c->in, c->y, false));
    return kt_dot(c->in.dy, c->y, T * D);
}

static void gradients_are_differences(void **state)
{
    (void)state;
    for (int l = 0; kt_level(l); l++) {
        kt_rng r = {6};
        struct gradient_case c = {kt_backend(kt_level(l), 2), make_inputs(&r), kt_floats(T * D)};
        float *d = kt_zeros(ALL);
        run_bwd(c.be, gradients_into(arguments(&c.in, NULL, false), c.in.dy, d));
        kt_check_gradient("d_x", loss, &c, c.in.x, d + DX, T * D, 1e-2, 4e-3, &r);
        kt_check_gradient("d_weight", loss, &c, c.in.weight, d + DWEIGHT, T * K, 1e-1, 4e-3, &r);
        kt_check_gradient("d_w_gate", loss, &c, c.in.gate, d + DGATE, W, 1e-2, 4e-3, &r);
        kt_check_gradient("d_w_up", loss, &c, c.in.up, d + DUP, W, 1e-2, 4e-3, &r);
        kt_check_gradient("d_w_down", loss, &c, c.in.down, d + DDOWN, W, 1e-2, 4e-3, &r);
        kt_free_all();
    }
}

/* The same tokens TIMES over, all of one expert: more rows than a task takes at a time. */
static void more_rows_than_a_chunk(void **state)
{
    (void)state;
    enum { TIMES = 10 };
    kt_rng r = {6};
    struct inputs in = make_inputs(&r), all = in;
    for (int p = 0; p < T * K; p++)
        in.id[p] = 1;
    formula(&in, in.dy);
    for (int i = 0; i < W; i++) {
        want_dgate[i] *= TIMES;
        want_dup[i] *= TIMES;
        want_ddown[i] *= TIMES;
    }
    all.x = kt_floats(TIMES * T * D);
    all.dy = kt_floats(TIMES * T * D);
    all.weight = kt_floats(TIMES * T * K);
    all.id = kt_bytes(TIMES * T * K * sizeof *all.id);
    for (int n = 0; n < TIMES; n++) {
        memcpy(all.x + n * T * D, in.x, T * D * sizeof *all.x);
        memcpy(all.dy + n * T * D, in.dy, T * D * sizeof *all.dy);
        memcpy(all.weight + n * T * K, in.weight, T * K * sizeof *all.weight);
        memcpy(all.id + n * T * K, in.id, T * K * sizeof *all.id);
    }
    float *y = kt_floats(TIMES * T * D), *one = kt_floats(T * D), *dx = kt_floats(TIMES * T * D);
    for (int l = 0; kt_level(l); l++) {
        float *d = kt_zeros(ALL), *d_one = kt_zeros(ALL);
        run(kt_backend(kt_level(l), 2), arguments(&in, one, false));
        run_bwd(kt_backend(kt_level(l), 2), gradients_into(arguments(&in, NULL, false), in.dy, d_one));
        kl_experts_args a = arguments(&all, y, false);
        a.y.dim[0] = a.x.dim[0] = a.id.dim[0] = a.weight.dim[0] = TIMES * T;
        run(kt_backend(kt_level(l), 2), a);
        kl_experts_bwd_args b = gradients_into(a, all.dy, d);
        b.d_x = kl_view2(dx, KL_F32, TIMES * T, D);
        b.d_y.dim[0] = TIMES * T;
        b.d_weight = (kl_tensor){0};
        run_bwd(kt_backend(kt_level(l), 2), b);
        for (int n = 0; n < TIMES; n++) {
            kt_assert_same_bits("y", y + n * T * D, one, T * D * sizeof *y);
            kt_assert_same_bits("d_x", dx + n * T * D, d_one + DX, T * D * sizeof *dx);
        }
        kt_assert_close64("d_w_gate", kt_level(l), d + DGATE, want_dgate, W, 1e-6);
        kt_assert_close64("d_w_up", kt_level(l), d + DUP, want_dup, W, 1e-6);
        kt_assert_close64("d_w_down", kt_level(l), d + DDOWN, want_ddown, W, 1e-6);
    }
    kt_free_all();
}

/* Bytes for `n` tokens; nothing is read. */
static size_t room(const kl_backend *be, int64_t n, bool backward)
{
    char *const at = (char *)((uintptr_t)1 << 40);
    const int64_t far = (int64_t)1 << 36;
    kl_experts_args a = {.y = kl_view2(at, KL_F32, n, D),
                         .x = kl_view2(at + far, KL_F32, n, D),
                         .id = kl_view2(at + 2 * far, KL_I32, n, K),
                         .weight = kl_view2(at + 3 * far, KL_F32, n, K),
                         .w_gate = kl_view3(at + 4 * far, KL_F32, E, F, D),
                         .w_up = kl_view3(at + 5 * far, KL_F32, E, F, D),
                         .w_down = kl_view3(at + 6 * far, KL_F32, E, D, F)};
    kl_experts_bwd_args b = {.fwd = a, .d_y = kl_view2(at + 7 * far, KL_F32, n, D)};
    return backward ? kl_experts_bwd_workspace(be, &b) : kl_experts_workspace(be, &a);
}

/* What the header says of memory. */
static void memory_for_a_token(void **state)
{
    (void)state;
    const kl_backend *be = kt_backend("ref", 2);
    assert_int_equal(room(be, 48000, false) - room(be, 16000, false), (size_t)(32000 * K * (D + 4)) * sizeof(float));
    assert_int_equal(room(be, 48000, true) - room(be, 16000, true),
                     (size_t)(32000 * K * (3 * D + 3 * F + 4)) * sizeof(float));
}

static void empty(void **state)
{
    (void)state;
    kt_rng r = {7};
    struct inputs in = make_inputs(&r);
    for (int l = 0; kt_level(l); l++) {
        const kl_backend *be = kt_backend(kt_level(l), 2);
        float *y = kt_normals(&r, T * D, 1), *d = kt_zeros(ALL);
        kl_experts_args a = arguments(&in, y, false);
        kl_experts_bwd_args b = gradients_into(a, in.dy, d);
        a.y.dim[0] = a.x.dim[0] = a.id.dim[0] = a.weight.dim[0] = 0;
        run(be, a);
        b.fwd = a;
        b.d_y.dim[0] = b.d_x.dim[0] = b.d_weight.dim[0] = 0;
        run_bwd(be, b);
        for (int i = 0; i < ALL; i++)
            assert_true(d[i] == 0);
        /* No choices: nothing to sum. */
        a = arguments(&in, y, false);
        a.id.dim[1] = a.weight.dim[1] = 0;
        run(be, a);
        for (int i = 0; i < T * D; i++)
            assert_true(y[i] == 0);
        /* No hidden units either. */
        a = arguments(&in, y, false);
        a.w_gate.dim[1] = a.w_up.dim[1] = a.w_down.dim[2] = 0;
        y[3] = 1;
        run(be, a);
        for (int i = 0; i < T * D; i++)
            assert_true(y[i] == 0);
    }
    kt_free_all();
}

static void nan_reaches_its_token_only(void **state)
{
    (void)state;
    kt_rng r = {8};
    struct inputs in = make_inputs(&r);
    in.x[4 * D + 7] = NAN;
    in.weight[9 * K + 1] = NAN;
    float *y = kt_floats(T * D);
    for (int l = 0; kt_level(l); l++) {
        run(kt_backend(kt_level(l), 2), arguments(&in, y, false));
        for (int i = 0; i < T * D; i++)
            assert_true(i / D == 4 || i / D == 9 ? isnan(y[i]) : isfinite(y[i]));
    }
    kt_free_all();
}

static void refusals(void **state)
{
    (void)state;
    kt_rng r = {9};
    kl_error err;
    const kl_backend *be = kt_backend("ref", 1);
    struct inputs in = make_inputs(&r);
    float *y = kt_zeros(T * D), *d = kt_zeros(ALL);
    kl_experts_args good = arguments(&in, y, false), a = good;
    KT_ASSERT_FAILED(kl_experts(be, &good, &err), KL_ERR_WORKSPACE, &err, "kl_experts", "workspace");
    a.w_up.dim[1] = F - 1;
    KT_ASSERT_FAILED(kl_experts(be, &a, &err), KL_ERR_SHAPE, &err, "w_up is [7][69][45]", "[7][70][45]");
    a = good;
    a.w_down = good.w_gate;
    KT_ASSERT_FAILED(kl_experts(be, &a, &err), KL_ERR_SHAPE, &err, "w_down is [7][70][45]", "[7][45][70]");
    a = good;
    a.weight.dim[1] = 2;
    KT_ASSERT_FAILED(kl_experts(be, &a, &err), KL_ERR_SHAPE, &err, "weight is [29][2]", "[29][3]");
    a = good;
    a.id.dtype = KL_F32;
    KT_ASSERT_FAILED(kl_experts(be, &a, &err), KL_ERR_DTYPE, &err, "id is f32", "i32");
    a = good;
    a.y.data = in.x;
    KT_ASSERT_FAILED(kl_experts(be, &a, &err), KL_ERR_OVERLAP, &err, "y overlaps x");
    a = good;
    a.y.dtype = KL_BF16;
    KT_ASSERT_FAILED(kl_experts(be, &a, &err), KL_ERR_DTYPE, &err, "y is bf16", "f32");
    a = good;
    a.work = kt_work(kl_experts_workspace(be, &a));
    in.id[7 * K + 2] = E;
    KT_ASSERT_FAILED(kl_experts(be, &a, &err), KL_ERR_ARGUMENT, &err, "id[7][2] is 7", "0 .. 6");
    for (int i = 0; i < T * D; i++)
        assert_true(y[i] == 0);

    kl_experts_bwd_args b = gradients_into(good, in.dy, d);
    b.work = kt_work(kl_experts_bwd_workspace(be, &b));
    in.id[7 * K + 2] = -3;
    KT_ASSERT_FAILED(kl_experts_bwd(be, &b, &err), KL_ERR_ARGUMENT, &err, "kl_experts_bwd", "id[7][2] is -3");
    in.id[7 * K + 2] = 0;
    b.work.bytes--;
    KT_ASSERT_FAILED(kl_experts_bwd(be, &b, &err), KL_ERR_WORKSPACE, &err, "workspace");
    b.d_w_up.data = d + DGATE + 1;
    KT_ASSERT_FAILED(kl_experts_bwd(be, &b, &err), KL_ERR_OVERLAP, &err, "d_w_gate overlaps d_w_up");
    b = gradients_into(good, in.dy, d);
    b.d_y.dim[1] = D - 1;
    KT_ASSERT_FAILED(kl_experts_bwd(be, &b, &err), KL_ERR_SHAPE, &err, "d_y is [29][44]", "[29][45]");
    for (int i = 0; i < ALL; i++)
        assert_true(d[i] == 0);
    kt_free_all();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(agrees_with_formula),
        cmocka_unit_test(token_alone_is_token_in_batch),
        cmocka_unit_test(all_tokens_choose_one_expert),
        cmocka_unit_test(pitches),
        cmocka_unit_test(gradients),
        cmocka_unit_test(gradients_are_differences),
        cmocka_unit_test(more_rows_than_a_chunk),
        cmocka_unit_test(memory_for_a_token),
        cmocka_unit_test(empty),
        cmocka_unit_test(nan_reaches_its_token_only),
        cmocka_unit_test(refusals),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    kt_free_backends();
    return failed;
}
