/** Softmax attention in float64 loops, whole rows of probabilities: what the operators are compared with. */
#ifndef ATTENTION64_H
#define ATTENTION64_H

#include <stdbool.h>
#include <stdint.h>

/** As kl_attention_args, with offsets always present. */
struct attention64 {
    int64_t H, HK, DK, DV, n_seq;
    const int64_t *cu_q, *cu_k; /* [n_seq + 1] */
    bool causal;
    double scale;
    const double *q, *k, *v; /* [T][H][DK], [S][HK][DK], [S][HK][DV] */
};

/** o [T][H][DV] and lse [T][H]. */
void attention64(const struct attention64 *x, double *o, double *lse);
/** Gradients for d_o [T][H][DV], shaped as q, k, v. */
void attention64_bwd(const struct attention64 *x, const double *d_o, double *d_q, double *d_k, double *d_v);

/** `n` zeros from kt_bytes. */
double *doubles(int64_t n);
/** x [n] in double, from kt_bytes. */
double *doubles_of(const float *x, int64_t n);

#endif
