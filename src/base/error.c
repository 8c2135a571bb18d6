#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define TEXT_OF(x) #x
#define VERSION_TEXT(a, b, c) TEXT_OF(a) "." TEXT_OF(b) "." TEXT_OF(c)

const char *kl_version(void)
{
    return VERSION_TEXT(KL_VERSION_MAJOR, KL_VERSION_MINOR, KL_VERSION_PATCH);
}

static const struct {
    const char *name, *text;
} statuses[] = {
#define KL_X(name, text) [KL_##name] = {"KL_" #name, text},
    KL_STATUSES(KL_X)
#undef KL_X
};

static bool is_status(kl_status status)
{
    return (size_t)status < sizeof statuses / sizeof *statuses;
}

const char *kl_status_name(kl_status status)
{
    return is_status(status) ? statuses[status].name : "KL_?";
}

const char *kl_status_text(kl_status status)
{
    return is_status(status) ? statuses[status].text : "unknown status";
}

kl_status kl__fail(kl_error *err, kl_status status, const char *format, ...)
{
    if (!err)
        return status;
    err->status = status;
    va_list args;
    va_start(args, format);
    int wanted = vsnprintf(err->text, sizeof err->text, format, args);
    va_end(args);
    if (wanted >= (int)sizeof err->text)
        memcpy(err->text + sizeof err->text - 4, "...", 4);
    return status;
}
