#include "base/error.h"
#include "cpu/cpu_backend.h"

kl_status kl__cpu_dplr_bwd(const kl_backend *be, const kl_dplr_bwd_args *a, kl_error *err)
{
    (void)be;
    (void)a;
    return kl__fail(err, KL_ERR_UNSUPPORTED, "kl_dplr_bwd: not available on this backend");
}

size_t kl__cpu_dplr_bwd_workspace(const kl_backend *be, const kl_dplr_bwd_args *a)
{
    (void)be;
    (void)a;
    return 0;
}
