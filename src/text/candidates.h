/** The tokens that may still be chosen, and the ways to leave some out. */
#ifndef KL_TEXT_CANDIDATES_H
#define KL_TEXT_CANDIDATES_H

#include <stddef.h>
#include <stdint.h>

struct kl__candidate {
    double key; /* what it is ordered by: the highest first, the lowest id of equals */
    double p;   /* its probability, times a number that is the same for all */
    int32_t id;
};

struct kl__candidates {
    struct kl__candidate *at; /* [n] */
    size_t n;
};

/** Orders the first candidates until there are `n_most` of them or, counting at least one, until their p together are
 *  at least `enough`; the rest is left out. */
void kl__keep_first(struct kl__candidates *c, size_t n_most, double enough);
/** Leaves out every candidate whose p is below the limit; keeps the order. */
void kl__keep_likely(struct kl__candidates *c, double p_least);
/** Sum of all p, in the order of the array. */
double kl__sum(const struct kl__candidates *c);
/** Those nearest to the expected surprise that together have the share; what is left is keyed by p. */
void kl__keep_typical(struct kl__candidates *c, double share);
/** The candidate where the running sum of p passes u * sum, u in [0, 1). */
int32_t kl__draw(const struct kl__candidates *c, double u);

#endif
