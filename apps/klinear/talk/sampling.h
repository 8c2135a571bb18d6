/** How the next token is chosen, as a user says it. */
#ifndef KA_SAMPLING_H
#define KA_SAMPLING_H

#include "../cli/options.h"

#include "klinear/kl.h"

struct ka_sampling_choice {
    double temperature, top_p, min_p, typical_p, repetition, presence, frequency;
    int64_t top_k, penalty_tokens;
    int64_t seed; /* -1: one that nobody knows yet */
    struct ka_texts bias, stop;
};
extern const struct ka_option ka_sampling_options[];
/** What struct ka_sampling_choice is before options are read, for the initialiser of a verb's defaults. */
#define KA_SAMPLING_DEFAULTS                                                                                           \
    {                                                                                                                  \
        .temperature = 0.8, .top_p = 0.95, .repetition = 1, .seed = -1                                                 \
    }

/** The same for the library. */
struct ka_sampling {
    kl_sampling s;
    kl_logit_bias bias[KA_LIST];
    uint64_t seed;
    bool chosen; /* the seed, by the user */
};

/** Errors: KL_ERR_ARGUMENT, with the option. */
kl_status ka_sampling_of(struct ka_sampling *to, const struct ka_sampling_choice *choice, int32_t n_vocab,
                         kl_error *err);

#endif
