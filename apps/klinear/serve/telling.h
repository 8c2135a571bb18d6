/** What jobs say, on its way to clients. */
#ifndef KS_TELLING_H
#define KS_TELLING_H

#include "generation.h"

/** For kl_request.tell; the user is the choice. */
bool ks_told(void *choice, const kl_job_event *event);
/** Before the choice is submitted: the first event of a stream. */
bool ks_begin_choice(struct ks_choice *c);

#endif
