/* The expanded form, one sequence at a time.  Keys and values of some heads are expanded for a slab of the cache, then
 * every block of query rows goes through the slab; a block's sums wait in memory for the next slab. */
#include "base/pool.h"
#include "cpu/mla.h"

struct job {
    const struct kl__latent *x;
    struct kl__slab slab;
    struct kl__flash_seq seq;
    int64_t token;   /* where the sequence's queries begin */
    int64_t n_block; /* of query rows */
    bool last;       /* slab of the sequence */
    char *parts;     /* [n_head][n_block]; only when there are several slabs */
    size_t part_bytes;
    char *scratch; /* of thread 0 */
    size_t thread_bytes;
};

struct scratch {
    struct kl__flash_scratch flash;
    struct kl__latent_scratch latent;
};

static struct scratch carve_scratch(struct kl__carver *c, const struct kl__latent *x)
{
    struct scratch s;
    kl__flash_carve(&s.flash, c, KL__FLASH_ROWS, kl__latent_key(x), x->n_v,
                    x->packed ? KL__SIXTEEN_BLOCKS : KL__SIXTEEN_NO);
    kl__latent_carve(&s.latent, c, x);
    return s;
}

static struct scratch scratch_of(const struct job *job, int thread)
{
    struct kl__carver c = {.base = job->scratch + (size_t)thread * job->thread_bytes};
    return carve_scratch(&c, job->x);
}

static struct kl__flash_part part_of(const struct job *job, int64_t task)
{
    struct kl__carver c = {.base = job->parts + (size_t)task * job->part_bytes};
    struct kl__flash_part part;
    kl__flash_carve_part(&part, &c, KL__FLASH_ROWS, job->x->n_v);
    return part;
}

static struct job begin_sequence(const kl_backend *be, const struct kl__latent *x, int64_t n, struct kl__carver *c)
{
    const int64_t *cu_q = x->attention.cu_q;
    struct job job = {.x = x,
                      .slab = kl__slab_size(x, n, 1),
                      .seq = kl__attention_seq(&x->attention, n),
                      .token = cu_q ? cu_q[n] : 0};
    job.slab.panels = !x->packed;
    job.seq.group = 1;
    job.n_block = (job.seq.n_query + KL__FLASH_ROWS - 1) / KL__FLASH_ROWS;
    struct kl__carver one = {0}, part = {0};
    carve_scratch(&one, x);
    job.thread_bytes = one.bytes;
    kl__flash_carve_part(&(struct kl__flash_part){0}, &part, KL__FLASH_ROWS, x->n_v);
    job.part_bytes = part.bytes;
    size_t rows = (size_t)job.slab.reserve;
    if (x->packed)
        job.slab.block = kl__carve(c, (rows + KL__I16_BLOCK - 1) / KL__I16_BLOCK, (size_t)job.slab.block_bytes);
    else {
        job.slab.k = kl__carve(c, rows * (size_t)kl__latent_key(x), sizeof(float));
        job.slab.v = kl__carve(c, rows * (size_t)x->n_v, sizeof(float));
    }
    job.scratch = kl__carve(c, (size_t)kl_pool_threads(be->pool), job.thread_bytes);
    if (job.seq.n_key > job.slab.n_row)
        job.parts = kl__carve(c, (size_t)(job.slab.n_head * job.n_block), job.part_bytes);
    return job;
}

static void expand_task(void *arg, int64_t task, int thread)
{
    const struct job *job = arg;
    struct scratch s = scratch_of(job, thread);
    int64_t n_block = kl__slab_blocks(&job->slab);
    kl__slab_expand(job->x, &job->slab, task / n_block, task % n_block, &s.latent);
}

static void attend_task(void *arg, int64_t task, int thread)
{
    const struct job *job = arg;
    const struct kl__latent *x = job->x;
    struct scratch s = scratch_of(job, thread);
    int64_t i = task / job->n_block, head = job->slab.first_head + i, first = task % job->n_block * KL__FLASH_ROWS;
    int64_t rest = job->seq.n_query - first;
    struct kl__kv kv = kl__slab_kv(x, &job->slab, i);
    struct kl__flash_block block = {.k = x->k,
                                    .kv = &kv,
                                    .seq = job->seq,
                                    .first_row = first,
                                    .n_row = rest < KL__FLASH_ROWS ? rest : KL__FLASH_ROWS,
                                    .scale = x->attention.scale};
    kl__flash_gather(x->k, s.flash.q, x->attention.q, job->token, head, 1, first, block.n_row);
    kl__flash_begin(&block, &s.flash);
    kl__flash_attend(&block, &s.flash, 1, job->slab.first);
    struct kl__flash_part *sums = &s.flash.part[1], waiting;
    if (job->parts) {
        waiting = part_of(job, task);
        if (job->slab.first == 0)
            kl__flash_copy(&waiting, sums, block.n_row, x->n_v);
        else {
            waiting.fresh = false;
            kl__flash_merge(&waiting, sums, block.n_row, x->n_v);
        }
        sums = &waiting;
    }
    if (job->last)
        kl__flash_finish(&block, sums, x->attention.o, x->attention.lse, job->token, head);
}

/* All heads of one sequence.  An empty cache is one empty slab: outputs are written all the same. */
static void run_sequence(const kl_backend *be, struct job *job)
{
    struct kl__slab *slab = &job->slab;
    int64_t n_key = job->seq.n_key, heads = slab->n_head;
    for (slab->first_head = 0; slab->first_head < job->x->n_head; slab->first_head += heads) {
        int64_t rest = job->x->n_head - slab->first_head;
        slab->n_head = heads < rest ? heads : rest;
        for (job->last = false, slab->first = 0; !job->last; slab->first += slab->n_row) {
            job->last = n_key - slab->first <= slab->n_row;
            slab->n = job->last ? n_key - slab->first : slab->n_row;
            kl__pool_run(be->pool, slab->n_head * kl__slab_blocks(slab), expand_task, job);
            kl__pool_run(be->pool, slab->n_head * job->n_block, attend_task, job);
        }
    }
}

static bool has_work(const struct kl__latent *x, int64_t n)
{
    return !kl__latent_absorbed(x, n) && kl__attention_seq(&x->attention, n).n_query > 0;
}

size_t kl__mla_expanded_workspace(const kl_backend *be, const struct kl__latent *x)
{
    size_t most = 0;
    for (int64_t n = 0; n < x->attention.end_seq; n++)
        if (has_work(x, n)) {
            struct kl__carver c = {0};
            begin_sequence(be, x, n, &c);
            most = kl__carver_need(&c) > most ? kl__carver_need(&c) : most;
        }
    return most;
}

void kl__mla_expanded(const kl_backend *be, const struct kl__latent *x, kl_workspace work)
{
    for (int64_t n = 0; n < x->attention.end_seq; n++)
        if (has_work(x, n)) {
            struct kl__carver c = kl__carver(work);
            struct job job = begin_sequence(be, x, n, &c);
            run_sequence(be, &job);
        }
}
