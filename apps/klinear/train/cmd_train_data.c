/* klinear train data: texts become shards of tokens. */
#include "../cli/amount.h"
#include "../cli/machine.h"
#include "../cli/verb.h"
#include "texts.h"

#include <stdlib.h>
#include <string.h>

struct settings {
    struct ka_texts_choice texts;
    const char *tokenizer, *output, *held;
    int64_t hold;
};

/* A shard on its way, and what it has. */
struct shard {
    const char *path;
    kl_shard_writer *writer;
    int64_t n_document, n_token;
};

struct work {
    const struct settings *s;
    kl_tokenizer *tokenizer;
    int32_t end;           /* of a document; -1: the tokenizer has none */
    struct shard shard[2]; /* the second: what is held back */
    int64_t n_document, n_byte;
    int32_t *id;
    size_t room;
};

static kl_status fail_memory(kl_error *err)
{
    snprintf(err->text, sizeof err->text, "no memory for the tokens of a document");
    return err->status = KL_ERR_MEMORY;
}

/* Tokens of a document, and room for one behind them.  A token has at least one byte; but bytes that are no UTF-8 have
 * up to three tokens each, those of U+FFFD. */
static kl_status tokens_of(struct work *w, kl_text document, size_t *n, kl_error *err)
{
    for (*n = document.bytes;;) {
        if (w->room < *n + 1) {
            int32_t *id = realloc(w->id, (*n + 1) * sizeof *id);
            if (!id)
                return fail_memory(err);
            w->id = id;
            w->room = *n + 1;
        }
        kl_status status = kl_tokenize(w->id, w->room - 1, n, w->tokenizer, document, KL_MARKUP_PLAIN, err);
        if (status != KL_OK || *n < w->room)
            return status;
    }
}

static kl_status add(void *user, kl_text document, kl_error *err)
{
    struct work *w = user;
    size_t n;
    kl_status status = tokens_of(w, document, &n, err);
    if (status != KL_OK)
        return status;
    if (w->end >= 0)
        w->id[n++] = w->end;
    bool held = w->s->held && w->n_document++ % w->s->hold == w->s->hold / 2;
    struct shard *shard = &w->shard[held];
    shard->n_document++;
    shard->n_token += (int64_t)n;
    w->n_byte += (int64_t)document.bytes;
    return kl_shard_add(shard->writer, w->id, (int64_t)n, err);
}

static kl_status open_work(struct work *w, kl_error *err)
{
    w->shard[0].path = w->s->output;
    w->shard[1].path = w->s->held;
    kl_status status = kl_tokenizer_open(&w->tokenizer, w->s->tokenizer, NULL, err);
    if (status == KL_OK)
        w->end = kl_tokenizer_special(w->tokenizer, "[EOS]");
    for (int i = 0; i < 2 && status == KL_OK; i++)
        if (w->shard[i].path)
            status =
                kl_shard_create(&w->shard[i].writer, w->shard[i].path, kl_tokenizer_n_vocab(w->tokenizer), NULL, err);
    return status;
}

static kl_status write_shards(struct work *w, int n_file, char **file, kl_error *err)
{
    int64_t n = 0;
    double started = ka_seconds();
    kl_status status = ka_texts_each(&w->s->texts, n_file, file, "Reading", add, w, &n, err);
    for (int i = 1; i >= 0 && status == KL_OK; i--)
        if (w->shard[i].path) {
            status = kl_shard_finish(w->shard[i].writer, err);
            w->shard[i].writer = NULL;
        }
    for (int i = 0; i < 2 && status == KL_OK; i++)
        if (w->shard[i].path)
            fprintf(stderr, "wrote %s: %lld tokens in %lld documents\n", w->shard[i].path,
                    (long long)w->shard[i].n_token, (long long)w->shard[i].n_document);
    if (status == KL_OK)
        fprintf(stderr, "%.2f bytes per token, in %s\n",
                (double)w->n_byte / (double)(w->shard[0].n_token + w->shard[1].n_token),
                ka_duration(ka_seconds() - started).text);
    return status;
}

static enum ka_exit run(const void *settings, int n_word, char **words)
{
    const struct settings *s = settings;
    if (!s->output || !s->tokenizer || n_word == 0) {
        ka_complain(&ka_verb_train_data, !s->output      ? "where to? Name a file with -o"
                                         : !s->tokenizer ? "which tokenizer? Name it with --tokenizer"
                                                         : "which texts? Name files");
        return KA_USAGE;
    }
    kl_error err = {0};
    struct work w = {.s = s};
    kl_status status = open_work(&w, &err);
    if (status == KL_OK)
        status = write_shards(&w, n_word, words, &err);
    kl_shard_abandon(w.shard[0].writer);
    kl_shard_abandon(w.shard[1].writer);
    kl_tokenizer_close(w.tokenizer);
    free(w.id);
    return ka_conclude(&ka_verb_train_data, status, &err);
}

static const struct ka_option options[] = {
    {.name = "tokenizer",
     .value = "DIR",
     .kind = KA_TEXT,
     .field = offsetof(struct settings, tokenizer),
     .help = "a folder, a tiktoken.model or a GGUF file"},
    {.name = "output",
     .letter = 'o',
     .value = "FILE",
     .kind = KA_TEXT,
     .field = offsetof(struct settings, output),
     .help = "the shard to write"},
    {.name = "held",
     .value = "FILE",
     .kind = KA_TEXT,
     .field = offsetof(struct settings, held),
     .help = "another one, for documents that are held back, to judge by"},
    {.name = "hold",
     .value = "N",
     .kind = KA_NUMBER,
     .field = offsetof(struct settings, hold),
     .min = 2,
     .max = 1 << 30,
     .help = "hold back one document of N; default: 50"},
    {.name = "Texts", .kind = KA_GROUP, .field = offsetof(struct settings, texts), .group = ka_texts_options},
    {0},
};

static const struct settings defaults = {.hold = 50};

const struct ka_verb ka_verb_train_data = {
    .name = "train data",
    .summary = "turn texts into tokens to learn from",
    .usage = "--tokenizer DIR -o FILE [options] FILE...",
    .text = "Reads documents out of files of text and writes their tokens, each document with [EOS] behind it,\n"
            "into a shard: a checksummed file that klinear train maps into memory.",
    .options = options,
    .defaults = &defaults,
    .settings_bytes = sizeof defaults,
    .max_words = KA_MOST_FILES,
    .run = run,
};
