/** Why a request is refused, in the shapes that clients expect. */
#ifndef KS_PROBLEM_H
#define KS_PROBLEM_H

#include "klinear/kl/base.h"

#include <jansson.h>

struct ks_problem {
    int status;       /* of HTTP; 0: none */
    const char *code; /* NULL: null */
    char param[64];   /* the field; empty: null */
    char text[320];
    int retry_seconds; /* when to try again; 0: nothing is said */
};

/** Fills in a problem; returns false, so that a failing line is one line.  `param` and `code` may be NULL. */
bool ks_refuse(struct ks_problem *p, int status, const char *param, const char *code, const char *format, ...)
    __attribute__((format(printf, 5, 6)));
/** A failure of the library: arguments and formats are the client's fault, all else is ours. */
bool ks_refuse_error(struct ks_problem *p, const char *param, kl_status status, const kl_error *err);
/** The body of the answer: {"error": {...}}, or Anthropic's.  A new reference. */
json_t *ks_problem_json(const struct ks_problem *p, bool anthropic);

#endif
