/* klinear inspect: what a model is, what it will cost, and what this machine can hold of it. */
#include "../cli/verb.h"
#include "inspection_print.h"

#include <stdlib.h>

struct settings {
    struct ka_choice choice;
    int64_t ctx, batch;
    bool tensors, json;
};

static enum ka_exit run(const void *settings, int n_word, char **words)
{
    struct settings s = *(const struct settings *)settings;
    struct ka_inspection *i = malloc(sizeof *i);
    kl_error err = {0};
    if (n_word)
        s.choice.model = words[0];
    if (!i) {
        ka_complain(&ka_verb_inspect, "out of memory");
        return KA_FAILED;
    }
    kl_status status = ka_inspect(i, &s.choice, s.ctx, s.batch, &err);
    if (status == KL_OK) {
        (s.json ? ka_inspection_json : ka_inspection_text)(i, s.tensors);
        ka_inspect_close(i);
    }
    free(i);
    return ka_conclude(&ka_verb_inspect, status, &err);
}

static const struct ka_option options[] = {
    {.name = "ctx",
     .value = "N",
     .kind = KA_NUMBER,
     .field = offsetof(struct settings, ctx),
     .min = 1,
     .max = (int64_t)1 << 40,
     .help = "tokens of a sequence to plan for; default: 4096"},
    {.name = "batch",
     .value = "N",
     .kind = KA_NUMBER,
     .field = offsetof(struct settings, batch),
     .min = 0,
     .max = 1 << 16,
     .help = "tokens of one step; 0, the default: what a run takes"},
    {.name = "tensors", .kind = KA_FLAG, .field = offsetof(struct settings, tensors), .help = "list every tensor"},
    {.name = "json", .kind = KA_FLAG, .field = offsetof(struct settings, json), .help = "print JSON"},
    {.name = "Model", .kind = KA_GROUP, .field = offsetof(struct settings, choice), .group = ka_choice_options},
    {0},
};

static const struct settings defaults = {.choice = {.isa = 3}, .ctx = 4096};

const struct ka_verb ka_verb_inspect = {
    .name = "inspect",
    .summary = "what a model is, and what it will cost on this machine",
    .usage = "[MODEL] [options]",
    .text = "Shows configuration, tensors, and what a context costs; predicts the memory of a run, and says how\n"
            "long a sequence, or how many of them, this machine can hold.  Headers are read and every name and\n"
            "shape is checked; weights stay on the disk.",
    .options = options,
    .defaults = &defaults,
    .settings_bytes = sizeof defaults,
    .max_words = 1,
    .run = run,
};
