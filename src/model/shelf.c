/* Slots are in a list, the one used last in front.  A slot that the current take needs is held: nobody empties it. */
#include "model/shelf.h"

#include "base/error.h"
#include "tensor/tensor.h"

#include <pthread.h>
#include <string.h>
#include <time.h>

static const enum kl__param part_param[KL__SHELF_PARTS] = {KL__EXPERT_GATE, KL__EXPERT_UP, KL__EXPERT_DOWN};

struct slot {
    int32_t layer, expert; /* layer -1: empty */
    int32_t before, after; /* in the list; -1: none */
    bool held;
    struct kl__read read[KL__SHELF_PARTS];
};

struct kl__shelf {
    const kl_allocator *alloc;
    const struct kl__net *net;
    struct kl__reader *reader;
    kl__place_fn *place;
    const void *user;
    pthread_mutex_t turn; /* held from take to done */

    void *memory;
    struct slot *slot; /* [n_slot] */
    int32_t n_slot, first, last;
    int32_t *slot_of; /* [n_layer][n_expert]; -1: on the disk */

    /* of the current take */
    int layer;
    int32_t *held; /* [n_held] slots */
    int64_t n_held;
    struct kl__read **wait; /* [n_wait], room for all slots */
    int64_t n_wait;
    const void **each[KL__SHELF_PARTS]; /* [n_expert] */
    kl_expert_traffic traffic;
};

/* --------------------------------------------------------------------------------------------------------- sizes -- */

static const struct kl__weight *part_of(const struct kl__net *net, int layer, int part)
{
    return &net->layer[layer].w[part_param[part]];
}

static size_t part_bytes(const struct kl__weight *w)
{
    size_t bytes = 0;
    kl__type_bytes(w->type, w->n_out * w->n_in, &bytes);
    return bytes;
}

/* Largest room of a part over the layers, whose types may differ. */
static size_t room_of(const struct kl__net *net, int part)
{
    size_t most = 0;
    for (int i = 0; i < net->c.n_layer; i++) {
        size_t room = net->c.ffn[i] == KL_FFN_MOE ? kl__read_room(part_bytes(part_of(net, i, part))) : 0;
        most = room > most ? room : most;
    }
    return most;
}

size_t kl__shelf_slot_bytes(const struct kl__net *net)
{
    size_t sum = 0;
    for (int p = 0; p < KL__SHELF_PARTS; p++)
        sum += room_of(net, p);
    return sum ? sum + sizeof(struct slot) : 0;
}

int64_t kl__shelf_experts(const struct kl__net *net)
{
    int64_t n = 0;
    for (int i = 0; i < net->c.n_layer; i++)
        n += net->c.ffn[i] == KL_FFN_MOE ? net->c.n_expert : 0;
    return n;
}

/* ------------------------------------------------------------------------------------------------------- opening -- */

static void carve(struct kl__shelf *s, struct kl__carver *c)
{
    size_t n_slot = (size_t)s->n_slot, n_expert = (size_t)s->net->c.n_expert;
    s->slot = kl__carve(c, n_slot, sizeof *s->slot);
    s->slot_of = kl__carve(c, (size_t)s->net->c.n_layer * n_expert, sizeof *s->slot_of);
    s->held = kl__carve(c, n_slot, sizeof *s->held);
    s->wait = kl__carve(c, n_slot * KL__SHELF_PARTS, sizeof(struct kl__read *));
    for (int p = 0; p < KL__SHELF_PARTS; p++)
        s->each[p] = kl__carve(c, n_expert, sizeof(void *));
    kl__carve(c, 1, KL__READ_ALIGN); /* so that rooms can begin at a multiple of that */
    char *room = kl__carve(c, 0, 1);
    if (room)
        room -= (uintptr_t)room % KL__READ_ALIGN;
    for (int p = 0; p < KL__SHELF_PARTS; p++) {
        size_t bytes = room_of(s->net, p);
        for (size_t i = 0; room && i < n_slot; i++)
            s->slot[i].read[p].room = room + i * bytes;
        kl__carve(c, n_slot, bytes);
        room = room ? room + n_slot * bytes : NULL;
    }
}

static void set_lists(struct kl__shelf *s)
{
    for (int32_t i = 0; i < s->n_slot; i++) {
        s->slot[i].layer = -1;
        s->slot[i].before = i - 1;
        s->slot[i].after = i + 1 < s->n_slot ? i + 1 : -1;
    }
    s->last = s->n_slot - 1;
    for (int64_t i = 0; i < (int64_t)s->net->c.n_layer * s->net->c.n_expert; i++)
        s->slot_of[i] = -1;
    s->traffic.n_slot = s->n_slot;
    s->traffic.slot_bytes = (int64_t)kl__shelf_slot_bytes(s->net);
}

kl_status kl__shelf_open(struct kl__shelf **shelf, const struct kl__net *net, int64_t n_slot, struct kl__reader *reader,
                         kl__place_fn *place, const void *user, const kl_allocator *alloc, kl_error *err)
{
    if (n_slot < net->c.n_expert_used || n_slot > INT32_MAX / KL__SHELF_PARTS)
        return kl__fail(err, KL_ERR_ARGUMENT, "there is room for %lld experts, expected at least the %d of a token",
                        (long long)n_slot, net->c.n_expert_used);
    struct kl__shelf *s = kl__alloc(alloc, sizeof *s);
    if (!s)
        return kl__fail(err, KL_ERR_MEMORY, "no memory for a shelf of experts");
    *s = (struct kl__shelf){.alloc = alloc, .net = net, .reader = reader, .place = place, .user = user};
    s->n_slot = (int32_t)n_slot;
    pthread_mutex_init(&s->turn, NULL);
    struct kl__carver c = {0};
    carve(s, &c);
    size_t bytes = c.bytes;
    s->memory = kl__alloc_large(alloc, bytes);
    if (!s->memory) {
        kl__shelf_close(s);
        return kl__fail(err, KL_ERR_MEMORY, "no memory for %zu bytes of experts", bytes);
    }
    c = (struct kl__carver){.base = s->memory};
    carve(s, &c);
    set_lists(s);
    *shelf = s;
    return KL_OK;
}

void kl__shelf_close(struct kl__shelf *s)
{
    if (!s)
        return;
    pthread_mutex_destroy(&s->turn);
    kl__release(s->alloc, s->memory);
    kl__release(s->alloc, s);
}

/* ------------------------------------------------------------------------------------------------------ the list -- */

static void unlink_slot(struct kl__shelf *s, int32_t i)
{
    const struct slot *x = &s->slot[i];
    *(x->before < 0 ? &s->first : &s->slot[x->before].after) = x->after;
    *(x->after < 0 ? &s->last : &s->slot[x->after].before) = x->before;
}

static void put_first(struct kl__shelf *s, int32_t i)
{
    s->slot[i].before = -1;
    s->slot[i].after = s->first;
    *(s->first < 0 ? &s->last : &s->slot[s->first].before) = i;
    s->first = i;
}

static void put_last(struct kl__shelf *s, int32_t i)
{
    s->slot[i].after = -1;
    s->slot[i].before = s->last;
    *(s->last < 0 ? &s->first : &s->slot[s->last].after) = i;
    s->last = i;
}

static int32_t *slot_of(const struct kl__shelf *s, int layer, int64_t expert)
{
    return &s->slot_of[(int64_t)layer * s->net->c.n_expert + expert];
}

/* The slot becomes empty. */
static void clear(struct kl__shelf *s, int32_t i)
{
    struct slot *x = &s->slot[i];
    if (x->layer >= 0)
        *slot_of(s, x->layer, x->expert) = -1;
    x->layer = -1;
}

/* -------------------------------------------------------------------------------------------------------- taking -- */

static void hold(struct kl__shelf *s, int32_t i)
{
    s->slot[i].held = true;
    s->held[s->n_held++] = i;
    unlink_slot(s, i);
    put_first(s, i);
}

static void begin_read(struct kl__shelf *s, int32_t i, int layer, int expert)
{
    struct slot *x = &s->slot[i];
    x->layer = layer;
    x->expert = expert;
    *slot_of(s, layer, expert) = i;
    for (int p = 0; p < KL__SHELF_PARTS; p++) {
        const struct kl__weight *w = part_of(s->net, layer, p);
        struct kl__read *r = &x->read[p];
        r->bytes = part_bytes(w);
        const char *data = w->each ? w->each[expert] : (const char *)w->data + (size_t)expert * r->bytes;
        s->place(s->user, data, &r->file, &r->at);
        kl__reader_start(s->reader, r);
        s->wait[s->n_wait++] = r;
        s->traffic.read_bytes += (int64_t)r->bytes;
    }
}

/* The expert is held; the list's end is free, or else the token would not have been begun. */
static void take_expert(struct kl__shelf *s, int32_t expert)
{
    int32_t i = *slot_of(s, s->layer, expert);
    if (i >= 0 && s->slot[i].held)
        return;
    s->traffic.n_asked++;
    s->traffic.n_found += i >= 0;
    if (i >= 0) {
        hold(s, i);
        return;
    }
    i = s->last;
    clear(s, i);
    hold(s, i);
    begin_read(s, i, s->layer, expert);
}

/* Experts of a token that are not held yet; one that stands there twice may count twice. */
static int64_t n_new(const struct kl__shelf *s, const int32_t *id, int64_t topk)
{
    int64_t n = 0;
    for (int64_t j = 0; j < topk; j++) {
        int32_t i = *slot_of(s, s->layer, id[j]);
        n += i < 0 || !s->slot[i].held;
    }
    return n;
}

int64_t kl__shelf_take(struct kl__shelf *s, int layer, kl_tensor id, int64_t from)
{
    pthread_mutex_lock(&s->turn);
    s->layer = layer;
    s->n_held = s->n_wait = 0;
    int64_t t = from, topk = id.dim[1];
    for (; t < id.dim[0]; t++) {
        const int32_t *row = kl__row(id, t);
        if (s->n_held + n_new(s, row, topk) > s->n_slot)
            break;
        for (int64_t j = 0; j < topk; j++)
            take_expert(s, row[j]);
    }
    return t - from;
}

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* What could not be read is on the disk still. */
static void forget_failed(struct kl__shelf *s)
{
    for (int64_t h = 0; h < s->n_held; h++) {
        int32_t i = s->held[h];
        bool failed = false;
        for (int p = 0; p < KL__SHELF_PARTS; p++)
            failed |= s->slot[i].read[p].state == KL__READ_FAILED;
        if (!failed)
            continue;
        clear(s, i);
        unlink_slot(s, i);
        put_last(s, i);
    }
}

kl_status kl__shelf_await(struct kl__shelf *s, struct kl__weight weight[KL__SHELF_PARTS], kl_error *err)
{
    double from = seconds();
    kl_status status = kl__reader_await(s->reader, s->wait, s->n_wait, err);
    s->traffic.wait_seconds += seconds() - from;
    s->n_wait = 0;
    if (status != KL_OK) {
        forget_failed(s);
        return status;
    }
    for (int p = 0; p < KL__SHELF_PARTS; p++) {
        for (int64_t h = 0; h < s->n_held; h++) {
            const struct slot *x = &s->slot[s->held[h]];
            s->each[p][x->expert] = kl__read_data(&x->read[p]);
        }
        weight[p] = *part_of(s->net, s->layer, p);
        weight[p].data = weight[p].packed = NULL;
        weight[p].each = s->each[p];
    }
    return KL_OK;
}

void kl__shelf_done(struct kl__shelf *s)
{
    if (s->n_wait) {
        kl_error ignored; /* who ends early has another reason */
        if (kl__reader_await(s->reader, s->wait, s->n_wait, &ignored) != KL_OK)
            forget_failed(s);
    }
    for (int64_t h = 0; h < s->n_held; h++)
        s->slot[s->held[h]].held = false;
    s->n_held = s->n_wait = 0;
    pthread_mutex_unlock(&s->turn);
}

kl_expert_traffic kl__shelf_traffic(struct kl__shelf *s)
{
    pthread_mutex_lock(&s->turn);
    kl_expert_traffic t = s->traffic;
    pthread_mutex_unlock(&s->turn);
    return t;
}
