/** Work for the thread that steps, which is the only one that may touch engine and prefix cache: done between two
 *  steps, in the order in which it came. */
#ifndef KS_ERRANDS_H
#define KS_ERRANDS_H

#include <pthread.h>
#include <stdbool.h>

struct ks_exchange;

struct ks_errand {
    struct ks_errand *next;
    struct ks_exchange *x; /* held until it has run */
    void (*run)(struct ks_exchange *x);
};

struct ks_errands {
    pthread_mutex_t lock;
    struct ks_errand *first, **last;
    bool closed; /* nobody will run more of them */
};

void ks_errands_open(struct ks_errands *e);
/** Runs what is there. */
void ks_errands_run(struct ks_errands *e);
/** Runs what is there, and takes no more. */
void ks_errands_stop(struct ks_errands *e);
void ks_errands_close(struct ks_errands *e);
/** The exchange waits, and run(x) will be called on the thread that steps.  False: no memory, or none
 *  are taken any more. */
bool ks_errand(struct ks_exchange *x, void (*run)(struct ks_exchange *x));

#endif
