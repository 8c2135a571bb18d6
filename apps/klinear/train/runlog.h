/** What a run writes down: a row of numbers for each step, as CSV, and the same for TensorBoard. */
#ifndef KA_RUNLOG_H
#define KA_RUNLOG_H

#include "klinear/kl.h"

#include <stdio.h>

/** The columns of log.csv; NaN: an empty field. */
struct ka_row {
    int64_t step;   /* that it came after: 1 is the first */
    int64_t tokens; /* so far */
    double loss;    /* mean of the step, nats a token */
    double valid;   /* of the held-back data, where it was looked at */
    double bits;    /* the same a byte of text */
    double lr, gradient_norm, worst_load, mean_load;
    int64_t skipped; /* 0 or 1 */
    double seconds;  /* so far */
};

struct ka_runlog {
    FILE *csv, *events;
};

/** Opens log.csv in a folder to go on after `step`: later rows, and what a dying process left of one, are removed.
 *  Events go into a new file.  Errors: KL_ERR_IO, KL_ERR_FORMAT (a log with other columns, which is left as it is),
 *  KL_ERR_MEMORY. */
kl_status ka_runlog_open(struct ka_runlog *log, const char *folder, int64_t step, kl_error *err);
void ka_runlog_close(struct ka_runlog *log);
/** Errors: KL_ERR_IO. */
kl_status ka_runlog_put(struct ka_runlog *log, const struct ka_row *row, kl_error *err);

/** Reads the next row of a log; false at its end, and at a line that is none. */
bool ka_read_row(FILE *csv, struct ka_row *row);
/** Skips the heading; false: it is not the one of a log. */
bool ka_read_heading(FILE *csv);

#endif
