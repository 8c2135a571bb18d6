#include "support/kda_case.h"

#include "ops/check.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

const char *kda_gates_name(kda_gates gates)
{
    static const char *const name[KDA_N_GATES] = {
        "none", "zero",   "A=1",    "A=16",    "wide",     "-50",
        "-inf", "halves", "spikes", "erasing", "per head", "per head, erasing",
    };
    return name[gates];
}

const char *kda_keys_name(kda_keys keys)
{
    static const char *const name[KDA_N_KEYS] = {"model",  "cosine 0.9", "cosine 0.99", "all the same",
                                                 "some 0", "small",      "repeated"};
    return name[keys];
}

const char *kda_betas_name(kda_betas betas)
{
    static const char *const name[KDA_N_BETAS] = {"model", "0", "1", "0.95", "2", "absent"};
    return name[betas];
}

/* -------------------------------------------------------------------------------------------------------- inputs -- */

static void normalise(float *x, int64_t n, double length)
{
    double square = 0;
    for (int64_t i = 0; i < n; i++)
        square += (double)x[i] * x[i];
    for (int64_t i = 0; i < n && square > 0; i++)
        x[i] = (float)(x[i] * length / sqrt(square));
}

static double silu(double x)
{
    return x / (1 + exp(-x));
}

/* Rows of unit length: (cosine)^1/2 of a common direction and the rest of their own. */
static void draw_rows(kt_rng *r, float *x, int64_t n_row, int64_t n, double cosine)
{
    float *common = kt_normals(r, n, 1);
    normalise(common, n, sqrt(cosine));
    for (int64_t t = 0; t < n_row; t++) {
        float *row = x + t * n;
        for (int64_t i = 0; i < n; i++)
            row[i] = (float)silu(kt_normal(r));
        normalise(row, n, sqrt(1 - cosine));
        for (int64_t i = 0; i < n && cosine > 0; i++)
            row[i] += common[i];
        normalise(row, n, 1);
    }
}

static void draw_keys(kt_rng *r, float *k, kda_shape s, kda_keys keys)
{
    int64_t row = s.H * s.K;
    double cosine = keys == KEYS_90 ? 0.9 : keys == KEYS_99 ? 0.99 : 0;
    draw_rows(r, k, s.T * s.H, s.K, cosine);
    for (int64_t t = 0; t < s.T; t++)
        for (int64_t i = 0; i < row; i++) {
            if (keys == KEYS_SAME)
                k[t * row + i] = k[i];
            if (keys == KEYS_REPEAT)
                k[t * row + i] = k[t / 4 * 4 * row + i];
            if (keys == KEYS_ZEROS && t % 3 == 1)
                k[t * row + i] = 0;
            if (keys == KEYS_SMALL)
                k[t * row + i] *= 1e-3f;
        }
}

static double draw_log_decay(kt_rng *r, kda_gates gates, int64_t channel, int64_t n_channel, double dt_bias)
{
    double rate = gates == GATES_A16 ? 16 : gates == GATES_HEAD ? 4 : 1;
    double mild = -rate * log1p(exp(kt_normal(r) + dt_bias));
    bool rare = kt_uniform(r) < 0.1;
    switch (gates) {
    case GATES_ZERO:
        return 0;
    case GATES_WIDE:
        return -5 * kt_uniform(r);
    case GATES_50:
        return -50;
    case GATES_INF:
        return -INFINITY;
    case GATES_HALF:
        return channel < n_channel / 2 ? -50 : 0;
    case GATES_SPIKES:
        return rare ? -50 : mild;
    case GATES_ERASE:
    case GATES_HEAD_ERASE:
        return rare ? -INFINITY : mild;
    default:
        return mild;
    }
}

static kl_tensor draw_gates(kt_rng *r, kda_shape s, kda_gates gates)
{
    if (gates == GATES_NONE)
        return (kl_tensor){0};
    bool per_head = gates == GATES_HEAD || gates == GATES_HEAD_ERASE;
    int64_t n_channel = per_head ? 1 : s.K, row = s.HV * n_channel;
    float *g = kt_floats(s.T * row), *bias = kt_floats(row);
    for (int64_t i = 0; i < row; i++) /* softplus^-1 of a step between 1e-3 and 0.1 */
        bias[i] = (float)log(expm1(exp(log(1e-3) + kt_uniform(r) * log(100))));
    for (int64_t i = 0; i < s.T * row; i++)
        g[i] = (float)draw_log_decay(r, gates, i % n_channel, n_channel, bias[i % row]);
    return per_head ? kl_view2(g, KL_F32, s.T, s.HV) : kl_view3(g, KL_F32, s.T, s.HV, s.K);
}

static kl_tensor draw_betas(kt_rng *r, kda_shape s, kda_betas betas)
{
    static const float constant[KDA_N_BETAS] = {[BETAS_ONE] = 1, [BETAS_95] = 0.95f, [BETAS_TWO] = 2};
    if (betas == BETAS_ABSENT)
        return (kl_tensor){0};
    float *beta = kt_floats(s.T * s.HV);
    for (int64_t i = 0; i < s.T * s.HV; i++)
        beta[i] = betas == BETAS_MODEL ? (float)(1 / (1 + exp(-kt_normal(r)))) : constant[betas];
    return kl_view2(beta, KL_F32, s.T, s.HV);
}

kl_tensor kda_states(kt_rng *r, const kl_kda_args *a, int64_t n_seq)
{
    int64_t HV = a->v.dim[1], K = a->k.dim[2], V = a->v.dim[2];
    bool vk = a->state_layout == KL_LAYOUT_VK;
    return kl_view4(kt_normals(r, n_seq * HV * K * V, 1), KL_F32, n_seq, HV, vk ? V : K, vk ? K : V);
}

kl_kda_args kda_draw(kt_rng *r, kda_shape s, kda_gates gates, kda_keys keys, kda_betas betas)
{
    float *q = kt_floats(s.T * s.H * s.K), *k = kt_floats(s.T * s.H * s.K), *v = kt_normals(r, s.T * s.HV * s.V, 1);
    draw_rows(r, q, s.T * s.H, s.K, 0);
    draw_keys(r, k, s, keys);
    for (int64_t i = 0; i < s.T * s.HV * s.V; i++)
        v[i] = (float)silu(v[i]);
    kl_kda_args a = {
        .q = kl_view3(q, KL_F32, s.T, s.H, s.K),
        .k = kl_view3(k, KL_F32, s.T, s.H, s.K),
        .v = kl_view3(v, KL_F32, s.T, s.HV, s.V),
        .g = draw_gates(r, s, gates),
        .beta = draw_betas(r, s, betas),
    };
    a.state_in = kda_states(r, &a, 1);
    return a;
}

kl_tensor kda_rows(kl_tensor t, int64_t start, int64_t end)
{
    if (!kl__present(t))
        return t;
    t.data = kl__row(t, start);
    t.dim[0] = end - start;
    return t;
}

kl_kda_args kda_slice(const kl_kda_args *a, int64_t start, int64_t end, kl_tensor state_in)
{
    kl_kda_args part = *a;
    part.q = kda_rows(a->q, start, end);
    part.k = kda_rows(a->k, start, end);
    part.v = kda_rows(a->v, start, end);
    part.g = kda_rows(a->g, start, end);
    part.beta = kda_rows(a->beta, start, end);
    part.state_in = state_in;
    part.cu_seqlens = NULL;
    part.n_seq = 0;
    return part;
}

kl_tensor kda_copy(kl_tensor t)
{
    if (!kl__present(t))
        return t;
    int64_t n = ref64_count(t);
    float *x = kt_floats(n);
    for (int64_t i = 0; i < n; i++)
        x[i] = (float)ref64_get(t, i);
    t.data = x;
    t.pitch = 0;
    t.dtype = KL_F32;
    return t;
}

/* ---------------------------------------------------------------------------------------------------------- runs -- */

static int64_t n_snapshot(const kl_kda_args *a)
{
    int64_t n = 0, T = a->v.dim[0];
    for (int64_t s = 0; s < kl__n_seq(a->cu_seqlens, a->n_seq); s++)
        n += (kl__seq_start(a->cu_seqlens, s + 1, T) - kl__seq_start(a->cu_seqlens, s, T)) / a->snapshot_every;
    return n;
}

static kl_tensor empty_states(const kl_kda_args *a, int64_t n)
{
    int64_t HV = a->v.dim[1], K = a->k.dim[2], V = a->v.dim[2];
    bool vk = a->state_layout == KL_LAYOUT_VK;
    return kl_view4(kt_floats(n * HV * K * V), KL_F32, n, HV, vk ? V : K, vk ? K : V);
}

kl_kda_args kda_run(const kl_backend *be, kl_kda_args a)
{
    a.o = a.v;
    a.o.pitch = 0;
    a.o.dtype = KL_F32;
    a.o.data = kt_floats(ref64_count(a.v));
    a.state_out = empty_states(&a, kl__n_seq(a.cu_seqlens, a.n_seq));
    a.snapshots = a.e = (kl_tensor){0};
    if (a.snapshot_every > 0 && a.path != KL_PATH_RECURRENT) {
        a.snapshots = empty_states(&a, n_snapshot(&a));
        a.e = kl_view3(kt_floats(ref64_count(a.v)), KL_F32, a.v.dim[0], a.v.dim[1], a.v.dim[2]);
    }
    a.work = kt_work(kl_kda_workspace(be, &a));
    KT_OK(kl_kda(be, &a, KT_ERR));
    return a;
}

void kda_expect64(const char *what, const kl_kda_args *a, ref64_outputs want, double tolerance)
{
    char text[160];
    snprintf(text, sizeof text, "%s: o", what);
    ref64_expect(text, a->o, want.o, tolerance);
    snprintf(text, sizeof text, "%s: state_out", what);
    ref64_expect(text, a->state_out, want.state_out, tolerance);
    snprintf(text, sizeof text, "%s: snapshots", what);
    if (want.snapshots)
        ref64_expect(text, a->snapshots, want.snapshots, tolerance);
    snprintf(text, sizeof text, "%s: e", what);
    if (kl__present(a->e))
        ref64_expect(text, a->e, want.e, tolerance);
}

bool kda_variant_at(int i, kda_variant *v)
{
    static const int chunk[] = {0, 8, 16, 32, 64};
    enum { N = sizeof chunk / sizeof *chunk };
    const char *level = kt_level(i / N);
    if (!level)
        return false;
    v->be = kt_backend(level, 1 + i % 2);
    v->chunk = chunk[i % N];
    v->path = v->chunk ? KL_PATH_CHUNK : KL_PATH_RECURRENT;
    snprintf(v->name, sizeof v->name, v->chunk ? "%s chunk %d" : "%s recurrent", level, v->chunk);
    return true;
}

kl_kda_args kda_run_variant(const kda_variant *v, kl_kda_args a)
{
    a.path = v->path;
    a.chunk = v->chunk;
    return kda_run(v->be, a);
}
