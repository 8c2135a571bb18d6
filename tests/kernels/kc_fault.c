/* A kernel that faults is a kernel that failed, not a checker that died. */
#define _GNU_SOURCE
#include "kc_internal.h"

#include <setjmp.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

enum { SECONDS_TO_RETURN = 60 };

static sigjmp_buf back;

static const struct {
    int number;
    const char *name;
} caught[] = {
    {SIGSEGV, "SIGSEGV"}, {SIGBUS, "SIGBUS"},   {SIGILL, "SIGILL"},
    {SIGFPE, "SIGFPE"},   {SIGABRT, "SIGABRT"}, {SIGALRM, "no return"},
};
enum { N_CAUGHT = sizeof caught / sizeof *caught };

static void handle(int number)
{
    siglongjmp(back, number);
}

static void listen(struct sigaction before[N_CAUGHT])
{
    struct sigaction action = {.sa_handler = handle};
    sigemptyset(&action.sa_mask);
    for (int i = 0; i < N_CAUGHT; i++)
        sigaction(caught[i].number, &action, &before[i]);
}

static void stop_listening(const struct sigaction before[N_CAUGHT])
{
    for (int i = 0; i < N_CAUGHT; i++)
        sigaction(caught[i].number, &before[i], NULL);
}

static const char *name_of(int number)
{
    for (int i = 0; i < N_CAUGHT; i++)
        if (caught[i].number == number)
            return caught[i].name;
    return NULL;
}

const char *kc_guarded(kc_call_fn *call, kc_any_fn *fn, const void *args)
{
    struct sigaction before[N_CAUGHT];
    listen(before);
    alarm(SECONDS_TO_RETURN);
    int number = sigsetjmp(back, 1);
    if (number == 0)
        call(fn, args);
    alarm(0);
    stop_listening(before);
    return name_of(number);
}
