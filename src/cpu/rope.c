/* A token's angles are the same for all of its heads: they are made once, then every head is turned.  The frequencies
 * are the same for all tokens and lie at the start of the workspace. */
#include "cpu/cpu_backend.h"
#include "cpu/rows.h"

#include <math.h>

struct job {
    const struct kl__kernels *k;
    const kl_rope_args *a;
    double *frequency; /* [n_pair] */
    kl_workspace rows; /* of all threads */
    int64_t n_pair;
    double direction; /* 1: forward, -1: backward */
};

/* Arrays of n_pair floats of a thread: the angles, and a head as f32. */
enum { COSINE, SINE, HEAD, N_ARRAY = HEAD + 2 };

static int64_t n_pair(const kl_rope_args *a)
{
    return (a->n_rot ? a->n_rot : a->x.dim[2]) / 2;
}

static void turn_token(const void *arg, int64_t t, int64_t h, float *scratch)
{
    (void)h;
    const struct job *job = arg;
    const struct kl__kernels *k = job->k;
    kl_tensor x = job->a->x;
    int64_t n = job->n_pair;
    float *cosine = scratch + COSINE * n, *sine = scratch + SINE * n;
    k->rope_angles(cosine, sine, job->frequency, job->direction * (double)job->a->position[t], n);
    struct kl__rows heads = kl__rows_of(x);
    for (int64_t head = 0; head < heads.n_head; head++) {
        void *at = kl__head(x, heads, t, head);
        float *v = kl__begin_row(x.dtype, at, scratch + HEAD * n);
        kl__read_row(k, x.dtype, at, 2 * n, v);
        (job->a->interleaved ? k->rope_pairs : k->rope_halves)(v, cosine, sine, n);
        kl__end_row(k, x.dtype, at, 2 * n, v);
    }
}

static void turn(const kl_backend *be, const kl_rope_args *a, double direction)
{
    struct kl__carver c = kl__carver(a->work);
    struct job job = {.k = kl__cpu_kernels(be), .a = a, .n_pair = n_pair(a), .direction = direction};
    if (job.n_pair == 0 || a->x.dim[0] == 0)
        return;
    job.frequency = kl__carve(&c, (size_t)job.n_pair, sizeof *job.frequency);
    job.rows.data = c.base + c.bytes;
    double base = a->base > 0 ? (double)a->base : 10000;
    for (int64_t i = 0; i < job.n_pair; i++)
        job.frequency[i] = pow(base, -(double)i / (double)job.n_pair);
    struct kl__rows tokens = {a->x.dim[0], 1, a->x.dim[1] * a->x.dim[2]};
    kl__for_rows(be, tokens, job.rows, N_ARRAY, job.n_pair, turn_token, &job);
}

static size_t workspace(const kl_backend *be, const kl_rope_args *a)
{
    struct kl__carver c = {0};
    kl__carve(&c, (size_t)n_pair(a), sizeof(double));
    kl__carve_scratch(&c, be, N_ARRAY, n_pair(a));
    return kl__carver_need(&c);
}

kl_status kl__cpu_rope(const kl_backend *be, const kl_rope_args *a, kl_error *err)
{
    (void)err;
    turn(be, a, 1);
    return KL_OK;
}

size_t kl__cpu_rope_workspace(const kl_backend *be, const kl_rope_args *a)
{
    return workspace(be, a);
}

kl_status kl__cpu_rope_bwd(const kl_backend *be, const kl_rope_bwd_args *a, kl_error *err)
{
    (void)err;
    turn(be, a, -1);
    return KL_OK;
}

size_t kl__cpu_rope_bwd_workspace(const kl_backend *be, const kl_rope_bwd_args *a)
{
    return workspace(be, a);
}
