/** Threads that share the tasks of one operator. */
#ifndef KL_BASE_POOL_H
#define KL_BASE_POOL_H

#include "klinear/kl/base.h"

#include <stdatomic.h>

/** `task` counts what is to be done, `thread` says who does it (0 .. threads-1): scratch memory belongs to a thread,
 *  results to a task. */
typedef void kl__task_fn(void *arg, int64_t task, int thread);

/** Runs fn(arg, 0 .. n_task-1), each once, on the threads of `pool` (NULL: on the caller), and returns when all are
 *  done.  Which thread takes which task is not fixed; so no result may depend on it.  Subnormal numbers count as zero
 *  inside tasks; the caller's floating-point mode is put back.  Must not be called from inside a task. */
void kl__pool_run(kl_pool *pool, int64_t n_task, kl__task_fn *fn, void *arg);

/** Who may end jobs early.  `fn` is asked before every task, by any thread of the pool, so it has to be quick; once it
 *  has said true, `stopped` stays set and tasks are skipped. */
struct kl__stop {
    bool (*fn)(void *user);
    void *user;
    atomic_bool stopped;
};

/** From now on jobs that the calling thread runs ask `stop` (borrowed); NULL: nobody.  What skipped tasks should have
 *  written is left as it was: who sets this looks at `stopped` before using any result.   [T: engine/engine_stop] */
void kl__pool_stop_when(struct kl__stop *stop);
/** Asks. */
bool kl__stopped(struct kl__stop *stop);

#endif
