#include "train/trainer.h"

#include "base/error.h"

#include <stdio.h>
#include <string.h>

enum { MOST_TOKENS = 1 << 24 };

/* ------------------------------------------------------------------------------------------------ what is needed -- */

static kl_status check_options(const kl_trainer_options *o, kl_error *err)
{
    if (!o || !o->config || !o->backend)
        return kl__fail(err, KL_ERR_ARGUMENT, "kl_trainer: %s is NULL",
                        !o          ? "options"
                        : o->config ? "options.backend"
                                    : "options.config");
    if (o->max_tokens < 1 || o->max_tokens > MOST_TOKENS)
        return kl__fail(err, KL_ERR_ARGUMENT, "kl_trainer: max_tokens is %lld, expected 1 .. %d",
                        (long long)o->max_tokens, MOST_TOKENS);
    if (o->max_seqs < 0 || o->max_seqs > o->max_tokens)
        return kl__fail(err, KL_ERR_ARGUMENT, "kl_trainer: max_seqs is %lld, expected 0 .. max_tokens, %lld",
                        (long long)o->max_seqs, (long long)o->max_tokens);
    if ((unsigned)o->optimiser > KL_OPTIMISER_MUON)
        return kl__fail(err, KL_ERR_ARGUMENT, "kl_trainer: optimiser is %d, expected 0 .. %d", (int)o->optimiser,
                        KL_OPTIMISER_MUON);
    KL_TRY(kl__config_check(o->config, "kl_trainer: options.config", err));
    if (o->config->router_weight_biased)
        return kl__fail(err, KL_ERR_UNSUPPORTED,
                        "kl_trainer: router_weight_biased is set, expected weights from scores "
                        "without their bias");
    return KL_OK;
}

struct need {
    size_t keep, temp, work, muon;
};

/* A pass over sequences of these lengths that computes nothing.  Where there is no memory yet, pieces of it begin far
 * from each other: addresses are compared, never followed. */
static struct need measure(const struct kl__layout *l, const kl_backend *be, const uint8_t *recompute, int64_t n_token,
                           const int64_t *cu_seqlens, int64_t n_seq, bool back)
{
    char *const nowhere[] = {(char *)((uintptr_t)1 << 42), (char *)((uintptr_t)2 << 42), (char *)((uintptr_t)3 << 42),
                             (char *)((uintptr_t)4 << 42), (char *)((uintptr_t)5 << 42)};
    const kl_batch batch = {.token = (const int32_t *)(void *)nowhere[4],
                            .label = (const int32_t *)(void *)nowhere[4],
                            .n_token = n_token,
                            .cu_seqlens = cu_seqlens,
                            .n_seq = n_seq};
    struct need need = {0};
    struct kl__pass p = {.layout = l, .c = &l->c, .batch = &batch, .n_token = n_token};
    p.run = (struct kl__run){.be = be, .measure = &need.work};
    p.value = (float *)(void *)nowhere[0];
    p.gradient = back ? (float *)(void *)nowhere[1] : NULL;
    p.keep.base = nowhere[2];
    p.temp.base = nowhere[3];
    kl_status status = kl__pass_run(&p, recompute, NULL);
    (void)status; /* nothing runs, so nothing can fail */
    need.keep = p.keep.bytes;
    need.temp = p.temp_most;
    return need;
}

/* Operators want workspace for the longest sequence, and for the number of sequences: both at once is the most. */
static kl_status need_of(struct need *need, const struct kl__layout *l, const kl_trainer_options *o, int64_t max_seqs,
                         kl_error *err)
{
    int64_t *cu = kl__alloc(o->alloc, (size_t)(max_seqs + 1) * sizeof *cu);
    if (!cu)
        return kl__fail(err, KL_ERR_MEMORY, "kl_trainer: no memory for the offsets of %lld sequences",
                        (long long)max_seqs);
    *need = (struct need){0};
    for (int back = 0; back < 2; back++) {
        const int64_t one[2] = {0, o->max_tokens};
        for (int64_t i = 0; i <= max_seqs; i++)
            cu[i] = i == max_seqs ? o->max_tokens : i;
        struct need a = measure(l, o->backend, o->recompute, o->max_tokens, one, 1, back);
        struct need b = measure(l, o->backend, o->recompute, o->max_tokens, cu, max_seqs, back);
        need->keep = a.keep > need->keep ? a.keep : need->keep;
        need->temp = a.temp > need->temp ? a.temp : need->temp;
        need->work = a.work + b.work > need->work ? a.work + b.work : need->work;
    }
    if (o->optimiser == KL_OPTIMISER_MUON) {
        size_t work = kl__muon_workspace(l, o->backend);
        need->muon = kl__muon_bytes(l);
        need->work = work > need->work ? work : need->work;
    }
    kl__release(o->alloc, cu);
    return KL_OK;
}

static size_t load_bytes(const kl_config *c)
{
    return (size_t)c->n_layer * (size_t)c->n_expert * sizeof(int64_t);
}

static size_t arena_bytes(const struct kl__layout *l)
{
    return KL__N_ARENA * (size_t)l->n * sizeof(float);
}

kl_status kl_trainer_memory(int64_t *bytes, const kl_trainer_options *o, kl_error *err)
{
    struct kl__layout l;
    struct need need;
    KL_TRY(check_options(o, err));
    KL_TRY(kl__layout_open(&l, o->config, o->alloc, err));
    kl_status status = need_of(&need, &l, o, o->max_seqs ? o->max_seqs : o->max_tokens, err);
    if (status == KL_OK)
        *bytes = (int64_t)(arena_bytes(&l) + load_bytes(&l.c) + need.keep + need.temp + need.work + need.muon +
                           sizeof(kl_trainer) + (size_t)l.n_place * sizeof *l.place +
                           (size_t)(l.c.n_layer + 1) * KL__N_PARAM * sizeof *l.index);
    kl__layout_close(&l);
    return status;
}

/* ------------------------------------------------------------------------------------------- opening and closing -- */

/* What a pass goes through lies in large pages: rows are read many at once, each on a page of its own where pages are
 * small. */
static void *zeroed(const kl_allocator *alloc, size_t bytes)
{
    void *memory = kl__alloc_large(alloc, bytes);
    return memory ? memset(memory, 0, bytes) : NULL;
}

static kl_status take_memory(kl_trainer *t, const struct need *need, kl_error *err)
{
    t->keep_bytes = need->keep;
    t->temp_bytes = need->temp;
    t->work.bytes = need->work;
    t->arena[KL__VALUE] = zeroed(t->alloc, arena_bytes(&t->layout));
    t->stage = zeroed(t->alloc, need->keep + need->temp + need->muon);
    t->work.data = zeroed(t->alloc, need->work);
    t->load = kl__alloc(t->alloc, load_bytes(&t->layout.c));
    if (!t->arena[KL__VALUE] || !t->stage || !t->work.data || !t->load)
        return kl__fail(err, KL_ERR_MEMORY, "kl_trainer: no memory for %zu bytes of parameters and %zu of activations",
                        arena_bytes(&t->layout), need->keep + need->temp + need->work);
    t->muon = kl__muon_of(&t->layout, t->stage + need->keep + need->temp);
    for (int i = 1; i < KL__N_ARENA; i++)
        t->arena[i] = t->arena[i - 1] + t->layout.n;
    return KL_OK;
}

static kl_status open_all(kl_trainer *t, const kl_trainer_options *o, kl_error *err)
{
    struct need need;
    t->be = o->backend;
    t->optimiser = o->optimiser;
    t->max_tokens = o->max_tokens;
    t->max_seqs = o->max_seqs ? o->max_seqs : o->max_tokens;
    if (o->recompute)
        memcpy(t->recompute, o->recompute, (size_t)o->config->n_layer);
    KL_TRY(kl__layout_open(&t->layout, o->config, t->alloc, err));
    KL_TRY(need_of(&need, &t->layout, o, t->max_seqs, err));
    return take_memory(t, &need, err);
}

kl_status kl_trainer_open(kl_trainer **trainer, const kl_trainer_options *o, kl_error *err)
{
    if (!trainer)
        return kl__fail(err, KL_ERR_ARGUMENT, "kl_trainer: trainer is NULL");
    KL_TRY(check_options(o, err));
    kl_trainer *t = kl__alloc(o->alloc, sizeof *t);
    if (!t)
        return kl__fail(err, KL_ERR_MEMORY, "kl_trainer: no memory for a trainer");
    if (o->alloc) {
        t->alloc_copy = *o->alloc;
        t->alloc = &t->alloc_copy;
    }
    kl_status status = open_all(t, o, err);
    if (status == KL_OK)
        *trainer = t;
    else
        kl_trainer_close(t);
    return status;
}

void kl_trainer_close(kl_trainer *t)
{
    if (!t)
        return;
    kl__layout_close(&t->layout);
    kl__release(t->alloc, t->arena[KL__VALUE]);
    kl__release(t->alloc, t->stage);
    kl__release(t->alloc, t->work.data);
    kl__release(t->alloc, t->load);
    kl_allocator copy = t->alloc_copy;
    kl__release(t->alloc ? &copy : NULL, t);
}

/* ---------------------------------------------------------------------------------------------------- parameters -- */

const kl_config *kl_trainer_config(const kl_trainer *t)
{
    return &t->layout.c;
}

int64_t kl_trainer_n_parameter(const kl_trainer *t)
{
    return t->layout.n_place;
}

void kl_trainer_parameter(const kl_trainer *t, int64_t i, kl_parameter *p)
{
    const struct kl__place *place = &t->layout.place[i];
    kl_tensor *const view[KL__N_ARENA] = {&p->value, &p->gradient, &p->moment1, &p->moment2};
    struct kl__param_name name = kl__param_name(KL__NAMES_HF, place->param, place->layer, 0);
    memcpy(p->name, name.text, sizeof p->name);
    p->layer = place->layer;
    for (int a = 0; a < KL__N_ARENA; a++)
        *view[a] = kl__layout_view(&t->layout, t->arena[a], place->param, place->layer);
}

void kl_trainer_watch(kl_trainer *t, double *seconds)
{
    t->seconds = seconds;
}

void kl_trainer_forget_gradients(kl_trainer *t)
{
    memset(t->arena[KL__GRADIENT], 0, (size_t)t->layout.n * sizeof(float));
    memset(t->load, 0, load_bytes(&t->layout.c));
}

/* ------------------------------------------------------------------------------------------------------- batches -- */

static kl_status check_ids(const char *name, const int32_t *id, int64_t n, int64_t n_vocab, int32_t least,
                           kl_error *err)
{
    for (int64_t i = 0; i < n; i++)
        if (id[i] >= n_vocab || id[i] < least)
            return kl__fail(err, KL_ERR_ARGUMENT, "kl_trainer: %s[%lld] is %d, expected less than %lld%s", name,
                            (long long)i, (int)id[i], (long long)n_vocab,
                            least < 0 ? ", or negative" : " and not negative");
    return KL_OK;
}

static kl_status check_batch(const kl_trainer *t, const kl_batch *b, const kl_loss *loss, kl_error *err)
{
    if (!t || !b || !loss || !b->token || !b->label || !b->cu_seqlens)
        return kl__fail(err, KL_ERR_ARGUMENT, "kl_trainer: %s is NULL",
                        !t          ? "trainer"
                        : !b        ? "batch"
                        : !loss     ? "loss"
                        : !b->token ? "token"
                        : !b->label ? "label"
                                    : "cu_seqlens");
    if (b->n_token < 1 || b->n_token > t->max_tokens)
        return kl__fail(err, KL_ERR_ARGUMENT, "kl_trainer: the batch has %lld tokens, expected 1 .. %lld",
                        (long long)b->n_token, (long long)t->max_tokens);
    if (b->n_seq < 1 || b->n_seq > t->max_seqs)
        return kl__fail(err, KL_ERR_ARGUMENT, "kl_trainer: the batch has %lld sequences, expected 1 .. %lld",
                        (long long)b->n_seq, (long long)t->max_seqs);
    for (int64_t i = 0; i <= b->n_seq; i++)
        if (b->cu_seqlens[i] < (i ? b->cu_seqlens[i - 1] : 0) || b->cu_seqlens[i] > (i ? b->n_token : 0) ||
            (i == b->n_seq && b->cu_seqlens[i] != b->n_token))
            return kl__fail(err, KL_ERR_ARGUMENT,
                            "kl_trainer: cu_seqlens[%lld] is %lld, expected ascending offsets "
                            "from 0 to %lld",
                            (long long)i, (long long)b->cu_seqlens[i], (long long)b->n_token);
    int64_t n_vocab = t->layout.c.n_vocab;
    KL_TRY(check_ids("token", b->token, b->n_token, n_vocab, 0, err));
    return check_ids("label", b->label, b->n_token, n_vocab, INT32_MIN, err);
}

static kl_status run(kl_trainer *t, const kl_batch *batch, bool back, kl_loss *loss, kl_error *err)
{
    KL_TRY(check_batch(t, batch, loss, err));
    kl_batch b = *batch;
    b.weight = b.weight != 0 ? b.weight : 1;
    kl_loss sum = {0};
    struct kl__pass p = {.layout = &t->layout,
                         .c = &t->layout.c,
                         .value = t->arena[KL__VALUE],
                         .gradient = back ? t->arena[KL__GRADIENT] : NULL,
                         .run = {.be = t->be, .work = t->work, .seconds = t->seconds, .err = err},
                         .batch = &b,
                         .n_token = b.n_token,
                         .keep = {.base = t->stage},
                         .temp = {.base = t->stage + t->keep_bytes},
                         .load = back ? t->load : NULL};
    KL_TRY(kl__pass_run(&p, t->recompute, &sum));
    *loss = sum;
    return KL_OK;
}

kl_status kl_trainer_loss(kl_trainer *t, const kl_batch *batch, kl_loss *loss, kl_error *err)
{
    return run(t, batch, false, loss, err);
}

kl_status kl_trainer_backward(kl_trainer *t, const kl_batch *batch, kl_loss *loss, kl_error *err)
{
    return run(t, batch, true, loss, err);
}
