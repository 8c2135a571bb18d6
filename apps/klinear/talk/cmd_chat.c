/* klinear chat: turns from a terminal or a pipe, answers as they are written. */
#include "../cli/interrupt.h"
#include "../cli/output.h"
#include "../cli/places.h"
#include "../cli/verb.h"
#include "base/error.h"
#include "chatter.h"
#include "rendering.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct settings {
    struct ka_choice choice;
    struct ka_sampling_choice sampling;
    struct ka_talk_choice limits;
    const char *system, *load;
    bool no_history;
};

/* --------------------------------------------------------------------------------------------------------- input -- */

static const char quotes[] = "\"\"\"";

static kl_status append(struct ka_input *to, const char *text, size_t bytes, kl_error *err)
{
    if (to->bytes + bytes + 1 > to->room) {
        size_t room = 2 * (to->bytes + bytes) + 256;
        char *more = realloc(to->data, room);
        if (!more)
            return kl__fail(err, KL_ERR_MEMORY, "out of memory");
        to->data = more;
        to->room = room;
    }
    memcpy(to->data + to->bytes, text, bytes);
    to->bytes += bytes;
    to->data[to->bytes] = 0;
    return KL_OK;
}

/* What is left of an input when line after line has been added to it. */
struct input {
    struct ka_input all;
    bool quoted; /* between two lines of quotes */
    bool begun;
};

/* Adds a line; *more says whether the input goes on in the next one. */
static kl_status add_line(struct input *in, const struct ka_input *line, bool *more, kl_error *err)
{
    const char *text = line->data;
    size_t n = line->bytes, q = sizeof quotes - 1;
    if (in->begun)
        KL_TRY(append(&in->all, "\n", in->all.bytes > 0 || !in->quoted, err));
    else if (n >= q && memcmp(text, quotes, q) == 0) {
        in->quoted = true;
        text += q;
        n -= q;
    }
    bool first = !in->begun;
    in->begun = true;
    bool closed = in->quoted && n >= q && memcmp(text + n - q, quotes, q) == 0;
    bool on = !in->quoted && n > 0 && text[n - 1] == '\\';
    *more = (in->quoted && !closed) || on;
    n -= closed ? q : on;
    KL_TRY(append(&in->all, text, n, err));
    if (closed && !first && in->all.bytes && in->all.data[in->all.bytes - 1] == '\n')
        in->all.data[--in->all.bytes] = 0; /* quotes on a line of their own */
    return KL_OK;
}

/* 1: an input; 0: the end; -1: nothing, because of Ctrl-C or what `err` says.  What is quoted is no command. */
static int get_input(struct ka_chatter *c, struct ka_input *to, bool *quoted, kl_error *err)
{
    struct ka_input line = {0};
    struct input in = {.all = *to};
    bool more = true;
    int got = 1;
    in.all.bytes = 0;
    while (got == 1 && more) {
        got = ka_editor_line(c->editor, &line, in.begun ? ". " : "> ", err);
        if (got == 1 && add_line(&in, &line, &more, err) != KL_OK)
            got = -1;
    }
    if (got == 0 && in.begun)
        got = 1; /* the end closes what was open */
    *to = in.all;
    *quoted = in.quoted;
    ka_free_input(&line);
    return got;
}

/* ------------------------------------------------------------------------------------------------------- answers -- */

static kl_status put(void *user, const char *text, size_t bytes, kl_error *err)
{
    char *last = user;
    *last = text[bytes - 1];
    return ka_put(text, bytes, true, err);
}

static const char *why_ended(enum ka_end end)
{
    switch (end) {
    case KA_END_INTERRUPT:
        return "[interrupted]";
    case KA_END_CONTEXT:
        return "[the context is full: /undo or /system makes room]";
    case KA_END_LIMIT:
        return "[as long as --tokens allows]";
    default:
        return NULL;
    }
}

/* One turn and its answer.  What fails leaves the conversation as it was. */
static kl_status answer(struct ka_chatter *c, kl_text text, kl_error *err)
{
    struct ka_talk *t = ka_current(c);
    char last = '\n';
    KL_TRY(ka_talk_mark(t, err));
    kl_status status = ka_talk_add(t, KA_USER, text, err);
    if (status == KL_OK)
        status = ka_speech_read(&t->speech, err);
    if (status == KL_OK)
        status = ka_talk_answer(t, c->n ? c->n : -1, put, &last, NULL, err);
    if (last != '\n')
        KL_TRY(ka_put("\n", 1, true, err));
    if (status != KL_OK) {
        ka_talk_undo(t, NULL);
        return status;
    }
    const char *why = why_ended(t->speech.stats.end);
    if (why)
        ka_chat_tell(c, "%s", why);
    return KL_OK;
}

/* Ctrl-C while nothing was being written. */
static void idle_interrupt(struct ka_chatter *c)
{
    if (!c->typed || ka_terminated()) {
        c->over = true;
        c->failed = true;
    } else
        ka_chat_tell(c, "(/quit or Ctrl-D ends the chat)");
    ka_forget_interrupt();
}

static kl_status chat(struct ka_chatter *c, kl_error *err)
{
    struct ka_input in = {0};
    kl_status status = KL_OK;
    while (!c->over) {
        *err = (kl_error){0};
        bool quoted;
        int got = get_input(c, &in, &quoted, err);
        if (got == 0 || (got < 0 && err->status != KL_OK)) {
            status = err->status;
            break;
        }
        if (got < 0) {
            idle_interrupt(c);
            continue;
        }
        if (in.bytes == 0)
            continue;
        ka_editor_remember(c->editor, in.data);
        if (in.data[0] == '/' && !quoted) {
            ka_chat_command(c, in.data);
            continue;
        }
        status = answer(c, (kl_text){in.data, in.bytes}, err);
        if (ka_terminated())
            c->over = c->failed = true;
        ka_forget_interrupt();
        if (status == KL_ERR_IO || (status == KL_ERR_CANCELLED && !*err->text))
            break; /* nobody reads the answers any more */
        if (status != KL_OK)
            ka_chat_complain(c, "%s", err->text);
        status = KL_OK;
    }
    ka_free_input(&in);
    return status;
}

/* ---------------------------------------------------------------------------------------------------------- verb -- */

static kl_status begin(struct ka_chatter *c, const struct settings *s, kl_error *err)
{
    kl_template rendering;
    KL_TRY(ka_load_tokenizer(&c->l, err));
    KL_TRY(ka_rendering_of(&rendering, s->limits.template, c->l.tokenizer, err));
    struct ka_talk *talk = calloc(1, sizeof *talk);
    if (!talk)
        return kl__fail(err, KL_ERR_MEMORY, "out of memory");
    KL_TRY(ka_chatter_add(c, talk, err));
    KL_TRY(ka_talk_open(talk, &c->l, &s->sampling, s->limits.context, rendering, err));
    if (s->load)
        KL_TRY(ka_talk_load(talk, s->load, err));
    else if (s->system)
        KL_TRY(ka_talk_add(talk, KA_SYSTEM, kl_text_of(s->system), err));
    char history[4096];
    bool keep = !s->no_history && ka_state_file(history, sizeof history, "history", NULL) == KL_OK;
    c->editor = ka_editor_open(keep ? history : NULL, ka_chat_words);
    return c->editor ? KL_OK : kl__fail(err, KL_ERR_MEMORY, "out of memory");
}

static enum ka_exit run(const void *settings, int n_word, char **words)
{
    (void)n_word, (void)words;
    const struct settings *s = settings;
    struct ka_chatter c = {.sampling = &s->sampling, .n = s->limits.n, .typed = ka_input_is_typed()};
    kl_error err = {0};
    if (s->load && s->system) {
        ka_complain(&ka_verb_chat, "--load and --system exclude each other");
        return KA_USAGE;
    }
    ka_catch_interrupts();
    kl_status status = ka_load(&c.l, &s->choice, 0, &err);
    if (status == KL_OK) {
        status = begin(&c, s, &err);
        if (status == KL_OK) {
            ka_chat_tell(&c, "klinear %s, %s; /help lists the commands", kl_version(), c.l.path);
            if (!s->limits.template && !kl_tokenizer_template(c.l.tokenizer).bytes)
                ka_chat_tell(&c, "this model has no chat template: most likely it never learnt to answer, and what "
                                 "comes is\nno reply; klinear run lets it go on with a text, which is what it can do");
            status = chat(&c, &err);
        }
        ka_editor_close(c.editor);
        for (int i = 0; i < c.n_talk; i++) {
            ka_talk_close(c.talk[i]);
            free(c.talk[i]);
        }
        ka_unload(&c.l);
    }
    if (status == KL_OK && c.failed && !c.typed)
        return KA_FAILED;
    return ka_conclude(&ka_verb_chat, status, &err);
}

#define AT(x) .field = offsetof(struct settings, x)
static const struct ka_option options[] = {
    {.name = "system",
     .value = "TEXT",
     .kind = KA_TEXT,
     AT(system),
     .help = "begin with a turn that says how to answer"},
    {.name = "load", .value = "FILE", .kind = KA_TEXT, AT(load), .help = "go on with a conversation that was saved"},
    {.name = "no-history",
     .kind = KA_FLAG,
     AT(no_history),
     .help = "do not remember what was typed after the end; otherwise it is\nin $XDG_STATE_HOME/klinear/history, for "
             "the user alone"},
    {.name = "Text", .kind = KA_GROUP, AT(limits), .group = ka_talk_options},
    {.name = "Sampling", .kind = KA_GROUP, AT(sampling), .group = ka_sampling_options},
    {.name = "Model", .kind = KA_GROUP, AT(choice), .group = ka_choice_options},
    {0},
};

static const struct settings defaults = {.choice = {.isa = 3, .packs_later = true}, .sampling = KA_SAMPLING_DEFAULTS};

const struct ka_verb ka_verb_chat = {
    .name = "chat",
    .summary = "a conversation with a model",
    .usage = "[options]",
    .text = "Reads turns line by line and prints the answers as they are written.  A line that begins with a\n"
            "slash is a command: /help lists them.  A line that ends with a backslash goes on in the next one,\n"
            "and so does everything between two lines of \"\"\".  Ctrl-C ends an answer, Ctrl-D the chat.",
    .options = options,
    .defaults = &defaults,
    .settings_bytes = sizeof defaults,
    .run = run,
};
