/** What klinear inspect finds out about a model. */
#ifndef KA_INSPECTION_H
#define KA_INSPECTION_H

#include "../cli/loaded.h"
#include "../cli/machine.h"
#include "foresight.h"

enum {
    KA_INSPECT_GROUPS = 256,
    KA_INSPECT_CONTEXTS = 4,
};

/** Tensors that are the same parameter and have the same type. */
struct ka_tensor_group {
    const char *role; /* "KDA_Q" */
    const char *type;
    int n_dim;
    int64_t dim[6]; /* of the first of them */
    int64_t n_tensor, n_element, bytes;
};

/** What a sequence of so many tokens takes. */
struct ka_context {
    int64_t tokens, bytes;
    int64_t all_mla_bytes; /* if every layer had MLA; 0: that is not known */
};

struct ka_inspection {
    struct ka_loaded loaded;
    struct ka_machine machine;
    kl_token_cost cost;
    int64_t active; /* parameters that meet a token in a product */
    int n_file;
    int64_t n_tensor, file_bytes;
    struct ka_tensor_group group[KA_INSPECT_GROUPS];
    int n_group;
    kl_cache_type cache;
    kl_state_cost state;
    struct ka_context context[KA_INSPECT_CONTEXTS];
    int n_context;
    /* memory of a run with one sequence of `asked` tokens */
    int64_t asked;
    int64_t program_bytes, opened_bytes, workspace_bytes, state_bytes, peak_bytes;
    struct ka_foresight foresight; /* budget.total 0: no limit */
    /* what this machine can hold: -1: no end in sight */
    int64_t longest_context, sequences;
};

/** Opens the model and finds out everything.  `asked`: tokens of a sequence to plan for; `batch`: tokens of a step, 0:
 *  the engine's default.  Close it when it succeeded. */
kl_status ka_inspect(struct ka_inspection *i, const struct ka_choice *choice, int64_t asked, int64_t batch,
                     kl_error *err);
void ka_inspect_close(struct ka_inspection *i);

#endif
