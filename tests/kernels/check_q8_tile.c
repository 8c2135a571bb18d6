#include "kcheck.h"

#include <string.h>

struct args {
    float *sum;
    struct kl__q8_rows x;
    const uint8_t *q;
    const float *scale, *low;
    int64_t n_k;
    int group, offset, m;
    bool add;
};

static void call(kc_any_fn *fn, const void *args)
{
    const struct args *a = args;
    ((kl__q8_tile_fn *)fn)(a->sum, &a->x, a->q, a->scale, a->low, a->n_k, a->group, a->offset, a->m, a->add);
}

struct form {
    int group, offset, levels; /* levels: v is below */
};

/* Activations as q8_row makes them, one record for each row; `extreme`: everything at its largest. */
static void make_rows(kc *c, struct args *a, bool extreme)
{
    int64_t n_scale = a->n_k / KL__Q8_BLOCK, n_aux = a->n_k / a->group;
    a->x.scale = a->n_k;
    a->x.aux = a->n_k + 4 * n_scale;
    kc_align(c, 4);
    for (int i = 0; i < a->m; i++) {
        char *row = kc_in_bytes(c, "x", a->n_k + 4 * (n_scale + n_aux));
        float *x = kc_in(c, "numbers", a->n_k, KC_NORMAL);
        for (int64_t k = 0; extreme && k < a->n_k; k++)
            x[k] = i % 2 ? -1 : 1;
        kl__q8_row_ref((int8_t *)row, (float *)(void *)(row + a->x.scale), row + a->x.aux, x, a->n_k, a->group,
                       a->offset);
        a->x.row[i] = row;
    }
}

static struct args operands(kc *c, struct form form, int m, int64_t n_k, bool add, bool extreme)
{
    struct args a = {.group = form.group, .offset = form.offset, .m = m, .n_k = n_k, .add = add};
    make_rows(c, &a, extreme);
    kc_align(c, 64);
    uint8_t *q = kc_in_bytes(c, "q", n_k * KL__PANEL);
    for (int64_t i = 0; i < n_k * KL__PANEL; i++)
        q[i] = (uint8_t)(extreme ? (i / 4 % 3 == 0 ? 0 : form.levels - 1) : kc_below(c, form.levels));
    a.q = q;
    a.scale = kc_in(c, "scale", n_k / form.group * KL__PANEL, KC_NORMAL);
    a.low = form.offset > 0 ? NULL : kc_in(c, "low", n_k / form.group * KL__PANEL, KC_NORMAL);
    a.sum = add ? kc_inout(c, "sum", m * KL__PANEL, KC_NORMAL, 1e-5) : kc_out(c, "sum", m * KL__PANEL, 1e-5);
    return a;
}

void check_q8_tile(kc *c)
{
    static const struct form forms[] = {{32, 128, 256}, {32, 8, 16}, {32, 16, 32}, {32, 0, 32},
                                        {16, 32, 64},   {16, 0, 4},  {16, 4, 8}};
    for (int f = 0; f < 7; f++)
        for (int m = 1; m <= KL__Q8_ROWS; m++)
            for (int64_t n_k = 0; n_k <= 96; n_k += 32)
                for (int mode = 0; mode < 3; mode++) {
                    struct args a = operands(c, forms[f], m, n_k, mode == 1, mode == 2);
                    kc_run(c, call, &a, "m %d, n_k %lld, group %d, offset %d%s", m, (long long)n_k, a.group, a.offset,
                           (const char *[]){"", ", add", ", extremes"}[mode]);
                }
    for (int m = 1; m <= KL__Q8_ROWS; m++)
        for (int f = 0; f < 5; f += 1) {
            struct args a = operands(c, forms[f], m, 512, true, false);
            kc_run_timed(c, call, &a, "m %d, n_k 512, group %d, offset %d", m, a.group, a.offset);
        }
}
