/* KDA and its kin: q, k, v through short convolutions into the recurrence, whose output is normed and gated.  They
 * differ in what the state forgets and whether it erases before it writes: config.h. */
#include "model/trace.h"
#include "model/walk.h"
#include "tensor/tensor.h"

#include <math.h>

/* Activations of one layer, all rows of the step. */
struct stage {
    kl_tensor raw, mixed; /* [T][2 HK + HV]: q, k and v side by side, before and after the convolution */
    kl_tensor decay_low;  /* [T][rank] */
    kl_tensor decay;      /* [T][n_decay], raw */
    kl_tensor beta;       /* [T][heads], raw */
    kl_tensor gate_low;   /* [T][rank] */
    kl_tensor gate;       /* [T][HV], raw */
    kl_tensor o;          /* [T][HV] */
};

static struct stage lay_out(struct kl__walk *w, int mixer)
{
    const kl_config *c = &w->net->c;
    int64_t wide = 2 * kl__width_k(c) + kl__width_v(c);
    struct stage s = {.raw = kl__stage(w, wide), .mixed = kl__stage(w, wide), .o = kl__stage(w, kl__width_v(c))};
    if (kl__mixer_decays_channels(mixer))
        s.decay_low = kl__stage(w, c->decay_rank);
    if (kl__mixer_decays(mixer))
        s.decay = kl__stage(w, kl__n_decay(c, mixer));
    if (kl__mixer_erases(mixer) || mixer == KL_MIXER_MAMBA2)
        s.beta = kl__stage(w, c->n_kda_v_head);
    if (c->gate_act && c->gate_rank)
        s.gate_low = kl__stage(w, c->gate_rank);
    if (c->gate_act)
        s.gate = kl__stage(w, kl__width_v(c));
    return s;
}

/* Everything that reads the layer's input, and the second halves of the gates. */
static kl_status project(struct kl__walk *w, const struct kl__layer *l, int mixer, const struct stage *s)
{
    const kl_config *c = &w->net->c;
    int64_t n_k = kl__width_k(c), n_v = kl__width_v(c);
    struct kl__weight_product p[6] = {
        {kl__columns(s->raw, 0, n_k), &l->w[KL__KDA_Q], false},
        {kl__columns(s->raw, n_k, n_k), &l->w[KL__KDA_K], false},
        {kl__columns(s->raw, 2 * n_k, n_v), &l->w[KL__KDA_V], false},
    };
    int n = 3;
    if (kl__mixer_decays_channels(mixer))
        p[n++] = (struct kl__weight_product){s->decay_low, &l->w[KL__DECAY_A], false};
    if (kl__mixer_decays_heads(mixer))
        p[n++] = (struct kl__weight_product){s->decay, &l->w[KL__DECAY], false};
    if (kl__mixer_erases(mixer))
        p[n++] = (struct kl__weight_product){s->beta, &l->w[KL__BETA], false};
    if (c->gate_act)
        p[n++] = c->gate_rank ? (struct kl__weight_product){s->gate_low, &l->w[KL__GATE_A], false}
                              : (struct kl__weight_product){s->gate, &l->w[KL__GATE], false};
    KL_TRY(kl__walk_linears(w, KL__PART_projections, p, n, kl__walk_rows(w, w->n)));
    if (kl__mixer_decays_channels(mixer))
        KL_TRY(kl__walk_linear(w, KL__PART_gates, s->decay, s->decay_low, &l->w[KL__DECAY_B], false));
    if (c->gate_act && c->gate_rank)
        KL_TRY(kl__walk_linear(w, KL__PART_gates, s->gate, s->gate_low, &l->w[KL__GATE_B], false));
    return KL_OK;
}

/* Mamba2 writes with the length of its time step: dt = softplus(raw + bias), whose decay is exp(-exp(A_log) dt). */
static void time_steps(const struct kl__layer *l, const struct stage *s)
{
    const float *bias = l->w[KL__DT_BIAS].data;
    for (int64_t t = 0; t < s->beta.dim[0]; t++) {
        float *beta = (float *)s->beta.data + t * s->beta.dim[1];
        const float *decay = (const float *)s->decay.data + t * s->beta.dim[1];
        for (int64_t h = 0; h < s->beta.dim[1]; h++) {
            float x = decay[h] + bias[h];
            beta[h] = x > 20 ? x : log1pf(expf(x));
        }
    }
}

/* Rows first .. first + n - 1 of [T][columns] as [n][heads][size], or as they are with heads 0. */
static kl_tensor part(kl_tensor x, int64_t first, int64_t n, int64_t column, int64_t heads, int64_t size)
{
    if (!x.n_dim)
        return x;
    int64_t pitch = x.pitch ? x.pitch : x.dim[1];
    kl_tensor y = heads ? kl_view3((float *)x.data + first * pitch + column, KL_F32, n, heads, size)
                        : kl_view2((float *)x.data + first * pitch + column, KL_F32, n, x.dim[1]);
    y.pitch = pitch;
    return y;
}

static float *state_of(const struct kl__walk *w, const struct kl__seq *q, int layer)
{
    return (float *)(void *)(q->fixed + kl__fixed_offset(&w->net->c, layer));
}

static kl_status convolve(struct kl__walk *w, const struct kl__layer *l, int layer, const struct kl__seq *q,
                          const struct stage *s)
{
    const kl_config *c = &w->net->c;
    float *tail = state_of(w, q, layer) + (int64_t)c->n_kda_v_head * c->kda_k * c->kda_v;
    int64_t wide = s->raw.dim[1];
    kl_short_conv_args a = {
        .y = part(s->mixed, q->first, q->n_token, 0, 0, 0),
        .x = part(s->raw, q->first, q->n_token, 0, 0, 0),
        .w = kl_view2((void *)(uintptr_t)l->w[KL__CONV_Q].data, KL_F32, wide, c->n_conv),
        .act = KL_ACT_SILU,
    };
    if (c->conv_bias)
        a.bias = kl_view1((void *)(uintptr_t)l->w[KL__CONV_Q_BIAS].data, KL_F32, wide);
    if (c->n_conv > 1)
        a.tail_in = a.tail_out = kl_view3(tail, KL_F32, 1, c->n_conv - 1, wide);
    return kl__walk_short_conv(w, &a);
}

/* Without a convolution q, k and v are the SiLU of their projections: a convolution of one tap that is 1. */
static void activate(const struct stage *s, const struct kl__seq *q)
{
    for (int64_t i = q->first * s->raw.dim[1]; i < (q->first + (int64_t)q->n_token) * s->raw.dim[1]; i++) {
        float x = ((const float *)s->raw.data)[i];
        ((float *)s->mixed.data)[i] = x / (1 + expf(-x));
    }
}

static kl_status recur(struct kl__walk *w, const struct kl__layer *l, int layer, const struct kl__seq *q,
                       const struct stage *s, int64_t first, int64_t n, kl_path path)
{
    const kl_config *c = &w->net->c;
    int mixer = c->mixer[layer];
    int64_t H = c->n_kda_head, HV = c->n_kda_v_head, K = c->kda_k, V = c->kda_v;
    bool channels = kl__mixer_decays_channels(mixer);
    kl_kda_args a = {
        .o = part(s->o, first, n, 0, HV, V),
        .q = part(s->mixed, first, n, 0, H, K),
        .k = part(s->mixed, first, n, H * K, H, K),
        .v = part(s->mixed, first, n, 2 * H * K, HV, V),
        .g = part(s->decay, first, n, 0, channels ? HV : 0, K),
        .beta = part(s->beta, first, n, 0, 0, 0),
        .rule = kl__mixer_erases(mixer) ? KL_RULE_DELTA : KL_RULE_ADD,
        .qk_l2norm = true,
        .beta_sigmoid = kl__mixer_erases(mixer),
        .beta_double = kl__mixer_erases(mixer) && c->neg_eigval,
        .state_layout = KL_LAYOUT_VK,
        .path = path,
    };
    if (kl__mixer_decays(mixer)) {
        a.gate = c->gate_bounded ? KL_GATE_BOUNDED : KL_GATE_SOFTPLUS;
        a.lower_bound = c->gate_lower_bound;
        a.A_log = kl__tensor_of_weight(&l->w[KL__A_LOG]);
        a.dt_bias = kl__tensor_of_weight(&l->w[KL__DT_BIAS]);
        if (channels)
            a.dt_bias = kl_view2(a.dt_bias.data, KL_F32, HV, K);
    }
    a.state_in = a.state_out = kl_view4(state_of(w, q, layer), KL_F32, 1, HV, V, K);
    return kl__walk_kda(w, &a);
}

/* A prompt goes by chunks from the next multiple of the chunk on; what comes before that is a chunk of its own. */
static kl_status recur_prompt(struct kl__walk *w, const struct kl__layer *l, int layer, const struct kl__seq *q,
                              const struct stage *s)
{
    int64_t before = (KL__NET_CHUNK - q->position % KL__NET_CHUNK) % KL__NET_CHUNK;
    if (before > q->n_token)
        before = q->n_token;
    if (before)
        KL_TRY(recur(w, l, layer, q, s, q->first, before, KL_PATH_CHUNK));
    if (before == q->n_token)
        return KL_OK;
    return recur(w, l, layer, q, s, q->first + before, q->n_token - before, KL_PATH_CHUNK);
}

kl_status kl__mixer_recurrent_forward(struct kl__walk *w, int layer)
{
    const struct kl__layer *l = &w->net->layer[layer];
    const kl_config *c = &w->net->c;
    int mixer = c->mixer[layer];
    struct stage s = lay_out(w, mixer);
    KL_TRY(project(w, l, mixer, &s));
    if (mixer == KL_MIXER_MAMBA2 && !w->measure)
        time_steps(l, &s);
    for (int i = 0; i < w->batch->n_seq; i++) {
        const struct kl__seq *q = &w->batch->seq[i];
        if (c->n_conv)
            KL_TRY(convolve(w, l, layer, q, &s));
        else if (!w->measure)
            activate(&s, q);
        KL_TRY(q->decode ? recur(w, l, layer, q, &s, q->first, q->n_token, KL_PATH_RECURRENT)
                         : recur_prompt(w, l, layer, q, &s));
        if (q->trace)
            kl__trace_recurrent(q->trace, q, layer, l, s.decay, s.beta, mixer == KL_MIXER_MAMBA2);
    }
    kl_tensor o = part(s.o, 0, s.o.dim[0], 0, c->n_kda_v_head, c->kda_v);
    kl_tensor gate = part(s.gate, 0, s.o.dim[0], 0, c->n_kda_v_head, c->kda_v);
    KL_TRY(kl__walk_norm(w, o, o, &l->w[KL__NORM_O], gate, (kl_activation)c->gate_act, c->rms_eps));
    return kl__walk_linear(w, KL__PART_outputs, kl__walk_rows(w, w->h), s.o, &l->w[KL__KDA_O], true);
}
