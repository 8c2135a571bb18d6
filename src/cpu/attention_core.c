/* A task is a block of query rows of one sequence and key head against the whole cache; when there are fewer of those
 * than threads, against one piece of it (flash.h), and a second round merges the pieces.  Since the pieces are cut at
 * fixed positions, that choice changes nothing in the result. */
#include "cpu/attention_core.h"

#include "base/pool.h"
#include "cpu/owner.h"

/* How the work is cut up; a function of the shapes and the number of threads. */
struct plan {
    int64_t rows; /* of a block */
    int level;    /* of a task's piece */
    int64_t n_task;
};

struct memory {
    int64_t *first_task; /* [sequences + 1] */
    char *scratch;       /* of thread 0 */
    size_t thread_bytes;
    char *stored; /* part of task 0; only when a task is less than the whole cache */
    size_t part_bytes;
};

struct job {
    const struct kl__kernels *k;
    const struct kl__attention *a;
    struct plan plan;
    struct memory memory;
};

static int64_t ceil_div(int64_t a, int64_t b)
{
    return a / b + (a % b != 0);
}

static int64_t key_start(const struct kl__attention *a, int64_t n)
{
    const int64_t *cu = a->cu_k ? a->cu_k : a->cu_q;
    return cu ? cu[n] : 0;
}

static int64_t query_start(const struct kl__attention *a, int64_t n)
{
    return a->cu_q ? a->cu_q[n] : 0;
}

struct kl__flash_seq kl__attention_seq(const struct kl__attention *a, int64_t n)
{
    return (struct kl__flash_seq){
        .n_query = a->cu_q ? a->cu_q[n + 1] - a->cu_q[n] : a->n_query,
        .n_key = a->cu_q ? key_start(a, n + 1) - key_start(a, n) : a->n_key,
        .group = a->n_head_k > 0 ? a->q.dim[1] / a->n_head_k : 1,
        .causal = a->causal,
    };
}

struct kl__kv kl__attention_kv(const struct kl__attention *a, int64_t n, int64_t head)
{
    struct kl__kv kv = a->kv;
    int64_t row = kv.table ? 0 : key_start(a, n);
    /* An empty cache may have no memory at all. */
    kv.k = kv.k ? kv.k + row * kv.k_row + head * a->k_head : NULL;
    kv.v = kv.v ? kv.v + row * kv.v_row + head * a->v_head : NULL;
    kv.table = kv.table ? kv.table + n * a->pages_per_seq : NULL;
    return kv;
}

/* The rows of sequence `n` and one key head that belong to the tokens of the call. */
struct rows {
    int64_t first, end;
};

static struct rows rows_of(const struct kl__attention *a, int64_t n)
{
    struct kl__flash_seq s = kl__attention_seq(a, n);
    int64_t start = query_start(a, n), first = a->first_token - start, end = a->end_token - start;
    first = first > 0 ? first : 0;
    end = end < s.n_query ? end : s.n_query;
    return end > first ? (struct rows){first * s.group, end * s.group} : (struct rows){0, 0};
}

static int64_t n_piece(const struct kl__flash_seq *s, int level)
{
    int64_t n = ceil_div(s->n_key, kl__flash_span(level));
    return n > 0 ? n : 1;
}

static int64_t tasks_of(const struct kl__attention *a, int64_t n, int64_t rows, int level)
{
    struct kl__flash_seq s = kl__attention_seq(a, n);
    struct rows r = rows_of(a, n);
    return a->n_head_k * ceil_div(r.end - r.first, rows) * n_piece(&s, level);
}

static int64_t count_tasks(const struct kl__attention *a, int64_t rows, int level)
{
    int64_t sum = 0;
    for (int64_t n = a->first_seq; n < a->end_seq; n++)
        sum += tasks_of(a, n, rows, level);
    return sum;
}

static int64_t most_rows(const struct kl__attention *a)
{
    int64_t most = 1;
    for (int64_t n = a->first_seq; n < a->end_seq; n++) {
        struct rows r = rows_of(a, n);
        most = r.end - r.first > most ? r.end - r.first : most;
    }
    return most < KL__FLASH_ROWS ? most : KL__FLASH_ROWS;
}

/* The coarsest cut that gives every thread a task: first the cache is split, then the blocks of rows. */
static struct plan make_plan(const kl_backend *be, const struct kl__attention *a)
{
    enum { FEWEST_ROWS = 8 };
    int64_t n_thread = kl_pool_threads(be->pool);
    struct plan p = {.rows = most_rows(a), .level = KL__FLASH_LEVELS - 1};
    p.n_task = count_tasks(a, p.rows, p.level);
    for (int level = p.level - 1; level >= 0 && p.n_task < n_thread; level--) {
        int64_t n = count_tasks(a, p.rows, level);
        if (n > p.n_task) {
            p.level = level;
            p.n_task = n;
        }
    }
    while (p.n_task < n_thread && p.rows / 2 >= FEWEST_ROWS) {
        p.rows /= 2;
        p.n_task = count_tasks(a, p.rows, p.level);
    }
    return p;
}

static size_t bytes_of_scratch(const struct kl__attention *a, int64_t rows)
{
    struct kl__carver c = {0};
    kl__flash_carve(&(struct kl__flash_scratch){0}, &c, rows, a->kv.n_k, a->kv.n_v);
    return c.bytes;
}

static size_t bytes_of_part(const struct kl__attention *a, int64_t rows)
{
    struct kl__carver c = {0};
    kl__flash_carve_part(&(struct kl__flash_part){0}, &c, rows, a->kv.n_v);
    return c.bytes;
}

static struct memory carve(struct kl__carver *c, const kl_backend *be, const struct kl__attention *a, struct plan p)
{
    struct memory m = {.thread_bytes = bytes_of_scratch(a, p.rows), .part_bytes = bytes_of_part(a, p.rows)};
    m.first_task = kl__carve(c, (size_t)(a->end_seq - a->first_seq) + 1, sizeof *m.first_task);
    m.scratch = kl__carve(c, (size_t)kl_pool_threads(be->pool), m.thread_bytes);
    if (p.level < KL__FLASH_LEVELS - 1)
        m.stored = kl__carve(c, (size_t)p.n_task, m.part_bytes);
    return m;
}

static struct kl__flash_scratch scratch_of(const struct job *job, int thread)
{
    struct kl__carver c = {.base = job->memory.scratch + (size_t)thread * job->memory.thread_bytes};
    struct kl__flash_scratch x;
    kl__flash_carve(&x, &c, job->plan.rows, job->a->kv.n_k, job->a->kv.n_v);
    return x;
}

static struct kl__flash_part stored_part(const struct job *job, int64_t task)
{
    struct kl__carver c = {.base = job->memory.stored + (size_t)task * job->memory.part_bytes};
    struct kl__flash_part part;
    kl__flash_carve_part(&part, &c, job->plan.rows, job->a->kv.n_v);
    return part;
}

/* One task: sequence, key head, block of rows, piece of the cache. */
struct cut {
    int64_t head, piece, n_piece;
    int64_t token; /* of the tensors, where the sequence's query 0 is */
    struct kl__kv kv;
    struct kl__flash_block block;
};

/* Sets everything but block.kv, which is to point at cut->kv. */
static void locate(const struct job *job, int64_t task, struct cut *cut)
{
    const struct kl__attention *a = job->a;
    int64_t at = kl__owner(job->memory.first_task, a->end_seq - a->first_seq, task), n = a->first_seq + at;
    int64_t rest = task - job->memory.first_task[at];
    struct kl__flash_seq s = kl__attention_seq(a, n);
    struct rows r = rows_of(a, n);
    int64_t n_block = ceil_div(r.end - r.first, job->plan.rows);
    *cut = (struct cut){.n_piece = n_piece(&s, job->plan.level)};
    cut->piece = rest % cut->n_piece;
    cut->head = rest / cut->n_piece / n_block;
    int64_t first = r.first + rest / cut->n_piece % n_block * job->plan.rows;
    cut->token = query_start(a, n) - a->first_token;
    cut->kv = kl__attention_kv(a, n, cut->head);
    cut->block = (struct kl__flash_block){.k = job->k,
                                          .seq = s,
                                          .first_row = first,
                                          .n_row = r.end - first < job->plan.rows ? r.end - first : job->plan.rows,
                                          .scale = a->scale};
}

static void finish(const struct job *job, const struct cut *cut, struct kl__flash_part *part)
{
    kl__flash_finish(&cut->block, part, job->a->o, job->a->lse, cut->token, cut->head * cut->block.seq.group);
}

static void attend_task(void *arg, int64_t task, int thread)
{
    const struct job *job = arg;
    struct kl__flash_scratch x = scratch_of(job, thread);
    struct cut cut;
    locate(job, task, &cut);
    cut.block.kv = &cut.kv;
    int64_t group = cut.block.seq.group;
    kl__flash_gather(job->k, x.q, job->a->q, cut.token, cut.head * group, group, cut.block.first_row, cut.block.n_row);
    int level = job->plan.level;
    int64_t first = level == KL__FLASH_LEVELS - 1 ? 0 : cut.piece * kl__flash_span(level);
    kl__flash_attend(&cut.block, &x, level, first);
    if (level == KL__FLASH_LEVELS - 1) {
        finish(job, &cut, &x.part[level]);
        return;
    }
    struct kl__flash_part stored = stored_part(job, task);
    kl__flash_copy(&stored, &x.part[level], cut.block.n_row, cut.kv.n_v);
}

/* Second round: the stored pieces of a block of rows, merged as kl__flash_attend would have done. */
static void merge_task(void *arg, int64_t task, int thread)
{
    const struct job *job = arg;
    (void)thread;
    struct cut cut;
    locate(job, task, &cut);
    cut.block.kv = &cut.kv;
    if (cut.piece != 0)
        return;
    int64_t fan = job->plan.level == 0 ? KL__FLASH_SPAN_1 / KL__FLASH_SPAN_0 : 1;
    struct kl__flash_part whole = {.fresh = true};
    for (int64_t i = 0; i < cut.n_piece; i += fan) {
        struct kl__flash_part group = {.fresh = true};
        for (int64_t j = i; j < cut.n_piece && j < i + fan; j++) {
            struct kl__flash_part piece = stored_part(job, task + j);
            kl__flash_merge(&group, &piece, cut.block.n_row, cut.kv.n_v);
        }
        kl__flash_merge(&whole, &group, cut.block.n_row, cut.kv.n_v);
    }
    finish(job, &cut, &whole);
}

size_t kl__attention_run_workspace(const kl_backend *be, const struct kl__attention *a)
{
    struct kl__carver c = {0};
    carve(&c, be, a, make_plan(be, a));
    return kl__carver_need(&c);
}

void kl__attention_run(const kl_backend *be, const struct kl__attention *a, kl_workspace work)
{
    struct kl__carver c = kl__carver(work);
    struct job job = {.k = kl__cpu_kernels(be), .a = a, .plan = make_plan(be, a)};
    job.memory = carve(&c, be, a, job.plan);
    int64_t sum = 0, n_seq = a->end_seq - a->first_seq;
    for (int64_t i = 0; i < n_seq; i++) {
        job.memory.first_task[i] = sum;
        sum += tasks_of(a, a->first_seq + i, job.plan.rows, job.plan.level);
    }
    job.memory.first_task[n_seq] = sum;
    kl__pool_run(be->pool, sum, attend_task, &job);
    if (job.plan.level < KL__FLASH_LEVELS - 1)
        kl__pool_run(be->pool, sum, merge_task, &job);
}
