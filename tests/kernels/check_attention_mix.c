#include "kcheck.h"

struct args {
    float *c;
    const float *keep, *a, *b;
    const int32_t *from, *to;
    int64_t c_pitch, a_row, a_col, b_pitch, m, n, n_dim;
};

static void call(kc_any_fn *fn, const void *args)
{
    const struct args *x = args;
    ((kl__attention_mix_fn *)fn)(x->c, x->c_pitch, x->keep, x->a, x->a_row, x->a_col, x->b, x->b_pitch, x->from, x->to,
                                 x->m, x->n, x->n_dim);
}

static int64_t span(int64_t rows, int64_t row, int64_t pitch)
{
    return rows > 0 ? (rows - 1) * pitch + row : 0;
}

/* What the optional operands are. */
struct options {
    bool keep, transposed, from, to;
    int64_t gap;
};

static const int32_t *range(kc *c, const char *name, int64_t m, int64_t n)
{
    int32_t *x = kc_in_i32(c, name, m);
    for (int64_t i = 0; i < m; i++)
        x[i] = (int32_t)kc_below(c, n + 1);
    return x;
}

static struct args operands(kc *c, int64_t m, int64_t n, int64_t n_dim, struct options o, enum kc_fill fill)
{
    struct args x = {.m = m, .n = n, .n_dim = n_dim};
    x.b_pitch = n_dim + o.gap;
    x.c_pitch = n_dim + 2 * o.gap;
    x.a_row = o.transposed ? 1 : n + o.gap;
    x.a_col = o.transposed ? m + o.gap : 1;
    x.a = kc_in(c, "a", o.transposed ? span(n, m, x.a_col) : span(m, n, x.a_row), KC_UNIT);
    x.b = kc_in(c, "b", span(n, n_dim, x.b_pitch), fill);
    if (o.keep) {
        float *keep = kc_in(c, "keep", m, KC_UNIT);
        for (int64_t i = 0; i < m; i += 2)
            keep[i] = 1;
        x.keep = keep;
    }
    x.from = o.from ? range(c, "from", m, n) : NULL;
    x.to = o.to ? range(c, "to", m, n) : NULL;
    x.c = kc_inout(c, "c", span(m, n_dim, x.c_pitch), fill == KC_NAN ? KC_NORMAL : fill, 1e-5);
    return x;
}

void check_attention_mix(kc *c)
{
    static const int64_t rows[] = {0, 1, 3, 4, 5, 8, 11}, cols[] = {0, 1, 2, 7, 64};
    enum { N_ROW = sizeof rows / sizeof *rows, N_COL = sizeof cols / sizeof *cols };
    for (int i = 0; kc_length(i) >= 0 && kc_length(i) <= 600; i++)
        for (int j = 0; j < N_ROW * N_COL; j++) {
            int bits = (i * 7 + j) % 16;
            struct options o = {bits & 1, bits & 2, bits & 4, bits & 8, j % 3};
            enum kc_fill fill = (enum kc_fill)((i + j) % (KC_NAN + 1));
            struct args x = operands(c, rows[j / N_COL], cols[j % N_COL], kc_length(i), o, fill);
            kc_run(c, call, &x, "m %lld, n %lld, n_dim %lld, keep %d, transposed %d, from %d, to %d, gap %lld, %s b",
                   (long long)x.m, (long long)x.n, (long long)x.n_dim, o.keep, o.transposed, o.from, o.to,
                   (long long)o.gap, kc_fill_name(fill));
        }
    static const int64_t dims[] = {128, 512};
    for (int i = 0; i < 4; i++) {
        struct options o = {.keep = true, .transposed = i % 2};
        struct args x = operands(c, 64, KL__ATTENTION_BLOCK, dims[i / 2], o, KC_NORMAL);
        kc_run_timed(c, call, &x, "m 64, n 64, n_dim %lld, transposed %d", (long long)x.n_dim, i % 2);
    }
}
