/* klinear help [VERB]: what the program can do, from the tables that do it. */
#include "verb.h"

void ka_print_help(FILE *out, const struct ka_verb *verb)
{
    if (verb) {
        fprintf(out, "Usage: klinear %s%s%s\n\n%s\n", verb->name, *verb->usage ? " " : "", verb->usage, verb->text);
        ka_print_options(out, verb->options);
        return;
    }
    fputs("Usage: klinear VERB [options]\n\n"
          "Kimi Linear in C: the operators of a hybrid linear-attention model.\n\nVerbs:\n",
          out);
    for (int i = 0; (verb = ka_verb_at(i)); i++)
        fprintf(out, "  %-12s%s\n", verb->name, verb->summary);
    fputs("\n"
          "  klinear help VERB   what a verb does, and its options\n"
          "  klinear --version   the version\n\n"
          "Results go to standard output, everything else to standard error.\n"
          "Exit status: 0 fine, 1 failed, 2 wrong usage.\n",
          out);
}

static enum ka_exit run(const void *settings, int n_word, char **words)
{
    (void)settings;
    const struct ka_verb *verb = NULL;
    int n_used = 0;
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

const struct ka_verb ka_verb_help = {
    .name = "help",
    .summary = "list the verbs, or explain one",
    .usage = "[VERB]",
    .text = "Lists the verbs; with a verb, says what it does and which options it has.",
    .max_words = 2,
    .run = run,
};
