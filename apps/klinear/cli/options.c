#include "options.h"

#include "verb.h"

#include <assert.h>
#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

enum { FIRST_CODE = 256, HELP_COLUMN = 24 };

void ka_complain(const struct ka_verb *verb, const char *format, ...)
{
    fprintf(stderr, "klinear%s%s: ", verb ? " " : "", verb ? verb->name : "");
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
}

static int add_options(struct ka_option_at at[KA_MAX_OPTIONS], int n, const struct ka_option *options, size_t base,
                       const char *heading)
{
    for (const struct ka_option *o = options; o && o->name; o++) {
        if (o->kind == KA_GROUP) {
            n = add_options(at, n, o->group, base + o->field, o->name);
            continue;
        }
        assert(n < KA_MAX_OPTIONS);
        at[n++] = (struct ka_option_at){o, base, heading};
    }
    return n;
}

int ka_all_options(struct ka_option_at at[KA_MAX_OPTIONS], const struct ka_option *options)
{
    return add_options(at, 0, options, 0, NULL);
}

/* A whole number, K, M or G behind it for 2^10, 2^20 or 2^30, ending at `end`. */
static bool read_number(const char *text, const char *end, int64_t min, int64_t max, int64_t *number)
{
    if (text == end || !strchr("0123456789-", *text))
        return false;
    char *stop;
    errno = 0;
    long long n = strtoll(text, &stop, 10);
    const char *units = "KMG", *unit = stop < end ? strchr(units, *stop) : NULL;
    int shift = unit && *unit ? 10 * (int)(unit - units + 1) : 0;
    if (errno || stop + (shift > 0) != end || n > INT64_MAX >> shift || n < INT64_MIN >> shift)
        return false;
    n *= (long long)1 << shift;
    if (n < min || n > max)
        return false;
    *number = n;
    return true;
}

/* The digits go to strtod without their point, which becomes a part of the exponent: so the locale is never asked. */
bool ka_read_real(const char *text, double *number)
{
    char digits[64];
    int n = 0, power = 0;
    const char *c = text;
    if (*c == '-' || *c == '+')
        digits[n++] = *c++;
    int first = n;
    for (bool behind = false; (*c >= '0' && *c <= '9') || (*c == '.' && !behind); c++) {
        if (*c == '.')
            behind = true;
        else if (n < 40) {
            digits[n++] = *c;
            power -= behind;
        } else
            power += !behind;
    }
    if (n == first)
        return false;
    if (*c == 'e' || *c == 'E') {
        char *stop;
        if (!strchr("+-0123456789", c[1]) || !c[1])
            return false;
        long exponent = strtol(c + 1, &stop, 10);
        if (stop == c + 1 || exponent < -1000 || exponent > 1000)
            return false;
        power += (int)exponent;
        c = stop;
    }
    snprintf(digits + n, sizeof digits - (size_t)n, "e%d", power);
    double x = strtod(digits, NULL);
    if (*c || !isfinite(x))
        return false;
    *number = x;
    return true;
}

static bool read_real(const struct ka_option *o, const char *text, double *number)
{
    double x;
    if (!ka_read_real(text, &x) || x < (double)o->min || x > (double)o->max)
        return false;
    *number = x;
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

static bool add_text(const char *text, struct ka_texts *texts)
{
    if (texts->n == KA_LIST)
        return false;
    texts->at[texts->n++] = text;
    return true;
}

static void complain_about_words(const struct ka_verb *verb, const struct ka_option *o, const char *text)
{
    char all[512] = "";
    for (int i = 0; o->words[i]; i++) {
        strncat(all, i ? ", " : "", sizeof all - strlen(all) - 1);
        strncat(all, o->words[i], sizeof all - strlen(all) - 1);
    }
    ka_complain(verb, "--%s is \"%s\", expected %s of: %s", o->name, text, o->kind == KA_WORD ? "one" : "some", all);
}

static void complain_about_value(const struct ka_verb *verb, const struct ka_option *o, const char *text)
{
    if (o->kind == KA_WORD || o->kind == KA_WORDS)
        complain_about_words(verb, o, text);
    else if (o->kind == KA_TEXTS)
        ka_complain(verb, "--%s is given more than %d times", o->name, KA_LIST);
    else
        ka_complain(verb, "--%s is \"%s\", expected %s %lld .. %lld", o->name, text,
                    o->kind == KA_NUMBERS ? "numbers, with commas between them, in" : "a number in", (long long)o->min,
                    (long long)o->max);
}

static bool read_value(const struct ka_verb *verb, const struct ka_option_at *at, const char *text, void *settings)
{
    const struct ka_option *o = at->option;
    void *field = (char *)settings + at->base + o->field;
    bool fine = true;
    switch (o->kind) {
    case KA_FLAG:
        *(bool *)field = true;
        break;
    case KA_TEXT:
        *(const char **)field = text;
        break;
    case KA_TEXTS:
        fine = add_text(text, field);
        break;
    case KA_NUMBER:
        fine = read_number(text, text + strlen(text), o->min, o->max, field);
        break;
    case KA_REAL:
        fine = read_real(o, text, field);
        break;
    case KA_WORD:
        fine = read_word(text, text + strlen(text), o->words, field);
        break;
    case KA_NUMBERS:
    case KA_WORDS:
        fine = read_list(o, text, field);
        break;
    case KA_GROUP: /* never in a walk */
        break;
    }
    if (!fine)
        complain_about_value(verb, o, text);
    return fine;
}

/* What getopt_long reads: codes from FIRST_CODE on are indices into `at`. */
struct reading {
    struct ka_option_at at[KA_MAX_OPTIONS];
    int n;
    struct option table[KA_MAX_OPTIONS + 2];
    char letters[2 * KA_MAX_OPTIONS + 3];
};

static void prepare(struct reading *r, const struct ka_option *options)
{
    *r = (struct reading){.table = {{"help", no_argument, NULL, 'h'}}, .letters = ":h"};
    r->n = ka_all_options(r->at, options);
    char *letter = r->letters + 2;
    for (int i = 0; i < r->n; i++) {
        const struct ka_option *o = r->at[i].option;
        r->table[i + 1] =
            (struct option){o->name, o->kind == KA_FLAG ? no_argument : required_argument, NULL, FIRST_CODE + i};
        if (!o->letter)
            continue;
        *letter++ = o->letter;
        if (o->kind != KA_FLAG)
            *letter++ = ':';
    }
}

/* The option of a code that getopt_long returned; -1: none. */
static int option_of(const struct reading *r, int code)
{
    if (code >= FIRST_CODE)
        return code - FIRST_CODE;
    for (int i = 0; i < r->n; i++)
        if (r->at[i].option->letter == code)
            return i;
    return -1;
}

/* A letter that getopt_long does not know is in optopt: it may stand among others in an argument that getopt has not
 * left yet.  h is known; with it a value was refused, as in --help=X. */
static void complain_about_option(const struct ka_verb *verb, const char *found)
{
    char letter[] = {'-', (char)optopt, 0};
    bool alone = optopt > ' ' && optopt <= '~' && optopt != 'h';
    ka_complain(verb, "%s is no option here, or takes no value; see --help", alone ? letter : found);
}

bool ka_read_options(const struct ka_verb *verb, int argc, char **argv, void *settings, int *first, bool *help)
{
    struct reading r;
    prepare(&r, verb->options);
    opterr = 0;
    optind = 1;
    for (int code; (code = getopt_long(argc, argv, r.letters, r.table, NULL)) != -1;) {
        const char *found = argv[optind - 1];
        if (code == 'h') {
            *help = true;
            return true;
        }
        if (code == ':')
            ka_complain(verb, "%s needs a value; see --help", found);
        else if (code == '?')
            complain_about_option(verb, found);
        int i = code == ':' || code == '?' ? -1 : option_of(&r, code);
        if (i < 0 || !read_value(verb, &r.at[i], optarg, settings))
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
    struct ka_option_at at[KA_MAX_OPTIONS];
    int n = ka_all_options(at, options);
    const char *heading = NULL;
    fputs("\nOptions:\n", out);
    for (int i = 0; i < n; i++) {
        const struct ka_option *o = at[i].option;
        if (at[i].heading != heading)
            fprintf(out, "\n%s:\n", (heading = at[i].heading) ? heading : "More");
        char name[64], letter[8] = "";
        if (o->letter)
            snprintf(letter, sizeof letter, "-%c, ", o->letter);
        snprintf(name, sizeof name, "%s--%s", letter, o->name);
        print_row(out, name, o->value, o->help);
    }
    if (heading)
        fputc('\n', out);
    print_row(out, "-h, --help", NULL, "print this and stop");
}
