#include "engine/pages.h"

#include "base/error.h"
#include "base/ram.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { KEPT_BYTES = 256 << 10, KEPT_PART = 16 };

/* Pages and, behind them, the two lists: none of it takes memory before it is written. */
static size_t reserved_bytes(const struct kl__pages *p)
{
    return (size_t)p->n_page * ((size_t)p->page_bytes + sizeof *p->reference + sizeof *p->free);
}

/* Attention goes through a long cache from end to end: large pages save it a look-up for every 4 KiB, and the kernel as
 * many faults.  The first pages stay small, since most sessions are. */
static void want_large_pages(char *base, size_t bytes)
{
    static const size_t small = (size_t)64 << 20, large = (size_t)2 << 20;
    size_t skip = small + large - (size_t)(uintptr_t)base % large;
    if (bytes > skip + large)
        madvise(base + skip, bytes - skip, MADV_HUGEPAGE);
}

static kl_status reserve(struct kl__pages *p, kl_error *err)
{
    size_t bytes = reserved_bytes(p);
    char *base = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED)
        return kl__fail(err, KL_ERR_MEMORY, "no addresses for %zu bytes of latent pages", bytes);
    want_large_pages(base, (size_t)p->n_page * (size_t)p->page_bytes);
    p->base = base;
    p->reference = (int32_t *)(void *)(base + (size_t)p->n_page * (size_t)p->page_bytes);
    p->free = p->reference + p->n_page;
    return KL_OK;
}

kl_status kl__pages_open(struct kl__pages *p, int64_t page_bytes, int64_t budget, kl_error *err)
{
    *p = (struct kl__pages){.page_bytes = page_bytes};
    if (page_bytes == 0)
        return KL_OK;
    int64_t n = (budget ? budget : kl__ram().bytes) / page_bytes;
    if (n < 1)
        return kl__fail(err, KL_ERR_ARGUMENT, "cache_bytes is %lld, expected at least one page of %lld bytes",
                        (long long)budget, (long long)page_bytes);
    p->n_page = n > INT32_MAX / 2 ? INT32_MAX / 2 : (int32_t)n;
    return reserve(p, err);
}

void kl__pages_close(struct kl__pages *p)
{
    if (p->base)
        munmap(p->base, reserved_bytes(p));
    *p = (struct kl__pages){0};
}

static bool is_full(const struct kl__pages *p)
{
    return p->n_free == 0 && p->n_fresh == p->n_page;
}

int32_t kl__pages_take(struct kl__pages *p)
{
    int32_t page = -1;
    while (is_full(p) && p->give_up && p->give_up(p->user))
        ;
    if (p->n_free > 0) {
        page = p->free[--p->n_free];
        p->n_cold = p->n_cold < p->n_free ? p->n_cold : p->n_free;
        memset(kl__page_at(p, page), 0, (size_t)p->page_bytes); /* nothing of one sequence gets into another's file */
    } else if (p->n_fresh < p->n_page) {
        page = p->n_fresh++;
    }
    if (page >= 0)
        p->reference[page] = 1;
    return page;
}

void kl__pages_share(struct kl__pages *p, int32_t page)
{
    assert(p->reference[page] > 0);
    p->reference[page]++;
}

/* ----------------------------------------------------------------------------------------- back to the system -- */

static int by_number(const void *a, const void *b)
{
    int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    return (x > y) - (x < y);
}

/* The memory of `n` pages that lie side by side, as far as the system's pages lie within them. */
static void give_back_memory(const struct kl__pages *p, int32_t first, int32_t n)
{
    uintptr_t unit = (uintptr_t)sysconf(_SC_PAGE_SIZE), base = (uintptr_t)p->base;
    uintptr_t from = (base + (uintptr_t)first * (uintptr_t)p->page_bytes + unit - 1) / unit * unit;
    uintptr_t to = (base + ((uintptr_t)first + (uintptr_t)n) * (uintptr_t)p->page_bytes) / unit * unit;
    if (from < to)
        madvise(p->base + (from - base), to - from, MADV_DONTNEED);
}

/* Some free pages keep their memory for the next session; that of the others goes back, of the longest free ones first.
 * Otherwise the pool would hold for ever what it once needed, and the record grows as long as a server runs.  Many go
 * at a time, and neighbours together: that costs little, and leaves whole large pages. */
static void give_back(struct kl__pages *p)
{
    int32_t kept = (int32_t)(KEPT_BYTES / p->page_bytes) + 1 + kl__pages_used(p) / KEPT_PART;
    int32_t n = p->n_free - p->n_cold - kept, *page = p->free + p->n_cold;
    if (n <= kept)
        return;
    qsort(page, (size_t)n, sizeof *page, by_number);
    for (int32_t i = 0, end; i < n; i = end) {
        for (end = i + 1; end < n && page[end] == page[end - 1] + 1;)
            end++;
        give_back_memory(p, page[i], end - i);
    }
    p->n_cold += n;
}

void kl__pages_drop(struct kl__pages *p, int32_t page)
{
    assert(p->reference[page] > 0);
    if (--p->reference[page] > 0)
        return;
    p->free[p->n_free++] = page;
    give_back(p);
}
