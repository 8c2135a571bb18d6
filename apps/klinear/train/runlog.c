#include "runlog.h"

#include "base/error.h"
#include "base/file.h"
#include "checkpoints.h"
#include "events.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const char heading[] = "step,tokens,loss,valid,bits_per_byte,lr,gradient_norm,worst_load,mean_load,skipped,"
                              "seconds\n";

enum { LINE = 512, N_NUMBER = 11 };

/* ---------------------------------------------------------------------------------------------------------- rows -- */

bool ka_read_heading(FILE *csv)
{
    char line[LINE];
    return fgets(line, sizeof line, csv) && strcmp(line, heading) == 0;
}

bool ka_read_row(FILE *csv, struct ka_row *row)
{
    char line[LINE];
    double x[N_NUMBER];
    if (!fgets(line, sizeof line, csv) || !strchr(line, '\n'))
        return false;
    char *at = line;
    for (int i = 0; i < N_NUMBER; i++) {
        char *end = at;
        x[i] = *at == ',' || *at == '\n' ? NAN : strtod(at, &end);
        if (*end != (i + 1 < N_NUMBER ? ',' : '\n'))
            return false;
        at = end + 1;
    }
    *row =
        (struct ka_row){(int64_t)x[0], (int64_t)x[1], x[2], x[3], x[4], x[5], x[6], x[7], x[8], (int64_t)x[9], x[10]};
    return true;
}

static int print_number(char *to, size_t room, const char *format, double x)
{
    return isnan(x) ? snprintf(to, room, ",") : snprintf(to, room, format, x);
}

static size_t print_row(char line[LINE], const struct ka_row *r)
{
    int n = snprintf(line, LINE, "%lld,%lld,%.9g", (long long)r->step, (long long)r->tokens, r->loss);
    n += print_number(line + n, LINE - (size_t)n, ",%.9g", r->valid);
    n += print_number(line + n, LINE - (size_t)n, ",%.6g", r->bits);
    n += snprintf(line + n, LINE - (size_t)n, ",%.6g,%.6g,%.4g,%.4g,%lld,%.1f\n", r->lr, r->gradient_norm,
                  r->worst_load, r->mean_load, (long long)r->skipped, r->seconds);
    return (size_t)n;
}

/* ----------------------------------------------------------------------------------------------------- the files -- */

/* Copies heading and rows up to `step`. */
static kl_status keep_rows(struct kl__out *out, FILE *old, const char *path, int64_t step, uint64_t *end, kl_error *err)
{
    struct ka_row row;
    char line[LINE];
    bool more = old && ka_read_heading(old);
    if (old && !more && ftell(old) > 0)
        return kl__fail(err, KL_ERR_FORMAT, "%s has other columns than those of this version; move it away", path);
    KL_TRY(kl__out_write(out, 0, heading, sizeof heading - 1, err));
    *end = sizeof heading - 1;
    while (more && ka_read_row(old, &row) && row.step <= step) {
        size_t n = print_row(line, &row);
        KL_TRY(kl__out_write(out, *end, line, n, err));
        *end += n;
    }
    return KL_OK;
}

static kl_status cut(const char *path, int64_t step, kl_error *err)
{
    struct kl__out *out;
    uint64_t end = 0;
    FILE *old = fopen(path, "r");
    if (!old && errno != ENOENT)
        return kl__fail(err, KL_ERR_IO, "%s cannot be read: %s", path, strerror(errno));
    kl_status status = kl__out_open(&out, path, NULL, err);
    if (status == KL_OK) {
        status = keep_rows(out, old, path, step, &end, err);
        if (status == KL_OK)
            status = kl__out_commit(out, end, err);
        else
            kl__out_abandon(out);
    }
    if (old)
        fclose(old);
    return status;
}

kl_status ka_runlog_open(struct ka_runlog *log, const char *folder, int64_t step, kl_error *err)
{
    char path[KA_PATH], name[80];
    *log = (struct ka_runlog){0};
    KL_TRY(ka_path(path, folder, "log.csv", err));
    KL_TRY(cut(path, step, err));
    log->csv = fopen(path, "a");
    if (!log->csv)
        return kl__fail(err, KL_ERR_IO, "%s cannot be written: %s", path, strerror(errno));
    snprintf(name, sizeof name, "events.out.tfevents.%lld.%09lld.klinear", (long long)time(NULL), (long long)step);
    KL_TRY(ka_path(path, folder, name, err));
    log->events = fopen(path, "wb");
    if (!log->events)
        return kl__fail(err, KL_ERR_IO, "%s cannot be written: %s", path, strerror(errno));
    ka_events_begin(log->events);
    return KL_OK;
}

void ka_runlog_close(struct ka_runlog *log)
{
    if (log->csv)
        fclose(log->csv);
    if (log->events)
        fclose(log->events);
    *log = (struct ka_runlog){0};
}

kl_status ka_runlog_put(struct ka_runlog *log, const struct ka_row *r, kl_error *err)
{
    char line[LINE];
    size_t n = print_row(line, r);
    const struct ka_event event[] = {{"loss", r->loss},
                                     {"valid/loss", r->valid},
                                     {"valid/bits_per_byte", r->bits},
                                     {"lr", r->lr},
                                     {"gradient_norm", r->gradient_norm},
                                     {"experts/worst_load", r->worst_load},
                                     {"experts/mean_load", r->mean_load}};
    bool fine = fwrite(line, 1, n, log->csv) == n && fflush(log->csv) == 0;
    ka_events_put(log->events, r->step, event, sizeof event / sizeof *event);
    fine &= fflush(log->events) == 0;
    return fine ? KL_OK : kl__fail(err, KL_ERR_IO, "the log cannot be written: %s", strerror(errno));
}
