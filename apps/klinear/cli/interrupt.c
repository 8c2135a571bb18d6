#include "interrupt.h"

#include "base/error.h"

#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <sys/time.h>

/* The number of the signal.  The system may choose any thread for a signal, so what a handler may write is not enough:
 * another thread reads it. */
static atomic_int caught;
_Static_assert(ATOMIC_INT_LOCK_FREE == 2, "handlers of signals may write atomics that need no lock");

/* A signal that comes just before a read begins would wait there for the next key.  So a clock goes on ticking until
 * the signal has been taken note of, and each tick ends a read. */
static void tick_every(long microseconds)
{
    struct itimerval every = {{0, microseconds}, {0, microseconds}};
    setitimer(ITIMER_REAL, &every, NULL);
}

static void tick(int number)
{
    (void)number;
}

static void note(int number)
{
    if (caught) {
        signal(number, SIG_DFL);
        raise(number);
    }
    caught = number;
    tick_every(50000);
}

void ka_catch_interrupts(void)
{
    struct sigaction action = {.sa_handler = note}; /* without SA_RESTART: a read that waits ends */
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    action.sa_handler = tick;
    sigaction(SIGALRM, &action, NULL);
}

bool ka_interrupted(void)
{
    return caught != 0;
}

bool ka_terminated(void)
{
    return caught == SIGTERM;
}

void ka_forget_interrupt(void)
{
    tick_every(0);
    caught = 0;
}

kl_status ka_step_status(kl_status status, kl_error *err)
{
    return status == KL_ERR_CANCELLED ? kl__fail(err, status, "interrupted") : status;
}
