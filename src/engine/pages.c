#include "engine/pages.h"

#include "base/error.h"

#include <assert.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static int64_t machine_bytes(void)
{
    long pages = sysconf(_SC_PHYS_PAGES), bytes = sysconf(_SC_PAGE_SIZE);
    return pages > 0 && bytes > 0 ? (int64_t)pages * bytes : (int64_t)1 << 32;
}

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
    int64_t n = (budget ? budget : machine_bytes()) / page_bytes;
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

/* Memory of a page that nobody holds stays with the pool: the next page of any session takes it. */
void kl__pages_drop(struct kl__pages *p, int32_t page)
{
    assert(p->reference[page] > 0);
    if (--p->reference[page] == 0)
        p->free[p->n_free++] = page;
}
