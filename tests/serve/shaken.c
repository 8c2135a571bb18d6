/* Preloaded into a server, stands before the C library.  The file that SHAKEN names, once it is there, says how many of
 * a thousand allocations fail, and by how many seconds the wall clock is wrong. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

extern void *__libc_malloc(size_t bytes);
extern void *__libc_calloc(size_t n, size_t bytes);
extern void *__libc_realloc(void *old, size_t bytes);
extern void *__libc_memalign(size_t align, size_t bytes);

static _Atomic int failing;     /* of a thousand */
static _Atomic long long wrong; /* seconds */

static void *watch(void *path)
{
    for (;; usleep(20000)) {
        FILE *f = fopen(path, "r");
        int of_thousand = 0;
        long long seconds = 0;
        if (f && fscanf(f, "%d %lld", &of_thousand, &seconds) < 1)
            of_thousand = 0;
        if (f)
            fclose(f);
        failing = of_thousand;
        wrong = seconds;
    }
    return NULL;
}

__attribute__((constructor)) static void begin(void)
{
    static char path[256];
    pthread_t thread;
    const char *name = getenv("SHAKEN");
    if (!name || strlen(name) >= sizeof path)
        return;
    memcpy(path, name, strlen(name));
    pthread_create(&thread, NULL, watch, path);
}

static int fails(void)
{
    static _Atomic uint32_t drawn = 1;
    uint32_t x = atomic_fetch_add(&drawn, 1) * 2654435761u;
    if (!failing || (int)((x >> 8) % 1000) >= failing)
        return 0;
    errno = ENOMEM;
    return 1;
}

void *malloc(size_t bytes)
{
    return fails() ? NULL : __libc_malloc(bytes);
}

void *calloc(size_t n, size_t bytes)
{
    return fails() ? NULL : __libc_calloc(n, bytes);
}

void *realloc(void *old, size_t bytes)
{
    return fails() ? NULL : __libc_realloc(old, bytes);
}

void *aligned_alloc(size_t align, size_t bytes)
{
    return fails() ? NULL : __libc_memalign(align, bytes);
}

int clock_gettime(clockid_t which, struct timespec *now)
{
    static int (*real)(clockid_t, struct timespec *);
    if (!real)
        *(void **)&real = dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(which, now);
    if (which == CLOCK_REALTIME)
        now->tv_sec += wrong;
    return result;
}

time_t time(time_t *to)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (to)
        *to = now.tv_sec;
    return now.tv_sec;
}
