#include "problem.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

bool ks_refuse(struct ks_problem *p, int status, const char *param, const char *code, const char *format, ...)
{
    *p = (struct ks_problem){.status = status, .code = code};
    snprintf(p->param, sizeof p->param, "%s", param ? param : "");
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(p->text, sizeof p->text, format, arguments);
    va_end(arguments);
    return false;
}

bool ks_refuse_error(struct ks_problem *p, const char *param, kl_status status, const kl_error *err)
{
    bool theirs = status == KL_ERR_ARGUMENT || status == KL_ERR_FORMAT || status == KL_ERR_UNSUPPORTED;
    return ks_refuse(p, theirs ? 400 : status == KL_ERR_MEMORY ? 503 : 500, param, NULL, "%s", err->text);
}

static const char *openai_type(int status)
{
    return status == 401   ? "authentication_error"
           : status == 429 ? "rate_limit_error"
           : status >= 500 ? "server_error"
                           : "invalid_request_error";
}

static const char *anthropic_type(int status)
{
    return status == 401   ? "authentication_error"
           : status == 403 ? "permission_error"
           : status == 404 ? "not_found_error"
           : status == 413 ? "request_too_large"
           : status == 429 ? "rate_limit_error"
           : status == 503 ? "overloaded_error"
           : status >= 500 ? "api_error"
                           : "invalid_request_error";
}

/* What clients sent may be in the sentence, cut anywhere. */
static json_t *text_json(const char *text)
{
    char clean[512];
    size_t n = 0;
    for (; text[n] && n < sizeof clean - 1; n++)
        clean[n] = (unsigned char)text[n] < 0x20 || (unsigned char)text[n] > 0x7e ? '?' : text[n];
    clean[n] = 0;
    return json_string(clean);
}

json_t *ks_problem_json(const struct ks_problem *p, bool anthropic)
{
    if (anthropic)
        return json_pack("{s:s,s:{s:s,s:o}}", "type", "error", "error", "type", anthropic_type(p->status), "message",
                         text_json(p->text));
    return json_pack("{s:{s:o,s:s,s:o,s:o}}", "error", "message", text_json(p->text), "type", openai_type(p->status),
                     "param", p->param[0] ? text_json(p->param) : json_null(), "code",
                     p->code ? json_string(p->code) : json_null());
}
