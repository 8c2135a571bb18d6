/** How fast models read and write, timed in rounds: every case once with each model, then all again. */
#ifndef KA_MODELBENCH_H
#define KA_MODELBENCH_H

#include "../cli/fields.h"
#include "../cli/loaded.h"
#include "ceilings.h"
#include "measuring.h"
#include "profile.h"

enum { KA_MODELS = 2 };

struct ka_modelbench_plan {
    struct ka_choice choice;
    const char *other; /* model to compare with; NULL: none */
    struct ka_list prefill, decode, depth, batch;
    bool fill;    /* states of a depth are made up instead of being computed */
    int64_t step; /* most tokens of one step */
    struct ka_measuring measuring;
    bool profile; /* one more sample of every case, watched */
};

struct ka_model_row {
#define FIELD(name, kind, heading, width) ka_##kind name;
#include "modelrows.def"
#undef FIELD
    double ratio; /* of the second model's tokens per second to the first's, median of rounds; NaN: of the first */
};
extern const struct ka_field ka_model_row_fields[];

struct ka_modelbench {
    struct ka_machine machine;
    struct ka_ceilings ceilings;
    struct ka_loaded model[KA_MODELS];
    int n_model;
    int read_ceiling[KA_MODELS];
    struct ka_model_row *row; /* model by model within a case */
    int n_row, room;
    struct ka_profile *profile; /* [n_profile]: of every case with the first model */
    int n_profile;
};

/** Measures everything; cases that memory does not allow are left out, with a sentence on stderr.  What it fills has to
 *  be freed, whatever it returns.  Errors: as those of opening and reading; KL_ERR_CANCELLED. */
kl_status ka_modelbench_run(struct ka_modelbench *b, const struct ka_modelbench_plan *plan, kl_error *err);
void ka_modelbench_free(struct ka_modelbench *b);

#endif
