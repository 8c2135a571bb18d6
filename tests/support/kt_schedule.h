/** Requests to a scheduler, what they were told, and what a process of their own would have been told. */
#ifndef KT_SCHEDULE_H
#define KT_SCHEDULE_H

#include "support/tiny.h"

enum { KT_MOST_NEW = 150, KT_TOPS = 4 };

/** A request and all that came of it.  Zero-filled but for `r`, it is new. */
struct kt_asked {
    kl_request r; /* its prompt belongs to the test */
    uint64_t job;
    int n_new, n_prompt_told, n_read_event;
    int enough; /* tokens after which the test is satisfied; 0: never */
    int32_t id[KT_MOST_NEW];
    kl_sampled token[KT_MOST_NEW];
    double prompt_logprob[1024];
    float embedding[512];
    bool ended;
    kl_job_report report;
};

/** For kl_request.tell; `user` is the struct kt_asked. */
bool kt_told(void *user, const kl_job_event *event);
/** Fills in tell and user, and submits; false: too much is waiting. */
bool kt_ask(kl_scheduler *s, struct kt_asked *a);
/** Steps until nothing is left to do. */
void kt_finish(kl_scheduler *s);
/** What it was told, asked of an engine that reads nothing else: the first new token that differs in a bit, or -1. */
int kt_differs(const struct kt_asked *a, struct kt_engine *cold);
/** The same tokens, with the same bits, on an engine that reads nothing else. */
void kt_assert_alone(const struct kt_asked *a, struct kt_engine *cold);

#endif
