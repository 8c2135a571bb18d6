/** How fast a model would run in little memory: what a token needs, and how fast disk and memory give it. */
#ifndef KA_FORESIGHT_H
#define KA_FORESIGHT_H

#include "../cli/budget.h"

struct ka_foresight {
    struct ka_budget budget;
    int64_t experts, in_memory; /* of all layers */
    double hits;                /* experts that are found, were all chosen alike; real choices are found more often */
    double disk_bytes, memory_bytes; /* that a token reads */
    double disk_gbps, memory_gbps; /* measured: scattered pieces as large as an expert's matrices; end to end */
    double tokens_per_second; /* when the one is waited for before the other, as a step does */
};

/** Divides memory as a run does and measures for a second at most.  budget.total 0: no limit is needed, and nothing
 *  else is filled.   Errors: as ka_divide_memory(); KL_ERR_IO. */
kl_status ka_foresee(struct ka_foresight *f, const struct ka_loaded *l, const struct ka_choice *choice, int batch,
                     kl_error *err);

#endif
