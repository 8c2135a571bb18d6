/** What the checkers of rope_halves and rope_pairs share: one takes the numbers of a pair from the halves of a head,
 *  the other from neighbours. */
#ifndef KC_TURNS_H
#define KC_TURNS_H

#include "kcheck.h"

struct turns {
    float *v; /* [2 n] */
    const float *cosine, *sine;
    int64_t n;
};

static inline struct turns turns_operands(kc *c, int64_t n, enum kc_fill fill)
{
    struct turns a = {.n = n};
    a.v = kc_inout(c, "v", 2 * n, fill, 1e-6);
    a.cosine = kc_in(c, "cosine", n, KC_NORMAL);
    a.sine = kc_in(c, "sine", n, KC_NORMAL);
    return a;
}

static inline void check_turns(kc *c, kc_call_fn *call)
{
    for (int i = 0; kc_length(i) >= 0; i++)
        for (int fill = 0; fill <= KC_NAN; fill++) {
            struct turns a = turns_operands(c, kc_length(i), (enum kc_fill)fill);
            kc_run(c, call, &a, "n %lld, %s v", (long long)a.n, kc_fill_name((enum kc_fill)fill));
        }
    struct turns a = turns_operands(c, 64, KC_NORMAL);
    kc_run_timed(c, call, &a, "n %lld", (long long)a.n);
}

#endif
