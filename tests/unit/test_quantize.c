/* GGUF files again, in other types: the same bytes as if the model had been made in that type. */
#include "support/kt_file.h"

#include "format/store.h"
#include "model/gguf_tensors.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static kl_config smaller(void)
{
    kl_config c;
    KT_OK(kl_config_preset(&c, "tiny", KT_ERR));
    c.n_vocab = 600;
    c.n_expert = 3;
    c.n_ff = 256;
    return c;
}

static struct kl__store *open_store(const char *path)
{
    struct kl__store *s;
    KT_OK(kl__store_open(&s, path, NULL, KT_ERR));
    return s;
}

struct told {
    int64_t n, from_bytes, to_bytes;
    double error, power;
};

static void take(void *user, const kl_requantized *t)
{
    struct told *told = user;
    told->n++;
    told->from_bytes += t->from_bytes;
    told->to_bytes += t->to_bytes;
    told->error += t->error;
    told->power += t->power;
    assert_true((t->power > 0) == (strcmp(t->from, t->to) != 0));
}

static void quantize(const char *to, const char *from, const char *type, kl_pool *pool, struct told *told)
{
    kl_file_options options = {.type = type, .pool = pool, .user = told};
    *told = (struct told){0};
    KT_OK(kl_model_quantize(to, from, &options, take, KT_ERR));
}

static void assert_same_tensors(const char *a, const char *b)
{
    struct kl__store *x = open_store(a), *y = open_store(b);
    assert_int_equal(x->n_tensor, y->n_tensor);
    for (int64_t i = 0; i < x->n_tensor; i++) {
        const struct kl__stored *t = &x->tensor[i], *u = &y->tensor[i];
        if (!kl__str_same(t->name, u->name) || t->type != u->type || t->bytes != u->bytes ||
            memcmp(t->data, u->data, t->bytes) != 0)
            fail_msg("%s differs", kl__shown(t->name).text);
    }
    kl__store_close(x);
    kl__store_close(y);
}

static void as_if_made_so(void **state)
{
    (void)state;
    static const char *const types[] = {"q8_0", "q4_0", "q4_k_m", "bf16", "f32"};
    kl_config c = smaller();
    kl_pool *pool;
    KT_OK(kl_pool_open(&pool, 3, NULL, KT_ERR));
    kl_file_options f32 = {.type = "f32"};
    KT_OK(kl_model_init(kt_path("f32"), &c, 3, &f32, KT_ERR));
    for (int i = 0; i < 5; i++) {
        struct told one, three;
        kl_file_options made = {.type = types[i], .pool = pool};
        KT_OK(kl_model_init(kt_path("made"), &c, 3, &made, KT_ERR));
        quantize(kt_path("one"), kt_path("f32"), types[i], NULL, &one);
        quantize(kt_path("three"), kt_path("f32"), types[i], pool, &three);
        assert_same_tensors(kt_path("made"), kt_path("one"));
        assert_same_tensors(kt_path("made"), kt_path("three"));
        assert_true(one.error == three.error && one.power == three.power);
        assert_true(i == 4 ? one.power == 0 : sqrt(one.error / one.power) < 0.12 && one.error > 0);
        kl_config a, b;
        KT_OK(kl_config_read(&a, kt_path("made"), NULL, KT_ERR));
        KT_OK(kl_config_read(&b, kt_path("one"), NULL, KT_ERR));
        assert_memory_equal(&a, &b, sizeof a);
        struct kl__store *s = open_store(kt_path("one"));
        int64_t file_type, expected;
        KT_OK(kl__store_int(&file_type, s, "general.file_type", KT_ERR));
        kl__store_close(s);
        s = open_store(kt_path("made"));
        KT_OK(kl__store_int(&expected, s, "general.file_type", KT_ERR));
        kl__store_close(s);
        assert_int_equal(file_type, expected);
    }
    kl_pool_close(pool);
    kt_remove_files();
}

/* From one small type to another: by what the first one holds. */
static void again_and_again(void **state)
{
    (void)state;
    kl_config c = smaller();
    struct told told;
    kl_file_options q8 = {.type = "q8_0"};
    KT_OK(kl_model_init(kt_path("q8"), &c, 3, &q8, KT_ERR));
    quantize(kt_path("q4"), kt_path("q8"), "q4_0", NULL, &told);
    assert_true(told.to_bytes < told.from_bytes);
    quantize(kt_path("f32"), kt_path("q4"), "f32", NULL, &told);
    assert_true(told.error == 0 && told.power > 0);
    quantize(kt_path("q4b"), kt_path("f32"), "q4_0", NULL, &told);
    assert_true(sqrt(told.error / told.power) < 0.02);
    kt_remove_files();
}

static void names(void **state)
{
    (void)state;
    kl_config c = smaller();
    struct kl__gguf_tensor t;
    assert_true(kl__gguf_find(&t, &c, kl__str("blk.3.attn_q.weight")) && t.param == KL__MLA_Q && t.layer == 3);
    assert_true(kl__gguf_find(&t, &c, kl__str("blk.2.attn_q.weight")) && t.param == KL__KDA_Q && t.layer == 2);
    assert_true(kl__gguf_find(&t, &c, kl__str("blk.3.attn_v_b.weight")) && t.part == KL__PART_V_B);
    assert_true(kl__gguf_find(&t, &c, kl__str("blk.3.attn_kv_b.weight")) && t.part == KL__PART_ALL);
    assert_true(kl__gguf_find(&t, &c, kl__str("output.weight")) && t.param == KL__HEAD && t.layer == -1);
    static const char *const none[] = {"blk.4.attn_q.weight",
                                       "blk.2.attn_v_b.weight",
                                       "blk..attn_q.weight",
                                       "blk.2",
                                       "blk.2.",
                                       "blk.-1.attn_q.weight",
                                       "attn_q.weight",
                                       "blk.99999999.x",
                                       "blk.0.ffn_gate_exps.weight"};
    for (size_t i = 0; i < sizeof none / sizeof *none; i++)
        assert_false(kl__gguf_find(&t, &c, kl__str(none[i])));
}

static bool stop(void *user, int64_t done, int64_t total)
{
    (void)user;
    (void)done;
    (void)total;
    return false;
}

static void refusals(void **state)
{
    (void)state;
    kl_error err;
    kl_config c = smaller();
    kl_file_options made = {.type = "f32"};
    KT_OK(kl_model_init(kt_path("m"), &c, 1, &made, KT_ERR));
    kt_make_directory("d");
    KT_ASSERT_FAILED(kl_model_quantize(kt_path("d/x"), kt_path("m"), NULL, NULL, &err), KL_ERR_ARGUMENT, &err,
                     "no type");
    kl_file_options bad = {.type = "iq4_xs"}, stopped = {.type = "q8_0", .progress = stop};
    KT_ASSERT_FAILED(kl_model_quantize(kt_path("d/x"), kt_path("m"), &bad, NULL, &err), KL_ERR_ARGUMENT, &err,
                     "'iq4_xs'");
    KT_ASSERT_FAILED(kl_model_quantize(kt_path("d/x"), kt_path("m"), &stopped, NULL, &err), KL_ERR_CANCELLED, &err,
                     "stopped");
    kt_write_file("t", "GGUF", 4);
    KT_ASSERT_FAILED(kl_model_quantize(kt_path("d/x"), kt_path("t"), &made, NULL, &err), KL_ERR_FORMAT, &err, "/t");
    assert_int_equal(kt_count_files(kt_path("d")), 0);
    kt_remove_files();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(as_if_made_so),
        cmocka_unit_test(again_and_again),
        cmocka_unit_test(names),
        cmocka_unit_test(refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
