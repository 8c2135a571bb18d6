/* Rules that call themselves before anything else are refused: the ways through them would never end.  What never comes
 * to an end otherwise, such as list ::= item list, is cut off where it begins. */
#include "grammar/grammar.h"

enum { PASSES = 256 };

/* Which nodes reach the end of their rule without a byte: as long as something changes, back and forth. */
static bool find_empty(const kl_grammar *g, struct kl__parse *p, bool *empty)
{
    bool changed = true;
    empty[KL__END] = true;
    for (int pass = 0; changed; pass++) {
        if (pass == PASSES)
            return kl__parse_fail(p, KL_ERR_UNSUPPORTED, "the rules of the grammar depend on each other too deeply");
        changed = false;
        for (uint32_t k = 0; k < g->n_node; k++) {
            uint32_t i = pass % 2 ? g->n_node - 1 - k : k;
            const struct kl__gnode *n = &g->node[i];
            bool now = n->kind == KL__NODE_SPLIT  ? empty[n->a] || empty[n->b]
                       : n->kind == KL__NODE_CALL ? empty[n->a] && empty[n->b]
                                                  : empty[i];
            changed |= now != empty[i];
            empty[i] = now;
        }
    }
    return true;
}

/* Tarjan's search for nodes that reach each other without a byte. */
struct search {
    const kl_grammar *g;
    const bool *empty;
    uint32_t *order, *low; /* [n_node]; order 0: not seen yet */
    uint32_t *open;        /* [n_node] nodes whose group is not known yet */
    uint32_t *path;        /* [n_node] the nodes from which the search came */
    uint8_t *edge;         /* [n_node] the next edge of a node to look at */
    bool *is_open;
    uint32_t n_open, n_path, n_seen;
};

/* Edge 0 or 1 of a node; 0, the end, when there is none. */
static uint32_t target(const struct search *s, uint32_t i, int edge)
{
    const struct kl__gnode *n = &s->g->node[i];
    if (n->kind == KL__NODE_SPLIT)
        return edge ? n->b : n->a;
    if (n->kind == KL__NODE_CALL)
        return !edge ? n->a : s->empty[n->a] ? n->b : KL__END;
    return KL__END;
}

static void enter(struct search *s, uint32_t i)
{
    s->order[i] = s->low[i] = ++s->n_seen;
    s->open[s->n_open++] = i;
    s->is_open[i] = true;
    s->path[s->n_path++] = i;
}

/* The group that ends at `i` is complete: a call that leads to another of its nodes begins with itself. */
static bool close_group(struct search *s, uint32_t i)
{
    uint32_t first = s->n_open;
    do
        first--;
    while (s->open[first] != i);
    bool fine = true;
    for (uint32_t k = first; k < s->n_open; k++) {
        const struct kl__gnode *n = &s->g->node[s->open[k]];
        if (n->kind == KL__NODE_CALL && s->is_open[n->a] && s->order[n->a] >= s->order[i])
            fine = false;
    }
    for (uint32_t k = first; k < s->n_open; k++)
        s->is_open[s->open[k]] = false;
    s->n_open = first;
    return fine;
}

static bool search_from(struct search *s, uint32_t start)
{
    bool fine = true;
    enter(s, start);
    while (s->n_path && fine) {
        uint32_t i = s->path[s->n_path - 1];
        if (s->edge[i] < 2) {
            uint32_t to = target(s, i, s->edge[i]++);
            if (!s->order[to])
                enter(s, to);
            else if (s->is_open[to] && s->order[to] < s->low[i])
                s->low[i] = s->order[to];
            continue;
        }
        s->n_path--;
        if (s->low[i] == s->order[i])
            fine = close_group(s, i);
        if (s->n_path && s->low[i] < s->low[s->path[s->n_path - 1]])
            s->low[s->path[s->n_path - 1]] = s->low[i];
    }
    return fine;
}

/* ------------------------------------------------------------------------------------------- what has an end */

/* Edges backwards: those that lead to a node are a list. */
struct backwards {
    uint32_t *head; /* [n_node] 2 * (node that the edge comes from) + edge + 1; 0: none */
    uint32_t *next; /* [n_node][2] likewise */
    uint32_t *todo; /* [n_node] nodes whose end is known, and those that lead there are not looked at yet */
    uint32_t n_todo;
};

static void add_edge(struct backwards *b, uint32_t from, uint32_t edge, uint32_t to)
{
    b->next[2 * from + edge] = b->head[to];
    b->head[to] = 2 * from + edge + 1;
}

static bool has_end(const struct kl__gnode *n, const bool *ends)
{
    if (n->kind == KL__NODE_SPLIT)
        return ends[n->a] || ends[n->b];
    return ends[n->a] && (n->kind == KL__NODE_BYTE || ends[n->b]);
}

/* A node from which the end of its rule is never reached becomes one that nothing matches: else a text could be led
 * where it has no end.  `ends` [n_node] and the lists are zero. */
static void drop_endless(kl_grammar *g, bool *ends, struct backwards *b)
{
    for (uint32_t i = 0; i < g->n_node; i++) {
        const struct kl__gnode *n = &g->node[i];
        if (n->kind == KL__NODE_END || n->kind == KL__NODE_FAIL)
            continue;
        add_edge(b, i, 0, n->a);
        if (n->kind != KL__NODE_BYTE)
            add_edge(b, i, 1, n->b);
    }
    ends[KL__END] = true;
    b->todo[b->n_todo++] = KL__END;
    while (b->n_todo)
        for (uint32_t e = b->head[b->todo[--b->n_todo]]; e; e = b->next[e - 1]) {
            uint32_t i = (e - 1) / 2;
            if (ends[i] || !has_end(&g->node[i], ends))
                continue;
            ends[i] = true;
            b->todo[b->n_todo++] = i;
        }
    for (uint32_t i = 0; i < g->n_node; i++)
        if (!ends[i])
            g->node[i] = (struct kl__gnode){.kind = KL__NODE_FAIL};
}

bool kl__grammar_check(kl_grammar *g, struct kl__parse *p, const uint32_t *entry)
{
    size_t n = g->n_node;
    bool *empty = kl__arena_take(&p->arena, 3 * n);
    uint32_t *lists = kl__arena_take(&p->arena, 4 * n * sizeof *lists);
    if (!empty || !lists)
        return kl__parse_memory(p);
    if (!find_empty(g, p, empty))
        return false;
    struct search s = {g,         empty,         lists, lists + n, lists + 2 * n, lists + 3 * n, (uint8_t *)empty + n,
                       empty + 2 * n, 0, 0, 0};
    for (int i = 0; i < p->n_rule; i++)
        if (!s.order[entry[i]] && !search_from(&s, entry[i]))
            return kl__parse_fail(p, KL_ERR_UNSUPPORTED,
                                  "a rule of the grammar calls itself before anything else, perhaps by way of \"%s\"; "
                                  "expected it behind something, as in: list ::= item (\",\" list)?",
                                  kl__shown(p->rule[i].name).text);
    memset(empty, 0, n * sizeof *empty);
    memset(lists, 0, 4 * n * sizeof *lists);
    drop_endless(g, empty, &(struct backwards){.head = lists, .next = lists + n, .todo = lists + 3 * n});
    return true;
}
