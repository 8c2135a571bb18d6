#include "interrupt.h"

#include <signal.h>
#include <stddef.h>

static volatile sig_atomic_t caught; /* the number of the signal */

static void note(int number)
{
    if (caught) {
        signal(number, SIG_DFL);
        raise(number);
    }
    caught = number;
}

void ka_catch_interrupts(void)
{
    struct sigaction action = {.sa_handler = note}; /* without SA_RESTART: a read that waits ends */
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
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
    caught = 0;
}
