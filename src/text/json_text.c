#include "text/json_text.h"
#include "base/memory.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* ------------------------------------------------------------------------------------------------------- numbers -- */

enum { MOST_DIGITS = 17 };

/* |x| = 0.d d d .. * 10^point */
struct decimal {
    char digit[MOST_DIGITS + 1];
    int n, point;
};

/* Rounded to n digits.  The C library writes and reads with the comma of its locale, so it is asked for digits only. */
static struct decimal rounded(double x, int n)
{
    char text[40];
    struct decimal d = {0};
    snprintf(text, sizeof text, "%.*e", n - 1, fabs(x));
    const char *p = text;
    for (; *p && *p != 'e'; p++)
        if (*p >= '0' && *p <= '9')
            d.digit[d.n++] = *p;
    d.point = (int)strtol(p + 1, NULL, 10) + 1;
    return d;
}

static bool reads_as(const struct decimal *d, double x)
{
    char text[40];
    snprintf(text, sizeof text, "%se%d", d->digit, d->point - d->n);
    return strtod(text, NULL) == fabs(x);
}

/* The next larger one of as many digits; false: it has more. */
static bool increase(struct decimal *d)
{
    int i = d->n - 1;
    for (; i >= 0 && d->digit[i] == '9'; i--)
        d->digit[i] = '0';
    if (i >= 0)
        d->digit[i]++;
    return i >= 0;
}

/* Beside a power of two the nearest decimal may be another number although one further up is not. */
static struct decimal shortest(double x)
{
    for (int n = 1; n < MOST_DIGITS; n++) {
        struct decimal d = rounded(x, n), up = d;
        if (reads_as(&d, x))
            return d;
        if (increase(&up) && reads_as(&up, x))
            return up;
    }
    return rounded(x, MOST_DIGITS);
}

struct kl__real kl__real_text(double x)
{
    struct kl__real r;
    const char *sign = signbit(x) ? "-" : "";
    if (x == 0) {
        snprintf(r.text, sizeof r.text, "%s0.0", sign);
        return r;
    }
    struct decimal d = shortest(x);
    if (d.point > 16 || d.point < -3)
        snprintf(r.text, sizeof r.text, "%s%c%s%se%+03d", sign, d.digit[0], d.n > 1 ? "." : "", d.digit + 1,
                 d.point - 1);
    else if (d.point <= 0)
        snprintf(r.text, sizeof r.text, "%s0.%.*s%s", sign, -d.point, "000", d.digit);
    else if (d.n <= d.point)
        snprintf(r.text, sizeof r.text, "%s%s%.*s.0", sign, d.digit, d.point - d.n, "000000000000000");
    else
        snprintf(r.text, sizeof r.text, "%s%.*s.%s", sign, d.point, d.digit, d.digit + d.point);
    return r;
}

/* ------------------------------------------------------------------------------------------------------- strings -- */

static void write_escape(struct kl__growing *to, unsigned char c)
{
    static const char letters[] = "\"\"\\\\\bb\ff\nn\rr\tt";
    char text[8];
    for (const char *p = letters; *p; p += 2)
        if ((unsigned char)*p == c) {
            kl__grow(to, (struct kl__str){(char[]){'\\', p[1]}, 2});
            return;
        }
    snprintf(text, sizeof text, "\\u%04x", c);
    kl__grow(to, kl__str(text));
}

static void write_string(struct kl__growing *to, struct kl__str s)
{
    kl__grow(to, kl__str("\""));
    for (size_t from = 0, i = 0; i <= s.bytes; i++) {
        unsigned char c = i < s.bytes ? (unsigned char)s.at[i] : 0;
        if (c >= 0x20 && c != '"' && c != '\\')
            continue;
        kl__grow(to, (struct kl__str){s.at + from, i - from});
        if (i < s.bytes)
            write_escape(to, c);
        from = i + 1;
    }
    kl__grow(to, kl__str("\""));
}

/* -------------------------------------------------------------------------------------------------------- values -- */

struct member {
    struct kl__str key;
    const struct json_t *value;
};

/* UTF-8 sorts as its code points do. */
static int by_key(const void *left, const void *right)
{
    const struct member *a = left, *b = right;
    size_t n = a->key.bytes < b->key.bytes ? a->key.bytes : b->key.bytes;
    int d = memcmp(a->key.at, b->key.at, n);
    return d ? d : (a->key.bytes > b->key.bytes) - (a->key.bytes < b->key.bytes);
}

static bool write_object(struct kl__growing *to, const struct json_t *value, const struct kl__json_style *style)
{
    size_t n = 0;
    struct member m, *all;
    for (void *cursor = NULL; kl__json_each(value, &cursor, &m.key, &m.value);)
        n++;
    all = kl__alloc(to->alloc, n * sizeof *all);
    if (!all)
        return false;
    n = 0;
    for (void *cursor = NULL; kl__json_each(value, &cursor, &m.key, &m.value);)
        all[n++] = m;
    if (style->sorted)
        qsort(all, n, sizeof *all, by_key);
    bool fine = true;
    kl__grow(to, kl__str("{"));
    for (size_t i = 0; i < n && fine; i++) {
        kl__grow(to, kl__str(i ? style->comma : ""));
        write_string(to, all[i].key);
        kl__grow(to, kl__str(style->colon));
        fine = kl__json_write(to, all[i].value, style);
    }
    kl__grow(to, kl__str("}"));
    kl__release(to->alloc, all);
    return fine;
}

static bool write_array(struct kl__growing *to, const struct json_t *value, const struct kl__json_style *style)
{
    kl__grow(to, kl__str("["));
    for (size_t i = 0; i < kl__json_items(value); i++) {
        kl__grow(to, kl__str(i ? style->comma : ""));
        if (!kl__json_write(to, kl__json_item(value, i), style))
            return false;
    }
    kl__grow(to, kl__str("]"));
    return true;
}

static void write_scalar(struct kl__growing *to, const struct json_t *value)
{
    char number[24];
    struct kl__str text;
    int64_t i;
    double x;
    bool yes;
    if (kl__json_string(value, &text)) {
        write_string(to, text);
    } else if (kl__json_int(value, &i)) {
        snprintf(number, sizeof number, "%lld", (long long)i);
        kl__grow(to, kl__str(number));
    } else if (kl__json_number(value, &x)) {
        kl__grow(to, kl__str(kl__real_text(x).text));
    } else {
        kl__grow(to, kl__str(kl__json_bool(value, &yes) ? yes ? "true" : "false" : "null"));
    }
}

bool kl__json_write(struct kl__growing *to, const struct json_t *value, const struct kl__json_style *style)
{
    bool fine = true;
    if (kl__json_is_object(value))
        fine = write_object(to, value, style);
    else if (kl__json_is_array(value))
        fine = write_array(to, value, style);
    else
        write_scalar(to, value);
    return fine && !to->failed;
}
