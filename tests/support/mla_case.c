#include "support/mla_case.h"

#include <math.h>

static const int64_t ragged_q[] = {0, 13, 13, 14, 81, 84}, ragged_k[] = {0, 29, 35, 36, 103, 104};
static const int64_t windows_q[] = {0, 100, 230, 231}, windows_k[] = {0, 100, 280, 1500};
static const int64_t few_q[] = {0, 2}, slabs_k[] = {0, 2 * 8192 + 50}, group_k[] = {0, 2100};
static const int64_t block_q[] = {0, 70}, nothing[] = {0, 0}, some_k[] = {0, 300};

const struct mla_problem mla_case[] = {
    {.H = 3, .DN = 13, .DR = 5, .R = 37, .DV = 11, .n_seq = 5, .cu_q = ragged_q, .cu_k = ragged_k},
    {.H = 3, .DN = 13, .DR = 5, .R = 37, .DV = 11, .n_seq = 5, .cu_q = ragged_q, .cu_k = ragged_k, .causal = true},
    /* More tokens than an absorbed window; weights of more than one block of rows. */
    {.H = 2, .DN = 70, .DR = 8, .R = 32, .DV = 66, .n_seq = 3, .cu_q = windows_q, .cu_k = windows_k, .causal = true},
    /* Three slabs, two blocks of query rows, of which the backward takes one at a time. */
    {.H = 2, .DN = 4, .DR = 2, .R = 8, .DV = 3, .n_seq = 1, .cu_q = block_q, .cu_k = slabs_k, .causal = true},
    /* Heads in groups: not all fit into the memory of a slab at a time. */
    {.H = 3, .DN = 200, .DR = 8, .R = 6, .DV = 192, .n_seq = 1, .cu_q = few_q, .cu_k = group_k},
    /* No position columns, no content columns, no queries, no rows. */
    {.H = 2, .DN = 8, .DR = 0, .R = 16, .DV = 8, .n_seq = 1, .cu_q = few_q, .cu_k = some_k, .causal = true},
    {.H = 2, .DN = 0, .DR = 8, .R = 16, .DV = 8, .n_seq = 1, .cu_q = few_q, .cu_k = some_k, .causal = true},
    {.H = 2, .DN = 8, .DR = 4, .R = 16, .DV = 8, .n_seq = 1, .cu_q = nothing, .cu_k = some_k},
    {.H = 2, .DN = 8, .DR = 4, .R = 16, .DV = 8, .n_seq = 1, .cu_q = few_q, .cu_k = nothing},
};
const int mla_n_case = sizeof mla_case / sizeof *mla_case;

struct mla_problem mla_make(kt_rng *r, struct mla_problem p)
{
    p.T = p.cu_q[p.n_seq];
    p.S = p.cu_k[p.n_seq];
    p.q = kt_normals(r, p.T * p.H * (p.DN + p.DR), 1.5f);
    p.cache = kt_normals(r, p.S * (p.R + p.DR), 1);
    p.w_uk = kt_normals(r, p.H * p.DN * p.R, 1 / sqrtf((float)p.R));
    p.w_uv = kt_normals(r, p.H * p.DV * p.R, 1 / sqrtf((float)p.R));
    return p;
}

kl_mla_args mla_args(const struct mla_problem *p, kl_mla_form form, float *o, float *lse)
{
    return (kl_mla_args){.o = kl_view3(o, KL_F32, p->T, p->H, p->DV),
                         .lse = kl_view2(lse, KL_F32, p->T, p->H),
                         .q = kl_view3(p->q, KL_F32, p->T, p->H, p->DN + p->DR),
                         .cache = kl_view2(p->cache, KL_F32, p->S, p->R + p->DR),
                         .w_uk = kl_view3(p->w_uk, KL_F32, p->H, p->DN, p->R),
                         .w_uv = kl_view3(p->w_uv, KL_F32, p->H, p->DV, p->R),
                         .causal = p->causal,
                         .form = form,
                         .cu_q = p->cu_q,
                         .cu_k = p->cu_k,
                         .n_seq = p->n_seq};
}

void mla_call(const kl_backend *be, kl_mla_args a)
{
    a.work = kt_work(kl_mla_workspace(be, &a));
    KT_OK(kl_mla(be, &a, KT_ERR));
}

void mla_run(const kl_backend *be, const struct mla_problem *p, kl_mla_form form, float *o, float *lse)
{
    mla_call(be, mla_args(p, form, o, lse));
}

/* --------------------------------------------------------------------------------------------- float64 reference -- */

struct attention64 mla_expand64(const struct mla_problem *p)
{
    int64_t n_k = p->DN + p->DR, row = p->R + p->DR;
    double *k = doubles(p->S * p->H * n_k), *v = doubles(p->S * p->H * p->DV);
    for (int64_t s = 0; s < p->S; s++)
        for (int64_t h = 0; h < p->H; h++) {
            const float *c = p->cache + s * row;
            double *key = k + (s * p->H + h) * n_k, *value = v + (s * p->H + h) * p->DV;
            for (int64_t d = 0; d < p->DN; d++)
                key[d] = kt_dot(p->w_uk + (h * p->DN + d) * p->R, c, p->R);
            for (int64_t d = 0; d < p->DR; d++)
                key[p->DN + d] = c[p->R + d];
            for (int64_t d = 0; d < p->DV; d++)
                value[d] = kt_dot(p->w_uv + (h * p->DV + d) * p->R, c, p->R);
        }
    return (struct attention64){.H = p->H,
                                .HK = p->H,
                                .DK = n_k,
                                .DV = p->DV,
                                .n_seq = p->n_seq,
                                .cu_q = p->cu_q,
                                .cu_k = p->cu_k,
                                .causal = p->causal,
                                .scale = 1 / sqrt((double)n_k),
                                .q = doubles_of(p->q, p->T * p->H * n_k),
                                .k = k,
                                .v = v};
}

/* From gradients of expanded keys and values to those of latents and weights: one row, one head. */
static void collect64(const struct mla_problem *p, int64_t s, int64_t h, const double *d_k, const double *d_v,
                      struct mla_gradients64 g)
{
    const float *c = p->cache + s * (p->R + p->DR);
    double *d_c = g.cache + s * (p->R + p->DR);
    for (int64_t r = 0; r < p->R; r++) {
        for (int64_t d = 0, at = h * p->DN * p->R + r; d < p->DN; d++, at += p->R) {
            d_c[r] += d_k[d] * p->w_uk[at];
            g.w_uk[at] += d_k[d] * c[r];
        }
        for (int64_t d = 0, at = h * p->DV * p->R + r; d < p->DV; d++, at += p->R) {
            d_c[r] += d_v[d] * p->w_uv[at];
            g.w_uv[at] += d_v[d] * c[r];
        }
    }
    for (int64_t d = 0; d < p->DR; d++)
        d_c[p->R + d] += d_k[p->DN + d];
}

struct mla_gradients64 mla_backward64(const struct mla_problem *p, const float *d_o)
{
    int64_t n_k = p->DN + p->DR;
    struct mla_gradients64 g = {doubles(p->T * p->H * n_k), doubles(p->S * (p->R + p->DR)),
                                doubles(p->H * p->DN * p->R), doubles(p->H * p->DV * p->R)};
    struct attention64 x = mla_expand64(p);
    double *d_k = doubles(p->S * p->H * n_k), *d_v = doubles(p->S * p->H * p->DV);
    attention64_bwd(&x, doubles_of(d_o, p->T * p->H * p->DV), g.q, d_k, d_v);
    for (int64_t s = 0; s < p->S; s++)
        for (int64_t h = 0; h < p->H; h++)
            collect64(p, s, h, d_k + (s * p->H + h) * n_k, d_v + (s * p->H + h) * p->DV, g);
    return g;
}
