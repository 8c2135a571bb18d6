/* KDA and its kin: q, k, v through short convolutions into the recurrence, whose output is normed and gated.  The
 * settings of the recurrence are those of model/mixer_recurrent.c. */
#include "base/error.h"
#include "tensor/tensor.h"
#include "train/pass.h"

#include <math.h>

/* Tokens between two states of a sequence that are kept: with one for each block of chunks that the backward keeps in
 * the cache, it runs through nothing twice. */
enum { SNAPSHOT_EVERY = 64 };

struct record {
    struct kl__inputs x;
    kl_tensor mixed;     /* [T][2 HK + HV]: q, k and v side by side, after the convolution */
    kl_tensor decay;     /* [T][n_decay], raw; columns of x.wide where each head has one */
    kl_tensor beta;      /* [T][HV], columns of x.wide; Mamba2: its time steps */
    kl_tensor gate;      /* [T][HV], raw; columns of x.wide where it is one matrix */
    kl_tensor o, normed; /* [T][HV] */
    kl_tensor errors;    /* [T][HV], of mixers that erase */
    kl_tensor snapshots;
};

static int64_t n_snapshot(const struct kl__pass *p)
{
    int64_t n = 0;
    for (int64_t s = 0; s < p->batch->n_seq; s++)
        n += (p->batch->cu_seqlens[s + 1] - p->batch->cu_seqlens[s]) / SNAPSHOT_EVERY;
    return n;
}

static kl_tensor lay_snapshots(struct kl__pass *p)
{
    const kl_config *c = p->c;
    int64_t HV = c->n_kda_v_head, floats = HV * c->kda_k * c->kda_v;
    float *data = kl__pass_keep_floats(p, p->n_token / SNAPSHOT_EVERY * floats);
    int64_t n = n_snapshot(p);
    return n && p->gradient ? kl_view4(data, KL_F32, n, HV, c->kda_k, c->kda_v) : (kl_tensor){0};
}

static struct record lay_out(struct kl__pass *p, int layer)
{
    const kl_config *c = p->c;
    int mixer = c->mixer[layer];
    struct record r = {.x = kl__pass_lay_inputs(p, KL__GROUP_MIXER, layer)};
    r.mixed = kl__pass_keep(p, 2 * kl__width_k(c) + kl__width_v(c));
    r.o = kl__pass_keep(p, kl__width_v(c));
    r.normed = kl__pass_keep(p, kl__width_v(c));
    r.snapshots = lay_snapshots(p);
    if (kl__mixer_erases(mixer))
        r.errors = kl__pass_keep(p, kl__width_v(c));
    r.decay = kl__pass_columns(p, r.x.wide, KL__DECAY, layer);
    r.beta = kl__pass_columns(p, r.x.wide, KL__BETA, layer);
    r.gate = kl__pass_columns(p, r.x.wide, KL__GATE, layer);
    if (kl__mixer_decays_channels(mixer))
        r.decay = kl__pass_keep(p, kl__n_decay(c, mixer));
    if (mixer == KL_MIXER_MAMBA2)
        r.beta = kl__pass_keep(p, c->n_kda_v_head);
    if (c->gate_act && c->gate_rank)
        r.gate = kl__pass_keep(p, kl__width_v(c));
    return r;
}

/* Mamba2 writes with the length of its time step: dt = softplus(raw + bias), whose decay is exp(-exp(A_log) dt). */
static void time_steps(const struct kl__pass *p, int layer, const struct record *r)
{
    const float *bias = kl__pass_value(p, KL__DT_BIAS, layer).data;
    for (int64_t t = 0; t < p->n_token && !p->run.measure; t++) {
        const float *raw = kl__row(r->decay, t);
        float *dt = kl__row(r->beta, t);
        for (int64_t h = 0; h < r->beta.dim[1]; h++) {
            float x = raw[h] + bias[h];
            dt[h] = x > 20 ? x : log1pf(expf(x));
        }
    }
}

/* d_decay += what d_dt means for the raw decay, d_bias too; the derivative of softplus is 1 - exp(-dt). */
static void time_steps_bwd(const struct kl__pass *p, int layer, const struct record *r, kl_tensor d_decay,
                           kl_tensor d_dt)
{
    float *d_bias = kl__pass_gradient(p, KL__DT_BIAS, layer).data;
    for (int64_t h = 0; h < d_dt.dim[1] && !p->run.measure; h++) {
        double sum = 0;
        for (int64_t t = 0; t < p->n_token; t++) {
            float d = ((float *)kl__row(d_dt, t))[h] * -expm1f(-((float *)kl__row(r->beta, t))[h]);
            ((float *)kl__row(d_decay, t))[h] += d;
            sum += d;
        }
        d_bias[h] += (float)sum;
    }
}

/* One filter for all of q, k and v; without convolutions one tap that is 1, so that SiLU is left. */
static kl_short_conv_args convolution(const struct kl__pass *p, int layer, const struct record *r)
{
    int64_t wide = r->mixed.dim[1];
    kl_short_conv_args a = {.y = r->mixed,
                            .x = kl__columns(r->x.wide, 0, wide),
                            .w = kl_view2((void *)(uintptr_t)p->ones, KL_F32, wide, 1),
                            .act = KL_ACT_SILU,
                            .cu_seqlens = p->batch->cu_seqlens,
                            .n_seq = p->batch->n_seq};
    if (p->c->n_conv)
        a.w = kl_view2(kl__pass_value(p, KL__CONV_Q, layer).data, KL_F32, wide, p->c->n_conv);
    if (p->c->conv_bias)
        a.bias = kl_view1(kl__pass_value(p, KL__CONV_Q_BIAS, layer).data, KL_F32, wide);
    return a;
}

/* Decays of a row as the operator wants them: by channel, or by head. */
static kl_tensor shaped(const struct kl__pass *p, int layer, kl_tensor decay)
{
    return kl__mixer_decays_channels(p->c->mixer[layer]) ? kl__pass_heads(decay, 0, p->c->n_kda_v_head, p->c->kda_k)
                                                         : decay;
}

static kl_tensor bias_of(const struct kl__pass *p, int layer, kl_tensor bias)
{
    if (kl__present(bias) && kl__mixer_decays_channels(p->c->mixer[layer]))
        bias = kl_view2(bias.data, KL_F32, p->c->n_kda_v_head, p->c->kda_k);
    return bias;
}

static kl_kda_args recurrence(const struct kl__pass *p, int layer, const struct record *r)
{
    const kl_config *c = p->c;
    int mixer = c->mixer[layer];
    int64_t H = c->n_kda_head, HV = c->n_kda_v_head, K = c->kda_k, V = c->kda_v;
    kl_kda_args a = {
        .o = kl__pass_heads(r->o, 0, HV, V),
        .q = kl__pass_heads(r->mixed, 0, H, K),
        .k = kl__pass_heads(r->mixed, H * K, H, K),
        .v = kl__pass_heads(r->mixed, 2 * H * K, HV, V),
        .beta = r->beta,
        .rule = kl__mixer_erases(mixer) ? KL_RULE_DELTA : KL_RULE_ADD,
        .qk_l2norm = true,
        .beta_sigmoid = kl__mixer_erases(mixer),
        .beta_double = kl__mixer_erases(mixer) && c->neg_eigval,
        .snapshots = r->snapshots,
        .snapshot_every = SNAPSHOT_EVERY,
        .cu_seqlens = p->batch->cu_seqlens,
        .n_seq = p->batch->n_seq,
        .path = KL_PATH_CHUNK,
    };
    if (kl__present(r->errors) && p->gradient)
        a.e = kl__pass_heads(r->errors, 0, HV, V);
    if (kl__mixer_decays(mixer)) {
        a.g = shaped(p, layer, r->decay);
        a.gate = c->gate_bounded ? KL_GATE_BOUNDED : KL_GATE_SOFTPLUS;
        a.lower_bound = c->gate_lower_bound;
        a.A_log = kl__pass_value(p, KL__A_LOG, layer);
        a.dt_bias = bias_of(p, layer, kl__pass_value(p, KL__DT_BIAS, layer));
    }
    return a;
}

static kl_rmsnorm_args output_norm(const struct kl__pass *p, int layer, const struct record *r)
{
    int64_t HV = p->c->n_kda_v_head, V = p->c->kda_v;
    kl_rmsnorm_args a = {.y = kl__pass_heads(r->normed, 0, HV, V),
                         .x = kl__pass_heads(r->o, 0, HV, V),
                         .w = kl__pass_value(p, KL__NORM_O, layer),
                         .eps = p->c->rms_eps};
    if (p->c->gate_act) {
        a.z = kl__pass_heads(r->gate, 0, HV, V);
        a.act = (kl_activation)p->c->gate_act;
    }
    return a;
}

static kl_status forward(struct kl__pass *p, int layer, kl_tensor out, kl_tensor in)
{
    struct record r = lay_out(p, layer);
    kl_tensor wide = r.x.wide, decay_low = kl__pass_columns(p, wide, KL__DECAY_A, layer);
    kl_tensor gate_low = kl__pass_columns(p, wide, KL__GATE_A, layer);
    KL_TRY(kl__pass_inputs(p, &r.x, KL__GROUP_MIXER, layer, in));
    if (kl__present(decay_low))
        KL_TRY(kl__pass_linear(p, r.decay, decay_low, KL__DECAY_B, layer, false));
    if (kl__present(gate_low))
        KL_TRY(kl__pass_linear(p, r.gate, gate_low, KL__GATE_B, layer, false));
    if (p->c->mixer[layer] == KL_MIXER_MAMBA2)
        time_steps(p, layer, &r);
    KL_TRY(kl__run_short_conv(&p->run, convolution(p, layer, &r)));
    KL_TRY(kl__run_kda(&p->run, recurrence(p, layer, &r)));
    KL_TRY(kl__run_rmsnorm(&p->run, output_norm(p, layer, &r)));
    kl__run_rows(&p->run, out, in, false);
    return kl__pass_linear(p, out, r.normed, KL__KDA_O, layer, true);
}

/* Gradients of what the record holds, in the same places. */
struct gradients {
    kl_tensor wide, mixed, decay, beta, gate, o;
};

static struct gradients lay_gradients(struct kl__pass *p, int layer, const struct record *r)
{
    struct gradients g = {.wide = kl__pass_temp(p, r->x.wide.dim[1]),
                          .mixed = kl__pass_temp(p, r->mixed.dim[1]),
                          .o = kl__pass_temp(p, r->o.dim[1])};
    g.decay = kl__pass_columns(p, g.wide, KL__DECAY, layer);
    g.beta = kl__pass_columns(p, g.wide, KL__BETA, layer);
    g.gate = kl__pass_columns(p, g.wide, KL__GATE, layer);
    if (kl__mixer_decays_channels(p->c->mixer[layer]))
        g.decay = kl__pass_temp(p, r->decay.dim[1]);
    if (p->c->mixer[layer] == KL_MIXER_MAMBA2)
        g.beta = kl__pass_temp(p, r->beta.dim[1]);
    if (kl__present(r->gate) && !kl__present(g.gate))
        g.gate = kl__pass_temp(p, r->gate.dim[1]);
    return g;
}

/* From the gradient d of the block's output to that of the recurrence's, and of the gate. */
static kl_status output_back(struct kl__pass *p, int layer, const struct record *r, const struct gradients *g,
                             kl_tensor d)
{
    int64_t HV = p->c->n_kda_v_head, V = p->c->kda_v;
    KL_TRY(kl__pass_linear_bwd(p, g->o, d, r->normed, KL__KDA_O, layer, false));
    kl_rmsnorm_bwd_args a = {.fwd = output_norm(p, layer, r),
                             .d_y = kl__pass_heads(g->o, 0, HV, V),
                             .d_x = kl__pass_heads(g->o, 0, HV, V),
                             .d_w = kl__pass_gradient(p, KL__NORM_O, layer)};
    if (kl__present(g->gate))
        a.d_z = kl__pass_heads(g->gate, 0, HV, V);
    KL_TRY(kl__run_rmsnorm_bwd(&p->run, a));
    kl_tensor gate_low = kl__pass_columns(p, r->x.wide, KL__GATE_A, layer);
    if (!kl__present(gate_low))
        return KL_OK;
    return kl__pass_linear_bwd(p, kl__pass_columns(p, g->wide, KL__GATE_A, layer), g->gate, gate_low, KL__GATE_B, layer,
                               false);
}

static kl_status recurrence_back(struct kl__pass *p, int layer, const struct record *r, const struct gradients *g)
{
    int64_t H = p->c->n_kda_head, HV = p->c->n_kda_v_head, K = p->c->kda_k, V = p->c->kda_v;
    kl_kda_bwd_args a = {.fwd = recurrence(p, layer, r),
                         .d_o = kl__pass_heads(g->o, 0, HV, V),
                         .d_q = kl__pass_heads(g->mixed, 0, H, K),
                         .d_k = kl__pass_heads(g->mixed, H * K, H, K),
                         .d_v = kl__pass_heads(g->mixed, 2 * H * K, HV, V),
                         .d_beta = g->beta};
    if (kl__present(g->decay)) {
        a.d_g = shaped(p, layer, g->decay);
        a.d_A_log = kl__pass_gradient(p, KL__A_LOG, layer);
        a.d_dt_bias = bias_of(p, layer, kl__pass_gradient(p, KL__DT_BIAS, layer));
    }
    KL_TRY(kl__run_kda_bwd(&p->run, a));
    if (p->c->mixer[layer] == KL_MIXER_MAMBA2)
        time_steps_bwd(p, layer, r, g->decay, g->beta);
    kl_tensor decay_low = kl__pass_columns(p, r->x.wide, KL__DECAY_A, layer);
    if (!kl__present(decay_low))
        return KL_OK;
    return kl__pass_linear_bwd(p, kl__pass_columns(p, g->wide, KL__DECAY_A, layer), g->decay, decay_low, KL__DECAY_B,
                               layer, false);
}

static kl_status convolution_back(struct kl__pass *p, int layer, const struct record *r, const struct gradients *g)
{
    int64_t wide = r->mixed.dim[1];
    kl_short_conv_bwd_args a = {.fwd = convolution(p, layer, r), .d_y = g->mixed, .d_x = kl__columns(g->wide, 0, wide)};
    if (p->c->n_conv)
        a.d_w = kl_view2(kl__pass_gradient(p, KL__CONV_Q, layer).data, KL_F32, wide, p->c->n_conv);
    if (p->c->conv_bias)
        a.d_bias = kl_view1(kl__pass_gradient(p, KL__CONV_Q_BIAS, layer).data, KL_F32, wide);
    return kl__run_short_conv_bwd(&p->run, a);
}

static kl_status backward(struct kl__pass *p, int layer, kl_tensor in, kl_tensor d)
{
    struct record r = lay_out(p, layer);
    struct gradients g = lay_gradients(p, layer, &r);
    KL_TRY(output_back(p, layer, &r, &g, d));
    KL_TRY(recurrence_back(p, layer, &r, &g));
    KL_TRY(convolution_back(p, layer, &r, &g));
    return kl__pass_inputs_bwd(p, &r.x, KL__GROUP_MIXER, layer, in, g.wide, (kl_tensor){0}, d);
}

const struct kl__block kl__block_recurrent = {forward, backward};
