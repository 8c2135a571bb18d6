/* klinear run: a prompt, and what the model makes of it. */
#include "../cli/amount.h"
#include "../cli/input.h"
#include "../cli/interrupt.h"
#include "../cli/json.h"
#include "../cli/output.h"
#include "../cli/verb.h"
#include "base/error.h"
#include "guided.h"
#include "rendering.h"
#include "talk.h"
#include "tracing.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct settings {
    struct ka_choice choice;
    struct ka_sampling_choice sampling;
    struct ka_talk_choice limits;
    struct ka_guided_choice guided;
    const char *prompt, *file, *system, *save, *load, *trace;
    int64_t draft;
    bool raw, echo, json, quiet;
};

enum {
    PROMPT_LIMIT = 1 << 28,
    TRACE_TOKENS = 16384, /* of which single numbers are kept, where nothing else is said */
    TRACE_MOST = 1 << 20, /* of a longer context the last ones are kept */
};

/* The text that comes out: streamed, or kept for JSON. */
struct text {
    bool keep;
    char *data; /* [bytes] */
    size_t bytes, room;
    char last; /* byte that was streamed */
};

static kl_status put(void *user, const char *data, size_t bytes, kl_error *err)
{
    struct text *t = user;
    t->last = data[bytes - 1];
    if (!t->keep)
        return ka_put(data, bytes, true, err);
    if (t->bytes + bytes > t->room) {
        size_t room = 2 * (t->bytes + bytes) + 1024;
        char *more = realloc(t->data, room);
        if (!more)
            return kl__fail(err, KL_ERR_MEMORY, "out of memory");
        t->data = more;
        t->room = room;
    }
    memcpy(t->data + t->bytes, data, bytes);
    t->bytes += bytes;
    return KL_OK;
}

/* ---------------------------------------------------------------------------------------------------- the prompt -- */

/* The file and behind it the prompt, with an empty line between them where there are both. */
static kl_status get_prompt(struct ka_input *in, const struct settings *s, kl_error *err)
{
    size_t more = s->prompt ? strlen(s->prompt) : 0;
    *in = (struct ka_input){0};
    if (s->file || (!s->prompt && !s->load))
        KL_TRY(ka_read_input(in, s->file, PROMPT_LIMIT, err));
    const char *between = in->bytes && s->prompt ? "\n\n" : "";
    char *both = realloc(in->data, in->bytes + strlen(between) + more + 1);
    if (!both)
        return kl__fail(err, KL_ERR_MEMORY, "out of memory");
    memcpy(both + in->bytes, between, strlen(between));
    in->data = both;
    in->bytes += strlen(between);
    memcpy(in->data + in->bytes, s->prompt ? s->prompt : "", more);
    in->bytes += more;
    in->data[in->bytes] = 0;
    return KL_OK;
}

static kl_status add_ids(void *user, const int32_t *ids, size_t n)
{
    return ka_add_ids(user, ids, (int64_t)n, NULL);
}

/* What the model is to read: turns of a chat, or the text as it is. */
static kl_status add_prompt(struct ka_talk *t, const struct settings *s, bool raw, const struct ka_input *in,
                            kl_error *err)
{
    kl_text text = {in->data, in->bytes};
    if (raw)
        KL_TRY(kl_tokenize_each(add_ids, &t->speech.pending, t->speech.l->tokenizer, text, KL_MARKUP_PLAIN, err));
    else {
        if (s->system)
            KL_TRY(ka_talk_add(t, KA_SYSTEM, kl_text_of(s->system), err));
        if (in->bytes || !s->load)
            KL_TRY(ka_talk_add(t, KA_USER, text, err));
    }
    return t->speech.pending.n ? KL_OK : kl__fail(err, KL_ERR_ARGUMENT, "the prompt is empty");
}

/* ------------------------------------------------------------------------------------------------------- results -- */

static void print_stats(const struct ka_talk *t, bool raw)
{
    const struct ka_speech_stats *x = &t->speech.stats;
    fprintf(stderr, "%s: read %lld tokens in %s", raw ? "as text" : "as a chat", (long long)x->n_read,
            ka_duration(x->read_seconds).text);
    if (x->read_seconds > 0)
        fprintf(stderr, " (%s a second)", ka_rate((double)x->n_read / x->read_seconds).text);
    fprintf(stderr, ", wrote %lld in %s", (long long)x->n_written, ka_duration(x->write_seconds).text);
    if (x->write_seconds > 0)
        fprintf(stderr, " (%s a second)", ka_rate((double)x->n_written / x->write_seconds).text);
    if (x->n_written)
        fprintf(stderr, ", the first after %s", ka_duration(x->first_seconds).text);
    fprintf(stderr, "; seed %llu; ended by %s\n", (unsigned long long)t->speech.sampling.seed, ka_end_name[x->end]);
}

static void print_json(const struct ka_talk *t, const struct text *text, const struct ka_ids *ids)
{
    const struct ka_speech_stats *x = &t->speech.stats;
    struct ka_json j = {.out = stdout};
    ka_json_open(&j, NULL, '{');
    ka_json_bytes(&j, "text", text->data, text->bytes);
    ka_json_open(&j, "ids", '[');
    for (int64_t i = 0; i < ids->n; i++)
        ka_json_integer(&j, NULL, ids->at[i]);
    ka_json_close(&j, ']');
    ka_json_text(&j, "end", ka_end_name[x->end]);
    ka_json_integer(&j, "prompt_tokens", x->n_read);
    ka_json_integer(&j, "tokens", x->n_written);
    ka_json_integer(&j, "drafted_tokens", t->speech.ahead.n_guessed);
    ka_json_integer(&j, "accepted_tokens", t->speech.ahead.n_right);
    ka_json_number(&j, "prompt_seconds", x->read_seconds);
    ka_json_number(&j, "seconds", x->write_seconds);
    ka_json_number(&j, "first_token_ms", 1e3 * x->first_seconds);
    ka_json_integer(&j, "seed", (int64_t)t->speech.sampling.seed);
    ka_json_close(&j, '}');
}

/* ---------------------------------------------------------------------------------------------------------- verb -- */

static kl_status write_text(struct ka_talk *t, const struct settings *s, bool raw, struct text *text, kl_error *err)
{
    struct ka_ids ids = {0};
    int64_t n = s->limits.n ? s->limits.n : -1;
    kl_status status = raw ? ka_speech_write(&t->speech, n, put, text, s->json ? &ids : NULL, err)
                           : ka_talk_answer(t, n, put, text, s->json ? &ids : NULL, err);
    if (status == KL_OK && s->json)
        print_json(t, text, &ids);
    if (!s->json && text->last && text->last != '\n' && status != KL_ERR_IO && status != KL_ERR_CANCELLED) {
        kl_status ended = ka_put("\n", 1, true, status == KL_OK ? err : NULL);
        status = status == KL_OK ? ended : status;
    }
    ka_free_ids(&ids);
    return status;
}

static kl_status run_prompt(struct ka_talk *t, const struct settings *s, bool raw, const struct ka_input *in,
                            struct text *text, kl_trace *trace, kl_error *err)
{
    if (s->load)
        KL_TRY(ka_talk_load(t, s->load, err));
    kl_session_trace(t->speech.session, trace);
    int64_t chosen = t->speech.pending.n;
    KL_TRY(add_prompt(t, s, raw, in, err));
    if (s->echo && in->bytes)
        KL_TRY(put(text, in->data, in->bytes, err));
    /* The last token of a session that has no prompt behind it is read as any other that was chosen, by writing: a
     * prompt's bits would be others. */
    if (chosen != 1 || t->speech.pending.n > chosen)
        KL_TRY(ka_speech_read(&t->speech, err));
    kl_status status = write_text(t, s, raw, text, err);
    if (!s->quiet && t->speech.stats.end != KA_END_FAULT)
        print_stats(t, raw);
    KL_TRY(status);
    if (s->save)
        KL_TRY(ka_talk_save(t, s->save, err));
    if (t->speech.stats.end == KA_END_INTERRUPT)
        return kl__fail(err, KL_ERR_CANCELLED, "interrupted");
    return KL_OK;
}

/* The same, watched; what was seen is written also of a text that was interrupted. */
static kl_status run_traced(struct ka_talk *t, const struct settings *s, bool raw, const struct ka_input *in,
                            struct text *text, kl_error *err)
{
    kl_trace *trace;
    if (!s->trace)
        return run_prompt(t, s, raw, in, text, NULL, err);
    int64_t kept = s->limits.context ? s->limits.context : TRACE_TOKENS;
    kl_trace_options options = {.max_tokens = kept < TRACE_MOST ? kept : TRACE_MOST};
    KL_TRY(kl_trace_open(&trace, t->speech.l->model, &options, err));
    kl_status status = run_prompt(t, s, raw, in, text, trace, err);
    if (status == KL_OK || status == KL_ERR_CANCELLED) {
        kl_status wrote = ka_trace_save(s->trace, trace, t->speech.l, status == KL_OK ? err : NULL);
        status = status == KL_OK ? wrote : status;
    }
    kl_session_trace(t->speech.session, NULL);
    kl_trace_close(trace);
    return status;
}

static kl_status run_model(struct ka_loaded *l, const struct settings *s, const struct ka_input *in, kl_error *err)
{
    struct ka_talk t = {0};
    struct ka_guided guided = {0};
    struct text text = {.keep = s->json};
    kl_template rendering = KL_TEMPLATE_MODEL;
    KL_TRY(ka_load_tokenizer(l, err));
    if (kl_tokenizer_is_suspect(l->tokenizer))
        ka_complain(&ka_verb_run, "warning: the vocabulary has the size of the released one, and other tokens");
    /* A model without a template has learned to go on with texts, not to answer. */
    bool raw = s->raw || (!s->limits.template && !s->system && !kl_tokenizer_template(l->tokenizer).bytes);
    if (!raw)
        KL_TRY(ka_rendering_of(&rendering, s->limits.template, l->tokenizer, err));
    kl_status status = ka_talk_open(&t, l, &s->sampling, s->limits.context, rendering, err);
    if (status == KL_OK)
        status = ka_guided_open(&guided, &s->guided, l->tokenizer, err);
    t.speech.guide = guided.guide;
    if (status == KL_OK && !s->trace) /* a trace would show wrong guesses as well */
        status = ka_ahead_open(&t.speech.ahead, (int)s->draft, kl_model_config(l->model)->n_vocab, err);
    if (status == KL_OK)
        status = run_traced(&t, s, raw, in, &text, err);
    ka_guided_close(&guided);
    ka_talk_close(&t);
    free(text.data);
    return status;
}

static enum ka_exit run(const void *settings, int n_word, char **words)
{
    struct settings s = *(const struct settings *)settings;
    struct ka_loaded l;
    struct ka_input in;
    kl_error err = {0};
    if (n_word && s.prompt) {
        ka_complain(&ka_verb_run, "--prompt and \"%s\" are two prompts", words[0]);
        return KA_USAGE;
    }
    s.prompt = n_word ? words[0] : s.prompt;
    if (!s.prompt && !s.file && !s.load && ka_input_is_typed()) {
        ka_complain(&ka_verb_run, "there is no prompt: expected --prompt, --file, or a text on standard input");
        return KA_USAGE;
    }
    if ((s.guided.grammar != NULL) + (s.guided.schema != NULL) + (s.guided.regex != NULL) > 1) {
        ka_complain(&ka_verb_run, "--grammar, --json-schema and --regex exclude each other");
        return KA_USAGE;
    }
    if (s.raw && (s.system || s.limits.template)) {
        ka_complain(&ka_verb_run, "--raw and --%s exclude each other", s.system ? "system" : "template");
        return KA_USAGE;
    }
    ka_catch_interrupts();
    kl_status status = get_prompt(&in, &s, &err);
    if (status == KL_OK)
        status = ka_load(&l, &s.choice, 0, &err);
    if (status == KL_OK) {
        status = run_model(&l, &s, &in, &err);
        ka_unload(&l);
    }
    ka_free_input(&in);
    return ka_conclude(&ka_verb_run, status, &err);
}

#define AT(x) .field = offsetof(struct settings, x)
static const struct ka_option options[] = {
    {.name = "prompt", .letter = 'p', .value = "TEXT", .kind = KA_TEXT, AT(prompt), .help = "what the model reads"},
    {.name = "file",
     .letter = 'f',
     .value = "FILE",
     .kind = KA_TEXT,
     AT(file),
     .help = "what the model reads, before the prompt; -: standard input"},
    {.name = "system",
     .value = "TEXT",
     .kind = KA_TEXT,
     AT(system),
     .help = "begin the chat with a turn that says how to answer"},
    {.name = "raw",
     .kind = KA_FLAG,
     AT(raw),
     .help = "no chat: go on with the text as it is; the default for a model\nthat comes without a template"},
    {.name = "echo", .kind = KA_FLAG, AT(echo), .help = "print the prompt in front of what is written"},
    {.name = "save-session",
     .value = "FILE",
     .kind = KA_TEXT,
     AT(save),
     .help = "keep everything that the model remembers, to go on from there"},
    {.name = "load-session",
     .value = "FILE",
     .kind = KA_TEXT,
     AT(load),
     .help = "go on from there; the prompt, if any, comes behind it"},
    {.name = "trace",
     .value = "FILE",
     .kind = KA_TEXT,
     AT(trace),
     .help = "write down how fast the model forgot, what it kept, where it\nlooked and which experts worked, as JSON"},
    {.name = "draft",
     .value = "N",
     .kind = KA_NUMBER,
     AT(draft),
     .min = 0,
     .max = KA_AHEAD_MOST,
     .help = "guess up to N tokens ahead from what the text has had before, and\nread them together; changes no text; "
             "default: 0, none"},
    {.name = "json", .kind = KA_FLAG, AT(json), .help = "print JSON, when all has been written"},
    {.name = "quiet", .letter = 'q', .kind = KA_FLAG, AT(quiet), .help = "no statistics on standard error"},
    {.name = "Text", .kind = KA_GROUP, AT(limits), .group = ka_talk_options},
    {.name = "Form", .kind = KA_GROUP, AT(guided), .group = ka_guided_options},
    {.name = "Sampling", .kind = KA_GROUP, AT(sampling), .group = ka_sampling_options},
    {.name = "Model", .kind = KA_GROUP, AT(choice), .group = ka_choice_options},
    {0},
};

static const struct settings defaults = {
    .choice = {.isa = 3, .packs_later = true},
    .sampling = KA_SAMPLING_DEFAULTS,
    .limits = {.n = 256},
};

const struct ka_verb ka_verb_run = {
    .name = "run",
    .summary = "a prompt, and what the model makes of it",
    .usage = "[options] [PROMPT]",
    .text = "Reads a prompt, from an option, a file or a pipe, and prints what the model writes, as it is\n"
            "written; at the end statistics on standard error.",
    .options = options,
    .defaults = &defaults,
    .settings_bytes = sizeof defaults,
    .max_words = 1,
    .run = run,
};
