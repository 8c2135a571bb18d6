/* Weights out of files: what is missing or has another shape than the configuration says is refused by name, and what
 * GGUF keeps in another form comes back as the model wants it. */
#include "model/model.h"
#include "support/tiny.h"

#include <math.h>
#include <string.h>

/* The first place of `text` in the file. */
static unsigned char *find(unsigned char *file, size_t bytes, const char *text)
{
    size_t n = strlen(text);
    for (size_t i = 0; i + n <= bytes; i++)
        if (memcmp(file + i, text, n) == 0)
            return file + i;
    fail_msg("%s is not in the file", text);
    return NULL;
}

static void assert_refused(const unsigned char *file, size_t bytes, kl_status status, const char *first,
                           const char *second)
{
    kl_model *m = NULL;
    kl_error err = {0};
    kl_model_options options = {.backend = kt_backend(kt_best_level(), 1)};
    KT_ASSERT_FAILED(kl_model_open(&m, kt_write_file("changed.gguf", file, bytes), &options, &err), status, &err, first,
                     second);
    assert_null(m);
}

static void names_what_is_missing(void **state)
{
    (void)state;
    static const char *const names[] = {
        "token_embd.weight",     "blk.0.attn_q.weight",   "blk.1.ssm_conv1d_k.weight", "blk.0.ssm_a",
        "blk.3.attn_k_b.weight", "blk.3.attn_v_b.weight", "blk.2.ffn_up_exps.weight",  "output_norm.weight"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        size_t bytes;
        unsigned char *file = kt_read_file(kt_tiny("f32"), &bytes);
        find(file, bytes, names[i])[0] = 'X';
        assert_refused(file, bytes, KL_ERR_FORMAT, names[i], "missing");
        kt_free_all();
    }
}

/* The numbers of the configuration are changed, the tensors are not. */
static void names_shapes_that_do_not_fit(void **state)
{
    (void)state;
    static const struct {
        const char *key, *tensor;
    } wrong[] = {{"kimi-linear.feed_forward_length", "ffn_gate"},
                 {"kimi-linear.kda.head_dim", "blk.0."},
                 {"kimi-linear.expert_count", "ffn_gate_inp"},
                 {"kimi-linear.attention.kv_lora_rank", "attn_kv_a"}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        size_t bytes;
        unsigned char *file = kt_read_file(kt_tiny("f32"), &bytes);
        unsigned char *number = find(file, bytes, wrong[i].key) + strlen(wrong[i].key) + 4;
        number[0] ^= 32;
        assert_refused(file, bytes, KL_ERR_SHAPE, wrong[i].tensor, "expected");
        kt_free_all();
    }
}

static void a_rate_that_grows_is_refused(void **state)
{
    (void)state;
    size_t bytes;
    unsigned char *file = kt_read_file(kt_tiny("f32"), &bytes);
    struct kl__store *store;
    KT_OK(kl__store_open_bytes(&store, "rate", file, bytes, NULL, KT_ERR));
    unsigned char *rate = file + ((const unsigned char *)kl__store_find(store, "blk.1.ssm_a")->data - file);
    kl__store_close(store);
    const float bad[] = {0.5F, NAN};
    for (int i = 0; i < 2; i++) {
        memcpy(rate + sizeof(float), &bad[i], sizeof bad[i]);
        assert_refused(file, bytes, KL_ERR_FORMAT, "blk.1.ssm_a", "at 1, expected a number <= 0");
    }
    kt_free_all();
}

/* A_log is the logarithm of what GGUF holds; keys of kv_b are turned back. */
static void forms(void **state)
{
    (void)state;
    kl_model *m;
    kl_model_options options = {.backend = kt_backend(kt_best_level(), 1)};
    KT_OK(kl_model_open(&m, kt_tiny("f32"), &options, KT_ERR));
    const kl_config *c = kl_model_config(m);
    const float *held = kl__store_find(m->store, "blk.0.ssm_a")->data, *a_log = m->net.layer[0].w[KL__A_LOG].data;
    for (int h = 0; h < c->n_kda_v_head; h++)
        assert_true(fabsf(expf(a_log[h]) + held[h]) <= 2e-6F * fabsf(held[h]));
    const struct kl__layer *l = &m->net.layer[3];
    const float *k = kl__store_find(m->store, "blk.3.attn_k_b.weight")->data;
    const float *v = kl__store_find(m->store, "blk.3.attn_v_b.weight")->data;
    for (int64_t h = 0; h < c->n_head; h++)
        for (int64_t r = 0; r < c->kv_rank; r++) {
            for (int64_t i = 0; i < c->qk_nope; i++)
                assert_true(((const float *)l->w_uk.data)[h * l->w_uk.pitch + i * c->kv_rank + r] ==
                            k[(h * c->kv_rank + r) * c->qk_nope + i]);
            for (int64_t i = 0; i < c->v_dim; i++)
                assert_true(((const float *)l->w_uv.data)[h * l->w_uv.pitch + i * c->kv_rank + r] ==
                            v[(h * c->v_dim + i) * c->kv_rank + r]);
        }
    kl_model_close(m);
    kt_free_all();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_what_is_missing),
        cmocka_unit_test(names_shapes_that_do_not_fit),
        cmocka_unit_test(a_rate_that_grows_is_refused),
        cmocka_unit_test(forms),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    kt_free_backends();
    kt_remove_files();
    return failed;
}
