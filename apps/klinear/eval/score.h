/** How well logits foresee a text, and how far they are from those of another run. */
#ifndef KA_SCORE_H
#define KA_SCORE_H

#include "klinear/kl.h"

/** Sums over positions.  Zero-filled at the start. */
struct ka_score {
    int64_t n;           /* positions */
    double nats, square; /* sum of the losses, and of their squares */
    int64_t bytes;       /* of text that was foreseen */
    /* against the other run, where there is one */
    double kl_sum, kl_most;
    float *kl; /* [n], to be given to ka_free_score */
    int64_t n_kl, room, same; /* same: the largest logit is that of the same token */
};

/** Adds one position: logits [n_vocab] of what stands before `token`, whose text has `bytes` bytes. */
void ka_score_add(struct ka_score *s, const float *logits, int64_t n_vocab, int32_t token, int64_t bytes);
/** Adds the divergence KL(other || logits) of one position, in nats.  False: no memory. */
bool ka_score_compare(struct ka_score *s, const float *logits, const float *other, int64_t n_vocab);

double ka_score_perplexity(const struct ka_score *s);
/** Of the perplexity, were losses independent of each other. */
double ka_score_error(const struct ka_score *s);
double ka_score_bits_per_byte(const struct ka_score *s);
/** The divergence that a part `part` of all positions does not exceed.  Sorts. */
double ka_score_quantile(struct ka_score *s, double part);
void ka_free_score(struct ka_score *s);

#endif
