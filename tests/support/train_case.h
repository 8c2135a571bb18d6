/** Small models of every kind with random parameters, and batches for them: what the tests of training share. */
#ifndef TRAIN_CASE_H
#define TRAIN_CASE_H

#include "support/kt.h"

#include "klinear/kl_train.h"

enum { TC_N_MODEL = 11, TC_MOST_TOKENS = 96, TC_MOST_SEQS = 8 };

/** Number i of the models: between them they have every mixer, every form of the gates, of the router, of the head. */
kl_config tc_config(int i);
/** Static storage. */
const char *tc_name(int i);

/** The fastest level of this machine. */
const char *tc_level(void);

/** Random parameters, scaled as those of a model are. */
void tc_fill(kl_trainer *t, kt_rng *r);
/** A trainer with such parameters.  The caller closes it. */
kl_trainer *tc_trainer(const kl_config *c, const kl_backend *be, const uint8_t *recompute, kt_rng *r);

struct tc_batch {
    int32_t token[TC_MOST_TOKENS], label[TC_MOST_TOKENS];
    int64_t cu[TC_MOST_SEQS + 1];
    kl_batch batch; /* points into this very struct: fill it where it stays */
};
/** Sequences of these lengths (ends with -1; 0 is allowed), random tokens, some labels masked. */
void tc_batch(struct tc_batch *b, const kl_config *c, const int64_t *length, kt_rng *r);

#endif
