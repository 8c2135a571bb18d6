#include "support/dplr_case.h"

#include "ops/check.h"

kl_tensor dplr_states(kt_rng *r, const kl_dplr_args *a, int64_t n_seq)
{
    int64_t H = a->v.dim[1], K = a->k.dim[2], V = a->v.dim[2];
    bool vk = a->state_layout == KL_LAYOUT_VK;
    return kl_view4(kt_normals(r, n_seq * H * K * V, 1), KL_F32, n_seq, H, vk ? V : K, vk ? K : V);
}

kl_dplr_args dplr_draw(kt_rng *r, dplr_shape s, kda_gates gates)
{
    kda_shape like = {.T = s.T, .H = s.H, .HV = s.H, .K = s.K, .V = s.V};
    kl_kda_args first = kda_draw(r, like, gates, KEYS_MODEL, BETAS_ABSENT);
    kl_kda_args second = kda_draw(r, like, GATES_NONE, KEYS_MODEL, BETAS_ABSENT);
    kl_dplr_args a = {.q = first.q, .k = first.k, .v = first.v, .g = first.g, .b = second.k, .a = kda_copy(second.k)};
    for (int64_t i = 0; i < ref64_count(a.a); i++)
        ((float *)a.a.data)[i] *= (float)(0.2 + 0.7 * kt_uniform(r));
    a.state_in = dplr_states(r, &a, 1);
    return a;
}

kl_dplr_args dplr_slice(const kl_dplr_args *a, int64_t start, int64_t end, kl_tensor state_in)
{
    kl_dplr_args part = *a;
    part.q = kda_rows(a->q, start, end);
    part.k = kda_rows(a->k, start, end);
    part.a = kda_rows(a->a, start, end);
    part.b = kda_rows(a->b, start, end);
    part.v = kda_rows(a->v, start, end);
    part.g = kda_rows(a->g, start, end);
    part.state_in = state_in;
    part.cu_seqlens = NULL;
    part.n_seq = 0;
    return part;
}

kl_dplr_args dplr_run_variant(const kda_variant *v, kl_dplr_args a)
{
    int64_t n = kl__n_seq(a.cu_seqlens, a.n_seq), H = a.v.dim[1], K = a.k.dim[2], V = a.v.dim[2];
    bool vk = a.state_layout == KL_LAYOUT_VK;
    a.path = v->path;
    a.chunk = v->chunk;
    a.o = kl_view3(kt_floats(a.v.dim[0] * H * V), KL_F32, a.v.dim[0], H, V);
    a.state_out = kl_view4(kt_floats(n * H * K * V), KL_F32, n, H, vk ? V : K, vk ? K : V);
    a.work = kt_work(kl_dplr_workspace(v->be, &a));
    KT_OK(kl_dplr(v->be, &a, KT_ERR));
    return a;
}
