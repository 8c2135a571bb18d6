/** How the memory that a user allows for a whole process is divided: program, workspace and sessions get what they
 *  need, the latent cache a share, and weights the rest. */
#ifndef KA_BUDGET_H
#define KA_BUDGET_H

#include "loaded.h"

struct ka_budget {
    int64_t total;     /* what --memory says, or what can be had where the files need more; 0: no limit is needed */
    int64_t program;   /* what the process has when a model has just been opened, and what a tokenizer will take */
    int64_t workspace; /* of a step */
    int64_t sessions;  /* states of a few sequences and checkpoints, logits */
    int64_t cache;     /* latent pages */
    int64_t weights;   /* matrices; small parameters are in `program` */
    bool whole;        /* all weights fit, packed */
};

/** Divides for an engine with these options.  `beside`: bytes that the caller will take as well.
 *  Errors: KL_ERR_MEMORY, with the smallest --memory that would do; KL_ERR_ARGUMENT. */
kl_status ka_divide_memory(struct ka_budget *b, const kl_model *model, const struct ka_choice *choice,
                           const kl_engine_options *options, int64_t beside, kl_error *err);

#endif
