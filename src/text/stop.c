/* Each string is followed by a machine that knows how much of it the text's end matches (Knuth, Morris, Pratt 1977).
 * What the longest of these matches covers may become a stop string, and is held back. */
#include "base/error.h"
#include "base/memory.h"
#include "base/str.h"
#include "klinear/kl/text.h"

struct pattern {
    const char *text; /* [n] */
    uint32_t *back;   /* [n] longest proper beginning of the first i + 1 bytes that is also their end */
    uint32_t n, matched;
};

struct kl_stop {
    const kl_allocator *alloc;
    struct pattern *pattern; /* [n_pattern] */
    int n_pattern, found;
    char *held;      /* [longest] */
    uint32_t n_held; /* bytes of the text's end that match the beginning of a pattern */
    uint32_t longest;
};

/* ------------------------------------------------------------------------------------------------------- opening -- */

static kl_status check_string(kl_text s, size_t i, kl_error *err)
{
    if (s.bytes == 0 || s.bytes > KL_STOP_BYTES)
        return kl__fail(err, KL_ERR_ARGUMENT, "stop string %zu has %zu bytes, expected 1 to %d", i, s.bytes,
                        KL_STOP_BYTES);
    if (!kl__utf8_valid((struct kl__str){s.data, s.bytes}))
        return kl__fail(err, KL_ERR_ARGUMENT, "stop string %zu, '%s', is no UTF-8", i,
                        kl__shown((struct kl__str){s.data, s.bytes}).text);
    return KL_OK;
}

static void prepare(struct pattern *p)
{
    for (uint32_t i = 1, k = 0; i < p->n; i++) {
        while (k && p->text[i] != p->text[k])
            k = p->back[k - 1];
        k += p->text[i] == p->text[k];
        p->back[i] = k;
    }
}

/* Everything behind the struct in one piece of memory: patterns, tables, texts, held. */
static kl_stop *new_stop(const kl_text *string, size_t n, const kl_allocator *alloc)
{
    size_t bytes = 0, longest = 0;
    for (size_t i = 0; i < n; i++) {
        bytes += string[i].bytes;
        longest = string[i].bytes > longest ? string[i].bytes : longest;
    }
    kl_stop *s = kl__alloc(alloc, sizeof *s + n * sizeof *s->pattern + bytes * (sizeof(uint32_t) + 1) + longest);
    if (!s)
        return NULL;
    *s = (kl_stop){.alloc = alloc, .n_pattern = (int)n, .found = -1, .longest = (uint32_t)longest};
    s->pattern = (struct pattern *)(s + 1);
    uint32_t *back = (uint32_t *)(s->pattern + n);
    char *text = (char *)(back + bytes);
    for (size_t i = 0; i < n; i++) {
        memcpy(text, string[i].data, string[i].bytes);
        s->pattern[i] = (struct pattern){text, back, (uint32_t)string[i].bytes, 0};
        prepare(&s->pattern[i]);
        text += string[i].bytes;
        back += string[i].bytes;
    }
    s->held = text;
    return s;
}

kl_status kl_stop_open(kl_stop **stop, const kl_text *string, size_t n_string, const kl_allocator *alloc, kl_error *err)
{
    if (n_string > KL_STOP_STRINGS)
        return kl__fail(err, KL_ERR_ARGUMENT, "%zu stop strings, expected at most %d", n_string, KL_STOP_STRINGS);
    for (size_t i = 0; i < n_string; i++)
        KL_TRY(check_string(string[i], i, err));
    kl_stop *s = new_stop(string, n_string, alloc);
    if (!s)
        return kl__fail(err, KL_ERR_MEMORY, "no memory for %zu stop strings", n_string);
    *stop = s;
    return KL_OK;
}

void kl_stop_close(kl_stop *s)
{
    if (s)
        kl__release(s->alloc, s);
}

/* ------------------------------------------------------------------------------------------------------ watching -- */

size_t kl_stop_held(const kl_stop *s)
{
    return s->longest;
}

int kl_stop_found(const kl_stop *s)
{
    return s->found;
}

void kl_stop_reset(kl_stop *s)
{
    for (int i = 0; i < s->n_pattern; i++)
        s->pattern[i].matched = 0;
    s->n_held = 0;
    s->found = -1;
}

static void advance(struct pattern *p, char c)
{
    while (p->matched && p->text[p->matched] != c)
        p->matched = p->back[p->matched - 1];
    p->matched += p->text[p->matched] == c;
}

/* One more byte; true when a string is complete, the longest of those. */
static bool take(kl_stop *s, char c)
{
    s->n_held = 0;
    for (int i = 0; i < s->n_pattern; i++) {
        struct pattern *p = &s->pattern[i];
        advance(p, c);
        s->n_held = p->matched > s->n_held ? p->matched : s->n_held;
        if (p->matched == p->n && (s->found < 0 || p->n > s->pattern[s->found].n))
            s->found = i;
    }
    return s->found >= 0;
}

size_t kl_stop_put(kl_stop *s, char *out, kl_text text)
{
    size_t n = s->n_held;
    if (s->found >= 0)
        return 0;
    if (n)
        memcpy(out, s->held, n);
    for (size_t i = 0; i < text.bytes; i++) {
        out[n++] = text.data[i];
        if (take(s, text.data[i])) {
            s->n_held = 0;
            return n - s->pattern[s->found].n;
        }
    }
    n -= s->n_held;
    if (s->n_held)
        memcpy(s->held, out + n, s->n_held);
    return n;
}

size_t kl_stop_end(kl_stop *s, char *out)
{
    size_t n = s->n_held;
    int found = s->found;
    if (n)
        memcpy(out, s->held, n);
    kl_stop_reset(s);
    s->found = found;
    return n;
}
