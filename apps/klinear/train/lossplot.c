#include "lossplot.h"

#include "base/error.h"
#include "base/file.h"
#include "runlog.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

/* Pixels. */
enum { WIDTH = 860, HEIGHT = 480, LEFT = 60, RIGHT = 20, TOP = 20, BOTTOM = 45, MOST_POINTS = 600 };

static const char *const color[KA_MOST_RUNS] = {"#1f6fb4", "#d1495b", "#2e8b57", "#c77d0a",
                                                "#6f5aa8", "#4d4d4d", "#008b9a", "#a0522d"};

struct curve {
    struct ka_row *row; /* [n] */
    int64_t n, room;
    double *smooth; /* [n] */
};

/* What is shown: steps from 0, losses from low to high. */
struct view {
    double steps, low, high;
};

/* A growing text. */
struct page {
    char *text;
    size_t n, room;
    bool failed;
};

static void print(struct page *p, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void print(struct page *p, const char *format, ...)
{
    char line[512];
    va_list arguments;
    va_start(arguments, format);
    int n = vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    if (p->failed || n < 0 || n >= (int)sizeof line)
        return;
    if (p->n + (size_t)n > p->room) {
        size_t room = 2 * p->room + 4096;
        char *more = realloc(p->text, room);
        p->failed = !more;
        if (!more)
            return;
        p->text = more;
        p->room = room;
    }
    memcpy(p->text + p->n, line, (size_t)n);
    p->n += (size_t)n;
}

/* ------------------------------------------------------------------------------------------------------- reading -- */

static bool add_row(struct curve *c, const struct ka_row *row)
{
    if (c->n == c->room) {
        int64_t room = 2 * c->room + 256;
        struct ka_row *more = realloc(c->row, (size_t)room * sizeof *more);
        if (!more)
            return false;
        c->row = more;
        c->room = room;
    }
    c->row[c->n++] = *row;
    return true;
}

/* A mean over about a fiftieth of the run, which forgets its beginning as fast as it can. */
static bool smooth(struct curve *c)
{
    c->smooth = malloc((size_t)c->n * sizeof *c->smooth);
    if (!c->smooth)
        return false;
    double rate = c->n > 100 ? 50.0 / (double)c->n : 0.5, mean = 0, weight = 0;
    for (int64_t i = 0; i < c->n; i++) {
        if (isfinite(c->row[i].loss)) {
            mean += rate * (c->row[i].loss - mean);
            weight += rate * (1 - weight);
        }
        c->smooth[i] = weight > 0 ? mean / weight : NAN;
    }
    return true;
}

static kl_status read_curve(struct curve *c, const char *path, kl_error *err)
{
    FILE *csv = fopen(path, "r");
    if (!csv)
        return kl__fail(err, KL_ERR_IO, "%s cannot be read: %s", path, strerror(errno));
    struct ka_row row;
    bool log = ka_read_heading(csv), fine = true;
    while (log && fine && ka_read_row(csv, &row))
        fine = add_row(c, &row);
    fclose(csv);
    if (!log || c->n == 0)
        return kl__fail(err, KL_ERR_FORMAT, "%s: is no log of a training, or has no rows", path);
    return fine && smooth(c) ? KL_OK : kl__fail(err, KL_ERR_MEMORY, "out of memory");
}

/* ------------------------------------------------------------------------------------------------------- drawing -- */

static void see(struct view *v, double loss)
{
    if (!isfinite(loss))
        return;
    v->low = loss < v->low ? loss : v->low;
    v->high = loss > v->high ? loss : v->high;
}

static double x_of(const struct view *v, double step)
{
    return LEFT + (WIDTH - LEFT - RIGHT) * step / v->steps;
}

static double y_of(const struct view *v, double loss)
{
    return TOP + (HEIGHT - TOP - BOTTOM) * (v->high - loss) / (v->high - v->low);
}

/* A round distance for about `n` marks over `range`. */
static double mark_step(double range, int n)
{
    double rough = range / n, unit = pow(10, floor(log10(rough)));
    return unit * (rough / unit < 1.5 ? 1 : rough / unit < 3.5 ? 2 : rough / unit < 7.5 ? 5 : 10);
}

static void draw_axes(struct page *p, const struct view *v)
{
    double step = mark_step(v->steps, 8), loss = mark_step(v->high - v->low, 8);
    for (double x = 0; x <= v->steps * 1.0001; x += step)
        print(p, "<path class='g' d='M%.1f %dV%d'/><text x='%.1f' y='%d' text-anchor='middle'>%g</text>\n", x_of(v, x),
              TOP, HEIGHT - BOTTOM, x_of(v, x), HEIGHT - BOTTOM + 18, x);
    for (double y = ceil(v->low / loss) * loss; y <= v->high * 1.0001; y += loss)
        print(p, "<path class='g' d='M%d %.1fH%d'/><text x='%d' y='%.1f' text-anchor='end'>%.4g</text>\n", LEFT,
              y_of(v, y), WIDTH - RIGHT, LEFT - 8, y_of(v, y) + 4, y);
    print(p, "<text x='%d' y='%d' text-anchor='middle'>steps</text>\n", (LEFT + WIDTH - RIGHT) / 2, HEIGHT - 8);
    print(p, "<text x='16' y='%d' text-anchor='middle' transform='rotate(-90 16 %d)'>loss, nats a token</text>\n",
          (TOP + HEIGHT - BOTTOM) / 2, (TOP + HEIGHT - BOTTOM) / 2);
}

static void draw_curve(struct page *p, const struct view *v, const struct curve *c, int i, const char *name)
{
    int64_t every = (c->n + MOST_POINTS - 1) / MOST_POINTS;
    print(p, "<polyline fill='none' stroke='%s' stroke-width='1.6' points='", color[i]);
    for (int64_t k = 0; k < c->n; k += every)
        if (isfinite(c->smooth[k]))
            print(p, "%.1f,%.1f ", x_of(v, (double)c->row[k].step), y_of(v, c->smooth[k]));
    print(p, "'/>\n");
    for (int64_t k = 0; k < c->n; k++)
        if (isfinite(c->row[k].valid))
            print(p, "<circle cx='%.1f' cy='%.1f' r='2.6' fill='%s'/>\n", x_of(v, (double)c->row[k].step),
                  y_of(v, c->row[k].valid), color[i]);
    print(p, "<text x='%d' y='%d' text-anchor='end' fill='%s'>", WIDTH - RIGHT - 8, TOP + 16 + 18 * i, color[i]);
    for (const char *s = name; *s; s++)
        if (!strchr("<>&'\"", *s))
            print(p, "%c", *s);
    print(p, "</text>\n");
}

static void draw(struct page *p, const struct curve *curve, const char *const *name, int n)
{
    struct view v = {1, INFINITY, -INFINITY};
    for (int i = 0; i < n; i++) {
        const struct curve *c = &curve[i];
        double last = (double)c->row[c->n - 1].step;
        v.steps = last > v.steps ? last : v.steps;
        for (int64_t k = 0; k < c->n; k++) {
            see(&v, c->smooth[k]);
            see(&v, c->row[k].valid);
        }
    }
    if (!(v.high > v.low)) {
        v.low = isfinite(v.low) ? v.low - 1 : 0;
        v.high = v.low + 2;
    }
    double margin = 0.03 * (v.high - v.low);
    v.low -= margin;
    v.high += margin;
    print(p, "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 %d %d' font-family='sans-serif' font-size='12'>\n",
          WIDTH, HEIGHT);
    print(p, "<style>.g{stroke:#ddd;stroke-width:1}</style>\n<rect width='100%%' height='100%%' fill='white'/>\n");
    draw_axes(p, &v);
    for (int i = 0; i < n; i++)
        draw_curve(p, &v, &curve[i], i, name[i]);
    print(p, "</svg>\n");
}

static kl_status write_page(const char *svg, const struct page *p, kl_error *err)
{
    struct kl__out *out;
    if (p->failed)
        return kl__fail(err, KL_ERR_MEMORY, "out of memory");
    KL_TRY(kl__out_open(&out, svg, NULL, err));
    kl_status status = kl__out_write(out, 0, p->text, p->n, err);
    if (status == KL_OK)
        return kl__out_commit(out, p->n, err);
    kl__out_abandon(out);
    return status;
}

kl_status ka_loss_plot(const char *svg, const char *const *log, const char *const *name, int n, kl_error *err)
{
    struct curve curve[KA_MOST_RUNS] = {{0}};
    struct page page = {0};
    kl_status status = KL_OK;
    for (int i = 0; i < n && status == KL_OK; i++)
        status = read_curve(&curve[i], log[i], err);
    if (status == KL_OK) {
        draw(&page, curve, name, n);
        status = write_page(svg, &page, err);
    }
    for (int i = 0; i < n; i++) {
        free(curve[i].row);
        free(curve[i].smooth);
    }
    free(page.text);
    return status;
}
