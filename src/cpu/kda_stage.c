#include "cpu/kda_stage.h"

#include "cpu/heads.h"
#include "cpu/rows.h"
#include "ops/recurrence.h"

#include <math.h>

struct kl__kda_shape kl__kda_shape(const kl_kda_args *a)
{
    struct kl__kda_shape s = {.T = a->v.dim[0], .H = a->k.dim[1], .HV = a->v.dim[1], .K = a->k.dim[2],
                              .V = a->v.dim[2], .n_seq = kl__n_seq(a->cu_seqlens, a->n_seq)};
    s.ld = kl__padded(s.K);
    s.chunk = kl__chunk_of(a->chunk);
    s.scale = a->scale != 0 ? a->scale : 1 / sqrtf((float)s.K);
    return s;
}

void kl__kda_stage_carve(struct kl__carver *c, const struct kl__kda_shape *s, struct kl__kda_stage *stage)
{
    size_t rows = (size_t)s->chunk * (size_t)s->ld;
    struct kl__kda_chunk *x = &stage->chunk;
    stage->q_rows = kl__carve(c, rows, sizeof(float));
    stage->k_rows = kl__carve(c, rows, sizeof(float));
    stage->alpha = kl__carve(c, rows, sizeof(float));
    stage->raw = kl__carve(c, (size_t)s->ld, sizeof(float));
    x->kd = kl__carve(c, rows, sizeof(float));
    x->qd = kl__carve(c, rows, sizeof(float));
    x->ku = kl__carve(c, rows, sizeof(float));
    x->A = kl__carve(c, (size_t)s->chunk * KL_CHUNK_MAX, sizeof(float));
    x->P = kl__carve(c, (size_t)s->chunk * KL_CHUNK_MAX, sizeof(float));
    x->gamma = kl__carve(c, (size_t)s->ld, sizeof(float));
    x->beta = kl__carve(c, (size_t)s->chunk, sizeof(float));
    x->K = (int)s->K;
    x->ld = s->ld;
}

static void write_strengths(const kl_kda_args *a, float *beta, int64_t t0, int n, int64_t head)
{
    if (!kl__present(a->beta)) {
        for (int r = 0; r < n; r++)
            beta[r] = a->beta_double ? 2 : 1;
        return;
    }
    const char *from = kl__head_row(a->beta, t0, head);
    ptrdiff_t pitch = kl__token_bytes(a->beta);
    for (int r = 0; r < n; r++, from += pitch) {
        float x = kl__scalar_at(a->beta.dtype, from);
        x = a->beta_sigmoid ? 1 / (1 + expf(-x)) : x;
        beta[r] = a->beta_double ? 2 * x : x;
    }
}

/* alpha [n][ld] <- exp(g): K channels, then ones. */
static void decays(const struct kl__kernels *k, const kl_kda_args *a, const struct kl__kda_shape *s, float *alpha,
                   float *raw, int64_t t0, int n, int64_t head)
{
    bool per_head = a->g.n_dim == 2, present = kl__present(a->g);
    int64_t channels = !present ? 0 : per_head ? 1 : s->K;
    float rate = kl__present(a->A_log) ? expf(((const float *)a->A_log.data)[head * kl__pitch(a->A_log)]) : 1;
    const float *bias = kl__present(a->dt_bias) ? (const float *)kl__row(a->dt_bias, head) : NULL;
    const char *from = present ? kl__head_row(a->g, t0, head) : NULL;
    ptrdiff_t pitch = present ? kl__token_bytes(a->g) : 0;
    for (int r = 0; r < n; r++, from += pitch, alpha += s->ld) {
        if (present)
            k->decay_row(alpha, kl__read_row(k, a->g.dtype, from, channels, raw), bias, channels, a->gate, rate,
                         a->lower_bound);
        float rest = per_head ? alpha[0] : 1;
        for (int64_t i = channels; i < s->K; i++)
            alpha[i] = rest;
        for (int64_t i = s->K; i < s->ld; i++)
            alpha[i] = 1;
    }
}

/* Rows of q or k after the norm; *ld is their distance. */
static const float *key_rows(const struct kl__kernels *k, const kl_kda_args *a, const struct kl__kda_shape *s,
                             kl_tensor x, float *rows, ptrdiff_t *ld, int64_t t0, int n, int64_t head)
{
    if (s->in_place && x.dtype == KL_F32 && !a->qk_l2norm && s->K == s->ld) {
        *ld = (ptrdiff_t)kl__pitch(x);
        return kl__head_row(x, t0, head);
    }
    *ld = s->ld;
    kl__head_rows(k, rows, s->ld, x, t0, n, head);
    for (int r = 0; a->qk_l2norm && r < n; r++)
        k->l2norm_row(rows + r * s->ld, rows + r * s->ld, s->K, 1e-6f);
    return rows;
}

void kl__kda_stage_rows(const struct kl__kernels *k, const kl_kda_args *a, const struct kl__kda_shape *s,
                        struct kl__kda_stage *stage, int64_t t0, int n, int64_t head)
{
    int64_t key_head = head / (s->HV / s->H);
    stage->q = key_rows(k, a, s, a->q, stage->q_rows, &stage->ldq, t0, n, key_head);
    stage->k = key_rows(k, a, s, a->k, stage->k_rows, &stage->ldk, t0, n, key_head);
    decays(k, a, s, stage->alpha, stage->raw, t0, n, head);
    write_strengths(a, stage->chunk.beta, t0, n, head);
    stage->chunk.n = n;
}

void kl__kda_stage_chunk(const struct kl__kernels *k, const kl_kda_args *a, const struct kl__kda_shape *s,
                         struct kl__kda_stage *stage, int64_t t0, int n, int64_t head)
{
    kl__kda_stage_rows(k, a, s, stage, t0, n, head);
    k->kda_prep(&stage->chunk, stage->q, stage->ldq, stage->k, stage->ldk, stage->alpha, s->scale);
}
