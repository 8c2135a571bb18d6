/* klinear train plot: the loss of runs, drawn. */
#include "../cli/verb.h"
#include "lossplot.h"

#include <stdio.h>

struct settings {
    const char *output;
};

static enum ka_exit run(const void *settings, int n_word, char **words)
{
    const struct settings *s = settings;
    const char *log[KA_MOST_RUNS], *name[KA_MOST_RUNS];
    char path[KA_MOST_RUNS][4096];
    kl_error err = {0};
    if (!n_word) {
        ka_complain(&ka_verb_train_plot, "which runs? Name folders that klinear train wrote");
        return KA_USAGE;
    }
    for (int i = 0; i < n_word; i++) {
        snprintf(path[i], sizeof path[i], "%s/log.csv", words[i]);
        log[i] = path[i];
        name[i] = words[i];
    }
    return ka_conclude(&ka_verb_train_plot, ka_loss_plot(s->output, log, name, n_word, &err), &err);
}

static const struct ka_option options[] = {
    {.name = "output",
     .letter = 'o',
     .value = "FILE",
     .kind = KA_TEXT,
     .field = offsetof(struct settings, output),
     .help = "the SVG file to write; default: loss.svg"},
    {0},
};

static const struct settings defaults = {.output = "loss.svg"};

const struct ka_verb ka_verb_train_plot = {
    .name = "train plot",
    .summary = "draw the loss of training runs",
    .usage = "[-o FILE.svg] FOLDER...",
    .text = "Draws the loss of each step, smoothed, and that of the held-back data as dots, for up to 8 folders\n"
            "that klinear train wrote.",
    .options = options,
    .defaults = &defaults,
    .settings_bytes = sizeof defaults,
    .max_words = KA_MOST_RUNS,
    .run = run,
};
