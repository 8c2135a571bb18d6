/* klinear init: a model with random weights, of any geometry. */
#include "../cli/verb.h"
#include "filework.h"

#include <string.h>

struct settings {
    struct ka_filework_choice work;
    const char *preset, *config, *output;
    int64_t seed;
    bool dry_run;
};

static kl_status write_model(const struct settings *s, kl_error *err)
{
    kl_config c;
    struct ka_filework w;
    kl_status status = s->config ? kl_config_read(&c, s->config, NULL, err)
                                 : kl_config_preset(&c, s->preset ? s->preset : "tiny", err);
    if (status == KL_OK)
        status = ka_filework_begin(&w, &s->work, "Making the model", err);
    if (status != KL_OK)
        return status;
    w.options.dry_run = s->dry_run;
    status = kl_model_init(s->output, &c, (uint64_t)s->seed, &w.options, err);
    ka_filework_end(&w, status, s->dry_run ? NULL : s->output);
    return status;
}

static enum ka_exit run(const void *settings, int n_word, char **words)
{
    (void)n_word, (void)words;
    const struct settings *s = settings;
    if (!s->output || (s->preset && s->config)) {
        ka_complain(&ka_verb_init,
                    !s->output ? "where to? Name a file with -o" : "expected one of --preset and --config");
        return KA_USAGE;
    }
    kl_error err = {0};
    return ka_conclude(&ka_verb_init, write_model(s, &err), &err);
}

static const struct ka_option options[] = {
    {.name = "preset",
     .value = "NAME",
     .kind = KA_TEXT,
     .field = offsetof(struct settings, preset),
     .help = "tiny (the default), small, mid, mid256, 48b; with -mla all layers\n"
             "are MLA, with -gdn Gated DeltaNet takes the place of KDA"},
    {.name = "config",
     .value = "FILE",
     .kind = KA_TEXT,
     .field = offsetof(struct settings, config),
     .help = "geometry out of a config.json, or of another model"},
    {.name = "seed",
     .value = "N",
     .kind = KA_NUMBER,
     .field = offsetof(struct settings, seed),
     .min = 0,
     .max = INT64_MAX,
     .help = "which random numbers; default: 1"},
    {.name = "output",
     .letter = 'o',
     .value = "FILE",
     .kind = KA_TEXT,
     .field = offsetof(struct settings, output),
     .help = "the GGUF file to write"},
    {.name = "dry-run",
     .kind = KA_FLAG,
     .field = offsetof(struct settings, dry_run),
     .help = "plan everything, write nothing"},
    {.name = "Writing", .kind = KA_GROUP, .field = offsetof(struct settings, work), .group = ka_filework_options},
    {0},
};

static const struct settings defaults = {.work = {.type = "q8_0"}, .seed = 1};

const struct ka_verb ka_verb_init = {
    .name = "init",
    .summary = "make a model with random weights, to measure or to test with",
    .usage = "[--preset NAME | --config FILE] -o FILE.gguf [options]",
    .text = "Writes a GGUF file with random weights, scaled as those of a trained model are, so that speed and\n"
            "memory of any geometry can be measured without the released weights.  The numbers depend on the seed\n"
            "alone: files of one seed and different types are the same model at different precision.  The default\n"
            "type is q8_0.  A small tokenizer comes along.",
    .options = options,
    .defaults = &defaults,
    .settings_bytes = sizeof defaults,
    .run = run,
};
