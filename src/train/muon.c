/* Muon: steps of hidden matrices are brought to singular values near 1.
 *
 *      X = M / |M|;   five times:  X <- (a I + b A + c A A) X,   A = X X^T
 *
 * The polynomial pushes every singular value in (0, 1] towards 1.  A matrix that is taller than wide goes by A = X^T X
 * from the other side, so that A is the smaller square.  All products are those of kl_linear, as the matrices lie:
 * with y = x w^T, dx = dy w and dw = dy^T x there is nothing to transpose. */
#include "base/error.h"
#include "train/trainer.h"

#include <math.h>
#include <string.h>

enum { ROUNDS = 5 };
static const float a = 3.4445F, b = -4.775F, c = 2.0315F;

static bool hidden(const struct kl__place *p)
{
    return kl__rule_of(p->param) == KL__RULE_HIDDEN;
}

static int64_t shorter(const struct kl__place *p)
{
    return p->rows < p->columns ? p->rows : p->columns;
}

static struct kl__muon carve(const struct kl__layout *l, struct kl__carver *carver)
{
    size_t matrix = 0, square = 0;
    for (int64_t i = 0; i < l->n_place; i++)
        if (hidden(&l->place[i])) {
            size_t n = (size_t)(l->place[i].rows * l->place[i].columns), s = (size_t)shorter(&l->place[i]);
            matrix = n > matrix ? n : matrix;
            square = s * s > square ? s * s : square;
        }
    struct kl__muon m = {.x = kl__carve(carver, matrix, sizeof *m.x)};
    m.y = kl__carve(carver, matrix, sizeof *m.y);
    m.a = kl__carve(carver, square, sizeof *m.a);
    m.b = kl__carve(carver, square, sizeof *m.b);
    return m;
}

size_t kl__muon_bytes(const struct kl__layout *l)
{
    struct kl__carver carver = {0};
    carve(l, &carver);
    return carver.bytes;
}

struct kl__muon kl__muon_of(const struct kl__layout *l, void *memory)
{
    struct kl__carver carver = {.base = memory};
    return carve(l, &carver);
}

/* --------------------------------------------------------------------------------------------- orthogonalisation -- */

static kl_tensor matrix(float *x, int64_t rows, int64_t columns)
{
    return kl_view2(x, KL_F32, rows, columns);
}

/* to <- x w^T;  to <- x w with a square x;  to <- x^T x.  The gradients of a product look at its inputs only where they
 * need them: there anything else of the same shape will do. */
static kl_status times_transpose(const struct kl__run *r, kl_tensor to, kl_tensor x, kl_tensor w)
{
    return kl__run_linear(r, (kl_linear_args){.y = to, .x = x, .w = w});
}

static kl_status times(const struct kl__run *r, kl_tensor to, kl_tensor x, kl_tensor w)
{
    return kl__run_linear_bwd(r, (kl_linear_bwd_args){.fwd = {.x = w, .w = w}, .d_y = x, .d_x = to});
}

static kl_status transpose_times(const struct kl__run *r, kl_tensor to, kl_tensor x, kl_tensor other)
{
    if (!r->measure)
        memset(to.data, 0, (size_t)(to.dim[0] * to.dim[1]) * sizeof(float));
    return kl__run_linear_bwd(r, (kl_linear_bwd_args){.fwd = {.x = x, .w = other}, .d_y = x, .d_w = to});
}

/* to <- a I + b A + c A A, where to holds A A. */
static void polynomial(float *to, const float *square, int64_t n)
{
    for (int64_t i = 0; i < n * n; i++)
        to[i] = b * square[i] + c * to[i];
    for (int64_t i = 0; i < n; i++)
        to[i * n + i] += a;
}

/* m->y <- the next X; m->x holds X. */
static kl_status improve(const struct kl__run *r, const struct kl__muon *m, int64_t rows, int64_t columns)
{
    bool tall = rows > columns;
    int64_t n = tall ? columns : rows;
    kl_tensor x = matrix(m->x, rows, columns), y = matrix(m->y, rows, columns);
    kl_tensor square = matrix(m->a, n, n), sum = matrix(m->b, n, n);
    KL_TRY(tall ? transpose_times(r, square, x, sum) : times_transpose(r, square, x, x));
    KL_TRY(times_transpose(r, sum, square, square)); /* symmetric */
    if (!r->measure)
        polynomial(m->b, m->a, n);
    return tall ? times_transpose(r, y, x, sum) : times(r, y, sum, x);
}

/* m->x <- the orthogonalisation of m->x, whose size does not matter. */
static kl_status orthogonalise(const struct kl__run *r, struct kl__muon m, int64_t rows, int64_t columns)
{
    int64_t n = rows * columns;
    float scale = 1 / (float)(sqrt(kl_sum_squares(r->be, m.x, n)) + 1e-20);
    for (int64_t i = 0; i < n; i++)
        m.x[i] *= scale;
    for (int k = 0; k < ROUNDS; k++) {
        KL_TRY(improve(r, &m, rows, columns));
        float *x = m.x;
        m.x = m.y;
        m.y = x;
    }
    if (ROUNDS % 2)
        memcpy(m.y, m.x, (size_t)n * sizeof *m.x);
    return KL_OK;
}

size_t kl__muon_workspace(const struct kl__layout *l, const kl_backend *be)
{
    size_t most = 0;
    struct kl__run r = {.be = be, .measure = &most};
    struct kl__muon nowhere = kl__muon_of(l, (void *)(uintptr_t)KL_ALIGN);
    for (int64_t i = 0; i < l->n_place; i++)
        if (hidden(&l->place[i])) {
            kl_status status = improve(&r, &nowhere, l->place[i].rows, l->place[i].columns);
            (void)status; /* nothing runs, so nothing can fail */
        }
    return most;
}

/* --------------------------------------------------------------------------------------------------------- steps -- */

kl_status kl__muon_step(const kl_trainer *t, const struct kl__place *place, const struct kl__muon_step *s,
                        kl_error *err)
{
    struct kl__run r = {.be = t->be, .work = t->work, .err = err};
    int64_t n = place->rows * place->columns;
    float size = 0.2F * sqrtf((float)(place->rows > place->columns ? place->rows : place->columns));
    for (int64_t k = 0; k < place->n_matrix; k++) {
        int64_t at = place->at + k * n;
        const float *gradient = t->arena[KL__GRADIENT] + at;
        float *p = t->arena[KL__VALUE] + at, *momentum = t->arena[KL__MOMENT1] + at;
        for (int64_t i = 0; i < n; i++) {
            float d = gradient[i] * s->grad_scale;
            momentum[i] = s->momentum * momentum[i] + d;
            t->muon.x[i] = d + s->momentum * momentum[i];
        }
        KL_TRY(orthogonalise(&r, t->muon, place->rows, place->columns));
        for (int64_t i = 0; i < n; i++)
            p[i] -= s->lr * (size * t->muon.x[i] + s->weight_decay * p[i]);
    }
    return KL_OK;
}
