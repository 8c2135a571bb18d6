/* The pool: every task once, on threads that really work side by side, for jobs in quick succession and after sleep,
 * and for several callers at once.  What happens when memory or threads are refused is in test_faults.c. */
#define _POSIX_C_SOURCE 200809L
#include "support/kt.h"

#include "base/cpu.h"
#include "base/pool.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MAX_TASK = 1000, MAX_THREAD = 8 };

static kl_pool *open_pool(int n_thread)
{
    kl_pool *pool = NULL;
    KT_OK(kl_pool_open(&pool, n_thread, NULL, KT_ERR));
    assert_int_equal(kl_pool_threads(pool), n_thread);
    return pool;
}

/* What the tasks of a job leave behind.  Assertions are made by the test's own thread, afterwards. */
struct record {
    atomic_int done[MAX_TASK];
    atomic_int inside[MAX_THREAD]; /* tasks that a thread number is at: never two at once */
    atomic_int n_fault;
    int n_thread;
};

static void mark(void *arg, int64_t task, int thread)
{
    struct record *r = arg;
    if (task < 0 || task >= MAX_TASK || thread < 0 || thread >= r->n_thread) {
        r->n_fault++;
        return;
    }
    if (r->inside[thread]++ != 0)
        r->n_fault++;
    r->done[task]++;
    r->inside[thread]--;
}

static void check_job(kl_pool *pool, int n_thread, int64_t n_task)
{
    static struct record r;
    memset(&r, 0, sizeof r);
    r.n_thread = n_thread;
    kl__pool_run(pool, n_task, mark, &r);
    assert_int_equal(r.n_fault, 0);
    for (int64_t i = 0; i < MAX_TASK; i++)
        if (r.done[i] != (i < n_task))
            fail_msg("task %lld of %lld ran %d times", (long long)i, (long long)n_task, r.done[i]);
}

static void every_task_once(void **state)
{
    (void)state;
    static const int64_t n_tasks[] = {-1, 0, 1, 2, 3, 7, 8, 9, 100, MAX_TASK};
    for (int n_thread = 0; n_thread <= MAX_THREAD; n_thread++) {
        kl_pool *pool = n_thread ? open_pool(n_thread) : NULL; /* without a pool: the caller */
        for (size_t i = 0; i < sizeof n_tasks / sizeof *n_tasks; i++)
            check_job(pool, n_thread ? n_thread : 1, n_tasks[i]);
        kl_pool_close(pool);
    }
}

/* Each task waits for all others: the job ends only if every thread of the pool takes one. */
struct meeting {
    atomic_int here;
    int wanted;
};

static void meet(void *arg, int64_t task, int thread)
{
    (void)task;
    (void)thread;
    struct meeting *m = arg;
    m->here++;
    while (m->here < m->wanted)
        nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL);
}

static void threads_work_side_by_side(void **state)
{
    (void)state;
    for (int n_thread = 1; n_thread <= MAX_THREAD; n_thread++) {
        kl_pool *pool = open_pool(n_thread);
        struct meeting m = {.wanted = n_thread};
        kl__pool_run(pool, n_thread, meet, &m);
        assert_int_equal(m.here, n_thread);
        kl_pool_close(pool);
    }
}

static void add_one(void *arg, int64_t task, int thread)
{
    (void)thread;
    ((int *)arg)[task]++; /* no atomics: the pool has to order one job after the other */
}

static void many_jobs(void **state)
{
    (void)state;
    enum { N_JOB = 2000, N_TASK = 5 };
    for (int n_thread = 2; n_thread <= 4; n_thread++) {
        kl_pool *pool = open_pool(n_thread);
        int count[N_TASK] = {0};
        for (int i = 0; i < N_JOB; i++) {
            kl__pool_run(pool, N_TASK, add_one, count);
            if (i % 500 == 0) /* long enough that the threads go to sleep */
                nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
        }
        for (int i = 0; i < N_TASK; i++)
            assert_int_equal(count[i], N_JOB);
        kl_pool_close(pool);
    }
}

struct caller {
    kl_pool *pool;
    int count[7];
};

static void *call_again_and_again(void *arg)
{
    struct caller *c = arg;
    for (int i = 0; i < 300; i++)
        kl__pool_run(c->pool, 7, add_one, c->count);
    return NULL;
}

static void several_callers(void **state)
{
    (void)state;
    enum { N_CALLER = 4 };
    kl_pool *pool = open_pool(3);
    struct caller caller[N_CALLER] = {{0}};
    pthread_t thread[N_CALLER];
    for (int i = 0; i < N_CALLER; i++) {
        caller[i].pool = pool;
        assert_int_equal(pthread_create(&thread[i], NULL, call_again_and_again, &caller[i]), 0);
    }
    for (int i = 0; i < N_CALLER; i++)
        pthread_join(thread[i], NULL);
    for (int i = 0; i < N_CALLER; i++)
        for (int k = 0; k < 7; k++)
            assert_int_equal(caller[i].count[k], 300);
    kl_pool_close(pool);
}

static void open_and_close(void **state)
{
    (void)state;
    for (int i = 0; i < 50; i++) {
        kl_pool *pool = open_pool(1 + i % 5);
        if (i % 2) /* also one that never had a job */
            check_job(pool, 1 + i % 5, 10);
        kl_pool_close(pool);
    }
    kl_pool *pool = NULL;
    KT_OK(kl_pool_open(&pool, 0, NULL, KT_ERR));
    assert_int_equal(kl_pool_threads(pool), kl__cpu_cores());
    kl_pool_close(pool);
    kl_pool_close(NULL);
    assert_int_equal(kl_pool_threads(NULL), 1);
}

#if defined(__x86_64__) || defined(__aarch64__)
static float half_of_least(void)
{
    volatile float least = 1.17549435e-38f; /* the smallest normal number: half of it is a subnormal one */
    return least * 0.5f;
}

static void see_subnormal(void *arg, int64_t task, int thread)
{
    (void)thread;
    ((float *)arg)[task] = half_of_least();
}

static void subnormals_are_zero_inside(void **state)
{
    (void)state;
    for (int n_thread = 1; n_thread <= 3; n_thread++) {
        kl_pool *pool = open_pool(n_thread);
        float seen[20];
        memset(seen, 0xff, sizeof seen);
        kl__pool_run(pool, 20, see_subnormal, seen);
        for (int i = 0; i < 20; i++)
            assert_true(seen[i] == 0);
        assert_true(half_of_least() > 0); /* the caller's mode is put back */
        kl_pool_close(pool);
    }
}
#endif

static void *counted_alloc(void *user, size_t bytes)
{
    ++*(int *)user;
    return aligned_alloc(64, (bytes + 63) / 64 * 64);
}

static void counted_release(void *user, void *memory)
{
    --*(int *)user;
    free(memory);
}

static void memory_comes_from_the_allocator(void **state)
{
    (void)state;
    int n_live = 0;
    kl_allocator alloc = {counted_alloc, counted_release, &n_live};
    kl_pool *pool = NULL;
    KT_OK(kl_pool_open(&pool, 3, &alloc, KT_ERR));
    assert_true(n_live > 0);
    alloc = (kl_allocator){0}; /* the struct is not needed any more */
    check_job(pool, 3, 100);
    kl_pool_close(pool);
    assert_int_equal(n_live, 0);
}

static void refusals(void **state)
{
    (void)state;
    kl_error err;
    kl_pool *pool = (kl_pool *)&err;
    KT_ASSERT_FAILED(kl_pool_open(NULL, 1, NULL, &err), KL_ERR_ARGUMENT, &err, "pool is NULL");
    KT_ASSERT_FAILED(kl_pool_open(&pool, -1, NULL, &err), KL_ERR_ARGUMENT, &err, "n_thread is -1", "1024");
    KT_ASSERT_FAILED(kl_pool_open(&pool, 1025, NULL, &err), KL_ERR_ARGUMENT, &err, "n_thread is 1025");
    assert_int_equal(kl_pool_open(&pool, -1, NULL, NULL), KL_ERR_ARGUMENT);
    assert_ptr_equal(pool, &err);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_task_once),
        cmocka_unit_test(threads_work_side_by_side),
        cmocka_unit_test(many_jobs),
        cmocka_unit_test(several_callers),
        cmocka_unit_test(open_and_close),
#if defined(__x86_64__) || defined(__aarch64__)
        cmocka_unit_test(subnormals_are_zero_inside),
#endif
        cmocka_unit_test(memory_comes_from_the_allocator),
        cmocka_unit_test(refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
