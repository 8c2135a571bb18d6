/* kl_kda against the float64 recurrence: every kind of gate with every kind of key and strength, every head size and
 * length that is an edge of something, on every level, path and chunk length. */
#include "support/kda_case.h"

#include <math.h>
#include <stdio.h>

#define F32_TOLERANCE 2e-6
/* Reflections (beta 2) along nearly the same direction: no rounding is ever forgotten, and T conditions worse. */
#define F32_REFLECTIONS_TOLERANCE 1e-5
/* bf16 operands: rounding of 2^-9 per operand; nearly parallel keys amplify it in the triangular system. */
#define BF16_TOLERANCE 8e-3
#define BF16_CORRELATED_TOLERANCE 4e-2

static void name_of(char *text, size_t bytes, const kda_variant *v, kda_gates gates, kda_keys keys, kda_betas betas)
{
    snprintf(text, bytes, "%s, gates %s, keys %s, beta %s", v->name, kda_gates_name(gates), kda_keys_name(keys),
             kda_betas_name(betas));
}

static bool nearly_parallel(kda_keys keys)
{
    return keys == KEYS_90 || keys == KEYS_99 || keys == KEYS_SAME;
}

static void every_regime(void **state)
{
    (void)state;
    for (kda_gates g = 0; g < KDA_N_GATES; g++)
        for (kda_keys k = 0; k < KDA_N_KEYS; k++)
            for (kda_betas b = 0; b < KDA_N_BETAS; b++) {
                kt_rng r = {(uint64_t)(g * 100 + k * 10 + b)};
                kl_kda_args a = kda_draw(&r, (kda_shape){.T = 37, .H = 1, .HV = 1, .K = 24, .V = 17}, g, k, b);
                ref64_outputs want = ref64_kda(&a);
                bool reflections = b == BETAS_TWO && (nearly_parallel(k) || k == KEYS_REPEAT);
                kda_variant v;
                for (int i = 0; kda_variant_at(i, &v); i++) {
                    char what[160];
                    name_of(what, sizeof what, &v, g, k, b);
                    kl_kda_args got = kda_run_variant(&v, a);
                    kda_expect64(what, &got, want, reflections ? F32_REFLECTIONS_TOLERANCE : F32_TOLERANCE);
                }
                kt_free_all();
            }
}

/* Rounded operands: the same regimes, at a size where errors average. */
static void bf16_operands(void **state)
{
    (void)state;
    for (kda_gates g = 0; g < KDA_N_GATES; g++)
        for (kda_keys k = 0; k < KDA_N_KEYS; k++) {
            kda_betas b = nearly_parallel(k) ? BETAS_95 : BETAS_MODEL;
            bool correlated = nearly_parallel(k) || k == KEYS_REPEAT;
            kt_rng r = {(uint64_t)(g * 100 + k * 10 + b)};
            kl_kda_args a = kda_draw(&r, (kda_shape){.T = 70, .H = 1, .HV = 1, .K = 64, .V = 64}, g, k, b);
            a.operands = KL_OPERANDS_BF16;
            ref64_outputs want = ref64_kda(&a);
            kda_variant v;
            for (int i = 0; kda_variant_at(i, &v); i++) {
                char what[160];
                name_of(what, sizeof what, &v, g, k, b);
                kl_kda_args got = kda_run_variant(&v, a);
                kda_expect64(what, &got, want, correlated ? BF16_CORRELATED_TOLERANCE : BF16_TOLERANCE);
            }
            kt_free_all();
        }
}

static void one_shape(kda_shape s, uint64_t seed)
{
    kt_rng r = {seed};
    kl_kda_args a = kda_draw(&r, s, GATES_A16, KEYS_MODEL, BETAS_MODEL);
    ref64_outputs want = ref64_kda(&a);
    kda_variant v;
    for (int i = 0; kda_variant_at(i, &v); i++) {
        char what[160];
        snprintf(what, sizeof what, "%s, T=%d H=%d HV=%d K=%d V=%d", v.name, (int)s.T, (int)s.H, (int)s.HV, (int)s.K,
                 (int)s.V);
        kl_kda_args got = kda_run_variant(&v, a);
        kda_expect64(what, &got, want, F32_TOLERANCE);
    }
    kt_free_all();
}

/* T around the edges of every chunk length C: 0, 1, C-1, C, C+1, 2C+5. */
static void every_length(void **state)
{
    (void)state;
    static const int64_t length[] = {0, 1, 2, 7, 8, 9, 15, 16, 17, 21, 31, 32, 33, 37, 63, 64, 65, 69, 133};
    for (size_t i = 0; i < sizeof length / sizeof *length; i++)
        one_shape((kda_shape){.T = length[i], .H = 2, .HV = 2, .K = 16, .V = 16}, i);
}

static void every_head_size(void **state)
{
    (void)state;
    static const int64_t size[][2] = {{1, 1},   {1, 16},  {16, 1},   {5, 37},    {37, 5},   {3, 129},  {129, 3},
                                      {64, 64}, {64, 5},  {64, 128}, {128, 64},  {37, 256}, {256, 37}, {128, 128},
                                      {15, 31}, {33, 17}, {80, 48},  {256, 256}, {100, 200}};
    for (size_t i = 0; i < sizeof size / sizeof *size; i++)
        one_shape((kda_shape){.T = 37, .H = 1, .HV = 1, .K = size[i][0], .V = size[i][1]}, i);
}

static void grouped_heads(void **state)
{
    (void)state;
    static const int64_t heads[][2] = {{1, 1}, {1, 2}, {2, 4}, {3, 3}, {1, 4}, {2, 8}, {5, 5}, {3, 6}};
    for (size_t i = 0; i < sizeof heads / sizeof *heads; i++)
        one_shape((kda_shape){.T = 21, .H = heads[i][0], .HV = heads[i][1], .K = 19, .V = 23}, i);
}

/* Long enough for errors to pile up if they did. */
static void long_sequence(void **state)
{
    (void)state;
    one_shape((kda_shape){.T = 8191, .H = 1, .HV = 1, .K = 32, .V = 16}, 0);
}

/* Raw projections through every gate inside, with norms and sigmoids. */
static void gates_inside(void **state)
{
    (void)state;
    for (int per_head = 0; per_head <= 1; per_head++)
        for (kl_gate gate = KL_GATE_SOFTPLUS; gate <= KL_GATE_BOUNDED; gate++) {
            kt_rng r = {(uint64_t)(per_head * 10 + (int)gate)};
            kda_shape s = {.T = 37, .H = 2, .HV = 4, .K = 20, .V = 12};
            kl_kda_args a = kda_draw(&r, s, per_head ? GATES_HEAD : GATES_A1, KEYS_MODEL, BETAS_MODEL);
            kt_fill_normal(&r, a.g.data, ref64_count(a.g), 3);
            float *x = a.g.data; /* far out on both sides, where exp overflows in f32 */
            x[0] = 200;
            x[1] = -200;
            x[2] = -30;
            kt_fill_normal(&r, a.k.data, ref64_count(a.k), 5);
            kt_fill_normal(&r, a.q.data, ref64_count(a.q), 1e-3f);
            kt_fill_normal(&r, a.beta.data, ref64_count(a.beta), 4);
            float A_log[4] = {0, 2.7f, -1, 1}, *bias = kt_normals(&r, 4 * 20, 1);
            a.A_log = kl_view1(A_log, KL_F32, 4);
            a.dt_bias = per_head ? kl_view1(bias, KL_F32, 4) : kl_view2(bias, KL_F32, 4, 20);
            a.gate = gate;
            a.lower_bound = -5;
            a.qk_l2norm = a.beta_sigmoid = true;
            a.beta_double = per_head;
            ref64_outputs want = ref64_kda(&a);
            kda_variant v;
            for (int i = 0; kda_variant_at(i, &v); i++) {
                kl_kda_args got = kda_run_variant(&v, a);
                kda_expect64(v.name, &got, want, F32_TOLERANCE);
            }
            kt_free_all();
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_regime),    cmocka_unit_test(bf16_operands), cmocka_unit_test(every_length),
        cmocka_unit_test(every_head_size), cmocka_unit_test(grouped_heads), cmocka_unit_test(long_sequence),
        cmocka_unit_test(gates_inside),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    kt_free_backends();
    return failed;
}
