/** The two forms of multi-head latent attention.  Each sequence is worked on in one of them (kl__latent_absorbed),
 *  whoever else is in the call; each function does its sequences and leaves the others alone.
 *
 *  In a given form, one sequence with more tokens or a longer cache never needs less workspace, and from
 *  KL__FLASH_SPAN_1 + 1 positions on the cache's length means nothing: who measures the most tokens at such a length
 *  has measured everything, several sequences of as many tokens together included.   [T: ops/mla_workspace] */
#ifndef KL_CPU_MLA_H
#define KL_CPU_MLA_H

#include "cpu/latent.h"

size_t kl__mla_absorbed_workspace(const kl_backend *be, const struct kl__latent *x);
void kl__mla_absorbed(const kl_backend *be, const struct kl__latent *x, kl_workspace work);

size_t kl__mla_expanded_workspace(const kl_backend *be, const struct kl__latent *x);
void kl__mla_expanded(const kl_backend *be, const struct kl__latent *x, kl_workspace work);

#endif
