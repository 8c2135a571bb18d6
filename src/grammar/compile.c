/* Expressions into nodes, from the end to the beginning: each is compiled with the node that comes behind it. */
#include "grammar/grammar.h"

enum { WORK_MOST = 1 << 23 }; /* bounds the time that repetitions of nothing take */

struct compiling {
    struct kl__parse *p;
    kl_grammar *g;
    uint32_t room, *entry; /* [n_rule] split nodes at which the rules begin */
    int64_t work;
};

static uint32_t put(struct compiling *c, struct kl__gnode node)
{
    kl_grammar *g = c->g;
    if (g->n_node == c->room) {
        uint32_t room = c->room ? 2 * c->room : 256;
        struct kl__gnode *more =
            room <= KL_GRAMMAR_NODES ? kl__alloc(g->alloc, (size_t)room * sizeof *more) : NULL;
        if (!more) {
            if (room > KL_GRAMMAR_NODES)
                kl__parse_fail(c->p, KL_ERR_UNSUPPORTED, "the grammar has more than %d nodes: it is too large",
                               KL_GRAMMAR_NODES);
            kl__parse_memory(c->p);
            return KL__FAIL;
        }
        if (g->n_node)
            memcpy(more, g->node, (size_t)g->n_node * sizeof *more);
        kl__release(g->alloc, g->node);
        g->node = more;
        c->room = room;
    }
    g->node[g->n_node] = node;
    return g->n_node++;
}

static uint32_t bytes(struct compiling *c, uint8_t first, uint8_t last, uint32_t next)
{
    return next == KL__FAIL ? KL__FAIL : put(c, (struct kl__gnode){KL__NODE_BYTE, first, last, next, 0});
}

static uint32_t either(struct compiling *c, uint32_t a, uint32_t b)
{
    return a == KL__FAIL ? b : b == KL__FAIL ? a : put(c, (struct kl__gnode){KL__NODE_SPLIT, 0, 0, a, b});
}

static uint32_t text(struct compiling *c, const char *s, size_t n, uint32_t next)
{
    for (size_t i = n; i-- > 0;)
        next = bytes(c, (uint8_t)s[i], (uint8_t)s[i], next);
    return next;
}

/* ---------------------------------------------------------------------------------------------------- characters -- */

/* Characters first .. last, which have as many bytes in UTF-8 and differ in the last `free` of them only as far as
 * whole ranges go. */
static uint32_t sequence(struct compiling *c, uint32_t first, uint32_t last, uint32_t next)
{
    char low[4], high[4];
    int n = kl__put_char(low, first);
    kl__put_char(high, last);
    for (int i = n - 1; i >= 0; i--)
        next = bytes(c, (uint8_t)low[i], (uint8_t)high[i], next);
    return next;
}

/* Characters first .. last, cut where their bytes are no simple ranges. */
static uint32_t range(struct compiling *c, uint32_t first, uint32_t last, uint32_t next)
{
    static const uint32_t length[] = {0x7F, 0x7FF, 0xD7FF, 0xDFFF, 0xFFFF};
    if (first > last)
        return KL__FAIL;
    for (int i = 0; i < 5; i++)
        if (first <= length[i] && last > length[i])
            return either(c, range(c, first, length[i], next), range(c, length[i] + 1, last, next));
    if (first >= 0xD800 && first <= 0xDFFF)
        return KL__FAIL; /* surrogates are no characters */
    for (int i = 1; i < 4 && last > 0x7F; i++) {
        uint32_t low = ((uint32_t)1 << 6 * i) - 1;
        if ((first & ~low) == (last & ~low))
            break;
        if (first & low)
            return either(c, range(c, first, first | low, next), range(c, (first | low) + 1, last, next));
        if ((last & low) != low)
            return either(c, range(c, first, (last & ~low) - 1, next), range(c, last & ~low, last, next));
    }
    return sequence(c, first, last, next);
}

/* A character that JSON strings escape. */
static uint32_t escaped(struct compiling *c, uint32_t x, uint32_t next)
{
    static const char names[] = "\"\\bfnrt", values[] = "\"\\\b\f\n\r\t", digit[] = "0123456789abcdef";
    const char *found = x ? strchr(values, (int)x) : NULL;
    if (found)
        return text(c, (const char[]){'\\', names[found - values]}, 2, next);
    return text(c, (const char[]){'\\', 'u', '0', '0', digit[x >> 4 & 15], digit[x & 15]}, 6, next);
}

static bool needs_escape(uint32_t x)
{
    return x < 0x20 || x == '"' || x == '\\';
}

static uint32_t set(struct compiling *c, const struct kl__expr *e, uint32_t next)
{
    uint32_t all = KL__FAIL;
    for (int i = e->n; i-- > 0 && c->p->status == KL_OK;) {
        uint32_t from = e->set[i].first, last = e->set[i].last;
        for (uint32_t x = from; e->json && x <= last && x <= '\\'; x++) {
            if (!needs_escape(x))
                continue;
            if (x > from)
                all = either(c, range(c, from, x - 1, next), all);
            all = either(c, escaped(c, x, next), all);
            from = x + 1;
        }
        if (from <= last)
            all = either(c, range(c, from, last, next), all);
    }
    return all;
}

/* Text as it is, or as it stands in a JSON string. */
static uint32_t spelled(struct compiling *c, const struct kl__expr *e, uint32_t next)
{
    if (!e->json)
        return text(c, e->text.at, e->text.bytes, next);
    for (size_t i = e->text.bytes; i-- > 0;) {
        uint8_t x = (uint8_t)e->text.at[i];
        next = needs_escape(x) ? escaped(c, x, next) : bytes(c, x, x, next);
    }
    return next;
}

/* --------------------------------------------------------------------------------------------------- expressions -- */

static uint32_t compile(struct compiling *c, const struct kl__expr *e, uint32_t next);

static uint32_t repeat(struct compiling *c, const struct kl__expr *e, uint32_t next)
{
    const struct kl__expr *body = e->part[0];
    uint32_t all = next;
    if (e->most < 0) {
        all = put(c, (struct kl__gnode){KL__NODE_SPLIT, 0, 0, KL__FAIL, next});
        uint32_t inner = compile(c, body, all);
        if (c->p->status == KL_OK)
            c->g->node[all].a = inner;
    } else
        for (int i = e->least; i < e->most && c->p->status == KL_OK; i++)
            all = either(c, compile(c, body, all), next);
    for (int i = 0; i < e->least && c->p->status == KL_OK; i++)
        all = compile(c, body, all);
    return all;
}

static uint32_t compile(struct compiling *c, const struct kl__expr *e, uint32_t next)
{
    uint32_t all = KL__FAIL;
    if (++c->work > WORK_MOST)
        kl__parse_fail(c->p, KL_ERR_UNSUPPORTED, "the grammar repeats too much: it is too large");
    if (c->p->status != KL_OK)
        return KL__FAIL;
    switch (e->kind) {
    case KL__EXPR_SET:
        return set(c, e, next);
    case KL__EXPR_TEXT:
        return spelled(c, e, next);
    case KL__EXPR_SEQ:
        for (int i = e->n; i-- > 0;)
            next = compile(c, e->part[i], next);
        return next;
    case KL__EXPR_ALT:
        for (int i = e->n; i-- > 0;)
            all = either(c, compile(c, e->part[i], next), all);
        return all;
    case KL__EXPR_REPEAT:
        return repeat(c, e, next);
    default:
        return next == KL__FAIL ? KL__FAIL
               : next == KL__END ? c->entry[e->rule] /* nothing to come back to */
                               : put(c, (struct kl__gnode){KL__NODE_CALL, 0, 0, c->entry[e->rule], next});
    }
}

/* Bytes that no node tells apart are of one class. */
static void classify(kl_grammar *g)
{
    bool begins[257] = {true};
    for (uint32_t i = 0; i < g->n_node; i++)
        if (g->node[i].kind == KL__NODE_BYTE)
            begins[g->node[i].first] = begins[g->node[i].last + 1] = true;
    for (int x = 0; x < 256; x++) {
        if (begins[x])
            g->byte_of[g->n_class++] = (uint8_t)x;
        g->class_of[x] = (uint8_t)(g->n_class - 1);
    }
}

bool kl__grammar_compile(kl_grammar *g, struct kl__parse *p)
{
    struct compiling c = {.p = p, .g = g};
    put(&c, (struct kl__gnode){.kind = KL__NODE_END});
    put(&c, (struct kl__gnode){.kind = KL__NODE_FAIL});
    c.entry = kl__arena_take(&p->arena, (size_t)p->n_rule * sizeof *c.entry);
    if (!c.entry)
        return kl__parse_memory(p);
    for (int i = 0; i < p->n_rule; i++)
        c.entry[i] = put(&c, (struct kl__gnode){KL__NODE_SPLIT, 0, 0, KL__FAIL, KL__FAIL});
    for (int i = 0; i < p->n_rule && p->status == KL_OK; i++) {
        uint32_t first = compile(&c, p->rule[i].expr, KL__END);
        if (p->status == KL_OK)
            g->node[c.entry[i]].a = first;
    }
    if (p->status != KL_OK)
        return false;
    g->root = c.entry[p->root];
    classify(g);
    return kl__grammar_check(g, p, c.entry);
}
