/* Hundreds of small calls of kl_dplr and kl_dplr_bwd with everything chosen at random that can be, against the float64
 * recurrence on the very same inputs.  DPLR_RANDOM_CALLS in the environment runs more of them than usual. */
#include "support/dplr_case.h"
#include "support/pitched.h"

#include "ops/check.h"

#include <stdio.h>
#include <stdlib.h>

enum { N_CALL = 200, MAX_SEQ = 5 };

static bool coin(kt_rng *r)
{
    return kt_below(r, 2);
}

static int64_t pick(kt_rng *r, const int64_t *from, int64_t n)
{
    return from[kt_below(r, n)];
}

static int64_t draw_size(kt_rng *r)
{
    static const int64_t tuned[] = {8, 16, 32, 48, 64, 128};
    return kt_below(r, 3) ? 2 + kt_below(r, 40) : pick(r, tuned, 6);
}

static int64_t draw_length(kt_rng *r)
{
    static const int64_t edge[] = {0, 1, 1, 15, 16, 17, 32, 48, 64, 65};
    return coin(r) ? pick(r, edge, 10) : kt_below(r, 60);
}

/* Room for the results of the call; the state may be left where it came from. */
static void give_outputs(kt_rng *r, kl_dplr_args *a)
{
    kl_tensor states = dplr_states(r, a, kl__n_seq(a->cu_seqlens, a->n_seq));
    a->o = pitched_output(r, a->v, coin(r) ? KL_F32 : KL_BF16);
    if (coin(r))
        a->state_out = pitched_output(r, states, KL_F32);
    else if (a->state_in.n_dim)
        a->state_out = a->state_in;
}

static kl_dplr_args draw_call(kt_rng *r, int64_t *cu)
{
    int64_t n_seq = kt_below(r, MAX_SEQ), T = n_seq ? 0 : draw_length(r);
    cu[0] = 0;
    for (int64_t n = 0; n < n_seq; n++)
        T = cu[n + 1] = T + draw_length(r);
    static const kda_gates gates[] = {GATES_NONE, GATES_ZERO, GATES_A1, GATES_WIDE, GATES_SPIKES, GATES_ERASE};
    dplr_shape s = {.T = T, .H = 1 + kt_below(r, 4), .K = draw_size(r), .V = draw_size(r)};
    kl_dplr_args a = dplr_draw(r, s, gates[kt_below(r, 6)]);
    a.scale = coin(r) ? 0 : (float)(0.1 + kt_uniform(r));
    a.state_layout = coin(r) ? KL_LAYOUT_KV : KL_LAYOUT_VK;
    a.path = (kl_path)kt_below(r, 3);
    a.chunk = (int)pick(r, (const int64_t[]){0, 8, 16, 32, 64}, 5);
    a.cu_seqlens = n_seq ? cu : NULL;
    a.n_seq = n_seq;
    a.state_in = coin(r) ? dplr_states(r, &a, kl__n_seq(a.cu_seqlens, n_seq)) : (kl_tensor){0};
    kl_dtype dtype = coin(r) ? KL_F32 : KL_BF16;
    kl_tensor *same[] = {&a.q, &a.k, &a.a, &a.b, &a.v};
    for (size_t i = 0; i < sizeof same / sizeof *same; i++)
        *same[i] = pitched_input(r, *same[i], dtype);
    a.g = pitched_input(r, a.g, kt_below(r, 4) ? KL_F32 : KL_BF16);
    a.state_in = pitched_input(r, a.state_in, KL_F32);
    return a;
}

static void describe(char *text, size_t bytes, int call, const kl_backend *be, const kl_dplr_args *a)
{
    snprintf(text, bytes, "call %d on %s: T=%d n_seq=%d H=%d K=%d V=%d %s g[%d] path=%d chunk=%d layout=%d", call,
             kl_backend_isa(be), (int)a->v.dim[0], (int)a->n_seq, (int)a->v.dim[1], (int)a->k.dim[2], (int)a->v.dim[2],
             kl_dtype_name(a->q.dtype), a->g.n_dim, (int)a->path, a->chunk, (int)a->state_layout);
}

static void forward(kt_rng *r, const kl_backend *be, kl_dplr_args a, int call)
{
    char what[240];
    describe(what, sizeof what, call, be, &a);
    ref64_outputs want = ref64_dplr(&a);
    give_outputs(r, &a);
    a.work = kt_work(kl_dplr_workspace(be, &a));
    KT_OK(kl_dplr(be, &a, KT_ERR));
    ref64_expect(what, a.o, want.o, 2e-6);
    ref64_expect(what, a.state_out, want.state_out, 2e-6);
    pitched_check(what, a.o);
    if (a.state_out.data != a.state_in.data)
        pitched_check(what, a.state_out);
}

static void backward(kt_rng *r, const kl_backend *be, kl_dplr_args a, int call)
{
    char what[240];
    describe(what, sizeof what, call, be, &a);
    int64_t n = kl__n_seq(a.cu_seqlens, a.n_seq);
    kl_tensor d_o = kl_view3(kt_normals(r, ref64_count(a.v), 1), KL_F32, a.v.dim[0], a.v.dim[1], a.v.dim[2]);
    kl_dplr_bwd_args b = {
        .fwd = a,
        .d_o = pitched_input(r, d_o, coin(r) ? KL_F32 : KL_BF16),
        .d_state_out = coin(r) ? pitched_input(r, dplr_states(r, &a, n), KL_F32) : (kl_tensor){0},
        .d_q = pitched_output(r, a.q, KL_F32),
        .d_k = pitched_output(r, a.k, KL_F32),
        .d_a = pitched_output(r, a.a, KL_F32),
        .d_b = pitched_output(r, a.b, KL_F32),
        .d_v = pitched_output(r, a.v, KL_F32),
        .d_g = pitched_output(r, a.g, KL_F32),
        .d_state_in = pitched_output(r, dplr_states(r, &a, n), KL_F32),
    };
    ref64_dplr_grads want = ref64_dplr_bwd(&b);
    b.work = kt_work(kl_dplr_bwd_workspace(be, &b));
    KT_OK(kl_dplr_bwd(be, &b, KT_ERR));
    const struct {
        const char *name;
        kl_tensor got;
        const double *want;
    } result[] = {{"d_q", b.d_q, want.q},
                  {"d_k", b.d_k, want.k},
                  {"d_a", b.d_a, want.a},
                  {"d_b", b.d_b, want.b},
                  {"d_v", b.d_v, want.v},
                  {"d_g", b.d_g, want.g},
                  {"d_state_in", b.d_state_in, want.state_in}};
    for (size_t i = 0; i < sizeof result / sizeof *result; i++) {
        char text[280];
        snprintf(text, sizeof text, "%s of %s", result[i].name, what);
        ref64_expect(text, result[i].got, result[i].want, 5e-6);
        pitched_check(text, result[i].got);
    }
}

static void random_calls(void (*run)(kt_rng *, const kl_backend *, kl_dplr_args, int))
{
    const char *asked = getenv("DPLR_RANDOM_CALLS");
    int n_call = asked ? (int)strtol(asked, NULL, 10) : N_CALL, n_level = 0;
    while (kt_level(n_level))
        n_level++;
    for (int call = 0; call < n_call; call++) {
        kt_rng r = {(uint64_t)call * 104729 + 3};
        int64_t cu[MAX_SEQ + 1];
        kl_dplr_args a = draw_call(&r, cu);
        run(&r, kt_backend(kt_level(call % n_level), 1 + (int)kt_below(&r, 4)), a, call);
        kt_free_all();
    }
}

static void random_forward(void **state)
{
    (void)state;
    random_calls(forward);
}

static void random_backward(void **state)
{
    (void)state;
    random_calls(backward);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_forward),
        cmocka_unit_test(random_backward),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    kt_free_backends();
    return failed;
}
