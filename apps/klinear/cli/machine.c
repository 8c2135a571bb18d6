#define _GNU_SOURCE
#include "machine.h"

#include "base/cpu.h"
#include "base/ram.h"
#include "klinear/kl.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

/* One line of a small file of the kernel's; false when there is none. */
static bool read_line(const char *path, char *line, int bytes)
{
    FILE *file = fopen(path, "r");
    if (!file)
        return false;
    bool got = fgets(line, bytes, file) != NULL;
    fclose(file);
    return got;
}

static void find_caches(struct ka_machine *m)
{
    for (int i = 0; i < 16; i++) {
        char path[96], type[32], line[32];
        snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu0/cache/index%d/type", i);
        if (!read_line(path, type, sizeof type) || type[0] == 'I')
            continue;
        int level = 0;
        unsigned long kib = 0;
        snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu0/cache/index%d/level", i);
        if (!read_line(path, line, sizeof line) || sscanf(line, "%d", &level) != 1)
            continue;
        snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu0/cache/index%d/size", i);
        if (!read_line(path, line, sizeof line) || sscanf(line, "%luK", &kib) != 1)
            continue;
        size_t *bytes = level == 1 ? &m->l1_bytes : level == 2 ? &m->l2_bytes : level == 3 ? &m->l3_bytes : NULL;
        if (bytes)
            *bytes = (size_t)kib << 10;
    }
}

static size_t dram_bytes(const struct ka_machine *m, int64_t dram_mib)
{
    size_t least = (size_t)256 << 20, bytes = 2 * m->l3_bytes > least ? 2 * m->l3_bytes : least;
    if (dram_mib > 0)
        bytes = (size_t)dram_mib << 20;
    return bytes < m->memory_free_bytes / 4 ? bytes : m->memory_free_bytes / 4;
}

struct ka_machine ka_machine(int64_t dram_mib)
{
    struct ka_machine m = {.cores = kl__cpu_cores()};
    kl_cpu_describe(m.processor, sizeof m.processor);
    find_caches(&m);
    struct kl__ram ram = kl__ram();
    m.memory_bytes = (size_t)ram.bytes;
    m.memory_free_bytes = (size_t)ram.free_bytes;
    m.dram_bytes = dram_bytes(&m, dram_mib);
    return m;
}

void ka_machine_json(struct ka_json *j, const struct ka_machine *m)
{
    ka_json_text(j, "processor", m->processor);
    ka_json_integer(j, "cores", m->cores);
    ka_json_integer(j, "l1_bytes", (int64_t)m->l1_bytes);
    ka_json_integer(j, "l2_bytes", (int64_t)m->l2_bytes);
    ka_json_integer(j, "l3_bytes", (int64_t)m->l3_bytes);
    ka_json_integer(j, "memory_bytes", (int64_t)m->memory_bytes);
    ka_json_text(j, "version", kl_version());
    ka_json_text(j, "compiler", ka_compiler());
}

const char *ka_compiler(void)
{
#if defined(__clang__)
    return "clang " __clang_version__;
#else
    return "gcc " __VERSION__;
#endif
}

double ka_resident_bytes(void)
{
    long long whole, resident = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    if (!f || fscanf(f, "%lld %lld", &whole, &resident) != 2)
        resident = 0;
    if (f)
        fclose(f);
    return (double)resident * (double)sysconf(_SC_PAGESIZE);
}

double ka_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static size_t whole_pages(size_t bytes)
{
    size_t page = (size_t)2 << 20;
    return (bytes + page) / page * page;
}

void *ka_alloc(size_t bytes)
{
    if (bytes > SIZE_MAX / 2)
        return NULL;
    void *memory = mmap(NULL, whole_pages(bytes), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return NULL;
#ifdef MADV_HUGEPAGE
    madvise(memory, whole_pages(bytes), MADV_HUGEPAGE);
#endif
    return memory;
}

void ka_free(void *memory, size_t bytes)
{
    if (memory)
        munmap(memory, whole_pages(bytes));
}
