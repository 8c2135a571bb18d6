/* One token of the general rule, in both layouts of the state:
 *     y = S^T b,  z = S^T (alpha . q);   o = scale (z - (q . a) y + (q . k) v);   S <- diag(alpha) S - a y^T + k v^T */
#include "cpu/kernels/kernels.h"
#include "cpu/kernels/vec/vec.h"

enum { COLUMNS = 4 }; /* vectors of columns in one sweep: half of 128 columns of 128 rows fit into the nearest cache */

/* What a token has in common for all columns. */
struct token {
    struct kl__dplr_rows x;
    float qk, qa, scale;
    int64_t K, V;
};

static float dot(const float *x, const float *y, int64_t n)
{
    vf sum = {0};
    int64_t i = 0;
    for (; i + KL_LANES <= n; i += KL_LANES)
        sum += vload(x + i) * vload(y + i);
    if (i < n)
        sum += vload_part(x + i, n - i) * vload_part(y + i, n - i);
    return vsum(sum);
}

static struct token token_of(const struct kl__dplr_rows *x, float scale, int64_t K, int64_t V)
{
    return (struct token){*x, dot(x->q, x->k, K), dot(x->q, x->a, K), scale, K, V};
}

/* ---- rows of the state are channels: one sweep reads, a second one, from the last row back, finds them near */

static inline __attribute__((always_inline)) void step_columns(float *o, float *S, const float *v,
                                                               const struct token *t, int n_vec)
{
    const struct kl__dplr_rows *x = &t->x;
    vf y[COLUMNS] = {0}, z[COLUMNS] = {0}, w[COLUMNS];
    for (int64_t i = 0; i < t->K; i++) {
        vf b = vset(x->b[i]), q = vset(x->alpha[i] * x->q[i]);
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
        vf alpha = vset(x->alpha[i]), a = vset(x->a[i]), k = vset(x->k[i]);
        for (int j = 0; j < n_vec; j++) {
            float *at = S + i * t->V + j * KL_LANES;
            vstore(at, alpha * vload(at) - a * y[j] + k * w[j]);
        }
    }
}

/* One column: what does not fill a vector. */
static void step_column(float *o, float *S, float v, const struct token *t)
{
    const struct kl__dplr_rows *x = &t->x;
    float y = 0, z = 0;
    for (int64_t i = 0; i < t->K; i++) {
        y += x->b[i] * S[i * t->V];
        z += x->alpha[i] * x->q[i] * S[i * t->V];
    }
    *o = t->scale * (z - t->qa * y + t->qk * v);
    for (int64_t i = 0; i < t->K; i++)
        S[i * t->V] = x->alpha[i] * S[i * t->V] - x->a[i] * y + x->k[i] * v;
}

void KL_VARIANT(dplr_step)(float *o, float *S, const struct kl__dplr_rows *x, const float *v, float scale, int64_t K,
                           int64_t V)
{
    struct token t = token_of(x, scale, K, V);
    int64_t j = 0;
    for (; j + COLUMNS * KL_LANES <= V; j += COLUMNS * KL_LANES)
        step_columns(o + j, S + j, v + j, &t, COLUMNS);
    for (; j + KL_LANES <= V; j += KL_LANES)
        step_columns(o + j, S + j, v + j, &t, 1);
    for (; j < V; j++)
        step_column(o + j, S + j, v[j], &t);
}

/* ---- rows are value columns: a few of them are read, changed and stored before the next ones */

enum { ROWS = 2, AHEAD = 4096 }; /* rows that share what is loaded of the token; bytes, about 10 rows of 128 */

static inline __attribute__((always_inline)) void step_rows(float *o, float *S, const float *v, const struct token *t,
                                                            int n_row)
{
    const struct kl__dplr_rows *x = &t->x;
    int64_t K = t->K, i = 0;
    vf y[ROWS] = {0}, z[ROWS] = {0};
    float minus_y[ROWS];
    for (; i + KL_LANES <= K; i += KL_LANES)
        for (int r = 0; r < n_row; r++) {
            const float *at = S + r * K + i;
            vf s = vload(at);
            __builtin_prefetch((const char *)at + AHEAD, 1, 2); /* from far memory: twice the speed */
            y[r] += s * vload(x->b + i);
            z[r] += s * vload(x->alpha + i) * vload(x->q + i);
        }
    for (int r = 0; i < K && r < n_row; r++) {
        vf s = vload_part(S + r * K + i, K - i);
        y[r] += s * vload_part(x->b + i, K - i);
        z[r] += s * vload_part(x->alpha + i, K - i) * vload_part(x->q + i, K - i);
    }
    for (int r = 0; r < n_row; r++) {
        minus_y[r] = -vsum(y[r]);
        o[r] = t->scale * (vsum(z[r]) + t->qa * minus_y[r] + t->qk * v[r]);
    }
    for (i = 0; i + KL_LANES <= K; i += KL_LANES)
        for (int r = 0; r < n_row; r++) {
            float *at = S + r * K + i;
            vstore(at, vload(at) * vload(x->alpha + i) + minus_y[r] * vload(x->a + i) + v[r] * vload(x->k + i));
        }
    for (; i < K; i++)
        for (int r = 0; r < n_row; r++)
            S[r * K + i] = S[r * K + i] * x->alpha[i] + minus_y[r] * x->a[i] + v[r] * x->k[i];
}

void KL_VARIANT(dplr_step_vk)(float *o, float *S, const struct kl__dplr_rows *x, const float *v, float scale,
                              int64_t K, int64_t V)
{
    struct token t = token_of(x, scale, K, V);
    int64_t j = 0;
    for (; j + ROWS <= V; j += ROWS)
        step_rows(o + j, S + j * K, v + j, &t, ROWS);
    if (j < V)
        step_rows(o + j, S + j * K, v + j, &t, 1);
}
