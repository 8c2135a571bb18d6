/* klinear tokenize: text to token ids, and back. */
#include "base/error.h"
#include "cli/ids.h"
#include "cli/input.h"
#include "cli/json.h"
#include "cli/json_line.h"
#include "cli/output.h"
#include "cli/places.h"
#include "cli/verb.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct settings {
    const char *tokenizer, *model, *prompt, *file, *decode;
    bool special, json, jsonl, count;
};

enum {
    TEXT_LIMIT = 1 << 30,
    LINE_LIMIT = 1 << 28,
};

/* Ids on their way out, gathered: a text of a gigabyte has a quarter of that many. */
struct writer {
    char text[1 << 14];
    size_t n;
    const char *between; /* two ids */
    int64_t n_id;
    bool count_only;
    kl_error *err;
};

static kl_status flush(struct writer *w, bool now)
{
    size_t n = w->n;
    w->n = 0;
    return ka_put(w->text, n, now, w->err);
}

static kl_status write_ids(void *user, const int32_t *ids, size_t n)
{
    struct writer *w = user;
    for (size_t i = 0; i < n && !w->count_only; i++) {
        if (sizeof w->text - w->n < 16)
            KL_TRY(flush(w, false));
        if (w->n_id + (int64_t)i > 0)
            w->text[w->n++] = *w->between;
        char digits[12];
        int k = 0;
        for (uint32_t id = (uint32_t)ids[i]; id || !k; id /= 10)
            digits[k++] = (char)('0' + id % 10);
        while (k)
            w->text[w->n++] = digits[--k];
    }
    w->n_id += (int64_t)n;
    return KL_OK;
}

/* --------------------------------------------------------------------------------------------------------- forms -- */

static kl_status print_ids(const struct settings *s, const kl_tokenizer *t, kl_text text, kl_error *err)
{
    struct writer w = {.between = " ", .count_only = s->count, .err = err};
    KL_TRY(kl_tokenize_each(write_ids, &w, t, text, s->special ? KL_MARKUP_SPECIAL : KL_MARKUP_PLAIN, err));
    if (s->count)
        w.n = (size_t)snprintf(w.text, sizeof w.text, "%lld", (long long)w.n_id);
    w.text[w.n++] = '\n';
    return flush(&w, true);
}

static kl_status gather_ids(void *user, const int32_t *ids, size_t n)
{
    return ka_add_ids(user, ids, (int64_t)n, NULL);
}

static kl_status print_json(const struct settings *s, const kl_tokenizer *t, kl_text text, kl_error *err)
{
    struct ka_ids ids = {0};
    kl_status status =
        kl_tokenize_each(gather_ids, &ids, t, text, s->special ? KL_MARKUP_SPECIAL : KL_MARKUP_PLAIN, err);
    if (status == KL_OK) {
        struct ka_json j = {.out = stdout};
        ka_json_open(&j, NULL, '{');
        ka_json_open(&j, "ids", '[');
        for (int64_t i = 0; i < ids.n; i++)
            ka_json_integer(&j, NULL, ids.at[i]);
        ka_json_close(&j, ']');
        ka_json_open(&j, "pieces", '[');
        for (int64_t i = 0; i < ids.n; i++) {
            kl_text piece = kl_tokenizer_text(t, ids.at[i]);
            ka_json_bytes(&j, NULL, piece.data, piece.bytes);
        }
        ka_json_close(&j, ']');
        ka_json_close(&j, '}');
    }
    ka_free_ids(&ids);
    return status;
}

static kl_status print_line(const kl_tokenizer *t, struct ka_input *line, int64_t number, kl_error *err)
{
    size_t bytes;
    if (ka_json_line(line->data, line->bytes, &bytes, err) != KL_OK) {
        char why[sizeof err->text];
        memcpy(why, err->text, sizeof why);
        return kl__fail(err, KL_ERR_FORMAT, "line %lld: %s", (long long)number, why);
    }
    struct writer w = {.between = ",", .err = err, .text = "[", .n = 1};
    KL_TRY(kl_tokenize_each(write_ids, &w, t, (kl_text){line->data, bytes}, KL_MARKUP_PLAIN, err));
    w.text[w.n++] = ']';
    w.text[w.n++] = '\n';
    return flush(&w, false);
}

static kl_status print_lines(const struct settings *s, const kl_tokenizer *t, kl_error *err)
{
    struct ka_input line = {0};
    FILE *file = s->file && strcmp(s->file, "-") != 0 ? fopen(s->file, "rb") : stdin;
    const char *name = file == stdin ? "standard input" : s->file;
    kl_status status = file ? KL_OK : kl__fail(err, KL_ERR_IO, "%s cannot be read: %s", name, strerror(errno));
    for (int64_t number = 1; status == KL_OK; number++) {
        int got = ka_read_line(&line, file, name, LINE_LIMIT, err);
        if (got <= 0) {
            status = got < 0 ? err->status : KL_OK;
            break;
        }
        status = print_line(t, &line, number, err);
    }
    if (file && file != stdin)
        fclose(file);
    ka_free_input(&line);
    return status;
}

static kl_status print_text(const struct settings *s, const kl_tokenizer *t, kl_error *err)
{
    struct ka_ids ids = {0};
    kl_decoder d = {.show_special = true};
    char *text = malloc(kl_decoder_room(t));
    kl_status status = text ? ka_read_ids(&ids, s->decode, strlen(s->decode), kl_tokenizer_n_vocab(t), "--decode", err)
                            : kl__fail(err, KL_ERR_MEMORY, "out of memory");
    for (int64_t i = 0; i < ids.n && status == KL_OK; i++)
        status = ka_put(text, kl_decoder_put(&d, text, t, ids.at[i]), false, err);
    if (status == KL_OK)
        status = ka_put(text, kl_decoder_end(&d, text), true, err);
    free(text);
    ka_free_ids(&ids);
    return status;
}

/* ---------------------------------------------------------------------------------------------------------- verb -- */

static kl_status print_whole(const struct settings *s, const kl_tokenizer *t, kl_error *err)
{
    struct ka_input in = {0};
    kl_text text = kl_text_of(s->prompt);
    if (!s->prompt) {
        KL_TRY(ka_read_input(&in, s->file, TEXT_LIMIT, err));
        text = (kl_text){in.data, in.bytes};
    }
    kl_status status = s->json ? print_json(s, t, text, err) : print_ids(s, t, text, err);
    ka_free_input(&in);
    return status;
}

static kl_status tokenize(const struct settings *s, kl_error *err)
{
    char path[4096];
    const char *from = s->tokenizer ? s->tokenizer : s->model;
    kl_tokenizer *t = NULL;
    if (!from) {
        KL_TRY(ka_bundled_model(path, sizeof path, err));
        from = path;
    }
    KL_TRY(kl_tokenizer_open(&t, from, NULL, err));
    kl_status status = s->decode ? print_text(s, t, err) : s->jsonl ? print_lines(s, t, err) : print_whole(s, t, err);
    kl_tokenizer_close(t);
    return status;
}

static enum ka_exit run(const void *settings, int n_word, char **words)
{
    (void)n_word, (void)words;
    const struct settings *s = settings;
    if ((s->tokenizer && s->model) || (s->prompt && s->file)) {
        ka_complain(&ka_verb_tokenize, "%s exclude each other",
                    s->tokenizer && s->model ? "--tokenizer and --model" : "--prompt and --file");
        return KA_USAGE;
    }
    if (s->json + s->jsonl + s->count + (s->decode != NULL) > 1) {
        ka_complain(&ka_verb_tokenize, "--json, --jsonl, --count and --decode exclude each other");
        return KA_USAGE;
    }
    if ((s->jsonl && (s->special || s->prompt)) || (s->decode && (s->special || s->prompt || s->file))) {
        ka_complain(&ka_verb_tokenize, "%s does not go with the other options", s->jsonl ? "--jsonl" : "--decode");
        return KA_USAGE;
    }
    kl_error err = {0};
    return ka_conclude(&ka_verb_tokenize, tokenize(s, &err), &err);
}

static const struct ka_option options[] = {
    {.name = "prompt",
     .letter = 'p',
     .value = "TEXT",
     .kind = KA_TEXT,
     .field = offsetof(struct settings, prompt),
     .help = "the text"},
    {.name = "file",
     .letter = 'f',
     .value = "FILE",
     .kind = KA_TEXT,
     .field = offsetof(struct settings, file),
     .help = "where the text is; default, and -: standard input"},
    {.name = "model",
     .letter = 'm',
     .value = "MODEL",
     .kind = KA_TEXT,
     .field = offsetof(struct settings, model),
     .help = "whose tokens: a folder in Hugging Face layout, or a GGUF file;\n"
             "default: the model that comes with the program"},
    {.name = "tokenizer",
     .value = "FILE",
     .kind = KA_TEXT,
     .field = offsetof(struct settings, tokenizer),
     .help = "whose tokens: a tiktoken.model file, or a folder with one"},
    {.name = "special",
     .kind = KA_FLAG,
     .field = offsetof(struct settings, special),
     .help = "names of special tokens in the text are those tokens"},
    {.name = "count", .kind = KA_FLAG, .field = offsetof(struct settings, count), .help = "print how many there are"},
    {.name = "json",
     .kind = KA_FLAG,
     .field = offsetof(struct settings, json),
     .help = "print JSON: ids, and the text of each; bytes that are no\ncharacter by themselves show as U+FFFD"},
    {.name = "jsonl",
     .kind = KA_FLAG,
     .field = offsetof(struct settings, jsonl),
     .help = "read one JSON string a line, print one JSON array of ids a line"},
    {.name = "decode",
     .value = "LIST",
     .kind = KA_TEXT,
     .field = offsetof(struct settings, decode),
     .help = "print the text of these ids, with commas or spaces between them"},
    {0},
};

const struct ka_verb ka_verb_tokenize = {
    .name = "tokenize",
    .summary = "text to token ids, and back",
    .usage = "[options]",
    .text = "Prints the token ids of a text, with spaces between them.  Nothing is put in front or behind,\n"
            "and what looks like a special token is text, unless --special says otherwise.",
    .options = options,
    .defaults = &(const struct settings){0},
    .settings_bytes = sizeof(struct settings),
    .run = run,
};
