/* One token of the general rule, in both layouts of the state:
 *     y = S^T b,  z = S^T (alpha . q);   o = scale (z - (q . a) y + (q . k) v);   S <- diag(alpha) S - a y^T + k v^T */
#include "cpu/kernels/kernels.h"
#include "cpu/kernels/vec/vec.h"

enum { COLUMNS = KL_LANES == 16 ? 8 : 4 }; /* vectors of columns in one sweep: their sums stay in registers */

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

/* ---- rows are value columns: each is read, changed and stored, so that any memory is read once and written once */

static void step_row(float *o, float *row, float v, const struct token *t)
{
    const struct kl__dplr_rows *x = &t->x;
    vf y = {0}, z = {0};
    int64_t i = 0;
    for (; i + KL_LANES <= t->K; i += KL_LANES) {
        vf s = vload(row + i);
        y += s * vload(x->b + i);
        z += s * vload(x->alpha + i) * vload(x->q + i);
    }
    if (i < t->K) {
        int64_t n = t->K - i;
        vf s = vload_part(row + i, n);
        y += s * vload_part(x->b + i, n);
        z += s * vload_part(x->alpha + i, n) * vload_part(x->q + i, n);
    }
    float minus_y = -vsum(y);
    *o = t->scale * (vsum(z) + t->qa * minus_y + t->qk * v);
    for (i = 0; i + KL_LANES <= t->K; i += KL_LANES)
        vstore(row + i, vload(row + i) * vload(x->alpha + i) + minus_y * vload(x->a + i) + v * vload(x->k + i));
    for (; i < t->K; i++)
        row[i] = row[i] * x->alpha[i] + minus_y * x->a[i] + v * x->k[i];
}

/* Rows of exactly WHOLE vectors: a few of them at a time stay in registers, and share what is loaded of the token. */
enum { WHOLE = 8, TOGETHER = KL_LANES == 16 ? 2 : 1, AHEAD = 16 };

static inline __attribute__((always_inline)) void step_whole_rows(float *o, float *S, const float *v,
                                                                  const struct token *t, int n_row)
{
    const struct kl__dplr_rows *x = &t->x;
    vf s[TOGETHER][WHOLE], y[TOGETHER] = {0}, z[TOGETHER] = {0};
#pragma GCC unroll 8
    for (int j = 0; j < WHOLE; j++) {
        vf alpha = vload(x->alpha + j * KL_LANES), b = vload(x->b + j * KL_LANES), q = vload(x->q + j * KL_LANES);
        for (int r = 0; r < n_row; r++) {
            const float *at = S + (r * WHOLE + j) * KL_LANES;
            __builtin_prefetch(at + AHEAD * WHOLE * KL_LANES, 1, 2); /* from far memory: twice the speed */
            s[r][j] = vload(at);
            y[r] += s[r][j] * b;
            s[r][j] *= alpha;
            z[r] += s[r][j] * q;
        }
    }
    float minus_y[TOGETHER];
    for (int r = 0; r < n_row; r++) {
        minus_y[r] = -vsum(y[r]);
        o[r] = t->scale * (vsum(z[r]) + t->qa * minus_y[r] + t->qk * v[r]);
    }
#pragma GCC unroll 8
    for (int j = 0; j < WHOLE; j++) {
        vf a = vload(x->a + j * KL_LANES), k = vload(x->k + j * KL_LANES);
        for (int r = 0; r < n_row; r++)
            vstore(S + (r * WHOLE + j) * KL_LANES, s[r][j] + minus_y[r] * a + v[r] * k);
    }
}

void KL_VARIANT(dplr_step_vk)(float *o, float *S, const struct kl__dplr_rows *x, const float *v, float scale,
                              int64_t K, int64_t V)
{
    struct token t = token_of(x, scale, K, V);
    int64_t j = 0;
    if (K == WHOLE * KL_LANES)
        for (; j + TOGETHER <= V; j += TOGETHER)
            step_whole_rows(o + j, S + j * K, v + j, &t, TOGETHER);
    for (; j < V; j++)
        step_row(o + j, S + j * K, v[j], &t);
}
