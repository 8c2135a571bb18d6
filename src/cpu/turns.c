#include "cpu/turns.h"

#include "cpu/slabs.h"
#include "ops/recurrence.h"

static int64_t tasks_per_sequence(const struct kl__turn_plan *p)
{
    return (p->n_head + p->heads_per_task - 1) / p->heads_per_task;
}

struct kl__turn_plan kl__turn_plan(int64_t n_seq, const int64_t *cu_seqlens, int64_t T, int64_t n_head, int64_t V,
                                   int chunk, int n_thread)
{
    struct kl__turn_plan p = {.n_seq = n_seq, .n_head = n_head, .T = T, .V = V, .cu_seqlens = cu_seqlens};
    p.chunk = chunk;
    p.heads_per_task = kl__heads_per_task(n_seq, n_head, n_thread);
    p.split = kl__split_columns(n_seq * tasks_per_sequence(&p), n_thread, kl__n_slab(V));
    return p;
}

int64_t kl__turn_tasks(const struct kl__turn_plan *p)
{
    return p->n_seq * tasks_per_sequence(p) * p->split.n_group;
}

struct kl__turns kl__turns_of(const struct kl__turn_plan *p, int64_t task)
{
    int64_t unit = task / p->split.n_group, per_seq = tasks_per_sequence(p);
    struct kl__turns k = {.seq = unit / per_seq, .first_head = unit % per_seq * p->heads_per_task, .chunk = p->chunk};
    int64_t heads_left = p->n_head - k.first_head;
    k.n_head = heads_left < p->heads_per_task ? (int)heads_left : p->heads_per_task;
    k.start = kl__seq_start(p->cu_seqlens, k.seq, p->T);
    k.end = kl__seq_start(p->cu_seqlens, k.seq + 1, p->T);
    k.group = (int)(task % p->split.n_group);
    k.c = kl__columns_of(p->split, k.group, p->V);
    return k;
}
