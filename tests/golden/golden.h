/** Golden vectors: what every operator must give, computed in float64 by tools/make_golden.py from the definitions.
 *  <operator>.klg holds cases, a case holds named arrays; the bytes are described in tools/reference/klg.py. */
#ifndef GOLDEN_H
#define GOLDEN_H

#include "support/kt.h"

typedef struct golden_array {
    char name[33];
    char type; /* 'f' f32, 'd' f64, 'i' i32, 'l' i64 */
    int n_dim; /* 0: a single number, an option */
    int64_t dim[4];
    int64_t n;  /* elements */
    void *data; /* owned by the file; 8-byte aligned */
} golden_array;

enum { GOLDEN_MAX_ARRAYS = 40 };
typedef struct golden_case {
    char name[33];
    int n_array;
    golden_array array[GOLDEN_MAX_ARRAYS];
} golden_case;

typedef struct golden_file {
    int n_case;
    golden_case *item;
} golden_file;

/** Reads tests/golden/<op>.klg whole; fails the test when it is missing or broken.  golden_close frees it. */
golden_file *golden_open(const char *op);
void golden_close(golden_file *file);

/** The array called `name`, or NULL. */
const golden_array *golden_find(const golden_case *c, const char *name);
/** The option called `name`, or `otherwise`. */
double golden_number(const golden_case *c, const char *name, double otherwise);

/** One way to run a case. */
typedef struct golden_run {
    const golden_case *c;
    const kl_backend *be;
    bool half; /* activations are bf16, in and out */
} golden_run;

/** A copy of input `name` between poisoned borders, absent when the case has none.  golden_half may be bf16. */
kl_tensor golden_input(const golden_run *r, const char *name);
kl_tensor golden_half(const golden_run *r, const char *name);
/** Offsets or positions called `name`; NULL when the case has none.  `n` may be NULL: how many there are. */
const int64_t *golden_int64s(const golden_run *r, const char *name, int64_t *n);

/** Room for result `name`: f32 filled with NaN (or i32), absent when the case has none; bf16 with
 *  golden_half_output. */
kl_tensor golden_output(const golden_run *r, const char *name);
kl_tensor golden_half_output(const golden_run *r, const char *name);
/** Room for a gradient that is added to what is there: zeros. */
kl_tensor golden_sum(const golden_run *r, const char *name);

/** Fails unless `got` is `times` the result `name` within `tolerance` (RMS of the difference over RMS of the result).
 *  A bf16 output may be 2^-9 off on top, what rounding to nearest costs on average; an ill-conditioned case says
 *  `tolerance` itself; i32 must be equal.  An absent tensor is not looked at. */
void golden_expect(const golden_run *r, const char *name, kl_tensor got, double times, double tolerance);

/** The same for a float64 array with as many elements as the result; NULL is not looked at. */
void golden_expect64(const golden_run *r, const char *name, const double *got, double tolerance);

/** What every operator has to keep, in f32; README.md says why. */
#define GOLDEN_FORWARD 2e-6
#define GOLDEN_BACKWARD 5e-6

/** Runs one case of an operator, forward and backward: run_<op>.c.  Rows of ops.def ask for theirs by name. */
typedef void golden_runner(const golden_run *r);
golden_runner golden_kda, golden_dplr, golden_attention, golden_mla, golden_rope, golden_rmsnorm, golden_l2norm,
    golden_short_conv, golden_swiglu, golden_embedding, golden_linear, golden_router, golden_experts,
    golden_cross_entropy;

#endif
