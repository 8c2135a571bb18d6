#include "support/bwd_problem.h"

#include <math.h>
#include <stdio.h>

int64_t bwd_n_gate(const struct bwd_problem *p)
{
    return p->gate_shape == PER_CHANNEL ? p->K : p->gate_shape == PER_HEAD ? 1 : 0;
}

static void unit_rows(float *x, int64_t pitch, const struct bwd_problem *p)
{
    for (int64_t t = 0; t < p->T; t++)
        for (int64_t h = 0; h < p->H; h++) {
            float *row = x + t * pitch + h * p->K;
            double n = 0;
            for (int64_t i = 0; i < p->K; i++)
                n += (double)row[i] * row[i];
            for (int64_t i = 0; i < p->K; i++)
                row[i] /= (float)sqrt(n);
        }
}

static float log_decay(kt_rng *r, const struct bwd_problem *p)
{
    if (p->gate != KL_GATE_LOG)
        return (float)(2 * kt_normal(r) - 1);
    float mild = -expf((float)(2 * kt_normal(r) - 2));
    switch (p->regime) {
    case ALL_ZERO:
        return 0;
    case ALL_FIFTY:
        return -50;
    case HALF_FIFTY:
        return kt_below(r, 2) ? -50 : 0;
    case SPIKES:
        return kt_below(r, 10) == 0 ? -50 : mild;
    case FORGETS:
        return kt_below(r, 10) == 0 ? -INFINITY : mild;
    default:
        return mild;
    }
}

void bwd_fill(kt_rng *r, struct bwd_problem *p)
{
    int64_t T = p->T, pad = p->padded ? 5 : 0, states = p->n_seq * p->HV * p->K * p->V;
    p->q_pitch = p->H * p->K + pad;
    p->v_pitch = p->HV * p->V + pad;
    p->g_pitch = p->HV * bwd_n_gate(p) + pad;
    p->q = kt_normals(r, T * p->q_pitch, 1);
    p->k = kt_normals(r, T * p->q_pitch, 1);
    p->v = kt_normals(r, T * p->v_pitch, 1);
    p->d_o = kt_normals(r, T * p->v_pitch, 1);
    p->g = kt_zeros(T * p->g_pitch);
    p->beta = kt_floats(T * p->HV);
    p->A_log = kt_normals(r, p->HV, 0.5f);
    p->dt_bias = kt_normals(r, p->HV * (bwd_n_gate(p) ? bwd_n_gate(p) : 1), 0.5f);
    p->S0 = kt_normals(r, states, 1);
    p->dS = kt_normals(r, states, 1);
    for (int64_t i = 0; i < T * p->g_pitch; i++)
        p->g[i] = log_decay(r, p);
    for (int64_t i = 0; i < T * p->HV; i++)
        p->beta[i] = (float)(p->sigmoid ? kt_normal(r) : kt_below(r, 8) ? kt_uniform(r) : 0);
    if (!p->l2norm)
        unit_rows(p->k, p->q_pitch, p);
    if (p->bf16) {
        p->q16 = kt_bf16_of(p->q, T * p->q_pitch);
        p->k16 = kt_bf16_of(p->k, T * p->q_pitch);
        p->v16 = kt_bf16_of(p->v, T * p->v_pitch);
        p->d_o16 = kt_bf16_of(p->d_o, T * p->v_pitch);
        p->g16 = kt_bf16_of(p->g, T * p->g_pitch);
        p->beta16 = kt_bf16_of(p->beta, T * p->HV);
    }
}

struct bwd_problem bwd_random(kt_rng *r)
{
    static const int64_t lengths[] = {0, 1, 7, 15, 16, 17, 33, 100};
    static const int chunks[] = {0, 8, 16, 32, 64};
    static const int64_t sizes[] = {2, 5, 16, 17, 32, 40};
    struct bwd_problem p = {.H = 1 + kt_below(r, 2), .K = sizes[kt_below(r, 6)], .V = sizes[kt_below(r, 6)]};
    p.HV = p.H * (1 << kt_below(r, 3));
    p.n_seq = 1 + kt_below(r, 3);
    for (int64_t i = 0; i < p.n_seq; i++)
        p.cu[i + 1] = p.cu[i] + lengths[kt_below(r, 8)];
    p.T = p.cu[p.n_seq];
    p.gate_shape = (enum gate_shape)kt_below(r, 3);
    p.gate = p.gate_shape == NO_GATE ? KL_GATE_LOG : (kl_gate)kt_below(r, 3);
    p.regime = (enum gate_regime)kt_below(r, N_REGIME);
    p.lower_bound = p.gate == KL_GATE_BOUNDED ? -5 : 0;
    p.rule = kt_below(r, 4) ? KL_RULE_DELTA : KL_RULE_ADD;
    p.layout = (kl_layout)kt_below(r, 2);
    p.l2norm = kt_below(r, 2);
    p.has_beta = kt_below(r, 5);
    p.sigmoid = p.has_beta && kt_below(r, 2);
    p.twice = kt_below(r, 2);
    p.has_params = p.gate != KL_GATE_LOG && kt_below(r, 4);
    p.has_states = kt_below(r, 4);
    p.bf16 = kt_below(r, 4) == 0;
    p.padded = kt_below(r, 2);
    p.chunk = chunks[kt_below(r, 5)];
    p.snapshot_every = kt_below(r, 3) ? 0 : (p.chunk ? p.chunk : 16) * (1 + kt_below(r, 3));
    p.scale = kt_below(r, 2) ? 0.37f : 0;
    p.has_errors = kt_below(r, 2);
    bwd_fill(r, &p);
    return p;
}

const char *bwd_describe(const struct bwd_problem *p)
{
    static char text[400];
    snprintf(text, sizeof text,
             "T %lld in %lld sequences, H %lld, HV %lld, K %lld, V %lld, gate shape %d form %d regime %d, rule %d, "
             "layout %d, l2norm %d, beta %d sigmoid %d twice %d, params %d, states %d, bf16 %d, chunk %d, "
             "snapshots %lld, errors %d",
             (long long)p->T, (long long)p->n_seq, (long long)p->H, (long long)p->HV, (long long)p->K, (long long)p->V,
             (int)p->gate_shape, (int)p->gate, (int)p->regime, (int)p->rule, (int)p->layout, p->l2norm, p->has_beta,
             p->sigmoid, p->twice, p->has_params, p->has_states, p->bf16, p->chunk, (long long)p->snapshot_every,
             p->has_errors);
    return text;
}
/* -------------------------------------------------------------------------------------------- the operator's way -- */

static kl_tensor tensor3(const struct bwd_problem *p, float *x, uint16_t *x16, int64_t heads, int64_t dim,
                         int64_t pitch)
{
    kl_tensor t = kl_view3(p->bf16 ? (void *)x16 : x, p->bf16 ? KL_BF16 : KL_F32, p->T, heads, dim);
    t.pitch = pitch;
    return t;
}

static kl_tensor state_tensor(const struct bwd_problem *p, float *x, int64_t n)
{
    bool vk = p->layout == KL_LAYOUT_VK;
    return kl_view4(x, KL_F32, n, p->HV, vk ? p->V : p->K, vk ? p->K : p->V);
}

static kl_kda_args forward_args(const struct bwd_problem *p)
{
    kl_kda_args a = {.q = tensor3(p, p->q, p->q16, p->H, p->K, p->q_pitch),
                     .k = tensor3(p, p->k, p->k16, p->H, p->K, p->q_pitch),
                     .v = tensor3(p, p->v, p->v16, p->HV, p->V, p->v_pitch),
                     .gate = p->gate,
                     .lower_bound = p->lower_bound,
                     .rule = p->rule,
                     .qk_l2norm = p->l2norm,
                     .beta_sigmoid = p->sigmoid,
                     .beta_double = p->twice,
                     .scale = p->scale,
                     .state_layout = p->layout,
                     .cu_seqlens = p->cu,
                     .n_seq = p->n_seq,
                     .path = KL_PATH_CHUNK,
                     .chunk = p->chunk};
    if (p->gate_shape != NO_GATE) {
        a.g = tensor3(p, p->g, p->g16, p->HV, p->K, p->g_pitch);
        a.g.n_dim = p->gate_shape == PER_HEAD ? 2 : 3;
    }
    if (p->has_beta)
        a.beta = kl_view2(p->bf16 ? (void *)p->beta16 : p->beta, p->bf16 ? KL_BF16 : KL_F32, p->T, p->HV);
    if (p->has_params) {
        a.A_log = kl_view1(p->A_log, KL_F32, p->HV);
        a.dt_bias =
            p->gate_shape == PER_HEAD ? kl_view1(p->dt_bias, KL_F32, p->HV) : kl_view2(p->dt_bias, KL_F32, p->HV, p->K);
    }
    if (p->has_states)
        a.state_in = state_tensor(p, p->S0, p->n_seq);
    if (p->snapshot_every) {
        int64_t n = 0;
        for (int64_t s = 0; s < p->n_seq; s++)
            n += (p->cu[s + 1] - p->cu[s]) / p->snapshot_every;
        a.snapshots = state_tensor(p, p->snapshots, n);
        a.snapshot_every = p->snapshot_every;
    }
    if (p->errors)
        a.e = kl_view3(p->errors, KL_F32, p->T, p->HV, p->V);
    return a;
}

/* Runs the forward for its outputs; allocates what it needs. */
void bwd_run_forward(const struct bwd_problem *p, const kl_backend *be, float *o, float *state_out)
{
    kl_kda_args a = forward_args(p);
    a.o = kl_view3(o, KL_F32, p->T, p->HV, p->V);
    if (state_out)
        a.state_out = state_tensor(p, state_out, p->n_seq);
    a.work = kt_work(kl_kda_workspace(be, &a));
    KT_OK(kl_kda(be, &a, KT_ERR));
}

/* Parameters start from 3, to see that gradients are added. */
kl_kda_bwd_args bwd_args(const struct bwd_problem *p)
{
    kl_kda_bwd_args b = {.fwd = forward_args(p), .d_o = tensor3(p, p->d_o, p->d_o16, p->HV, p->V, p->v_pitch)};
    b.d_q = kl_view3(kt_floats(p->T * p->H * p->K), KL_F32, p->T, p->H, p->K);
    b.d_k = kl_view3(kt_floats(p->T * p->H * p->K), KL_F32, p->T, p->H, p->K);
    b.d_v = kl_view3(kt_floats(p->T * p->HV * p->V), KL_F32, p->T, p->HV, p->V);
    b.d_beta = kl_view2(kt_floats(p->T * p->HV), KL_F32, p->T, p->HV);
    b.d_state_in = state_tensor(p, kt_floats(p->n_seq * p->HV * p->K * p->V), p->n_seq);
    if (p->gate_shape != NO_GATE) {
        b.d_g = kl_view3(kt_floats(p->T * p->HV * bwd_n_gate(p)), KL_F32, p->T, p->HV, p->K);
        b.d_g.n_dim = b.fwd.g.n_dim;
    }
    if (p->has_params) {
        b.d_A_log = b.fwd.A_log;
        b.d_A_log.data = kt_floats(p->HV);
        b.d_dt_bias = b.fwd.dt_bias;
        b.d_dt_bias.data = kt_floats(p->HV * bwd_n_gate(p));
        for (int64_t i = 0; i < p->HV; i++)
            ((float *)b.d_A_log.data)[i] = 3;
        for (int64_t i = 0; i < p->HV * bwd_n_gate(p); i++)
            ((float *)b.d_dt_bias.data)[i] = 3;
    }
    if (p->has_states)
        b.d_state_out = state_tensor(p, p->dS, p->n_seq);
    return b;
}

void bwd_run(const kl_backend *be, kl_kda_bwd_args *b)
{
    b->work = kt_work(kl_kda_bwd_workspace(be, b));
    KT_OK(kl_kda_bwd(be, b, KT_ERR));
}

/* What a forward that is followed by a backward writes. */
void bwd_keep(struct bwd_problem *p)
{
    int64_t n = 0;
    for (int64_t s = 0; p->snapshot_every && s < p->n_seq; s++)
        n += (p->cu[s + 1] - p->cu[s]) / p->snapshot_every;
    p->errors = p->has_errors ? kt_floats(p->T * p->HV * p->V) : NULL;
    p->snapshots = kt_floats(n * p->HV * p->K * p->V);
    bwd_run_forward(p, kt_backend("ref", 1), kt_floats(p->T * p->HV * p->V), NULL);
}
