#include "dplr_steps.h"

static void call(kc_any_fn *fn, const void *args)
{
    const struct dplr_step_args *x = args;
    ((kl__dplr_step_fn *)fn)(x->o, x->S, &x->rows, x->v, x->scale, x->K, x->V);
}

void check_dplr_step(kc *c)
{
    check_dplr_steps(c, call);
}
