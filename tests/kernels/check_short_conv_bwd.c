#include "kcheck.h"

#include <stddef.h>

enum { MAX_ROW = 40 };

struct args {
    float *g;
    int64_t g_pitch;
    float *dw, *db;
    const float *dy[MAX_ROW], *x[MAX_ROW];
    const float *w, *bias;
    int64_t n_token, n;
    int W;
    kl_activation act;
};

static void call(kc_any_fn *fn, const void *args)
{
    const struct args *a = args;
    ((kl__short_conv_bwd_fn *)fn)(a->g, a->g_pitch, a->dw, a->db, a->dy, a->x, a->w, a->bias, a->n_token, a->n, a->W,
                                  a->act);
}

static struct args operands(kc *c, int64_t n_token, int64_t n, int W, kl_activation act, bool with_bias,
                            enum kc_fill fill)
{
    struct args a = {.n_token = n_token, .n = n, .W = W, .act = act, .g_pitch = n + (with_bias ? 0 : 3)};
    const float *tail = kc_in(c, "tail", (W - 1) * n, fill), *x = kc_in(c, "x", n_token * (n + 5), fill);
    const float *dy = kc_in(c, "dy", n_token * (n + 2), KC_NORMAL);
    for (int64_t i = 0; i < n_token + W - 1; i++)
        a.x[i] = i < W - 1 ? tail + i * n : x + (i - (W - 1)) * (n + 5);
    for (int64_t t = 0; t < n_token; t++)
        a.dy[t] = dy + t * (n + 2);
    a.w = kc_in(c, "w", W * n, KC_NORMAL);
    a.bias = with_bias ? kc_in(c, "bias", n, KC_NORMAL) : NULL;
    a.dw = kc_inout(c, "dw", W * n, KC_NORMAL, 2e-5);
    a.db = kc_inout(c, "db", n, KC_NORMAL, 2e-5);
    if (a.g_pitch == n)
        a.g = kc_out(c, "g", n_token * n, 2e-5);
    else
        a.g = kc_inout(c, "g", n_token * a.g_pitch, KC_NORMAL, 2e-5);
    return a;
}

void check_short_conv_bwd(kc *c)
{
    static const int64_t tokens[] = {0, 1, 2, 5, 16};
    for (int i = 0; kc_length(i) >= 0; i++)
        for (size_t t = 0; t < sizeof tokens / sizeof *tokens; t++)
            for (int W = 1; W <= 16; W = W < 5 ? W + 1 : W + 11)
                for (int kind = 0; kind < 4; kind++) {
                    enum kc_fill fill = i % 2 ? KC_NORMAL : i % 4 ? KC_SMALL : KC_ZERO;
                    struct args a =
                        operands(c, tokens[t], kc_length(i), W, kind & 1 ? KL_ACT_SILU : KL_ACT_NONE, kind & 2, fill);
                    kc_run(c, call, &a, "%lld tokens, n %lld, W %d, act %d, %s x%s", (long long)a.n_token,
                           (long long)a.n, W, (int)a.act, kc_fill_name(fill), a.bias ? ", bias" : "");
                }
    struct args a = operands(c, 5, 37, 4, KL_ACT_SILU, true, KC_NAN);
    kc_run(c, call, &a, "NaN x");
    a = operands(c, 16, 64, 4, KL_ACT_SILU, true, KC_NORMAL);
    kc_run_timed(c, call, &a, "%lld tokens, n %lld, W %d, silu", (long long)a.n_token, (long long)a.n, a.W);
}
