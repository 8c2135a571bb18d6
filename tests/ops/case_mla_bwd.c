/* kl_mla_bwd in both forms against expanded float64 loops and finite differences; its options. */
#include "support/mla_case.h"

#include <math.h>
#include <string.h>

struct gradients {
    int64_t n_q, n_cache, n_uk, n_uv;
    float *q, *cache, *w_uk, *w_uv;
};

static struct gradients zero_gradients(const struct mla_problem *p)
{
    struct gradients g = {.n_q = p->T * p->H * (p->DN + p->DR),
                          .n_cache = p->S * (p->R + p->DR),
                          .n_uk = p->H * p->DN * p->R,
                          .n_uv = p->H * p->DV * p->R};
    g.q = kt_floats(g.n_q);
    g.cache = kt_floats(g.n_cache);
    g.w_uk = kt_zeros(g.n_uk);
    g.w_uv = kt_zeros(g.n_uv);
    return g;
}

static void run_bwd(const kl_backend *be, const struct mla_problem *p, kl_mla_form form, float *o, float *lse,
                    float *d_o, struct gradients *g)
{
    kl_mla_bwd_args b = {.fwd = mla_args(p, form, o, lse),
                         .d_o = kl_view3(d_o, KL_F32, p->T, p->H, p->DV),
                         .d_q = kl_view3(g->q, KL_F32, p->T, p->H, p->DN + p->DR),
                         .d_cache = kl_view2(g->cache, KL_F32, p->S, p->R + p->DR),
                         .d_w_uk = kl_view3(g->w_uk, KL_F32, p->H, p->DN, p->R),
                         .d_w_uv = kl_view3(g->w_uv, KL_F32, p->H, p->DV, p->R)};
    b.work = kt_work(kl_mla_bwd_workspace(be, &b));
    KT_OK(kl_mla_bwd(be, &b, KT_ERR));
}

static void same_gradients(const struct gradients *a, const struct gradients *b)
{
    kt_assert_same_bits("d_q", a->q, b->q, (size_t)a->n_q * sizeof *a->q);
    kt_assert_same_bits("d_cache", a->cache, b->cache, (size_t)a->n_cache * sizeof *a->q);
    kt_assert_same_bits("d_w_uk", a->w_uk, b->w_uk, (size_t)a->n_uk * sizeof *a->q);
    kt_assert_same_bits("d_w_uv", a->w_uv, b->w_uv, (size_t)a->n_uv * sizeof *a->q);
}

static void gradients(void **state)
{
    (void)state;
    for (int i = 0; i < mla_n_case; i++) {
        kt_rng r = {(uint64_t)i + 100};
        struct mla_problem p = mla_make(&r, mla_case[i]);
        int64_t n = p.T * p.H * p.DV;
        float *o = kt_floats(n), *lse = kt_floats(p.T * p.H), *d_o = kt_normals(&r, n, 1);
        struct mla_gradients64 want = mla_backward64(&p, d_o);
        for (int l = 0; kt_level(l); l++) {
            mla_run(kt_backend(kt_level(l), 2), &p, i % 2 ? KL_MLA_ABSORBED : KL_MLA_EXPANDED, o, lse);
            struct gradients g = zero_gradients(&p);
            run_bwd(kt_backend(kt_level(l), 1), &p, KL_MLA_AUTO, o, lse, d_o, &g);
            kt_assert_close64("d_q", kt_level(l), g.q, want.q, g.n_q, 1e-5);
            kt_assert_close64("d_cache", kt_level(l), g.cache, want.cache, g.n_cache, 1e-5);
            kt_assert_close64("d_w_uk", kt_level(l), g.w_uk, want.w_uk, g.n_uk, 1e-5);
            kt_assert_close64("d_w_uv", kt_level(l), g.w_uv, want.w_uv, g.n_uv, 1e-5);
            for (int threads = 2; threads <= 3; threads++) {
                struct gradients again = zero_gradients(&p);
                run_bwd(kt_backend(kt_level(l), threads), &p, KL_MLA_ABSORBED, o, lse, d_o, &again);
                same_gradients(&again, &g);
            }
        }
        kt_free_all();
    }
}

struct difference_case {
    const kl_backend *be;
    struct mla_problem p;
    float *o, *lse, *d_o;
};

static double loss(void *ctx)
{
    struct difference_case *c = ctx;
    mla_run(c->be, &c->p, KL_MLA_AUTO, c->o, c->lse);
    return kt_dot(c->d_o, c->o, c->p.T * c->p.H * c->p.DV);
}

static void finite_differences(void **state)
{
    (void)state;
    for (int l = 0; kt_level(l); l++) {
        kt_rng r = {29};
        struct difference_case c = {.be = kt_backend(kt_level(l), 2), .p = mla_make(&r, mla_case[1])};
        struct mla_problem *p = &c.p;
        int64_t n = p->T * p->H * p->DV;
        c.o = kt_floats(n);
        c.lse = kt_floats(p->T * p->H);
        c.d_o = kt_normals(&r, n, 1);
        mla_run(c.be, p, KL_MLA_AUTO, c.o, c.lse);
        struct gradients g = zero_gradients(p);
        run_bwd(c.be, p, KL_MLA_AUTO, c.o, c.lse, c.d_o, &g);
        kt_check_gradient("d_q", loss, &c, p->q, g.q, g.n_q, 1e-2, 5e-3, &r);
        kt_check_gradient("d_cache", loss, &c, p->cache, g.cache, g.n_cache, 1e-2, 5e-3, &r);
        kt_check_gradient("d_w_uk", loss, &c, p->w_uk, g.w_uk, g.n_uk, 1e-2, 5e-3, &r);
        kt_check_gradient("d_w_uv", loss, &c, p->w_uv, g.w_uv, g.n_uv, 1e-2, 5e-3, &r);
        kt_free_all();
    }
}

/* bf16 operands are their values; each gradient may be left out; those of weights are added. */
static void gradient_options(void **state)
{
    (void)state;
    kt_rng r = {31};
    struct mla_problem p = mla_make(&r, mla_case[1]);
    int64_t n = p.T * p.H * p.DV, n_k = p.DN + p.DR, row = p.R + p.DR, pitch = row + 3;
    float *o = kt_floats(n), *lse = kt_floats(p.T * p.H), *d_o = kt_normals(&r, n, 1);
    uint16_t *q16 = kt_bf16_of(p.q, p.T * p.H * n_k), *cache16 = kt_bf16_of(p.cache, p.S * row);
    uint16_t *uk16 = kt_bf16_of(p.w_uk, p.H * p.DN * p.R), *uv16 = kt_bf16_of(p.w_uv, p.H * p.DV * p.R);
    uint16_t *d_o16 = kt_bf16_of(d_o, n);
    for (int l = 0; kt_level(l); l++) {
        const kl_backend *be = kt_backend(kt_level(l), 2);
        mla_run(be, &p, KL_MLA_EXPANDED, o, lse);
        struct gradients want = zero_gradients(&p), got = zero_gradients(&p);
        float *d_cache = kt_floats(p.S * pitch);
        /* Twice: what the weights get is added, the rest is assigned. */
        run_bwd(be, &p, KL_MLA_AUTO, o, lse, d_o, &want);
        run_bwd(be, &p, KL_MLA_AUTO, o, lse, d_o, &want);
        kl_mla_bwd_args b = {.fwd = mla_args(&p, KL_MLA_AUTO, o, lse)};
        b.d_o = kl_view3(d_o16, KL_BF16, p.T, p.H, p.DV);
        b.fwd.q = kl_view3(q16, KL_BF16, p.T, p.H, n_k);
        b.fwd.cache = kl_view2(cache16, KL_BF16, p.S, row);
        b.fwd.w_uk = kl_view3(uk16, KL_BF16, p.H, p.DN, p.R);
        b.fwd.w_uv = kl_view3(uv16, KL_BF16, p.H, p.DV, p.R);
        kl_tensor none = {0}, cache_out = kl_view2(d_cache, KL_F32, p.S, row);
        cache_out.pitch = pitch;
        for (int i = 0; i < 10; i++) {
            b.d_q = i % 5 == 0 ? kl_view3(got.q, KL_F32, p.T, p.H, n_k) : none;
            b.d_cache = i % 5 == 1 ? cache_out : none;
            b.d_w_uk = i % 5 == 2 ? kl_view3(got.w_uk, KL_F32, p.H, p.DN, p.R) : none;
            b.d_w_uv = i % 5 == 3 ? kl_view3(got.w_uv, KL_F32, p.H, p.DV, p.R) : none;
            b.work = kt_work(kl_mla_bwd_workspace(be, &b));
            KT_OK(kl_mla_bwd(be, &b, KT_ERR));
        }
        for (int64_t s = 0; s < p.S; s++)
            memcpy(got.cache + s * row, d_cache + s * pitch, (size_t)row * sizeof *d_cache);
        same_gradients(&got, &want);
    }
    kt_free_all();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gradients),
        cmocka_unit_test(finite_differences),
        cmocka_unit_test(gradient_options),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    kt_free_backends();
    return failed;
}
