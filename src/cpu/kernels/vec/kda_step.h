/* One token on a state of rows.  Two sweeps: the first reads what the state holds for k and q, the second decays,
 * writes and stores it.  The second goes from the last row to the first, so that it begins with what the first sweep
 * left in the nearest cache: farther memory is read about once and written once.
 *     x = S^T (alpha . k),  y = S^T (alpha . q);   u = beta (v - x);   o = scale (y + (q . k) u);
 *     S <- diag(alpha) S + k u^T */
#include "cpu/kernels/kernels.h"
#include "cpu/kernels/vec/vec.h"

enum { MAX_COLUMNS = KL_LANES == 16 ? 8 : 4 }; /* vectors of columns in one sweep: their x and y stay in registers */

static inline __attribute__((always_inline)) void step_columns(float *o, float *S, const float *q, const float *k,
                                                               const float *v, const float *alpha, float beta,
                                                               float scale, float qk, int64_t K, int64_t V,
                                                               kl_rule rule, int n_vec)
{
    vf x[MAX_COLUMNS] = {0}, y[MAX_COLUMNS] = {0}, u[MAX_COLUMNS];
    for (int64_t i = 0; i < K; i++) {
        vf ak = vset(alpha[i] * k[i]), aq = vset(alpha[i] * q[i]);
        for (int j = 0; j < n_vec; j++) {
            vf s = vload(S + i * V + j * KL_LANES);
            x[j] += ak * s;
            y[j] += aq * s;
        }
    }
    for (int j = 0; j < n_vec; j++) {
        vf e = vload(v + j * KL_LANES);
        u[j] = beta * (rule == KL_RULE_DELTA ? e - x[j] : e);
        vstore(o + j * KL_LANES, scale * (y[j] + qk * u[j]));
    }
    for (int64_t i = K - 1; i >= 0; i--) {
        vf a = vset(alpha[i]), w = vset(k[i]);
        for (int j = 0; j < n_vec; j++) {
            float *at = S + i * V + j * KL_LANES;
            vstore(at, a * vload(at) + w * u[j]);
        }
    }
}

/* Columns that do not fill a vector. */
static void step_rest(float *o, float *S, const float *q, const float *k, const float *v, const float *alpha,
                      float beta, float scale, float qk, int64_t K, int64_t V, kl_rule rule, int64_t n)
{
    for (int64_t j = 0; j < n; j++) {
        float x = 0, y = 0;
        for (int64_t i = 0; i < K; i++) {
            x += alpha[i] * k[i] * S[i * V + j];
            y += alpha[i] * q[i] * S[i * V + j];
        }
        float u = beta * (rule == KL_RULE_DELTA ? v[j] - x : v[j]);
        o[j] = scale * (y + qk * u);
        for (int64_t i = 0; i < K; i++)
            S[i * V + j] = alpha[i] * S[i * V + j] + k[i] * u;
    }
}

static inline float dot(const float *a, const float *b, int64_t n)
{
    vf sum = {0};
    int64_t i = 0;
    for (; i + KL_LANES <= n; i += KL_LANES)
        sum += vload(a + i) * vload(b + i);
    if (i < n)
        sum += vload_part(a + i, n - i) * vload_part(b + i, n - i);
    return vsum(sum);
}

void KL_VARIANT(kda_step)(float *o, float *S, const float *q, const float *k, const float *v, const float *alpha,
                          float beta, float scale, int64_t K, int64_t V, kl_rule rule)
{
    float qk = dot(q, k, K);
    int64_t j = 0;
    for (; j + MAX_COLUMNS * KL_LANES <= V; j += MAX_COLUMNS * KL_LANES)
        step_columns(o + j, S + j, q, k, v + j, alpha, beta, scale, qk, K, V, rule, MAX_COLUMNS);
    for (; j + KL_LANES <= V; j += KL_LANES)
        step_columns(o + j, S + j, q, k, v + j, alpha, beta, scale, qk, K, V, rule, 1);
    if (j < V)
        step_rest(o + j, S + j, q, k, v + j, alpha, beta, scale, qk, K, V, rule, V - j);
}

/* Rows of the state are value columns here: each is read once, changed and stored, so that any memory is read once and
 * written once, in order.  The sums of neighbouring rows overlap in the pipeline.
 *     s = alpha . row;   x = s . k,  y = s . q;   u = beta (v - x);   o = scale (y + (q . k) u);   row <- s + u k */
static void step_row(float *o, float *row, const float *q, const float *k, const float *alpha, float v, float beta,
                     float scale, float qk, int64_t K, kl_rule rule)
{
    vf x = {0}, y = {0};
    int64_t i = 0;
    for (; i + KL_LANES <= K; i += KL_LANES) {
        vf s = vload(row + i) * vload(alpha + i);
        x += s * vload(k + i);
        y += s * vload(q + i);
    }
    if (i < K) {
        vf s = vload_part(row + i, K - i) * vload_part(alpha + i, K - i);
        x += s * vload_part(k + i, K - i);
        y += s * vload_part(q + i, K - i);
    }
    float u = beta * (rule == KL_RULE_DELTA ? v - vsum(x) : v);
    *o = scale * (vsum(y) + qk * u);
    for (i = 0; i + KL_LANES <= K; i += KL_LANES)
        vstore(row + i, vload(row + i) * vload(alpha + i) + u * vload(k + i));
    for (; i < K; i++)
        row[i] = row[i] * alpha[i] + u * k[i];
}

/* Rows of exactly WHOLE vectors: the row, q, k and alpha stay in registers. */
enum { WHOLE = 8 };
static void step_whole_rows(float *o, float *S, const float *q, const float *k, const float *v, const float *alpha,
                            float beta, float scale, float qk, int64_t V, kl_rule rule)
{
    vf a[WHOLE], kk[WHOLE], qq[WHOLE], s[WHOLE];
    for (int j = 0; j < WHOLE; j++) {
        a[j] = vload(alpha + j * KL_LANES);
        kk[j] = vload(k + j * KL_LANES);
        qq[j] = vload(q + j * KL_LANES);
    }
    for (int64_t column = 0; column < V; column++) {
        float *row = S + column * WHOLE * KL_LANES;
        vf x[2] = {0}, y[2] = {0};
        for (int j = 0; j < WHOLE; j++) {
            __builtin_prefetch(row + (16 * WHOLE + j) * KL_LANES, 1, 2); /* from far memory: twice the speed */
            s[j] = vload(row + j * KL_LANES) * a[j];
            x[j % 2] += s[j] * kk[j];
            y[j % 2] += s[j] * qq[j];
        }
        float u = beta * (rule == KL_RULE_DELTA ? v[column] - vsum(x[0] + x[1]) : v[column]);
        o[column] = scale * (vsum(y[0] + y[1]) + qk * u);
        for (int j = 0; j < WHOLE; j++)
            vstore(row + j * KL_LANES, s[j] + u * kk[j]);
    }
}

void KL_VARIANT(kda_step_vk)(float *o, float *S, const float *q, const float *k, const float *v, const float *alpha,
                             float beta, float scale, int64_t K, int64_t V, kl_rule rule)
{
    float qk = dot(q, k, K);
    if (K == WHOLE * KL_LANES)
        step_whole_rows(o, S, q, k, v, alpha, beta, scale, qk, V, rule);
    else
        for (int64_t j = 0; j < V; j++)
            step_row(o + j, S + j * K, q, k, alpha, v[j], beta, scale, qk, K, rule);
}
