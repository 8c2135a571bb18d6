#include "errands.h"

#include "exchange.h"

#include <stdlib.h>

void ks_errands_open(struct ks_errands *e)
{
    pthread_mutex_init(&e->lock, NULL);
    e->first = NULL;
    e->last = &e->first;
    e->closed = false;
}

static struct ks_errand *take(struct ks_errands *e)
{
    pthread_mutex_lock(&e->lock);
    struct ks_errand *one = e->first;
    if (one && !(e->first = one->next))
        e->last = &e->first;
    pthread_mutex_unlock(&e->lock);
    return one;
}

void ks_errands_run(struct ks_errands *e)
{
    for (struct ks_errand *one; (one = take(e));) {
        one->run(one->x);
        ks_let_go(one->x);
        free(one);
    }
}

void ks_errands_stop(struct ks_errands *e)
{
    pthread_mutex_lock(&e->lock);
    e->closed = true;
    pthread_mutex_unlock(&e->lock);
    ks_errands_run(e);
}

void ks_errands_close(struct ks_errands *e)
{
    ks_errands_run(e);
    pthread_mutex_destroy(&e->lock);
}

bool ks_errand(struct ks_exchange *x, void (*run)(struct ks_exchange *x))
{
    struct ks_errands *e = &x->server->errands;
    struct ks_errand *one = calloc(1, sizeof *one);
    if (!one)
        return false;
    one->x = x;
    one->run = run;
    pthread_mutex_lock(&e->lock);
    bool closed = e->closed;
    if (!closed) {
        ks_wait(x);
        ks_hold(x);
        *e->last = one;
        e->last = &one->next;
    }
    pthread_mutex_unlock(&e->lock);
    if (closed) {
        free(one);
        return false;
    }
    kl_scheduler_wake(x->server->scheduler);
    return true;
}
