/** The kernel checker: every variant of every leaf loop against plain C, on the same input, in guarded memory.
 *
 *  A slot has one checker, check_<slot>.c with `void check_<slot>(kc *c)`.  It describes calls; the harness makes each
 *  call with plain C and with the variant, compares the outputs, and looks for writes outside of the buffers, for
 *  changed inputs, for faults and for calls that do not return.  It runs the checker once per placement of the buffers
 *  (64-byte aligned, shifted by single elements, flush against an unmapped page), so a checker loops over shapes and
 *  contents only.  How to write one: README.md in this folder. */
#ifndef KCHECK_H
#define KCHECK_H

#include <stdbool.h>
#include <stdint.h>

#include "cpu/kernels/kernels.h"

typedef struct kc kc;
/** Any kernel; a checker casts it back to the type of its slot. */
typedef void kc_any_fn(void);
/** A checker: describes calls of one slot. */
typedef void kc_check_fn(kc *c);
#define SLOT(slot) kc_check_fn check_##slot;
#include "cpu/kernels/slots.def"
#undef SLOT
/** Calls `fn` with the arguments that `args` holds. */
typedef void kc_call_fn(kc_any_fn *fn, const void *args);

/** The KL_CPU_* that the row needs.  kl__kernels_fill(&k, kc_needs(c)) gives the other kernels of its instruction set:
 *  their layouts and sizes may differ from those of plain C. */
unsigned kc_needs(const kc *c);

/* ---- contents */

/** What a buffer of numbers is filled with. */
enum kc_fill {
    KC_NORMAL,      /* mean 0, deviation 1: activations after a norm */
    KC_WIDE,        /* normal times 2^(-20 .. 20), a new exponent for each element */
    KC_LARGE,       /* normal times 1e15: squares are still finite */
    KC_SMALL,       /* normal times 1e-15: squares are still normal numbers */
    KC_ZERO,        /* zeros, some of them negative */
    KC_N_FILL,      /* the number of fills that any float operand can be given: loop below this */
    KC_NAN,         /* normal with a NaN and infinities in it */
    KC_ONE,         /* ones */
    KC_UNIT,        /* uniform in [0, 1) */
    KC_DECAY,       /* decays per token as a model has them, exp(-1e-4) .. exp(-8) */
    KC_DECAY_MIXED, /* the same, mixed with 1 (no decay), exp(-50) and 0 */
};
/** "normal" for KC_NORMAL, for the description of a case. */
const char *kc_fill_name(enum kc_fill fill);

/** Row lengths worth trying: 0 .. 3 vectors of either width, one short and one over, model widths.  -1 past the end. */
int64_t kc_length(int i);

double kc_uniform(kc *c);           /* [0, 1) */
double kc_normal(kc *c);            /* mean 0, variance 1 */
int64_t kc_below(kc *c, int64_t n); /* 0 .. n-1 */
/** Writes the fill into `x` [n]. */
void kc_refill(kc *c, float *x, int64_t n, enum kc_fill fill);
/** Scales each of `rows` rows of `n` elements to unit length; a zero row stays zero. */
void kc_unit_rows(float *x, int64_t rows, int64_t n);

/* ---- buffers of the next call.  n >= 0 elements.  A checker may change the contents until kc_run. */

/** Inputs: a call that changes one has failed. */
float *kc_in(kc *c, const char *name, int64_t n, enum kc_fill fill);
uint16_t *kc_in_bf16(kc *c, const char *name, int64_t n, enum kc_fill fill);
int32_t *kc_in_i32(kc *c, const char *name, int64_t n); /* zeros */
void *kc_in_bytes(kc *c, const char *name, int64_t n);  /* zeros */

/** [n][ld] with `fill` in the first K of each row and `pad` in the rest. */
float *kc_in_rows(kc *c, const char *name, int64_t n, int64_t K, int64_t ld, enum kc_fill fill, float pad);

/** Outputs: start as NaN (bytes: poison), so that an element left out shows.
 *  `tolerance`: allowed |got - want| relative to the larger of |want| and the root mean square of all of want.
 *  0: the same bits (any NaN for a NaN).  Where want is NaN or infinite, got has to be as well. */
float *kc_out(kc *c, const char *name, int64_t n, double tolerance);
uint16_t *kc_out_bf16(kc *c, const char *name, int64_t n, double tolerance);
int32_t *kc_out_i32(kc *c, const char *name, int64_t n); /* the same bits */
void *kc_out_bytes(kc *c, const char *name, int64_t n);  /* the same bits */

/** Read and written: states, accumulated gradients, in-place calls (hand the pointer to both parameters). */
float *kc_inout(kc *c, const char *name, int64_t n, enum kc_fill fill, double tolerance);
uint16_t *kc_inout_bf16(kc *c, const char *name, int64_t n, enum kc_fill fill, double tolerance);

/** Memory lent to the kernel: starts as NaN, borders are checked, contents are not. */
float *kc_scratch(kc *c, const char *name, int64_t n);

/** Where an output is what is left of larger terms that cancel: their magnitude.  Tolerances of the buffer that was
 *  asked for last are then relative to at least `magnitude`. */
void kc_cancels(kc *c, double magnitude);
/** Where every element counts, however small: tolerances of the buffer that was asked for last are relative to the
 *  element alone, or to `least` where the element is smaller than that. */
void kc_each(kc *c, double least);

/** The buffers asked for from here to the next kc_run start at multiples of `bytes` (a power of two, at most 4096).
 *  For slots whose contract promises alignment.  1, and before the first call of it: multiples of the element only. */
void kc_align(kc *c, int64_t bytes);

/* ---- calls */

/** Makes the call with plain C and with the variant and compares.  `format` describes the case, for the report. */
void kc_run(kc *c, kc_call_fn *call, const void *args, const char *format, ...) __attribute__((format(printf, 4, 5)));
/** The same, and --bench times it. */
void kc_run_timed(kc *c, kc_call_fn *call, const void *args, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* ---- rows: what is checked */

/** One variant of one slot. */
struct kc_row {
    const char *slot, *isa;
    unsigned needs; /* KL_CPU_* */
    kc_any_fn *variant, *ref;
    kc_check_fn *check;
};

enum { KC_VERDICT_BYTES = 400 };

struct kc_options {
    uint64_t seed;
    bool bench; /* time the timed calls and print them */
};

/** Checks one row.  True: passed, and `verdict` holds the number of calls compared; false: the first failure. */
bool kc_check_row(const struct kc_row *row, const struct kc_options *options, char verdict[KC_VERDICT_BYTES]);

/** The program: options, all rows, summary.  Returns the exit status. */
int kc_main(int argc, char **argv, const struct kc_row *row, int n_row);

#endif
