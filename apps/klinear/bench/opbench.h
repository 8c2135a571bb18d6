/** Times operators against each other: plans what to time, times it in rounds, makes rows of it. */
#ifndef KA_OPBENCH_H
#define KA_OPBENCH_H

#include "ceilings.h"
#include "measuring.h"
#include "rows.h"
#include "timed.h"

/** What to time: every combination of the lists that makes sense. */
struct ka_opbench_plan {
    struct ka_list op, pass, isa, dtype; /* indices into ka_timed_name, ka_pass_name, ka_isa_name, ka_dtype_word */
    struct ka_list T, heads, dim, chunk, threads;
    struct ka_measuring measuring;
    int64_t sample_ms; /* a sample repeats its call for at least so long */
};
extern const char *const ka_isa_name[], *const ka_dtype_word[];

struct ka_opbench {
    struct ka_machine machine;
    struct ka_ceilings ceilings;
    struct ka_engine *engine; /* [n_engine] backends, one per isa and number of threads */
    int n_engine;
    struct ka_row *row; /* [n_row] */
    int n_row;
};

/** Runs the plan.  Notes on what is left out, and progress on a terminal, go to stderr.  false: `err` says why. */
bool ka_opbench_run(struct ka_opbench *b, const struct ka_opbench_plan *plan, kl_error *err);
/** Writes what the machine is and what its ceilings are: the members of an object. */
void ka_opbench_machine_json(struct ka_json *j, const struct ka_opbench *b);
/** The same as lines of text. */
void ka_opbench_machine_text(FILE *out, const struct ka_opbench *b);
void ka_opbench_free(struct ka_opbench *b);

#endif
