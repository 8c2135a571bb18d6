#include "kcheck.h"

struct args {
    int8_t *q;
    float *scale, *x;
    void *aux;
    int64_t n;
    int group, offset;
};

static void call(kc_any_fn *fn, const void *args)
{
    const struct args *a = args;
    ((kl__q8_row_fn *)fn)(a->q, a->scale, a->aux, a->x, a->n, a->group, a->offset);
}

static struct args operands(kc *c, int64_t n, int group, int offset, enum kc_fill fill)
{
    struct args a = {.n = n, .group = group, .offset = offset};
    a.q = kc_out_bytes(c, "q", n);
    a.scale = kc_out(c, "scale", n / KL__Q8_BLOCK, 0);
    a.aux = offset > 0 ? (void *)kc_out_i32(c, "aux", n / group) : kc_out(c, "aux", n / group, 0);
    a.x = kc_in(c, "x", n, fill);
    return a;
}

void check_q8_row(kc *c)
{
    static const int forms[][2] = {{32, 0}, {32, 8}, {32, 128}, {16, 0}, {16, 32}};
    for (int f = 0; f < 5; f++)
        for (int fill = 0; fill <= KC_NAN; fill++)
            for (int64_t n = 0; n <= 96; n += 32) {
                struct args a = operands(c, n, forms[f][0], forms[f][1], (enum kc_fill)fill);
                if (fill == KC_SMALL && n > 32)
                    a.x[3] = 1e-38f; /* among numbers of 1e-15: nothing; */
                if (fill == KC_ZERO && n > 32)
                    a.x[3] = 1e-38f; /* alone: a block that counts as zero */
                kc_run(c, call, &a, "n %lld, group %d, offset %d, %s", (long long)n, a.group, a.offset,
                       kc_fill_name((enum kc_fill)fill));
            }
    struct args a = operands(c, 2304, 32, 128, KC_NORMAL);
    kc_run_timed(c, call, &a, "n %lld", (long long)a.n);
}
