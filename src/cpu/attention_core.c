/* A task is a block of query rows of one sequence and key head against the whole cache; when there are fewer of those
 * than threads, against one piece of it (flash.h), and a second round merges the pieces.  Since the pieces are cut at
 * fixed positions, that choice changes nothing in the result.  A long cache goes by wave by wave: so the parts
 * that wait to be merged take memory for each thread, and not for each piece. */
#include "cpu/attention_core.h"

#include "base/pool.h"
#include "cpu/owner.h"

/* Parts of one wave, for each thread. */
enum { STORED_PER_THREAD = KL__FLASH_SPAN_1 / KL__FLASH_SPAN_0 };

/* How the work is cut up; a function of the shapes and the number of threads. */
struct plan {
    int64_t rows; /* of a block */
    int level;    /* of a task's piece */
    int64_t n_task;
    int64_t wave; /* pieces of a block that are stored together */
};

struct memory {
    int64_t *first_task;  /* [sequences + 1], of one wave */
    int64_t *first_block; /* [sequences + 1] */
    char *scratch;        /* of thread 0 */
    size_t thread_bytes;
    char *stored; /* part of task 0; only when a task is less than the whole cache */
    char *merged; /* part of block 0: what earlier waves came to */
    size_t part_bytes;
};

struct job {
    const struct kl__kernels *k;
    const struct kl__attention *a;
    struct plan plan;
    struct memory memory;
    int64_t first_piece; /* of the wave */
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
    if (kv.table)
        kv.table = a->tables ? a->tables[n] : kv.table + n * a->pages_per_seq;
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

static bool is_split(int level)
{
    return level < KL__FLASH_LEVELS - 1;
}

/* Of level 1 there can be any number of pieces: of them a wave has so many that its parts find room.  That is at least
 * one of each block, because blocks are fewer than threads, or else the cache would not be split.  Of level 0 there are
 * fewer than STORED_PER_THREAD for each thread, because of level 1 there were fewer than threads; and when blocks of
 * rows are halved as well, there are fewer than three for each thread. */
static int64_t pieces_of_wave(const struct kl__attention *a, const struct plan *p, int64_t n_thread)
{
    if (p->level != 1)
        return INT64_MAX;
    return STORED_PER_THREAD * n_thread / count_tasks(a, p->rows, KL__FLASH_LEVELS - 1);
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
    p.wave = pieces_of_wave(a, &p, n_thread);
    return p;
}

static size_t bytes_of_scratch(const struct kl__attention *a, int64_t rows)
{
    struct kl__carver c = {0};
    kl__flash_carve(&(struct kl__flash_scratch){0}, &c, rows, a->kv.n_k, a->kv.n_v, a->kv.sixteen);
    return c.bytes;
}

static size_t bytes_of_part(const struct kl__attention *a, int64_t rows)
{
    struct kl__carver c = {0};
    kl__flash_carve_part(&(struct kl__flash_part){0}, &c, rows, a->kv.n_v);
    return c.bytes;
}

/* Grows with the rows of a block and with `split`. */
static struct memory carve(struct kl__carver *c, const kl_backend *be, const struct kl__attention *a, int64_t rows,
                           bool split)
{
    struct memory m = {.thread_bytes = bytes_of_scratch(a, rows), .part_bytes = bytes_of_part(a, rows)};
    int64_t room = a->end_seq - a->first_seq > a->room_seq ? a->end_seq - a->first_seq : a->room_seq;
    size_t n_seq = (size_t)room, n_thread = (size_t)kl_pool_threads(be->pool);
    m.first_task = kl__carve(c, n_seq + 1, sizeof *m.first_task);
    m.first_block = kl__carve(c, n_seq + 1, sizeof *m.first_block);
    m.scratch = kl__carve(c, n_thread, m.thread_bytes);
    if (split) {
        m.stored = kl__carve(c, n_thread * STORED_PER_THREAD, m.part_bytes);
        m.merged = kl__carve(c, n_thread, m.part_bytes);
    }
    return m;
}

static struct kl__flash_scratch scratch_of(const struct job *job, int thread)
{
    struct kl__carver c = {.base = job->memory.scratch + (size_t)thread * job->memory.thread_bytes};
    struct kl__flash_scratch x;
    kl__flash_carve(&x, &c, job->plan.rows, job->a->kv.n_k, job->a->kv.n_v, job->a->kv.sixteen);
    return x;
}

static struct kl__flash_part part_at(const struct job *job, char *parts, int64_t i)
{
    struct kl__carver c = {.base = parts + (size_t)i * job->memory.part_bytes};
    struct kl__flash_part part;
    kl__flash_carve_part(&part, &c, job->plan.rows, job->a->kv.n_v);
    return part;
}

/* One task: sequence, key head, block of rows, piece of the cache. */
struct cut {
    int64_t head, piece, n_piece; /* pieces of the wave */
    int64_t block_index;          /* among all blocks of the call */
    bool last;                    /* wave of the sequence */
    int64_t token; /* of the tensors, where the sequence's query 0 is */
    struct kl__kv kv;
    struct kl__flash_block block;
};

/* Pieces of a sequence in the wave. */
static int64_t pieces_now(const struct job *job, const struct kl__flash_seq *s, bool *last)
{
    int64_t left = n_piece(s, job->plan.level) - job->first_piece;
    *last = left <= job->plan.wave;
    return left < 0 ? 0 : *last ? left : job->plan.wave;
}

/* Sets everything but block.kv, which is to point at cut->kv. */
static void locate(const struct job *job, int64_t task, struct cut *cut)
{
    const struct kl__attention *a = job->a;
    int64_t at = kl__owner(job->memory.first_task, a->end_seq - a->first_seq, task), n = a->first_seq + at;
    int64_t rest = task - job->memory.first_task[at];
    struct kl__flash_seq s = kl__attention_seq(a, n);
    struct rows r = rows_of(a, n);
    int64_t n_block = ceil_div(r.end - r.first, job->plan.rows);
    *cut = (struct cut){0};
    cut->n_piece = pieces_now(job, &s, &cut->last);
    cut->piece = rest % cut->n_piece;
    int64_t block = rest / cut->n_piece;
    cut->block_index = job->memory.first_block[at] + block;
    cut->head = block / n_block;
    int64_t first = r.first + block % n_block * job->plan.rows;
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
    kl__flash_begin(&cut.block, &x);
    int level = job->plan.level;
    int64_t first = is_split(level) ? (job->first_piece + cut.piece) * kl__flash_span(level) : 0;
    kl__flash_attend(&cut.block, &x, level, first);
    if (!is_split(level)) {
        finish(job, &cut, &x.part[level]);
        return;
    }
    struct kl__flash_part stored = part_at(job, job->memory.stored, task);
    kl__flash_copy(&stored, &x.part[level], cut.block.n_row, cut.kv.n_v);
}

/* Second round: the stored pieces of a block of rows, merged as kl__flash_attend would have done, behind those of
 * earlier waves. */
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
    if (job->first_piece > 0) {
        whole = part_at(job, job->memory.merged, cut.block_index);
        whole.fresh = false;
    }
    for (int64_t i = 0; i < cut.n_piece; i += fan) {
        struct kl__flash_part group = {.fresh = true};
        for (int64_t j = i; j < cut.n_piece && j < i + fan; j++) {
            struct kl__flash_part piece = part_at(job, job->memory.stored, task + j);
            kl__flash_merge(&group, &piece, cut.block.n_row, cut.kv.n_v);
        }
        kl__flash_merge(&whole, &group, cut.block.n_row, cut.kv.n_v);
    }
    if (cut.last)
        finish(job, &cut, &whole);
    else if (job->first_piece == 0) {
        struct kl__flash_part merged = part_at(job, job->memory.merged, cut.block_index);
        kl__flash_copy(&merged, &whole, cut.block.n_row, cut.kv.n_v);
    }
}

/* Sums of tasks over the sequences: of the wave, or of blocks when a block is one task. */
static int64_t count_wave(struct job *job)
{
    const struct kl__attention *a = job->a;
    int64_t n_task = 0, n_block = 0, n_seq = a->end_seq - a->first_seq;
    for (int64_t i = 0; i < n_seq; i++) {
        struct kl__flash_seq s = kl__attention_seq(a, a->first_seq + i);
        bool last;
        int64_t blocks = tasks_of(a, a->first_seq + i, job->plan.rows, KL__FLASH_LEVELS - 1);
        job->memory.first_task[i] = n_task;
        job->memory.first_block[i] = n_block;
        n_task += blocks * pieces_now(job, &s, &last);
        n_block += blocks;
    }
    job->memory.first_task[n_seq] = n_task;
    job->memory.first_block[n_seq] = n_block;
    return n_task;
}

static int64_t most_keys(const struct kl__attention *a)
{
    int64_t most = 0;
    for (int64_t n = a->first_seq; n < a->end_seq; n++) {
        int64_t n_key = kl__attention_seq(a, n).n_key;
        most = n_key > most ? n_key : most;
    }
    return most;
}

size_t kl__attention_run_workspace(const kl_backend *be, const struct kl__attention *a)
{
    struct kl__carver c = {0};
    carve(&c, be, a, most_rows(a), most_keys(a) > KL__FLASH_SPAN_0);
    return kl__carver_need(&c);
}

void kl__attention_run(const kl_backend *be, const struct kl__attention *a, kl_workspace work)
{
    struct kl__carver c = kl__carver(work);
    struct job job = {.k = kl__cpu_kernels(be), .a = a, .plan = make_plan(be, a)};
    job.memory = carve(&c, be, a, job.plan.rows, is_split(job.plan.level));
    for (int64_t n_task; (n_task = count_wave(&job)) > 0; job.first_piece += job.plan.wave) {
        kl__pool_run(be->pool, n_task, attend_task, &job);
        if (!is_split(job.plan.level))
            return;
        kl__pool_run(be->pool, n_task, merge_task, &job);
        if (job.plan.wave == INT64_MAX)
            return;
    }
}
