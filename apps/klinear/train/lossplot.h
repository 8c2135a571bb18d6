/** The curve of a run's loss, drawn. */
#ifndef KA_LOSSPLOT_H
#define KA_LOSSPLOT_H

#include "klinear/kl.h"

enum { KA_MOST_RUNS = 8 };

/** Draws the logs (log.csv) of `n` runs, at most KA_MOST_RUNS, into an SVG file: the loss of the steps, smoothed, and
 *  dots for what was held back.  `name` [n] stands beside each.  Errors: KL_ERR_IO, KL_ERR_FORMAT, KL_ERR_MEMORY. */
kl_status ka_loss_plot(const char *svg, const char *const *log, const char *const *name, int n, kl_error *err);

#endif
