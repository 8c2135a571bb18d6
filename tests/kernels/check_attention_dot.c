#include "kcheck.h"

struct args {
    float *c;
    const float *a, *b;
    int64_t c_pitch, a_pitch, b_pitch, m, n, n_dim;
};

static void call(kc_any_fn *fn, const void *args)
{
    const struct args *x = args;
    ((kl__attention_dot_fn *)fn)(x->c, x->c_pitch, x->a, x->a_pitch, x->b, x->b_pitch, x->m, x->n, x->n_dim);
}

/* Elements of `rows` rows that end with their last element. */
static int64_t span(int64_t rows, int64_t row, int64_t pitch)
{
    return rows > 0 ? (rows - 1) * pitch + row : 0;
}

static struct args operands(kc *c, int64_t m, int64_t n, int64_t n_dim, int64_t gap, enum kc_fill fill)
{
    struct args x = {.m = m, .n = n, .n_dim = n_dim};
    x.a_pitch = n_dim + gap;
    x.b_pitch = n_dim + 2 * gap;
    x.c_pitch = n + gap;
    x.a = kc_in(c, "a", span(m, n_dim, x.a_pitch), fill);
    x.b = kc_in(c, "b", span(n, n_dim, x.b_pitch), KC_NORMAL);
    x.c = kc_out(c, "c", span(m, n, x.c_pitch), 1e-5);
    return x;
}

void check_attention_dot(kc *c)
{
    static const int64_t counts[] = {0, 1, 2, 3, 4, 5, 7, 8, 9};
    enum { N_COUNT = sizeof counts / sizeof *counts };
    for (int i = 0; kc_length(i) >= 0 && kc_length(i) <= 600; i++)
        for (int j = 0; j < N_COUNT * N_COUNT; j++) {
            enum kc_fill fill = (enum kc_fill)((i + j) % (KC_NAN + 1));
            struct args x = operands(c, counts[j / N_COUNT], counts[j % N_COUNT], kc_length(i), j % 3, fill);
            kc_run(c, call, &x, "m %lld, n %lld, n_dim %lld, gap %d, %s a", (long long)x.m, (long long)x.n,
                   (long long)x.n_dim, j % 3, kc_fill_name(fill));
        }
    static const int64_t dims[] = {128, 192, 576};
    for (int i = 0; i < 3; i++) {
        struct args x = operands(c, 64, KL__ATTENTION_BLOCK, dims[i], 0, KC_NORMAL);
        kc_run_timed(c, call, &x, "m 64, n 64, n_dim %lld", (long long)x.n_dim);
    }
}
