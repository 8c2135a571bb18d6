/* One token of the general rule on a state of rows, in two sweeps as kda_step.h:
 *     y = S^T b,  z = S^T (alpha . q);   o = scale (z - (q . a) y + (q . k) v);   S <- diag(alpha) S - a y^T + k v^T */
#include "cpu/kernels/kernels.h"
#include "cpu/kernels/vec/vec.h"

enum { MAX_COLUMNS = KL_LANES == 16 ? 8 : 4 };

/* What a token has in common for all columns. */
struct token {
    const float *q, *k, *a, *b, *alpha;
    float qk, qa, scale;
    int64_t K, V;
};

static inline __attribute__((always_inline)) void step_columns(float *o, float *S, const float *v,
                                                               const struct token *t, int n_vec)
{
    vf y[MAX_COLUMNS] = {0}, z[MAX_COLUMNS] = {0}, w[MAX_COLUMNS];
    for (int64_t i = 0; i < t->K; i++) {
        vf b = vset(t->b[i]), q = vset(t->alpha[i] * t->q[i]);
        for (int j = 0; j < n_vec; j++) {
            vf s = vload(S + i * t->V + j * KL_LANES);
            y[j] += b * s;
            z[j] += q * s;
        }
    }
    for (int j = 0; j < n_vec; j++) {
        w[j] = vload(v + j * KL_LANES);
        vstore(o + j * KL_LANES, t->scale * (z[j] - t->qa * y[j] + t->qk * w[j]));
    }
    for (int64_t i = t->K - 1; i >= 0; i--) {
        vf alpha = vset(t->alpha[i]), a = vset(t->a[i]), k = vset(t->k[i]);
        for (int j = 0; j < n_vec; j++) {
            float *at = S + i * t->V + j * KL_LANES;
            vstore(at, alpha * vload(at) - a * y[j] + k * w[j]);
        }
    }
}

/* One column: what does not fill a vector. */
static void step_column(float *o, float *S, float v, const struct token *t)
{
    float y = 0, z = 0;
    for (int64_t i = 0; i < t->K; i++) {
        y += t->b[i] * S[i * t->V];
        z += t->alpha[i] * t->q[i] * S[i * t->V];
    }
    *o = t->scale * (z - t->qa * y + t->qk * v);
    for (int64_t i = 0; i < t->K; i++)
        S[i * t->V] = t->alpha[i] * S[i * t->V] - t->a[i] * y + t->k[i] * v;
}

static float dot(const float *x, const float *y, int64_t n)
{
    float sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += x[i] * y[i];
    return sum;
}

void KL_VARIANT(dplr_step)(float *o, float *S, const float *q, const float *k, const float *v, const float *a,
                           const float *b, const float *alpha, float scale, int64_t K, int64_t V)
{
    struct token t = {q, k, a, b, alpha, dot(q, k, K), dot(q, a, K), scale, K, V};
    int64_t j = 0;
    for (; j + MAX_COLUMNS * KL_LANES <= V; j += MAX_COLUMNS * KL_LANES)
        step_columns(o + j, S + j, v + j, &t, MAX_COLUMNS);
    for (; j + KL_LANES <= V; j += KL_LANES)
        step_columns(o + j, S + j, v + j, &t, 1);
    for (; j < V; j++)
        step_column(o + j, S + j, v[j], &t);
}
