/* Completions for bash, zsh and fish.  Each script knows verbs, their options, the words that an option accepts, and
 * where files are expected. */
#include "manual.h"

#include "verb.h"

#include <string.h>

const char *const ka_shells[] = {"bash", "zsh", "fish", NULL};

enum expects { NOTHING, ANYTHING, FILES, FOLDERS, ITS_WORDS };

static enum expects expected_by(const struct ka_option *o)
{
    if (o->kind == KA_FLAG)
        return NOTHING;
    if (o->kind == KA_WORD || o->kind == KA_WORDS)
        return ITS_WORDS;
    if (strcmp(o->value, "DIR") == 0)
        return FOLDERS;
    return strstr(o->value, "FILE") || strcmp(o->value, "MODEL") == 0 ? FILES : ANYTHING;
}

static void put_words(FILE *out, const char *const *words, const char *between)
{
    for (int i = 0; words[i]; i++)
        fprintf(out, "%s%s", i ? between : "", words[i]);
}

static void put_verbs(FILE *out)
{
    const struct ka_verb *verb;
    for (int i = 0; (verb = ka_verb_at(i)); i++)
        if (!strchr(verb->name, ' ')) /* a second word is offered behind the first */
            fprintf(out, "%s%s", i ? " " : "", verb->name);
}

/* One line without what quotes and brackets mean to a shell. */
static void put_help(FILE *out, const char *text)
{
    for (; *text; text++)
        fputc(*text == '\n' ? ' ' : strchr("'\"[]:\\`$", *text) ? ' ' : *text, out);
}

/* ---------------------------------------------------------------------------------------------------------- bash -- */

static void bash_values(FILE *out, const struct ka_option *o)
{
    static const char *const reply[] = {
        [ANYTHING] = "",
        [FILES] = "files=-f",
        [FOLDERS] = "files=-d",
    };
    enum expects e = expected_by(o);
    if (e == NOTHING)
        return;
    fprintf(out, "        --%s", o->name);
    if (o->letter)
        fprintf(out, " | -%c", o->letter);
    fputs(") ", out);
    if (e == ITS_WORDS) {
        fputs("words=\"", out);
        put_words(out, o->words, " ");
        fputs("\" ;;\n", out);
    } else
        fprintf(out, "%s%swords= ;;\n", reply[e], e == ANYTHING ? "" : " ");
}

static void bash_verb(FILE *out, const struct ka_verb *verb)
{
    struct ka_option_at at[KA_MAX_OPTIONS];
    int n = ka_all_options(at, verb->options);
    fprintf(out, "    \"%s\")\n        words=\"--help", verb->name);
    for (int i = 0; i < n; i++)
        fprintf(out, " --%s", at[i].option->name);
    fputs("\"\n        case $prev in\n", out);
    for (int i = 0; i < n; i++)
        bash_values(out, at[i].option);
    fputs("        *) [[ $cur == -* ]] || { ", out);
    if (strcmp(verb->name, "help") == 0) {
        fputs("words=\"", out);
        put_verbs(out);
        fputs("\"; } ;;\n", out);
    } else
        fprintf(out, "%swords=$seconds; } ;;\n", verb->max_words ? "files=-f " : "");
    fputs("        esac ;;\n", out);
}

/* The second words of verbs that have two, by their first word; several may share it, so the case goes on (;;&). */
static void bash_seconds(FILE *out)
{
    const struct ka_verb *verb;
    fputs("    case ${COMP_WORDS[1]} in\n", out);
    for (int i = 0; (verb = ka_verb_at(i)); i++) {
        const char *space = strchr(verb->name, ' ');
        if (space)
            fprintf(out,
                    "    %.*s)\n        [ \"$COMP_CWORD\" != 2 ] || seconds+=\" %s\"\n"
                    "        [ \"${COMP_WORDS[2]-}\" != %s ] || [ \"$COMP_CWORD\" = 2 ] || verb=\"%s\" ;;&\n",
                    (int)(space - verb->name), verb->name, space + 1, space + 1, verb->name);
    }
    fputs("    esac\n    words=$seconds\n", out);
}

static void print_bash(FILE *out)
{
    fputs("# bash completion for klinear; made by klinear help --completion bash\n"
          "_klinear() {\n"
          "    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} verb=${COMP_WORDS[1]}\n"
          "    local words= files= seconds=\n"
          "    COMPREPLY=()\n"
          "    if [ \"$COMP_CWORD\" = 1 ]; then\n"
          "        mapfile -t COMPREPLY < <(compgen -W \"",
          out);
    put_verbs(out);
    fputs(" --help --version\" -- \"$cur\")\n        return\n    fi\n", out);
    bash_seconds(out);
    fputs("    case $verb in\n", out);
    const struct ka_verb *verb;
    for (int i = 0; (verb = ka_verb_at(i)); i++)
        bash_verb(out, verb);
    fputs("    esac\n"
          "    [ -z \"$words\" ] || mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$cur\")\n"
          "    [ -z \"$files\" ] || {\n"
          "        compopt -o filenames 2>/dev/null\n"
          "        mapfile -t -O ${#COMPREPLY[@]} COMPREPLY < <(compgen $files -- \"$cur\")\n"
          "    }\n"
          "}\n"
          "complete -F _klinear klinear\n",
          out);
}

/* ----------------------------------------------------------------------------------------------------------- zsh -- */

static void zsh_option(FILE *out, const struct ka_option *o)
{
    enum expects e = expected_by(o);
    if (o->letter)
        fprintf(out, "            '(-%c --%s)'{-%c,--%s}", o->letter, o->name, o->letter, o->name);
    else
        fprintf(out, "            %s--%s", o->kind == KA_TEXTS ? "\\*" : "", o->name);
    fputs("'[", out);
    put_help(out, o->help);
    fputc(']', out);
    if (e != NOTHING) {
        fprintf(out, ":%s:", o->value);
        if (e == ITS_WORDS) {
            fputc('(', out);
            put_words(out, o->words, " ");
            fputc(')', out);
        } else
            fputs(e == FILES ? "_files" : e == FOLDERS ? "_files -/" : " ", out);
    }
    fputs("' \\\n", out);
}

static void print_zsh(FILE *out)
{
    fputs("#compdef klinear\n"
          "# zsh completion for klinear; made by klinear help --completion zsh\n"
          "_klinear() {\n"
          "    local -a verbs=(\n",
          out);
    const struct ka_verb *verb;
    for (int i = 0; (verb = ka_verb_at(i)); i++)
        if (!strchr(verb->name, ' ')) {
            fprintf(out, "        '%s:", verb->name);
            put_help(out, verb->summary);
            fputs("'\n", out);
        }
    fputs("    )\n"
          "    if (( CURRENT == 2 )); then\n"
          "        _describe verb verbs\n"
          "        return\n"
          "    fi\n"
          "    local verb=$words[2]\n",
          out);
    for (int i = 0; (verb = ka_verb_at(i)); i++) {
        const char *space = strchr(verb->name, ' ');
        if (space)
            fprintf(out, "    [[ \"$words[2] $words[3]\" != '%s' ]] || { verb='%s'; shift words; (( CURRENT-- )); }\n",
                    verb->name, verb->name);
    }
    fputs("    shift words; (( CURRENT-- ))\n    case $verb in\n", out);
    for (int i = 0; (verb = ka_verb_at(i)); i++) {
        struct ka_option_at at[KA_MAX_OPTIONS];
        int n = ka_all_options(at, verb->options);
        fprintf(out,
                "    '%s')\n        _arguments -s \\\n            '(-h --help)'{-h,--help}'[print help and stop]' \\\n",
                verb->name);
        for (int k = 0; k < n; k++)
            zsh_option(out, at[k].option);
        fputs("            '*:word:", out);
        if (strcmp(verb->name, "help") == 0) {
            fputc('(', out);
            put_verbs(out);
            fputc(')', out);
        } else
            fputs(verb->max_words ? "_files" : "", out);
        fputs("' ;;\n", out);
    }
    /* Either a file that zsh found among its functions, or a text that somebody sources. */
    fputs("    esac\n}\n"
          "if [ \"$funcstack[1]\" = _klinear ]; then _klinear \"$@\"; else compdef _klinear klinear; fi\n",
          out);
}

/* ---------------------------------------------------------------------------------------------------------- fish -- */

static void fish_option(FILE *out, const char *verb, const struct ka_option *o)
{
    enum expects e = expected_by(o);
    fprintf(out, "complete -c klinear -n '__klinear_verb %s' -l %s", verb, o->name);
    if (o->letter)
        fprintf(out, " -s %c", o->letter);
    if (e == ITS_WORDS) {
        fputs(" -x -a '", out);
        put_words(out, o->words, " ");
        fputc('\'', out);
    } else
        fputs(e == NOTHING    ? ""
              : e == ANYTHING ? " -x"
              : e == FOLDERS  ? " -x -a '(__fish_complete_directories)'"
                              : " -r -F",
              out);
    fputs(" -d '", out);
    put_help(out, o->help);
    fputs("'\n", out);
}

static void print_fish(FILE *out)
{
    fputs("# fish completion for klinear; made by klinear help --completion fish\n"
          "function __klinear_verb\n"
          "    set -l words (commandline -opc)\n"
          "    set -e words[1]\n"
          "    for i in (seq (count $argv))\n"
          "        test \"$words[$i]\" = \"$argv[$i]\"; or return 1\n"
          "    end\n"
          "end\n"
          "complete -c klinear -n 'test (count (commandline -opc)) -eq 1' -f\n",
          out);
    const struct ka_verb *verb;
    for (int i = 0; (verb = ka_verb_at(i)); i++) {
        const char *space = strchr(verb->name, ' ');
        if (space)
            fprintf(out,
                    "complete -c klinear -n '__klinear_verb %.*s; and test (count (commandline -opc)) -eq 2' -a %s",
                    (int)(space - verb->name), verb->name, space + 1);
        else
            fprintf(out, "complete -c klinear -n 'test (count (commandline -opc)) -eq 1' -a %s", verb->name);
        fputs(" -d '", out);
        put_help(out, verb->summary);
        fputs("'\n", out);
        if (!verb->max_words)
            fprintf(out, "complete -c klinear -n '__klinear_verb %s' -f\n", verb->name);
        fprintf(out, "complete -c klinear -n '__klinear_verb %s' -l help -s h -d 'print help and stop'\n", verb->name);
        struct ka_option_at at[KA_MAX_OPTIONS];
        int n = ka_all_options(at, verb->options);
        for (int k = 0; k < n; k++)
            fish_option(out, verb->name, at[k].option);
    }
    fputs("complete -c klinear -n '__klinear_verb help' -f -a '", out);
    put_verbs(out);
    fputs("'\n", out);
}

void ka_print_completion(FILE *out, int shell)
{
    static void (*const print[])(FILE *) = {print_bash, print_zsh, print_fish};
    print[shell](out);
}
