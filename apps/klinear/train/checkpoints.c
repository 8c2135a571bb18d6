#include "checkpoints.h"

#include "base/error.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char begin[] = "step-", end[] = ".training";

kl_status ka_path(char path[KA_PATH], const char *folder, const char *name, kl_error *err)
{
    int n = snprintf(path, KA_PATH, "%s/%s", folder, name);
    if (n < 0 || n >= KA_PATH)
        return kl__fail(err, KL_ERR_IO, "%.80s..: the path is too long", folder);
    return KL_OK;
}

kl_status ka_checkpoint_path(char path[KA_PATH], const char *folder, int64_t step, kl_error *err)
{
    char name[64];
    snprintf(name, sizeof name, "%s%09lld%s", begin, (long long)step, end);
    return ka_path(path, folder, name, err);
}

kl_status ka_best_path(char path[KA_PATH], const char *folder, kl_error *err)
{
    return ka_path(path, folder, "best.training", err);
}

/* The step in the name of a checkpoint; -1: it is none. */
static int64_t step_of(const char *name)
{
    size_t head = sizeof begin - 1, n = strlen(name);
    int64_t step = 0;
    if (n < head + sizeof end || strncmp(name, begin, head) != 0 || strcmp(name + n - (sizeof end - 1), end) != 0)
        return -1;
    for (const char *c = name + head; c < name + n - (sizeof end - 1); c++) {
        if (*c < '0' || *c > '9' || step > INT64_MAX / 10 - 1)
            return -1;
        step = 10 * step + (*c - '0');
    }
    return step;
}

int64_t ka_last_checkpoint(const char *folder, int64_t below)
{
    int64_t last = -1;
    DIR *d = opendir(folder);
    for (struct dirent *e; d && (e = readdir(d));) {
        int64_t step = step_of(e->d_name);
        last = step < below && step > last ? step : last;
    }
    if (d)
        closedir(d);
    return last;
}

void ka_forget_checkpoints(const char *folder, int64_t keep)
{
    int64_t step = INT64_MAX;
    for (int64_t i = 0; i < keep && step >= 0; i++)
        step = ka_last_checkpoint(folder, step);
    while (step >= 0 && (step = ka_last_checkpoint(folder, step)) >= 0) {
        char path[KA_PATH];
        if (ka_checkpoint_path(path, folder, step, NULL) == KL_OK)
            unlink(path);
    }
}
