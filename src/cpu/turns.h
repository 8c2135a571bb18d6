/** Forward tasks of recurrences by chunks: a few neighbouring heads of one sequence, or a run of the value columns of
 *  one head.  Heads take turns chunk by chunk because rows of a head lie far apart: a memory page holds the rows of
 *  several heads, and going through a long sequence head by head would meet each page anew, once a head. */
#ifndef KL_CPU_TURNS_H
#define KL_CPU_TURNS_H

#include "cpu/columns.h"

/** How the heads of a call are dealt out. */
struct kl__turn_plan {
    int64_t n_seq, n_head, T, V;
    const int64_t *cu_seqlens;
    int chunk; /* tokens */
    int heads_per_task;
    struct kl__column_split split;
};
/** For all heads of `n_seq` sequences with T tokens together, and V value columns a head. */
struct kl__turn_plan kl__turn_plan(int64_t n_seq, const int64_t *cu_seqlens, int64_t T, int64_t n_head, int64_t V,
                                   int chunk, int n_thread);
int64_t kl__turn_tasks(const struct kl__turn_plan *p);

/** What a task works on. */
struct kl__turns {
    int64_t seq, first_head;
    int n_head;
    int64_t start, end; /* tokens of the sequence */
    int chunk;
    int group; /* of columns */
    struct kl__columns c;
};
struct kl__turns kl__turns_of(const struct kl__turn_plan *p, int64_t task);

/** A chunk of a task, in the order of work. */
struct kl__place {
    int64_t t;
    int head; /* of the task */
};

static inline struct kl__place kl__next_place(const struct kl__turns *k, struct kl__place p)
{
    return p.head + 1 < k->n_head ? (struct kl__place){p.t, p.head + 1} : (struct kl__place){p.t + k->chunk, 0};
}

static inline int kl__tokens_at(const struct kl__turns *k, struct kl__place p)
{
    return (int)(k->end - p.t < k->chunk ? k->end - p.t : k->chunk);
}

#endif
