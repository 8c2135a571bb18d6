#include "score.h"

#include <math.h>
#include <stdlib.h>

/* The logarithm of the sum of all exponentials, and the place of the largest. */
static double log_sum(const float *x, int64_t n, int64_t *largest)
{
    double sum = 0;
    *largest = 0;
    for (int64_t i = 1; i < n; i++)
        if (x[i] > x[*largest])
            *largest = i;
    for (int64_t i = 0; i < n; i++)
        sum += (double)expf(x[i] - x[*largest]);
    return (double)x[*largest] + log(sum);
}

void ka_score_add(struct ka_score *s, const float *logits, int64_t n_vocab, int32_t token, int64_t bytes)
{
    int64_t largest;
    double loss = log_sum(logits, n_vocab, &largest) - (double)logits[token];
    s->n++;
    s->nats += loss;
    s->square += loss * loss;
    s->bytes += bytes;
}

bool ka_score_compare(struct ka_score *s, const float *logits, const float *other, int64_t n_vocab)
{
    int64_t largest, largest_other;
    double sum = log_sum(logits, n_vocab, &largest), sum_other = log_sum(other, n_vocab, &largest_other), kl = 0;
    for (int64_t i = 0; i < n_vocab; i++) {
        double p = (double)other[i] - sum_other, q = (double)logits[i] - sum;
        kl += exp(p) * (p - q);
    }
    if (s->n_kl == s->room) {
        int64_t room = s->room ? 2 * s->room : 4096;
        float *more = realloc(s->kl, (size_t)room * sizeof *more);
        if (!more)
            return false;
        s->kl = more;
        s->room = room;
    }
    s->kl[s->n_kl++] = (float)kl;
    s->kl_sum += kl;
    s->kl_most = fmax(s->kl_most, kl);
    s->same += largest == largest_other;
    return true;
}

double ka_score_perplexity(const struct ka_score *s)
{
    return exp(s->nats / (double)s->n);
}

double ka_score_error(const struct ka_score *s)
{
    double n = (double)s->n, mean = s->nats / n;
    double variance = n > 1 ? fmax(0, (s->square - n * mean * mean) / (n - 1)) : NAN;
    return ka_score_perplexity(s) * sqrt(variance / n);
}

double ka_score_bits_per_byte(const struct ka_score *s)
{
    return s->bytes ? s->nats / log(2) / (double)s->bytes : NAN;
}

static int by_size(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

double ka_score_quantile(struct ka_score *s, double part)
{
    if (!s->n_kl)
        return NAN;
    qsort(s->kl, (size_t)s->n_kl, sizeof *s->kl, by_size);
    return (double)s->kl[(int64_t)(part * (double)(s->n_kl - 1))];
}

void ka_free_score(struct ka_score *s)
{
    free(s->kl);
}
