/** What the tests share: memory with poisoned borders, numbers as a model makes them, backends of every level,
 *  distances, finite differences.  Everything aborts the test on failure, through cmocka. */
#ifndef KT_H
#define KT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "klinear/kl_ops.h"

/* ---- random numbers: small, seeded, the same everywhere */
typedef struct kt_rng {
    uint64_t state;
} kt_rng;
double kt_uniform(kt_rng *r);                    /* [0, 1) */
double kt_normal(kt_rng *r);                     /* mean 0, variance 1 */
int64_t kt_below(kt_rng *r, int64_t n);          /* 0 .. n-1 */
void kt_fill_normal(kt_rng *r, float *x, int64_t n, float scale);

/* ---- memory: kt_floats(n) is n floats with poisoned borders; kt_check_all() fails if a border was written */
void *kt_bytes(size_t bytes);
float *kt_floats(int64_t n);                     /* filled with NaN */
float *kt_zeros(int64_t n);
float *kt_normals(kt_rng *r, int64_t n, float scale);
uint16_t *kt_bf16_of(float *x, int64_t n);       /* rounds x itself to bf16 as well and returns the 16-bit copy */
float *kt_copy(const float *x, int64_t n);
void kt_check_all(void);                         /* every border intact */
void kt_free_all(void);                          /* kt_check_all, then frees */
/** Workspace of exactly `bytes`, borders poisoned, deliberately misaligned by 4 bytes. */
kl_workspace kt_work(size_t bytes);

/* ---- backends */
/** Every level of this machine from plain C up; NULL past the end. */
const char *kt_level(int i);
/** An open backend on `n_thread` threads; kept and closed by kt_free_backends. */
const kl_backend *kt_backend(const char *isa, int n_thread);
void kt_free_backends(void);

/* ---- distances */
/** RMS(a - b) / RMS(b); 0 when both are all zero; infinity when a has a non-finite number that b lacks. */
double kt_ratio(const float *a, const float *b, int64_t n);
double kt_ratio64(const float *a, const double *b, int64_t n);
void kt_assert_close(const char *what, const float *a, const float *b, int64_t n, double tolerance);
/** The same against float64, with the level in the sentence. */
void kt_assert_close64(const char *what, const char *level, const float *a, const double *b, int64_t n,
                       double tolerance);
void kt_assert_same_bits(const char *what, const void *a, const void *b, size_t bytes);

/* ---- finite differences */
/** Scalar function of what `ctx` holds. */
typedef double kt_loss_fn(void *ctx);
/** Compares gradient [n] of loss with respect to x [n] with central differences: along `n_direction` random
 *  directions and at `n_coordinate` single coordinates.  Step h relative to RMS(x) (or 1 if that is 0). */
void kt_check_gradient(const char *what, kt_loss_fn *loss, void *ctx, float *x, const float *gradient, int64_t n,
                       double h, double tolerance, kt_rng *r);
/** Sum of w[i] x[i] in double: the usual loss. */
double kt_dot(const float *w, const float *x, int64_t n);

/* ---- statuses */
/** The call failed with `status`, and its sentence contains every one of the `n` words. */
void kt_assert_failed(kl_status got, kl_status want, const kl_error *err, const char *const *word, int n);
#define KT_ASSERT_FAILED(call, want, err, ...)                                                                         \
    kt_assert_failed(call, want, err, (const char *const[]){__VA_ARGS__},                                              \
                     (int)(sizeof((const char *const[]){__VA_ARGS__}) / sizeof(const char *)))
#define KT_OK(call)                                                                                                    \
    do {                                                                                                               \
        kl_error kt_err = {0};                                                                                         \
        kl_status kt_status = (call);                                                                                  \
        if (kt_status != KL_OK)                                                                                        \
            fail_msg("%s: %s (%s)", #call, kl_status_name(kt_status), kt_err.text);                                    \
    } while (0)
/** Inside KT_OK: where the call writes its sentence, so that a failure shows it. */
#define KT_ERR (&kt_err)

#endif
