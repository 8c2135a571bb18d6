/** Ceilings: how fast this machine can multiply and add, and read and update memory, found by running loops that do
 *  nothing else.  Measured in the run whose results they are compared with. */
#ifndef KA_CEILING_H
#define KA_CEILING_H

#include "klinear/kl.h"

#include "../cli/machine.h"

/** The loops of one instruction set.  sink[0] and sink[1] are small factors that the compiler must not know, sink[2]
 *  takes the results, so that nothing is thought useless. */
struct ka_loops {
    double (*fma_f32)(int64_t n, float *sink); /* returns the operations done: one a * b + c of a lane is two */
    void (*read_bytes)(const void *memory, size_t bytes, int64_t passes, float *sink);
    void (*update_bytes)(void *memory, size_t bytes, int64_t passes, const float *sink);
};

extern const struct ka_loops ka_loops_ref, ka_loops_avx2, ka_loops_avx512;
double ka_dot_bf16_avx512bf16(int64_t n, float *sink);
double ka_fma_f16_avx512fp16(int64_t n, float *sink);

enum ka_limit {
    KA_FMA_F32,  /* GFLOP/s of f32 multiply-adds */
    KA_DOT_BF16, /* GFLOP/s of products of bf16 added in f32 */
    KA_FMA_F16,  /* GFLOP/s of f16 multiply-adds */
    KA_READ,     /* GB/s of loads */
    KA_UPDATE,   /* GB/s of loads and stores together, every byte read once and written once in place */
};

enum {
    KA_SAMPLES = 101,        /* most samples of one number */
    KA_NO_CACHE = 128 << 20, /* more bytes than that are not brought in before they are timed */
};

/** One limit: what is measured, and what came out. */
struct ka_ceiling {
    enum ka_limit limit;
    const char *isa; /* "ref", "avx2", "avx512" */
    kl_pool *pool;   /* on all threads of the pool at once */
    size_t bytes;    /* KA_READ, KA_UPDATE: of memory gone through, all threads together */
    int n_sample;
    double sample[KA_SAMPLES]; /* GFLOP/s or GB/s */
    int64_t n;                 /* rounds of a sample, found by the first one */
};

/** Whether this machine has what `limit` measures. */
bool ka_ceiling_exists(enum ka_limit limit, const char *isa);

/** Takes one sample of about `seconds`.  `memory` [bytes] is for KA_READ and KA_UPDATE, NULL for the others. */
void ka_ceiling_sample(struct ka_ceiling *c, void *memory, double seconds);

/** Levels of memory, nearest first. */
enum ka_level {
    KA_L1,
    KA_L2,
    KA_L3,
    KA_DRAM,
    KA_LEVELS,
};
extern const char *const ka_level_name[KA_LEVELS];

/** The level that holds `bytes` used by `threads` threads in equal parts. */
enum ka_level ka_level_of(const struct ka_machine *machine, size_t bytes, int threads);
/** Bytes to go through, all threads together, in order to measure a level; 0 when the machine lacks it. */
size_t ka_level_bytes(const struct ka_machine *machine, enum ka_level level, int threads);

/** Median of x[0 .. n-1], which it sorts; NaN for n == 0. */
double ka_median(double *x, int n);

#endif
