/** Checks that attention operators share: sequences of queries over a cache, contiguous or in pages. */
#ifndef KL_OPS_CHECK_CACHE_H
#define KL_OPS_CHECK_CACHE_H

#include "ops/check.h"

/** The part of a call's arguments that says which queries look at which rows. */
struct kl__cache_call {
    const char *op;
    const char *cache_name; /* of the argument */
    kl_tensor cache;        /* contiguous: dim[0] rows; in pages: dim[0] pages of dim[1] rows; checked before */
    int64_t n_token;
    const int64_t *cu_q, *cu_k;
    int64_t n_seq;
    kl_paging paging;
    float scale;
};

/** Offsets ascend and end where they must; every page that a sequence needs is in the table and in the pool; the scale
 *  is a number.  Looks at no row of the cache. */
kl_status kl__check_cache(const struct kl__cache_call *c, kl_error *err);

/** Head sizes and head counts beyond this are refused, so that products of two of them fit in 64 bits. */
enum { KL__MOST_COLUMNS = 1 << 20 };

/** `n` of what is called `name` is in 1 .. KL__MOST_COLUMNS, or 0 where `may_be_0`. */
kl_status kl__check_columns(const char *op, const char *name, int64_t n, bool may_be_0, kl_error *err);

#endif
