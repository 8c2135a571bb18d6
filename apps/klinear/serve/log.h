/** What is written to standard error while the server runs: a JSON object on each line, without what people wrote
 *  unless that is asked for. */
#ifndef KS_LOG_H
#define KS_LOG_H

#include "exchange.h"

/** A request has been dealt with; `left`: the client did not wait for it. */
void ks_log_exchange(struct ks_exchange *x, bool left);
/** {"time": ..., "event": "..."} with a number, where there is one to tell. */
void ks_log_event(const struct ks_server *s, const char *event, const char *name, int64_t number);
/** What a client sent, with --log prompts. */
void ks_log_prompt(const struct ks_exchange *x, kl_text body);

#endif
