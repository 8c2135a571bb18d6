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

void kl__dplr_stage_rows(const struct kl__kernels *k, const kl_dplr_args *a, const struct kl__dplr_shape *s,
                         struct kl__dplr_stage *stage, int64_t t0, int n, int64_t head)
{
    kl__head_rows(k, stage->q, s->ld, a->q, t0, n, head);
    kl__head_rows(k, stage->k, s->ld, a->k, t0, n, head);
    kl__head_rows(k, stage->a, s->ld, a->a, t0, n, head);
    kl__head_rows(k, stage->b, s->ld, a->b, t0, n, head);
    if (kl__present(a->g))
        kl__head_rows(k, stage->alpha, s->ld, a->g, t0, n, head); /* zeros behind K become ones */
    else
        for (ptrdiff_t i = 0; i < n * s->ld; i++)
            stage->alpha[i] = 0;
    k->decay_row(stage->alpha, stage->alpha, NULL, n * s->ld, KL_GATE_LOG, 1, 0);
    stage->chunk.n = n;
}

void kl__dplr_stage_chunk(const struct kl__kernels *k, const kl_dplr_args *a, const struct kl__dplr_shape *s,
                          struct kl__dplr_stage *stage, int64_t t0, int n, int64_t head)
{
    kl__dplr_stage_rows(k, a, s, stage, t0, n, head);
    k->dplr_prep(&stage->chunk, stage->q, stage->k, stage->a, stage->b, stage->alpha, s->scale);
}
