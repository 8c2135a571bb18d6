/* One job at a time.  A job is published by advancing `epoch`; workers that are awake see it by spinning, sleepers are
 * woken through the condition variable.  Tasks are claimed from one counter.  The caller works too, then waits until
 * every worker has left the job, so that the job's memory can be reused. */
#include "base/pool.h"

#include "base/cpu.h"
#include "base/error.h"
#include "base/memory.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
static unsigned enter_flush_mode(void)
{
    unsigned before = _mm_getcsr();
    _mm_setcsr(before | 0x8040); /* flush to zero, denormals are zero */
    return before;
}
static void leave_flush_mode(unsigned before)
{
    _mm_setcsr(before);
}
static void relax(void)
{
    _mm_pause();
}
#elif defined(__aarch64__)
static unsigned enter_flush_mode(void)
{
    uint64_t before;
    __asm__ volatile("mrs %0, fpcr" : "=r"(before));
    __asm__ volatile("msr fpcr, %0" : : "r"(before | 1u << 24));
    return (unsigned)before;
}
static void leave_flush_mode(unsigned before)
{
    __asm__ volatile("msr fpcr, %0" : : "r"((uint64_t)before));
}
static void relax(void)
{
    __asm__ volatile("yield");
}
#else
static unsigned enter_flush_mode(void)
{
    return 0;
}
static void leave_flush_mode(unsigned before)
{
    (void)before;
}
static void relax(void)
{
}
#endif

enum { MAX_THREADS = 1024, SPINS_BEFORE_SLEEP = 4000 }; /* about 50 us of spinning: longer than the gap between two
                                                           operators of a decode step, shorter than anyone notices */

/* A property of the thread that runs jobs, as its floating-point mode is: jobs of several callers share a pool. */
static _Thread_local struct kl__stop *stop_of_caller;

struct worker {
    kl_pool *pool;
    int thread;
    pthread_t handle;
};

struct kl_pool {
    const kl_allocator *alloc;
    kl_allocator alloc_copy;
    int n_thread;
    pthread_mutex_t turn; /* held for the length of a job: callers take turns */

    pthread_mutex_t lock; /* guards sleeping and waking only */
    pthread_cond_t wake;
    atomic_uint epoch; /* advances with every job */
    atomic_int leaving; /* 1: workers exit */

    kl__task_fn *fn;
    void *arg;
    struct kl__stop *stop; /* NULL: every task is run */
    int64_t n_task;
    atomic_int_fast64_t next_task;
    atomic_int n_busy; /* workers still inside the current job */

    struct worker worker[];
};

bool kl__stopped(struct kl__stop *stop)
{
    if (!stop || !stop->fn)
        return false;
    if (!atomic_load_explicit(&stop->stopped, memory_order_relaxed) && stop->fn(stop->user))
        atomic_store_explicit(&stop->stopped, true, memory_order_relaxed);
    return atomic_load_explicit(&stop->stopped, memory_order_relaxed);
}

void kl__pool_stop_when(struct kl__stop *stop)
{
    stop_of_caller = stop;
}

static void work_off(kl_pool *p, int thread)
{
    for (;;) {
        int64_t task = atomic_fetch_add_explicit(&p->next_task, 1, memory_order_relaxed);
        if (task >= p->n_task || kl__stopped(p->stop))
            return;
        p->fn(p->arg, task, thread);
    }
}

static unsigned await_epoch_after(kl_pool *p, unsigned seen)
{
    for (int i = 0; i < SPINS_BEFORE_SLEEP; i++) {
        unsigned epoch = atomic_load_explicit(&p->epoch, memory_order_acquire);
        if (epoch != seen)
            return epoch;
        relax();
    }
    pthread_mutex_lock(&p->lock);
    unsigned epoch;
    while ((epoch = atomic_load_explicit(&p->epoch, memory_order_acquire)) == seen)
        pthread_cond_wait(&p->wake, &p->lock);
    pthread_mutex_unlock(&p->lock);
    return epoch;
}

static void *worker_main(void *arg)
{
    struct worker *w = arg;
    kl_pool *p = w->pool;
    enter_flush_mode();
    for (unsigned seen = 0;;) {
        seen = await_epoch_after(p, seen);
        if (atomic_load_explicit(&p->leaving, memory_order_acquire))
            return NULL;
        work_off(p, w->thread);
        atomic_fetch_sub_explicit(&p->n_busy, 1, memory_order_release);
    }
}

static void publish(kl_pool *p)
{
    pthread_mutex_lock(&p->lock);
    atomic_fetch_add_explicit(&p->epoch, 1, memory_order_release);
    pthread_cond_broadcast(&p->wake);
    pthread_mutex_unlock(&p->lock);
}

/* The last tasks of others are nearly done, unless a worker waits for a core: the caller must not keep it. */
static void await_workers(kl_pool *p)
{
    for (int i = 0; atomic_load_explicit(&p->n_busy, memory_order_acquire) > 0; i++)
        if (i < SPINS_BEFORE_SLEEP)
            relax();
        else
            sched_yield();
}

void kl__pool_run(kl_pool *p, int64_t n_task, kl__task_fn *fn, void *arg)
{
    if (n_task <= 0)
        return;
    unsigned mode = enter_flush_mode();
    if (!p || p->n_thread == 1 || n_task == 1) {
        for (int64_t task = 0; task < n_task && !kl__stopped(stop_of_caller); task++)
            fn(arg, task, 0);
        leave_flush_mode(mode);
        return;
    }
    pthread_mutex_lock(&p->turn);
    p->fn = fn;
    p->arg = arg;
    p->stop = stop_of_caller;
    p->n_task = n_task;
    atomic_store_explicit(&p->next_task, 0, memory_order_relaxed);
    atomic_store_explicit(&p->n_busy, p->n_thread - 1, memory_order_relaxed);
    publish(p);
    work_off(p, 0);
    await_workers(p);
    pthread_mutex_unlock(&p->turn);
    leave_flush_mode(mode);
}

static void stop_workers(kl_pool *p, int n_started)
{
    atomic_store_explicit(&p->leaving, 1, memory_order_release);
    publish(p);
    for (int i = 0; i < n_started; i++)
        pthread_join(p->worker[i].handle, NULL);
}

static void release_pool(kl_pool *p)
{
    pthread_cond_destroy(&p->wake);
    pthread_mutex_destroy(&p->lock);
    pthread_mutex_destroy(&p->turn);
    kl_allocator alloc = p->alloc_copy;
    kl__release(p->alloc ? &alloc : NULL, p);
}

kl_status kl_pool_open(kl_pool **pool, int n_thread, const kl_allocator *alloc, kl_error *err)
{
    if (!pool)
        return kl__fail(err, KL_ERR_ARGUMENT, "pool is NULL, expected a place for the handle");
    if (n_thread < 0 || n_thread > MAX_THREADS)
        return kl__fail(err, KL_ERR_ARGUMENT, "n_thread is %d, expected 0 .. %d", n_thread, MAX_THREADS);
    if (n_thread == 0)
        n_thread = kl__cpu_cores();
    kl_pool *p = kl__alloc(alloc, sizeof *p + (size_t)(n_thread - 1) * sizeof *p->worker);
    if (!p)
        return kl__fail(err, KL_ERR_MEMORY, "no memory for a pool of %d threads", n_thread);
    if (alloc)
        p->alloc_copy = *alloc;
    p->alloc = alloc ? &p->alloc_copy : NULL;
    p->n_thread = n_thread;
    pthread_mutex_init(&p->turn, NULL);
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->wake, NULL);
    for (int i = 0; i < n_thread - 1; i++) {
        p->worker[i] = (struct worker){.pool = p, .thread = i + 1};
        int code = pthread_create(&p->worker[i].handle, NULL, worker_main, &p->worker[i]);
        if (code != 0) {
            stop_workers(p, i);
            release_pool(p);
            return kl__fail(err, KL_ERR_IO, "thread %d of %d could not be started: %s", i + 2, n_thread,
                            strerror(code));
        }
    }
    *pool = p;
    return KL_OK;
}

void kl_pool_close(kl_pool *pool)
{
    if (!pool)
        return;
    stop_workers(pool, pool->n_thread - 1);
    release_pool(pool);
}

int kl_pool_threads(const kl_pool *pool)
{
    return pool ? pool->n_thread : 1;
}
