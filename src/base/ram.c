#include "base/ram.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { PATH = 1024 };

/* How one version of control groups calls things. */
struct names {
    const char *mount, *most, *used, *given_up; /* the last: a row of memory.stat */
};
static const struct names version_1 = {"/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes",
                                       "total_inactive_file"};
static const struct names version_2 = {"/sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"};

/* The number behind `key` in a file of rows; of the first row where key is "". */
static bool read_number(int64_t *n, const char *folder, const char *name, const char *key)
{
    char path[PATH + 64], line[256];
    long long number;
    bool found = false;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "r");
    if (!file)
        return false;
    while (!found && fgets(line, sizeof line, file))
        found = strncmp(line, key, strlen(key)) == 0 && sscanf(line + strlen(key), "%lld", &number) == 1;
    fclose(file);
    if (found)
        *n = number;
    return found;
}

static struct kl__ram of_machine(const char *root)
{
    char folder[PATH];
    long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGE_SIZE);
    struct kl__ram m = {.bytes = pages > 0 && page > 0 ? (int64_t)pages * page : (int64_t)1 << 32};
    int64_t kib;
    snprintf(folder, sizeof folder, "%s/proc", root);
    if (read_number(&kib, folder, "meminfo", "MemTotal:"))
        m.bytes = kib << 10;
    m.free_bytes = read_number(&kib, folder, "meminfo", "MemAvailable:") ? kib << 10 : m.bytes / 2;
    return m;
}

static void limit(struct kl__ram *m, const char *folder, const struct names *x)
{
    int64_t most, used, given_up;
    if (!read_number(&most, folder, x->most, ""))
        return; /* no such group, or "max" */
    if (!read_number(&used, folder, x->used, ""))
        used = 0;
    if (read_number(&given_up, folder, "memory.stat", x->given_up))
        used -= given_up < used ? given_up : used;
    int64_t left = most > used ? most - used : 0;
    m->bytes = most < m->bytes ? most : m->bytes;
    m->free_bytes = left < m->free_bytes ? left : m->free_bytes;
}

/* The group, and every one above it.  In a container its name may be that of the host: then only the last one is there,
 * and is the container's. */
static void limit_of_group(struct kl__ram *m, const char *root, const char *group, const struct names *x)
{
    char folder[PATH];
    size_t mount = strlen(root) + strlen(x->mount);
    if (snprintf(folder, sizeof folder, "%s%s%s", root, x->mount, group) >= (int)sizeof folder)
        return;
    for (char *end = folder; end; end = strrchr(folder + mount, '/')) {
        if (end > folder)
            *end = 0;
        limit(m, folder, x);
    }
}

struct kl__ram kl__ram_below(const char *root)
{
    struct kl__ram m = of_machine(root);
    char path[PATH], line[PATH];
    snprintf(path, sizeof path, "%s/proc/self/cgroup", root);
    FILE *file = fopen(path, "r");
    if (!file)
        return m;
    while (fgets(line, sizeof line, file)) { /* number:controllers:/group */
        line[strcspn(line, "\n")] = 0;
        char *controllers = strchr(line, ':'), *group = controllers ? strchr(controllers + 1, ':') : NULL;
        if (!group)
            continue;
        *controllers++ = 0;
        *group++ = 0;
        if (strcmp(line, "0") == 0 && !*controllers)
            limit_of_group(&m, root, group, &version_2);
        else if (strcmp(controllers, "memory") == 0)
            limit_of_group(&m, root, group, &version_1);
    }
    fclose(file);
    return m;
}

struct kl__ram kl__ram(void)
{
    return kl__ram_below("");
}
