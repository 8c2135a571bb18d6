#include "engine/timeline.h"

#include "base/error.h"
#include "base/memory.h"

#include <string.h>

kl_status kl__timeline_open(struct kl__timeline *t, struct kl__pages *pages, size_t fixed_bytes,
                            const kl_allocator *alloc, kl_error *err)
{
    *t = (struct kl__timeline){.alloc = alloc, .pages = pages, .fixed_bytes = fixed_bytes};
    t->fixed = kl__alloc(alloc, fixed_bytes);
    if (!t->fixed)
        return kl__fail(err, KL_ERR_MEMORY, "no memory for %zu bytes of recurrent state", fixed_bytes);
    return KL_OK;
}

void kl__timeline_close(struct kl__timeline *t)
{
    for (int64_t i = 0; i < t->n_page; i++)
        kl__pages_drop(t->pages, t->page[i]);
    kl__release(t->alloc, t->fixed);
    kl__release(t->alloc, t->token);
    kl__release(t->alloc, t->page);
    *t = (struct kl__timeline){0};
}

void kl__timeline_reset(struct kl__timeline *t)
{
    t->length = 0;
    kl__timeline_trim(t);
    memset(t->fixed, 0, t->fixed_bytes);
}

int64_t kl__timeline_pages(const struct kl__timeline *t, int64_t length)
{
    return t->pages->page_bytes ? (length + KL_PAGE_TOKENS - 1) / KL_PAGE_TOKENS : 0;
}

/* Grows *list to at least `n` entries of 4 bytes, doubling, so that a long sequence copies it a few times only. */
static bool grow(int32_t **list, int64_t *room, int64_t n, const kl_allocator *alloc)
{
    if (n <= *room)
        return true;
    int64_t wanted = n > 2 * *room ? n : 2 * *room;
    wanted = wanted < 1024 ? 1024 : wanted;
    int32_t *longer = kl__alloc(alloc, (size_t)wanted * sizeof **list);
    if (!longer)
        return false;
    if (*room)
        memcpy(longer, *list, (size_t)*room * sizeof **list);
    kl__release(alloc, *list);
    *list = longer;
    *room = wanted;
    return true;
}

kl_status kl__timeline_room(struct kl__timeline *t, int64_t length, kl_error *err)
{
    if (grow(&t->token, &t->n_token_room, length, t->alloc) &&
        grow(&t->page, &t->n_page_room, kl__timeline_pages(t, length), t->alloc))
        return KL_OK;
    return kl__fail(err, KL_ERR_MEMORY, "no memory for a list of %lld tokens", (long long)length);
}

kl_status kl__timeline_reserve(struct kl__timeline *t, int64_t n_token, kl_error *err)
{
    int64_t n_page = kl__timeline_pages(t, t->length + n_token);
    KL_TRY(kl__timeline_room(t, t->length + n_token, err));
    while (t->n_page < n_page) {
        int32_t page = kl__pages_take(t->pages);
        if (page < 0) {
            kl__timeline_trim(t);
            return kl__fail(err, KL_ERR_MEMORY, "the cache holds %d pages of %d tokens, and all are in use",
                            (int)t->pages->n_page, KL_PAGE_TOKENS);
        }
        t->page[t->n_page++] = page;
    }
    return KL_OK;
}

void kl__timeline_trim(struct kl__timeline *t)
{
    while (t->n_page > kl__timeline_pages(t, t->length))
        kl__pages_drop(t->pages, t->page[--t->n_page]);
}

/* Pages of `from`: shared while they are full. */
static kl_status copy_pages(struct kl__timeline *to, const struct kl__timeline *from, kl_error *err)
{
    int64_t n_full = from->pages->page_bytes ? from->length / KL_PAGE_TOKENS : 0;
    KL_TRY(kl__timeline_room(to, from->length, err));
    for (; to->n_page < n_full; to->n_page++) {
        to->page[to->n_page] = from->page[to->n_page];
        kl__pages_share(to->pages, from->page[to->n_page]);
    }
    KL_TRY(kl__timeline_reserve(to, from->length, err));
    if (to->n_page > n_full)
        memcpy(kl__page_at(to->pages, to->page[n_full]), kl__page_at(from->pages, from->page[n_full]),
               (size_t)to->pages->page_bytes);
    return KL_OK;
}

kl_status kl__timeline_copy(struct kl__timeline *to, const struct kl__timeline *from, kl_error *err)
{
    KL_TRY(kl__timeline_open(to, from->pages, from->fixed_bytes, from->alloc, err));
    kl_status status = copy_pages(to, from, err);
    if (status != KL_OK) {
        kl__timeline_close(to);
        return status;
    }
    memcpy(to->fixed, from->fixed, from->fixed_bytes);
    if (from->length)
        memcpy(to->token, from->token, (size_t)from->length * sizeof *to->token);
    to->length = from->length;
    return KL_OK;
}

bool kl__timeline_return(struct kl__timeline *t, const struct kl__timeline *from)
{
    int64_t n_full = t->pages->page_bytes ? from->length / KL_PAGE_TOKENS : 0, own = n_full;
    bool partly = kl__timeline_pages(from, from->length) > n_full;
    if (t->length < from->length || t->n_page < n_full ||
        (n_full && memcmp(t->page, from->page, (size_t)n_full * sizeof *t->page) != 0))
        return false;
    while (own < t->n_page && t->pages->reference[t->page[own]] > 1)
        own++;
    if (partly && own >= t->n_page)
        return false;
    if (partly) { /* a page that nobody else holds becomes the one that is not full */
        int32_t page = t->page[own];
        t->page[own] = t->page[n_full];
        t->page[n_full] = page;
        memcpy(kl__page_at(t->pages, page), kl__page_at(t->pages, from->page[n_full]), (size_t)t->pages->page_bytes);
    }
    memcpy(t->fixed, from->fixed, t->fixed_bytes);
    if (from->length)
        memcpy(t->token, from->token, (size_t)from->length * sizeof *t->token);
    t->length = from->length;
    kl__timeline_trim(t);
    return true;
}
