/* Forward: attention_core.c.  Backward: a first round for delta, then a task owns a block of positions (d_k, d_v), then
 * a task owns a block of query rows (d_q); the probabilities are computed twice, and nothing is shared. */
#include "base/pool.h"
#include "cpu/attention_core.h"
#include "cpu/flash_bwd.h"
#include "cpu/owner.h"

#include <math.h>

enum { TOKENS_PER_TASK = 16 };

static struct kl__kv kv_of(const kl_attention_args *a)
{
    kl_tensor k = a->k, v = a->v;
    bool paged = a->paging.table != NULL;
    int64_t bytes = (int64_t)kl_dtype_bytes(k.dtype), n_head = k.dim[k.n_dim - 2];
    struct kl__kv kv = {.k = k.data,
                        .v = v.data,
                        .k_page = kl__pitch(k) * bytes,
                        .v_page = kl__pitch(v) * bytes,
                        .table = a->paging.table,
                        .page_tokens = a->paging.page_tokens,
                        .n_k = k.dim[k.n_dim - 1],
                        .n_v = v.dim[v.n_dim - 1],
                        .dtype = k.dtype};
    kv.k_row = paged ? n_head * kv.n_k * bytes : kv.k_page;
    kv.v_row = paged ? n_head * kv.n_v * bytes : kv.v_page;
    kv.shared = kv.k == kv.v && kv.k_row == kv.v_row && kv.k_page == kv.v_page && kv.n_v <= kv.n_k &&
                (n_head == 1 || kv.n_k == kv.n_v);
    return kv;
}

struct kl__attention kl__attention_of(const kl_attention_args *a)
{
    struct kl__kv kv = kv_of(a);
    int64_t bytes = (int64_t)kl_dtype_bytes(kv.dtype);
    return (struct kl__attention){
        .o = a->o,
        .lse = a->lse,
        .q = a->q,
        .kv = kv,
        .k_head = kv.n_k * bytes,
        .v_head = kv.n_v * bytes,
        .n_head_k = a->k.dim[a->k.n_dim - 2],
        .cu_q = a->cu_q,
        .cu_k = a->cu_k,
        .n_query = a->q.dim[0],
        .n_key = a->paging.table ? a->q.dim[0] : a->k.dim[0],
        .pages_per_seq = a->paging.pages_per_seq,
        .tables = a->paging.tables,
        .scale = a->scale != 0 ? a->scale : 1 / sqrtf((float)kv.n_k),
        .causal = a->causal,
        .end_seq = a->cu_q ? a->n_seq : 1,
        .end_token = a->q.dim[0],
    };
}

kl_status kl__cpu_attention(const kl_backend *be, const kl_attention_args *args, kl_error *err)
{
    (void)err;
    struct kl__attention a = kl__attention_of(args);
    kl__attention_run(be, &a, args->work);
    return KL_OK;
}

size_t kl__cpu_attention_workspace(const kl_backend *be, const kl_attention_args *args)
{
    struct kl__attention a = kl__attention_of(args);
    return kl__attention_run_workspace(be, &a);
}

/* ------------------------------------------------------------------------------------------------------ backward -- */

struct backward {
    const struct kl__kernels *k;
    const kl_attention_bwd_args *args;
    struct kl__attention a;
    float *delta;        /* [T][H] */
    int64_t *first_task; /* [n_seq + 1] of the round that runs */
    char *scratch;       /* of thread 0 */
    size_t thread_bytes;
};

static size_t bytes_of_scratch(const struct kl__attention *a)
{
    struct kl__carver c = {0};
    kl__flash_bwd_carve(&(struct kl__flash_bwd_scratch){0}, &c, a->kv.n_k, a->kv.n_v);
    return c.bytes;
}

static void carve(struct kl__carver *c, const kl_backend *be, struct backward *b)
{
    b->thread_bytes = bytes_of_scratch(&b->a);
    b->delta = kl__carve(c, (size_t)b->a.q.dim[0] * (size_t)b->a.q.dim[1], sizeof(float));
    b->first_task = kl__carve(c, (size_t)b->a.end_seq + 1, sizeof *b->first_task);
    b->scratch = kl__carve(c, (size_t)kl_pool_threads(be->pool), b->thread_bytes);
}

static struct kl__flash_bwd_scratch scratch_of(const struct backward *b, int thread)
{
    struct kl__carver c = {.base = b->scratch + (size_t)thread * b->thread_bytes};
    struct kl__flash_bwd_scratch x;
    kl__flash_bwd_carve(&x, &c, b->a.kv.n_k, b->a.kv.n_v);
    return x;
}

static kl_tensor delta_of(const struct backward *b)
{
    return kl_view2(b->delta, KL_F32, b->a.q.dim[0], b->a.q.dim[1]);
}

static void delta_task(void *arg, int64_t task, int thread)
{
    const struct backward *b = arg;
    struct kl__flash_bwd_scratch x = scratch_of(b, thread);
    int64_t first = task * TOKENS_PER_TASK, n = b->a.q.dim[0];
    int64_t end = first + TOKENS_PER_TASK < n ? first + TOKENS_PER_TASK : n;
    kl__flash_delta(b->k, &x, delta_of(b), b->args->fwd.o, b->args->d_o, first, end);
}

/* The task-th block of a round: of positions or of query rows, `block` is its number in sequence and key head. */
struct place {
    int64_t head, block;
    int64_t key; /* row of the packed cache where the sequence begins */
    struct kl__flash_bwd f;
};

static struct place locate(const struct backward *b, int64_t task)
{
    const struct kl__attention *a = &b->a;
    const int64_t *cu_k = a->cu_k ? a->cu_k : a->cu_q;
    int64_t n = kl__owner(b->first_task, a->end_seq, task), rest = task - b->first_task[n];
    int64_t n_block = (b->first_task[n + 1] - b->first_task[n]) / a->n_head_k, head = rest / n_block;
    struct kl__flash_seq seq = kl__attention_seq(a, n);
    return (struct place){.head = head,
                          .block = rest % n_block,
                          .key = cu_k ? cu_k[n] : 0,
                          .f = {.k = b->k,
                                .kv = kl__attention_kv(a, n, head),
                                .seq = seq,
                                .q = a->q,
                                .d_o = b->args->d_o,
                                .lse = b->args->fwd.lse,
                                .delta = delta_of(b),
                                .token = a->cu_q ? a->cu_q[n] : 0,
                                .head = head * seq.group,
                                .scale = a->scale}};
}

static float *head_of(kl_tensor x, int64_t row, int64_t head)
{
    return kl__present(x) ? kl__head_row(x, row, head) : NULL;
}

static void keys_task(void *arg, int64_t task, int thread)
{
    const struct backward *b = arg;
    kl_tensor d_k = b->args->d_k, d_v = b->args->d_v;
    struct kl__flash_bwd_scratch x = scratch_of(b, thread);
    struct place p = locate(b, task);
    int64_t first = p.block * KL__ATTENTION_BLOCK, n = p.f.seq.n_key - first;
    kl__flash_bwd_keys(&p.f, &x, head_of(d_k, p.key + first, p.head), kl__pitch(d_k),
                       head_of(d_v, p.key + first, p.head), kl__pitch(d_v), first,
                       n < KL__ATTENTION_BLOCK ? n : KL__ATTENTION_BLOCK, 0, p.f.seq.n_query * p.f.seq.group,
                       (struct kl__flash_kept){0});
}

static void queries_task(void *arg, int64_t task, int thread)
{
    const struct backward *b = arg;
    struct kl__flash_bwd_scratch x = scratch_of(b, thread);
    struct place p = locate(b, task);
    int64_t first = p.block * KL__FLASH_ROWS, n = p.f.seq.n_query * p.f.seq.group - first;
    kl__flash_bwd_queries(&p.f, &x, b->args->d_q, false, first, n < KL__FLASH_ROWS ? n : KL__FLASH_ROWS, 0,
                          p.f.seq.n_key, (struct kl__flash_kept){0});
}

static int64_t n_key_blocks(const struct kl__flash_seq *s)
{
    return s->n_key / KL__ATTENTION_BLOCK + (s->n_key % KL__ATTENTION_BLOCK != 0);
}

static int64_t n_query_blocks(const struct kl__flash_seq *s)
{
    int64_t n_row = s->n_query * s->group;
    return n_row / KL__FLASH_ROWS + (n_row % KL__FLASH_ROWS != 0);
}

static void run_round(const kl_backend *be, struct backward *b, int64_t (*n_block)(const struct kl__flash_seq *),
                      kl__task_fn *fn)
{
    int64_t sum = 0;
    for (int64_t n = 0; n < b->a.end_seq; n++) {
        struct kl__flash_seq s = kl__attention_seq(&b->a, n);
        b->first_task[n] = sum;
        sum += b->a.n_head_k * n_block(&s);
    }
    b->first_task[b->a.end_seq] = sum;
    kl__pool_run(be->pool, sum, fn, b);
}

kl_status kl__cpu_attention_bwd(const kl_backend *be, const kl_attention_bwd_args *args, kl_error *err)
{
    (void)err;
    struct backward b = {.k = kl__cpu_kernels(be), .args = args, .a = kl__attention_of(&args->fwd)};
    struct kl__carver c = kl__carver(args->work);
    carve(&c, be, &b);
    kl__pool_run(be->pool, (b.a.q.dim[0] + TOKENS_PER_TASK - 1) / TOKENS_PER_TASK, delta_task, &b);
    if (kl__present(args->d_k) || kl__present(args->d_v))
        run_round(be, &b, n_key_blocks, keys_task);
    if (kl__present(args->d_q))
        run_round(be, &b, n_query_blocks, queries_task);
    return KL_OK;
}

size_t kl__cpu_attention_bwd_workspace(const kl_backend *be, const kl_attention_bwd_args *args)
{
    struct backward b = {.a = kl__attention_of(&args->fwd)};
    struct kl__carver c = {0};
    carve(&c, be, &b);
    return kl__carver_need(&c);
}
