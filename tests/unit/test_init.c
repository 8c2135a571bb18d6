/* Models with random weights: presets, types, the same numbers whatever the type and the threads. */
#include "klinear/kl.h"
#include "support/kt_file.h"

#include "base/memory.h"
#include "format/store.h"
#include "model/made.h"
#include "model/weights.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static kl_config preset(const char *name)
{
    kl_config c;
    KT_OK(kl_config_preset(&c, name, KT_ERR));
    return c;
}

/* Two experts and few words: what takes time is the number of weights. */
static kl_config smaller(void)
{
    kl_config c = preset("tiny");
    c.n_expert = 2;
    c.n_vocab = 600;
    return c;
}

static const char *make(const char *file, const kl_config *c, uint64_t seed, const char *type, kl_pool *pool)
{
    const char *path = kt_path(file);
    kl_file_options options = {.type = type, .pool = pool};
    KT_OK(kl_model_init(path, c, seed, &options, KT_ERR));
    return path;
}

static struct kl__store *open_store(const char *path)
{
    struct kl__store *s;
    KT_OK(kl__store_open(&s, path, NULL, KT_ERR));
    return s;
}

static void presets(void **state)
{
    (void)state;
    kl_error err;
    kl_config c;
    int n = 0;
    for (; kl_preset_name(n); n++) {
        c = preset(kl_preset_name(n));
        KT_OK(kl__config_check(&c, "preset", KT_ERR));
    }
    assert_int_equal(n, 15);
    c = preset("48b");
    assert_true(c.n_layer == 27 && kl__n_mla(&c) == 7 && c.mixer[26] == KL_MIXER_MLA && c.mixer[25] == KL_MIXER_KDA);
    assert_true(c.bos == 163584 && c.pad == 163839);
    c = preset("48b-mla");
    assert_true(kl__n_mla(&c) == 27);
    c = preset("small-gdn");
    assert_true(kl__n_mla(&c) == 2 && c.mixer[0] == KL_MIXER_GDN);
    KT_ASSERT_FAILED(kl_config_preset(&c, "large", &err), KL_ERR_ARGUMENT, &err, "'large'", "tiny");
}

/* Every parameter is found, with the shape that the configuration asks for; the configuration comes back. */
static void what_is_made_can_be_opened(void **state)
{
    (void)state;
    static const char *const names[] = {"tiny", "tiny-mla", "tiny-gdn"};
    for (int i = 0; i < 3; i++) {
        kl_config c = preset(names[i]), back;
        struct kl__store *s = open_store(make("m.gguf", &c, 1, "q8_0", NULL));
        KT_OK(kl__config_read(&back, s, "m.gguf", KT_ERR));
        assert_memory_equal(&back, &c, sizeof c);
        struct kl__net net = {.c = back, .layer = kl__alloc(NULL, sizeof(struct kl__layer) * 4)};
        struct kl__bound bound = {0};
        KT_OK(kl__weights_bind(&net, &bound, s, NULL, KT_ERR));
        kl__release(NULL, net.layer);
        kl__release(NULL, bound.memory);
        kl__store_close(s);
    }
    kt_remove_files();
}

static double error_of(const struct kl__stored *t, const struct kl__stored *exact)
{
    int64_t n = kl__stored_elements(t);
    float *x = kt_floats(n), *y = kt_floats(n);
    assert_int_equal(n, kl__stored_elements(exact));
    kl__decode(t->type, x, t->data, n);
    kl__decode(exact->type, y, exact->data, n);
    double e = kt_ratio(x, y, n);
    kt_free_all();
    return e;
}

static void the_same_model_in_every_type(void **state)
{
    (void)state;
    static const struct {
        const char *type;
        enum kl__type expected, head, narrow; /* of most matrices, of the head, of rows of 64 */
        double limit;
    } cases[] = {
        {"f16", KL__TYPE_F16, KL__TYPE_F16, KL__TYPE_F16, 5e-4},
        {"BF16", KL__TYPE_BF16, KL__TYPE_BF16, KL__TYPE_BF16, 3e-3},
        {"q8_0", KL__TYPE_Q8_0, KL__TYPE_Q8_0, KL__TYPE_Q8_0, 8e-3},
        {"q4_0", KL__TYPE_Q4_0, KL__TYPE_Q4_0, KL__TYPE_Q4_0, 0.12},
        {"q5_0", KL__TYPE_Q5_0, KL__TYPE_Q5_0, KL__TYPE_Q5_0, 0.06},
        {"q4_k", KL__TYPE_Q4_K, KL__TYPE_Q4_K, KL__TYPE_Q5_0, 0.1},
        {"q5_k", KL__TYPE_Q5_K, KL__TYPE_Q5_K, KL__TYPE_Q5_1, 0.06},
        {"q6_k", KL__TYPE_Q6_K, KL__TYPE_Q6_K, KL__TYPE_Q8_0, 0.03},
        {"q4_k_m", KL__TYPE_Q4_K, KL__TYPE_Q6_K, KL__TYPE_Q5_0, 0.1},
    };
    kl_config c = smaller();
    struct kl__store *exact = open_store(make("f32", &c, 7, NULL, NULL));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct kl__store *s = open_store(make("other", &c, 7, cases[i].type, NULL));
        assert_int_equal(s->n_tensor, exact->n_tensor);
        for (int64_t t = 0; t < s->n_tensor; t++) {
            double e = error_of(&s->tensor[t], &exact->tensor[t]);
            if (!(e <= (s->tensor[t].type == KL__TYPE_F32 ? 0 : cases[i].limit)))
                fail_msg("%s of %s: error %g", kl__shown(s->tensor[t].name).text, cases[i].type, e);
        }
        assert_int_equal(kl__store_find(s, "blk.1.attn_q.weight")->type, cases[i].expected);
        assert_int_equal(kl__store_find(s, "output.weight")->type, cases[i].head);
        assert_int_equal(kl__store_find(s, "blk.1.ssm_f_b.weight")->type, cases[i].narrow);
        assert_int_equal(kl__store_find(s, "blk.1.ffn_gate_inp.weight")->type, KL__TYPE_F32);
        assert_int_equal(kl__store_find(s, "blk.1.ssm_conv1d_q.weight")->type, KL__TYPE_F32);
        kl__store_close(s);
    }
    kl__store_close(exact);
    kt_remove_files();
}

static void the_same_bytes_for_any_threads(void **state)
{
    (void)state;
    kl_config c = smaller();
    size_t n_one, n_three, n_other;
    kl_pool *pool;
    KT_OK(kl_pool_open(&pool, 3, NULL, KT_ERR));
    unsigned char *one = kt_read_file(make("one", &c, 5, "q4_k", NULL), &n_one);
    unsigned char *three = kt_read_file(make("three", &c, 5, "q4_k", pool), &n_three);
    unsigned char *other = kt_read_file(make("other", &c, 6, "q4_k", pool), &n_other);
    assert_int_equal(n_one, n_three);
    assert_memory_equal(one, three, n_one);
    assert_true(n_one != n_other || memcmp(one, other, n_one) != 0);
    kl_pool_close(pool);
    kt_free_all();
    kt_remove_files();
}

static void moments(const struct kl__made *m, double *mean, double *deviation, double *most)
{
    enum { N = 1 << 16 };
    float *x = kt_floats(N);
    double sum = 0, square = 0;
    kl__made_read(x, m, 1000, N);
    *most = 0;
    for (int i = 0; i < N; i++) {
        sum += x[i];
        square += (double)x[i] * x[i];
        *most = fmax(*most, fabs(x[i]));
    }
    *mean = sum / N;
    *deviation = sqrt(square / N - *mean * *mean);
    kt_free_all();
}

static void numbers_look_like_a_model(void **state)
{
    (void)state;
    double mean, deviation, most;
    struct kl__made m = {.key = 42, .kind = KL__MADE_NORMAL, .mean = 0.25F, .scale = 0.5F};
    moments(&m, &mean, &deviation, &most);
    assert_true(fabs(mean - 0.25) < 0.01 && fabs(deviation - 0.5) < 0.005 && most < 0.25 + 0.5 * 3.47 && most > 1.7);
    m = (struct kl__made){.key = 42, .kind = KL__MADE_RATE};
    moments(&m, &mean, &deviation, &most);
    assert_true(fabs(mean + 8.5) < 0.1 && most <= 16);
    float dt[100], part[10];
    m = (struct kl__made){.key = 42, .kind = KL__MADE_DT};
    kl__made_read(dt, &m, 0, 100);
    for (int i = 0; i < 100; i++)
        assert_true(log1p(exp(dt[i])) > 0.99e-3 && log1p(exp(dt[i])) < 0.101);
    m.bound = -5;
    kl__made_read(dt, &m, 0, 100);
    for (int i = 0; i < 100; i++)
        assert_true(5 / (1 + exp(-dt[i])) > 0.99e-3 && 5 / (1 + exp(-dt[i])) < 0.101);
    kl__made_read(part, &m, 50, 10);
    assert_memory_equal(part, dt + 50, sizeof part);
}

static void assert_token(const struct kl__meta *tokens, int64_t id, const char *text)
{
    assert_true(kl__str_same(tokens->text[id], kl__str(text)));
}

/* Ids as in the released vocabulary: "!" is 0, space 220, line feed 198.  Then words of syllables, then special
 * tokens. */
static void a_tokenizer_comes_along(void **state)
{
    (void)state;
    const struct kl__meta *tokens, *merges;
    int64_t id;
    kl_config c = preset("tiny");
    struct kl__store *s = open_store(make("m.gguf", &c, 1, "q4_0", NULL));
    KT_OK(kl__store_array(&tokens, s, "tokenizer.ggml.tokens", KL__META_STRING, KT_ERR));
    assert_int_equal(tokens->n_item, 1024);
    assert_token(tokens, 0, "!");
    assert_token(tokens, 220, "Ġ");
    assert_token(tokens, 198, "Ċ");
    assert_token(tokens, 256, "te");
    assert_token(tokens, 356, "Ġte");
    assert_token(tokens, 456, "tete");
    assert_token(tokens, 767, "tisa");
    assert_token(tokens, 768, "[BOS]");
    assert_token(tokens, 770, "<|im_end|>");
    assert_token(tokens, 773, "<|reserved_token_773|>");
    assert_token(tokens, 1023, "[PAD]");
    KT_OK(kl__store_array(&merges, s, "tokenizer.ggml.merges", KL__META_STRING, KT_ERR));
    assert_int_equal(merges->n_item, 768 - 256);
    assert_token(merges, 0, "t e");
    assert_token(merges, 356 - 256, "Ġ te");
    assert_token(merges, 456 - 256, "te te");
    KT_OK(kl__store_int(&id, s, "tokenizer.ggml.eos_token_id", KT_ERR));
    assert_int_equal(id, 769);
    kl_tokenizer *t; /* every byte is there, nothing stands twice */
    KT_OK(kl_tokenizer_open(&t, kt_path("m.gguf"), NULL, KT_ERR));
    assert_int_equal(kl_tokenizer_n_vocab(t), 1024);
    assert_int_equal(kl_tokenizer_special(t, "<|im_middle|>"), 785);
    kl_tokenizer_close(t);
    kl__store_close(s);
    kt_remove_files();
}

static bool stop_half_way(void *user, int64_t done, int64_t total)
{
    int *n = user;
    ++*n;
    assert_true(done > 0 && done <= total);
    return done < total / 2;
}

static void stopping_leaves_nothing(void **state)
{
    (void)state;
    kl_error err;
    kl_config c = preset("tiny");
    int n = 0;
    const char *directory = kt_make_directory("d");
    kl_file_options options = {.progress = stop_half_way, .user = &n};
    KT_ASSERT_FAILED(kl_model_init(kt_path("d/m.gguf"), &c, 1, &options, &err), KL_ERR_CANCELLED, &err, "m.gguf",
                     "stopped");
    assert_true(n > 1);
    assert_int_equal(kt_count_files(directory), 0);
    options = (kl_file_options){.type = "q3_k"};
    KT_ASSERT_FAILED(kl_model_init(kt_path("d/m.gguf"), &c, 1, &options, &err), KL_ERR_ARGUMENT, &err, "'q3_k'");
    c.n_group = 0;
    KT_ASSERT_FAILED(kl_model_init(kt_path("d/m.gguf"), &c, 1, NULL, &err), KL_ERR_FORMAT, &err, "num_expert_group");
    assert_int_equal(kt_count_files(directory), 0);
    kt_remove_files();
}

/* Every allocation fails once: a clean refusal, nothing leaked, no file. */
static void memory_may_end_anywhere(void **state)
{
    (void)state;
    kl_config c = smaller();
    kt_make_directory("d");
    struct kt_heap heap;
    kl_status status = KL_ERR_MEMORY;
    for (int64_t at = 1; status == KL_ERR_MEMORY; at += 1 + at / 8) {
        kl_error err = {0};
        kt_heap_init(&heap, at);
        kl_file_options options = {.type = "q4_0", .alloc = &heap.alloc};
        status = kl_model_init(kt_path("d/m.gguf"), &c, 1, &options, &err);
        assert_true(status == KL_OK || (status == KL_ERR_MEMORY && err.text[0]));
        assert_int_equal(heap.n_out, 0);
        assert_int_equal(kt_count_files(kt_path("d")), status == KL_OK);
    }
    assert_int_equal(status, KL_OK);
    kt_remove_files();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(presets),
        cmocka_unit_test(what_is_made_can_be_opened),
        cmocka_unit_test(the_same_model_in_every_type),
        cmocka_unit_test(the_same_bytes_for_any_threads),
        cmocka_unit_test(numbers_look_like_a_model),
        cmocka_unit_test(a_tokenizer_comes_along),
        cmocka_unit_test(stopping_leaves_nothing),
        cmocka_unit_test(memory_may_end_anywhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
