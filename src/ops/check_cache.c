#include "ops/check_cache.h"

#include <math.h>

static kl_status check_lengths(const struct kl__cache_call *c, kl_error *err)
{
    bool paged = c->paging.table != NULL;
    KL_TRY(kl__check_sequences(c->op, "cu_q", c->cu_q, c->n_seq, c->n_token, err));
    if (c->cu_k && !c->cu_q)
        return kl__fail(err, KL_ERR_ARGUMENT, "%s: cu_k is given without cu_q, expected both or only cu_q", c->op);
    if (c->cu_k)
        return kl__check_sequences(c->op, "cu_k", c->cu_k, c->n_seq, paged ? c->cu_k[c->n_seq] : c->cache.dim[0], err);
    if (c->cu_q && !paged && c->cache.dim[0] != c->n_token)
        return kl__fail(err, KL_ERR_SHAPE, "%s: %s has %lld rows without cu_k, expected the %lld of the queries", c->op,
                        c->cache_name, (long long)c->cache.dim[0], (long long)c->n_token);
    return KL_OK;
}

/* The first `n_page` entries of sequence `seq`. */
static kl_status check_pages(const struct kl__cache_call *c, int64_t seq, int64_t n_page, kl_error *err)
{
    const kl_paging *p = &c->paging;
    if (n_page > p->pages_per_seq)
        return kl__fail(err, KL_ERR_ARGUMENT,
                        "%s: paging.pages_per_seq is %lld, expected at least %lld for sequence %lld", c->op,
                        (long long)p->pages_per_seq, (long long)n_page, (long long)seq);
    for (int64_t i = 0; i < n_page; i++) {
        int32_t page = p->tables ? p->tables[seq][i] : p->table[seq * p->pages_per_seq + i];
        if (page < 0 || page >= c->cache.dim[0])
            return kl__fail(err, KL_ERR_ARGUMENT, "%s: paging.table[%lld][%lld] is %d, expected 0 .. %lld", c->op,
                            (long long)seq, (long long)i, (int)page, (long long)c->cache.dim[0] - 1);
    }
    return KL_OK;
}

static kl_status check_paging(const struct kl__cache_call *c, kl_error *err)
{
    const kl_paging *p = &c->paging;
    int64_t n_seq = c->cu_q ? c->n_seq : 1;
    if (p->page_tokens < 1 || p->page_tokens != c->cache.dim[1])
        return kl__fail(err, KL_ERR_ARGUMENT, "%s: paging.page_tokens is %lld, expected the %lld rows of a page of %s",
                        c->op, (long long)p->page_tokens, (long long)c->cache.dim[1], c->cache_name);
    if (p->pages_per_seq < 0 || p->pages_per_seq > INT64_MAX / 8 / (n_seq + 1))
        return kl__fail(err, KL_ERR_ARGUMENT, "%s: paging.pages_per_seq is %lld, expected a count", c->op,
                        (long long)p->pages_per_seq);
    if (p->tables && p->tables[0] != p->table)
        return kl__fail(err, KL_ERR_ARGUMENT, "%s: paging.table is not paging.tables[0], expected the same list",
                        c->op);
    const int64_t *cu = c->cu_k ? c->cu_k : c->cu_q;
    for (int64_t n = 0; n < n_seq; n++) {
        int64_t n_key = kl__seq_start(cu, n + 1, c->n_token) - kl__seq_start(cu, n, c->n_token);
        KL_TRY(check_pages(c, n, n_key / p->page_tokens + (n_key % p->page_tokens != 0), err));
    }
    return KL_OK;
}

kl_status kl__check_cache(const struct kl__cache_call *c, kl_error *err)
{
    KL_TRY(check_lengths(c, err));
    if (c->paging.table)
        KL_TRY(check_paging(c, err));
    return isfinite(c->scale)
               ? KL_OK
               : kl__fail(err, KL_ERR_ARGUMENT, "%s: scale is %g, expected a number", c->op, (double)c->scale);
}

kl_status kl__check_columns(const char *op, const char *name, int64_t n, bool may_be_0, kl_error *err)
{
    if (n >= !may_be_0 && n <= KL__MOST_COLUMNS)
        return KL_OK;
    return kl__fail(err, KL_ERR_SHAPE, "%s: there are %lld %s, expected %d .. %d", op, (long long)n, name, !may_be_0,
                    KL__MOST_COLUMNS);
}
