/* The training walk against itself: packed and apart, kept and recomputed, threads, in parts; against the walk of
 * inference; memory; refusals. */
#include "support/train_case.h"

#include "model/net.h"
#include "train/trainer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const int64_t lengths[] = {17, 0, 40, 1, 30, -1};

static const float *gradients(const kl_trainer *t)
{
    return t->arena[KL__GRADIENT];
}

/* Loss and gradients of a packed batch are the sums of those of its sequences. */
static void packed_is_apart(void **state)
{
    (void)state;
    for (int i = 0; i < TC_N_MODEL; i++) {
        kt_rng r = {(uint64_t)i + 7};
        kl_config c = tc_config(i);
        kl_trainer *t = tc_trainer(&c, kt_backend(tc_level(), 1), NULL, &r);
        struct tc_batch b;
        tc_batch(&b, &c, lengths, &r);
        kl_loss packed, sum = {0};
        KT_OK(kl_trainer_backward(t, &b.batch, &packed, KT_ERR));
        float *want = kt_copy(gradients(t), t->layout.n);
        kl_trainer_forget_gradients(t);
        for (int64_t s = 0; s < b.batch.n_seq; s++) {
            const int64_t first = b.cu[s], cu[2] = {0, b.cu[s + 1] - first};
            kl_batch one = {
                .token = b.token + first, .label = b.label + first, .n_token = cu[1], .cu_seqlens = cu, .n_seq = 1};
            kl_loss part;
            if (cu[1] == 0)
                continue;
            KT_OK(kl_trainer_backward(t, &one, &part, KT_ERR));
            sum.sum += part.sum;
            sum.n_label += part.n_label;
        }
        assert_true(fabs(sum.sum - packed.sum) < 1e-5 * packed.sum);
        assert_int_equal(sum.n_label, packed.n_label);
        kt_assert_close(tc_name(i), gradients(t), want, t->layout.n, 1e-5);
        kl_trainer_close(t);
        kt_free_all();
    }
}

/* What comes in a later document does not reach an earlier one, nor the other way round: the other's gradient is the
 * same to the last bit, whatever stands in it. */
static void documents_do_not_meet(void **state)
{
    (void)state;
    for (int i = 0; i < TC_N_MODEL; i++) {
        kt_rng r = {(uint64_t)i + 70};
        kl_config c = tc_config(i);
        kl_trainer *t = tc_trainer(&c, kt_backend(tc_level(), 1), NULL, &r);
        struct tc_batch b;
        tc_batch(&b, &c, (const int64_t[]){30, 20, -1}, &r);
        for (int64_t t0 = 30; t0 < 50; t0++)
            b.label[t0] = -1; /* only the first document is scored */
        kl_loss before, after;
        KT_OK(kl_trainer_backward(t, &b.batch, &before, KT_ERR));
        float *want = kt_copy(gradients(t), t->layout.n);
        kl_trainer_forget_gradients(t);
        for (int64_t t0 = 30; t0 < 50; t0++)
            b.token[t0] = (b.token[t0] + 5) % c.n_vocab;
        KT_OK(kl_trainer_backward(t, &b.batch, &after, KT_ERR));
        assert_true(before.sum == after.sum);
        kt_assert_close(tc_name(i), gradients(t), want, t->layout.n, 1e-6);
        kl_trainer_close(t);
        kt_free_all();
    }
}

static void same_bits(void **state)
{
    (void)state;
    static const uint8_t all[] = {1, 1}, second[] = {0, 1};
    const struct {
        int threads;
        const uint8_t *recompute;
    } way[] = {{1, NULL}, {2, NULL}, {3, all}, {1, second}, {1, all}};
    for (int i = 0; i < TC_N_MODEL; i++) {
        float *first = NULL;
        for (size_t k = 0; k < sizeof way / sizeof *way; k++) {
            kt_rng r = {(uint64_t)i + 9};
            kl_config c = tc_config(i);
            kl_trainer *t = tc_trainer(&c, kt_backend(tc_level(), way[k].threads), way[k].recompute, &r);
            struct tc_batch b;
            tc_batch(&b, &c, lengths, &r);
            kl_loss loss, again;
            KT_OK(kl_trainer_backward(t, &b.batch, &loss, KT_ERR));
            KT_OK(kl_trainer_loss(t, &b.batch, &again, KT_ERR));
            assert_true(loss.sum == again.sum);
            float *got = kt_copy(gradients(t), t->layout.n);
            first = first ? first : got;
            kt_assert_same_bits(tc_name(i), got, first, (size_t)t->layout.n * sizeof *got);
            for (int64_t e = 0, n = 0; c.ffn[1] == KL_FFN_MOE && e < c.n_expert; e++) {
                n += t->load[c.n_expert + e];
                assert_true(e + 1 < c.n_expert || n == b.batch.n_token * c.n_expert_used); /* counted once */
            }
            kl_trainer_close(t);
        }
        kt_free_all();
    }
}

/* Random batches of all shapes fit into the memory that was planned, and are right where they lie. */
static void any_batch_fits(void **state)
{
    (void)state;
    for (int i = 0; i < TC_N_MODEL; i++) {
        kt_rng r = {(uint64_t)i + 31};
        kl_config c = tc_config(i);
        kl_trainer *t = tc_trainer(&c, kt_backend(tc_level(), 2), NULL, &r);
        for (int k = 0; k < 6; k++) {
            int64_t length[TC_MOST_SEQS + 1], left = TC_MOST_TOKENS, n_seq = 1 + kt_below(&r, TC_MOST_SEQS);
            for (int64_t s = 0; s < n_seq; s++)
                left -= length[s] = s + 1 == n_seq && k % 2 ? left : kt_below(&r, left + (k == 0));
            length[n_seq] = -1;
            length[0] += left == TC_MOST_TOKENS;
            struct tc_batch b;
            tc_batch(&b, &c, length, &r);
            b.batch.count_right = true;
            kl_loss loss;
            KT_OK(kl_trainer_backward(t, &b.batch, &loss, KT_ERR));
            assert_true(isfinite(loss.sum) && loss.n_right >= 0 && loss.n_right <= loss.n_label);
        }
        kl_trainer_close(t);
    }
}

/* A weight is a factor of the gradient; gradients add up. */
static void weights_and_sums(void **state)
{
    (void)state;
    kt_rng r = {5};
    kl_config c = tc_config(0);
    kl_trainer *t = tc_trainer(&c, kt_backend(tc_level(), 1), NULL, &r);
    struct tc_batch b;
    tc_batch(&b, &c, lengths, &r);
    kl_loss loss;
    KT_OK(kl_trainer_backward(t, &b.batch, &loss, KT_ERR));
    float *want = kt_copy(gradients(t), t->layout.n);
    kl_trainer_forget_gradients(t);
    b.batch.weight = 0.25F;
    for (int k = 0; k < 4; k++)
        KT_OK(kl_trainer_backward(t, &b.batch, &loss, KT_ERR));
    kt_assert_close("four quarters", gradients(t), want, t->layout.n, 1e-6);
    for (int64_t k = 0; k < b.batch.n_token; k++)
        b.label[k] = -1;
    kl_trainer_forget_gradients(t);
    KT_OK(kl_trainer_backward(t, &b.batch, &loss, KT_ERR));
    assert_true(loss.sum == 0 && loss.n_label == 0);
    for (int64_t k = 0; k < t->layout.n; k++)
        assert_true(gradients(t)[k] == 0);
    kl_trainer_close(t);
    kt_free_all();
}

/* --------------------------------------------------------------------------------- against the walk of inference -- */

static struct kl__layer layer_of(const kl_trainer *t, int layer)
{
    struct kl__layer l = {0};
    for (int p = 0; p < KL__N_PARAM; p++) {
        const struct kl__place *place = kl__layout_find(&t->layout, (enum kl__param)p, layer);
        if (place)
            l.w[p] = (struct kl__weight){.type = KL__TYPE_F32,
                                         .n_matrix = place->n_matrix,
                                         .n_out = place->rows,
                                         .n_in = place->columns,
                                         .data = t->arena[KL__VALUE] + place->at};
    }
    const kl_config *c = &t->layout.c;
    float *kv = (float *)(uintptr_t)l.w[KL__MLA_KV_B].data;
    if (!kv)
        return l;
    l.w_uk = kl_view3(kv, KL_F32, c->n_head, c->qk_nope, c->kv_rank);
    l.w_uv = kl_view3(kv + (int64_t)c->qk_nope * c->kv_rank, KL_F32, c->n_head, c->v_dim, c->kv_rank);
    l.w_uk.pitch = l.w_uv.pitch = (int64_t)(c->qk_nope + c->v_dim) * c->kv_rank;
    return l;
}

/* Sum of the losses of one sequence's labels, from the logits that inference gives. */
static double loss_of_inference(const struct kl__net *net, const int32_t *token, const int32_t *label, int n)
{
    const kl_config *c = &net->c;
    struct kl__need need = kl__net_need(net, n, KL_CACHE_F32);
    struct kl__lent lent = {.stage = kt_bytes(need.stage_bytes), .stage_bytes = need.stage_bytes};
    lent.work = kt_work(need.work_bytes);
    const int32_t page[] = {0, 1};
    const struct kl__seq seq = {.fixed = kt_bytes(kl__fixed_bytes(c) + 1), .page = page, .n_token = n};
    memset(seq.fixed, 0, kl__fixed_bytes(c));
    const struct kl__cache cache = {.n_page = 2, .page_bytes = kl__page_bytes(c, KL_CACHE_F32), .type = KL_CACHE_F32};
    struct kl__batch b = {.token = token, .n_token = n, .seq = &seq, .n_seq = 1, .cache = cache};
    b.cache.base = kt_bytes((size_t)(2 * cache.page_bytes) + 1);
    float *hidden, *normed = kt_floats((int64_t)n * c->n_embd), *logits = kt_floats((int64_t)n * c->n_vocab);
    int *row = kt_bytes((size_t)n * sizeof *row);
    for (int i = 0; i < n; i++)
        row[i] = i;
    KT_OK(kl__net_walk(net, &b, &lent, &hidden, KT_ERR));
    KT_OK(kl__net_head(net, &lent, hidden, row, n, normed, logits, KT_ERR));
    double loss = 0;
    for (int i = 0; i < n; i++) {
        double sum = 0;
        for (int j = 0; j < c->n_vocab; j++)
            sum += exp(logits[i * c->n_vocab + j]);
        loss += label[i] < 0 ? 0 : log(sum) - logits[i * c->n_vocab + label[i]];
    }
    return loss;
}

static void agrees_with_inference(void **state)
{
    (void)state;
    for (int i = 0; i < TC_N_MODEL; i++) {
        kt_rng r = {(uint64_t)i + 51};
        kl_config c = tc_config(i);
        kl_trainer *t = tc_trainer(&c, kt_backend(tc_level(), 1), NULL, &r);
        struct kl__layer layer[2] = {layer_of(t, 0), layer_of(t, 1)};
        struct kl__net net = {.c = c, .be = t->be, .top = layer_of(t, -1), .layer = layer};
        struct tc_batch b;
        kl_loss loss;
        tc_batch(&b, &c, (const int64_t[]){83, -1}, &r);
        KT_OK(kl_trainer_loss(t, &b.batch, &loss, KT_ERR));
        double want = loss_of_inference(&net, b.token, b.label, 83);
        if (!(fabs(loss.sum - want) < 1e-5 * want))
            fail_msg("%s: training has loss %.9g, inference %.9g", tc_name(i), loss.sum, want);
        kl_trainer_close(t);
        kt_free_all();
    }
}

/* ---------------------------------------------------------------------------------------------- memory, refusals -- */

struct counted {
    int64_t bytes, n;
};

static void *count_alloc(void *user, size_t bytes)
{
    struct counted *c = user;
    c->bytes += (int64_t)bytes;
    c->n++;
    return aligned_alloc(64, bytes);
}

static void count_release(void *user, void *memory)
{
    (void)user;
    free(memory);
}

static void memory_is_foretold(void **state)
{
    (void)state;
    struct counted counted = {0}, measuring = {0};
    const kl_allocator alloc = {count_alloc, count_release, &counted}, other = {count_alloc, count_release, &measuring};
    kl_config c = tc_config(0);
    kl_trainer_options o = {.config = &c,
                            .backend = kt_backend(tc_level(), 2),
                            .max_tokens = TC_MOST_TOKENS,
                            .max_seqs = 4,
                            .alloc = &other};
    int64_t bytes;
    kl_trainer *t;
    KT_OK(kl_trainer_memory(&bytes, &o, KT_ERR));
    o.alloc = &alloc;
    KT_OK(kl_trainer_open(&t, &o, KT_ERR));
    int64_t kept = counted.bytes - 5 * 8 / 64 * 64 - 64; /* offsets of sequences, given back */
    assert_true(bytes <= kept && kept <= bytes + 8 * 64);
    assert_int_equal(kl_config_n_parameter(&c), t->layout.n);
    struct tc_batch b;
    kt_rng r = {1};
    tc_batch(&b, &c, lengths, &r);
    kl_loss loss;
    int64_t n = counted.n;
    b.batch.n_seq = 4;
    b.batch.n_token = b.cu[4];
    KT_OK(kl_trainer_backward(t, &b.batch, &loss, KT_ERR));
    assert_int_equal(counted.n, n);
    kl_trainer_close(t);
}

static void refusals(void **state)
{
    (void)state;
    kl_error err;
    kt_rng r = {2};
    kl_config c = tc_config(0);
    kl_trainer_options o = {.config = &c, .backend = kt_backend(tc_level(), 1), .max_tokens = 0};
    kl_trainer *t = NULL;
    KT_ASSERT_FAILED(kl_trainer_open(&t, &o, &err), KL_ERR_ARGUMENT, &err, "max_tokens is 0");
    o.max_tokens = 8;
    o.max_seqs = 9;
    KT_ASSERT_FAILED(kl_trainer_open(&t, &o, &err), KL_ERR_ARGUMENT, &err, "max_seqs is 9", "8");
    o.max_seqs = 2;
    o.backend = NULL;
    KT_ASSERT_FAILED(kl_trainer_open(&t, &o, &err), KL_ERR_ARGUMENT, &err, "options.backend is NULL");
    assert_null(t);
    t = tc_trainer(&c, kt_backend(tc_level(), 1), NULL, &r);
    struct tc_batch b;
    kl_loss loss;
    tc_batch(&b, &c, (const int64_t[]){5, 3, -1}, &r);
    kl_batch bad = b.batch;
    bad.n_token = 97;
    KT_ASSERT_FAILED(kl_trainer_loss(t, &bad, &loss, &err), KL_ERR_ARGUMENT, &err, "97 tokens", "96");
    bad = b.batch;
    bad.n_seq = 9;
    KT_ASSERT_FAILED(kl_trainer_loss(t, &bad, &loss, &err), KL_ERR_ARGUMENT, &err, "9 sequences", "8");
    b.cu[1] = 9;
    KT_ASSERT_FAILED(kl_trainer_loss(t, &b.batch, &loss, &err), KL_ERR_ARGUMENT, &err, "cu_seqlens[1] is 9");
    b.cu[1] = 5;
    b.token[3] = 19;
    KT_ASSERT_FAILED(kl_trainer_backward(t, &b.batch, &loss, &err), KL_ERR_ARGUMENT, &err, "token[3] is 19",
                     "less than 19");
    b.token[3] = -1;
    KT_ASSERT_FAILED(kl_trainer_backward(t, &b.batch, &loss, &err), KL_ERR_ARGUMENT, &err, "token[3] is -1");
    b.token[3] = 0;
    b.label[7] = 20;
    KT_ASSERT_FAILED(kl_trainer_backward(t, &b.batch, &loss, &err), KL_ERR_ARGUMENT, &err, "label[7] is 20");
    kl_trainer_close(t);
    kl_trainer_close(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(packed_is_apart),    cmocka_unit_test(documents_do_not_meet),
        cmocka_unit_test(same_bits),          cmocka_unit_test(any_batch_fits),
        cmocka_unit_test(weights_and_sums),   cmocka_unit_test(agrees_with_inference),
        cmocka_unit_test(memory_is_foretold), cmocka_unit_test(refusals),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    kt_free_backends();
    return failed;
}
