/** What a trace saw, as JSON: a file of `klinear run --trace`, and what the server tells live.  The shape is in
 *  docs/trace.md. */
#ifndef KA_TRACING_H
#define KA_TRACING_H

#include "../cli/json.h"
#include "../cli/loaded.h"

/** How much of it. */
struct ka_trace_view {
    int64_t first;        /* single tokens from this position on */
    bool whole;           /* also the mean half-life of every channel, and all bins */
    const int32_t *known; /* [n_known] tokens from position 0 on, for those that were not seen */
    int64_t n_known;
};

/** Fields of one object that the caller has opened.  `l` has its tokenizer. */
void ka_trace_json(struct ka_json *j, const kl_trace *trace, const struct ka_loaded *l, struct ka_trace_view view);
/** A file of its own, complete or absent.  Errors: KL_ERR_IO. */
kl_status ka_trace_save(const char *path, const kl_trace *trace, const struct ka_loaded *l, kl_error *err);

#endif
