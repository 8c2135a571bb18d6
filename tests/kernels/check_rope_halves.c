#include "turns.h"

static void call(kc_any_fn *fn, const void *args)
{
    const struct turns *a = args;
    ((kl__rope_halves_fn *)fn)(a->v, a->cosine, a->sine, a->n);
}

void check_rope_halves(kc *c)
{
    check_turns(c, call);
}
