/* A grammar's handle. */
#include "grammar/grammar.h"

#include "base/error.h"

static bool parse(struct kl__parse *p, kl_grammar_kind kind, struct kl__str text)
{
    switch (kind) {
    case KL_GRAMMAR_GBNF:
        return kl__parse_gbnf(p, text);
    case KL_GRAMMAR_REGEX:
        return kl__parse_regex(p, text);
    case KL_GRAMMAR_JSON_SCHEMA:
        return kl__parse_schema(p, text);
    default:
        return kl__parse_fail(p, KL_ERR_ARGUMENT, "kl_grammar_open: kind is %d, expected one of kl_grammar_kind",
                              (int)kind);
    }
}

static kl_status open_text(kl_grammar *g, kl_grammar_kind kind, kl_text text, kl_error *err)
{
    struct kl__parse p = {.arena = {.alloc = g->alloc}, .err = err};
    struct kl__str s = {text.data, text.bytes};
    if (text.bytes > KL_GRAMMAR_BYTES)
        kl__parse_fail(&p, KL_ERR_UNSUPPORTED, "the grammar has %zu bytes, expected at most %d", text.bytes,
                       KL_GRAMMAR_BYTES);
    else if (text.bytes && memchr(text.data, 0, text.bytes))
        kl__parse_fail(&p, KL_ERR_FORMAT, "the grammar has the character 0, expected text");
    else if (parse(&p, kind, s))
        kl__grammar_compile(g, &p);
    kl__arena_close(&p.arena);
    return p.status;
}

kl_status kl_grammar_open(kl_grammar **grammar, kl_grammar_kind kind, kl_text text, const kl_allocator *alloc,
                          kl_error *err)
{
    kl_grammar *g = kl__alloc(alloc, sizeof *g);
    if (!g)
        return kl__fail(err, KL_ERR_MEMORY, "no memory for a grammar");
    if (alloc) {
        g->alloc_copy = *alloc;
        g->alloc = &g->alloc_copy;
    }
    kl_status status = open_text(g, kind, text, err);
    if (status == KL_OK)
        *grammar = g;
    else
        kl_grammar_close(g);
    return status;
}

void kl_grammar_close(kl_grammar *g)
{
    if (!g)
        return;
    kl_allocator copy = g->alloc_copy;
    const kl_allocator *alloc = g->alloc ? &copy : NULL;
    kl__release(alloc, g->node);
    kl__release(alloc, g);
}
