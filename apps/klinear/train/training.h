/** A training run: from a recipe to a model, and on from where it was when it ended before. */
#ifndef KA_TRAINING_H
#define KA_TRAINING_H

#include "../bench/ceilings.h"
#include "checkpoints.h"
#include "recipe.h"
#include "runlog.h"

struct ka_training {
    const struct ka_recipe *r;
    kl_config c;
    kl_pool *pool;
    kl_backend *backend;
    kl_tokenizer *tokenizer;
    kl_data *data, *valid; /* valid: NULL when there is none */
    kl_trainer *trainer;
    int32_t *token, *label; /* [pass] */
    int64_t *cu;            /* [pass + 1] */
    struct ka_runlog log;
    kl_trainer_options options;
    double ceiling, flops; /* GFLOP/s of the machine; flops of a token */

    /* where the run is */
    int64_t step;
    double best;    /* lowest loss of the held-back data; infinity: none yet */
    double seconds; /* of earlier processes */
    double started; /* of this one */
    int64_t first;  /* step that this process began with */
    int64_t n_lost; /* last steps in a row whose gradients were not finite */
};

/** Opens everything but the trainer and the log. */
kl_status ka_training_open(struct ka_training *t, const struct ka_recipe *r, kl_error *err);
void ka_training_close(struct ka_training *t);

/** Prints what the run would be, and the memory that it would take. */
kl_status ka_training_foretell(const struct ka_training *t, kl_error *err);

/** Opens the trainer with what the last good checkpoint in the output folder has, or fresh. */
kl_status ka_training_begin(struct ka_training *t, kl_error *err);
/** Trains until the end, or Ctrl-C, or `stop` more steps (0: no such limit); *done says whether it was the end. */
kl_status ka_training_run(struct ka_training *t, int64_t stop, bool *done, kl_error *err);
/** Writes the model in Hugging Face layout and as GGUF, and draws the loss. */
kl_status ka_training_finish(struct ka_training *t, kl_error *err);

/** Instead of these three: opens the trainer with what had the best loss, and writes that model. */
kl_status ka_training_begin_best(struct ka_training *t, kl_error *err);
kl_status ka_training_finish_best(struct ka_training *t, kl_error *err);

/** Adds text that the model writes to samples.txt. */
kl_status ka_training_sample(struct ka_training *t, kl_error *err);
/** Removes what later steps than the present one have added: they come again. */
kl_status ka_training_cut_samples(const struct ka_training *t, kl_error *err);
/** Writes a checkpoint under the number of the step, or as the best. */
kl_status ka_training_save(struct ka_training *t, kl_error *err);
kl_status ka_training_save_best(struct ka_training *t, kl_error *err);
/** Loss of the held-back data, nats a token, and bits a byte. */
kl_status ka_training_judge(struct ka_training *t, double *loss, double *bits, kl_error *err);

#endif
