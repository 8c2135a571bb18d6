/* What the engine promises about bits: the same for any number of threads, any neighbours in a step, any cut of a
 * prompt at a multiple of the page, after a fork, a checkpoint, a file.  And decoding agrees with reading a prompt, up
 * to rounding. */
#include "support/tiny.h"

#include <string.h>

enum { N = 200, MORE = 5 }; /* tokens of the prompt, and of what is generated after it */

static const char *const types[] = {"f32", "bf16", "q8_0", "q4_k"};
enum { N_TYPE = sizeof types / sizeof *types };

/* Reads the prompt in pieces that end at multiples of 64, then MORE tokens one by one; logits of the last prompt token
 * and of each token after it. */
static float *run(struct kt_engine *e, kl_session *s, const int32_t *token, int64_t piece)
{
    float *logits = kt_floats((MORE + 1) * (int64_t)e->n_vocab);
    for (int64_t done = 0; done < N;) {
        int64_t n = piece < N - done ? piece : N - done;
        KT_OK(kl_prefill(s, token + done, n, logits, NULL, NULL, KT_ERR));
        done += n;
    }
    for (int i = 0; i < MORE; i++)
        KT_OK(kl_decode(s, token[N + i], logits + (i + 1) * (int64_t)e->n_vocab, KT_ERR));
    return logits;
}

static float *run_new(struct kt_engine *e, const int32_t *token, int64_t piece)
{
    kl_session *s;
    KT_OK(kl_session_open(&s, e->engine, KT_ERR));
    float *logits = run(e, s, token, piece);
    kl_session_close(s);
    return logits;
}

static size_t bytes_of(const struct kt_engine *e)
{
    return (size_t)e->n_vocab * (MORE + 1) * sizeof(float);
}

static void threads_and_pieces_at(const char *level, const char *type)
{
    float *want = NULL;
    for (int threads = 1; threads <= 3; threads++) {
        struct kt_engine e = kt_open_engine_at(level, kt_tiny(type), threads, NULL);
        kt_rng r = {1};
        int32_t *token = kt_tokens(&r, N + MORE, e.n_vocab);
        want = want ? want : run_new(&e, token, N);
        for (int64_t piece = 64; piece <= 192; piece += 128)
            kt_assert_same_bits(type, run_new(&e, token, piece), want, bytes_of(&e));
        kt_close_engine(&e);
    }
    kt_free_all();
}

static void threads_and_pieces(void **state)
{
    (void)state;
    for (int l = 0; kt_level(l); l++)
        for (int i = 0; i < N_TYPE; i++)
            if (l > 0 || i == 2) /* plain C is slow: one type */
                threads_and_pieces_at(kt_level(l), types[i]);
}

/* Small steps inside the engine cut a prompt by themselves. */
static void size_of_a_step(void **state)
{
    (void)state;
    float *want = NULL;
    for (int most = 64; most <= 512; most *= 2) {
        struct kt_engine e = kt_open_engine(kt_tiny("q8_0"), 2, &(kl_engine_options){.max_batch_tokens = most});
        kt_rng r = {2};
        int32_t *token = kt_tokens(&r, N + MORE, e.n_vocab);
        float *got = run_new(&e, token, N);
        want = want ? want : got;
        kt_assert_same_bits("max_batch_tokens", got, want, bytes_of(&e));
        kt_close_engine(&e);
    }
    kt_free_all();
}

/* Packed weights change nothing but the time, at once or piece by piece while sequences are read. */
static void pack_in_parts(int type, int n_part)
{
    struct kt_engine e = kt_open_engine(kt_tiny(types[type]), 2, NULL);
    kt_rng r = {3};
    int32_t *token = kt_tokens(&r, N + MORE, e.n_vocab);
    float *want = run_new(&e, token, N);
    int64_t before = kl_model_memory_bytes(e.model), bytes = kl_model_packed_bytes(e.model);
    assert_true((bytes > 0) == (type >= 1)); /* not f32; bf16 on machines that multiply it in f32 */
    int calls = 0;
    for (bool more = true; more; calls++) {
        KT_OK(kl_model_pack_some(e.model, bytes / n_part + 1, &more, KT_ERR));
        kt_assert_same_bits(types[type], run_new(&e, token, N), want, bytes_of(&e));
    }
    assert_true(calls <= n_part && (calls > 1) == (n_part > 1 && bytes > 0));
    KT_OK(kl_model_pack(e.model, KT_ERR)); /* nothing is left */
    assert_true(kl_model_memory_bytes(e.model) == before + bytes);
    kt_close_engine(&e);
    kt_free_all();
}

static void packed(void **state)
{
    (void)state;
    for (int type = 0; type < N_TYPE; type++)
        for (int n_part = 1; n_part <= 5; n_part += 4)
            pack_in_parts(type, n_part);
}

/* A sequence alone, and in steps with two others: one that reads a prompt, one that decodes. */
static void neighbours(void **state)
{
    (void)state;
    for (int i = 0; i < N_TYPE; i++) {
        struct kt_engine e = kt_open_engine(kt_tiny(types[i]), 2, NULL);
        kt_rng r = {3};
        int32_t *token = kt_tokens(&r, N + MORE, e.n_vocab), *other = kt_tokens(&r, 400, e.n_vocab);
        float *want = run_new(&e, token, N), *got = kt_floats((MORE + 1) * (int64_t)e.n_vocab);
        float *unused = kt_floats(e.n_vocab);
        kl_session *s[3];
        for (int j = 0; j < 3; j++)
            KT_OK(kl_session_open(&s[j], e.engine, KT_ERR));
        KT_OK(kl_prefill(s[1], other, 77, NULL, NULL, NULL, KT_ERR));
        int at = 0;
        for (int step = 0; step < 2 + MORE; step++) {
            int n = step == 0 ? 128 : step == 1 ? N - 128 : 1;
            kl_span span[3] = {
                {.session = s[1],
                 .token = other + 100 + step,
                 .n_token = 1,
                 .decode = true,
                 .want = KL_WANT_LAST,
                 .logits = unused},
                {.session = s[2], .token = other + 30 * step, .n_token = 7 + step},
                {.session = s[0],
                 .token = token + at,
                 .n_token = n,
                 .decode = step > 1,
                 .want = step ? KL_WANT_LAST : KL_WANT_NONE,
                 .logits = got + (step ? step - 1 : 0) * (int64_t)e.n_vocab},
            };
            KT_OK(kl_step(e.engine, span, 3, KT_ERR));
            at += n;
        }
        kt_assert_same_bits(types[i], got, want, bytes_of(&e));
        for (int j = 0; j < 3; j++)
            kl_session_close(s[j]);
        kt_close_engine(&e);
        kt_free_all();
    }
}

/* A fork and its origin, read on with the same tokens, and each with the other's pages written in between. */
static void forks(void **state)
{
    (void)state;
    struct kt_engine e = kt_open_engine(kt_tiny("q8_0"), 2, NULL);
    kt_rng r = {4};
    int32_t *token = kt_tokens(&r, N + MORE, e.n_vocab), *other = kt_tokens(&r, MORE, e.n_vocab);
    float *want = run_new(&e, token, N), *got = kt_floats(e.n_vocab);
    kl_session *s, *copy;
    KT_OK(kl_session_open(&s, e.engine, KT_ERR));
    KT_OK(kl_prefill(s, token, N, NULL, NULL, NULL, KT_ERR));
    KT_OK(kl_session_fork(&copy, s, KT_ERR));
    for (int i = 0; i < MORE; i++)
        KT_OK(kl_decode(copy, other[i], NULL, KT_ERR));
    for (int i = 0; i < MORE; i++) {
        KT_OK(kl_decode(s, token[N + i], got, KT_ERR));
        kt_assert_same_bits("fork", got, want + (i + 1) * (int64_t)e.n_vocab, (size_t)e.n_vocab * sizeof(float));
    }
    kl_session_close(s);
    assert_int_equal(kl_session_length(copy), N + MORE);
    assert_memory_equal(kl_session_tokens(copy) + N, other, MORE * sizeof *other);
    kl_session_close(copy);
    kt_close_engine(&e);
    kt_free_all();
}

/* Back to a checkpoint, at a page's end and inside a page, also after the session that it was taken from is gone. */
static void checkpoints(void **state)
{
    (void)state;
    struct kt_engine e = kt_open_engine(kt_tiny("f32"), 2, NULL);
    kt_rng r = {5};
    int32_t *token = kt_tokens(&r, N + MORE, e.n_vocab);
    float *want = run_new(&e, token, N), *got = kt_floats(e.n_vocab);
    kl_session *s, *later;
    kl_checkpoint *at_page, *inside;
    KT_OK(kl_session_open(&s, e.engine, KT_ERR));
    KT_OK(kl_prefill(s, token, 128, NULL, NULL, NULL, KT_ERR));
    KT_OK(kl_checkpoint_take(&at_page, s, KT_ERR));
    KT_OK(kl_prefill(s, token + 128, N - 128, NULL, NULL, NULL, KT_ERR));
    KT_OK(kl_checkpoint_take(&inside, s, KT_ERR));
    KT_OK(kl_prefill(s, token, 90, NULL, NULL, NULL, KT_ERR));
    KT_OK(kl_session_resume(s, inside, KT_ERR));
    assert_int_equal(kl_session_length(s), N);
    KT_OK(kl_decode(s, token[N], got, KT_ERR));
    kt_assert_same_bits("inside a page", got, want + e.n_vocab, (size_t)e.n_vocab * sizeof(float));
    kl_session_close(s);
    KT_OK(kl_session_open(&later, e.engine, KT_ERR));
    KT_OK(kl_session_resume(later, at_page, KT_ERR));
    assert_int_equal(kl_checkpoint_length(at_page), 128);
    KT_OK(kl_prefill(later, token + 128, N - 128, got, NULL, NULL, KT_ERR));
    kt_assert_same_bits("at a page's end", got, want, (size_t)e.n_vocab * sizeof(float));
    kl_session_close(later);
    kl_checkpoint_drop(at_page);
    kl_checkpoint_drop(inside);
    assert_int_equal(kl_engine_memory_of(e.engine).pages_used, 0);
    kt_close_engine(&e);
    kt_free_all();
}

static void files(void **state)
{
    (void)state;
    for (int type = KL_CACHE_BF16; type <= KL_CACHE_Q8_0; type++) {
        struct kt_engine e =
            kt_open_engine(kt_tiny("q8_0"), 2, &(kl_engine_options){.cache_type = (kl_cache_type)type});
        kt_rng r = {6};
        int32_t *token = kt_tokens(&r, N + MORE, e.n_vocab);
        float *want = run_new(&e, token, N), *got = kt_floats(e.n_vocab);
        kl_session *s, *loaded;
        KT_OK(kl_session_open(&s, e.engine, KT_ERR));
        KT_OK(kl_prefill(s, token, N, NULL, NULL, NULL, KT_ERR));
        KT_OK(kl_session_save(s, kt_path("session"), NULL, 0, KT_ERR));
        kl_session_close(s);
        KT_OK(kl_session_load(&loaded, e.engine, kt_path("session"), NULL, 0, NULL, KT_ERR));
        for (int i = 0; i < MORE; i++) {
            KT_OK(kl_decode(loaded, token[N + i], got, KT_ERR));
            kt_assert_same_bits("file", got, want + (i + 1) * (int64_t)e.n_vocab, (size_t)e.n_vocab * sizeof(float));
        }
        kl_session_close(loaded);
        kt_close_engine(&e);
    }
    kt_free_all();
}

/* Every token's logits, read as a prompt and one by one. */
static void decode_agrees_with_prefill(void **state)
{
    (void)state;
    for (int type = KL_CACHE_BF16; type <= KL_CACHE_Q8_0; type++) {
        struct kt_engine e = kt_open_engine(kt_tiny("f32"), 2, &(kl_engine_options){.cache_type = (kl_cache_type)type});
        kt_rng r = {7};
        int32_t *token = kt_tokens(&r, N, e.n_vocab);
        float *prompt = kt_floats(N * (int64_t)e.n_vocab), *single = kt_floats(N * (int64_t)e.n_vocab);
        kl_session *s;
        KT_OK(kl_session_open(&s, e.engine, KT_ERR));
        kl_span span = {.session = s, .token = token, .n_token = N, .want = KL_WANT_ALL, .logits = prompt};
        KT_OK(kl_step(e.engine, &span, 1, KT_ERR));
        kl_session_reset(s);
        for (int i = 0; i < N; i++)
            KT_OK(kl_decode(s, token[i], single + i * (int64_t)e.n_vocab, KT_ERR));
        /* Latents that differ in the last bit may be rounded to neighbours. */
        kt_assert_close("decode and prefill", single, prompt, N * (int64_t)e.n_vocab,
                        type == KL_CACHE_F32 ? 1e-5 : 2e-2);
        kl_session_close(s);
        kt_close_engine(&e);
    }
    kt_free_all();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(threads_and_pieces),
        cmocka_unit_test(size_of_a_step),
        cmocka_unit_test(packed),
        cmocka_unit_test(neighbours),
        cmocka_unit_test(forks),
        cmocka_unit_test(checkpoints),
        cmocka_unit_test(files),
        cmocka_unit_test(decode_agrees_with_prefill),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    kt_free_backends();
    kt_remove_files();
    return failed;
}
