/** The rows of a contiguous cache dealt into pages of a pool in an order that is not the natural one. */
#ifndef GOLDEN_PAGED_H
#define GOLDEN_PAGED_H

#include "golden/golden.h"

/** A table for `n_seq` sequences with the row offsets `cu` (n_row in all). */
kl_paging golden_pages(const int64_t *cu, int64_t n_seq, int64_t n_row, int64_t page_tokens);
/** rows [S][..] as a pool [n_page][page_tokens][..]; slots that no row fills hold NaN. */
kl_tensor golden_paged(const kl_paging *paging, kl_tensor rows, const int64_t *cu, int64_t n_seq);

#endif
