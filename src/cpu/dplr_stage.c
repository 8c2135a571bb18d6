#include "cpu/dplr_stage.h"

#include "cpu/heads.h"
#include "ops/recurrence.h"

#include <math.h>

struct kl__dplr_shape kl__dplr_shape(const kl_dplr_args *a)
{
    struct kl__dplr_shape s = {.T = a->v.dim[0], .H = a->v.dim[1], .K = a->k.dim[2], .V = a->v.dim[2],
                               .n_seq = kl__n_seq(a->cu_seqlens, a->n_seq)};
    s.ld = kl__padded(s.K);
    s.chunk = kl__chunk_of(a->chunk);
    s.scale = a->scale != 0 ? a->scale : 1 / sqrtf((float)s.K);
    return s;
}

void kl__dplr_stage_carve(struct kl__carver *c, const struct kl__dplr_shape *s, struct kl__dplr_stage *stage)
{
    size_t rows = (size_t)s->chunk * (size_t)s->ld, pairs = (size_t)s->chunk * KL_CHUNK_MAX;
    struct kl__dplr_chunk *x = &stage->chunk;
    float **const row_arrays[] = {&stage->q, &stage->k, &stage->a, &stage->b, &stage->alpha,
                                  &x->bd,    &x->qd,    &x->ku,    &x->au};
    for (size_t i = 0; i < sizeof row_arrays / sizeof *row_arrays; i++)
        *row_arrays[i] = kl__carve(c, rows, sizeof(float));
    float **const pair_arrays[] = {&x->Abk, &x->Aba, &x->Aqk, &x->Aqa};
    for (size_t i = 0; i < sizeof pair_arrays / sizeof *pair_arrays; i++)
        *pair_arrays[i] = kl__carve(c, pairs, sizeof(float));
    x->gamma = kl__carve(c, (size_t)s->ld, sizeof(float));
    x->K = (int)s->K;
    x->ld = s->ld;
}

/* Rows of one tensor, *ld apart: where they lie, or copied. */
static const float *rows_of(const struct kl__kernels *k, const struct kl__dplr_shape *s, kl_tensor x, float *copy,
                            ptrdiff_t *ld, int64_t t0, int n, int64_t head)
{
    if (s->in_place && x.dtype == KL_F32 && s->K == s->ld) {
        *ld = (ptrdiff_t)kl__pitch(x);
        return kl__head_row(x, t0, head);
    }
    *ld = s->ld;
    kl__head_rows(k, copy, s->ld, x, t0, n, head);
    return copy;
}

static void decays(const struct kl__kernels *k, const kl_dplr_args *a, const struct kl__dplr_shape *s, float *alpha,
                   int64_t t0, int n, int64_t head)
{
    if (!kl__present(a->g)) {
        for (ptrdiff_t i = 0; i < n * s->ld; i++)
            alpha[i] = 1;
        return;
    }
    ptrdiff_t ld;
    const float *g = rows_of(k, s, a->g, alpha, &ld, t0, n, head); /* zeros behind K become ones */
    for (int r = 0; r < n; r++)
        k->decay_row(alpha + r * s->ld, g + r * ld, NULL, s->ld, KL_GATE_LOG, 1, 0);
}

void kl__dplr_stage_rows(const struct kl__kernels *k, const kl_dplr_args *a, const struct kl__dplr_shape *s,
                         struct kl__dplr_stage *stage, int64_t t0, int n, int64_t head)
{
    struct kl__dplr_rows *x = &stage->rows;
    x->q = rows_of(k, s, a->q, stage->q, &x->ldq, t0, n, head);
    x->k = rows_of(k, s, a->k, stage->k, &x->ldk, t0, n, head);
    x->a = rows_of(k, s, a->a, stage->a, &x->lda, t0, n, head);
    x->b = rows_of(k, s, a->b, stage->b, &x->ldb, t0, n, head);
    x->alpha = stage->alpha;
    decays(k, a, s, stage->alpha, t0, n, head);
    stage->chunk.n = n;
}

void kl__dplr_stage_chunk(const struct kl__kernels *k, const kl_dplr_args *a, const struct kl__dplr_shape *s,
                          struct kl__dplr_stage *stage, int64_t t0, int n, int64_t head)
{
    kl__dplr_stage_rows(k, a, s, stage, t0, n, head);
    k->dplr_prep(&stage->chunk, &stage->rows, s->scale);
}
