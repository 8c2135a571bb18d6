/* A sample runs its loop on all threads of a pool at once.  Each thread waits for the others before it starts, so that
 * they really share the memory and the power budget; the time is that of the slowest. */
#include "ceiling.h"

#include "base/cpu.h"
#include "base/pool.h"

#include <math.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

const char *const ka_level_name[KA_LEVELS] = {"l1", "l2", "l3", "dram"};

static bool has_dot_bf16(void)
{
#if defined(__x86_64__)
    /* kl__cpu_features() names it only where it is faster than f32; here it is measured in order to know. */
    return (kl__cpu_features() & KL_CPU_AVX512) && __builtin_cpu_supports("avx512bf16");
#else
    return false;
#endif
}

bool ka_ceiling_exists(enum ka_limit limit, const char *isa)
{
    bool wide = strcmp(isa, "avx512") == 0;
    return limit == KA_DOT_BF16  ? wide && has_dot_bf16()
           : limit == KA_FMA_F16 ? wide && (kl__cpu_features() & KL_CPU_AVX512FP16)
                                 : true;
}

static const struct ka_loops *loops_of(const char *isa)
{
#if defined(__x86_64__)
    if (strcmp(isa, "avx512") == 0)
        return &ka_loops_avx512;
    if (strcmp(isa, "avx2") == 0)
        return &ka_loops_avx2;
#else
    (void)isa;
#endif
    return &ka_loops_ref;
}

enum { MOST_THREADS = 1024 }; /* as a pool has them at most */

struct job {
    const struct ka_ceiling *ceiling;
    char *memory;
    int threads;
    int64_t n;
    atomic_int arrived;
    double flops[MOST_THREADS], seconds[MOST_THREADS];
};

static double run_loop(const struct ka_ceiling *c, char *memory, size_t bytes, int64_t n)
{
    float sink[3] = {0.999f, 0.001f, 0};
    switch (c->limit) {
    case KA_FMA_F32:
        return loops_of(c->isa)->fma_f32(n, sink);
    case KA_READ:
        loops_of(c->isa)->read_bytes(memory, bytes, n, sink);
        return (double)bytes * (double)n;
    case KA_UPDATE:
        sink[0] = 1;
        loops_of(c->isa)->update_bytes(memory, bytes, n, sink);
        return 2 * (double)bytes * (double)n;
#if defined(__x86_64__)
    case KA_DOT_BF16:
        return ka_dot_bf16_avx512bf16(n, sink);
    case KA_FMA_F16:
        return ka_fma_f16_avx512fp16(n, sink);
#endif
    default:
        return 0;
    }
}

static void run_part(void *arg, int64_t task, int thread)
{
    (void)thread;
    struct job *j = arg;
    size_t part = j->ceiling->bytes / (size_t)j->threads / 4096 * 4096;
    atomic_fetch_add(&j->arrived, 1);
    while (atomic_load(&j->arrived) < j->threads)
        sched_yield(); /* there may be more threads than cores */
    double before = ka_seconds();
    j->flops[task] = run_loop(j->ceiling, j->memory + (size_t)task * part, part, j->n);
    j->seconds[task] = ka_seconds() - before;
}

/* Operations or bytes per second of one run of n rounds; *seconds what it took. */
static double run_all(const struct ka_ceiling *c, void *memory, int64_t n, double *seconds)
{
    struct job j = {.ceiling = c, .memory = memory, .threads = kl_pool_threads(c->pool), .n = n};
    kl__pool_run(c->pool, j.threads, run_part, &j);
    double sum = 0;
    *seconds = 0;
    for (int i = 0; i < j.threads; i++) {
        sum += j.flops[i];
        *seconds = fmax(*seconds, j.seconds[i]);
    }
    return sum / *seconds;
}

void ka_ceiling_sample(struct ka_ceiling *c, void *memory, double wanted)
{
    double seconds, rate;
    if (c->n == 0) {
        run_all(c, memory, 1, &seconds); /* wakes the threads, touches the memory */
        for (c->n = 1;; c->n *= 4) {
            run_all(c, memory, c->n, &seconds);
            if (seconds > wanted / 8)
                break;
        }
        c->n = (int64_t)fmax(1, (double)c->n * wanted / seconds);
    } else if (c->bytes < KA_NO_CACHE)
        run_all(c, memory, 1, &seconds); /* brings the memory back into its cache */
    rate = run_all(c, memory, c->n, &seconds);
    if (c->n_sample < KA_SAMPLES)
        c->sample[c->n_sample++] = 1e-9 * rate;
}

enum ka_level ka_level_of(const struct ka_machine *m, size_t bytes, int threads)
{
    size_t each = bytes / (size_t)threads;
    return each <= m->l1_bytes ? KA_L1 : each <= m->l2_bytes ? KA_L2 : bytes <= m->l3_bytes / 2 ? KA_L3 : KA_DRAM;
}

size_t ka_level_bytes(const struct ka_machine *m, enum ka_level level, int threads)
{
    size_t all_l2 = (m->l2_bytes ? m->l2_bytes : (size_t)1 << 20) * (size_t)threads, bytes = 0;
    switch (level) {
    case KA_L1:
        bytes = (m->l1_bytes ? m->l1_bytes : (size_t)32 << 10) / 2 * (size_t)threads;
        break;
    case KA_L2:
        bytes = all_l2 / 2;
        break;
    case KA_L3:
        bytes = m->l3_bytes / 4 > 2 * all_l2 && m->l3_bytes / 4 < m->dram_bytes ? m->l3_bytes / 4 : 0;
        break;
    default:
        bytes = m->dram_bytes;
    }
    return bytes;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double ka_median(double *x, int n)
{
    if (n == 0)
        return NAN;
    qsort(x, (size_t)n, sizeof *x, ascending);
    return 0.5 * (x[(n - 1) / 2] + x[n / 2]);
}
