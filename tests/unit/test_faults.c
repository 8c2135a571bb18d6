/* What opens handles meets a machine that refuses: each allocation in turn, each thread in turn.  Every refusal is a
 * status and a sentence, leaves the caller's handle alone, and gives back all that was taken. */
#define _GNU_SOURCE
#include "support/kt.h"

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* -------------------------------------------------------------------------- an allocator that refuses and counts -- */

enum { MAX_BLOCK = 64 };

struct ledger {
    int fail_at; /* which allocation fails, from 1; 0: none */
    int n_call, n_live;
    void *live[MAX_BLOCK];
};

static void *take(void *user, size_t bytes)
{
    struct ledger *l = user;
    if (++l->n_call == l->fail_at)
        return NULL;
    assert_true(l->n_live < MAX_BLOCK);
    void *memory = aligned_alloc(64, bytes);
    assert_non_null(memory);
    memset(memory, 0xa5, bytes); /* nothing may count on zeros */
    return l->live[l->n_live++] = memory;
}

static void give_back(void *user, void *memory)
{
    struct ledger *l = user;
    for (int i = 0; i < l->n_live; i++)
        if (l->live[i] == memory) {
            l->live[i] = l->live[--l->n_live];
            free(memory);
            return;
        }
    fail_msg("released what was never taken, or twice");
}

static kl_allocator allocator_on(struct ledger *l)
{
    return (kl_allocator){.alloc = take, .release = give_back, .user = l};
}

/* ------------------------------------------------------------------------------------- threads that do not start -- */

static int threads_until_refusal = -1; /* -1: all start */

/* Stands before the C library's in the search for the symbol. */
int pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*start)(void *), void *arg)
{
    typedef int create_fn(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
    static create_fn *real;
    if (!real) {
        void *symbol = dlsym(RTLD_NEXT, "pthread_create");
        memcpy(&real, &symbol, sizeof real);
    }
    if (threads_until_refusal == 0)
        return EAGAIN;
    if (threads_until_refusal > 0)
        threads_until_refusal--;
    return real(thread, attr, start, arg);
}

/* --------------------------------------------------------------------------------------------------------- cases -- */

static void *const untouched = (void *)0x5a5a5a40;

static void each_allocation_of_a_pool(void **state)
{
    (void)state;
    for (int n_thread = 1; n_thread <= 4; n_thread++)
        for (int fail_at = 1;; fail_at++) {
            struct ledger l = {.fail_at = fail_at};
            kl_allocator alloc = allocator_on(&l);
            kl_pool *pool = untouched;
            kl_error err = {0};
            kl_status status = kl_pool_open(&pool, n_thread, &alloc, &err);
            if (status == KL_OK) {
                assert_true(l.n_call < fail_at && l.n_call > 0);
                alloc = (kl_allocator){0}; /* the pool has kept a copy */
                assert_int_equal(kl_pool_threads(pool), n_thread);
                kl_pool_close(pool);
                assert_int_equal(l.n_live, 0);
                break;
            }
            kt_assert_failed(status, KL_ERR_MEMORY, &err, (const char *const[]){"no memory", "pool"}, 2);
            assert_int_equal(err.status, status);
            assert_ptr_equal(pool, untouched);
            assert_int_equal(l.n_live, 0);
            l.n_call = 0;
            assert_int_equal(kl_pool_open(&pool, n_thread, &alloc, NULL), status); /* no place for the sentence */
        }
}

static void each_thread_of_a_pool(void **state)
{
    (void)state;
    enum { N_THREAD = 5 };
    for (int n_start = 0; n_start < N_THREAD - 1; n_start++) {
        struct ledger l = {0};
        kl_allocator alloc = allocator_on(&l);
        kl_pool *pool = untouched;
        kl_error err = {0};
        threads_until_refusal = n_start;
        kl_status status = kl_pool_open(&pool, N_THREAD, &alloc, &err);
        threads_until_refusal = -1;
        char which[32];
        snprintf(which, sizeof which, "thread %d of %d", n_start + 2, N_THREAD);
        kt_assert_failed(status, KL_ERR_IO, &err, (const char *const[]){which, strerror(EAGAIN)}, 2);
        assert_ptr_equal(pool, untouched);
        assert_int_equal(l.n_live, 0);
    }
}

static void each_allocation_of_a_backend(void **state)
{
    (void)state;
    for (int i = 0; kt_level(i); i++)
        for (int fail_at = 1;; fail_at++) {
            struct ledger l = {.fail_at = fail_at};
            kl_allocator alloc = allocator_on(&l);
            kl_backend *be = untouched;
            kl_error err = {0};
            kl_backend_options options = {.isa = kt_level(i), .alloc = &alloc};
            kl_status status = kl_backend_open(&be, &options, &err);
            if (status == KL_OK) {
                assert_true(fail_at > 2); /* the handle and the backend's own part */
                alloc = (kl_allocator){0};
                assert_string_equal(kl_backend_isa(be), kt_level(i));
                kl_backend_close(be);
                assert_int_equal(l.n_live, 0);
                break;
            }
            kt_assert_failed(status, KL_ERR_MEMORY, &err, (const char *const[]){"no memory"}, 1);
            assert_ptr_equal(be, untouched);
            assert_int_equal(l.n_live, 0);
        }
}

/* A refusal after the first allocation gives that back as well. */
static void a_backend_that_cannot_be(void **state)
{
    (void)state;
    struct ledger l = {0};
    kl_allocator alloc = allocator_on(&l);
    kl_backend *be = untouched;
    kl_error err;
    kl_backend_options no_isa = {.isa = "sse9", .alloc = &alloc}, no_name = {.name = "abacus", .alloc = &alloc};
    KT_ASSERT_FAILED(kl_backend_open(&be, &no_isa, &err), KL_ERR_ARGUMENT, &err, "isa", "sse9", "expected", "native");
    KT_ASSERT_FAILED(kl_backend_open(&be, &no_name, &err), KL_ERR_ARGUMENT, &err, "name", "abacus", "expected", "cpu");
    KT_ASSERT_FAILED(kl_backend_open(NULL, NULL, &err), KL_ERR_ARGUMENT, &err, "backend is NULL");
    assert_ptr_equal(be, untouched);
    assert_int_equal(l.n_live, 0);
    kl_backend_close(NULL);
}

static void a_pool_that_cannot_be(void **state)
{
    (void)state;
    kl_pool *pool = untouched;
    kl_error err;
    KT_ASSERT_FAILED(kl_pool_open(&pool, -1, NULL, &err), KL_ERR_ARGUMENT, &err, "n_thread is -1", "0 .. 1024");
    KT_ASSERT_FAILED(kl_pool_open(&pool, 1025, NULL, &err), KL_ERR_ARGUMENT, &err, "n_thread is 1025", "0 .. 1024");
    KT_ASSERT_FAILED(kl_pool_open(NULL, 1, NULL, &err), KL_ERR_ARGUMENT, &err, "pool is NULL");
    assert_ptr_equal(pool, untouched);
    kl_pool_close(NULL);
    assert_int_equal(kl_pool_threads(NULL), 1);
}

/* Warm operators go neither to the allocator of the backend nor to that of the pool. */
static void operators_allocate_nothing(void **state)
{
    (void)state;
    enum { T = 40, H = 2, D = 24, N = T * H * D };
    struct ledger l = {0};
    kl_allocator alloc = allocator_on(&l);
    kl_pool *pool = NULL;
    kl_backend *be = NULL;
    KT_OK(kl_pool_open(&pool, 2, &alloc, KT_ERR));
    KT_OK(kl_backend_open(&be, &(kl_backend_options){.pool = pool, .alloc = &alloc}, KT_ERR));
    int n_call = l.n_call;
    kt_rng r = {1};
    float *k = kt_normals(&r, N, 1), *v = kt_normals(&r, N, 1), *o = kt_floats(N), *d_k = kt_floats(N);
    kl_tensor kt = kl_view3(k, KL_F32, T, H, D), vt = kl_view3(v, KL_F32, T, H, D);
    kl_kda_args a = {.o = kl_view3(o, KL_F32, T, H, D), .q = kt, .k = kt, .v = vt, .qk_l2norm = true};
    a.work = kt_work(kl_kda_workspace(be, &a));
    KT_OK(kl_kda(be, &a, KT_ERR));
    kl_kda_bwd_args b = {.fwd = a, .d_o = vt, .d_k = kl_view3(d_k, KL_F32, T, H, D)};
    b.work = kt_work(kl_kda_bwd_workspace(be, &b));
    KT_OK(kl_kda_bwd(be, &b, KT_ERR));
    assert_int_equal(l.n_call, n_call);
    kl_backend_close(be);
    kl_pool_close(pool);
    assert_int_equal(l.n_live, 0);
    kt_free_all();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_allocation_of_a_pool),    cmocka_unit_test(each_thread_of_a_pool),
        cmocka_unit_test(each_allocation_of_a_backend), cmocka_unit_test(a_backend_that_cannot_be),
        cmocka_unit_test(a_pool_that_cannot_be),        cmocka_unit_test(operators_allocate_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
