#include "ids.h"

#include "base/error.h"
#include "base/str.h"

#include <errno.h>
#include <stdlib.h>

static bool between(char c)
{
    return c == ',' || c == ' ' || c == '\n' || c == '\t' || c == '\r';
}

kl_status ka_add_ids(struct ka_ids *ids, const int32_t *at, int64_t n, kl_error *err)
{
    if (ids->n + n > ids->room) {
        int64_t room = ids->room ? ids->room : 1024;
        while (room < ids->n + n)
            room *= 2;
        int32_t *more = realloc(ids->at, (size_t)room * sizeof *more);
        if (!more)
            return kl__fail(err, KL_ERR_MEMORY, "out of memory: %lld tokens", (long long)room);
        ids->at = more;
        ids->room = room;
    }
    if (n)
        memcpy(ids->at + ids->n, at, (size_t)n * sizeof *at);
    ids->n += n;
    return KL_OK;
}

kl_status ka_read_ids(struct ka_ids *ids, const char *text, size_t bytes, int64_t n_vocab, const char *name,
                      kl_error *err)
{
    for (const char *end = text + bytes, *c = text;;) {
        while (c < end && between(*c))
            c++;
        if (c == end)
            return KL_OK;
        const char *word = c;
        while (c < end && !between(*c))
            c++;
        char *stop;
        errno = 0;
        long long id = *word >= '0' && *word <= '9' ? strtoll(word, &stop, 10) : -1;
        if (id < 0 || stop != c || errno || id >= n_vocab)
            return kl__fail(err, KL_ERR_ARGUMENT, "%s: token %lld is \"%s\", expected an id in 0 .. %lld", name,
                            (long long)ids->n, kl__shown((struct kl__str){word, (size_t)(c - word)}).text,
                            (long long)n_vocab - 1);
        KL_TRY(ka_add_ids(ids, &(int32_t){(int32_t)id}, 1, err));
    }
}

void ka_free_ids(struct ka_ids *ids)
{
    free(ids->at);
    *ids = (struct ka_ids){0};
}
