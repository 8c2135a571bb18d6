/* kl_kda, kl_dplr and their backwards called wrongly, one mistake at a time: the status, a sentence that names the
 * argument, what was found and what was expected, and outputs that nobody has touched. */
#include "support/dplr_case.h"

#include "ops/check.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { T = 20, H = 2, HV = 4, K = 6, V = 5, N_SEQ = 2 };
enum { MAX_WORD = 4 };

/* A correct call of every operator on the same memory, and the memory of the outputs as it was. */
struct call {
    int64_t cu[N_SEQ + 1];
    kl_kda_args kda;
    kl_kda_bwd_args kda_bwd;
    kl_dplr_args dplr;
    kl_dplr_bwd_args dplr_bwd;
};

static kl_tensor room(int n_dim, int64_t d0, int64_t d1, int64_t d2, int64_t d3)
{
    kl_tensor t = kl_view(NULL, KL_F32, n_dim, d0, d1, d2, d3);
    t.data = kt_floats(ref64_count(t));
    return t;
}

static void make_kda(struct call *c, kt_rng *r)
{
    kl_kda_args *a = &c->kda;
    *a = kda_draw(r, (kda_shape){T, H, HV, K, V}, GATES_A1, KEYS_MODEL, BETAS_MODEL);
    a->gate = KL_GATE_SOFTPLUS;
    a->A_log = kl_view1(kt_zeros(HV), KL_F32, HV);
    a->dt_bias = kl_view2(kt_zeros(HV * K), KL_F32, HV, K);
    a->cu_seqlens = c->cu;
    a->n_seq = N_SEQ;
    a->state_in = kda_states(r, a, N_SEQ);
    a->o = room(3, T, HV, V, 0);
    a->state_out = room(4, N_SEQ, HV, K, V);
    a->snapshot_every = 16;
    a->snapshots = room(4, 1, HV, K, V); /* sequences of 3 and 17 tokens */
    a->e = room(3, T, HV, V, 0);
    kl_kda_bwd_args *b = &c->kda_bwd;
    *b = (kl_kda_bwd_args){.fwd = *a};
    b->fwd.o = b->fwd.state_out = b->fwd.snapshots = b->fwd.e = (kl_tensor){0};
    b->d_o = kl_view3(kt_normals(r, T * HV * V, 1), KL_F32, T, HV, V);
    b->d_state_out = kda_states(r, a, N_SEQ);
    b->d_q = room(3, T, H, K, 0);
    b->d_k = room(3, T, H, K, 0);
    b->d_v = room(3, T, HV, V, 0);
    b->d_g = room(3, T, HV, K, 0);
    b->d_beta = room(2, T, HV, 0, 0);
    b->d_A_log = room(1, HV, 0, 0, 0);
    b->d_dt_bias = room(2, HV, K, 0, 0);
    b->d_state_in = room(4, N_SEQ, HV, K, V);
}

static void make_dplr(struct call *c, kt_rng *r)
{
    kl_dplr_args *a = &c->dplr;
    *a = dplr_draw(r, (dplr_shape){T, H, K, V}, GATES_A1);
    a->cu_seqlens = c->cu;
    a->n_seq = N_SEQ;
    a->state_in = dplr_states(r, a, N_SEQ);
    a->o = room(3, T, H, V, 0);
    a->state_out = room(4, N_SEQ, H, K, V);
    kl_dplr_bwd_args *b = &c->dplr_bwd;
    *b = (kl_dplr_bwd_args){.fwd = *a};
    b->fwd.o = b->fwd.state_out = (kl_tensor){0};
    b->d_o = kl_view3(kt_normals(r, T * H * V, 1), KL_F32, T, H, V);
    b->d_state_out = dplr_states(r, a, N_SEQ);
    b->d_q = room(3, T, H, K, 0);
    b->d_k = room(3, T, H, K, 0);
    b->d_a = room(3, T, H, K, 0);
    b->d_b = room(3, T, H, K, 0);
    b->d_v = room(3, T, H, V, 0);
    b->d_g = room(3, T, H, K, 0);
    b->d_state_in = room(4, N_SEQ, H, K, V);
}

static void make(struct call *c)
{
    kt_rng r = {1};
    memcpy(c->cu, (int64_t[]){0, 3, T}, sizeof c->cu);
    make_kda(c, &r);
    make_dplr(c, &r);
    const kl_backend *be = kt_backend("ref", 2);
    c->kda.work = kt_work(kl_kda_workspace(be, &c->kda));
    c->kda_bwd.work = kt_work(kl_kda_bwd_workspace(be, &c->kda_bwd));
    c->dplr.work = kt_work(kl_dplr_workspace(be, &c->dplr));
    c->dplr_bwd.work = kt_work(kl_dplr_bwd_workspace(be, &c->dplr_bwd));
}

/* One mistake and what must come of it. */
struct mistake {
    void (*make)(struct call *c);
    kl_status status;
    const char *word[MAX_WORD]; /* argument, found, expected */
};

/* kt_floats fills with NaN, and so an untouched output is NaN all over. */
static void assert_untouched(kl_tensor t)
{
    for (int64_t i = 0; i < ref64_count(t); i++)
        assert_true(isnan(((float *)t.data)[i]));
}

static int n_word(const struct mistake *m)
{
    int n = 0;
    while (n < MAX_WORD && m->word[n])
        n++;
    return n;
}

static void check(const struct mistake *m, int n, kl_status (*run)(struct call *, kl_error *), const char *op,
                  kl_tensor (*output)(const struct call *, int))
{
    for (int i = 0; i < n; i++) {
        struct call c, right;
        make(&c);
        right = c;
        m[i].make(&c);
        kl_error err = {.text = "untouched"};
        kl_status got = run(&c, &err);
        kt_assert_failed(got, m[i].status, &err, m[i].word, n_word(&m[i]));
        assert_int_equal(err.status, got);
        assert_non_null(strstr(err.text, op));
        assert_int_equal(run(&c, NULL), got); /* the sentence is optional */
        for (int j = 0; output(&right, j).n_dim; j++)
            assert_untouched(output(&right, j));
        kt_free_all();
    }
}

/* -------------------------------------------------------------------------------------------------------- kl_kda -- */

static kl_status run_kda(struct call *c, kl_error *err)
{
    return kl_kda(kt_backend("ref", 2), &c->kda, err);
}

static kl_tensor kda_output(const struct call *c, int i)
{
    const kl_tensor all[] = {c->kda.o, c->kda.state_out, c->kda.snapshots, c->kda.e, {0}};
    return all[i];
}

/* A mistake a line. */
/* clang-format off */
static void v_absent(struct call *c) { c->kda.v = (kl_tensor){0}; }
static void v_flat(struct call *c) { c->kda.v.n_dim = 2; }
static void v_negative(struct call *c) { c->kda.v.dim[0] = -1; }
static void v_five(struct call *c) { c->kda.v.n_dim = 5; }
static void v_f16(struct call *c) { c->kda.v.dtype = KL_F16; }
static void v_no_dtype(struct call *c) { c->kda.v.dtype = (kl_dtype)77; }
static void v_huge(struct call *c) { c->kda.v.dim[0] = c->kda.k.dim[0] = c->kda.q.dim[0] = INT64_MAX / 2; }
static void v_no_data(struct call *c) { c->kda.v.data = NULL; }
static void v_misaligned(struct call *c) { c->kda.v.data = (char *)c->kda.v.data + 2; }
static void v_pitch(struct call *c) { c->kda.v.pitch = HV * V - 1; }
static void v_pitch_negative(struct call *c) { c->kda.v.pitch = -HV * V; }
static void q_short(struct call *c) { c->kda.q.dim[0] = T - 1; }
static void q_narrow(struct call *c) { c->kda.q.dim[2] = K - 1; }
static void k_heads(struct call *c) { c->kda.k.dim[1] = c->kda.q.dim[1] = 3; }
static void k_no_heads(struct call *c) { c->kda.k.dim[1] = c->kda.q.dim[1] = 0; }
static void k_no_channels(struct call *c) { c->kda.k.dim[2] = c->kda.q.dim[2] = 0; }
static void k_wide(struct call *c) { c->kda.k.dim[2] = c->kda.q.dim[2] = 5000; }
static void g_heads(struct call *c) { c->kda.g.dim[1] = HV - 1; }
static void g_flat(struct call *c) { c->kda.g.n_dim = 1; }
static void g_i32(struct call *c) { c->kda.g.dtype = KL_I32; }
static void g_missing(struct call *c) { c->kda.g = (kl_tensor){0}; }
static void gate_unknown(struct call *c) { c->kda.gate = (kl_gate)9; }
static void gate_has_no_rate(struct call *c) { c->kda.gate = KL_GATE_LOG; }
static void bound_missing(struct call *c) { c->kda.gate = KL_GATE_BOUNDED; }
static void bound_positive(struct call *c) { c->kda.gate = KL_GATE_BOUNDED, c->kda.lower_bound = 5; }
static void bound_nan(struct call *c) { c->kda.gate = KL_GATE_BOUNDED, c->kda.lower_bound = NAN; }
static void rate_shape(struct call *c) { c->kda.A_log.dim[0] = H; }
static void rate_bf16(struct call *c) { c->kda.A_log.dtype = KL_BF16; }
static void bias_shape(struct call *c) { c->kda.dt_bias.dim[1] = K + 1; }
static void beta_shape(struct call *c) { c->kda.beta.dim[1] = H; }
static void beta_missing(struct call *c) { c->kda.beta = (kl_tensor){0}, c->kda.beta_sigmoid = true; }
static void rule_unknown(struct call *c) { c->kda.rule = (kl_rule)2; }
static void chunk_odd(struct call *c) { c->kda.chunk = 12; }
static void chunk_negative(struct call *c) { c->kda.chunk = -16; }
static void path_unknown(struct call *c) { c->kda.path = (kl_path)3; }
static void operands_unknown(struct call *c) { c->kda.operands = (kl_operands)-1; }
static void layout_unknown(struct call *c) { c->kda.state_layout = (kl_layout)2; }
static void layout_other(struct call *c) { c->kda.state_layout = KL_LAYOUT_VK; }
static void state_in_few(struct call *c) { c->kda.state_in.dim[0] = 1; }
static void state_in_bf16(struct call *c) { c->kda.state_in.dtype = KL_BF16; }
static void state_out_many(struct call *c) { c->kda.state_out.dim[0] = 3; }
static void o_absent(struct call *c) { c->kda.o = (kl_tensor){0}; }
static void o_narrow(struct call *c) { c->kda.o.dim[2] = V - 1; }
static void snapshots_never(struct call *c) { c->kda.snapshot_every = 0; }
static void snapshots_odd(struct call *c) { c->kda.snapshot_every = 24; }
static void snapshots_negative(struct call *c) { c->kda.snapshot_every = -16; }
static void snapshots_many(struct call *c) { c->kda.snapshots.dim[0] = 2; }
static void snapshots_recurrent(struct call *c) { c->kda.path = KL_PATH_RECURRENT; }
static void e_narrow(struct call *c) { c->kda.e.dim[2] = V - 1; }
static void e_bf16(struct call *c) { c->kda.e.dtype = KL_BF16; }
static void e_recurrent(struct call *c) { c->kda.path = KL_PATH_RECURRENT, c->kda.snapshots = (kl_tensor){0}; }
static void e_on_o(struct call *c) { c->kda.e.data = c->kda.o.data; }
static void cu_first(struct call *c) { c->cu[0] = 1; }
static void cu_descends(struct call *c) { c->cu[1] = -1; }
static void cu_beyond(struct call *c) { c->cu[1] = T + 1; }
static void cu_last(struct call *c) { c->cu[2] = T - 1; }
static void n_seq_negative(struct call *c) { c->kda.n_seq = -1; }
static void n_seq_alone(struct call *c) { c->kda.cu_seqlens = NULL; }
static void o_on_v(struct call *c) { c->kda.o = c->kda.v; }
static void o_in_g(struct call *c) { c->kda.o.data = (float *)c->kda.g.data + 3; }
static void state_shifted(struct call *c) { c->kda.state_out.data = (float *)c->kda.state_in.data + K * V; }
static void state_on_snapshot(struct call *c) { c->kda.snapshots.data = c->kda.state_out.data; }
static void work_missing(struct call *c) { c->kda.work = (kl_workspace){0}; }
static void work_small(struct call *c) { c->kda.work.bytes--; }
/* clang-format on */

static void kda_refuses(void **state)
{
    (void)state;
    static const struct mistake m[] = {
        {v_absent, KL_ERR_SHAPE, {"v is absent", "[n][n][n]"}},
        {v_flat, KL_ERR_SHAPE, {"v is [20][4]", "[n][n][n]"}},
        {v_negative, KL_ERR_SHAPE, {"v is [-1][4][5]", "[n][n][n]"}},
        {v_five, KL_ERR_SHAPE, {"v has n_dim 5", "0 .. 4"}},
        {v_f16, KL_ERR_DTYPE, {"v is f16", "f32|bf16"}},
        {v_no_dtype, KL_ERR_DTYPE, {"v is ?", "f32|bf16"}},
        {v_huge, KL_ERR_SHAPE, {"v has more bytes"}},
        {v_no_data, KL_ERR_ARGUMENT, {"v has no data", "expected a pointer"}},
        {v_misaligned, KL_ERR_ARGUMENT, {"v lies at", "aligned to 4 bytes"}},
        {v_pitch, KL_ERR_SHAPE, {"v has pitch 19", "20"}},
        {v_pitch_negative, KL_ERR_SHAPE, {"v has pitch -20", "0 or more"}},
        {q_short, KL_ERR_SHAPE, {"q is [19][2][6]", "[20][2][6]"}},
        {q_narrow, KL_ERR_SHAPE, {"q is [20][2][5]", "[20][2][6]"}},
        {k_heads, KL_ERR_SHAPE, {"v has 4 heads", "multiple of the 3"}},
        {k_no_heads, KL_ERR_SHAPE, {"v has 4 heads", "multiple of the 0"}},
        {k_no_channels, KL_ERR_SHAPE, {"k has heads of 0 channels", "expected 1"}},
        {k_wide, KL_ERR_SHAPE, {"k has heads of 5000 channels", "expected 1"}},
        {g_heads, KL_ERR_SHAPE, {"g is [20][3][6]", "[20][4][6]"}},
        {g_flat, KL_ERR_SHAPE, {"g is [20]", "[20][4][6]"}},
        {g_i32, KL_ERR_DTYPE, {"g is i32", "f32|bf16"}},
        {g_missing, KL_ERR_ARGUMENT, {"g is absent", "gate"}},
        {gate_unknown, KL_ERR_ARGUMENT, {"gate is 9", "0 .. 2"}},
        {gate_has_no_rate, KL_ERR_ARGUMENT, {"A_log is given"}},
        {bound_missing, KL_ERR_ARGUMENT, {"lower_bound is 0", "below 0"}},
        {bound_positive, KL_ERR_ARGUMENT, {"lower_bound is 5", "below 0"}},
        {bound_nan, KL_ERR_ARGUMENT, {"lower_bound is", "nan", "below 0"}},
        {rate_shape, KL_ERR_SHAPE, {"A_log is [2]", "[4]"}},
        {rate_bf16, KL_ERR_DTYPE, {"A_log is bf16", "f32"}},
        {bias_shape, KL_ERR_SHAPE, {"dt_bias is [4][7]", "[4][6]"}},
        {beta_shape, KL_ERR_SHAPE, {"beta is [20][2]", "[20][4]"}},
        {beta_missing, KL_ERR_ARGUMENT, {"beta is absent", "sigmoid"}},
        {rule_unknown, KL_ERR_ARGUMENT, {"rule is 2", "0 or 1"}},
        {chunk_odd, KL_ERR_ARGUMENT, {"chunk is 12", "0, 8, 16, 32 or 64"}},
        {chunk_negative, KL_ERR_ARGUMENT, {"chunk is -16", "0, 8, 16, 32 or 64"}},
        {path_unknown, KL_ERR_ARGUMENT, {"path is 3", "0 .. 2"}},
        {operands_unknown, KL_ERR_ARGUMENT, {"operands is -1", "0 or 1"}},
        {layout_unknown, KL_ERR_ARGUMENT, {"state_layout is 2", "0 or 1"}},
        {layout_other, KL_ERR_SHAPE, {"state_in is [2][4][6][5]", "[2][4][5][6]"}},
        {state_in_few, KL_ERR_SHAPE, {"state_in is [1][4][6][5]", "[2][4][6][5]"}},
        {state_in_bf16, KL_ERR_DTYPE, {"state_in is bf16", "f32"}},
        {state_out_many, KL_ERR_SHAPE, {"state_out is [3][4][6][5]", "[2][4][6][5]"}},
        {o_absent, KL_ERR_SHAPE, {"o is absent", "[20][4][5]"}},
        {o_narrow, KL_ERR_SHAPE, {"o is [20][4][4]", "[20][4][5]"}},
        {snapshots_never, KL_ERR_ARGUMENT, {"snapshot_every is 0", "multiple of", "chunk 16"}},
        {snapshots_odd, KL_ERR_ARGUMENT, {"snapshot_every is 24", "multiple of", "chunk 16"}},
        {snapshots_negative, KL_ERR_ARGUMENT, {"snapshot_every is -16", "multiple of", "chunk 16"}},
        {snapshots_many, KL_ERR_SHAPE, {"snapshots is [2][4][6][5]", "[1][4][6][5]"}},
        {snapshots_recurrent, KL_ERR_ARGUMENT, {"snapshots", "recurrent"}},
        {e_narrow, KL_ERR_SHAPE, {"e is [20][4][4]", "[20][4][5]"}},
        {e_bf16, KL_ERR_DTYPE, {"e is bf16", "f32"}},
        {e_recurrent, KL_ERR_ARGUMENT, {"e is asked for", "recurrent"}},
        {e_on_o, KL_ERR_OVERLAP, {"overlaps", "separate"}},
        {cu_first, KL_ERR_ARGUMENT, {"cu_seqlens[0] is 1", "ascending offsets from 0 to 20"}},
        {cu_descends, KL_ERR_ARGUMENT, {"cu_seqlens[1] is -1", "ascending offsets from 0 to 20"}},
        {cu_beyond, KL_ERR_ARGUMENT, {"cu_seqlens[1] is 21", "ascending offsets from 0 to 20"}},
        {cu_last, KL_ERR_ARGUMENT, {"cu_seqlens[2] is 19", "ascending offsets from 0 to 20"}},
        {n_seq_negative, KL_ERR_ARGUMENT, {"n_seq is -1", "at least 0"}},
        {n_seq_alone, KL_ERR_ARGUMENT, {"n_seq is 2 without cu_seqlens", "expected 0"}},
        {o_on_v, KL_ERR_OVERLAP, {"o overlaps v", "separate"}},
        {o_in_g, KL_ERR_OVERLAP, {"o overlaps", "separate"}},
        {state_shifted, KL_ERR_OVERLAP, {"state_out overlaps state_in", "separate"}},
        {state_on_snapshot, KL_ERR_OVERLAP, {"overlaps", "snapshots", "separate"}},
        {work_missing, KL_ERR_WORKSPACE, {"workspace is 0 bytes", "expected "}},
        {work_small, KL_ERR_WORKSPACE, {"workspace is ", "expected "}},
    };
    check(m, sizeof m / sizeof *m, run_kda, "kl_kda:", kda_output);
}

/* ------------------------------------------------------------------------------------------------------- kl_dplr -- */

static kl_status run_dplr(struct call *c, kl_error *err)
{
    return kl_dplr(kt_backend("ref", 2), &c->dplr, err);
}

static kl_tensor dplr_output(const struct call *c, int i)
{
    const kl_tensor all[] = {c->dplr.o, c->dplr.state_out, {0}};
    return all[i];
}

/* A mistake a line. */
/* clang-format off */
static void dplr_k_heads(struct call *c) { c->dplr.k.dim[1] = 1; }
static void dplr_q_heads(struct call *c) { c->dplr.q.dim[1] = 1; }
static void dplr_a_absent(struct call *c) { c->dplr.a = (kl_tensor){0}; }
static void dplr_b_short(struct call *c) { c->dplr.b.dim[0] = T - 1; }
static void dplr_b_i32(struct call *c) { c->dplr.b.dtype = KL_I32; }
static void dplr_g_per_head(struct call *c) { c->dplr.g.n_dim = 2; }
static void dplr_v_negative(struct call *c) { c->dplr.v.dim[0] = -3; }
static void dplr_chunk(struct call *c) { c->dplr.chunk = 128; }
static void dplr_state(struct call *c) { c->dplr.state_in.dim[1] = 1; }
static void dplr_o_bf16_pitch(struct call *c) { c->dplr.o.pitch = 1; }
static void dplr_o_on_a(struct call *c) { c->dplr.o.data = c->dplr.a.data; }
static void dplr_state_on_b(struct call *c) { c->dplr.state_out.data = c->dplr.b.data; }
static void dplr_work(struct call *c) { c->dplr.work.bytes--; }
/* clang-format on */

static void dplr_refuses(void **state)
{
    (void)state;
    static const struct mistake m[] = {
        {dplr_k_heads, KL_ERR_SHAPE, {"k is [20][1][6]", "[20][2][n]"}},
        {dplr_q_heads, KL_ERR_SHAPE, {"q is [20][1][6]", "[20][2][6]"}},
        {dplr_a_absent, KL_ERR_SHAPE, {"a is absent", "[20][2][6]"}},
        {dplr_b_short, KL_ERR_SHAPE, {"b is [19][2][6]", "[20][2][6]"}},
        {dplr_b_i32, KL_ERR_DTYPE, {"b is i32", "f32|bf16"}},
        {dplr_g_per_head, KL_ERR_SHAPE, {"g is [20][2]", "[20][2][6]"}},
        {dplr_v_negative, KL_ERR_SHAPE, {"v is [-3][2][5]", "[n][n][n]"}},
        {dplr_chunk, KL_ERR_ARGUMENT, {"chunk is 128", "0, 8, 16, 32 or 64"}},
        {dplr_state, KL_ERR_SHAPE, {"state_in is [2][1][6][5]", "[2][2][6][5]"}},
        {dplr_o_bf16_pitch, KL_ERR_SHAPE, {"o has pitch 1", "10"}},
        {dplr_o_on_a, KL_ERR_OVERLAP, {"o overlaps a", "separate"}},
        {dplr_state_on_b, KL_ERR_OVERLAP, {"state_out overlaps b", "separate"}},
        {cu_descends, KL_ERR_ARGUMENT, {"cu_seqlens[1] is -1", "ascending offsets from 0 to 20"}},
        {cu_last, KL_ERR_ARGUMENT, {"cu_seqlens[2] is 19", "ascending offsets from 0 to 20"}},
        {dplr_work, KL_ERR_WORKSPACE, {"workspace is ", "expected "}},
    };
    check(m, sizeof m / sizeof *m, run_dplr, "kl_dplr:", dplr_output);
}

/* ----------------------------------------------------------------------------------------------------- backwards -- */

static kl_status run_kda_bwd(struct call *c, kl_error *err)
{
    return kl_kda_bwd(kt_backend("ref", 2), &c->kda_bwd, err);
}

static kl_tensor kda_bwd_output(const struct call *c, int i)
{
    const kl_kda_bwd_args *b = &c->kda_bwd;
    const kl_tensor all[] = {b->d_q, b->d_k, b->d_v, b->d_g, b->d_beta, b->d_A_log, b->d_dt_bias, b->d_state_in, {0}};
    return all[i];
}

/* A mistake a line. */
/* clang-format off */
static void bwd_v_short(struct call *c) { c->kda_bwd.fwd.v.dim[0] = T - 1; }
static void bwd_chunk(struct call *c) { c->kda_bwd.fwd.chunk = 7; }
static void bwd_d_o_absent(struct call *c) { c->kda_bwd.d_o = (kl_tensor){0}; }
static void bwd_d_o_i32(struct call *c) { c->kda_bwd.d_o.dtype = KL_I32; }
static void bwd_d_q_narrow(struct call *c) { c->kda_bwd.d_q.dim[2] = K - 1; }
static void bwd_d_k_bf16(struct call *c) { c->kda_bwd.d_k.dtype = KL_BF16; }
static void bwd_d_g_flat(struct call *c) { c->kda_bwd.d_g.n_dim = 2; }
static void bwd_d_rate_alone(struct call *c) { c->kda_bwd.fwd.A_log = (kl_tensor){0}; }
static void bwd_d_bias_shape(struct call *c) { c->kda_bwd.d_dt_bias.dim[0] = 3; }
static void bwd_d_state_out(struct call *c) { c->kda_bwd.d_state_out.dim[3] = V + 1; }
static void bwd_d_state_in(struct call *c) { c->kda_bwd.d_state_in.dim[0] = 1; }
static void bwd_d_v_on_d_o(struct call *c) { c->kda_bwd.d_v = c->kda_bwd.d_o; }
static void bwd_d_q_on_d_k(struct call *c) { c->kda_bwd.d_q.data = c->kda_bwd.d_k.data; }
static void bwd_d_q_on_q(struct call *c) { c->kda_bwd.d_q.data = c->kda_bwd.fwd.q.data; }
static void bwd_d_state_near(struct call *c) { c->kda_bwd.d_state_in.data = (int *)c->kda_bwd.d_state_out.data + 4; }
static void bwd_work(struct call *c) { c->kda_bwd.work.bytes--; }
static void bwd_cu(struct call *c) { c->cu[1] = 30; }
static void bwd_beta_alone(struct call *c) { c->kda_bwd.fwd.beta = (kl_tensor){0}, c->kda_bwd.fwd.beta_sigmoid = true; }
/* clang-format on */

static void kda_bwd_refuses(void **state)
{
    (void)state;
    static const struct mistake m[] = {
        {bwd_v_short, KL_ERR_SHAPE, {"k is [20][2][6]", "[19][n][n]"}},
        {bwd_chunk, KL_ERR_ARGUMENT, {"chunk is 7", "0, 8, 16, 32 or 64"}},
        {bwd_d_o_absent, KL_ERR_SHAPE, {"d_o is absent", "[20][4][5]"}},
        {bwd_d_o_i32, KL_ERR_DTYPE, {"d_o is i32", "f32|bf16"}},
        {bwd_d_q_narrow, KL_ERR_SHAPE, {"d_q is [20][2][5]", "[20][2][6]"}},
        {bwd_d_k_bf16, KL_ERR_DTYPE, {"d_k is bf16", "f32"}},
        {bwd_d_g_flat, KL_ERR_SHAPE, {"d_g is [20][4]", "[20][4][6]"}},
        {bwd_d_rate_alone, KL_ERR_ARGUMENT, {"d_A_log", "A_log is absent"}},
        {bwd_d_bias_shape, KL_ERR_SHAPE, {"d_dt_bias is [3][6]", "[4][6]"}},
        {bwd_d_state_out, KL_ERR_SHAPE, {"d_state_out is [2][4][6][6]", "[2][4][6][5]"}},
        {bwd_d_state_in, KL_ERR_SHAPE, {"d_state_in is [1][4][6][5]", "[2][4][6][5]"}},
        {bwd_d_v_on_d_o, KL_ERR_OVERLAP, {"d_v overlaps d_o", "separate"}},
        {bwd_d_q_on_d_k, KL_ERR_OVERLAP, {"d_q overlaps d_k", "separate"}},
        {bwd_d_q_on_q, KL_ERR_OVERLAP, {"d_q overlaps q", "separate"}},
        {bwd_d_state_near, KL_ERR_OVERLAP, {"d_state_in overlaps d_state_out", "separate"}},
        {bwd_work, KL_ERR_WORKSPACE, {"workspace is ", "expected "}},
        {bwd_cu, KL_ERR_ARGUMENT, {"cu_seqlens[1] is 30", "ascending offsets from 0 to 20"}},
        {bwd_beta_alone, KL_ERR_ARGUMENT, {"beta is absent", "sigmoid"}},
    };
    check(m, sizeof m / sizeof *m, run_kda_bwd, "kl_kda_bwd:", kda_bwd_output);
}

static kl_status run_dplr_bwd(struct call *c, kl_error *err)
{
    return kl_dplr_bwd(kt_backend("ref", 2), &c->dplr_bwd, err);
}

static kl_tensor dplr_bwd_output(const struct call *c, int i)
{
    const kl_dplr_bwd_args *b = &c->dplr_bwd;
    const kl_tensor all[] = {b->d_q, b->d_k, b->d_a, b->d_b, b->d_v, b->d_g, b->d_state_in, {0}};
    return all[i];
}

/* A mistake a line. */
/* clang-format off */
static void dplr_d_o(struct call *c) { c->dplr_bwd.d_o.dim[1] = 1; }
static void dplr_d_a(struct call *c) { c->dplr_bwd.d_a.dim[2] = V; }
static void dplr_d_b_bf16(struct call *c) { c->dplr_bwd.d_b.dtype = KL_BF16; }
static void dplr_d_g_alone(struct call *c) { c->dplr_bwd.fwd.g = (kl_tensor){0}; }
static void dplr_d_v_on_v(struct call *c) { c->dplr_bwd.d_v.data = c->dplr_bwd.fwd.v.data; }
static void dplr_d_b_on_d_a(struct call *c) { c->dplr_bwd.d_b.data = (float *)c->dplr_bwd.d_a.data + 7; }
static void dplr_bwd_work(struct call *c) { c->dplr_bwd.work.data = NULL; }
/* clang-format on */

static void dplr_bwd_refuses(void **state)
{
    (void)state;
    static const struct mistake m[] = {
        {dplr_d_o, KL_ERR_SHAPE, {"d_o is [20][1][5]", "[20][2][5]"}},
        {dplr_d_a, KL_ERR_SHAPE, {"d_a is [20][2][5]", "[20][2][6]"}},
        {dplr_d_b_bf16, KL_ERR_DTYPE, {"d_b is bf16", "f32"}},
        {dplr_d_g_alone, KL_ERR_ARGUMENT, {"d_g", "g is absent"}},
        {dplr_d_v_on_v, KL_ERR_OVERLAP, {"d_v overlaps v", "separate"}},
        {dplr_d_b_on_d_a, KL_ERR_OVERLAP, {"overlaps", "d_b", "separate"}},
        {dplr_bwd_work, KL_ERR_WORKSPACE, {"workspace is 0 bytes", "expected "}},
    };
    check(m, sizeof m / sizeof *m, run_dplr_bwd, "kl_dplr_bwd:", dplr_bwd_output);
}

/* Without mistakes the very same calls succeed, so that each refusal above is due to its mistake alone. */
static void right_calls_succeed(void **state)
{
    (void)state;
    struct call c;
    make(&c);
    KT_OK(run_kda(&c, KT_ERR));
    KT_OK(run_kda_bwd(&c, KT_ERR));
    KT_OK(run_dplr(&c, KT_ERR));
    KT_OK(run_dplr_bwd(&c, KT_ERR));
    kt_free_all();
}

/* No backend, no arguments, and the workspace functions, which answer 0 to everything that the operator refuses. */
static void nothing_at_all(void **state)
{
    (void)state;
    struct call c;
    make(&c);
    kl_error err;
    const kl_backend *be = kt_backend("ref", 1);
    KT_ASSERT_FAILED(kl_kda(NULL, &c.kda, &err), KL_ERR_ARGUMENT, &err, "backend is NULL", "expected an open");
    KT_ASSERT_FAILED(kl_kda(be, NULL, &err), KL_ERR_ARGUMENT, &err, "args is NULL", "expected");
    KT_ASSERT_FAILED(kl_kda_bwd(NULL, &c.kda_bwd, &err), KL_ERR_ARGUMENT, &err, "backend is NULL");
    KT_ASSERT_FAILED(kl_kda_bwd(be, NULL, &err), KL_ERR_ARGUMENT, &err, "args is NULL");
    KT_ASSERT_FAILED(kl_dplr(NULL, &c.dplr, &err), KL_ERR_ARGUMENT, &err, "backend is NULL");
    KT_ASSERT_FAILED(kl_dplr_bwd(be, NULL, &err), KL_ERR_ARGUMENT, &err, "args is NULL");
    c.kda.q.dim[0]--;
    c.dplr.q.dim[0]--;
    c.kda_bwd.d_o.dim[0]--;
    c.dplr_bwd.d_o.dim[0]--;
    assert_int_equal(kl_kda_workspace(be, &c.kda), 0);
    assert_int_equal(kl_kda_workspace(be, NULL), 0);
    assert_int_equal(kl_dplr_workspace(be, &c.dplr), 0);
    assert_int_equal(kl_kda_bwd_workspace(be, &c.kda_bwd), 0);
    assert_int_equal(kl_dplr_bwd_workspace(NULL, &c.dplr_bwd), 0);
    kt_free_all();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kda_refuses),      cmocka_unit_test(dplr_refuses),        cmocka_unit_test(kda_bwd_refuses),
        cmocka_unit_test(dplr_bwd_refuses), cmocka_unit_test(right_calls_succeed), cmocka_unit_test(nothing_at_all),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    kt_free_backends();
    return failed;
}
