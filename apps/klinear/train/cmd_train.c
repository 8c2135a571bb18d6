/* klinear train: a model learns what a recipe says. */
#include "../cli/verb.h"
#include "training.h"

struct settings {
    struct ka_texts set;
    bool dry_run, print, best;
    int64_t stop;
};

static kl_status train(const struct settings *s, const struct ka_recipe *r, kl_error *err)
{
    struct ka_training t;
    bool done = false;
    kl_status status = ka_training_open(&t, r, err);
    if (status == KL_OK && s->dry_run)
        status = ka_training_foretell(&t, err);
    else if (status == KL_OK && s->best) {
        status = ka_training_begin_best(&t, err);
        if (status == KL_OK)
            status = ka_training_finish_best(&t, err);
    } else if (status == KL_OK) {
        status = ka_training_begin(&t, err);
        if (status == KL_OK)
            status = ka_training_run(&t, s->stop, &done, err);
        if (status == KL_OK && done)
            status = ka_training_finish(&t, err);
    }
    ka_training_close(&t);
    return status;
}

static enum ka_exit run(const void *settings, int n_word, char **words)
{
    const struct settings *s = settings;
    struct ka_recipe_file f;
    if (!n_word) {
        ka_complain(&ka_verb_train, "by which recipe? Name a file");
        return KA_USAGE;
    }
    enum ka_exit code = KA_USAGE;
    if (ka_recipe_read(&f, words[0], &s->set)) {
        kl_error err = {0};
        ka_recipe_print(s->print ? stdout : stderr, &f.r);
        code = s->print ? KA_FINE : ka_conclude(&ka_verb_train, train(s, &f.r, &err), &err);
    }
    ka_recipe_close(&f);
    return code;
}

static const struct ka_option options[] = {
    {.name = "set",
     .value = "KEY=VALUE",
     .kind = KA_TEXTS,
     .field = offsetof(struct settings, set),
     .help = "as another line of the recipe, which counts more; as often as you like"},
    {.name = "print",
     .kind = KA_FLAG,
     .field = offsetof(struct settings, print),
     .help = "print the recipe with all that it does not say, and stop"},
    {.name = "dry-run",
     .kind = KA_FLAG,
     .field = offsetof(struct settings, dry_run),
     .help = "check everything, print what it would take, and stop"},
    {.name = "best",
     .kind = KA_FLAG,
     .field = offsetof(struct settings, best),
     .help = "write the model that had the lowest held-back loss so far,\nand stop"},
    {.name = "stop",
     .value = "N",
     .kind = KA_NUMBER,
     .field = offsetof(struct settings, stop),
     .min = 0,
     .max = INT64_MAX / 2,
     .help = "end after so many steps, as if killed; 0, the default: at the end"},
    {0},
};

static const struct settings defaults = {.stop = 0};

const struct ka_verb ka_verb_train = {
    .name = "train",
    .summary = "train a model by a recipe, or go on where it was",
    .usage = "RECIPE [--set KEY=VALUE]... [options]",
    .text = "A recipe is a file with lines KEY = VALUE; klinear train RECIPE --print shows all keys, with what\n"
            "they mean.  The output folder gets log.csv (a row for each step), events for TensorBoard,\n"
            "checkpoints, the recipe in full (unless it is that very file), and in the end the model, in Hugging\n"
            "Face layout and as GGUF, and loss.svg.  The same command goes on after the last checkpoint, to the\n"
            "bit, however it ended.  Ctrl-C writes a checkpoint first.  A run ends when its gradients stay\n"
            "infinite or no numbers.",
    .options = options,
    .defaults = &defaults,
    .settings_bytes = sizeof defaults,
    .max_words = 1,
    .run = run,
};
