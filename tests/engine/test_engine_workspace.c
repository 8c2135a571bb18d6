/* What an engine lends is enough for every step that it takes: few tokens and many, prompts and generated ones, from
 * the first position to far out, on any number of threads. */
#include "support/tiny.h"

enum { MOST_TOKENS = 192 };

static void steps_at(struct kt_engine *e, int64_t depth, const int *n_token)
{
    kl_session *s;
    kt_rng r = {1};
    int32_t *token = kt_tokens(&r, MOST_TOKENS, e->n_vocab);
    KT_OK(kl_session_open(&s, e->engine, KT_ERR));
    KT_OK(kl_session_fill_random(s, depth, 1, KT_ERR));
    for (; *n_token; n_token++)
        for (int decode = 0; decode < 2; decode++) {
            kl_session *copy;
            KT_OK(kl_session_fork(&copy, s, KT_ERR));
            kl_span span = {.session = copy, .token = token, .n_token = *n_token, .decode = decode};
            KT_OK(kl_step(e->engine, &span, 1, KT_ERR));
            kl_session_close(copy);
        }
    kl_session_close(s);
}

static void steps_of(const char *path, int n_thread, int most)
{
    static const int near[] = {1, 9, 16, 33, 63, 64, 0}, wide[] = {65, 128, 150, 192, 0}, few[] = {1, 17, 0};
    static const int64_t depths[] = {0, 1, 64, 500, 1030, 2047};
    struct kt_engine e = kt_open_engine(path, n_thread, &(kl_engine_options){.max_batch_tokens = most});
    for (size_t i = 0; i < sizeof depths / sizeof *depths; i++) {
        steps_at(&e, depths[i], near);
        if (most > 64)
            steps_at(&e, depths[i], wide);
    }
    for (int64_t depth = 5000; depth < 20000; depth = depth * 2 - 1830)
        steps_at(&e, depth, few);
    kt_close_engine(&e);
}

static void lends_enough(void **state)
{
    (void)state;
    kl_config c;
    KT_OK(kl_config_preset(&c, "tiny-mla", KT_ERR));
    c.n_layer = 2;
    c.n_expert = 0;
    c.ffn[0] = c.ffn[1] = KL_FFN_DENSE;
    c.n_embd = c.n_ff = c.kv_rank = 32; /* products with weights need little, so that attention needs most */
    const char *path[] = {kt_tiny("q8_0"), kt_made("thin-mla.gguf", &c, "q8_0")};
    steps_of(path[0], 2, 64);
    steps_of(path[1], 1, MOST_TOKENS);
    steps_of(path[1], 8, 64); /* fewer blocks of rows than threads: pieces of the cache wait to be merged */
    kt_free_all();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lends_enough),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    kt_free_backends();
    kt_remove_files();
    return failed;
}
