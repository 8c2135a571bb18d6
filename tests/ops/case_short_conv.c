/* kl_short_conv: every level against the formula in f64, sequences and single tokens with their carried tails, any
 * number of taps; a sequence cut anywhere gives the same bits; gradients against the formula and finite differences. */
#include "support/kt.h"

#include <math.h>
#include <string.h>

enum { MAX_SEQ = 8 };

/* One problem: what a call gets, as plain arrays. */
struct problem {
    int64_t n_token, n_channel, n_seq, cu[MAX_SEQ + 1];
    int W;
    kl_activation act;
    bool with_bias, with_tail;
    float *x, *w, *bias, *tail, *dy;
};

static struct problem make(uint64_t seed, const int64_t *length, int64_t n_seq, int64_t n_channel, int W)
{
    kt_rng r = {seed};
    struct problem p = {
        .n_channel = n_channel, .n_seq = n_seq, .W = W, .act = KL_ACT_SILU, .with_bias = true, .with_tail = true};
    for (int64_t n = 0; n < n_seq; n++)
        p.cu[n + 1] = p.cu[n] + length[n];
    p.n_token = p.cu[n_seq];
    p.x = kt_normals(&r, p.n_token * n_channel, 1);
    p.w = kt_normals(&r, n_channel * W, 0.7f);
    p.bias = kt_normals(&r, n_channel, 0.5f);
    p.tail = kt_normals(&r, n_seq * (W - 1) * n_channel, 1);
    p.dy = kt_normals(&r, p.n_token * n_channel, 1);
    return p;
}

/* Input of channel c at token t of sequence n, which may lie before its start. */
static double input(const struct problem *p, int64_t n, int64_t t, int64_t c)
{
    if (t >= p->cu[n])
        return p->x[t * p->n_channel + c];
    int64_t slot = t - p->cu[n] + p->W - 1;
    return p->with_tail ? p->tail[(n * (p->W - 1) + slot) * p->n_channel + c] : 0;
}

static double filtered(const struct problem *p, int64_t n, int64_t t, int64_t c)
{
    double sum = p->with_bias ? p->bias[c] : 0;
    for (int j = 0; j < p->W; j++)
        sum += p->w[c * p->W + j] * input(p, n, t - p->W + 1 + j, c);
    return sum;
}

static void formula(const struct problem *p, double *y, double *tail_out)
{
    for (int64_t n = 0; n < p->n_seq; n++)
        for (int64_t c = 0; c < p->n_channel; c++) {
            for (int64_t t = p->cu[n]; t < p->cu[n + 1]; t++) {
                double a = filtered(p, n, t, c);
                y[t * p->n_channel + c] = p->act == KL_ACT_SILU ? a / (1 + exp(-a)) : a;
            }
            for (int i = 0; i < p->W - 1; i++)
                tail_out[(n * (p->W - 1) + i) * p->n_channel + c] = input(p, n, p->cu[n + 1] - p->W + 1 + i, c);
        }
}

/* Every path from an input to the loss, followed one by one. */
static void formula_bwd(const struct problem *p, double *dx, double *dw, double *db, double *dtail)
{
    int64_t D = p->n_channel;
    memset(dx, 0, (size_t)(p->n_token * D) * sizeof *dx);
    memset(dw, 0, (size_t)(D * p->W) * sizeof *dw);
    memset(db, 0, (size_t)D * sizeof *db);
    memset(dtail, 0, (size_t)(p->n_seq * (p->W - 1) * D) * sizeof *dtail);
    for (int64_t n = 0; n < p->n_seq; n++)
        for (int64_t t = p->cu[n]; t < p->cu[n + 1]; t++)
            for (int64_t c = 0; c < D; c++) {
                double a = filtered(p, n, t, c), s = 1 / (1 + exp(-a));
                double g = p->dy[t * D + c] * (p->act == KL_ACT_SILU ? s + a * s * (1 - s) : 1);
                db[c] += g;
                for (int j = 0; j < p->W; j++) {
                    int64_t from = t - p->W + 1 + j;
                    dw[c * p->W + j] += g * input(p, n, from, c);
                    if (from >= p->cu[n])
                        dx[from * D + c] += g * p->w[c * p->W + j];
                    else
                        dtail[(n * (p->W - 1) + from - p->cu[n] + p->W - 1) * D + c] += g * p->w[c * p->W + j];
                }
            }
}

static kl_tensor absent(void)
{
    return (kl_tensor){0};
}

static kl_tensor tail_view(const struct problem *p, float *tail)
{
    return kl_view3(tail, KL_F32, p->n_seq, p->W - 1, p->n_channel);
}

static kl_short_conv_args arguments(const struct problem *p, float *y, float *tail_out)
{
    return (kl_short_conv_args){.y = kl_view2(y, KL_F32, p->n_token, p->n_channel),
                                .x = kl_view2(p->x, KL_F32, p->n_token, p->n_channel),
                                .w = kl_view2(p->w, KL_F32, p->n_channel, p->W),
                                .bias = p->with_bias ? kl_view1(p->bias, KL_F32, p->n_channel) : absent(),
                                .tail_in = p->with_tail ? tail_view(p, p->tail) : absent(),
                                .tail_out = tail_out ? tail_view(p, tail_out) : absent(),
                                .act = p->act,
                                .cu_seqlens = p->cu,
                                .n_seq = p->n_seq};
}

static void run(const kl_backend *be, kl_short_conv_args a)
{
    a.work = kt_work(kl_short_conv_workspace(be, &a));
    KT_OK(kl_short_conv(be, &a, KT_ERR));
}

static void run_bwd(const kl_backend *be, kl_short_conv_bwd_args b)
{
    b.work = kt_work(kl_short_conv_bwd_workspace(be, &b));
    KT_OK(kl_short_conv_bwd(be, &b, KT_ERR));
}

static double *doubles(int64_t n)
{
    return kt_bytes((size_t)n * sizeof(double));
}

/* Lengths on both sides of a step and of a window, empty ones in every place. */
static const int64_t lengths[][MAX_SEQ] = {
    {0, 1, 130, 2, 0, 0, 63, 0}, {64, 64, 0, 65, 15, 16, 17, 1}, {1, 1, 1, 1, 1, 1, 1, 1}, {0, 0, 0, 0, 0, 0, 0, 0}};
enum { N_LENGTHS = sizeof lengths / sizeof *lengths };
static const int taps[] = {1, 2, 3, 4, 5, 16};
enum { N_TAPS = sizeof taps / sizeof *taps };

static void check_forward(const struct problem *p)
{
    int64_t n = p->n_token * p->n_channel, n_tail = p->n_seq * (p->W - 1) * p->n_channel;
    double *want = doubles(n), *want_tail = doubles(n_tail);
    formula(p, want, want_tail);
    for (int l = 0; kt_level(l); l++) {
        float *first = NULL;
        for (int threads = 1; threads <= 3; threads++) {
            float *y = kt_floats(n), *tail = kt_floats(n_tail);
            run(kt_backend(kt_level(l), threads), arguments(p, y, tail));
            kt_assert_close64("y", kt_level(l), y, want, n, 1e-6);
            kt_assert_close64("tail_out", kt_level(l), tail, want_tail, n_tail, 0);
            first = first ? first : y;
            kt_assert_same_bits("thread counts", y, first, (size_t)n * sizeof *y);
        }
    }
}

static void agrees_with_formula(void **state)
{
    (void)state;
    for (int i = 0; i < N_LENGTHS; i++)
        for (int k = 0; k < N_TAPS; k++) {
            struct problem p = make((uint64_t)(10 * i + k), lengths[i], MAX_SEQ, k % 2 ? 37 : 16, taps[k]);
            check_forward(&p);
            p.act = KL_ACT_NONE;
            p.with_bias = p.with_tail = false;
            check_forward(&p);
            kt_free_all();
        }
    struct problem wide = make(99, (int64_t[]){70, 3}, 2, 256 * 2 + 5, 4); /* several tiles of channels */
    check_forward(&wide);
    kt_free_all();
}

/* Tokens one by one, or in uneven pieces, with the tail carried in place: the same bits as all at once. */
static void cut_anywhere(void **state)
{
    (void)state;
    enum { T = 150, D = 33 };
    for (int l = 0; kt_level(l); l++)
        for (int k = 0; k < N_TAPS; k++) {
            const kl_backend *be = kt_backend(kt_level(l), 2);
            struct problem p = make(7, (int64_t[]){T}, 1, D, taps[k]);
            int64_t n_tail = (p.W - 1) * D;
            float *whole = kt_floats(T * D), *tail_whole = kt_floats(n_tail);
            run(be, arguments(&p, whole, tail_whole));
            for (int64_t piece = 1; piece <= 70; piece += 23) {
                float *y = kt_floats(T * D), *tail = kt_copy(p.tail, n_tail);
                for (int64_t t = 0; t < T; t += piece) {
                    int64_t n = T - t < piece ? T - t : piece;
                    kl_short_conv_args a = arguments(&p, y + t * D, tail);
                    a.x.data = p.x + t * D;
                    a.x.dim[0] = a.y.dim[0] = n;
                    a.tail_in = a.tail_out;
                    a.cu_seqlens = NULL;
                    a.n_seq = 0;
                    run(be, a);
                }
                kt_assert_same_bits("pieces", y, whole, T * D * sizeof *y);
                kt_assert_same_bits("tail", tail, tail_whole, (size_t)n_tail * sizeof *tail);
            }
            kt_free_all();
        }
}

/* One token of each of many sequences: a decode step, against the same tokens alone. */
static void steps_in_a_batch(void **state)
{
    (void)state;
    enum { N = 150, D = 40, W = 4 };
    for (int l = 0; kt_level(l); l++) {
        kt_rng r = {8};
        int64_t cu[N + 1];
        float *x = kt_normals(&r, N * D, 1), *w = kt_normals(&r, D * W, 1), *y = kt_floats(N * D), *one = kt_floats(D);
        float *tail = kt_normals(&r, N * (W - 1) * D, 1), *tail_one = kt_copy(tail, N * (W - 1) * D);
        for (int i = 0; i <= N; i++)
            cu[i] = i;
        kl_short_conv_args a = {.y = kl_view2(y, KL_F32, N, D),
                                .x = kl_view2(x, KL_F32, N, D),
                                .w = kl_view2(w, KL_F32, D, W),
                                .tail_in = kl_view3(tail, KL_F32, N, W - 1, D),
                                .act = KL_ACT_SILU,
                                .cu_seqlens = cu,
                                .n_seq = N};
        a.tail_out = a.tail_in;
        run(kt_backend(kt_level(l), 3), a);
        for (int i = 0; i < N; i++) {
            a.x = kl_view2(x + i * D, KL_F32, 1, D);
            a.y = kl_view2(one, KL_F32, 1, D);
            a.tail_in = a.tail_out = kl_view3(tail_one + i * (W - 1) * D, KL_F32, 1, W - 1, D);
            a.cu_seqlens = NULL;
            a.n_seq = 0;
            run(kt_backend(kt_level(l), 1), a);
            kt_assert_same_bits("step", one, y + i * D, D * sizeof *y);
        }
        kt_assert_same_bits("tails", tail_one, tail, N * (W - 1) * D * sizeof *tail);
        kt_free_all();
    }
}

static void bf16_and_pitches(void **state)
{
    (void)state;
    enum { D = 37, W = 4, ROW = 3 * D, GAP = 2 };
    for (int l = 0; kt_level(l); l++)
        for (int pitched = 0; pitched <= 1; pitched++) {
            const kl_backend *be = kt_backend(kt_level(l), 2);
            struct problem p = make(11, lengths[0], MAX_SEQ, D, W);
            int64_t n = p.n_token * D, n_tail = MAX_SEQ * (W - 1) * D;
            uint16_t *x16 = kt_bf16_of(p.x, n), *w16 = kt_bf16_of(p.w, D * W), *b16 = kt_bf16_of(p.bias, D);
            float *y = kt_floats(n), *tail = kt_floats(n_tail);
            run(be, arguments(&p, y, tail));
            int64_t x_pitch = pitched ? ROW : D, w_pitch = pitched ? W + GAP : W;
            uint16_t *wide = kt_bytes((size_t)(p.n_token * x_pitch) * 2),
                     *got = kt_bytes((size_t)(p.n_token * x_pitch) * 2);
            uint16_t *w_wide = kt_bytes((size_t)(D * w_pitch) * 2);
            for (int64_t t = 0; t < p.n_token; t++)
                memcpy(wide + t * x_pitch, x16 + t * D, D * 2);
            for (int c = 0; c < D; c++)
                memcpy(w_wide + c * w_pitch, w16 + c * W, W * 2);
            float *tail16 = kt_floats(n_tail);
            kl_short_conv_args a = arguments(&p, NULL, tail16);
            a.x = kl_view2(wide, KL_BF16, p.n_token, D);
            a.y = kl_view2(got, KL_BF16, p.n_token, D);
            a.w = kl_view2(w_wide, KL_BF16, D, W);
            a.bias = kl_view1(b16, KL_BF16, D);
            a.x.pitch = a.y.pitch = x_pitch;
            a.w.pitch = w_pitch;
            run(be, a);
            uint16_t *want = kt_bf16_of(y, n);
            for (int64_t t = 0; t < p.n_token; t++)
                kt_assert_same_bits("bf16", got + t * x_pitch, want + t * D, D * 2);
            kt_assert_same_bits("tail", tail16, tail, (size_t)n_tail * sizeof *tail);
            kt_free_all();
        }
}

static void check_backward(const struct problem *p)
{
    int64_t D = p->n_channel, n = p->n_token * D, n_w = D * p->W, n_tail = p->n_seq * (p->W - 1) * D;
    double *dx64 = doubles(n), *dw64 = doubles(n_w), *db64 = doubles(D), *dtail64 = doubles(n_tail);
    formula_bwd(p, dx64, dw64, db64, dtail64);
    for (int l = 0; kt_level(l); l++) {
        float *first = NULL;
        for (int threads = 1; threads <= 3; threads++) {
            float *d = kt_floats(n + n_w + D + n_tail), *dx = d, *dw = dx + n, *db = dw + n_w, *dtail = db + D;
            memset(dw, 0, (size_t)(n_w + D) * sizeof *d);
            run_bwd(kt_backend(kt_level(l), threads),
                    (kl_short_conv_bwd_args){.fwd = arguments(p, NULL, NULL),
                                             .d_y = kl_view2(p->dy, KL_F32, p->n_token, D),
                                             .d_x = kl_view2(dx, KL_F32, p->n_token, D),
                                             .d_w = kl_view2(dw, KL_F32, D, p->W),
                                             .d_bias = kl_view1(db, KL_F32, D),
                                             .d_tail_in = tail_view(p, dtail)});
            kt_assert_close64("d_x", kt_level(l), dx, dx64, n, 2e-6);
            kt_assert_close64("d_w", kt_level(l), dw, dw64, n_w, 2e-6);
            kt_assert_close64("d_bias", kt_level(l), db, db64, D, 2e-6);
            kt_assert_close64("d_tail_in", kt_level(l), dtail, dtail64, n_tail, 2e-6);
            first = first ? first : d;
            kt_assert_same_bits("thread counts", d, first, (size_t)(n + n_w + D + n_tail) * sizeof *d);
        }
    }
}

static void gradients_agree_with_formula(void **state)
{
    (void)state;
    for (int i = 0; i < N_LENGTHS; i++)
        for (int k = 0; k < N_TAPS; k++) {
            struct problem p = make((uint64_t)(100 + 10 * i + k), lengths[i], MAX_SEQ, k % 2 ? 37 : 16, taps[k]);
            check_backward(&p);
            p.act = KL_ACT_NONE;
            p.with_bias = p.with_tail = false;
            check_backward(&p);
            kt_free_all();
        }
    struct problem wide = make(98, (int64_t[]){1500, 3}, 2, 64 * 2 + 5, 4); /* several tiles, several sums */
    check_backward(&wide);
    kt_free_all();
}

/* Parameters' gradients are added; bf16 and pitched inputs; d_x in the place of d_y; outputs that are not wanted. */
static void gradients_add_up(void **state)
{
    (void)state;
    enum { D = 37, W = 4, GAP = 3 };
    for (int l = 0; kt_level(l); l++) {
        const kl_backend *be = kt_backend(kt_level(l), 2);
        struct problem p = make(12, lengths[1], MAX_SEQ, D, W);
        int64_t n = p.n_token * D;
        uint16_t *x16 = kt_bf16_of(p.x, n), *dy16 = kt_bf16_of(p.dy, n), *w16 = kt_bf16_of(p.w, D * W);
        float *dx = kt_floats(n), *dw = kt_zeros(D * W), *db = kt_zeros(D), *wide = kt_zeros(D * (W + GAP));
        kl_short_conv_bwd_args b = {.fwd = arguments(&p, NULL, NULL),
                                    .d_y = kl_view2(p.dy, KL_F32, p.n_token, D),
                                    .d_x = kl_view2(dx, KL_F32, p.n_token, D),
                                    .d_w = kl_view2(dw, KL_F32, D, W),
                                    .d_bias = kl_view1(db, KL_F32, D)};
        run_bwd(be, b);
        b.fwd.x = kl_view2(x16, KL_BF16, p.n_token, D);
        b.fwd.w = kl_view2(w16, KL_BF16, D, W);
        b.d_y = kl_view2(dy16, KL_BF16, p.n_token, D);
        b.d_x = b.d_bias = absent();
        b.d_w = kl_view2(wide, KL_F32, D, W);
        b.d_w.pitch = W + GAP;
        run_bwd(be, b);
        run_bwd(be, b);
        for (int c = 0; c < D; c++)
            for (int j = 0; j < W + GAP; j++)
                assert_true(wide[c * (W + GAP) + j] == (j < W ? 2 * dw[c * W + j] : 0));
        b.d_w = absent();
        b.d_y = b.d_x = kl_view2(p.dy, KL_F32, p.n_token, D);
        run_bwd(be, b);
        kt_assert_same_bits("d_x in the place of d_y", p.dy, dx, (size_t)n * sizeof *dx);
        kt_free_all();
    }
}

struct gradient_case {
    const kl_backend *be;
    struct problem p;
    float *y;
};

static double loss(void *ctx)
{
    struct gradient_case *c = ctx;
    run(c->be, arguments(&c->p, c->y, NULL));
    return kt_dot(c->p.dy, c->y, c->p.n_token * c->p.n_channel);
}

static void finite_differences(void **state)
{
    (void)state;
    enum { D = 20, W = 4 };
    for (int l = 0; kt_level(l); l++) {
        kt_rng r = {5};
        struct gradient_case c = {.be = kt_backend(kt_level(l), 2), .p = make(5, lengths[0], MAX_SEQ, D, W)};
        int64_t n = c.p.n_token * D, n_tail = MAX_SEQ * (W - 1) * D;
        c.y = kt_floats(n);
        float *dx = kt_floats(n), *dw = kt_zeros(D * W), *db = kt_zeros(D), *dtail = kt_floats(n_tail);
        run_bwd(c.be, (kl_short_conv_bwd_args){.fwd = arguments(&c.p, NULL, NULL),
                                               .d_y = kl_view2(c.p.dy, KL_F32, c.p.n_token, D),
                                               .d_x = kl_view2(dx, KL_F32, c.p.n_token, D),
                                               .d_w = kl_view2(dw, KL_F32, D, W),
                                               .d_bias = kl_view1(db, KL_F32, D),
                                               .d_tail_in = tail_view(&c.p, dtail)});
        kt_check_gradient("d_x", loss, &c, c.p.x, dx, n, 1e-2, 2e-3, &r);
        kt_check_gradient("d_w", loss, &c, c.p.w, dw, D * W, 1e-2, 2e-3, &r);
        kt_check_gradient("d_bias", loss, &c, c.p.bias, db, D, 1e-2, 2e-3, &r);
        kt_check_gradient("d_tail_in", loss, &c, c.p.tail, dtail, n_tail, 1e-2, 2e-3, &r);
        kt_free_all();
    }
}

static void not_a_number(void **state)
{
    (void)state;
    enum { T = 9, D = 3, W = 4 };
    for (int l = 0; kt_level(l); l++) {
        struct problem p = make(6, (int64_t[]){T}, 1, D, W);
        float *y = kt_floats(T * D);
        p.x[2 * D + 1] = NAN;
        run(kt_backend(kt_level(l), 1), arguments(&p, y, NULL));
        for (int t = 0; t < T; t++)
            for (int c = 0; c < D; c++)
                assert_true(!!isnan(y[t * D + c]) == (c == 1 && t >= 2 && t < 2 + W));
        kt_free_all();
    }
}

static void refusals(void **state)
{
    (void)state;
    kl_error err;
    const kl_backend *be = kt_backend("ref", 1);
    struct problem p = make(13, (int64_t[]){3, 2}, 2, 5, 4);
    float *y = kt_zeros(25), *tail = kt_zeros(30);
    kl_short_conv_args good = arguments(&p, y, tail), a = good;
    KT_ASSERT_FAILED(kl_short_conv(NULL, &a, &err), KL_ERR_ARGUMENT, &err, "kl_short_conv", "backend");
    a.w.dim[0] = 4;
    KT_ASSERT_FAILED(kl_short_conv(be, &a, &err), KL_ERR_SHAPE, &err, "w is [4][4]", "expected [5][n]");
    float *many = kt_zeros(5 * 17);
    a.w = kl_view2(many, KL_F32, 5, 17);
    KT_ASSERT_FAILED(kl_short_conv(be, &a, &err), KL_ERR_SHAPE, &err, "17 taps", "1 .. 16");
    a.w = kl_view2(many, KL_F32, 5, 0);
    KT_ASSERT_FAILED(kl_short_conv(be, &a, &err), KL_ERR_SHAPE, &err, "0 taps");
    a = good;
    a.bias.dim[0] = 6;
    KT_ASSERT_FAILED(kl_short_conv(be, &a, &err), KL_ERR_SHAPE, &err, "bias is [6]", "[5]");
    a = good;
    a.act = KL_ACT_SIGMOID;
    KT_ASSERT_FAILED(kl_short_conv(be, &a, &err), KL_ERR_ARGUMENT, &err, "act is 1", "none or silu");
    a = good;
    a.cu_seqlens = (int64_t[]){0, 6, 5};
    KT_ASSERT_FAILED(kl_short_conv(be, &a, &err), KL_ERR_ARGUMENT, &err, "cu_seqlens[1] is 6", "5");
    a = good;
    a.tail_in.dim[0] = 1;
    KT_ASSERT_FAILED(kl_short_conv(be, &a, &err), KL_ERR_SHAPE, &err, "tail_in is [1][3][5]", "[2][3][5]");
    a = good;
    a.tail_out.dtype = KL_BF16;
    KT_ASSERT_FAILED(kl_short_conv(be, &a, &err), KL_ERR_DTYPE, &err, "tail_out is bf16", "f32");
    a = good;
    a.y = a.x;
    KT_ASSERT_FAILED(kl_short_conv(be, &a, &err), KL_ERR_OVERLAP, &err, "y overlaps x");
    a = good;
    a.work = kt_work(kl_short_conv_workspace(be, &a) - 1);
    KT_ASSERT_FAILED(kl_short_conv(be, &a, &err), KL_ERR_WORKSPACE, &err, "kl_short_conv: workspace");

    kl_short_conv_bwd_args b = {.fwd = good, .d_y = kl_view2(p.dy, KL_F32, 5, 5), .d_x = kl_view2(y, KL_F32, 5, 4)};
    KT_ASSERT_FAILED(kl_short_conv_bwd(be, &b, &err), KL_ERR_SHAPE, &err, "d_x is [5][4]", "[5][5]");
    b.d_x = absent();
    b.d_tail_in = tail_view(&p, p.tail);
    KT_ASSERT_FAILED(kl_short_conv_bwd(be, &b, &err), KL_ERR_OVERLAP, &err, "d_tail_in overlaps tail_in");
    b.d_tail_in = absent();
    KT_ASSERT_FAILED(kl_short_conv_bwd(be, &b, &err), KL_ERR_WORKSPACE, &err, "kl_short_conv_bwd: workspace");
    for (int i = 0; i < 25; i++)
        assert_true(y[i] == 0 && tail[i] == 0);
    kt_free_all();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(agrees_with_formula),
        cmocka_unit_test(cut_anywhere),
        cmocka_unit_test(steps_in_a_batch),
        cmocka_unit_test(bf16_and_pitches),
        cmocka_unit_test(gradients_agree_with_formula),
        cmocka_unit_test(gradients_add_up),
        cmocka_unit_test(finite_differences),
        cmocka_unit_test(not_a_number),
        cmocka_unit_test(refusals),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    kt_free_backends();
    return failed;
}
