#define _DEFAULT_SOURCE
#include "base/memory.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { LARGE_PAGE = 2 << 20 };

static size_t round_up(size_t bytes)
{
    return bytes > SIZE_MAX - KL_ALIGN ? SIZE_MAX / KL_ALIGN * KL_ALIGN : (bytes + KL_ALIGN - 1) / KL_ALIGN * KL_ALIGN;
}

void *kl__alloc(const kl_allocator *alloc, size_t bytes)
{
    bytes = round_up(bytes ? bytes : 1);
    void *memory = alloc ? alloc->alloc(alloc->user, bytes) : aligned_alloc(KL_ALIGN, bytes);
    return memory ? memset(memory, 0, bytes) : NULL;
}

void *kl__alloc_large(const kl_allocator *alloc, size_t bytes)
{
    bytes = round_up(bytes ? bytes : 1);
    if (alloc)
        return alloc->alloc(alloc->user, bytes);
    if (bytes < LARGE_PAGE)
        return aligned_alloc(KL_ALIGN, bytes);
    void *memory = aligned_alloc(LARGE_PAGE, (bytes + LARGE_PAGE - 1) / LARGE_PAGE * LARGE_PAGE);
    if (memory)
        (void)madvise(memory, bytes, MADV_HUGEPAGE); /* a wish */
    return memory;
}

void kl__release(const kl_allocator *alloc, void *memory)
{
    if (!memory)
        return;
    if (alloc)
        alloc->release(alloc->user, memory);
    else
        free(memory);
}

struct kl__carver kl__carver(kl_workspace work)
{
    uintptr_t start = ((uintptr_t)work.data + KL_ALIGN - 1) / KL_ALIGN * KL_ALIGN;
    return (struct kl__carver){.base = work.data ? (char *)start : NULL};
}

void *kl__carve(struct kl__carver *c, size_t count, size_t item_bytes)
{
    size_t bytes;
    if (__builtin_mul_overflow(count, item_bytes, &bytes))
        bytes = SIZE_MAX;
    bytes = round_up(bytes);
    size_t at = c->bytes;
    if (__builtin_add_overflow(c->bytes, bytes, &c->bytes))
        c->bytes = SIZE_MAX;
    return c->base ? c->base + at : NULL;
}

size_t kl__carver_need(const struct kl__carver *c)
{
    return c->bytes == 0 ? 0 : c->bytes > SIZE_MAX - KL_ALIGN ? SIZE_MAX : c->bytes + KL_ALIGN;
}
