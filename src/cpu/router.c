/* A row of logits becomes a row of choices.  Rows are few hundred numbers long and independent: plain C, one task per
 * block of tokens. */
#include "cpu/cpu_backend.h"
#include "cpu/rows.h"

#include <math.h>
#include <string.h>

/* The weights of a token are scale s_j / (sum of the chosen s + TINY): the sum may be 0. */
static const float TINY = 1e-20f;

/* Arrays of one float per expert, for one token. */
enum {
    SCORE,    /* s */
    RANK,     /* s + bias, by which experts are chosen */
    GROUP,    /* the rank of each group */
    ELIGIBLE, /* 1 for the groups that experts are chosen from */
    N_ARRAY,
};

struct job {
    const kl_router_args *fwd;
    const kl_router_bwd_args *bwd; /* NULL: forward */
    int64_t n_expert;
};

static float scale_of(const kl_router_args *a)
{
    return a->scale != 0 ? a->scale : 1;
}

static void score_sigmoid(float *s, const float *logit, int64_t n)
{
    for (int64_t e = 0; e < n; e++)
        s[e] = 1 / (1 + expf(-logit[e]));
}

/* A NaN logit makes its own score NaN but leaves the others comparable, for the choice; returns what the scores still
 * have to be multiplied with to be weights: 1, or NaN when there was a NaN. */
static float score_softmax(float *s, const float *logit, int64_t n)
{
    float max = -INFINITY, sum = 0, spoilt = 1;
    for (int64_t e = 0; e < n; e++)
        max = logit[e] > max ? logit[e] : max;
    for (int64_t e = 0; e < n; e++) {
        s[e] = logit[e] == max ? 1 : expf(logit[e] - max); /* infinities too: not inf - inf */
        if (isnan(s[e]))
            spoilt = NAN;
        else
            sum += s[e];
    }
    for (int64_t e = 0; e < n; e++)
        s[e] /= sum;
    return spoilt;
}

static float score(const kl_router_args *a, float *s, const float *logit, int64_t n)
{
    if (a->score == KL_SCORE_SOFTMAX)
        return score_softmax(s, logit, n);
    score_sigmoid(s, logit, n);
    return 1;
}

/* Numbers before NaN.  Strict: what comes first stays first. */
static bool better(float a, float b)
{
    return a > b || (isnan(b) && !isnan(a));
}

/* Puts `i` into the list of the best so far, best first, of which there are *n and shall be at most `most`. */
static void keep_best(int32_t *best, int *n, int most, const float *rank, int32_t i)
{
    if (*n == most && !better(rank[i], rank[best[most - 1]]))
        return;
    int at = *n < most ? (*n)++ : most - 1;
    for (; at > 0 && better(rank[i], rank[best[at - 1]]); at--)
        best[at] = best[at - 1];
    best[at] = i;
}

/* The sum of the two best of a group. */
static float rank_of_group(const float *rank, int64_t n)
{
    float first = rank[0], second = rank[1];
    if (better(second, first)) {
        first = rank[1];
        second = rank[0];
    }
    for (int64_t e = 2; e < n; e++)
        if (better(rank[e], first)) {
            second = first;
            first = rank[e];
        } else if (better(rank[e], second)) {
            second = rank[e];
        }
    return first + second;
}

/* Marks the topk_group best groups, ties to the lower one. */
static void choose_groups(const kl_router_args *a, int64_t n_expert, float *scratch)
{
    const float *rank = scratch + RANK * n_expert;
    float *group = scratch + GROUP * n_expert, *eligible = scratch + ELIGIBLE * n_expert;
    int64_t size = n_expert / a->n_group;
    for (int g = 0; g < a->n_group; g++) {
        group[g] = rank_of_group(rank + g * size, size);
        eligible[g] = 0;
    }
    for (int n = 0; n < a->topk_group; n++) {
        int best = -1;
        for (int g = 0; g < a->n_group; g++)
            if (eligible[g] == 0 && (best < 0 || better(group[g], group[best])))
                best = g;
        eligible[best] = 1;
    }
}

static void choose(const kl_router_args *a, int64_t n_expert, int32_t *id, float *scratch)
{
    const float *rank = scratch + RANK * n_expert, *eligible = scratch + ELIGIBLE * n_expert;
    int n_group = a->n_group > 1 ? a->n_group : 1, n = 0;
    int64_t size = n_expert / n_group;
    if (n_group > 1)
        choose_groups(a, n_expert, scratch);
    for (int g = 0; g < n_group; g++)
        for (int64_t e = g * size; (n_group == 1 || eligible[g] != 0) && e < (g + 1) * size; e++)
            keep_best(id, &n, a->topk, rank, (int32_t)e);
}

static float sum_of_chosen(const kl_router_args *a, const float *s, const int32_t *id)
{
    float sum = 0;
    for (int j = 0; j < a->topk; j++)
        sum += s[id[j]];
    return sum;
}

static void forward_row(const void *arg, int64_t t, int64_t head, float *scratch)
{
    (void)head;
    const struct job *job = arg;
    const kl_router_args *a = job->fwd;
    int64_t n_expert = job->n_expert;
    const float *bias = kl__present(a->bias) ? a->bias.data : NULL;
    float *s = scratch + SCORE * n_expert, *rank = scratch + RANK * n_expert;
    float spoilt = score(a, s, kl__row(a->logits, t), n_expert);
    for (int64_t e = 0; e < n_expert; e++)
        rank[e] = bias ? s[e] + bias[e] : s[e];
    int32_t *id = kl__row(a->id, t);
    choose(a, n_expert, id, scratch);
    float factor = scale_of(a) * spoilt, *weight = kl__row(a->weight, t);
    const float *from = a->weight_biased ? rank : s;
    if (a->renormalise)
        factor /= sum_of_chosen(a, from, id) + TINY;
    for (int j = 0; j < a->topk; j++)
        weight[j] = from[id[j]] * factor;
}

static struct kl__rows rows_of(const kl_router_args *a)
{
    return (struct kl__rows){a->logits.dim[0], 1, a->logits.dim[1]};
}

kl_status kl__cpu_router(const kl_backend *be, const kl_router_args *a, kl_error *err)
{
    (void)err;
    struct job job = {.fwd = a, .n_expert = a->logits.dim[1]};
    kl__for_rows(be, rows_of(a), a->work, N_ARRAY, job.n_expert, forward_row, &job);
    return KL_OK;
}

size_t kl__cpu_router_workspace(const kl_backend *be, const kl_router_args *a)
{
    return kl__scratch_workspace(be, N_ARRAY, a->logits.dim[1]);
}

/* ------------------------------------------------------------------------------------------------------ backward -- */

/* d_s, with the choice held and s what weights come from: w_j = scale s_j / (S + TINY), S the sum of the chosen, so
 *      ds_j = scale / (S + TINY) (dw_j - sum_i dw_i s_i / (S + TINY))
 * Added up per expert in the order of j, in case an expert was chosen twice. */
static void backward_weights(const kl_router_args *a, float *ds, const float *dw, const float *s, const int32_t *id)
{
    float factor = scale_of(a), mean = 0;
    if (a->renormalise) {
        float sum = sum_of_chosen(a, s, id) + TINY;
        for (int j = 0; j < a->topk; j++)
            mean += dw[j] * (s[id[j]] / sum);
        factor /= sum;
    }
    for (int j = 0; j < a->topk; j++)
        ds[id[j]] += factor * (dw[j] - mean);
}

/* Sigmoid: dz = ds s (1 - s).   Softmax: dz_e = s_e (ds_e - sum_i ds_i s_i). */
static void backward_row(const void *arg, int64_t t, int64_t head, float *scratch)
{
    (void)head;
    const struct job *job = arg;
    const kl_router_args *a = job->fwd;
    int64_t n_expert = job->n_expert;
    const int32_t *id = kl__row(a->id, t);
    const float *bias = a->weight_biased && kl__present(a->bias) ? a->bias.data : NULL;
    float *s = scratch, *from = scratch + n_expert, *ds = kl__row(job->bwd->d_logits, t);
    float spoilt = score(a, s, kl__row(a->logits, t), n_expert), mean = 0;
    for (int64_t e = 0; e < n_expert; e++)
        from[e] = bias ? s[e] + bias[e] : s[e];
    memset(ds, 0, (size_t)n_expert * sizeof *ds);
    backward_weights(a, ds, kl__row(job->bwd->d_weight, t), from, id);
    if (a->score == KL_SCORE_SOFTMAX)
        for (int64_t e = 0; e < n_expert; e++)
            mean += ds[e] * s[e];
    for (int64_t e = 0; e < n_expert; e++)
        ds[e] = a->score == KL_SCORE_SOFTMAX ? s[e] * (ds[e] - mean) * spoilt : ds[e] * s[e] * (1 - s[e]);
}

kl_status kl__cpu_router_bwd(const kl_backend *be, const kl_router_bwd_args *a, kl_error *err)
{
    (void)err;
    struct job job = {.fwd = &a->fwd, .bwd = a, .n_expert = a->fwd.logits.dim[1]};
    kl__for_rows(be, rows_of(&a->fwd), a->work, 2, job.n_expert, backward_row, &job);
    return KL_OK;
}

size_t kl__cpu_router_bwd_workspace(const kl_backend *be, const kl_router_bwd_args *a)
{
    return kl__scratch_workspace(be, 2, a->fwd.logits.dim[1]);
}
