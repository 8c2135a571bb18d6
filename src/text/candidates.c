/* Orders come from a heap, so that only as many candidates are sorted as are kept. */
#include "text/candidates.h"
#include "text/fixed.h"

#include <stdbool.h>

static bool before(const struct kl__candidate *a, const struct kl__candidate *b)
{
    return a->key > b->key || (a->key == b->key && a->id < b->id);
}

static void sift_down(struct kl__candidate *heap, size_t n, size_t i)
{
    struct kl__candidate item = heap[i];
    for (size_t child; (child = 2 * i + 1) < n; i = child) {
        child += child + 1 < n && before(&heap[child + 1], &heap[child]);
        if (!before(&heap[child], &item))
            break;
        heap[i] = heap[child];
    }
    heap[i] = item;
}

static void reverse(struct kl__candidate *at, size_t n)
{
    for (size_t i = 0; i < n / 2; i++) {
        struct kl__candidate other = at[i];
        at[i] = at[n - 1 - i];
        at[n - 1 - i] = other;
    }
}

/* The heap gives the first ones away at its front, and they gather at the end of the array, the last one foremost. */
void kl__keep_first(struct kl__candidates *c, size_t n_most, double enough)
{
    double sum = 0;
    size_t n_heap = c->n, n_kept = 0;
    for (size_t i = n_heap / 2; i-- > 0;)
        sift_down(c->at, n_heap, i);
    while (n_heap && n_kept < n_most && (n_kept == 0 || sum < enough)) {
        struct kl__candidate first = c->at[0];
        c->at[0] = c->at[--n_heap];
        sift_down(c->at, n_heap, 0);
        c->at[n_heap] = first;
        sum += first.p;
        n_kept++;
    }
    memmove(c->at, c->at + n_heap, n_kept * sizeof *c->at);
    reverse(c->at, n_kept);
    c->n = n_kept;
}

void kl__keep_likely(struct kl__candidates *c, double p_least)
{
    size_t n = 0;
    for (size_t i = 0; i < c->n; i++)
        if (c->at[i].p >= p_least)
            c->at[n++] = c->at[i];
    c->n = n;
}

double kl__sum(const struct kl__candidates *c)
{
    double sum = 0;
    for (size_t i = 0; i < c->n; i++)
        sum += c->at[i].p;
    return sum;
}

/* Surprise is -ln p; its expectation is the entropy (Meister et al.: Locally typical sampling, arXiv:2202.00666). */
void kl__keep_typical(struct kl__candidates *c, double share)
{
    kl__keep_likely(c, 0x1p-1022);
    double sum = kl__sum(c), log_sum = kl__log(sum), entropy = 0;
    for (size_t i = 0; i < c->n; i++) {
        c->at[i].key = log_sum - kl__log(c->at[i].p);
        entropy += c->at[i].p / sum * c->at[i].key;
    }
    for (size_t i = 0; i < c->n; i++) {
        double away = c->at[i].key - entropy;
        c->at[i].key = away > 0 ? -away : away;
    }
    kl__keep_first(c, c->n, share * sum);
    for (size_t i = 0; i < c->n; i++)
        c->at[i].key = c->at[i].p;
}

int32_t kl__draw(const struct kl__candidates *c, double u)
{
    double target = u * kl__sum(c), sum = 0;
    size_t last = 0;
    for (size_t i = 0; i < c->n; i++) {
        sum += c->at[i].p;
        last = c->at[i].p > 0 ? i : last;
        if (sum > target)
            return c->at[i].id;
    }
    return c->at[last].id; /* u * sum was rounded up to the sum */
}
