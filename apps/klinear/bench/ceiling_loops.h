/* The loops that find a machine's limits, on the compiler's vector extension: one body for every instruction set.
 * A file ceiling_<isa>.c sets KA_ISA, KA_LANES (floats in a vector) and KA_SUMS (independent sums: at least latency
 * times units, fewer than registers, at most 16, for compilers unroll no more), includes this, and is compiled with
 * that set's flags. */
#include "ceiling.h"

#define KA_PASTE2(name, isa) ka_##name##_##isa
#define KA_PASTE(name, isa) KA_PASTE2(name, isa)
#define KA_VARIANT(name) KA_PASTE(name, KA_ISA)

typedef float vf __attribute__((vector_size(4 * KA_LANES)));
typedef int32_t vi __attribute__((vector_size(4 * KA_LANES), may_alias));

/* a b + c in KA_SUMS chains that do not wait for each other. */
static double fma_f32(int64_t n, float *sink)
{
    vf sum[KA_SUMS], a = (vf){0} + sink[0], b = (vf){0} + sink[1];
    for (int s = 0; s < KA_SUMS; s++)
        sum[s] = b + (float)s;
    for (int64_t i = 0; i < n; i++)
        for (int s = 0; s < KA_SUMS; s++)
            sum[s] = sum[s] * a + b;
    for (int s = 0; s < KA_SUMS; s++)
        for (int lane = 0; lane < KA_LANES; lane++)
            sink[2] += sum[s][lane];
    return 2.0 * KA_LANES * KA_SUMS * (double)n;
}

/* Loads every vector, `passes` times. */
static void read_bytes(const void *memory, size_t bytes, int64_t passes, float *sink)
{
    enum { AT_ONCE = 8 };
    vi sum[AT_ONCE] = {{0}};
    for (int64_t pass = 0; pass < passes; pass++) {
        const vi *x = memory;
        for (size_t i = 0; i + AT_ONCE <= bytes / sizeof *x; i += AT_ONCE)
            for (int s = 0; s < AT_ONCE; s++)
                sum[s] |= x[i + (size_t)s];
        __asm__ volatile("" ::: "memory"); /* the next pass reads anew */
    }
    for (int s = 0; s < AT_ONCE; s++)
        for (int lane = 0; lane < KA_LANES; lane++)
            sink[2] += (float)sum[s][lane];
}

/* Loads every vector, changes it, stores it: what a recurrent state goes through in a decode step. */
static void update_bytes(void *memory, size_t bytes, int64_t passes, const float *sink)
{
    enum { AT_ONCE = 4 };
    vf factor = (vf){0} + sink[0];
    for (int64_t pass = 0; pass < passes; pass++) {
        vf *x = memory;
        for (size_t i = 0; i + AT_ONCE <= bytes / sizeof *x; i += AT_ONCE)
            for (size_t s = 0; s < AT_ONCE; s++)
                x[i + s] *= factor;
        __asm__ volatile("" ::: "memory");
    }
}

const struct ka_loops KA_VARIANT(loops) = {
    .fma_f32 = fma_f32,
    .read_bytes = read_bytes,
    .update_bytes = update_bytes,
};
