/* Routed experts on the weights of a file, every type and level: against the formula in f64 over the decoded weights;
 * experts without tokens and with most of them, an expert chosen twice, a token alone against the batch, thread counts,
 * adding, pitches, mixed types, T = 0, refusals. */
#include "ops/weight.h"

#include "support/blocks.h"
#include "tensor/quant/levels.h"

#include <math.h>
#include <string.h>

enum { T = 23, E = 5, K = 2, D = 512, F = 256 };

/* Error relative to the root mean square of the result. */
static double tolerance(enum kl__type type, bool exact)
{
    if (!exact && kl__levels_info(type)) /* activations are rounded to 8 bits */
        return 1.5e-2;
    return 2e-6;
}

struct inputs {
    float *x, *weight;
    int32_t *id;
    struct kl__weight gate, up, down;
};

/* Expert 2 gets no token, the first tokens choose expert 0, token 5 chooses one expert twice. */
static struct inputs make_inputs(kt_rng *r, enum kl__type type, enum kl__type down)
{
    struct inputs in = {.x = kt_normals(r, T * D, 1),
                        .weight = kt_normals(r, T * K, 1),
                        .id = kt_bytes(T * K * sizeof(int32_t)),
                        .gate = kt_weight(r, type, E, F, D, 0.05f, 1),
                        .up = kt_weight(r, type, E, F, D, 0.05f, 0),
                        .down = kt_weight(r, down, E, D, F, 0.05f, 2)};
    for (int p = 0; p < T * K; p++) {
        int32_t id = p < 36 && p % K == 0 ? 0 : (int32_t)kt_below(r, E);
        in.id[p] = id == 2 ? 3 : id;
    }
    in.id[5 * K] = in.id[5 * K + 1] = 4;
    return in;
}

static void run(const kl_backend *be, float *y, const struct inputs *in, int64_t first, int64_t n, bool add)
{
    kl_tensor x = kl_view2(in->x + first * D, KL_F32, n, D), id = kl_view2(in->id + first * K, KL_I32, n, K);
    kl_workspace work = kt_work(kl__weight_experts_workspace(be, &in->gate, &in->up, &in->down, n, K));
    KT_OK(kl__weight_experts(be, kl_view2(y, KL_F32, n, D), x, id, kl_view2(in->weight + first * K, KL_F32, n, K),
                             &in->gate, &in->up, &in->down, add, work, KT_ERR));
}

/* ------------------------------------------------------------------------------------------------------- formula -- */

static double dot64(const double *x, const float *w, int n)
{
    double sum = 0;
    for (int i = 0; i < n; i++)
        sum += x[i] * w[i];
    return sum;
}

static void pair64(double *y, const float *x, double weight, const float *gate, const float *up, const float *down)
{
    double wide[D], h[F];
    for (int d = 0; d < D; d++)
        wide[d] = x[d];
    for (int f = 0; f < F; f++) {
        double g = dot64(wide, gate + f * D, D);
        h[f] = g / (1 + exp(-g)) * dot64(wide, up + f * D, D);
    }
    for (int d = 0; d < D; d++)
        y[d] += weight * dot64(h, down + d * F, F);
}

static double *formula(const struct inputs *in)
{
    float *gate = kt_decoded(&in->gate), *up = kt_decoded(&in->up), *down = kt_decoded(&in->down);
    double *y = kt_bytes(T * D * sizeof *y);
    memset(y, 0, T * D * sizeof *y);
    for (int p = 0; p < T * K; p++) {
        int e = in->id[p];
        pair64(y + p / K * D, in->x + p / K * D, in->weight[p], gate + e * F * D, up + e * F * D, down + e * D * F);
    }
    return y;
}

/* --------------------------------------------------------------------------------------------------------- tests -- */

static void agrees_with_formula(bool exact)
{
    enum kl__type type;
    for (int i = 0; (type = kt_weight_type(i)) != KL__N_TYPE; i++) {
        kt_rng r = {1};
        struct inputs in = make_inputs(&r, type, type);
        in.gate.exact = in.up.exact = in.down.exact = exact;
        double *want = formula(&in);
        for (int l = 0; kt_level(l); l++) {
            float *first = NULL;
            for (int threads = 1; threads <= 3; threads++) {
                float *y = kt_floats(T * D);
                run(kt_backend(kt_level(l), threads), y, &in, 0, T, false);
                kt_assert_close64(kl__type_info(type)->name, kt_level(l), y, want, T * D, tolerance(type, exact));
                first = first ? first : y;
                kt_assert_same_bits("threads", y, first, sizeof(float) * T * D);
            }
        }
        kt_free_all();
    }
}

static void fast_products(void **state)
{
    (void)state;
    agrees_with_formula(false);
}

static void exact_products(void **state)
{
    (void)state;
    agrees_with_formula(true);
}

static void token_alone_is_token_in_batch(void **state)
{
    (void)state;
    enum kl__type type;
    for (int i = 0; (type = kt_weight_type(i)) != KL__N_TYPE; i++) {
        kt_rng r = {2};
        struct inputs in = make_inputs(&r, type, type);
        for (int l = 0; kt_level(l); l++) {
            const kl_backend *be = kt_backend(kt_level(l), 2);
            float *whole = kt_floats(T * D), *alone = kt_floats(T * D);
            run(be, whole, &in, 0, T, false);
            for (int t = i % 4; t < T; t += 4) {
                run(be, alone, &in, t, 1, false);
                kt_assert_same_bits("alone and in a batch", alone, whole + t * D, sizeof(float) * D);
            }
            run(be, alone, &in, 3, 11, false);
            kt_assert_same_bits("part of a batch", alone, whole + 3 * D, sizeof(float) * 11 * D);
        }
        kt_free_all();
    }
}

static void packed_has_the_same_bits(void **state)
{
    (void)state;
    enum kl__type type;
    for (int i = 0; (type = kt_weight_type(i)) != KL__N_TYPE; i++) {
        kt_rng r = {5};
        struct inputs in = make_inputs(&r, type, i % 2 ? KL__TYPE_Q4_0 : KL__TYPE_Q6_K);
        for (int l = 0; kt_level(l); l++) {
            const kl_backend *be = kt_backend(kt_level(l), 2);
            struct inputs packed = in;
            packed.gate = kt_packed(be, &in.gate);
            packed.up = i % 3 ? kt_packed(be, &in.up) : in.up;
            packed.down = kt_packed(be, &in.down);
            float *want = kt_floats(T * D), *y = kt_floats(T * D);
            run(be, want, &in, 0, T, false);
            run(be, y, &packed, 0, T, false);
            kt_assert_same_bits("packed", y, want, sizeof(float) * T * D);
            run(be, y, &packed, 4, 1, false);
            kt_assert_same_bits("packed and alone", y, want + 4 * D, sizeof(float) * D);
        }
        kt_free_all();
    }
}

/* The same experts, each where it lies: a file may hold them one by one. */
static void experts_may_lie_apart(void **state)
{
    (void)state;
    kt_rng r = {7};
    struct inputs in = make_inputs(&r, KL__TYPE_Q8_0, KL__TYPE_BF16), apart = in;
    const void *each[3][E];
    struct kl__weight *w[3] = {&apart.gate, &apart.up, &apart.down};
    for (int i = 0; i < 3; i++) {
        size_t bytes = 0;
        assert_true(kl__type_bytes(w[i]->type, w[i]->n_out * w[i]->n_in, &bytes));
        for (int e = 0; e < E; e++) {
            char *to = kt_bytes(bytes + 1);
            memcpy(to + e % 2, (const char *)w[i]->data + (size_t)e * bytes, bytes);
            each[i][e] = to + e % 2;
        }
        w[i]->data = NULL;
        w[i]->each = each[i];
    }
    float *want = kt_floats(T * D), *y = kt_floats(T * D);
    for (int l = 0; kt_level(l); l++) {
        run(kt_backend(kt_level(l), 2), want, &in, 0, T, false);
        run(kt_backend(kt_level(l), 2), y, &apart, 0, T, false);
        kt_assert_same_bits("apart", y, want, sizeof(float) * T * D);
    }
    kt_free_all();
}

/* down of another type than gate and up, as quantised files have it; y += ; all pitches. */
static void mixed_types_add_between_pitches(void **state)
{
    (void)state;
    enum { XP = D + 3, YP = D + 2, KP = K + 1 };
    kt_rng r = {3};
    struct inputs in = make_inputs(&r, KL__TYPE_Q4_K, KL__TYPE_Q6_K);
    float *x = kt_zeros(T * XP), *weight = kt_zeros(T * KP), *held = kt_normals(&r, T * YP, 1);
    int32_t *id = kt_bytes(T * KP * sizeof *id);
    for (int t = 0; t < T; t++) {
        memcpy(x + t * XP, in.x + t * D, D * sizeof *x);
        memcpy(weight + t * KP, in.weight + t * K, K * sizeof *weight);
        memcpy(id + t * KP, in.id + t * K, K * sizeof *id);
    }
    for (int l = 0; kt_level(l); l++) {
        const kl_backend *be = kt_backend(kt_level(l), 2);
        float *sum = kt_floats(T * D), *y = kt_copy(held, T * YP);
        run(be, sum, &in, 0, T, false);
        kl_tensor yt = kl_view2(y, KL_F32, T, D), xt = kl_view2(x, KL_F32, T, D);
        kl_tensor it = kl_view2(id, KL_I32, T, K), wt = kl_view2(weight, KL_F32, T, K);
        yt.pitch = YP;
        xt.pitch = XP;
        it.pitch = wt.pitch = KP;
        kl_workspace work = kt_work(kl__weight_experts_workspace(be, &in.gate, &in.up, &in.down, T, K));
        KT_OK(kl__weight_experts(be, yt, xt, it, wt, &in.gate, &in.up, &in.down, true, work, KT_ERR));
        for (int t = 0; t < T; t++)
            for (int d = 0; d < YP; d++)
                assert_true(y[t * YP + d] == held[t * YP + d] + (d < D ? sum[t * D + d] : 0));
    }
    kt_free_all();
}

static void no_tokens_and_no_weight(void **state)
{
    (void)state;
    kt_rng r = {4};
    struct inputs in = make_inputs(&r, KL__TYPE_Q8_0, KL__TYPE_Q8_0);
    for (int l = 0; kt_level(l); l++) {
        const kl_backend *be = kt_backend(kt_level(l), 2);
        float *y = kt_floats(T * D), *ones = kt_floats(T * D);
        run(be, y, &in, 0, 0, false);
        kl_workspace work = kt_work(kl__weight_experts_workspace(be, &in.gate, &in.up, &in.down, T, K));
        KT_OK(kl__weight_experts(be, kl_view2(y, KL_F32, T, D), kl_view2(in.x, KL_F32, T, D),
                                 kl_view2(in.id, KL_I32, T, K), (kl_tensor){0}, &in.gate, &in.up, &in.down, false, work,
                                 KT_ERR));
        float *weight = in.weight;
        in.weight = kt_floats(T * K);
        for (int p = 0; p < T * K; p++)
            in.weight[p] = 1;
        run(be, ones, &in, 0, T, false);
        kt_assert_same_bits("absent weights are ones", y, ones, sizeof(float) * T * D);
        in.weight = weight;
    }
    kt_free_all();
}

static void refuses(void **state)
{
    (void)state;
    kt_rng r = {5};
    const kl_backend *be = kt_backend("ref", 1);
    struct inputs in = make_inputs(&r, KL__TYPE_Q8_0, KL__TYPE_Q8_0);
    struct kl__weight bad = in.down;
    float *y = kt_zeros(T * D);
    kl_tensor yt = kl_view2(y, KL_F32, T, D), xt = kl_view2(in.x, KL_F32, T, D);
    kl_tensor it = kl_view2(in.id, KL_I32, T, K), wt = kl_view2(in.weight, KL_F32, T, K), none = {0};
    kl_workspace work = kt_work(kl__weight_experts_workspace(be, &in.gate, &in.up, &in.down, T, K));
    kl_error err;
    bad.n_out = F;
    KT_ASSERT_FAILED(kl__weight_experts(be, yt, xt, it, wt, &in.gate, &in.up, &bad, false, work, &err), KL_ERR_SHAPE,
                     &err, "down", "[5][512][256]");
    KT_ASSERT_FAILED(kl__weight_experts(be, yt, xt, none, wt, &in.gate, &in.up, &in.down, false, work, &err),
                     KL_ERR_SHAPE, &err, "id", "absent");
    KT_ASSERT_FAILED(kl__weight_experts(be, xt, xt, it, wt, &in.gate, &in.up, &in.down, false, work, &err),
                     KL_ERR_OVERLAP, &err, "y", "x");
    KT_ASSERT_FAILED(kl__weight_experts(be, yt, xt, it, wt, &in.gate, &in.up, &in.down, false, (kl_workspace){0}, &err),
                     KL_ERR_WORKSPACE, &err, "workspace");
    in.id[7] = E;
    KT_ASSERT_FAILED(kl__weight_experts(be, yt, xt, it, wt, &in.gate, &in.up, &in.down, false, work, &err),
                     KL_ERR_ARGUMENT, &err, "id[3][1]", "5");
    for (int i = 0; i < T * D; i++)
        assert_true(y[i] == 0);
    kt_free_all();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fast_products),
        cmocka_unit_test(exact_products),
        cmocka_unit_test(token_alone_is_token_in_batch),
        cmocka_unit_test(packed_has_the_same_bits),
        cmocka_unit_test(experts_may_lie_apart),
        cmocka_unit_test(mixed_types_add_between_pitches),
        cmocka_unit_test(no_tokens_and_no_weight),
        cmocka_unit_test(refuses),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    kt_free_backends();
    return failed;
}
