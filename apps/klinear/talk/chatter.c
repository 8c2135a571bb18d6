#include "chatter.h"

#include "../cli/amount.h"
#include "../cli/verb.h"
#include "base/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

void ka_chat_tell(const struct ka_chatter *c, const char *format, ...)
{
    va_list arguments;
    if (!c->typed)
        return;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
}

void ka_chat_complain(struct ka_chatter *c, const char *format, ...)
{
    va_list arguments;
    char text[512];
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (c->typed)
        fprintf(stderr, "%s\n", text);
    else
        ka_complain(&ka_verb_chat, "%s", text);
    c->failed = true;
}

kl_status ka_chatter_add(struct ka_chatter *c, struct ka_talk *talk, kl_error *err)
{
    if (c->n_talk == KA_TALKS)
        return kl__fail(err, KL_ERR_ARGUMENT, "there are %d conversations already, which is the most", KA_TALKS);
    c->at = c->n_talk++;
    c->talk[c->at] = talk;
    return KL_OK;
}

/* ------------------------------------------------------------------------------------------------------ commands -- */

static void obey_help(struct ka_chatter *c, const char *rest)
{
    (void)c, (void)rest;
#define COMMAND(name, what, help) fprintf(stderr, "  /%-18s%s\n", #name what, help);
#include "chat_commands.def"
#undef COMMAND
    fputs("A line that ends with a backslash goes on in the next one; so does everything between two lines of \"\"\".\n"
          "Ctrl-C ends an answer.\n",
          stderr);
}

static void obey_save(struct ka_chatter *c, const char *rest)
{
    kl_error err = {0};
    if (!*rest)
        ka_chat_complain(c, "/save needs the name of a file");
    else if (ka_talk_save(ka_current(c), rest, &err) != KL_OK)
        ka_chat_complain(c, "%s", err.text);
    else
        ka_chat_tell(c, "%lld tokens are in %s", (long long)kl_session_length(ka_current(c)->speech.session), rest);
}

/* The last turns of a conversation that was loaded, so that one knows where one is. */
static void recall(const struct ka_chatter *c, const struct ka_talk *t)
{
    static const char *const who[] = {[KA_SYSTEM] = "system", [KA_USER] = "you", [KA_ASSISTANT] = "answer"};
    for (int i = t->n_message > 4 ? t->n_message - 4 : 0; i < t->n_message; i++)
        ka_chat_tell(c, "%s: %.*s%s", who[t->message[i].role],
                     (int)(t->message[i].bytes < 400 ? t->message[i].bytes : 400), t->message[i].text,
                     t->message[i].bytes < 400 ? "" : " ...");
}

static void obey_load(struct ka_chatter *c, const char *rest)
{
    kl_error err = {0};
    if (!*rest)
        ka_chat_complain(c, "/load needs the name of a file");
    else if (ka_talk_load(ka_current(c), rest, &err) != KL_OK)
        ka_chat_complain(c, "%s", err.text);
    else {
        recall(c, ka_current(c));
        ka_chat_tell(c, "going on after %lld tokens", (long long)kl_session_length(ka_current(c)->speech.session));
    }
}

static void go_to(struct ka_chatter *c, const char *number)
{
    char *stop;
    long n = strtol(number, &stop, 10);
    if (*stop || n < 1 || n > c->n_talk)
        ka_chat_complain(c, "/fork is \"%s\", expected the number of a conversation in 1 .. %d", number, c->n_talk);
    else {
        c->at = (int)n - 1;
        recall(c, ka_current(c));
        ka_chat_tell(c, "conversation %ld of %d", n, c->n_talk);
    }
}

static void obey_fork(struct ka_chatter *c, const char *rest)
{
    kl_error err = {0};
    int from = c->at + 1;
    if (*rest) {
        go_to(c, rest);
        return;
    }
    struct ka_talk *copy = calloc(1, sizeof *copy);
    kl_status status =
        copy ? ka_talk_fork(copy, ka_current(c), c->sampling, &err) : kl__fail(&err, KL_ERR_MEMORY, "out of memory");
    if (status == KL_OK)
        status = ka_chatter_add(c, copy, &err);
    if (status != KL_OK) {
        if (copy)
            ka_talk_close(copy);
        free(copy);
        ka_chat_complain(c, "%s", err.text);
        return;
    }
    ka_chat_tell(c, "conversation %d of %d; /fork %d goes back", c->at + 1, c->n_talk, from);
}

static void obey_undo(struct ka_chatter *c, const char *rest)
{
    (void)rest;
    kl_error err = {0};
    if (!ka_talk_undo(ka_current(c), &err))
        ka_chat_complain(c, "%s", *err.text ? err.text : "there is no turn to take back");
    else
        ka_chat_tell(c, "the last turn is taken back; %lld tokens are left",
                     (long long)kl_session_length(ka_current(c)->speech.session));
}

static void obey_system(struct ka_chatter *c, const char *rest)
{
    kl_error err = {0};
    ka_talk_reset(ka_current(c));
    if (*rest && ka_talk_add(ka_current(c), KA_SYSTEM, kl_text_of(rest), &err) != KL_OK)
        ka_chat_complain(c, "%s", err.text);
    else
        ka_chat_tell(c, "a new conversation begins");
}

static void obey_stats(struct ka_chatter *c, const char *rest)
{
    (void)rest;
    const struct ka_speech *s = &ka_current(c)->speech;
    const struct ka_speech_stats *x = &s->stats;
    kl_engine_memory m = kl_engine_memory_of(c->l.engine);
    int64_t n = kl_session_length(s->session);
    fprintf(stderr, "read %lld tokens in %s, wrote %lld in %s", (long long)x->n_read, ka_duration(x->read_seconds).text,
            (long long)x->n_written, ka_duration(x->write_seconds).text);
    if (x->write_seconds > 0)
        fprintf(stderr, " (%s a second)", ka_rate((double)x->n_written / x->write_seconds).text);
    fprintf(stderr, "; seed %llu\n", (unsigned long long)s->sampling.seed);
    fprintf(stderr, "conversation %d of %d, %lld tokens: states %s, latents %s in all\n", c->at + 1, c->n_talk,
            (long long)n, ka_bytes((double)m.fixed_bytes).text, ka_bytes((double)(m.pages_used * m.page_bytes)).text);
}

static void obey_quit(struct ka_chatter *c, const char *rest)
{
    (void)rest;
    c->over = true;
}

static const struct {
    const char *name;
    void (*obey)(struct ka_chatter *c, const char *rest);
} command[] = {
#define COMMAND(name, what, help) {#name, obey_##name},
#include "chat_commands.def"
#undef COMMAND
};

const char *const ka_chat_words[] = {
#define COMMAND(name, what, help) "/" #name,
#include "chat_commands.def"
#undef COMMAND
    NULL,
};

void ka_chat_command(struct ka_chatter *c, const char *line)
{
    size_t n = strcspn(line + 1, " \t");
    const char *rest = line + 1 + n + strspn(line + 1 + n, " \t");
    for (size_t i = 0; i < sizeof command / sizeof *command; i++)
        if (strlen(command[i].name) == n && memcmp(command[i].name, line + 1, n) == 0) {
            command[i].obey(c, rest);
            return;
        }
    ka_chat_complain(c, "there is no command %.*s; /help lists them", (int)(n + 1), line);
}
