/* klinear train tokenizer: a vocabulary for the texts that a model will learn. */
#include "../cli/amount.h"
#include "../cli/machine.h"
#include "../cli/verb.h"
#include "texts.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

struct settings {
    struct ka_texts_choice texts;
    const char *output;
    int64_t vocab;
};

/* Markup that every tokenizer of the family has, in the order of the ids. */
static const char *const special[] = {
    "[BOS]",         "[EOS]",         "[EOT]", "[UNK]", "[PAD]", "<|im_end|>", "<|im_user|>", "<|im_assistant|>",
    "<|im_system|>", "<|im_middle|>",
};
enum { N_SPECIAL = sizeof special / sizeof *special };

static kl_status add(void *user, kl_text document, kl_error *err)
{
    return kl_bpe_add(user, document, err);
}

static kl_status make_folder(const char *path, kl_error *err)
{
    if (mkdir(path, 0777) == 0 || errno == EEXIST)
        return KL_OK;
    snprintf(err->text, sizeof err->text, "%s cannot be made: %s", path, strerror(errno));
    return err->status = KL_ERR_IO;
}

static kl_status learn(const struct settings *s, int n_file, char **file, kl_bpe *bpe, kl_error *err)
{
    int64_t n_document = 0, n_rank = 0;
    double started = ka_seconds();
    kl_status status = ka_texts_each(&s->texts, n_file, file, "Reading", add, bpe, &n_document, err);
    if (status == KL_OK)
        status = kl_bpe_learn(bpe, s->vocab - N_SPECIAL, &n_rank, err);
    if (status == KL_OK)
        status = make_folder(s->output, err);
    if (status == KL_OK)
        status = kl_bpe_write(bpe, s->output, special, N_SPECIAL, err);
    if (status == KL_OK)
        fprintf(stderr, "wrote %s: %lld tokens out of %lld documents in %s\n", s->output, (long long)n_rank + N_SPECIAL,
                (long long)n_document, ka_duration(ka_seconds() - started).text);
    return status;
}

static enum ka_exit run(const void *settings, int n_word, char **words)
{
    const struct settings *s = settings;
    if (!s->output || n_word == 0) {
        ka_complain(&ka_verb_train_tokenizer,
                    s->output ? "which texts? Name files" : "where to? Name a folder with -o");
        return KA_USAGE;
    }
    kl_error err = {0};
    kl_bpe *bpe = NULL;
    kl_status status = kl_bpe_open(&bpe, NULL, &err);
    if (status == KL_OK)
        status = learn(s, n_word, words, bpe, &err);
    kl_bpe_close(bpe);
    return ka_conclude(&ka_verb_train_tokenizer, status, &err);
}

static const struct ka_option options[] = {
    {.name = "output",
     .letter = 'o',
     .value = "DIR",
     .kind = KA_TEXT,
     .field = offsetof(struct settings, output),
     .help = "the folder to write tiktoken.model and tokenizer_config.json into"},
    {.name = "vocab",
     .value = "N",
     .kind = KA_NUMBER,
     .field = offsetof(struct settings, vocab),
     .min = 256 + N_SPECIAL,
     .max = 1 << 20,
     .help = "tokens, 10 special ones included; default: 4096"},
    {.name = "Texts", .kind = KA_GROUP, .field = offsetof(struct settings, texts), .group = ka_texts_options},
    {0},
};

static const struct settings defaults = {.vocab = 4096};

const struct ka_verb ka_verb_train_tokenizer = {
    .name = "train tokenizer",
    .summary = "learn a tokenizer from texts",
    .usage = "-o DIR [options] FILE...",
    .text = "Learns byte-pair tokens from files of text and writes them as tiktoken.model, the format of the\n"
            "released model, with a tokenizer_config.json that names the special tokens: klinear tokenize reads\n"
            "them, and klinear train data and train use them.",
    .options = options,
    .defaults = &defaults,
    .settings_bytes = sizeof defaults,
    .max_words = KA_MOST_FILES,
    .run = run,
};
