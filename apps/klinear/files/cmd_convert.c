/* klinear convert: from Hugging Face layout to GGUF, and back. */
#include "../cli/verb.h"
#include "filework.h"

#include <string.h>
#include <sys/stat.h>

struct settings {
    struct ka_filework_choice work;
    const char *output;
    int64_t shard_bytes;
    bool dry_run;
};

/* The target is a folder: it says so with a slash at its end, or is one already. */
static bool is_folder(const char *path)
{
    size_t n = strlen(path);
    struct stat s;
    return (n && path[n - 1] == '/') || (stat(path, &s) == 0 && S_ISDIR(s.st_mode));
}

static kl_status convert(const struct settings *s, const char *from, kl_error *err)
{
    struct ka_filework w;
    kl_status status = ka_filework_begin(&w, &s->work, "Converting", err);
    if (status != KL_OK)
        return status;
    w.options.shard_bytes = s->shard_bytes;
    w.options.dry_run = s->dry_run;
    status = is_folder(s->output) ? kl_model_to_hf(s->output, from, &w.options, err)
                                  : kl_model_to_gguf(s->output, from, &w.options, err);
    ka_filework_end(&w, status, s->dry_run ? NULL : s->output);
    return status;
}

static enum ka_exit run(const void *settings, int n_word, char **words)
{
    const struct settings *s = settings;
    if (n_word < 1 || !s->output) {
        ka_complain(&ka_verb_convert,
                    n_word < 1 ? "which model? Name its folder or file" : "where to? Name it with -o");
        return KA_USAGE;
    }
    kl_error err = {0};
    return ka_conclude(&ka_verb_convert, convert(s, words[0], &err), &err);
}

static const struct ka_option options[] = {
    {.name = "output",
     .letter = 'o',
     .value = "FILE",
     .kind = KA_TEXT,
     .field = offsetof(struct settings, output),
     .help = "FILE.gguf, or DIR/ for Hugging Face layout"},
    {.name = "shard-size",
     .value = "BYTES",
     .kind = KA_NUMBER,
     .field = offsetof(struct settings, shard_bytes),
     .min = 1,
     .max = INT64_MAX,
     .help = "most bytes of a safetensors file; default: 5G"},
    {.name = "dry-run",
     .kind = KA_FLAG,
     .field = offsetof(struct settings, dry_run),
     .help = "check and plan everything, write nothing"},
    {.name = "Writing", .kind = KA_GROUP, .field = offsetof(struct settings, work), .group = ka_filework_options},
    {0},
};

static const struct settings defaults = {0};

const struct ka_verb ka_verb_convert = {
    .name = "convert",
    .summary = "turn a model in Hugging Face layout into a GGUF file, or back",
    .usage = "MODEL -o (FILE.gguf | DIR/) [options]",
    .text = "A folder with safetensors becomes a GGUF file as other engines expect it; a GGUF file becomes such a\n"
            "folder.  Without --type every matrix keeps its type, and the way back makes the same model again, to\n"
            "the bit.  A file of another tool becomes a folder in bf16, with f32 for what it has in f32 and bf16\n"
            "could not hold, and f16 for what it has in f16.\n"
            "Nothing appears before it is complete.",
    .options = options,
    .defaults = &defaults,
    .settings_bytes = sizeof defaults,
    .max_words = 1,
    .run = run,
};
