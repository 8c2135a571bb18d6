#include "kcheck.h"

#include <math.h>
#include <stddef.h>

enum { MAX_ROW = 40 };

struct args {
    float *y;
    int64_t y_pitch;
    const float *x[MAX_ROW];
    const float *w, *bias;
    int64_t n_token, n;
    int W;
    kl_activation act;
};

static void call(kc_any_fn *fn, const void *args)
{
    const struct args *a = args;
    ((kl__short_conv_fn *)fn)(a->y, a->y_pitch, a->x, a->w, a->bias, a->n_token, a->n, a->W, a->act);
}

/* The W - 1 first rows stand alone, as a carried tail does, the others in a batch with a gap between them. */
static struct args operands(kc *c, int64_t n_token, int64_t n, int W, kl_activation act, bool with_bias,
                            enum kc_fill fill)
{
    struct args a = {.n_token = n_token, .n = n, .W = W, .act = act, .y_pitch = n + (with_bias ? 0 : 3)};
    const float *tail = kc_in(c, "tail", (W - 1) * n, fill), *x = kc_in(c, "x", n_token * (n + 5), fill);
    for (int64_t i = 0; i < n_token + W - 1; i++)
        a.x[i] = i < W - 1 ? tail + i * n : x + (i - (W - 1)) * (n + 5);
    a.w = kc_in(c, "w", W * n, KC_NORMAL);
    a.bias = with_bias ? kc_in(c, "bias", n, KC_NORMAL) : NULL;
    return a;
}

/* Root mean square of the sums of absolute terms: what is left of them, where they cancel, is rounded as they are. */
static double size_of_terms(const struct args *a)
{
    double squares = 0;
    for (int64_t t = 0; t < a->n_token; t++)
        for (int64_t i = 0; i < a->n; i++) {
            double sum = a->bias ? fabs((double)a->bias[i]) : 0;
            for (int j = 0; j < a->W; j++)
                sum += fabs((double)a->w[j * a->n + i] * (double)a->x[t + j][i]);
            squares += sum * sum;
        }
    double size = sqrt(squares / fmax(1, (double)(a->n_token * a->n)));
    return isfinite(size) ? size : 0;
}

/* What lies between the rows of y stays as it is, so with a gap y starts as numbers. */
static void with_output(kc *c, struct args *a)
{
    if (a->y_pitch == a->n)
        a->y = kc_out(c, "y", a->n_token * a->n, 1e-5);
    else
        a->y = kc_inout(c, "y", a->n_token * a->y_pitch, KC_NORMAL, 1e-5);
    kc_cancels(c, size_of_terms(a));
}

void check_short_conv(kc *c)
{
    static const int64_t tokens[] = {0, 1, 2, 5, 16};
    for (int i = 0; kc_length(i) >= 0; i++)
        for (size_t t = 0; t < sizeof tokens / sizeof *tokens; t++)
            for (int W = 1; W <= 16; W = W < 5 ? W + 1 : W + 11)
                for (int kind = 0; kind < 4; kind++) {
                    struct args a = operands(c, tokens[t], kc_length(i), W, kind & 1 ? KL_ACT_SILU : KL_ACT_NONE,
                                             kind & 2, (enum kc_fill)((i + W) % KC_N_FILL));
                    with_output(c, &a);
                    kc_run(c, call, &a, "%lld tokens, n %lld, W %d, act %d%s", (long long)a.n_token, (long long)a.n, W,
                           (int)a.act, a.bias ? ", bias" : "");
                }
    struct args a = operands(c, 5, 37, 4, KL_ACT_SILU, true, KC_NAN);
    with_output(c, &a);
    kc_run(c, call, &a, "NaN x");
    for (int64_t n_token = 1; n_token <= 16; n_token += 15) {
        a = operands(c, n_token, 256, 4, KL_ACT_SILU, false, KC_NORMAL);
        a.y_pitch = a.n;
        with_output(c, &a);
        kc_run_timed(c, call, &a, "%lld tokens, n %lld, W %d, silu", (long long)n_token, (long long)a.n, a.W);
    }
}
