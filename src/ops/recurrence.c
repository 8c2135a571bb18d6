#include "ops/recurrence.h"

enum { HEAD_MAX = 4096 }; /* a state of 64 MiB; more is a mistake in the shape */

kl_status kl__check_chunk(const char *op, int chunk, kl_path path, kl_error *err)
{
    if (chunk != 0 && chunk != 8 && chunk != 16 && chunk != 32 && chunk != 64)
        return kl__fail(err, KL_ERR_ARGUMENT, "%s: chunk is %d, expected 0, 8, 16, 32 or 64", op, chunk);
    if ((unsigned)path > KL_PATH_CHUNK)
        return kl__fail(err, KL_ERR_ARGUMENT, "%s: path is %d, expected 0 .. %d", op, (int)path, KL_PATH_CHUNK);
    return KL_OK;
}

kl_status kl__check_head(const char *op, const char *name, int64_t dim, kl_error *err)
{
    if (dim < 1 || dim > HEAD_MAX)
        return kl__fail(err, KL_ERR_SHAPE, "%s: %s has heads of %lld channels, expected 1 .. %d", op, name,
                        (long long)dim, HEAD_MAX);
    return KL_OK;
}

kl_status kl__check_states(const char *op, const char *name, kl_tensor state, kl_layout layout, int64_t n, int64_t H,
                           int64_t K, int64_t V, kl_error *err)
{
    if ((unsigned)layout > KL_LAYOUT_VK)
        return kl__fail(err, KL_ERR_ARGUMENT, "%s: state_layout is %d, expected 0 or 1", op, (int)layout);
    bool vk = layout == KL_LAYOUT_VK;
    return kl__check_optional(op, name, state, KL__F32, 4, (int64_t[]){n, H, vk ? V : K, vk ? K : V}, err);
}

kl_status kl__check_gradient_of(const char *op, const char *name, kl_tensor d, const char *of_name, kl_tensor of,
                                kl_error *err)
{
    if (kl__present(d) && !kl__present(of))
        return kl__fail(err, KL_ERR_ARGUMENT, "%s: %s is wanted, but %s is absent", op, name, of_name);
    return kl__check_optional(op, name, d, KL__F32, of.n_dim, of.dim, err);
}
