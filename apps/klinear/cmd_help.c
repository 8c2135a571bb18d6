/* klinear help [VERB]: what the program can do, from the tables that do it. */
#include "cli/manual.h"
#include "cli/verb.h"

#include <string.h>

struct settings {
    bool man;
    int64_t completion; /* index into ka_shells; -1: none */
};

static void print_verbs(FILE *out)
{
    const struct ka_verb *verb;
    size_t width = 0;
    for (int i = 0; (verb = ka_verb_at(i)); i++)
        width = strlen(verb->name) > width ? strlen(verb->name) : width;
    for (int i = 0; (verb = ka_verb_at(i)); i++)
        fprintf(out, "  %-*s  %s\n", (int)width, verb->name, verb->summary);
}

void ka_print_help(FILE *out, const struct ka_verb *verb)
{
    if (verb) {
        fprintf(out, "Usage: klinear %s%s%s\n\n%s\n", verb->name, *verb->usage ? " " : "", verb->usage, verb->text);
        ka_print_options(out, verb->options);
        return;
    }
    fputs("Usage: klinear VERB [options]\n\n"
          "Kimi Linear in C: run it, serve it, train it, measure it.\n\nVerbs:\n",
          out);
    print_verbs(out);
    fputs("\n"
          "  klinear help VERB   what a verb does, and its options\n"
          "  klinear --version   the version\n\n"
          "Results go to standard output, everything else to standard error.\n"
          "Exit status: 0 fine, 1 failed, 2 wrong usage.\n",
          out);
}

static enum ka_exit run(const void *settings, int n_word, char **words)
{
    const struct settings *s = settings;
    const struct ka_verb *verb = NULL;
    int n_used = 0;
    if ((s->man || s->completion >= 0) && (n_word > 0 || (s->man && s->completion >= 0))) {
        ka_complain(&ka_verb_help, "--man, --completion and a verb exclude each other");
        return KA_USAGE;
    }
    if (s->man || s->completion >= 0) {
        if (s->man)
            ka_print_man_page(stdout);
        else
            ka_print_completion(stdout, (int)s->completion);
        return KA_FINE;
    }
    if (n_word > 0)
        verb = ka_find_verb(n_word, words, &n_used);
    if (n_used < n_word) {
        ka_complain(NULL, "there is no verb \"%s%s%s\"; \"klinear help\" lists them", words[0], n_word > 1 ? " " : "",
                    n_word > 1 ? words[1] : "");
        return KA_USAGE;
    }
    ka_print_help(stdout, verb);
    return KA_FINE;
}

static const struct ka_option options[] = {
    {.name = "man", .kind = KA_FLAG, .field = offsetof(struct settings, man), .help = "print the man page, klinear(1)"},
    {.name = "completion",
     .value = "SHELL",
     .kind = KA_WORD,
     .field = offsetof(struct settings, completion),
     .words = ka_shells,
     .help = "print completions for bash, zsh or fish"},
    {0},
};

static const struct settings defaults = {.completion = -1};

const struct ka_verb ka_verb_help = {
    .name = "help",
    .summary = "list the verbs, or explain one",
    .usage = "[options] [VERB]",
    .text = "Lists the verbs; with a verb, says what it does and which options it has.",
    .options = options,
    .defaults = &defaults,
    .settings_bytes = sizeof defaults,
    .max_words = 2,
    .run = run,
};
