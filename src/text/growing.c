#include "text/growing.h"
#include "base/memory.h"

static bool make_room(struct kl__growing *g, size_t bytes)
{
    size_t room = g->room ? g->room : 256;
    while (room - g->bytes < bytes && room <= SIZE_MAX / 2)
        room *= 2;
    char *more = room - g->bytes < bytes ? NULL : kl__alloc(g->alloc, room);
    if (!more)
        return false;
    if (g->bytes)
        memcpy(more, g->at, g->bytes);
    kl__release(g->alloc, g->at);
    g->at = more;
    g->room = room;
    return true;
}

void kl__grow(struct kl__growing *g, struct kl__str text)
{
    if (text.bytes == 0 || g->failed)
        return;
    if (g->room - g->bytes < text.bytes && !make_room(g, text.bytes)) {
        g->failed = true;
        return;
    }
    memcpy(g->at + g->bytes, text.at, text.bytes);
    g->bytes += text.bytes;
}

void kl__growing_close(struct kl__growing *g)
{
    kl__release(g->alloc, g->at);
    *g = (struct kl__growing){0};
}
