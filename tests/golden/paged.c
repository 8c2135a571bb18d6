#include "golden/paged.h"

#include <string.h>

enum { SPARE_PAGES = 2 };

static int64_t pages_of(int64_t n_row, int64_t page_tokens)
{
    return (n_row + page_tokens - 1) / page_tokens;
}

kl_paging golden_pages(const int64_t *cu, int64_t n_seq, int64_t n_row, int64_t page_tokens)
{
    int64_t per_seq = pages_of(n_row, page_tokens), n_page = n_seq * per_seq + SPARE_PAGES;
    int32_t *table = kt_bytes((size_t)(n_seq * per_seq) * sizeof *table);
    for (int64_t n = 0; n < n_seq; n++)
        for (int64_t p = 0; p < per_seq; p++) {
            /* Backwards through the pool; entries past the end of a sequence are never looked at. */
            bool used = p < pages_of(cu[n + 1] - cu[n], page_tokens);
            table[n * per_seq + p] = used ? (int32_t)(n_page - 1 - (n * per_seq + p)) : -1;
        }
    return (kl_paging){.table = table, .pages_per_seq = per_seq, .page_tokens = page_tokens};
}

kl_tensor golden_paged(const kl_paging *paging, kl_tensor rows, const int64_t *cu, int64_t n_seq)
{
    size_t bytes = kl_dtype_bytes(rows.dtype);
    for (int i = 1; i < rows.n_dim; i++)
        bytes *= (size_t)rows.dim[i];
    int64_t n_page = n_seq * paging->pages_per_seq + SPARE_PAGES;
    char *pool = kt_bytes((size_t)(n_page * paging->page_tokens) * bytes);
    memset(pool, 0xff, (size_t)(n_page * paging->page_tokens) * bytes);
    for (int64_t n = 0; n < n_seq; n++)
        for (int64_t i = 0; i < cu[n + 1] - cu[n]; i++) {
            int64_t page = paging->table[n * paging->pages_per_seq + i / paging->page_tokens];
            memcpy(pool + (size_t)(page * paging->page_tokens + i % paging->page_tokens) * bytes,
                   (const char *)rows.data + (size_t)(cu[n] + i) * bytes, bytes);
        }
    return kl_view(pool, rows.dtype, rows.n_dim + 1, n_page, paging->page_tokens, rows.dim[1], rows.dim[2]);
}
