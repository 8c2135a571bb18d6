#include "engine/prefix.h"
#include "engine/prefix_disk.h"

#include "base/error.h"
#include "base/ram.h"

#include <assert.h>
#include <string.h>
#include <time.h>

enum { FIRST_ROOM = 256, FIRST_POWER = 4 * KL_PAGE_TOKENS, DISK_GIB = 16 };

/* -------------------------------------------------------------------------------------------- the table of nodes -- */

static uint64_t mix(uint64_t x)
{
    x = (x ^ x >> 32) * 0xd6e8feb86659fd93;
    x = (x ^ x >> 32) * 0xd6e8feb86659fd93;
    return x ^ x >> 32;
}

/* Keyed with a number of this cache, so that nobody can write prompts that all collide. */
static uint64_t key_of(const kl_prefix *p, int32_t parent, uint64_t space, const int32_t *token)
{
    uint64_t key = mix(p->seed ^ (uint64_t)parent) ^ mix(space ^ p->seed >> 7);
    for (int i = 0; i < KL_PAGE_TOKENS; i++)
        key = mix(key ^ (uint64_t)(uint32_t)token[i]) + (uint64_t)i;
    return key;
}

/* The child of `parent` with these tokens, or -1; *at becomes the slot where it is or would be. */
static int32_t find(const kl_prefix *p, uint64_t key, int32_t parent, uint64_t space, const int32_t *token, int64_t *at)
{
    for (*at = (int64_t)(key & (uint64_t)(p->n_slot - 1)); p->slot[*at]; *at = (*at + 1) & (p->n_slot - 1)) {
        const struct kl__node *n = &p->node[p->slot[*at] - 1];
        if (n->key == key && n->parent == parent && n->space == space && memcmp(n->token, token, sizeof n->token) == 0)
            return p->slot[*at] - 1;
    }
    return -1;
}

/* Takes a node out of the table: those behind it in its run move up. */
static void unlink_node(kl_prefix *p, int32_t i)
{
    int64_t mask = p->n_slot - 1, at = (int64_t)(p->node[i].key & (uint64_t)mask);
    while (p->slot[at] != i + 1)
        at = (at + 1) & mask;
    for (int64_t next = (at + 1) & mask; p->slot[next]; next = (next + 1) & mask) {
        int64_t home = (int64_t)(p->node[p->slot[next] - 1].key & (uint64_t)mask);
        if (((next - home) & mask) >= ((next - at) & mask)) {
            p->slot[at] = p->slot[next];
            at = next;
        }
    }
    p->slot[at] = 0;
}

static kl_status grow(kl_prefix *p, int32_t room, kl_error *err)
{
    const kl_allocator *alloc = p->engine->alloc;
    struct kl__node *node = kl__alloc(alloc, (size_t)room * sizeof *node);
    int32_t *slot = kl__alloc(alloc, (size_t)room * 2 * sizeof *slot);
    if (!node || !slot) {
        kl__release(alloc, node);
        kl__release(alloc, slot);
        return kl__fail(err, KL_ERR_MEMORY, "no memory for %d blocks of the prefix cache", (int)room);
    }
    if (p->node)
        memcpy(node, p->node, (size_t)p->n_node * sizeof *node);
    kl__release(alloc, p->node);
    kl__release(alloc, p->slot);
    p->node = node;
    p->slot = slot;
    p->n_node_room = room;
    p->n_slot = (int64_t)room * 2;
    for (int32_t i = 1; i < p->n_node; i++)
        if (node[i].parent >= 0) {
            int64_t at;
            find(p, node[i].key, node[i].parent, node[i].space, node[i].token, &at);
            slot[at] = i + 1;
        }
    return KL_OK;
}

/* A new child of `parent`, which is not there yet; -1: no memory. */
static int32_t add_child(kl_prefix *p, int32_t parent, uint64_t space, const int32_t *token, kl_error *err)
{
    if (!p->free && p->n_node == p->n_node_room && grow(p, 2 * p->n_node_room, err) != KL_OK)
        return -1;
    int32_t i = p->free ? p->free : p->n_node++;
    struct kl__node *n = &p->node[i];
    if (p->free)
        p->free = n->next_free;
    *n = (struct kl__node){.key = key_of(p, parent, space, token), .parent = parent, .page = -1, .space = space};
    memcpy(n->token, token, sizeof n->token);
    int64_t at;
    find(p, n->key, parent, space, token, &at);
    p->slot[at] = i + 1;
    p->node[parent].n_child++;
    p->n_live++;
    return i;
}

/* ---------------------------------------------------------------------------------------------------- letting go -- */

static int64_t checkpoint_bytes(const kl_prefix *p)
{
    return (int64_t)p->engine->fixed_bytes;
}

static void drop_checkpoint(kl_prefix *p, int32_t i)
{
    kl__release(p->engine->alloc, p->node[i].checkpoint);
    p->node[i].checkpoint = NULL;
    p->bytes -= checkpoint_bytes(p);
}

/* Removes a leaf without a checkpoint, and its ancestors as far as they have become such. */
static void prune(kl_prefix *p, int32_t i)
{
    while (i > 0 && p->node[i].n_child == 0 && !p->node[i].checkpoint) {
        struct kl__node *n = &p->node[i];
        int32_t parent = n->parent;
        unlink_node(p, i);
        if (n->page >= 0) {
            kl__pages_drop(&p->engine->pages, n->page);
            p->bytes -= p->engine->pages.page_bytes;
        }
        n->parent = -1;
        n->next_free = p->free;
        p->free = i;
        p->n_live--;
        p->node[parent].n_child--;
        i = parent;
    }
}

/* The checkpoint that was not used for longest; -1: there is none.  `keep` is not looked at. */
static int32_t oldest(const kl_prefix *p, int32_t keep)
{
    int32_t best = -1;
    for (int32_t i = 1; i < p->n_node; i++)
        if (p->node[i].parent >= 0 && p->node[i].checkpoint && i != keep &&
            (best < 0 || p->node[i].used < p->node[best].used))
            best = i;
    return best;
}

/* False when nothing is left to give up. */
static bool give_up_one(kl_prefix *p, int32_t keep)
{
    int32_t i = oldest(p, keep);
    if (i < 0)
        return false;
    drop_checkpoint(p, i);
    prune(p, i);
    return true;
}

static bool give_up(void *prefix)
{
    return give_up_one(prefix, -1);
}

void kl_prefix_clear(kl_prefix *p)
{
    while (give_up_one(p, -1))
        ;
    assert(p->n_live == 0 && p->bytes == 0);
}

/* ------------------------------------------------------------------------------------------------------- opening -- */

kl_status kl_prefix_open(kl_prefix **prefix, kl_engine *e, const kl_prefix_options *options, kl_error *err)
{
    if (e->prefix)
        return kl__fail(err, KL_ERR_ARGUMENT, "kl_prefix_open: the engine has a prefix cache already");
    if (options && (options->bytes < 0 || options->disk_bytes < 0))
        return kl__fail(err, KL_ERR_ARGUMENT, "kl_prefix_open: bytes is %lld and disk_bytes %lld, expected sizes",
                        (long long)options->bytes, (long long)options->disk_bytes);
    kl_prefix *p = kl__alloc(e->alloc, sizeof *p);
    if (!p)
        return kl__fail(err, KL_ERR_MEMORY, "no memory for a prefix cache");
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    p->engine = e;
    p->most_bytes = options && options->bytes ? options->bytes : kl__ram().bytes / 4;
    p->seed = mix((uint64_t)now.tv_nsec ^ (uint64_t)(uintptr_t)p);
    p->n_node = 1; /* the root */
    kl_status status = grow(p, FIRST_ROOM, err);
    if (status == KL_OK && options && options->folder)
        status = kl__disk_open(&p->disk, e, options->folder,
                               options->disk_bytes ? options->disk_bytes : (int64_t)DISK_GIB << 30, err);
    if (status != KL_OK) {
        kl__release(e->alloc, p->node);
        kl__release(e->alloc, p->slot);
        kl__release(e->alloc, p);
        return status;
    }
    e->prefix = p;
    e->pages.give_up = give_up;
    e->pages.user = p;
    *prefix = p;
    return KL_OK;
}

void kl_prefix_close(kl_prefix *p)
{
    if (!p)
        return;
    const kl_allocator *alloc = p->engine->alloc;
    kl_prefix_clear(p);
    kl__disk_close(p->disk);
    p->engine->prefix = NULL;
    p->engine->pages.give_up = NULL;
    kl__release(alloc, p->node);
    kl__release(alloc, p->slot);
    kl__release(alloc, p);
}

kl_prefix_state kl_prefix_state_of(const kl_prefix *p)
{
    kl_prefix_state s = {.bytes = p->bytes, .most_bytes = p->most_bytes, .n_block = p->n_live};
    for (int32_t i = 1; i < p->n_node; i++)
        s.n_checkpoint += p->node[i].parent >= 0 && p->node[i].checkpoint;
    s.disk_bytes = p->disk ? p->disk->bytes : 0;
    s.n_file = p->disk ? p->disk->n : 0;
    return s;
}

/* ------------------------------------------------------------------------------------------------------ a prompt -- */

/* Follows the prompt down the tree.  Returns the deepest node with a checkpoint, 0 for none; *n_block becomes its
 * depth, *matched that of the last node on the path.  At least one token must be left to read: it makes the logits.
 * With `use` the path counts as used. */
static int32_t descend(const struct kl__visit *v, bool use, int64_t *n_block, int64_t *matched)
{
    int32_t at = 0, best = 0;
    *n_block = *matched = 0;
    for (int64_t b = 0; (b + 1) * KL_PAGE_TOKENS < v->n_token; b++) {
        const int32_t *token = v->token + b * KL_PAGE_TOKENS;
        int64_t slot;
        at = find(v->p, key_of(v->p, at, v->space, token), at, v->space, token, &slot);
        if (at < 0)
            break;
        if (use)
            v->p->node[at].used = v->p->clock;
        *matched = b + 1;
        if (v->p->node[at].checkpoint) {
            best = at;
            *n_block = b + 1;
        }
    }
    return best;
}

/* The session becomes what it was at node `at`, `n_block` blocks deep. */
static kl_status resume(const struct kl__visit *v, int32_t at, int64_t n_block, kl_error *err)
{
    struct kl__timeline *t = &v->session->line;
    int64_t n_token = n_block * KL_PAGE_TOKENS;
    KL_TRY(kl__timeline_room(t, n_token, err));
    memcpy(t->fixed, v->p->node[at].checkpoint, t->fixed_bytes);
    memcpy(t->token, v->token, (size_t)n_token * sizeof *t->token);
    t->length = n_token;
    t->n_page = kl__timeline_pages(t, n_token);
    int32_t node = at;
    for (int64_t i = n_block - 1; i >= 0; i--, node = v->p->node[node].parent)
        if (t->n_page) {
            t->page[i] = v->p->node[node].page;
            kl__pages_share(t->pages, t->page[i]);
        }
    return KL_OK;
}

int64_t kl__prefix_reusable(const struct kl__visit *v)
{
    int64_t n_block, matched;
    descend(v, false, &n_block, &matched);
    int64_t stored = v->p->disk ? kl__disk_find(v->p->disk, v->space, v->token, v->n_token) : 0;
    return stored > n_block * KL_PAGE_TOKENS ? stored : n_block * KL_PAGE_TOKENS;
}

/* Where the disk has more than memory, the session becomes what it has, and memory has it again.  Returns how many
 * tokens that are; 0: none, or the file was no good. */
static int64_t load(const struct kl__visit *v, int64_t reusable)
{
    int64_t stored = v->p->disk ? kl__disk_find(v->p->disk, v->space, v->token, v->n_token) : 0;
    while (stored > reusable && !kl__disk_load(v->p->disk, v->session, v->space, v->token, stored)) {
        int64_t next = kl__disk_find(v->p->disk, v->space, v->token, v->n_token);
        if (next >= stored)
            return 0; /* there is no memory for it */
        stored = next;
    }
    if (stored <= reusable)
        return 0;
    kl__prefix_keep(v);
    return stored;
}

kl_status kl__prefix_begin(const struct kl__visit *v, kl_prefix_report *report, kl_error *err)
{
    int64_t n_block, matched;
    v->p->clock++;
    int32_t at = descend(v, true, &n_block, &matched);
    int64_t loaded = load(v, n_block * KL_PAGE_TOKENS);
    if (!loaded) /* the tree may have given up what was found, for the pages of a file that was of no use */
        at = descend(v, false, &n_block, &matched);
    if (at && !loaded)
        KL_TRY(resume(v, at, n_block, err));
    int64_t reused = loaded ? loaded : n_block * KL_PAGE_TOKENS;
    matched = matched * KL_PAGE_TOKENS > reused ? matched * KL_PAGE_TOKENS : reused;
    *report = (kl_prefix_report){matched, reused, v->n_token - reused, loaded};
    return KL_OK;
}

/* Starts at the root, since reading may have made the cache give up what was there. */
void kl__prefix_keep(const struct kl__visit *v)
{
    kl_prefix *p = v->p;
    const struct kl__timeline *t = &v->session->line;
    if (checkpoint_bytes(p) + p->engine->pages.page_bytes > p->most_bytes)
        return;
    char *copy = kl__alloc(p->engine->alloc, t->fixed_bytes);
    if (!copy)
        return;
    memcpy(copy, t->fixed, t->fixed_bytes);
    int32_t at = 0;
    for (int64_t b = 0; b < t->length / KL_PAGE_TOKENS && at >= 0; b++) {
        const int32_t *token = t->token + b * KL_PAGE_TOKENS;
        int64_t slot;
        int32_t child = find(p, key_of(p, at, v->space, token), at, v->space, token, &slot);
        if (child < 0 && (child = add_child(p, at, v->space, token, NULL)) >= 0 && t->n_page) {
            p->node[child].page = t->page[b];
            kl__pages_share(t->pages, t->page[b]);
            p->bytes += t->pages->page_bytes;
        }
        if (child < 0)
            prune(p, at);
        at = child;
    }
    if (at <= 0 || p->node[at].checkpoint) {
        kl__release(p->engine->alloc, copy);
    } else {
        p->node[at].checkpoint = copy;
        p->node[at].stored = false;
        p->bytes += checkpoint_bytes(p);
    }
    if (at <= 0)
        return;
    p->node[at].used = p->clock;
    while (p->bytes > p->most_bytes && give_up_one(p, at))
        ;
}

/* ---------------------------------------------------------------------------------------------------------- disk -- */

/* The checkpoint that is worth a file and was used last; 0: none. */
static int32_t next_to_store(const kl_prefix *p)
{
    int32_t best = 0;
    for (int32_t i = 1; i < p->n_node; i++) {
        const struct kl__node *n = &p->node[i];
        bool wanted = n->parent >= 0 && n->checkpoint && !n->stored && n->n_child != 1;
        if (wanted && (!best || n->used > p->node[best].used))
            best = i;
    }
    return best;
}

/* A session that is at node `at`. */
static kl_status session_at(kl_session **session, kl_prefix *p, int32_t at, kl_error *err)
{
    int64_t n_block = 0;
    for (int32_t i = at; i > 0; i = p->node[i].parent)
        n_block++;
    int32_t *token = kl__alloc(p->engine->alloc, (size_t)n_block * sizeof p->node->token);
    if (!token)
        return kl__fail(err, KL_ERR_MEMORY, "no memory for %lld blocks", (long long)n_block);
    int64_t b = n_block;
    for (int32_t i = at; i > 0; i = p->node[i].parent)
        memcpy(token + --b * KL_PAGE_TOKENS, p->node[i].token, sizeof p->node->token);
    kl_status status = kl_session_open(session, p->engine, err);
    struct kl__visit v = {.p = p, .session = *session, .token = token};
    if (status == KL_OK)
        status = resume(&v, at, n_block, err);
    kl__release(p->engine->alloc, token);
    return status;
}

kl_status kl_prefix_spill(kl_prefix *p, bool *wrote, kl_error *err)
{
    *wrote = false;
    int32_t at = p->disk ? next_to_store(p) : 0;
    if (!at)
        return KL_OK;
    kl_session *session = NULL;
    p->node[at].stored = true; /* whatever comes of it, it is not tried again and again */
    kl_status status = session_at(&session, p, at, err);
    if (status == KL_OK)
        status = kl__disk_store(p->disk, session, p->node[at].space, err);
    kl_session_close(session);
    *wrote = status == KL_OK;
    return status;
}

/* ------------------------------------------------------------------------------------------------------ a prompt -- */

/* The next position behind `from` where a checkpoint is wanted: a power of two, a mark, or the last full block before
 * the prompt's last token; n_token when there is none.  The first power is that far out because each position cuts the
 * prompt: a few tokens at a time are read more slowly than many, and reading so few again costs little. */
int64_t kl__prefix_stop(const struct kl__visit *v, int64_t from)
{
    int64_t last = (v->n_token - 1) / KL_PAGE_TOKENS * KL_PAGE_TOKENS, stop = last > from ? last : v->n_token;
    int64_t power = FIRST_POWER;
    while (power <= from)
        power *= 2;
    stop = power < stop ? power : stop;
    for (int i = 0; i < v->n_mark; i++) {
        int64_t at = v->mark[i] / KL_PAGE_TOKENS * KL_PAGE_TOKENS;
        if (at > from && at < stop)
            stop = at;
    }
    return stop;
}

/* Progress of a part, told as progress of the whole. */
struct part {
    kl_progress_fn *progress;
    void *user;
    int64_t before, total;
};

static bool tell(void *user, int64_t done, int64_t total)
{
    const struct part *part = user;
    (void)total;
    return !part->progress || part->progress(part->user, part->before + done, part->total);
}

kl_status kl_prefix_prefill(kl_prefix *p, kl_session *session, uint64_t space, const int32_t *token, int64_t n_token,
                            const int64_t *mark, int n_mark, float *logits, kl_prefix_report *report,
                            kl_progress_fn *progress, void *user, kl_error *err)
{
    if (session->engine != p->engine || session->line.length != 0)
        return kl__fail(err, KL_ERR_ARGUMENT,
                        "kl_prefix_prefill: the session has %lld tokens, expected an empty one of "
                        "the cache's engine",
                        (long long)session->line.length);
    struct kl__visit v = {p, session, space, token, n_token, mark, n_mark};
    kl_prefix_report begun;
    KL_TRY(kl__prefix_begin(&v, &begun, err));
    if (report)
        *report = begun;
    for (int64_t done = begun.reused; done < n_token;) {
        int64_t stop = kl__prefix_stop(&v, done);
        struct part part = {progress, user, done, n_token};
        KL_TRY(kl_prefill(session, token + done, stop - done, stop == n_token ? logits : NULL, tell, &part, err));
        done = stop;
        if (done < n_token)
            kl__prefix_keep(&v);
    }
    return KL_OK;
}
