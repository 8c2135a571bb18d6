/* The end of the network and the way back's beginning: norm, head, cross-entropy.  Tokens go by in slices, each
 * forwards and straight back, so that the logits of a whole batch never exist at once. */
#include "base/error.h"
#include "base/pool.h"
#include "ops/backend.h"
#include "tensor/tensor.h"
#include "train/pass.h"

#include <string.h>

/* Logits of a slice: few enough to stay in a large cache, and enough tokens for the products. */
enum { SLICE_FLOATS = 1 << 21, SLICE_LEAST = 64, SLICE_MOST = 1024 };

struct slice {
    int64_t first, n;
    kl_tensor x, d_x;    /* [n][D] */
    kl_tensor logits;    /* [n][N]; on the way back their gradient */
    kl_tensor loss, lse; /* [n] */
    kl_tensor weight;    /* [n] of each label */
    kl_tensor label;     /* [n] */
    int32_t *right;      /* [n] 1 where the largest logit is the label's */
};

static int64_t slice_tokens(const struct kl__pass *p)
{
    int64_t n = SLICE_FLOATS / p->c->n_vocab;
    n = n < SLICE_LEAST ? SLICE_LEAST : n > SLICE_MOST ? SLICE_MOST : n;
    return n < p->n_token ? n : p->n_token;
}

static kl_tensor vector(struct kl__pass *p, int64_t n)
{
    return kl_view1(kl__carve(&p->temp, (size_t)n, sizeof(float)), KL_F32, n);
}

static struct slice lay_out(struct kl__pass *p, int64_t n)
{
    struct slice s = {.loss = vector(p, n), .lse = vector(p, n), .weight = vector(p, n)};
    s.right = kl__carve(&p->temp, (size_t)n, sizeof *s.right);
    int64_t pitch = kl__pass_pitch(p->c->n_vocab);
    void *logits = kl__carve(&p->temp, (size_t)n * (size_t)pitch, sizeof(float));
    s.logits = kl_view2(logits, KL_F32, n, p->c->n_vocab);
    s.logits.pitch = pitch;
    p->temp_most = p->temp.bytes > p->temp_most ? p->temp.bytes : p->temp_most;
    for (int64_t i = 0; i < n && !p->run.measure; i++)
        ((float *)s.weight.data)[i] = p->batch->weight;
    return s;
}

static kl_tensor rows(kl_tensor x, int64_t first, int64_t n)
{
    x.data = kl__row(x, first);
    x.dim[0] = n;
    return x;
}

/* ------------------------------------------------------------------------------------------------------ counting -- */

enum { ROWS_PER_TASK = 16 };

static int32_t largest(const float *x, int64_t n)
{
    int64_t at = 0;
    for (int64_t i = 1; i < n; i++)
        at = x[i] > x[at] ? i : at;
    return (int32_t)at;
}

static void right_task(void *arg, int64_t task, int thread)
{
    (void)thread;
    const struct slice *s = arg;
    int64_t end = (task + 1) * ROWS_PER_TASK < s->n ? (task + 1) * ROWS_PER_TASK : s->n;
    for (int64_t i = task * ROWS_PER_TASK; i < end; i++) {
        int32_t label = ((const int32_t *)s->label.data)[i];
        s->right[i] = label >= 0 && largest(kl__row(s->logits, i), s->logits.dim[1]) == label;
    }
}

static void count(const struct kl__pass *p, struct slice *s, kl_loss *loss)
{
    if (p->batch->count_right)
        kl__pool_run(p->run.be->pool, (s->n + ROWS_PER_TASK - 1) / ROWS_PER_TASK, right_task, s);
    for (int64_t i = 0; i < s->n; i++) {
        loss->sum += (double)((const float *)s->loss.data)[i];
        loss->n_label += ((const int32_t *)s->label.data)[i] >= 0;
        loss->n_right += p->batch->count_right && s->right[i];
    }
}

static bool has_labels(const struct slice *s)
{
    for (int64_t i = 0; i < s->n; i++)
        if (((const int32_t *)s->label.data)[i] >= 0)
            return true;
    return false;
}

/* -------------------------------------------------------------------------------------------------------- slices -- */

static enum kl__param head_of(const struct kl__pass *p)
{
    return p->c->tied ? KL__EMBED : KL__HEAD;
}

static kl_status run_slice(struct kl__pass *p, struct slice *s, kl_loss *loss)
{
    KL_TRY(kl__pass_linear(p, s->logits, s->x, head_of(p), -1, false));
    kl_cross_entropy_args a = {.loss = s->loss, .lse = s->lse, .logits = s->logits, .label = s->label};
    KL_TRY(kl__run_cross_entropy(&p->run, a));
    if (!p->run.measure)
        count(p, s, loss);
    if (!p->gradient)
        return KL_OK;
    kl_cross_entropy_bwd_args b = {.fwd = a, .d_loss = s->weight, .d_logits = s->logits};
    KL_TRY(kl__run_cross_entropy_bwd(&p->run, b));
    return kl__pass_linear_bwd(p, s->d_x, s->logits, s->x, head_of(p), -1, false);
}

/* Rows without labels get no gradient; most slices have some. */
static void no_gradient(const struct kl__pass *p, kl_tensor d_x)
{
    for (int64_t t = 0; p->gradient && t < d_x.dim[0]; t++)
        memset(kl__row(d_x, t), 0, (size_t)d_x.dim[1] * sizeof(float));
}

kl_status kl__pass_head(struct kl__pass *p, kl_loss *loss, kl_tensor h, kl_tensor d)
{
    struct kl__carver mark = p->temp;
    kl_tensor x = kl__pass_temp(p, p->c->n_embd),
              label = kl_view1((void *)(uintptr_t)p->batch->label, KL_I32, p->n_token);
    int64_t step = slice_tokens(p);
    struct slice s = lay_out(p, step), whole = s;
    KL_TRY(kl__pass_norm(p, x, h, KL__NORM, -1, p->c->rms_eps));
    for (s.first = 0; s.first < p->n_token; s.first += step) {
        s.n = p->n_token - s.first < step ? p->n_token - s.first : step;
        s.x = rows(x, s.first, s.n);
        s.d_x = p->gradient ? rows(d, s.first, s.n) : d;
        s.label = rows(label, s.first, s.n);
        s.logits = rows(whole.logits, 0, s.n);
        s.loss = rows(whole.loss, 0, s.n);
        s.lse = rows(whole.lse, 0, s.n);
        s.weight = rows(whole.weight, 0, s.n);
        if (p->run.measure || has_labels(&s))
            KL_TRY(run_slice(p, &s, loss));
        else
            no_gradient(p, s.d_x);
        if (p->run.measure)
            break; /* the first is the largest */
    }
    p->temp = mark;
    return p->gradient ? kl__pass_norm_bwd(p, d, d, h, KL__NORM, -1, p->c->rms_eps) : KL_OK;
}
