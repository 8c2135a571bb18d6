/* klinear(1) out of the tables that do the work, so that it cannot say anything else than --help does. */
#include "manual.h"

#include "verb.h"

#include "klinear/kl.h"

#include <ctype.h>
#include <string.h>

/* Text for troff: a dash is a dash, a backslash is one, and no line is taken for a request. */
static void put(FILE *out, const char *text, int n)
{
    for (int i = 0; i < n && text[i]; i++) {
        bool first = i == 0 || text[i - 1] == '\n';
        if (first && (text[i] == '.' || text[i] == '\''))
            fputs("\\&", out);
        if (text[i] == '\\')
            fputs("\\e", out);
        else if (text[i] == '-')
            fputs("\\-", out);
        else
            fputc(text[i], out);
    }
}

static void put_all(FILE *out, const char *text)
{
    put(out, text, (int)strlen(text));
}

/* Paragraphs: lines are joined, an empty one parts them, indented ones stay as they are. */
static void put_paragraphs(FILE *out, const char *text)
{
    bool as_is = false;
    for (const char *line = text; *line;) {
        int n = (int)strcspn(line, "\n");
        bool indented = isspace((unsigned char)*line) && n > 0;
        if (indented != as_is) {
            fputs(indented ? ".nf\n" : ".fi\n", out);
            as_is = indented;
        }
        if (n == 0)
            fputs(".PP", out);
        put(out, line, n);
        fputc('\n', out);
        line += n + (line[n] == '\n');
    }
    if (as_is)
        fputs(".fi\n", out);
}

static void put_option(FILE *out, const struct ka_option *o)
{
    fputs(".TP\n.B ", out);
    if (o->letter)
        fprintf(out, "\\-%c, ", o->letter);
    fputs("\\-\\-", out);
    put_all(out, o->name);
    if (o->value) {
        fputs(" \\fI", out);
        put_all(out, o->value);
        fputs("\\fR", out);
    }
    fputc('\n', out);
    put_all(out, o->help);
    fputc('\n', out);
}

static void put_verb(FILE *out, const struct ka_verb *verb)
{
    fprintf(out, ".SS klinear %s", verb->name);
    fputs(*verb->usage ? " " : "", out);
    put_all(out, verb->usage);
    fputc('\n', out);
    put_paragraphs(out, verb->text);
    struct ka_option_at at[KA_MAX_OPTIONS];
    int n = ka_all_options(at, verb->options);
    const char *heading = NULL;
    for (int i = 0; i < n; i++) {
        if (at[i].heading && at[i].heading != heading)
            fprintf(out, ".PP\n.I %s:\n", at[i].heading);
        heading = at[i].heading;
        put_option(out, at[i].option);
    }
}

void ka_print_man_page(FILE *out)
{
    fprintf(out, ".TH KLINEAR 1 \"\" \"klinear %s\" \"User Commands\"\n", kl_version());
    fputs(".SH NAME\nklinear \\- Kimi Linear in C\n"
          ".SH SYNOPSIS\n.B klinear\n.I VERB\n[options]\n"
          ".SH DESCRIPTION\n"
          "Runs, measures and prepares models of the Kimi Linear architecture: hybrids of Kimi Delta Attention, the\n"
          "memory of which has a fixed size, and multi\\-head latent attention.\n"
          ".PP\nA verb says what is to be done.  Results go to standard output, everything else to standard error.\n"
          "Every verb knows \\fB\\-\\-help\\fR; \\fBklinear \\-\\-version\\fR prints the version.\n"
          ".SH VERBS\n",
          out);
    const struct ka_verb *verb;
    for (int i = 0; (verb = ka_verb_at(i)); i++)
        put_verb(out, verb);
    fputs(
        ".SH EXIT STATUS\n0 fine, 1 failed, 2 wrong usage.\n"
        ".SH ENVIRONMENT\n"
        ".TP\n.B KLINEAR_MODELS\nwhere the model lies that is used when none is named\n"
        ".TP\n.B XDG_STATE_HOME\nwhere the history of \\fBchat\\fR is kept, in klinear/history; by default\n"
        "in ~/.local/state\n"
        ".TP\n.B TERM\nprogress is shown on a terminal that is not dumb\n"
        ".SH FILES\n"
        "A session file (\\fBrun \\-\\-save\\-session\\fR, \\fB/save\\fR in a chat) holds what a model remembers of a\n"
        "text, and for a conversation its turns.  It belongs to the model that wrote it; both verbs read it.\n",
        out);
}
