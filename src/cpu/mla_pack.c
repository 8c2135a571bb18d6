/* Weights between latents and heads as 16-bit integers (sixteen.h), head after head. */
#include "base/pool.h"
#include "cpu/latent.h"

static struct kl__latent weights_only(const kl_backend *be, const void *packed, kl_tensor w_uk, kl_tensor w_uv)
{
    kl_mla_args a = {.q = kl_view3(NULL, KL_F32, 0, w_uk.dim[0], w_uk.dim[1]), .w_uk = w_uk, .w_uv = w_uv};
    a.o = kl_view3(NULL, KL_F32, 0, w_uk.dim[0], w_uv.dim[1]);
    a.cache = kl_view2(NULL, KL_F32, 0, w_uk.dim[2]);
    a.packed = packed;
    return kl__latent_of(be, &a);
}

size_t kl__cpu_mla_packed_bytes(const kl_backend *be, kl_tensor w_uk, kl_tensor w_uv)
{
    struct kl__latent x = weights_only(be, NULL, w_uk, w_uv);
    return (size_t)(x.n_head * x.packed_bytes);
}

/* One thread's memory. */
struct scratch {
    float *matrix; /* of one head */
    float *line;
    int16_t *integers; /* [KL__PANEL][its longer side] */
};

static struct scratch carve(struct kl__carver *c, const struct kl__latent *x)
{
    int64_t n_row = x->n_nope > x->n_v ? x->n_nope : x->n_v, most = n_row > x->n_latent ? n_row : x->n_latent;
    struct scratch s;
    s.matrix = kl__carve(c, (size_t)(n_row * x->n_latent), sizeof(float));
    s.line = kl__carve(c, (size_t)most, sizeof(float));
    s.integers = kl__carve(c, KL__PANEL * (size_t)kl__i16_even(most), sizeof(int16_t));
    return s;
}

struct job {
    struct kl__latent x;
    char *scratch; /* of thread 0 */
    size_t thread_bytes;
};

static const float *matrix_of(const struct kl__latent *x, kl_tensor w, int64_t head, float *scratch)
{
    const void *from = kl__row(w, head);
    if (w.dtype == KL_F32)
        return from;
    x->k->f32_of_bf16(scratch, from, w.dim[1] * w.dim[2]);
    return scratch;
}

static void pack_task(void *arg, int64_t head, int thread)
{
    const struct job *job = arg;
    const struct kl__latent *x = &job->x;
    struct kl__carver c = {.base = job->scratch + (size_t)thread * job->thread_bytes};
    struct scratch s = carve(&c, x);
    struct kl__i16_weights to = kl__latent_packed(x, head);
    const float *uk = matrix_of(x, x->w_uk, head, s.matrix);
    kl__i16_pack(x->k, to.absorb, to.absorb_scale, uk, x->n_nope, x->n_latent, true, s.line, s.integers);
    kl__i16_pack(x->k, to.expand, to.expand_scale, uk, x->n_nope, x->n_latent, false, s.line, s.integers);
    const float *uv = matrix_of(x, x->w_uv, head, s.matrix);
    kl__i16_pack(x->k, to.value, to.value_scale, uv, x->n_v, x->n_latent, false, s.line, s.integers);
}

static size_t thread_bytes(const struct kl__latent *x)
{
    struct kl__carver one = {0};
    carve(&one, x);
    return (one.bytes + KL_ALIGN - 1) / KL_ALIGN * KL_ALIGN;
}

size_t kl__cpu_mla_pack_workspace(const kl_backend *be, kl_tensor w_uk, kl_tensor w_uv)
{
    struct kl__latent x = weights_only(be, NULL, w_uk, w_uv);
    struct kl__carver c = {0};
    kl__carve(&c, (size_t)kl_pool_threads(be->pool), thread_bytes(&x));
    return kl__carver_need(&c);
}

kl_status kl__cpu_mla_pack(const kl_backend *be, void *to, kl_tensor w_uk, kl_tensor w_uv, kl_workspace work,
                           kl_error *err)
{
    struct job job = {.x = weights_only(be, to, w_uk, w_uv), .scratch = kl__carver(work).base};
    (void)err;
    job.thread_bytes = thread_bytes(&job.x);
    kl__pool_run(be->pool, job.x.n_head, pack_task, &job);
    return KL_OK;
}
