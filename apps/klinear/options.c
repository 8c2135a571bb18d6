#include "options.h"

#include "verb.h"

#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_OPTIONS = 32, FIRST_CODE = 256, HELP_COLUMN = 24 };

void ka_complain(const struct ka_verb *verb, const char *format, ...)
{
    fprintf(stderr, "klinear%s%s: ", verb ? " " : "", verb ? verb->name : "");
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
}

/* A whole number, K or M behind it for 2^10 or 2^20, ending at `end`. */
static bool read_number(const char *text, const char *end, int64_t min, int64_t max, int64_t *number)
{
    if (text == end || !strchr("0123456789-", *text))
        return false;
    char *stop;
    errno = 0;
    long long n = strtoll(text, &stop, 10);
    int shift = stop < end && *stop == 'K' ? 10 : stop < end && *stop == 'M' ? 20 : 0;
    if (errno || stop + (shift > 0) != end || n > INT64_MAX >> shift || n < INT64_MIN >> shift)
        return false;
    n *= (long long)1 << shift;
    if (n < min || n > max)
        return false;
    *number = n;
    return true;
}

static bool read_word(const char *text, const char *end, const char *const *words, int64_t *index)
{
    for (int64_t i = 0; words[i]; i++)
        if (strlen(words[i]) == (size_t)(end - text) && memcmp(words[i], text, (size_t)(end - text)) == 0) {
            *index = i;
            return true;
        }
    return false;
}

static bool read_list(const struct ka_option *o, const char *text, struct ka_list *list)
{
    list->n = 0;
    for (const char *end;; text = end + 1) {
        end = text + strcspn(text, ",");
        if (list->n == KA_LIST)
            return false;
        int64_t *entry = &list->at[list->n++];
        if (!(o->kind == KA_WORDS ? read_word(text, end, o->words, entry)
                                  : read_number(text, end, o->min, o->max, entry)))
            return false;
        if (!*end)
            return true;
    }
}

static void complain_about_value(const struct ka_verb *verb, const struct ka_option *o, const char *text)
{
    if (o->kind == KA_WORDS) {
        char all[512] = "";
        for (int i = 0; o->words[i]; i++) {
            strncat(all, i ? ", " : "", sizeof all - strlen(all) - 1);
            strncat(all, o->words[i], sizeof all - strlen(all) - 1);
        }
        ka_complain(verb, "--%s is \"%s\", expected some of: %s", o->name, text, all);
    } else
        ka_complain(verb, "--%s is \"%s\", expected %s %lld .. %lld", o->name, text,
                    o->kind == KA_NUMBERS ? "numbers, with commas between them, in" : "a number in", (long long)o->min,
                    (long long)o->max);
}

static bool read_value(const struct ka_verb *verb, const struct ka_option *o, const char *text, void *settings)
{
    void *field = (char *)settings + o->field;
    bool fine = true;
    switch (o->kind) {
    case KA_FLAG:
        *(bool *)field = true;
        break;
    case KA_TEXT:
        *(const char **)field = text;
        break;
    case KA_NUMBER:
        fine = read_number(text, text + strlen(text), o->min, o->max, field);
        break;
    case KA_NUMBERS:
    case KA_WORDS:
        fine = read_list(o, text, field);
        break;
    }
    if (!fine)
        complain_about_value(verb, o, text);
    return fine;
}

bool ka_read_options(const struct ka_verb *verb, int argc, char **argv, void *settings, int *first, bool *help)
{
    struct option table[MAX_OPTIONS + 2] = {{"help", no_argument, NULL, 'h'}};
    for (int i = 0; verb->options && verb->options[i].name && i < MAX_OPTIONS; i++)
        table[i + 1] =
            (struct option){verb->options[i].name, verb->options[i].kind == KA_FLAG ? no_argument : required_argument,
                            NULL, FIRST_CODE + i};
    opterr = 0;
    optind = 1;
    for (int code; (code = getopt_long(argc, argv, ":h", table, NULL)) != -1;) {
        const char *found = argv[optind - 1];
        if (code == 'h') {
            *help = true;
            return true;
        }
        if (code == ':')
            ka_complain(verb, "%s needs a value; see --help", found);
        else if (code == '?')
            ka_complain(verb, "%s is no option here, or takes no value; see --help", found);
        if (code < FIRST_CODE || !read_value(verb, &verb->options[code - FIRST_CODE], optarg, settings))
            return false;
    }
    *first = optind;
    if (argc - optind > verb->max_words) {
        ka_complain(verb, "\"%s\" is one word too many; see --help", argv[optind + verb->max_words]);
        return false;
    }
    return true;
}

static void print_row(FILE *out, const char *name, const char *value, const char *help)
{
    int width = fprintf(out, "  %s%s%s", name, value ? " " : "", value ? value : "");
    for (const char *line = help; line;) {
        int length = (int)strcspn(line, "\n");
        if (width > HELP_COLUMN - 2) {
            fputc('\n', out);
            width = 0;
        }
        fprintf(out, "%*s%.*s\n", HELP_COLUMN - width, "", length, line);
        line = line[length] ? line + length + 1 : NULL;
        width = 0;
    }
}

void ka_print_options(FILE *out, const struct ka_option *options)
{
    fputs("\nOptions:\n", out);
    for (const struct ka_option *o = options; o && o->name; o++) {
        char name[64];
        snprintf(name, sizeof name, "--%s", o->name);
        print_row(out, name, o->value, o->help);
    }
    print_row(out, "-h, --help", NULL, "print this and stop");
}
